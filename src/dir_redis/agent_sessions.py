"""What a registration does to an agent's session and status, alike on all backends."""

from __future__ import annotations

import secrets

from dir_redis.errors import VersionConflictError

ACTIVE = "ACTIVE"

_TOKEN_BYTES = 16


def new_session_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def registered_status(
    status: str | None, reason: str | None, *, keep_suspended: bool
) -> tuple[str, str | None]:
    """The status and suspension reason that an agent has after it registered.

    Args:
        status: its status before; None if it is new.
        reason: its suspension reason before.
        keep_suspended: whether a status other than ACTIVE is kept with its reason.
    """
    if keep_suspended and status is not None and status != ACTIVE:
        return status, reason
    return ACTIVE, None


def contract_conflict(agent_id: str, expected: int, found: int) -> VersionConflictError:
    """The error for a contract that has another version than its caller has read."""
    return VersionConflictError(f"contract of {agent_id!r}", expected, found)
