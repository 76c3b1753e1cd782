"""The rows of a SQLite store's logs, as neutral records; appended in the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from dir_redis.audit_events import AuditRecord
from dir_redis.ledger_entries import LedgerRecord
from dir_redis.migrate.records import AuditRow, LedgerEntry, Transition
from dir_redis.sqlite.columns import moment_column, read_columns, read_moment
from dir_redis.sqlite.decision_audit import append_rows
from dir_redis.sqlite.decision_ledger import append_entry

_AUDIT = "decision_audit_events"
_AUDIT_COLUMNS = ("dfid", "event", "step_id", "state", "detail_json") + (
    "root_dfid",
    "agent_id",
    "severity",
)
_LEDGER = "decision_ledger_entries"
_TRANSITIONS = "flow_transitions"
_TRANSITION_COLUMNS = ("dfid", "from_status", "to_status", "root_dfid")


class AuditRows:
    def __init__(self, *, chained: bool) -> None:
        self._chained = chained

    select = """
        SELECT id, timestamp, dfid, event, step_id, state, CAST(detail_json AS TEXT), root_dfid,
            agent_id, severity
        FROM decision_audit_events WHERE id > ? ORDER BY id LIMIT ?
    """

    def row(self, found: Any) -> AuditRow:
        row_id, timestamp, *columns = found
        dfid, *rest = read_columns(_AUDIT, row_id, _AUDIT_COLUMNS, columns)
        return AuditRow(dfid, read_moment(_AUDIT, row_id, timestamp), *rest)

    def append(self, connection: sqlite3.Connection, rows: Sequence[AuditRow]) -> int:
        for moment_us, same in groupby(rows, key=attrgetter("moment_us")):
            records = [AuditRecord(row.dfid, *row[2:]) for row in same]
            append_rows(connection, records, moment_us, chained=self._chained)
        return len(rows)


class LedgerEntries:
    """Entries, each chained to the one before it as it is appended; a flow has one."""

    select = """
        SELECT id, committed_at, dfid, root_dfid, agent_id, intent_payload, context_ref,
            evidence_hash, signature
        FROM decision_ledger_entries WHERE id > ? ORDER BY id LIMIT ?
    """

    def row(self, found: Any) -> LedgerEntry:
        row_id, committed_at, *columns = found
        dfid, *rest = read_columns(_LEDGER, row_id, LedgerRecord._fields, columns)
        return LedgerEntry(dfid, read_moment(_LEDGER, row_id, committed_at), *rest)

    def append(self, connection: sqlite3.Connection, rows: Sequence[LedgerEntry]) -> int:
        appended = 0
        for row in rows:
            known = "SELECT 1 FROM decision_ledger_entries WHERE dfid = ?"
            if connection.execute(known, (row.dfid,)).fetchone() is None:
                append_entry(connection, LedgerRecord(row.dfid, *row[2:]), row.moment_us)
                appended += 1
        return appended


class Transitions:
    select = """
        SELECT id, created_at, dfid, from_status, to_status, root_dfid
        FROM flow_transitions WHERE id > ? ORDER BY id LIMIT ?
    """

    def row(self, found: Any) -> Transition:
        row_id, created_at, *columns = found
        dfid, *rest = read_columns(_TRANSITIONS, row_id, _TRANSITION_COLUMNS, columns)
        return Transition(dfid, read_moment(_TRANSITIONS, row_id, created_at), *rest)

    def append(self, connection: sqlite3.Connection, rows: Sequence[Transition]) -> int:
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
        return len(rows)
