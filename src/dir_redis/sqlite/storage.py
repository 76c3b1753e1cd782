"""What all SQLite storages have: a database, opened for one of them or shared by many."""

from __future__ import annotations

from os import PathLike
from typing import Unpack

from dir_redis.limits import LimitOptions
from dir_redis.sqlite.database import SqliteDatabase


class SqliteStorage:
    """A storage in a SQLite file.

    Args:
        db_path: the file, which is made with its parent folders; or a database that is open
            already, which then belongs to whoever opened it.
        limits: the size limits, unless the database is open already and has its own.
    """

    def __init__(
        self, db_path: str | PathLike[str] | SqliteDatabase, **limits: Unpack[LimitOptions]
    ) -> None:
        self._shared = isinstance(db_path, SqliteDatabase)
        self._database = (
            db_path if isinstance(db_path, SqliteDatabase) else SqliteDatabase(db_path, **limits)
        )
        self._limits = self._database.limits

    def init_schema(self) -> None:
        """Make the tables; may be called any number of times, by many processes at once."""
        self._database.init_schema()

    def close(self) -> None:
        """Close the file, unless it was handed in open; further calls do nothing."""
        if not self._shared:
            self._database.close()
