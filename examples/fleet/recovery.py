"""What became of what the killed workers held: who took it over, and after how long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from dir_redis import StorageBundle
from examples.fleet.broker import Broker, OrderRefusedError
from examples.fleet.compensator import COMPENSATOR
from examples.fleet.desk import log_of
from examples.fleet.grammar import Event, Status
from examples.fleet.history import History, Row, moment_of
from examples.fleet.sampling import FREED, KILLED
from examples.fleet.strategy import Order

LATE_ORDER = "LATE_ORDER_OF_KILLED"


@dataclass(frozen=True, slots=True)
class Bequest:
    """A flow that a killed worker led. All durations are seconds since the kill.

    Attributes:
        dfid: the flow.
        status: where it was.
        amount: what it held of the capital, US dollars; None if nothing.
        heir: the process that went on with it, or the compensator it had been handed to; None if
            nobody did.
        claimed_sec: until it was claimed; None if it never was.
        ended_sec: until it ended; None if it never did.
        freed_sec: until what it held was seen to be free, or reserved anew by the heir; None if it
            held nothing, or never was.
    """

    dfid: str
    status: str
    amount: Decimal | None
    heir: str | None
    claimed_sec: float | None
    ended_sec: float | None
    freed_sec: float | None


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker that was killed.

    Attributes:
        agent_id: its agent.
        name: its process.
        moment: when, by the store's clock.
        bequests: the flows it led.
    """

    agent_id: str
    name: str
    moment: datetime
    bequests: list[Bequest]

    @property
    def amount(self) -> Decimal:
        """What it held of the capital, US dollars."""
        return sum((each.amount for each in self.bequests if each.amount), Decimal())


def kills_of(history: History) -> list[Kill]:
    """The kills of a run, in order."""
    return [
        Kill(
            row["details"]["agent"],
            row["details"]["name"],
            moment_of(row),
            [_bequest(history, row, dfid) for dfid in row["details"]["flows"]],
        )
        for row in history.of(KILLED)
    ]


def send_late_orders(store: StorageBundle, history: History) -> None:
    """Send the killed workers' orders again, under their old tokens, and record the answers.

    It is what a process does that was only stopped for a while: it wakes up and goes on. The flows
    are others' by then, and the broker must not execute anything.
    """
    broker = Broker(store)
    for row in history.of(KILLED):
        for dfid, held in row["details"]["reservations"].items():
            decided = next(
                each for each in history.flow_rows[dfid] if each["event"] == Event.DECIDED
            )
            order = Order.from_dict(decided["details"]["proposal"])
            before = broker.look_up(dfid).fills
            try:
                after = broker.place(dfid, order, held["fencing_token"]).fills
                answer = "known" if after == before else "executed"
            except OrderRefusedError:
                answer = "refused"
            details = {"flow": dfid, "fencing_token": held["fencing_token"], "answer": answer}
            store.decision_audit.record(
                log_of(row["details"]["agent"]), LATE_ORDER, details=details
            )


def _bequest(history: History, kill: Row, dfid: str) -> Bequest:
    killed_at = moment_of(kill)
    rows = history.flow_rows.get(dfid, [])
    reservation = kill["details"]["reservations"].get(dfid)
    freed = [
        row
        for row in history.of(FREED)
        if reservation is not None and row["details"] == {"flow": dfid, **reservation}
    ]
    moves = history.flow_transitions.get(dfid, [])
    statuses = [row["to_status"] for row in moves if moment_of(row) <= killed_at]

    def first(rows: Iterable[Row], *events: str) -> tuple[Row, float] | tuple[None, None]:
        for row in rows:
            seconds = (moment_of(row) - killed_at).total_seconds()
            if row["event"] in events and seconds > 0:
                return row, seconds
        return None, None

    # A dirty flow is claimed by its mark: the compensator's own row is what there is to see of it.
    claim, claimed_sec = first(rows, Event.CLAIMED, Event.COMPENSATED)
    return Bequest(
        dfid,
        statuses[-1] if statuses else Status.CREATED,
        None if reservation is None else Decimal(reservation["amount"]),
        None if claim is None else claim["details"].get("owner", COMPENSATOR),
        claimed_sec,
        first(rows, Event.CLOSED)[1],
        first(freed, FREED)[1],
    )
