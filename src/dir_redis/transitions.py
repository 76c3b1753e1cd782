"""Which status may follow which, and where a flow ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

Transitions = Mapping[str, Collection[str]]

INITIAL_STATUS = "CREATED"

# What dir-core's module lifecycle gives as the course of a flow (CREATED, ACTIVE, VALIDATING, then
# ACCEPTED, ABORTED or ESCALATED, then EXECUTING, CLOSED), the two ends at which it resets the
# retries (CLOSED and ABORTED), and the two statuses it takes from sagas (DIR §7). dir-core itself
# checks no transition, so the table also has the ways that its other modules imply: a rejected
# intent is tried again (ACTIVE), a human sends an escalation to validation or straight on (DIR
# §9), and a compensation ends the flow or alerts a human (CompensationAction.ALERT_HUMAN).
DEFAULT_TRANSITIONS: Transitions = MappingProxyType(
    {
        "CREATED": frozenset({"ACTIVE", "ABORTED"}),
        "ACTIVE": frozenset({"VALIDATING", "ESCALATED", "ABORTED", "CLOSED"}),
        "VALIDATING": frozenset({"ACTIVE", "ACCEPTED", "ESCALATED", "ABORTED"}),
        "ESCALATED": frozenset({"ACTIVE", "VALIDATING", "ACCEPTED", "EXECUTING", "ABORTED"}),
        "ACCEPTED": frozenset({"EXECUTING", "ABORTED"}),
        "EXECUTING": frozenset({"CLOSED", "PARTIAL_SUCCESS_DIRTY", "ABORTED"}),
        "PARTIAL_SUCCESS_DIRTY": frozenset({"MAINTENANCE_MODE", "ESCALATED", "CLOSED", "ABORTED"}),
        "MAINTENANCE_MODE": frozenset({"ACTIVE", "CLOSED", "ABORTED"}),
        "CLOSED": frozenset(),
        "ABORTED": frozenset(),
    }
)


def check_transition(allowed: Transitions | None, expected: str, to: str) -> None:
    """Refuse a transition that a table does not have.

    Args:
        allowed: the statuses that may follow each status; None allows everything.
        expected: the status to leave.
        to: the status to reach.

    Raises:
        TypeError: the table is no mapping.
        ValueError: it has no such transition.
    """
    if allowed is None:
        return
    if not isinstance(allowed, Mapping):
        raise TypeError(f"allowed must be a dict of statuses, not {type(allowed).__name__}")
    following = allowed.get(expected, ())
    if to not in following:
        known = ", ".join(sorted(following)) or "nothing"
        raise ValueError(
            f"to is {to!r}, and after {expected!r} the table of allowed transitions has {known}"
        )
