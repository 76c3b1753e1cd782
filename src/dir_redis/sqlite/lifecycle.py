"""Transitions in ``flow_transitions``, whose ids are their order."""

from __future__ import annotations

import sqlite3
from os import PathLike
from typing import Any, Unpack

from dir_redis.arguments import checked
from dir_redis.audit_events import AuditRecord, encode_details
from dir_redis.errors import TransitionConflictError
from dir_redis.fleet_protocols import FlowStatusStorage
from dir_redis.limits import LimitOptions
from dir_redis.log_rows import transition_row
from dir_redis.sqlite.columns import moment_column, read_column, read_columns, read_moment
from dir_redis.sqlite.database import SqliteDatabase
from dir_redis.sqlite.decision_audit import append_rows
from dir_redis.sqlite.flow_reservations import release_flow
from dir_redis.sqlite.storage import SqliteStorage
from dir_redis.transitions import (
    DEFAULT_TRANSITIONS,
    INITIAL_STATUS,
    Transitions,
    check_transition,
)

_TABLE = "flow_transitions"
_COLUMNS = ("dfid", "root_dfid", "from_status", "to_status")
_LATEST = "SELECT to_status FROM flow_transitions WHERE dfid = ? ORDER BY id DESC LIMIT 1"


class SqliteLifecycleStorage(SqliteStorage, FlowStatusStorage):
    """The transition log in a SQLite file (DIR §4.3).

    Args:
        db_path: the file, or an open database.
        audit_chain: whether the audit row of ``close_flow`` goes into the audit log's chain.
        limits: the size limits, unless the database is open already.
    """

    def __init__(
        self,
        db_path: str | PathLike[str] | SqliteDatabase,
        *,
        audit_chain: bool = False,
        **limits: Unpack[LimitOptions],
    ) -> None:
        super().__init__(db_path, **limits)
        self._audit_chain = audit_chain

    @checked
    def record_transition(
        self, dfid: str, from_status: str, to_status: str, *, root_dfid: str | None = None
    ) -> None:
        with self._database.transaction() as connection:
            moment = self._database.clock.now()
            _append(connection, dfid, from_status, to_status, root_dfid, moment)

    @checked
    def get_transitions(self, dfid: str | None = None) -> list[dict[str, Any]]:
        select = "SELECT id, dfid, root_dfid, from_status, to_status, created_at"
        rows = (
            self._database.read(f"{select} FROM flow_transitions ORDER BY id")
            if dfid is None
            else self._database.read(
                f"{select} FROM flow_transitions WHERE dfid = ? ORDER BY id", dfid
            )
        )
        return [
            transition_row(
                **dict(zip(_COLUMNS, read_columns(_TABLE, row_id, _COLUMNS, columns), strict=True)),
                moment=read_moment(_TABLE, row_id, created_at),
            )
            for row_id, *columns, created_at in rows
        ]

    @checked
    def transition(
        self,
        dfid: str,
        expected: str,
        to: str,
        *,
        allowed: Transitions | None = DEFAULT_TRANSITIONS,
        root_dfid: str | None = None,
    ) -> None:
        check_transition(allowed, expected, to)
        with self._database.transaction() as connection:
            status = _status(dfid, connection.execute(_LATEST, (dfid,)).fetchall())
            if (INITIAL_STATUS if status is None else status) != expected:
                raise TransitionConflictError(dfid, expected, status)
            _append(connection, dfid, expected, to, root_dfid, self._database.clock.now())

    @checked
    def current_status(self, dfid: str) -> str | None:
        return _status(dfid, self._database.read(_LATEST, dfid))

    @checked
    def close_flow(
        self,
        dfid: str,
        status: str,
        *,
        expected: str | None = None,
        event: str = "FLOW_CLOSED",
        details: dict[str, Any] | None = None,
        agent_id: str | None = None,
        root_dfid: str | None = None,
        session_ttl_sec: float | None = 86_400.0,
    ) -> bool:
        encoded = encode_details(details, self._limits)
        row = AuditRecord(dfid, event, "", status, encoded, root_dfid, agent_id, "INFO")
        with self._database.transaction() as connection:
            moment = self._database.clock.now()
            latest = _status(dfid, connection.execute(_LATEST, (dfid,)).fetchall())
            has = INITIAL_STATUS if latest is None else latest
            closing = has != status
            if closing and expected is not None and has != expected:
                raise TransitionConflictError(dfid, expected, latest)
            if closing:
                _append(connection, dfid, has, status, root_dfid, moment)
                append_rows(connection, [row], moment, chained=self._audit_chain)
            connection.execute("DELETE FROM intent_retry WHERE dfid = ?", (dfid,))
            _let_session_end(connection, dfid, session_ttl_sec, moment, again=closing)
            release_flow(connection, dfid)
            return closing


def _status(dfid: str, latest: list[Any]) -> str | None:
    return read_column(_TABLE, dfid, "to_status", latest[0][0]) if latest else None


def _append(
    connection: sqlite3.Connection,
    dfid: str,
    from_status: str,
    to_status: str,
    root_dfid: str | None,
    moment: int,
) -> None:
    connection.execute(
        """
        INSERT INTO flow_transitions (dfid, root_dfid, from_status, to_status, created_at)
        VALUES (?, ?, ?, ?, ?)
        """,
        (dfid, root_dfid or dfid, from_status, to_status, moment_column(moment)),
    )


def _let_session_end(
    connection: sqlite3.Connection,
    dfid: str,
    session_ttl_sec: float | None,
    moment: int,
    *,
    again: bool,
) -> None:
    """Set or clear when a session that is still there ends; not again, if it ends already."""
    expires = None if session_ttl_sec is None else moment + round(session_ttl_sec * 1_000_000)
    if expires is None and not again:
        return
    connection.execute(
        """
        UPDATE context_session SET expires_us = ?
        WHERE dfid = ? AND (expires_us IS NULL OR (? AND expires_us > ?))
        """,
        (expires, dfid, again, moment),
    )
