"""An append-only log: one stream per partition, and per flow a list of its entry ids.

The list keeps the read of one flow independent of the log's length, at a fifth of the memory of
a second stream. An entry's id carries its time: ``<ms>-<microseconds within it * 1000 + n>``.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, NamedTuple

from dir_redis.errors import CorruptRecordError
from dir_redis.redis.keys import Keys
from dir_redis.redis.replies import as_fields, as_text
from dir_redis.redis.steps import Argument, Call, Command, Request, Steps

# Rows per reply, so that a long read neither blocks the server nor fills its output buffers.
PAGE_ROWS = 2000


class Entry(NamedTuple):
    """One row of a log: its id, its moment in microseconds since 1970 UTC, and its fields."""

    id: tuple[int, int]
    moment: int
    fields: dict[str, str]


def append(keys: Keys, kind: str, dfid: str, fields: tuple[Argument, ...]) -> Request:
    """Ask to append a row of a flow to the log of a kind, ``"audit"`` or ``"transitions"``."""
    return Call("flow_log_append", (keys.log(kind, dfid), keys.log_of_flow(kind, dfid)), fields)


def read_flow(keys: Keys, kind: str, dfid: str) -> Steps[list[Entry]]:
    """Read all rows of one flow, in order: one round trip per page."""
    log_key, flow_key = keys.log(kind, dfid), keys.log_of_flow(kind, dfid)
    entries: list[Entry] = []
    while True:
        page = yield Call("flow_log_read", (log_key, flow_key), (len(entries), PAGE_ROWS))
        entries.extend(_entries(log_key, page))
        if len(page) < PAGE_ROWS:
            return entries


def read_all(keys: Keys, kind: str) -> Steps[list[Entry]]:
    """Read all rows of all partitions, in order of their time: one round trip per page each."""
    logs = keys.in_each_partition(kind)
    rows: dict[str, list[Entry]] = {key: [] for key in logs}
    unread = logs
    while unread:
        requests: list[Request] = [_page_after(key, rows[key]) for key in unread]
        answered = zip(unread, (yield requests), strict=True)
        unread = []
        for key, page in answered:
            rows[key].extend(_entries(key, page))
            if len(page) == PAGE_ROWS:
                unread.append(key)
    return list(heapq.merge(*rows.values(), key=lambda entry: entry.id))


def _page_after(key: str, rows: list[Entry]) -> Command:
    start = f"({rows[-1].id[0]}-{rows[-1].id[1]}" if rows else "-"
    return Command("XRANGE", key, (start, "+", "COUNT", PAGE_ROWS))


def _entries(key: str, page: list[Any]) -> Iterator[Entry]:
    for raw_id, fields in page:
        try:
            milliseconds, sequence = map(int, as_text(raw_id).split("-"))
        except ValueError as error:
            raise CorruptRecordError(key, f"{raw_id!r} is no entry id") from error
        moment = milliseconds * 1000 + min(sequence // 1000, 999)
        yield Entry((milliseconds, sequence), moment, as_fields(fields))
