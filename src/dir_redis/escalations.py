"""What escalations are on every backend: their limits, their answers, and a request in full."""

from __future__ import annotations

from typing import Any

from dir_redis.clock import format_moment
from dir_redis.records import Escalation, EscalationOutcome

MAX_WINDOW_SEC = 30 * 86_400
MAX_WINDOW_US = MAX_WINDOW_SEC * 1_000_000

# Tokens older than any window leave an agent's budget as it spends others; this many at a time.
FORGOTTEN_AT_ONCE = 100


def check_terms(
    window_sec: float, deadline_sec: float | None, default_decision: str | None
) -> None:
    """Refuse what no rule for a single argument can.

    Raises:
        ValueError: the window is too long, or a deadline and a default decision do not go together.
    """
    if window_sec > MAX_WINDOW_SEC:
        raise ValueError(
            f"window_sec must be at most {MAX_WINDOW_SEC} s (30 days), not {window_sec}"
        )
    if (deadline_sec is None) != (default_decision is None):
        given, missing = (
            ("default_decision", "deadline_sec")
            if deadline_sec is None
            else ("deadline_sec", "default_decision")
        )
        raise ValueError(f"{given} needs {missing}: a deadline decides something, or there is none")


def microseconds(seconds: float) -> int:
    """Return a duration in whole microseconds."""
    return round(seconds * 1_000_000)


def escalation(outcome: EscalationOutcome, limit: int, spent: int, wait_us: int) -> Escalation:
    """Say how it stands with a budget.

    Args:
        outcome: what was done.
        limit: tokens per window.
        spent: tokens in the window now.
        wait_us: microseconds until there is a token again; 0 if there is one.
    """
    return Escalation(outcome, max(0, limit - spent), max(0, wait_us) / 1_000_000)


def pending_request(
    dfid: str, agent_id: str, reason: str, context: Any, proposal: Any, impact: str
) -> dict[str, Any]:
    """Return a request as ``get_pending_requests`` lists it."""
    return {
        "dfid": dfid,
        "agent_id": agent_id,
        "reason": reason,
        "context": context,
        "proposal": proposal,
        "impact": impact,
    }


def full_request(
    asked: dict[str, Any],
    *,
    requested_us: int,
    deadline_us: int | None = None,
    default_decision: str | None = None,
    reviewer: str | None = None,
    reviewer_until_us: int | None = None,
    decision: str | None = None,
    resolved_at: str | None = None,
    decided_by: str | None = None,
    decision_reason: str | None = None,
    by_default: bool = False,
) -> dict[str, Any]:
    """Return a request as ``get_request`` does; one with a decision is RESOLVED.

    Args:
        asked: the request as ``get_pending_requests`` lists it.
    """
    return {
        **asked,
        "status": "PENDING" if decision is None else "RESOLVED",
        "requested_at": format_moment(requested_us),
        "deadline": _moment(deadline_us),
        "default_decision": default_decision,
        "reviewer": reviewer,
        "reviewer_until": _moment(reviewer_until_us),
        "decision": decision,
        "resolved_at": resolved_at,
        "decided_by": decided_by,
        "decision_reason": decision_reason,
        "by_default": by_default,
    }


def _moment(microseconds: int | None) -> str | None:
    return None if microseconds is None else format_moment(microseconds)
