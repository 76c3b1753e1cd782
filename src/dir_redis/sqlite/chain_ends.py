"""Where the file's chains begin and end, in the table ``chain_ends``."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from dir_redis.chain import BEGINNING, ChainEnd, SaidEnd, Waypoint, stored_end
from dir_redis.errors import CorruptRecordError

Read = Callable[..., list[Any]]


def rows_of(connection: sqlite3.Connection) -> Read:
    """Read in the caller's transaction."""
    return lambda sql, *values: connection.execute(sql, values).fetchall()


def read_chain_end(read: Read, chain: str) -> ChainEnd:
    """Return where a chain ends.

    Args:
        read: runs a SELECT and returns its rows.
        chain: the chain's name.

    Raises:
        CorruptRecordError: that is not what is stored.
    """
    return _read(read, chain, "number, link")


def read_chain_begin(read: Read, chain: str) -> ChainEnd:
    """Return where a chain begins: behind the last record that was trimmed."""
    return _read(read, chain, "trimmed_number, trimmed_link")


def write_chain_end(connection: sqlite3.Connection, chain: str, end: ChainEnd) -> None:
    """Store where a chain ends now."""
    connection.execute(
        """
        INSERT INTO chain_ends (chain, number, link, trimmed_number, trimmed_link)
        VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (chain) DO UPDATE SET number = excluded.number, link = excluded.link
        """,
        (chain, *end, *BEGINNING),
    )


def write_chain_begin(connection: sqlite3.Connection, chain: str, begin: ChainEnd) -> None:
    """Store where a chain begins now that older records are dropped."""
    connection.execute(
        "UPDATE chain_ends SET trimmed_number = ?, trimmed_link = ? WHERE chain = ?",
        (*begin, chain),
    )


def said_end(read: Read, chain: str) -> SaidEnd:
    """Return where a chain ends as walking it takes that."""
    try:
        return Waypoint(read_chain_end(read, chain), _record(chain))
    except CorruptRecordError as error:
        return error


def _read(read: Read, chain: str, columns: str) -> ChainEnd:
    rows = read(f"SELECT {columns} FROM chain_ends WHERE chain = ?", chain)
    return stored_end(_record(chain), *rows[0]) if rows else BEGINNING


def _record(chain: str) -> str:
    return f"chain_ends {chain!r}"
