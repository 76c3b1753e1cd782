"""Audit rows in ``decision_audit_events``, whose ids are the order of insertion."""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any, Unpack

from dir_redis.arguments import INT64_MAX, checked
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
from dir_redis.chain import (
    ChainEnd,
    ChainWalk,
    StoredLink,
    check_reaches,
    next_end,
    parse_anchor,
    report,
    stored_end,
)
from dir_redis.clock import format_moment
from dir_redis.fleet_protocols import AuditStreamStorage, EventIterator
from dir_redis.limits import LimitOptions
from dir_redis.log_rows import audit_row
from dir_redis.records import ChainReport
from dir_redis.sqlite.chain_ends import (
    read_chain_begin,
    read_chain_end,
    rows_of,
    said_end,
    write_chain_begin,
    write_chain_end,
)
from dir_redis.sqlite.columns import (
    as_bytes,
    parse_object,
    read_column,
    read_columns,
    read_moment,
    text_of,
)
from dir_redis.sqlite.database import FIRST_PAUSE_SEC, LONGEST_PAUSE_SEC, SqliteDatabase
from dir_redis.sqlite.storage import SqliteStorage

_TABLE = "decision_audit_events"
_COLUMNS = ("dfid", "root_dfid", "event", "step_id", "state", "severity", "detail_json")
_SELECT = f"SELECT id, timestamp, {', '.join(_COLUMNS)} FROM {_TABLE}"
_CHAIN = "audit"
_CHAINED_PAGE = (
    f"SELECT id, {as_bytes('dfid', 'event', 'step_id', 'state', 'detail_json', 'root_dfid')}, "
    f"{as_bytes('agent_id', 'severity', 'timestamp', 'chain_link')}, chain_number "
    f"FROM {_TABLE} WHERE id > ? ORDER BY id LIMIT {PAGE_ROWS}"
)
_LAST_LINK = (
    f"SELECT chain_number, chain_link FROM {_TABLE} "
    "WHERE id <= ? AND chain_number IS NOT NULL ORDER BY id DESC LIMIT 1"
)
_GROUPS = "SELECT name, archived FROM audit_groups"
# Ids of rows that were dropped are not given out again.
_LAST_ID = f"SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = '{_TABLE}'), 0)"


