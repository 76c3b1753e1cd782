"""Transitions from the status a flow really has."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from dir_core.lifecycle import FlowStatus

from dir_redis.arguments import string
from dir_redis.errors import TransitionConflictError
from dir_redis.fleet_protocols import FlowStatusStorage
from dir_redis.kernel.arguments import like
from dir_redis.kernel.storages import require
from dir_redis.sqlite import SqliteLifecycleStorage


def transition(
    dfid: str,
    from_status: FlowStatus,
    to_status: FlowStatus,
    retry_governor: Any = None,
    db_path: str | None = None,
    *,
    storage: FlowStatusStorage | None = None,
    root_dfid: str | None = None,
) -> None:
    """Append a flow's transition, if the flow has the status it is to leave (DIR §4.3).

    Any status may follow any other, as in dir-core; ``FlowStatusStorage.transition`` checks a
    table. The count of the retry governor is reset once the flow is CLOSED or ABORTED, whoever
    brought it there: called again after a break, this conflicts with itself and still resets.

    Args:
        dfid: the flow.
        from_status: the status it must have. A flow without transitions is CREATED.
        to_status: the status it gets.
        retry_governor: whose count of the flow is reset at its end; None for nobody's.
        db_path: a SQLite file of this package; counts without a storage.
        storage: where transitions are kept; with neither, nothing is stored or checked.
        root_dfid: the flow this one descends from; the flow itself by default.

    Raises:
        TransitionConflictError: the flow has another status; nothing was appended.
        TypeError: the storage lacks the atomic operation, or an argument has another type.
        ValueError: an argument cannot be stored.
    """
    wanted = string("to_status", to_status)
    if retry_governor is not None:
        like("retry_governor", retry_governor, "IntentRetryGovernor", "reset")
    resets = retry_governor is not None and wanted in (FlowStatus.CLOSED, FlowStatus.ABORTED)
    try:
        if storage is not None:
            require("transition", "lifecycle", storage, "transition")
            storage.transition(dfid, from_status, wanted, allowed=None, root_dfid=root_dfid)
        elif db_path is not None:
            with closing(SqliteLifecycleStorage(db_path)) as opened:
                opened.transition(dfid, from_status, wanted, allowed=None, root_dfid=root_dfid)
    except TransitionConflictError as conflict:
        # Whoever ended the flow may have got no further. No rejection of an ended flow matters.
        if resets and conflict.actual == wanted:
            retry_governor.reset(dfid)
        raise
    if resets:
        retry_governor.reset(dfid)
