"""What a flow's trail may look like: its statuses, its events, and the order of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any

from dir_redis import DEFAULT_TRANSITIONS


class Status(StrEnum):
    """The statuses of a flow (DIR §4.3)."""

    CREATED = "CREATED"
    ACTIVE = "ACTIVE"
    VALIDATING = "VALIDATING"
    ESCALATED = "ESCALATED"
    ACCEPTED = "ACCEPTED"
    EXECUTING = "EXECUTING"
    DIRTY = "PARTIAL_SUCCESS_DIRTY"
    CLOSED = "CLOSED"
    ABORTED = "ABORTED"


class Event(StrEnum):
    """The audit rows of a flow."""

    CLAIMED = "FLOW_CLAIMED"
    DECIDED = "DECIDED"
    ESCALATED = "ESCALATION_REQUESTED"
    NO_BUDGET = "ESCALATION_BUDGET_EXHAUSTED"
    HUMAN = "HUMAN_DECIDED"
    REFUSED = "RESERVATION_REFUSED"
    RESERVED = "RESERVED"
    SUBMITTED = "ORDER_SUBMITTED"
    CANCELLED = "ORDER_CANCELLED"
    EXECUTED = "ORDER_EXECUTED"
    FAILED = "ORDER_FAILED"
    SETTLED = "RESERVATION_SETTLED"
    COMPENSATED = "ORDER_COMPENSATED"
    CLOSED = "FLOW_CLOSED"


class Outcome(StrEnum):
    """How a flow ended."""

    EXECUTED = "executed"
    COMPENSATED = "compensated"
    NO_TRADE = "no trade"
    NO_CAPACITY = "no capacity"
    NO_BUDGET = "escalation budget exhausted"
    REJECTED = "rejected by the human"
    NO_DECISION = "no human decision in time"


FINAL = frozenset({Status.CLOSED, Status.ABORTED})

MAX_REFUSALS = 3

NEXT_EVENTS: dict[str, set[str]] = {
    Event.CLAIMED: {Event.DECIDED},
    Event.DECIDED: {
        Event.ESCALATED, Event.NO_BUDGET, Event.REFUSED, Event.RESERVED, Event.CLOSED,
    },
    Event.NO_BUDGET: {Event.CLOSED},
    Event.ESCALATED: {Event.HUMAN},
    Event.HUMAN: {Event.REFUSED, Event.RESERVED, Event.CLOSED},
    Event.REFUSED: {Event.REFUSED, Event.RESERVED, Event.CLOSED},
    Event.RESERVED: {Event.SUBMITTED},
    Event.SUBMITTED: {Event.EXECUTED, Event.FAILED},
    Event.EXECUTED: {Event.CLOSED},
    Event.FAILED: {Event.SETTLED},
    Event.SETTLED: {Event.COMPENSATED},
    Event.COMPENSATED: {Event.CLOSED},
    Event.CLOSED: set(),
}  # fmt: skip

# What may follow besides when a flow was taken over: its reservation is made anew, and its order
# completed as the broker has it, or cancelled.
NEXT_EVENTS_TAKEN_OVER: dict[str, set[str]] = {
    Event.REFUSED: {Event.CANCELLED, Event.EXECUTED, Event.FAILED},
    Event.RESERVED: {Event.RESERVED, Event.REFUSED},
    Event.SUBMITTED: {Event.RESERVED, Event.REFUSED},
    Event.FAILED: {Event.COMPENSATED},
    Event.CANCELLED: {Event.CLOSED},
}


def transition_problem(transitions: Sequence[dict[str, Any]]) -> str | None:
    """What is wrong with a flow's transitions, or None if they lead from CREATED to an end."""
    status: str = Status.CREATED
    for row in transitions:
        if row["from_status"] != status:
            return f"a transition leaves {row['from_status']}, but the flow was {status}"
        if row["to_status"] not in DEFAULT_TRANSITIONS[status]:
            return f"{status} -> {row['to_status']} is no step"
        status = row["to_status"]
    return None if status in FINAL else f"it ends in {status}"


def event_problem(events: Sequence[str]) -> str | None:
    """What is wrong with the order of a flow's audit rows, or None."""
    if not events or events[0] != Event.CLAIMED:
        return "it has no beginning"
    counts = Counter(events)
    takeovers = counts[Event.CLAIMED] - 1
    steps = [events[0], *(event for event in events[1:] if event != Event.CLAIMED)]
    for event, following in pairwise(steps):
        allowed = NEXT_EVENTS.get(event, set())
        if takeovers:
            allowed = allowed | NEXT_EVENTS_TAKEN_OVER.get(event, set())
        if following not in allowed:
            return f"{event} is followed by {following}"
    if steps[-1] != Event.CLOSED:
        return f"it breaks off after {steps[-1]}"
    most = {
        Event.REFUSED: MAX_REFUSALS + takeovers,
        Event.RESERVED: 1 + takeovers,
        Event.SUBMITTED: 1 + takeovers,
    }
    for event, count in Counter(steps).items():
        if count > most.get(Event(event), 1):
            return f"{event} occurs {count} times"
    return None