class SqliteDecisionAuditStorage(SqliteStorage, AuditStreamStorage):
    """The audit log in a SQLite file.

    Args:
        db_path: the file, or an open database.
        audit_chain: whether rows are chained by hash.
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
        self._chained = audit_chain

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
        encoded = encode_details(details, self._limits)
        record = AuditRecord(dfid, event, step_id, state, encoded, root_dfid, agent_id, severity)
        with self._database.transaction() as connection:
            now = self._database.clock.now()
            append_rows(connection, [record], now, chained=self._chained)

    def record_many(self, rows: Iterable[Mapping[str, Any]]) -> None:
        records = records_of(rows, self._limits)
        with self._database.transaction() as connection:
            now = self._database.clock.now()
            append_rows(connection, records, now, chained=self._chained)

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
            archived = _archived(connection.execute(f"{_GROUPS} WHERE name = ?", (group,)))
            connection.execute(
                "INSERT OR REPLACE INTO audit_groups (name, archived) VALUES (?, ?)",
                (group, max((number, *archived))),
            )

    @checked
    def get_archived(self, group: str) -> str | None:
        archived = _archived(self._database.read(f"{_GROUPS} WHERE name = ?", group))
        return str(archived[0] or "") if archived else None

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

    @checked
    def verify_audit(self, *, anchor: str | None = None) -> ChainReport:
        [points] = parse_anchor("anchor", anchor, 1)
        read = self._database.read
        begin = read_chain_begin(read, _CHAIN)
        check_reaches("anchor", points, begin)
        walk = ChainWalk(begin, said_end(read, _CHAIN), points, _TABLE)
        after = -(2**63)
        while rows := read(_CHAINED_PAGE, after):
            for row in rows:
                found = _stored_link(row)
                broken_at = walk.step(found)
                # What is missing before a row was dropped by the time that this is asked.
                if broken_at is not None and walk.explains(read_chain_begin(read, _CHAIN)):
                    broken_at = walk.step(found)
                if broken_at is not None:
                    return report([walk], broken_at)
            after = rows[-1][0]
        broken_at = walk.finish(said_end(read, _CHAIN))
        if broken_at is not None and walk.explains(read_chain_begin(read, _CHAIN)):
            broken_at = walk.finish(said_end(read, _CHAIN))
        return report([walk], broken_at)

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
    connection: sqlite3.Connection, records: Sequence[AuditRecord], moment: int, *, chained: bool
) -> None:
    """Append rows that were checked, in the caller's transaction; into the chain, or into none."""
    timestamp = format_moment(moment)
    ends: list[ChainEnd | tuple[None, None]] = [(None, None)] * len(records)
    if chained and records:
        end = read_chain_end(rows_of(connection), _CHAIN)
        ends = [end := next_end(end, record.digest, timestamp) for record in records]
        write_chain_end(connection, _CHAIN, end)
    connection.executemany(
        f"""
        INSERT INTO {_TABLE} (dfid, root_dfid, agent_id, event, timestamp, step_id, state,
                              detail_json, severity, chain_number, chain_link)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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
                *end,
            )
            for record, end in zip(records, ends, strict=True)
        ],
    )


def _drop_oldest(connection: sqlite3.Connection, before: int, surplus_up_to: int) -> int:
    """Drop a page of the oldest rows, too old or too many, that every group has archived."""
    archived = min(_archived(connection.execute(_GROUPS)), default=INT64_MAX)
    oldest = connection.execute(
        f"SELECT id, timestamp FROM {_TABLE} WHERE id <= ? ORDER BY id LIMIT {TRIM_ROWS}",
        (archived,),
    ).fetchall()
    may_go = list(
        itertools.takewhile(
            lambda row: row[0] <= surplus_up_to or read_moment(_TABLE, *row) < before, oldest
        )
    )
    if may_go:
        last = may_go[-1][0]
        linked = connection.execute(_LAST_LINK, (last,)).fetchone()
        if linked is not None:
            write_chain_begin(connection, _CHAIN, stored_end(f"{_TABLE} {last}", *linked))
        connection.execute(f"DELETE FROM {_TABLE} WHERE id <= ?", (last,))
    return len(may_go)


def _archived(rows: Iterable[Any]) -> list[int]:
    """Up to which row the groups have archived."""
    return [read_column("audit_groups", name, "archived", archived) for name, archived in rows]


def _stored_link(row: Any) -> StoredLink | None:
    row_id, *columns, number = row
    if number is None and columns[-1] is None:
        return None
    dfid, event, step_id, state, details, root_dfid, agent_id, severity, timestamp, link = map(
        text_of, columns
    )
    spoilt = any(column is not None and text_of(column) is None for column in columns)
    whole = not spoilt and None not in (dfid, event, step_id, state, details, severity, timestamp)
    record = AuditRecord(
        *(str(dfid), str(event), str(step_id), str(state), str(details), root_dfid, agent_id),
        severity=str(severity),
    )
    return StoredLink(
        record=f"{_TABLE} {row_id}",
        dfid=dfid,
        number=number,
        link=link,
        digest=record.digest if whole else None,
        place=str(timestamp),
    )


def _rows(records: list[Any]) -> list[dict[str, Any]]:
    return [_row(record) for record in records]


def _row(record: Any) -> dict[str, Any]:
    row_id, timestamp, *columns = record
    dfid, root_dfid, event, step_id, state, severity, detail_json = read_columns(
        _TABLE, row_id, _COLUMNS, columns
    )
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
