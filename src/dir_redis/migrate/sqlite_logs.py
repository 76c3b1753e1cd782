"""The rows of a SQLite store's logs, as neutral records."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from dir_redis.clock import format_moment
from dir_redis.migrate.records import AuditRow, Transition
from dir_redis.sqlite.columns import moment_column, read_moment

T_contra = TypeVar("T_contra", contravariant=True)


class Appender(Protocol[T_contra]):
    """Appends the rows of one log."""

    def append(self, connection: sqlite3.Connection, rows: Sequence[T_contra]) -> None:
        """Append rows, in the caller's transaction."""
        ...


class AuditRows:
    select = """
        SELECT id, dfid, timestamp, event, step_id, state, CAST(detail_json AS TEXT), root_dfid,
            agent_id, severity
        FROM decision_audit_events WHERE id > ? ORDER BY id LIMIT ?
    """

    def row(self, found: Any) -> AuditRow:
        row_id, dfid, timestamp, *rest = found
        return AuditRow(dfid, read_moment("decision_audit_events", row_id, timestamp), *rest)

    def append(self, connection: sqlite3.Connection, rows: Sequence[AuditRow]) -> None:
        connection.executemany(
            """
            INSERT INTO decision_audit_events (dfid, timestamp, event, step_id, state, detail_json,
                root_dfid, agent_id, severity) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                (row.dfid, format_moment(row.moment_us), *row[2:6], row.root_dfid or row.dfid)
                + row[7:]
                for row in rows
            ],
        )


class Transitions:
    select = """
        SELECT id, dfid, created_at, from_status, to_status, root_dfid
        FROM flow_transitions WHERE id > ? ORDER BY id LIMIT ?
    """

    def row(self, found: Any) -> Transition:
        row_id, dfid, created_at, *rest = found
        return Transition(dfid, read_moment("flow_transitions", row_id, created_at), *rest)

    def append(self, connection: sqlite3.Connection, rows: Sequence[Transition]) -> None:
        connection.executemany(
            """
            INSERT INTO flow_transitions (dfid, created_at, from_status, to_status, root_dfid)
            VALUES (?, ?, ?, ?, ?)
            """,
            [
                (row.dfid, moment_column(row.moment_us), row.from_status, row.to_status)
                + (row.root_dfid or row.dfid,)
                for row in rows
            ],
        )
