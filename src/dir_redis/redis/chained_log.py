"""Walking the chains of a log, one per partition, whose entries hold their number and link."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dir_redis.chain import (
    BEGINNING,
    ChainEnd,
    ChainWalk,
    SaidEnd,
    StoredLink,
    Waypoint,
    check_reaches,
    report,
    stored_end,
)
from dir_redis.errors import CorruptRecordError
from dir_redis.records import ChainBreak, ChainReport
from dir_redis.redis.flow_log import Entry, LogReader
from dir_redis.redis.keys import Keys
from dir_redis.redis.replies import as_optional_text
from dir_redis.redis.steps import Command, Steps

# What a chained entry has behind its own fields.
LINK_FIELDS = ("number", "link")

_PAGE_ROWS = 500

Found = StoredLink | ChainBreak | None
"""An entry in its chain; one that is broken in itself; one that is in no chain."""

FindLinks = Callable[[str, list[Entry]], Steps[list[Found]]]
"""Makes links of a page of a log's entries; may ask the server for more."""


def verify_chains(
    keys: Keys,
    kind: str,
    anchors: Sequence[Sequence[Waypoint]],
    find_links: FindLinks,
    *,
    trimmed: bool,
) -> Steps[ChainReport]:
    """Walk a log's chains in all partitions up to the first break.

    Args:
        keys: the namespace's keys.
        kind: the log, ``"audit"`` or ``"ledger"``.
        anchors: what each partition's chain has to pass through.
        find_links: see :data:`FindLinks`.
        trimmed: whether entries are ever dropped from it, so that a chain may begin later.
    """
    walks: list[ChainWalk] = []
    logs = keys.in_each_partition(kind)
    for log, end_key, points in zip(
        logs, keys.in_each_partition(f"{kind}_end"), anchors, strict=True
    ):
        begin = (yield from _read_begin(end_key)) if trimmed else BEGINNING
        check_reaches("anchor", points, begin)
        walk = ChainWalk(begin, (yield from _said_end(end_key)), points, log)
        walks.append(walk)
        broken_at = yield from _walk(walk, log, find_links, end_key if trimmed else None)
        if broken_at is not None:
            return report(walks, broken_at)
        broken_at = walk.finish((yield from _said_end(end_key)))
        if broken_at is not None and trimmed and walk.explains((yield from _read_begin(end_key))):
            broken_at = walk.finish((yield from _said_end(end_key)))
        if broken_at is not None:
            return report(walks, broken_at)
    return report(walks, None)


def _walk(
    walk: ChainWalk, log: str, find_links: FindLinks, trimmed_by: str | None
) -> Steps[ChainBreak | None]:
    """Walk one partition; ``trimmed_by`` is the key that tells what was trimmed meanwhile."""
    reader = LogReader([log], [""], page_rows=_PAGE_ROWS)
    while page := [entry for _, entry in (yield from reader.read())]:
        for found in (yield from find_links(log, page)):
            if isinstance(found, ChainBreak):
                return found
            broken_at = walk.step(found)
            if broken_at is not None and trimmed_by is not None:
                # What is missing before a row was dropped by the time that this is asked.
                begin = yield from _read_begin(trimmed_by)
                broken_at = walk.step(found) if walk.explains(begin) else broken_at
            if broken_at is not None:
                return broken_at
    return None


def readable_fields(entry: Entry) -> dict[str, str]:
    """An entry's fields; none if they are no UTF-8 any more."""
    try:
        return entry.fields
    except UnicodeDecodeError:
        return {}


def stored_link(log: str, entry: Entry, fields: dict[str, str], digest: str | None) -> StoredLink:
    """Make a link of an entry that is, or should be, in the chain.

    Args:
        log: the stream.
        entry: the entry.
        fields: its fields.
        digest: of its contents; None if it does not have the fields it should have.
    """
    number = fields.get("number", "")
    return StoredLink(
        record=f"{log} {entry.place}",
        dfid=fields.get("dfid"),
        # Only as it was written: int() would also take " 7" and "07".
        number=int(number) if number.isdecimal() and str(int(number)) == number else None,
        link=fields.get("link"),
        digest=digest,
        place=entry.place,
    )


def _said_end(end_key: str) -> Steps[SaidEnd]:
    """Ask where a chain ends."""
    try:
        return Waypoint((yield from _read_end(end_key, ("number", "link"))), end_key)
    except CorruptRecordError as error:
        return error


def _read_begin(end_key: str) -> Steps[ChainEnd]:
    """Ask where a chain begins: behind the last entry that was trimmed."""
    return (yield from _read_end(end_key, ("trimmed_number", "trimmed_link")))


def _read_end(end_key: str, fields: tuple[str, str]) -> Steps[ChainEnd]:
    reply = yield Command("HMGET", end_key, fields)
    try:
        number, link = map(as_optional_text, reply)
    except UnicodeDecodeError as error:
        raise CorruptRecordError(end_key, f"it should hold UTF-8 ({error})") from error
    return stored_end(end_key, number, link)
