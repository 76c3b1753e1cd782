"""What the store says of a whole run, read once for the checks, the tables and the chart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from dir_redis import StorageBundle
from examples.fleet.broker import Broker, Entry
from examples.fleet.grammar import Event
from examples.fleet.plan import Plan
from examples.fleet.sampling import SAMPLED, SAMPLES_LOG
from examples.fleet.trail import without_late_rows

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a resource was in use from a moment on."""

    moment: datetime
    amount: Decimal


@dataclass(frozen=True, slots=True)
class History:
    """The logs of a run.

    Attributes:
        plan: what was to be done.
        rows: all audit rows that count, in order.
        late_rows: how many more came from processes that had lost their flow.
        flow_rows: the audit rows by dfid.
        flow_transitions: the transitions by dfid.
        orders: the broker's ledger by dfid.
    """

    plan: Plan
    rows: list[Row]
    late_rows: int
    flow_rows: dict[str, list[Row]]
    flow_transitions: dict[str, list[Row]]
    orders: dict[str, Entry]

    @classmethod
    def read(cls, store: StorageBundle) -> History:
        """Read a run from the store that holds it."""
        plan, broker = Plan.load(store), Broker(store)
        everything = list(store.decision_audit.iter_events())
        rows = without_late_rows(everything)
        return cls(
            plan,
            rows,
            len(everything) - len(rows),
            _by_flow(rows),
            _by_flow(store.lifecycle.get_transitions()),
            {dfid: broker.look_up(dfid) for dfid in plan.decisions},
        )

    def of(self, event: str) -> Iterator[Row]:
        """The audit rows of an event, in order."""
        return (row for row in self.rows if row["event"] == event)

    def sampled_use(self, resource_id: str) -> list[Use]:
        """What was seen reserved of a resource, each time it was looked at."""
        return [
            Use(moment_of(row), Decimal(row["details"]["used"][resource_id]))
            for row in self.flow_rows.get(SAMPLES_LOG, [])
            if row["event"] == SAMPLED
        ]

    def logged_use(self, resource_id: str) -> list[Use]:
        """What the flows' own rows say is reserved of a resource, after each change.

        A flow records that it reserved after it did, and that it gives back before it does. A flow
        that died says nothing more: what it held counts until the lease's end that its row names,
        for a lease may be renewed, but not shortened. So at every row the sum is at most what was
        really reserved. (On a cluster with several partitions the order of different flows' rows is
        that of the nodes' clocks, so there it is as good as they are.)
        """
        held: dict[str, tuple[Decimal, datetime]] = {}
        curve = []
        for row in self.rows:
            dfid, details, moment = row["dfid"], row["details"], moment_of(row)
            if row["event"] == Event.RESERVED:
                until = datetime.fromisoformat(details["until"])
                held[dfid] = (_amount(details, resource_id), until)
            elif row["event"] == Event.SETTLED and dfid in held:
                held[dfid] = (_amount(details, resource_id), held[dfid][1])
            elif row["event"] == Event.CLOSED:
                held.pop(dfid, None)
            else:
                continue
            total = sum((amount for amount, until in held.values() if until > moment), Decimal())
            curve.append(Use(moment, total))
        return curve


def moment_of(row: Row) -> datetime:
    """When a row was written, by the store's clock."""
    return datetime.fromisoformat(row["created_at"])


def _amount(details: dict[str, Any], resource_id: str) -> Decimal:
    return Decimal(str(details["amounts"].get(resource_id, 0)))


def _by_flow(rows: list[Row]) -> dict[str, list[Row]]:
    flows: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        flows[row["dfid"]].append(row)
    return dict(flows)
