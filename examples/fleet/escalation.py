"""Asking a human, within a budget, and waiting for the answer (DIR §9)."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from datetime import UTC, datetime, timedelta

from dir_redis import StorageBundle
from examples.fleet.desk import Desk
from examples.fleet.grammar import Event, Outcome, Status
from examples.fleet.strategy import Order
from examples.fleet.trail import Trail

POLL_SEC = 0.05
HUMAN_TIMEOUT_SEC = 30.0
BUDGET_WINDOW = timedelta(hours=1)


def escalate(desk: Desk, trail: Trail, order: Order) -> bool:
    """Put an order before a human, if the agent's budget allows it.

    Counting and then spending are two steps. That is safe here, because only this process spends
    the agent's tokens. The window begins by this host's clock; the tokens are by the store's.
    """
    escalation = desk.store.escalation
    since = (datetime.now(UTC) - BUDGET_WINDOW).isoformat()
    spent = escalation.get_window_count(desk.agent_id, since)
    if spent >= desk.escalation_budget:
        trail.note(Event.NO_BUDGET, spent=spent)
        return False
    escalation.record_budget_token(desk.agent_id)
    trail.note(Event.ESCALATED, value=order.value)
    trail.move(Status.ESCALATED)
    escalation.insert_request(
        trail.dfid,
        desk.agent_id,
        f"an order of {order.value:,.2f} is above the agent's limit",
        desk.store.context.get_session(trail.dfid) or "{}",
        json.dumps(order.as_dict()),
        "HIGH",
    )
    return True


def await_human(desk: Desk, trail: Trail) -> Generator[float, None, Order | Outcome]:
    """Wait for the human; the order that may be placed comes back, or how the flow ends."""
    store = desk.store
    deadline = time.monotonic() + HUMAN_TIMEOUT_SEC
    while (decided := store.idempotency.get(decision_key(trail.dfid))) is None:
        if time.monotonic() > deadline:
            withdraw_request(store, trail.dfid)
            return Outcome.NO_DECISION
        yield POLL_SEC
    # The human's row is written here and not by the reviewer: a trail has one writer at a time.
    trail.note(Event.HUMAN, verdict=decided["verdict"])
    if decided["order"] is None:
        return Outcome.REJECTED
    return Order.from_dict(decided["order"])


def withdraw_request(store: StorageBundle, dfid: str) -> None:
    """Take back a flow's request to the human, if there is an undecided one."""
    store.escalation.resolve_request(dfid, datetime.now(UTC).isoformat(), "WITHDRAWN", None)


def decision_key(dfid: str) -> str:
    """The idempotency key of the human's decision on a flow."""
    return f"decision:{dfid}"
