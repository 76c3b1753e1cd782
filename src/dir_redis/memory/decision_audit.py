"""Audit rows in a list, and each flow's rows in a list of its own."""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Unpack

from dir_redis.arguments import checked
from dir_redis.audit_events import (
    PAGE_ROWS,
    AuditRecord,
    check_limits,
    encode_details,
    not_a_cursor,
    numbered_events,
    parse_number,
    records_of,
)
from dir_redis.chain import (
    BEGINNING,
    ChainEnd,
    ChainWalk,
    StoredLink,
    Waypoint,
    check_reaches,
    next_end,
    parse_anchor,
    report,
)
from dir_redis.fleet_protocols import AuditStreamStorage, EventIterator
from dir_redis.limits import LimitOptions
from dir_redis.log_rows import audit_row
from dir_redis.memory.storage import MemoryStorage, MemoryStore
from dir_redis.records import ChainReport


class _Row(NamedTuple):
    """A stored row; its number counts all rows there ever were, its end is its link, if any."""

    number: int
    moment: int
    record: AuditRecord
    end: ChainEnd | None


class MemoryDecisionAuditStorage(MemoryStorage, AuditStreamStorage):
    """The audit log of one process.

    Args:
        store: what it shares with others of a bundle; None to stand alone.
        audit_chain: whether rows are chained by hash.
        limits: the size limits of one that stands alone.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        audit_chain: bool = False,
        **limits: Unpack[LimitOptions],
    ) -> None:
        super().__init__(store, **limits)
        self._chained = audit_chain
        self._chain_begin = self._chain_end = BEGINNING
        # Apart from the store's own condition, so that rows wake none but followers.
        self._rows: list[_Row] = []
        self._rows_by_flow: defaultdict[str, list[_Row]] = defaultdict(list)
        self._last_number = 0
        self._archived: dict[str, int] = {}

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
        self.append(
            [AuditRecord(dfid, event, step_id, state, encoded, root_dfid, agent_id, severity)]
        )

    def record_many(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.append(records_of(rows, self._limits))

    def append(self, records: Sequence[AuditRecord], moment: int | None = None) -> None:
        """Append rows that were checked, at one moment, now by default; not of the Protocol."""
        with self._lock:
            moment = self._clock.now() if moment is None else moment
            for record in records:
                self._last_number += 1
                end = None
                if self._chained:
                    end = self._chain_end = next_end(self._chain_end, record.digest, str(moment))
                row = _Row(self._last_number, moment, record, end)
                self._rows.append(row)
                self._rows_by_flow[record.dfid].append(row)
            self._store.appended.notify_all()

    @checked
    def events_for_dfid(self, dfid: str) -> list[dict[str, Any]]:
        with self._lock:
            rows = list(self._rows_by_flow.get(dfid, ()))
        return [_as_returned(row) for row in rows]

    def all_events_chronological(self) -> list[dict[str, Any]]:
        with self._lock:
            rows = list(self._rows)
        return [_as_returned(row) for row in rows]

    @checked
    def iter_events(self, dfid: str | None = None, *, after: str | None = None) -> EventIterator:
        of_flow = dfid is not None
        number = parse_number("after", after or "", of_flow=of_flow)
        return numbered_events(partial(self._page, dfid), _as_returned, number, of_flow=of_flow)

    @checked
    def follow(
        self, *, after: str | None = None, timeout_sec: float | None = None
    ) -> EventIterator:
        with self._lock:
            number = self._last_number if after is None else parse_number("after", after)
        return numbered_events(partial(self._next_page, timeout_sec), _as_returned, number)

    @checked
    def commit_archived(self, group: str, cursor: str) -> None:
        number = parse_number("cursor", cursor)
        with self._lock:
            if number > self._last_number:
                raise not_a_cursor("cursor", cursor)
            self._archived[group] = max(number, self._archived.get(group, 0))

    @checked
    def get_archived(self, group: str) -> str | None:
        with self._lock:
            number = self._archived.get(group)
        return None if number is None else str(number or "")

    @checked
    def forget_group(self, group: str) -> None:
        with self._lock:
            self._archived.pop(group, None)

    @checked
    def trim(self, *, older_than_sec: float | None = None, max_rows: int | None = None) -> int:
        check_limits(older_than_sec, max_rows)
        with self._lock:
            surplus = 0 if max_rows is None else len(self._rows) - max_rows
            before = 0
            if older_than_sec is not None:
                before = self._clock.now() - round(older_than_sec * 1_000_000)
            archived = min(self._archived.values(), default=self._last_number)
            dropped = 0
            for row in self._rows:
                if row.number > archived or not (dropped < surplus or row.moment < before):
                    break
                dropped += 1
            flows = Counter(row.record.dfid for row in self._rows[:dropped])
            ends = [row.end for row in self._rows[:dropped] if row.end is not None]
            self._chain_begin = ends[-1] if ends else self._chain_begin
            del self._rows[:dropped]
            for dfid, count in flows.items():
                del self._rows_by_flow[dfid][:count]
                if not self._rows_by_flow[dfid]:
                    del self._rows_by_flow[dfid]
            return dropped

    @checked
    def verify_audit(self, *, anchor: str | None = None) -> ChainReport:
        [points] = parse_anchor("anchor", anchor, 1)
        with self._lock:
            rows, begin, end = list(self._rows), self._chain_begin, self._chain_end
        check_reaches("anchor", points, begin)
        said = Waypoint(end, "the audit log's end")
        walk = ChainWalk(begin, said, points, "the audit log")
        for row in rows:
            broken_at = walk.step(_stored_link(row))
            if broken_at is not None:
                return report([walk], broken_at)
        return report([walk], walk.finish(said))

    def _page(self, dfid: str | None, after: int) -> list[tuple[int, _Row]]:
        with self._lock:
            rows = self._rows_after(dfid, after)
        return [(row.number, row) for row in rows]

    def _next_page(self, timeout_sec: float | None, after: int) -> list[tuple[int, _Row]]:
        """Wait until there are rows after a number; return none when time is over."""
        seconds = threading.TIMEOUT_MAX if timeout_sec is None else timeout_sec
        deadline = time.monotonic() + seconds
        with self._lock:
            while not (rows := self._rows_after(None, after)):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._store.wait(self._store.appended, left)
        return [(row.number, row) for row in rows]

    def _rows_after(self, dfid: str | None, number: int) -> list[_Row]:
        rows = self._rows if dfid is None else self._rows_by_flow.get(dfid, [])
        first = bisect_right(rows, number, key=lambda row: row.number)
        return rows[first : first + PAGE_ROWS]


def _stored_link(row: _Row) -> StoredLink | None:
    if row.end is None:
        return None
    return StoredLink(
        record=f"row {row.number}",
        dfid=row.record.dfid,
        number=row.end.number,
        link=row.end.link,
        digest=row.record.digest,
        place=str(row.moment),
    )


def _as_returned(row: _Row) -> dict[str, Any]:
    record = row.record
    return audit_row(
        dfid=record.dfid,
        root_dfid=record.root_dfid,
        event=record.event,
        moment=row.moment,
        step_id=record.step_id,
        state=record.state,
        details=json.loads(record.details_json),
        severity=record.severity,
    )
