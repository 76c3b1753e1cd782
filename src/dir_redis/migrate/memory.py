"""The records of a memory store, read and written beneath its Protocols."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, cast

from dir_redis.bundle import StorageBundle
from dir_redis.memory import (
    MemoryAgentRegistryStorage,
    MemoryContextStorage,
    MemoryDecisionAuditStorage,
    MemoryDecisionLedgerStorage,
    MemoryEscalationStorage,
    MemoryIdempotencyStorage,
    MemoryIntentRetryStorage,
    MemoryLifecycleStorage,
    MemoryResourceLockStorage,
    MemorySagaStorage,
)
from dir_redis.memory.storage import MemoryStore
from dir_redis.migrate.exact import no_ledger
from dir_redis.migrate.memory_logs import AuditRows, LedgerEntries, Log, Transitions
from dir_redis.migrate.memory_records import (
    Agents,
    Archivers,
    Counters,
    Keys,
    Marks,
    Part,
    Rejections,
    Sessions,
    States,
)
from dir_redis.migrate.memory_requests import Budgets, Requests
from dir_redis.migrate.memory_reservations import Capacities, Reservations
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
    Keyed,
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


class MemoryRawStore:
    """A memory store read and written beneath its Protocols; see :class:`RawStore`.

    Args:
        bundle: a bundle of memory storages that belong together, as ``memory_storage`` makes it.

    Raises:
        ValueError: the bundle holds other storages, or such of several stores.
    """

    where = "memory://"

    def __init__(self, bundle: StorageBundle) -> None:
        agents, context, idempotency = bundle.agent_registry, bundle.context, bundle.idempotency
        audit, saga, locks = bundle.decision_audit, bundle.saga, bundle.resource_lock
        retries, escalation, lifecycle = bundle.intent_retry, bundle.escalation, bundle.lifecycle
        if not (
            isinstance(agents, MemoryAgentRegistryStorage)
            and isinstance(context, MemoryContextStorage)
            and isinstance(idempotency, MemoryIdempotencyStorage)
            and isinstance(audit, MemoryDecisionAuditStorage)
            and isinstance(saga, MemorySagaStorage)
            and isinstance(locks, MemoryResourceLockStorage)
            and isinstance(retries, MemoryIntentRetryStorage)
            and isinstance(escalation, MemoryEscalationStorage)
            and isinstance(lifecycle, MemoryLifecycleStorage)
        ):
            raise ValueError("the bundle mixes backends; a copy needs the storages of one store")
        stores = {
            id(storage._store)
            for storage in (agents, context, idempotency, audit, saga, locks, retries, escalation)
        } | {id(lifecycle._store)}
        if len(stores) > 1:
            raise ValueError("the bundle's storages belong to several stores; a copy needs one")
        self.store: MemoryStore = agents._store
        self._parts: dict[type, Part[Any]] = {
            Counter: Counters(locks, saga),
            Agent: Agents(agents),
            Session: Sessions(context),
            State: States(context),
            IdempotencyKey: Keys(idempotency),
            DirtyMark: Marks(saga),
            Capacity: Capacities(locks),
            HeldReservation: Reservations(locks),
            Retries: Rejections(retries),
            Budget: Budgets(escalation),
            Request: Requests(escalation),
            ReaderGroup: Archivers(audit),
        }
        self._logs: dict[type, Log[Any]] = {
            AuditRow: AuditRows(audit),
            Transition: Transitions(lifecycle),
        }
        ledger = bundle.decision_ledger
        if isinstance(ledger, MemoryDecisionLedgerStorage):
            self._logs[LedgerEntry] = LedgerEntries(ledger)

    def read(self, kind: type[R]) -> Iterator[R]:
        if kind in self._parts:
            return self._keyed(self._parts[kind])
        return self._rows(self._logs[kind]) if kind in self._logs else iter(())

    def find(self, kind: type[K], keys: Sequence[str]) -> Mapping[str, K]:
        part = self._parts[kind]
        with self.store.lock:
            found = {key: part.find(key) for key in keys}
        return {key: record for key, record in found.items() if record is not None}

    def put(self, records: Iterable[Record]) -> int:
        records = iter(records)
        first = next(records, None)
        if first is None:
            return 0
        part, log = self._parts.get(type(first)), self._logs.get(type(first))
        written = 0
        with self.store.lock:
            for record in chain([first], records):
                if log is not None:
                    written += log.append(record)
                elif part is None:
                    raise no_ledger()
                elif isinstance(record, Counter) or part.find(cast(Keyed, record).key) is None:
                    part.put(record)
                    written += 1
            self.store.changed.notify_all()
        return written

    def _keyed(self, part: Part[R]) -> Iterator[R]:
        with self.store.lock:
            keys = part.keys()
        for page in pages(keys):
            with self.store.lock:
                found = [part.find(key) for key in page]
            yield from (record for record in found if record is not None)

    def _rows(self, log: Log[R]) -> Iterator[R]:
        after = 0
        while True:
            with self.store.lock:
                page, after = log.page(after)
            if not page:
                return
            yield from page
