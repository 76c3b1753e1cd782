"""What each storage of a memory store holds, as neutral records; the caller has its lock."""

from __future__ import annotations

from dataclasses import replace
from heapq import heappush
from itertools import islice
from typing import Protocol, TypeVar

from dir_redis.arguments import INT64_MAX
from dir_redis.audit_events import AuditRecord
from dir_redis.chain import next_end
from dir_redis.claims import KeyRecord
from dir_redis.clock import format_moment, parse_moment
from dir_redis.documents import members_of
from dir_redis.errors import NotRepresentableError
from dir_redis.ledger_entries import LedgerRecord
from dir_redis.log_rows import transition_row
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
from dir_redis.memory.agent_registry import _Agent
from dir_redis.memory.context import _Document, _read
from dir_redis.memory.decision_ledger import _Entry
from dir_redis.memory.escalation import _Request
from dir_redis.memory.resource_lock import _Flow
from dir_redis.memory.saga import _Mark
from dir_redis.migrate.exact import decided_us, exact_units, split_document
from dir_redis.migrate.paging import PAGE
from dir_redis.migrate.records import (
    Agent,
    AuditRow,
    Budget,
    Capacity,
    Counter,
    DirtyMark,
    Held,
    HeldReservation,
    IdempotencyKey,
    LedgerEntry,
    ReaderGroup,
    Request,
    Retries,
    Session,
    State,
    Transition,
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
        """Write a record to the end of the order, in place of one that is there."""
        ...


class Log(Protocol[T]):
    """The rows of one log."""

    def page(self, after: int) -> tuple[list[T], int]:
        """Some rows after a number, and the number to go on after."""
        ...

    def put(self, record: T) -> None:
        """Append a row."""
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
        self._agents.pop(record.agent_id, None)
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
        self._marks.pop(record.dfid, None)
        self._marks[record.dfid] = _Mark(*record[1:])


class Capacities:
    def __init__(self, storage: MemoryResourceLockStorage) -> None:
        self._storage = storage

    def keys(self) -> list[str]:
        return list(self._storage._capacities)

    def find(self, key: str) -> Capacity | None:
        units = self._storage._capacities.get(key)
        return None if units is None else Capacity(key, self._storage._scale.to_decimal(units))

    def put(self, record: Capacity) -> None:
        rid = record.resource_id
        self._storage._capacities[rid] = exact_units(
            self._storage._scale, f"capacity of {rid!r}", rid, record.amount
        )


class Reservations:
    def __init__(self, storage: MemoryResourceLockStorage) -> None:
        self._storage = storage

    def keys(self) -> list[str]:
        self._storage._end_leases()
        return list(self._storage._flows)

    def find(self, key: str) -> HeldReservation | None:
        self._storage._end_leases()
        flow = self._storage._flows.get(key)
        if flow is None:
            return None
        held = tuple(
            Held(rid, self._storage._scale.to_decimal(units), flow.since[rid])
            for rid, units in sorted(flow.held.items())
        )
        return HeldReservation(key, held, flow.token or 0, flow.until)

    def put(self, record: HeldReservation) -> None:
        locks = self._storage
        name = f"reservation of {record.dfid!r}"
        units = {
            rid: exact_units(locks._scale, name, rid, amount) for rid, amount, _ in record.held
        }
        for rid, wanted in units.items():
            if locks._others(record.dfid, rid) + wanted > INT64_MAX:
                raise NotRepresentableError(name, str(locks._scale.overflow(rid)))
        locks._remove(record.dfid)
        flow = _Flow(token=record.token or None, until=record.until_us)
        flow.since = {rid: since_us for rid, _, since_us in record.held if units[rid]}
        locks._flows[record.dfid] = flow
        locks._hold(record.dfid, units)
        if record.until_us is not None:
            heappush(locks._leases, (record.until_us, record.dfid))


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


class Budgets:
    def __init__(self, storage: MemoryEscalationStorage) -> None:
        self._tokens = storage._tokens

    def keys(self) -> list[str]:
        return list(self._tokens)

    def find(self, key: str) -> Budget | None:
        tokens = self._tokens.get(key)
        return Budget(key, tuple(tokens)) if tokens else None

    def put(self, record: Budget) -> None:
        self._tokens[record.agent_id] = list(record.spent_us)


class Requests:
    def __init__(self, storage: MemoryEscalationStorage) -> None:
        self._storage = storage

    def keys(self) -> list[str]:
        return [*self._storage._pending, *self._storage._resolved]

    def find(self, key: str) -> Request | None:
        self._storage._meet_deadlines()
        request = self._storage._pending.get(key) or self._storage._resolved.get(key)
        if request is None:
            return None
        resolved_us = decided_us(request.resolved_at)
        return Request(
            *(key, request.agent_id, request.reason, request.context_json, request.proposal_json),
            *(request.impact, request.requested_us, request.deadline_us, request.default_decision),
            *(request.reviewer, request.reviewer_until_us),
            "PENDING" if request.decision is None else "RESOLVED",
            request.decision,
            request.resolved_at if resolved_us is None else None,
            resolved_us,
            request.decided_by,
            request.decision_reason,
            request.by_default,
        )

    def put(self, record: Request) -> None:
        storage = self._storage
        resolved_at = record.resolved_at
        if resolved_at is None and record.resolved_us is not None:
            resolved_at = format_moment(record.resolved_us)
        request = _Request(
            *record[1:11],
            *(resolved_at, record.decision, record.decided_by, record.decision_reason),
            record.by_default,
        )
        storage._pending.pop(record.dfid, None)
        storage._resolved.pop(record.dfid, None)
        if record.decision is not None:
            storage._resolved[record.dfid] = request
            return
        storage._pending[record.dfid] = request
        if record.deadline_us is not None:
            heappush(storage._deadlines, (record.deadline_us, record.dfid))


class Archivers:
    def __init__(self, storage: MemoryDecisionAuditStorage) -> None:
        self._archived = storage._archived

    def keys(self) -> list[str]:
        return list(self._archived)

    def find(self, key: str) -> ReaderGroup | None:
        return ReaderGroup(key) if key in self._archived else None

    def put(self, record: ReaderGroup) -> None:
        self._archived.setdefault(record.name, 0)


class AuditRows:
    def __init__(self, storage: MemoryDecisionAuditStorage) -> None:
        self._storage = storage

    def page(self, after: int) -> tuple[list[AuditRow], int]:
        found = self._storage._rows_after(None, after)
        rows = [AuditRow(row.record.dfid, row.moment, *row.record[1:]) for row in found]
        return rows, found[-1].number if found else after

    def put(self, record: AuditRow) -> None:
        self._storage.append([AuditRecord(record.dfid, *record[2:])], record.moment_us)


class LedgerEntries:
    def __init__(self, storage: MemoryDecisionLedgerStorage) -> None:
        self._storage = storage

    def page(self, after: int) -> tuple[list[LedgerEntry], int]:
        found = islice(self._storage._entries.values(), after, after + PAGE)
        rows = [LedgerEntry(entry.record.dfid, entry.moment, *entry.record[1:]) for entry in found]
        return rows, after + len(rows)

    def put(self, record: LedgerEntry) -> None:
        """Append an entry, chained to the one before it."""
        storage = self._storage
        entry = LedgerRecord(record.dfid, *record[2:])
        storage._end = next_end(storage._end, entry.digest, str(record.moment_us))
        storage._entries[record.dfid] = _Entry(entry, record.moment_us, storage._end)


class Transitions:
    def __init__(self, storage: MemoryLifecycleStorage) -> None:
        self._storage = storage

    def page(self, after: int) -> tuple[list[Transition], int]:
        found = self._storage._rows[after : after + PAGE]
        rows = [
            Transition(
                row["dfid"],
                parse_moment("created_at", row["created_at"]),
                row["from_status"],
                row["to_status"],
                row["root_dfid"],
            )
            for row in found
        ]
        return rows, after + len(rows)

    def put(self, record: Transition) -> None:
        row = transition_row(
            dfid=record.dfid,
            root_dfid=record.root_dfid,
            from_status=record.from_status,
            to_status=record.to_status,
            moment=record.moment_us,
        )
        self._storage._rows.append(row)
        self._storage._rows_by_flow[record.dfid].append(row)
