"""What a flow's trail may look like: its statuses, its events, and the order of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any


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

    OPENED = "FLOW_OPENED"
    DECIDED = "DECIDED"
    ESCALATED = "ESCALATION_REQUESTED"
    NO_BUDGET = "ESCALATION_BUDGET_EXHAUSTED"
    HUMAN = "HUMAN_DECIDED"
    REFUSED = "RESERVATION_REFUSED"
    RESERVED = "RESERVED"
    SUBMITTED = "ORDER_SUBMITTED"
    EXECUTED = "ORDER_EXECUTED"
    FAILED = "ORDER_FAILED"
    COMPENSATED = "ORDER_COMPENSATED"
    LOST = "WORKER_LOST"
    RELEASING = "RELEASING"
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
    WORKER_LOST = "worker lost before executing"


FINAL = frozenset({Status.CLOSED, Status.ABORTED})
IN_DOUBT = frozenset({Status.EXECUTING, Status.DIRTY})

MAX_REFUSALS = 3

NEXT_STATUSES: dict[str, set[str]] = {
    Status.CREATED: {Status.ACTIVE, Status.ABORTED},
    Status.ACTIVE: {Status.VALIDATING, Status.ABORTED},
    Status.VALIDATING: {Status.ACCEPTED, Status.ESCALATED, Status.ABORTED},
    Status.ESCALATED: {Status.ACCEPTED, Status.ABORTED},
    Status.ACCEPTED: {Status.EXECUTING, Status.ABORTED},
    Status.EXECUTING: {Status.CLOSED, Status.DIRTY},
    Status.DIRTY: {Status.CLOSED},
    Status.CLOSED: set(),
    Status.ABORTED: set(),
}

# Event.LOST may also follow each of them but CLOSED; what comes after it is recovery's.
NEXT_EVENTS: dict[str, set[str]] = {
    Event.OPENED: {Event.DECIDED},
    Event.DECIDED: {
        Event.ESCALATED, Event.NO_BUDGET, Event.REFUSED, Event.RESERVED, Event.CLOSED,
    },
    Event.NO_BUDGET: {Event.CLOSED},
    Event.ESCALATED: {Event.HUMAN, Event.CLOSED},
    Event.HUMAN: {Event.REFUSED, Event.RESERVED, Event.CLOSED},
    Event.REFUSED: {Event.REFUSED, Event.RESERVED, Event.CLOSED},
    Event.RESERVED: {Event.SUBMITTED},
    Event.SUBMITTED: {Event.EXECUTED, Event.FAILED},
    Event.EXECUTED: {Event.RELEASING},
    Event.FAILED: {Event.COMPENSATED},
    Event.COMPENSATED: {Event.RELEASING},
    Event.LOST: {Event.EXECUTED, Event.COMPENSATED, Event.RELEASING, Event.CLOSED},
    Event.RELEASING: {Event.CLOSED},
    Event.CLOSED: set(),
}  # fmt: skip


def transition_problem(transitions: Sequence[dict[str, Any]]) -> str | None:
    """What is wrong with a flow's transitions, or None if they lead from CREATED to an end."""
    status: str = Status.CREATED
    for row in transitions:
        if row["from_status"] != status:
            return f"a transition leaves {row['from_status']}, but the flow was {status}"
        if row["to_status"] not in NEXT_STATUSES[status]:
            return f"{status} -> {row['to_status']} is no step"
        status = row["to_status"]
    return None if status in FINAL else f"it ends in {status}"


def event_problem(events: Sequence[str]) -> str | None:
    """What is wrong with the order of a flow's audit rows, or None."""
    if not events or events[0] != Event.OPENED:
        return "it has no beginning"
    for event, following in pairwise(events):
        lost = following == Event.LOST and event != Event.CLOSED
        if not lost and following not in NEXT_EVENTS.get(event, set()):
            return f"{event} is followed by {following}"
    if events[-1] != Event.CLOSED:
        return f"it breaks off after {events[-1]}"
    counts = Counter(events)
    for event, count in counts.items():
        if count > (MAX_REFUSALS if event == Event.REFUSED else 1):
            return f"{event} occurs {count} times"
    if counts[Event.RESERVED] != counts[Event.RELEASING]:
        return "it reserved without releasing, or the other way round"
    return None
