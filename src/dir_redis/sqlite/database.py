"""One SQLite file, shared by the nine storages: its connection, transactions and errors."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any, Unpack

from dir_redis.clock import MonotonicClock
from dir_redis.errors import (
    NamespaceMismatchError,
    ResourceContentionError,
    StorageConfigurationError,
    StorageError,
)
from dir_redis.limits import LimitOptions, Limits
from dir_redis.paths import local_path, unusable
from dir_redis.sqlite import fork_safety
from dir_redis.sqlite.columns import read_column, text_or_bytes
from dir_redis.sqlite.driver_errors import is_busy, storage_error
from dir_redis.sqlite.schema import SCHEMA_VERSION, make_tables

PATIENCE_SEC = 30.0
FIRST_PAUSE_SEC = 0.001
LONGEST_PAUSE_SEC = 0.02

_META_TABLE = "CREATE TABLE IF NOT EXISTS dir_redis_meta (name TEXT PRIMARY KEY, value INTEGER)"


class SqliteDatabase:
    """A file that any number of threads and processes use at once.

    All threads share one connection and take turns: in one process a lock hands over faster than
    SQLite's own locks, whose waiters poll. The connection is closed before a fork and opened
    again when it is next needed.

    Args:
        db_path: the file; it and its parent folders are made.
        limits: the size limits of what is written through it.

    Raises:
        StorageConfigurationError: the path cannot be opened, or holds something else.
        NamespaceMismatchError: the file was made by a newer version of this package.
    """

    def __init__(self, db_path: str | PathLike[str], **limits: Unpack[LimitOptions]) -> None:
        self.limits = Limits(**limits)
        path = local_path("db_path", db_path)
        if str(db_path) == ":memory:":
            raise StorageConfigurationError("':memory:' names no file; use memory_storage()")
        self.path = path
        self.clock = MonotonicClock()
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unusable("db_path", self.path, error) from error
        fork_safety.watch(self)
        try:
            self.init_schema()
        except BaseException:
            self.close()
            raise

    def init_schema(self) -> None:
        """Make the tables, or bring those of dir-core 0.1.0 or an older schema up to date."""
        version = self.settle("schema_version", SCHEMA_VERSION, self._make_tables)
        if version < SCHEMA_VERSION:
            with self.transaction() as connection:
                self._make_tables(connection)
                version = SCHEMA_VERSION
                connection.execute(
                    "UPDATE dir_redis_meta SET value = ? WHERE name = 'schema_version'", (version,)
                )
        if version != SCHEMA_VERSION:
            raise NamespaceMismatchError(
                f"{self.path} has schema version {version}; this package knows {SCHEMA_VERSION}"
            )

    def read(self, sql: str, *parameters: object) -> list[Any]:
        """Run one SELECT and return its rows, all from one moment.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            with self._turn(PATIENCE_SEC, sql, parameters) as rows:
                return rows
        except sqlite3.Error as error:
            raise storage_error(self.path, error) from error

    @contextmanager
    def transaction(self, timeout_sec: float | None = None) -> Iterator[sqlite3.Connection]:
        """Have the file for writing: all that the block writes is kept, or with an error none.

        Args:
            timeout_sec: how long to wait for other threads and processes; 0 tries once, and None
                waits as long as is reasonable for a write that should not fail.

        Raises:
            ResourceContentionError: others kept the file busy for that long.
            StorageError: the file cannot be written.
        """
        try:
            patience = PATIENCE_SEC if timeout_sec is None else timeout_sec
            with self._turn(patience, "BEGIN IMMEDIATE"):
                connection = self._connected()
                try:
                    yield connection
                    self._commit(connection)
                finally:
                    # Some errors, such as a full disk, have rolled back already.
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise storage_error(self.path, error) from error

    def settle(self, name: str, value: int, make: Callable[[sqlite3.Connection], None]) -> int:
        """Return the number the file keeps under a name, agreeing on one at its first use.

        Args:
            name: what the number is.
            value: the number to keep if the file has none yet.
            make: makes what goes with the number, in the transaction that keeps it.
        """
        has_meta = "SELECT 1 FROM sqlite_master WHERE name = 'dir_redis_meta'"
        kept = "SELECT value FROM dir_redis_meta WHERE name = ?"
        rows = self.read(has_meta) and self.read(kept, name)
        if not rows:
            with self.transaction() as connection:
                connection.execute(_META_TABLE)
                rows = connection.execute(kept, (name,)).fetchall()
                if not rows:
                    make(connection)
                    connection.execute("INSERT INTO dir_redis_meta VALUES (?, ?)", (name, value))
                    return value
        return int(read_column("dir_redis_meta", name, "value", rows[0][0]))

    def close(self) -> None:
        """Close the file; further calls do nothing, and any other use is a StorageError."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def pause(self) -> None:
        """Close the connection and keep everybody waiting until :meth:`resume`."""
        self._lock.acquire()
        self._disconnect()

    def resume(self) -> None:
        """End what :meth:`pause` began."""
        self._lock.release()

    @contextmanager
    def _turn(
        self, timeout_sec: float, sql: str, parameters: tuple[object, ...] = ()
    ) -> Iterator[list[Any]]:
        """Run a statement once no other thread or process is in the way; then be alone.

        Waiting for another process happens outside the lock, so that a writer that has to wait
        holds up no reader of this process.
        """
        deadline = time.monotonic() + timeout_sec
        pause = FIRST_PAUSE_SEC
        while True:
            left = max(0.0, deadline - time.monotonic())
            if not self._lock.acquire(timeout=min(left, threading.TIMEOUT_MAX)):
                raise ResourceContentionError(
                    f"{self.path}: other threads kept it busy for {timeout_sec} s"
                )
            try:
                try:
                    rows = self._connected().execute(sql, parameters).fetchall()
                except sqlite3.OperationalError as error:
                    if not is_busy(error) or time.monotonic() >= deadline:
                        raise
                else:
                    yield rows
                    return
            finally:
                self._lock.release()
            left = max(0.0, deadline - time.monotonic())
            time.sleep(min(left, pause * random.uniform(0.5, 1.0)))
            pause = min(pause * 2, LONGEST_PAUSE_SEC)

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise storage_error(self.path, error, committing=True) from error

    def _connected(self) -> sqlite3.Connection:
        if self._closed:
            raise StorageError(f"{self.path} was closed")
        if self._connection is None:
            # No busy timeout and no implicit transactions: _turn waits, and transaction begins.
            connection = sqlite3.connect(
                self.path, timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                self._configure(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _configure(self, connection: sqlite3.Connection) -> None:
        # NORMAL, usual under WAL, may lose the latest commits when the power fails. A reservation
        # or an idempotency result that a caller was told is kept must be there afterwards.
        connection.execute("PRAGMA synchronous = FULL")
        connection.text_factory = text_or_bytes
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StorageConfigurationError(
                f"{self.path} is on a file system without SQLite's WAL mode (it offers {mode!r})"
            )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        make_tables(connection, self.path)
