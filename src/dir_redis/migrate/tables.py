"""Reading neutral records from the tables of a SQLite file, page by page, whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from dir_redis.migrate.paging import PAGE
from dir_redis.migrate.records import K, R

T_co = TypeVar("T_co", covariant=True)

# Runs a SELECT with parameters and returns its rows.
Read = Callable[..., list[Any]]

# Before every key, and before every rowid.
FIRST_KEY, FIRST_ROW = "", -(2**63)


class Part(Protocol[T_co]):
    """The records of one kind.

    Attributes:
        keys: SQL for the places and keys after a place, at most so many, in the kind's order.
        beginning: the place before all.
    """

    @property
    def keys(self) -> str: ...

    @property
    def beginning(self) -> Any: ...

    def find(self, read: Read, keys: Sequence[str], now: int) -> Mapping[str, T_co]:
        """Those of some records that there are at a moment, by key."""
        ...


class Log(Protocol[T_co]):
    """The rows of one log.

    Attributes:
        select: SQL for the rows after an id, at most so many, with the id first.
    """

    @property
    def select(self) -> str: ...

    def row(self, found: Any) -> T_co | None:
        """Make a record of a row that ``select`` found; None if there is no making one."""
        ...


def in_order(table: str, key: str) -> str:
    """SQL for keys in order of insertion."""
    return f"SELECT rowid, {key} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?"


def by_key(table: str, key: str) -> str:
    """SQL for keys in their own order."""
    return f"SELECT {key}, {key} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT ?"


def among(keys: Sequence[str]) -> str:
    """SQL for being one of some keys, which are the parameters."""
    return f"IN ({', '.join('?' * len(keys))})"


def read_part(part: Part[R], read: Read, now: Callable[[], int]) -> Iterator[R]:
    """Read all records of a kind, a page at a time."""
    place = part.beginning
    while page := read(part.keys, place, PAGE):
        place = page[-1][0]
        keys = [key for _, key in page]
        found = part.find(read, keys, now())
        yield from (found[key] for key in keys if key in found)


def read_log(log: Log[R], read: Read) -> Iterator[R]:
    """Read all rows of a log, a page at a time."""
    place = FIRST_ROW
    while page := read(log.select, place, PAGE):
        place = page[-1][0]
        yield from (row for row in map(log.row, page) if row is not None)


def find_in(part: Part[K], read: Read, keys: Sequence[str], now: int) -> Mapping[str, K]:
    """Find some records of a kind."""
    return part.find(read, keys, now) if keys else {}
