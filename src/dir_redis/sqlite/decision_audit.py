"""Audit rows in ``decision_audit_events``, whose ids are the order of insertion."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from dir_redis.arguments import checked
from dir_redis.audit_events import (
    PAGE_ROWS,
    TRIM_ROWS,
    AuditRecord,
    check_limits,
    encode_details,
    not_a_cursor,
    numbered_events,
    parse_number,
    records_of,
)
from dir_redis.clock import format_moment
from dir_redis.fleet_protocols import AuditStreamStorage, EventIterator
from dir_redis.log_rows import audit_row
from dir_redis.sqlite.columns import parse_object, read_moment
from dir_redis.sqlite.database import FIRST_PAUSE_SEC, LONGEST_PAUSE_SEC
from dir_redis.sqlite.storage import SqliteStorage

_TABLE = "decision_audit_events"
_SELECT = (
    "SELECT id, dfid, root_dfid, event, timestamp, step_id, state, detail_json, severity "
    f"FROM {_TABLE}"
)
# Ids of rows that were dropped are not given out again.
_LAST_ID = f"SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = '{_TABLE}'), 0)"


class SqliteDecisionAuditStorage(SqliteStorage, AuditStreamStorage):
    """The audit log in a SQLite file."""

    @checked
    def record(
        self,
        dfid: str,
        event: str,
        *,
        step_id: str = "",
        state: str = "",
        details: dict[str, Any] | None = None,
        root_dfid: str | None = None,
        agent_id: str | None = None,
        severity: str = "INFO",
    ) -> None:
        encoded = encode_details(details)
        record = AuditRecord(dfid, event, step_id, state, encoded, root_dfid, agent_id, severity)
        with self._database.transaction() as connection:
            append_rows(connection, [record], self._database.clock.now())

    def record_many(self, rows: Iterable[Mapping[str, Any]]) -> None:
        records = records_of(rows)
        with self._database.transaction() as connection:
            append_rows(connection, records, self._database.clock.now())

    @checked
    def events_for_dfid(self, dfid: str) -> list[dict[str, Any]]:
        return _rows(self._database.read(f"{_SELECT} WHERE dfid = ? ORDER BY id", dfid))

    def all_events_chronological(self) -> list[dict[str, Any]]:
        return _rows(self._database.read(f"{_SELECT} ORDER BY id"))

    @checked
    def iter_events(self, dfid: str | None = None, *, after: str | None = None) -> EventIterator:
        of_flow = dfid is not None
        number = parse_number("after", after or "", of_flow=of_flow)
        return numbered_events(partial(self._page, dfid), _row, number, of_flow=of_flow)

    @checked
    def follow(
        self, *, after: str | None = None, timeout_sec: float | None = None
    ) -> EventIterator:
        if after is None:
            ((number,),) = self._database.read(_LAST_ID)
        else:
            number = parse_number("after", after)
        return numbered_events(partial(self._next_page, timeout_sec), _row, number)

    @checked
    def commit_archived(self, group: str, cursor: str) -> None:
        number = parse_number("cursor", cursor)
        with self._database.transaction() as connection:
            ((last,),) = connection.execute(_LAST_ID)
            if number > last:
                raise not_a_cursor("cursor", cursor)
            connection.execute(
                """
                INSERT INTO audit_groups (name, archived) VALUES (?, ?)
                ON CONFLICT (name) DO UPDATE SET archived = MAX(archived, excluded.archived)
                """,
                (group, number),
            )

    @checked
    def get_archived(self, group: str) -> str | None:
        rows = self._database.read("SELECT archived FROM audit_groups WHERE name = ?", group)
        return str(rows[0][0] or "") if rows else None

    @checked
    def forget_group(self, group: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM audit_groups WHERE name = ?", (group,))

    @checked
    def trim(self, *, older_than_sec: float | None = None, max_rows: int | None = None) -> int:
        check_limits(older_than_sec, max_rows)
        before = 0
        if older_than_sec is not None:
            before = self._database.clock.now() - round(older_than_sec * 1_000_000)
        surplus_up_to = 0
        if max_rows is not None:
            # Once, since finding it passes over all rows that stay.
            newest_surplus = self._database.read(
                f"SELECT id FROM {_TABLE} ORDER BY id DESC LIMIT 1 OFFSET ?", max_rows
            )
            surplus_up_to = newest_surplus[0][0] if newest_surplus else 0
        dropped = 0
        while True:
            # A transaction of its own for each page lets other writers in between.
            with self._database.transaction() as connection:
                page = _drop_oldest(connection, before, surplus_up_to)
            dropped += page
            if page < TRIM_ROWS:
                return dropped

    def _page(self, dfid: str | None, after: int) -> list[tuple[int, Any]]:
        of_flow, flow = ("", ()) if dfid is None else ("dfid = ? AND", (dfid,))
        records = self._database.read(
            f"{_SELECT} WHERE {of_flow} id > ? ORDER BY id LIMIT ?", *flow, after, PAGE_ROWS
        )
        return [(record[0], record) for record in records]

    def _next_page(self, timeout_sec: float | None, after: int) -> list[tuple[int, Any]]:
        """Look again and again for rows after a number; return none when time is over."""
        deadline = None if timeout_sec is None else time.monotonic() + timeout_sec
        pause = FIRST_PAUSE_SEC
        while True:
            page = self._page(None, after)
            left = pause if deadline is None else deadline - time.monotonic()
            if page or left <= 0:
                return page
            time.sleep(min(left, pause))
            pause = min(pause * 2, LONGEST_PAUSE_SEC)


def append_rows(
    connection: sqlite3.Connection, records: Sequence[AuditRecord], moment: int
) -> None:
    """Append rows that were checked, in the caller's transaction."""
    timestamp = format_moment(moment)
    connection.executemany(
        f"""
        INSERT INTO {_TABLE} (dfid, root_dfid, agent_id, event, timestamp, step_id, state,
                              detail_json, severity)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        [
            (
                record.dfid,
                record.root_dfid or record.dfid,
                record.agent_id,
                record.event,
                timestamp,
                record.step_id,
                record.state,
                record.details_json,
                record.severity,
            )
            for record in records
        ],
    )


def _drop_oldest(connection: sqlite3.Connection, before: int, surplus_up_to: int) -> int:
    """Drop a page of the oldest rows, too old or too many, that every group has archived."""
    oldest = connection.execute(
        f"""
        SELECT id, timestamp FROM {_TABLE}
        WHERE id <= COALESCE((SELECT MIN(archived) FROM audit_groups), {2**63 - 1})
        ORDER BY id LIMIT {TRIM_ROWS}
        """
    ).fetchall()
    may_go = list(
        itertools.takewhile(
            lambda row: row[0] <= surplus_up_to or read_moment(_TABLE, *row) < before, oldest
        )
    )
    if may_go:
        connection.execute(f"DELETE FROM {_TABLE} WHERE id <= ?", (may_go[-1][0],))
    return len(may_go)


def _rows(records: list[Any]) -> list[dict[str, Any]]:
    return [_row(record) for record in records]


def _row(record: Any) -> dict[str, Any]:
    row_id, dfid, root_dfid, event, timestamp, step_id, state, detail_json, severity = record
    return audit_row(
        dfid=dfid,
        root_dfid=root_dfid,
        event=event,
        moment=read_moment(_TABLE, row_id, timestamp),
        step_id=step_id,
        state=state,
        details=parse_object(_TABLE, row_id, detail_json),
        severity=severity,
    )
