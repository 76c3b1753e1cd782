"""The rows that the two logs return, one shape on every backend."""

from __future__ import annotations

from typing import Any

from dir_redis.clock import format_moment


def audit_row(
    *,
    dfid: str,
    root_dfid: str | None,
    event: str,
    moment: int,
    step_id: str,
    state: str,
    details: dict[str, Any],
    severity: str,
) -> dict[str, Any]:
    """Build a row of the audit log; moment is in microseconds since 1970 UTC."""
    timestamp = format_moment(moment)
    return {
        "dfid": dfid,
        "root_dfid": root_dfid or dfid,
        "event": event,
        "event_type": event,
        "timestamp": timestamp,
        "created_at": timestamp,
        "step_id": step_id,
        "state": state,
        "details": details,
        "severity": severity,
    }


def transition_row(
    *, dfid: str, root_dfid: str | None, from_status: str, to_status: str, moment: int
) -> dict[str, Any]:
    """Build a row of the transition log; moment is in microseconds since 1970 UTC."""
    return {
        "dfid": dfid,
        "root_dfid": root_dfid or dfid,
        "from_status": from_status,
        "to_status": to_status,
        "created_at": format_moment(moment),
    }
