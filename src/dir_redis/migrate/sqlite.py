"""The records of a SQLite store, read and written beneath its Protocols."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dir_redis.bundle import StorageBundle
from dir_redis.migrate.exact import no_ledger
from dir_redis.migrate.paging import pages
from dir_redis.migrate.records import (
    Agent,
    AuditRow,
    Budget,
    Capacity,
    Counter,
    DirtyMark,
    HeldReservation,
    IdempotencyKey,
    K,
    LedgerEntry,
    R,
    ReaderGroup,
    Record,
    Request,
    Retries,
    Session,
    State,
    Transition,
)
from dir_redis.migrate.sqlite_logs import AuditRows, LedgerEntries, Transitions
from dir_redis.migrate.sqlite_records import (
    Agents,
    Archivers,
    Counters,
    Keys,
    Marks,
    Rejections,
    Sessions,
    States,
)
from dir_redis.migrate.sqlite_requests import Budgets, Requests
from dir_redis.migrate.sqlite_reservations import Capacities, Reservations
from dir_redis.migrate.tables import Part, find_in, read_log, read_part
from dir_redis.sqlite import SqliteDecisionAuditStorage, SqliteResourceLockStorage
from dir_redis.sqlite.database import SqliteDatabase
from dir_redis.sqlite.storage import SqliteStorage


class SqliteRawStore:
    """A SQLite store read and written beneath its Protocols; see :class:`RawStore`.

    Args:
        bundle: a bundle of SQLite storages that share a database, as ``sqlite_storage`` makes it.

    Raises:
        ValueError: the bundle holds other storages, or such of several files.
    """

    def __init__(self, bundle: StorageBundle) -> None:
        locks, audit = bundle.resource_lock, bundle.decision_audit
        databases = [
            storage._database if isinstance(storage, SqliteStorage) else None
            for storage in (
                *(bundle.agent_registry, bundle.context, bundle.idempotency),
                *(audit, bundle.saga, locks),
                *(bundle.intent_retry, bundle.escalation, bundle.lifecycle),
            )
        ]
        database = databases[0]
        if (
            database is None
            or not isinstance(locks, SqliteResourceLockStorage)
            or any(other is None or other.path != database.path for other in databases)
        ):
            raise ValueError("the bundle mixes backends; a copy needs the storages of one store")
        self.database: SqliteDatabase = database
        self.path = database.path
        self.where = f"sqlite:///{database.path}"
        scale = locks._scale
        self._parts: dict[type, Any] = {
            Counter: Counters(),
            Agent: Agents(),
            Session: Sessions(),
            State: States(),
            IdempotencyKey: Keys(),
            DirtyMark: Marks(),
            Capacity: Capacities(scale),
            HeldReservation: Reservations(scale),
            Retries: Rejections(),
            Budget: Budgets(),
            Request: Requests(),
            ReaderGroup: Archivers(),
        }
        chained = isinstance(audit, SqliteDecisionAuditStorage) and audit._chained
        self._logs: dict[type, Any] = {
            AuditRow: AuditRows(chained=chained),
            Transition: Transitions(),
        }
        if bundle.decision_ledger is not None:
            self._logs[LedgerEntry] = LedgerEntries()

    def read(self, kind: type[R]) -> Iterator[R]:
        if kind in self._parts:
            return read_part(self._parts[kind], self.database.read, self.database.clock.now)
        return read_log(self._logs[kind], self.database.read) if kind in self._logs else iter(())

    def find(self, kind: type[K], keys: Sequence[str]) -> Mapping[str, K]:
        part: Part[K] = self._parts[kind]
        return find_in(part, self.database.read, keys, self.database.clock.now())

    def put(self, records: Iterable[Record]) -> int:
        given: list[Any] = list(records)
        if not given:
            return 0
        kind = type(given[0])
        if kind not in self._parts and kind not in self._logs:
            raise no_ledger()
        with self.database.transaction() as connection:
            if kind in self._logs:
                return int(self._logs[kind].append(connection, given))
            return sum(self._put_page(connection, kind, page) for page in pages(given))

    def _put_page(self, connection: sqlite3.Connection, kind: type, page: list[Any]) -> int:
        def read(sql: str, *parameters: object) -> list[Any]:
            return connection.execute(sql, parameters).fetchall()

        part = self._parts[kind]
        there = set(part.find(read, [record.key for record in page], self.database.clock.now()))
        written = 0
        for record in page:
            if kind is Counter or record.key not in there:
                part.put(connection, record)
                there.add(record.key)
                written += 1
        return written
