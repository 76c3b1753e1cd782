"""A file of dir-core's SQLite storages, of release 0.1 or of 0.2 to 0.4, as a source of records.

What the file holds besides is listed, table by table and column by column: one that nobody thought
of is listed too.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import Any

from dir_redis.amounts import DEFAULT_PLACES, AmountScale
from dir_redis.errors import StorageConfigurationError, StorageError
from dir_redis.migrate import dir_core_tables as tables
from dir_redis.migrate.dir_core_left_out import left_out
from dir_redis.migrate.dir_core_notes import Notes
from dir_redis.migrate.records import (
    K,
    R,
    Record,
)
from dir_redis.migrate.report import CopyReport, Listed
from dir_redis.migrate.tables import Part, find_in, read_log, read_part
from dir_redis.sqlite.driver_errors import storage_error

_PATIENCE_SEC = 30.0
_NAMES = "SELECT name FROM sqlite_master WHERE type = 'table'"


class DirCoreFile:
    """A file of dir-core's, read beneath its storages and never changed; see :class:`RawStore`.

    dir-core may have it open; it is read in short steps that keep nobody waiting.

    Args:
        path: the file.
        places: decimal places to which amounts, which dir-core keeps as floats, are rounded.

    Raises:
        StorageConfigurationError: it is no file of dir-core's.
        StorageError: it cannot be read.
    """

    def __init__(self, path: str | PathLike[str], *, places: int = DEFAULT_PLACES) -> None:
        self.path = Path(path).resolve()
        self.where = str(self.path)
        self._notes = Notes()
        try:
            self._connection = _connect(self.path)
        except sqlite3.Error as error:
            raise _error(self.path, error) from error
        try:
            # What is no UTF-8 becomes text that no record may hold, and is listed.
            self._connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
            names = {name for (name,) in self._select(_NAMES)}
            scale, notes = AmountScale(places), self._notes
            # A release since 0.2 that opened a file of 0.1 made tables beside the old ones, and
            # failed before it wrote to them.
            if {"agent_registry", "context_session"} <= names:
                self._parts, self._logs = tables.of_0_1(notes, scale)
            elif {"agent_registry", "flow_context"} <= names:
                self._parts, self._logs = tables.since_0_2(
                    notes, scale, has_ledger=tables.LEDGER in names
                )
            else:
                raise StorageConfigurationError(
                    f"{self.path} is no file of dir-core 0.1 to 0.4, nor of this package"
                )
        except BaseException:
            self.close()
            raise

    def add_notes_to(self, report: CopyReport) -> None:
        """Add what was found of the records read so far, and what the file holds besides."""
        for kind, noted in self._notes.of.items():
            tally = report.kinds[kind.__name__]
            tally.source += len(noted.not_represented)
            tally.not_represented += [Listed(*note) for note in noted.not_represented.items()]
            tally.adjusted += [Listed(*note) for note in noted.adjusted.items()]
        report.left_out += [*self._notes.left_out(), *left_out(self._select)]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def read(self, kind: type[R]) -> Iterator[R]:
        if kind in self._logs:
            return read_log(self._logs[kind], self._select)
        if kind in self._parts:
            return read_part(self._parts[kind], self._select, _now)
        return iter(())

    def find(self, kind: type[K], keys: Sequence[str]) -> Mapping[str, K]:
        if kind not in self._parts:
            return {}
        part: Part[K] = self._parts[kind]
        return find_in(part, self._select, keys, _now())

    def put(self, records: Iterable[Record]) -> int:
        raise StorageConfigurationError(f"{self.path} is dir-core's: it is a source, not a target")

    def _select(self, sql: str, *parameters: object) -> list[Any]:
        try:
            with closing(self._connection.execute(sql, parameters)) as cursor:
                return cursor.fetchall()
        except sqlite3.Error as error:
            raise _error(self.path, error) from error


def is_of_this_package(path: Path) -> bool:
    """Whether a SQLite file is one of this package's, or was opened by it.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with closing(_connect(path.resolve())) as connection:
            return ("dir_redis_meta",) in connection.execute(_NAMES).fetchall()
    except sqlite3.Error as error:
        raise _error(path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_SEC)


def _error(path: Path, error: sqlite3.Error) -> StorageError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK:
        return StorageConfigurationError(
            f"{path} has an unfinished write of a process that was killed; open it once with "
            "whatever wrote it, which takes that back, and copy it then"
        )
    return storage_error(path, error)


def _now() -> int:
    return time.time_ns() // 1000
