"""An append-only log: one stream per partition, and per flow a list of its entry ids.

The list keeps the read of one flow independent of the log's length, at a fifth of the memory of
a second stream. An entry's id carries its time: ``<ms>-<microseconds within it * 1000 + n>``.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dir_redis.audit_events import PAGE_ROWS
from dir_redis.errors import CorruptRecordError
from dir_redis.redis.keys import Keys
from dir_redis.redis.replies import as_fields, as_text
from dir_redis.redis.steps import Argument, Call, Command, Request, Steps, WaitForEntries

# Of a log in many partitions a page of each is held at a time; so many rows they have in any case.
_LEAST_PAGE_ROWS = 100
# Where partitions cannot be waited for together, each gets so long before the others' turn.
_TURN_SEC = 0.05
_LONG_SEC = 3600.0  # the driver ends each wait sooner anyway


class Entry(NamedTuple):
    """One row of a log: its id, its moment in microseconds since 1970 UTC, and what it holds."""

    id: tuple[int, int]
    moment: int
    content: Any

    @property
    def fields(self) -> dict[str, str]:
        """Its fields; read only now, so that a spoilt row is no obstacle to those before it.

        Raises:
            UnicodeDecodeError: they hold something else than UTF-8.
        """
        return as_fields(self.content)

    @property
    def place(self) -> str:
        """Its id as the server writes it."""
        return f"{self.id[0]}-{self.id[1]}"


def append(keys: Keys, kind: str, dfid: str, fields: tuple[Argument, ...]) -> Request:
    """Ask to append a row of a flow to the log of a kind, ``"audit"`` or ``"transitions"``."""
    return Call("flow_log_append", (keys.log(kind, dfid), keys.log_of_flow(kind, dfid)), fields)


def read_flow(keys: Keys, kind: str, dfid: str) -> Steps[list[Entry]]:
    """Read all rows of one flow, in order: one round trip per page."""
    reader = FlowReader(keys, kind, dfid, "")
    entries: list[Entry] = []
    while True:
        page = yield from reader.read()
        entries.extend(page)
        if len(page) < PAGE_ROWS:
            return entries


def read_all(keys: Keys, kind: str) -> Steps[list[tuple[str, Entry]]]:
    """Read all rows of all partitions, in order of their time: one round trip per page each.

    Returns:
        Each with the stream it is in.
    """
    logs = keys.in_each_partition(kind)
    reader = LogReader(logs, [""] * keys.partitions, page_rows=PAGE_ROWS)
    entries: list[tuple[str, Entry]] = []
    while True:
        page = yield from reader.read()
        entries.extend((logs[partition], entry) for partition, entry in page)
        if reader.at_end:
            return entries


class FlowReader:
    """Reads one flow's rows page by page, from whatever place.

    Args:
        keys: the namespace's keys.
        kind: the log, ``"audit"`` or ``"transitions"``.
        dfid: the flow.
        after: the id of the entry to begin after; empty for the first row.
    """

    def __init__(self, keys: Keys, kind: str, dfid: str, after: str) -> None:
        self._keys = (keys.log(kind, dfid), keys.log_of_flow(kind, dfid))
        self._after = after

    def read(self) -> Steps[list[Entry]]:
        """Return the next page; an empty one at the end."""
        page = yield Call("flow_log_read", self._keys, (self._after, PAGE_ROWS))
        entries = list(_entries(self._keys[0], page))
        if entries:
            self._after = entries[-1].place
        return entries


class LogReader:
    """Reads the rows of all partitions, merged in order of their time, from whatever place.

    It holds no more than one page of each partition.

    Args:
        logs: the partitions' streams.
        after: for each the id of the entry to begin after; empty for the first.
        page_rows: entries per page of a partition.
    """

    def __init__(
        self, logs: Sequence[str], after: Sequence[str], *, page_rows: int | None = None
    ) -> None:
        self._logs = tuple(logs)
        self._after = list(after)
        self._page_rows = page_rows or max(_LEAST_PAGE_ROWS, PAGE_ROWS // len(self._logs))
        self._unread: list[deque[Entry]] = [deque() for _ in logs]
        self._ended = [False] * len(logs)
        self._turn = 0

    @property
    def at_end(self) -> bool:
        """Whether every partition had no further rows when it was last looked at."""
        return all(self._ended)

    def read(self) -> Steps[list[tuple[int, Entry]]]:
        """Return the next rows, each with its partition; none at the end."""
        while True:
            wanted = [
                partition
                for partition, unread in enumerate(self._unread)
                if not unread and not self._ended[partition]
            ]
            if wanted:
                replies = yield [self._page(partition) for partition in wanted]
                for partition, page in zip(wanted, replies, strict=True):
                    self._keep(partition, page)
            rows = self._merge()
            if rows or self.at_end:
                return rows

    def follow(
        self, timeout_sec: float | None, *, together: bool
    ) -> Steps[list[tuple[int, Entry]]]:
        """Return the next rows as soon as there are any; none when time is over.

        Args:
            timeout_sec: how long to wait; None for ever.
            together: whether one command can wait for all partitions.
        """
        deadline = None if timeout_sec is None else time.monotonic() + timeout_sec
        over = False
        while True:
            if not together:
                # The wait below saw one of them only.
                self._ended = [False] * len(self._logs)
            rows = yield from self.read()
            if rows or over:
                return rows
            left = _LONG_SEC if deadline is None else deadline - time.monotonic()
            over = left <= 0
            yield from self._wait(left, together=together)

    def _wait(self, seconds: float, *, together: bool) -> Steps[None]:
        if together:
            waiting = range(len(self._logs))
        else:
            waiting = range(self._turn, self._turn + 1)
            self._turn = (self._turn + 1) % len(self._logs)
            seconds = min(seconds, _TURN_SEC)
        reply = yield WaitForEntries(
            tuple(self._logs[partition] for partition in waiting),
            tuple(self._after[partition] or "0-0" for partition in waiting),
            seconds,
            self._page_rows,
        )
        for log, page in _by_stream(reply):
            self._keep(self._logs.index(log), page)

    def _page(self, partition: int) -> Request:
        after = self._after[partition]
        return Command(
            "XRANGE",
            self._logs[partition],
            (f"({after}" if after else "-", "+", "COUNT", self._page_rows),
        )

    def _keep(self, partition: int, page: list[Any]) -> None:
        entries = list(_entries(self._logs[partition], page))
        self._ended[partition] = len(entries) < self._page_rows
        if entries:
            self._unread[partition].extend(entries)
            self._after[partition] = entries[-1].place

    def _merge(self) -> list[tuple[int, Entry]]:
        """Take what is certain to come before all that is still to be read."""
        # A partition with rows still to be read has none of them before the last it has given.
        limits = [
            unread[-1].id if unread else (0, 0)
            for unread, ended in zip(self._unread, self._ended, strict=True)
            if not ended
        ]
        limit = min(limits, default=None)
        certain = []
        for partition, unread in enumerate(self._unread):
            rows = []
            while unread and (limit is None or unread[0].id <= limit):
                rows.append((partition, unread.popleft()))
            certain.append(rows)
        return list(heapq.merge(*certain, key=lambda row: row[1].id))


def last_place(key: str, page: list[Any]) -> str:
    """The id of the only entry of a page, empty for none."""
    return next((entry.place for entry in _entries(key, page)), "")


def _by_stream(reply: Any) -> Iterator[tuple[str, list[Any]]]:
    """The streams of an XREAD and their entries, as RESP2 or RESP3 clients have them."""
    if isinstance(reply, dict):
        for log, entries in reply.items():
            nested = len(entries) == 1 and isinstance(entries[0], list)
            yield as_text(log), entries[0] if nested else entries
    else:
        for log, entries in reply or ():
            yield as_text(log), entries


def _entries(key: str, page: list[Any]) -> Iterator[Entry]:
    for raw_id, fields in page:
        try:
            milliseconds, sequence = map(int, as_text(raw_id).split("-"))
        except ValueError as error:
            raise CorruptRecordError(key, f"{raw_id!r} is no entry id") from error
        moment = milliseconds * 1000 + min(sequence // 1000, 999)
        yield Entry((milliseconds, sequence), moment, fields)
