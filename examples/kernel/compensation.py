"""Undoing what broke off half-way, by whichever process has time (DIR §7)."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from dir_core import CompensationAction

from dir_redis import LeaseLostError, TransitionConflictError
from examples.kernel.broker import REVERSED
from examples.kernel.desk import Desk
from examples.kernel.flow import Flow, Outcome


def compensate(desk: Desk) -> bool:
    """Compensate every flow that is dirty, but those that others are at.

    Returns:
        Whether there was one.
    """
    dirty = desk.saga.get_dirty_flows()
    for dfid in dirty:
        with suppress(LeaseLostError, TransitionConflictError):  # another process was quicker
            desk.saga.execute_compensation(dfid, CompensationAction.REVERT)
    return bool(dirty)


def revert(desk: Desk, dfid: str, partial_state: dict[str, Any]) -> bool:
    """Reverse what was filled, and end the flow; what was done already is passed over."""
    if desk.broker.look_up(dfid, REVERSED) is None:
        desk.broker.reverse(dfid, partial_state["shares"])
    Flow(desk, dfid).end(Outcome.COMPENSATED)
    return True
