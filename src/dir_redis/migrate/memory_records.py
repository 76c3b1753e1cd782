"""What the storages of a memory store hold, as neutral records; the caller has its lock."""

from __future__ import annotations

from dataclasses import replace
from heapq import heappush
from typing import Protocol, TypeVar

from dir_redis.claims import KeyRecord
from dir_redis.documents import members_of
from dir_redis.memory import (
    MemoryAgentRegistryStorage,
    MemoryContextStorage,
    MemoryDecisionAuditStorage,
    MemoryIdempotencyStorage,
    MemoryIntentRetryStorage,
    MemoryResourceLockStorage,
    MemorySagaStorage,
)
from dir_redis.memory.agent_registry import _Agent
from dir_redis.memory.context import _Document, _read
from dir_redis.memory.saga import _Mark
from dir_redis.migrate.exact import split_document
from dir_redis.migrate.records import (
    Agent,
    Counter,
    DirtyMark,
    IdempotencyKey,
    ReaderGroup,
    Retries,
    Session,
    State,
)

T = TypeVar("T")


class Part(Protocol[T]):
    """The records of one kind."""

    def keys(self) -> list[str]:
        """All keys, in the kind's order; some may have no record any more."""
        ...

    def find(self, key: str) -> T | None:
        """A record, or None."""
        ...

    def put(self, record: T) -> None:
        """Write a record that is not there to the end of the order; of a counter, raise it."""
        ...


class Counters:
    """The last numbers given, without those of which none was given yet."""

    def __init__(self, locks: MemoryResourceLockStorage, saga: MemorySagaStorage) -> None:
        self._locks, self._saga = locks, saga

    def keys(self) -> list[str]:
        return ["reservations", "sagas"]

    def find(self, key: str) -> Counter | None:
        values = {"reservations": self._locks._last_number, "sagas": self._saga._last_epoch}
        return Counter(key, values[key]) if values.get(key) else None

    def put(self, record: Counter) -> None:
        if record.name == "reservations":
            self._locks._last_number = max(self._locks._last_number, record.value)
        else:
            self._saga._last_epoch = max(self._saga._last_epoch, record.value)


class Agents:
    def __init__(self, storage: MemoryAgentRegistryStorage) -> None:
        self._agents = storage._agents

    def keys(self) -> list[str]:
        return list(self._agents)

    def find(self, key: str) -> Agent | None:
        agent = self._agents.get(key)
        if agent is None:
            return None
        return Agent(
            *(key, agent.contract_json, agent.version, agent.priority, agent.status),
            *(agent.agent_version, agent.session_token, agent.suspension_reason, agent.stale_at),
        )

    def put(self, record: Agent) -> None:
        self._agents[record.agent_id] = _Agent(
            *(record.contract_json, record.priority, record.status, record.agent_version),
            *(record.session_token, record.suspension_reason, record.contract_version),
            record.heartbeat_until_us,
        )


def _document(data_json: str, base_keys: int | None, version: int) -> _Document:
    base, merged = split_document(data_json, base_keys)
    return _Document(base, version, merged)


def _base_keys(document: _Document) -> int | None:
    return len(members_of(document.data_json)) if document.merged else None


class Sessions:
    def __init__(self, storage: MemoryContextStorage) -> None:
        self._storage = storage

    def keys(self) -> list[str]:
        return list(self._storage._live_sessions())

    def find(self, key: str) -> Session | None:
        sessions = self._storage._live_sessions()
        data_json, version = _read(sessions, key)
        if data_json is None:
            return None
        document = sessions[key]
        return Session(
            *(key, data_json, _base_keys(document), version, document.agent_id, document.ends)
        )

    def put(self, record: Session) -> None:
        document = _document(record.data_json, record.base_keys, record.version)
        document.ends, document.agent_id = record.expires_us, record.agent_id
        self._storage._sessions[record.dfid] = document
        if record.expires_us is not None:
            heappush(self._storage._endings, (record.expires_us, record.dfid))


class States:
    def __init__(self, storage: MemoryContextStorage) -> None:
        self._states = storage._states

    def keys(self) -> list[str]:
        return list(self._states)

    def find(self, key: str) -> State | None:
        data_json, version = _read(self._states, key)
        if data_json is None:
            return None
        return State(key, data_json, _base_keys(self._states[key]), version)

    def put(self, record: State) -> None:
        self._states[record.agent_id] = _document(
            record.data_json, record.base_keys, record.version
        )


class Keys:
    def __init__(self, storage: MemoryIdempotencyStorage) -> None:
        self._storage = storage

    def keys(self) -> list[str]:
        return list(self._storage._records)

    def find(self, key: str) -> IdempotencyKey | None:
        found = self._storage._records.get(key)
        if found is None:
            return None
        record = replace(found)
        record.forget(self._storage._clock.now())
        if record.result is None and not record.has_claim:
            return None
        return IdempotencyKey(
            *(key, record.result, record.result_until_us, record.token, record.owner),
            *(record.until_us, record.fingerprint, record.completed, record.forget_us),
        )

    def put(self, record: IdempotencyKey) -> None:
        stored = KeyRecord(*record)
        self._storage._records[record.key] = stored
        self._storage._look_again(stored)


class Marks:
    def __init__(self, storage: MemorySagaStorage) -> None:
        self._marks = storage._marks

    def keys(self) -> list[str]:
        return list(self._marks)

    def find(self, key: str) -> DirtyMark | None:
        mark = self._marks.get(key)
        if mark is None:
            return None
        return DirtyMark(
            *(key, mark.failed_step, mark.partial_state_json, mark.marked_us, mark.due_us),
            *(mark.epoch, mark.owner),
        )

    def put(self, record: DirtyMark) -> None:
        self._marks[record.dfid] = _Mark(*record[1:])


class Rejections:
    def __init__(self, storage: MemoryIntentRetryStorage) -> None:
        self._counts = storage._counts

    def keys(self) -> list[str]:
        return list(self._counts)

    def find(self, key: str) -> Retries | None:
        count = self._counts.get(key)
        return None if count is None else Retries(key, count)

    def put(self, record: Retries) -> None:
        self._counts[record.dfid] = record.rejections


class Archivers:
    def __init__(self, storage: MemoryDecisionAuditStorage) -> None:
        self._archived = storage._archived

    def keys(self) -> list[str]:
        return list(self._archived)

    def find(self, key: str) -> ReaderGroup | None:
        return ReaderGroup(key) if key in self._archived else None

    def put(self, record: ReaderGroup) -> None:
        self._archived.setdefault(record.name, 0)
