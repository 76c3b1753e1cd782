"""The tables of dir-core's files, for each of the two schemas there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Generic, TypeVar

from dir_redis.amounts import AmountScale
from dir_redis.arguments import identifier
from dir_redis.clock import parse_moment
from dir_redis.migrate import dir_core_records as records
from dir_redis.migrate.dir_core_notes import Notes
from dir_redis.migrate.records import (
    Agent,
    AuditRow,
    Budget,
    DirtyMark,
    Held,
    HeldReservation,
    IdempotencyKey,
    Keyed,
    LedgerEntry,
    Request,
    Retries,
    Row,
    Session,
    State,
    Transition,
)
from dir_redis.migrate.tables import FIRST_ROW, Read, among, in_order

# Since 0.2 a flow may have several requests; the last that was not cancelled stands for it.
STANDING_REQUEST = """
    status <> 'CANCELLED' AND NOT EXISTS (
        SELECT 1 FROM escalation_requests AS later
        WHERE later.dfid = request.dfid AND later.id > request.id AND later.status <> 'CANCELLED')
"""


T = TypeVar("T", bound=Keyed)


Parts = dict[type, Any]


LEDGER = "decision_ledger_entries"


def of_0_1(notes: Notes, scale: AmountScale) -> tuple[Parts, Parts]:
    """What reads the records and the logs of a file of dir-core 0.1."""
    parts: Parts = {
        **_parts_of_both(notes, scale),
        Session: _Table(
            notes, Session, "context_session", "dfid", "data, 1, NULL", records.session
        ),
        State: _Table(notes, State, "context_state", "agent_id", "data, version", records.state),
        IdempotencyKey: _Table(
            notes, IdempotencyKey, "idempotency_cache", "key", "result, NULL", records.result
        ),
        Request: _Table(
            notes,
            Request,
            "escalation_requests AS request",
            "dfid",
            _REQUEST_COLUMNS,
            records.request,
        ),
    }
    logs: Parts = {
        Transition: _Log(
            *(notes, Transition, "flow_transitions", "created_at, from_status, to_status, NULL"),
            records.transition,
        ),
        AuditRow: _Log(
            *(notes, AuditRow, "decision_audit_events"),
            "timestamp, event, step_id, state, CAST(detail_json AS TEXT), NULL, 'INFO'",
            records.audit_row,
        ),
    }
    return parts, logs


def since_0_2(notes: Notes, scale: AmountScale, *, has_ledger: bool) -> tuple[Parts, Parts]:
    """What reads the records and the logs of a file of dir-core 0.2 to 0.4; 0.3 has a ledger."""
    agent_of_flow = (
        "(SELECT agent_id FROM decision_flows AS flow WHERE flow.dfid = flow_context.dfid "
        f"AND agent_id <> '{records.KERNEL_AGENT}')"
    )
    parts: Parts = {
        **_parts_of_both(notes, scale),
        Session: _Table(
            notes,
            Session,
            "flow_context",
            "dfid",
            f"data, version, {agent_of_flow}",
            records.session,
        ),
        State: _Table(notes, State, "agent_state", "agent_id", "data, version", records.state),
        IdempotencyKey: _Table(
            *(notes, IdempotencyKey, "idempotency_cache", "idempotency_key"),
            "result, expires_at",
            records.result,
        ),
        Request: _Table(
            *(notes, Request, "escalation_requests AS request", "dfid", _REQUEST_COLUMNS),
            *(records.request, STANDING_REQUEST),
        ),
    }
    logs: Parts = {
        Transition: _Log(
            notes,
            *(Transition, "flow_transitions", "created_at, from_status, to_status, root_dfid"),
            records.transition,
        ),
        AuditRow: _Log(
            *(notes, AuditRow, "decision_audit_events"),
            "created_at, event_type, step_id, state, CAST(detail_json AS TEXT), root_dfid,"
            " severity",
            records.audit_row,
        ),
    }
    if has_ledger:
        logs[LedgerEntry] = _Log(
            *(notes, LedgerEntry, LEDGER),
            "committed_at, root_dfid, agent_id, CAST(intent_payload AS TEXT), context_ref,"
            " evidence_hash, signature",
            records.ledger_entry,
        )
    return parts, logs


def _parts_of_both(notes: Notes, scale: AmountScale) -> Parts:
    return {
        Agent: _Table(
            *(notes, Agent, "agent_registry", "agent_id"),
            "CAST(contract AS TEXT), priority, status, agent_version, session_token,"
            " suspension_reason",
            records.agent,
        ),
        DirtyMark: _Table(
            *(notes, DirtyMark, "saga_dirty_state", "dfid"),
            "failed_step, CAST(partial_state_json AS TEXT), created_at",
            records.mark,
        ),
        HeldReservation: _Reservations(notes, scale),
        Retries: _Table(notes, Retries, "intent_retry", "dfid", "rejection_count", records.retries),
        Budget: _Budgets(notes),
    }


class _Table(Generic[T]):
    """A table with a row for each record."""

    beginning = FIRST_ROW

    def __init__(
        self,
        notes: Notes,
        kind: type[T],
        table: str,
        key: str,
        columns: str,
        build: Callable[[Notes, Any], T | None],
        condition: str = "TRUE",
    ) -> None:
        self._notes, self._kind, self._build = notes, kind, build
        self.keys = in_order(table, key).replace("WHERE", f"WHERE {condition} AND")
        self._select = f"SELECT {key}, {columns} FROM {table} WHERE {condition} AND {key} "

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, T]:
        rows = _rows_of(self._notes, self._kind, read, self._select, keys)
        built = {
            row[0]: self._notes.make(self._kind, row[0], partial(self._build, self._notes, row))
            for row in rows
        }
        return {
            key: record
            for key, record in built.items()
            if record is not None and not _has_ended(self._notes, record, now)
        }


class _Log(Generic[T]):
    """A table with a row for each row of a log."""

    def __init__(
        self,
        notes: Notes,
        kind: type[Row],
        table: str,
        columns: str,
        build: Callable[[Notes, Any], Row],
    ) -> None:
        self._notes, self._kind, self._build = notes, kind, build
        self.select = f"SELECT id, dfid, {columns} FROM {table} WHERE id > ? ORDER BY id LIMIT ?"

    def row(self, found: Any) -> Row | None:
        return self._notes.make(self._kind, found[0], partial(self._build, self._notes, found))


class _Reservations:
    """``resource_locks``, with a row for each resource that a flow holds."""

    keys = """
        SELECT MIN(rowid), dfid FROM resource_locks
        GROUP BY dfid HAVING MIN(rowid) > ? ORDER BY 1 LIMIT ?
    """
    beginning = FIRST_ROW

    def __init__(self, notes: Notes, scale: AmountScale) -> None:
        self._notes, self._scale = notes, scale

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, HeldReservation]:
        select = "SELECT dfid, resource_id, amount, acquired_at FROM resource_locks WHERE dfid "
        held: defaultdict[str, list[Held]] = defaultdict(list)
        for row in _rows_of(self._notes, HeldReservation, read, select, keys):
            part = self._notes.make(HeldReservation, tuple(row[:2]), partial(self._held, row))
            if part is not None and part.amount:
                held[row[0]].append(part)
        return {
            dfid: HeldReservation(dfid, tuple(sorted(parts)), 0, None)
            for dfid, parts in held.items()
        }

    def _held(self, row: Any) -> Held:
        dfid, resource_id, amount, acquired_at = row
        rid = identifier("resource_id", resource_id)
        rounded = self._scale.to_decimal(self._scale.to_units(rid, amount))
        if rounded != Decimal(repr(amount)):
            reason = f"{amount!r} was rounded to {rounded:f}, {self._scale.places} decimal places"
            self._notes.adjusted(HeldReservation, (dfid, rid), reason)
        elif not rounded:
            reason = "an amount of 0 holds nothing"
            self._notes.leave_out(f"resource_locks {(dfid, rid)!r}", reason)
        return Held(rid, rounded, parse_moment("acquired_at", acquired_at))


class _Budgets:
    """``escalation_budget``, with a row for each token."""

    keys = """
        SELECT MIN(id), agent_id FROM escalation_budget
        GROUP BY agent_id HAVING MIN(id) > ? ORDER BY 1 LIMIT ?
    """
    beginning = FIRST_ROW

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, Budget]:
        select = "SELECT agent_id, id, created_at FROM escalation_budget WHERE agent_id "
        spent: defaultdict[str, list[int]] = defaultdict(list)
        for agent_id, token, created_at in _rows_of(self._notes, Budget, read, select, keys):
            moment = self._notes.make(
                Budget, (agent_id, token), partial(parse_moment, "created_at", created_at)
            )
            if moment is not None:
                spent[agent_id].append(moment)
        return {agent_id: Budget(agent_id, tuple(sorted(all_))) for agent_id, all_ in spent.items()}


def _rows_of(notes: Notes, kind: type, read: Read, select: str, keys: Sequence[str]) -> list[Any]:
    """The rows of those keys that a store can have."""
    usable = [
        key
        for key in keys
        if notes.make(kind, key, partial(identifier, "the key", key)) is not None
    ]
    return read(select + among(usable), *usable)


def _has_ended(notes: Notes, record: Keyed, now: int) -> bool:
    if not isinstance(record, IdempotencyKey):
        return False
    until_us = record.result_until_us
    if until_us is None or until_us > now:
        return False
    notes.leave_out(f"idempotency_cache {record.key!r}", "its expires_at has passed")
    return True


_REQUEST_COLUMNS = (
    "agent_id, reason, CAST(context_json AS TEXT), CAST(proposal_json AS TEXT), impact, "
    "created_at, status, human_decision, CAST(resolved_at AS TEXT)"
)
