"""What each table of a SQLite store holds, as neutral records."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from dir_redis.amounts import AmountScale
from dir_redis.claims import KeyRecord
from dir_redis.clock import format_moment
from dir_redis.documents import EMPTY_OBJECT
from dir_redis.errors import NotRepresentableError
from dir_redis.migrate.exact import decided_us, exact_units
from dir_redis.migrate.records import (
    Agent,
    Budget,
    Capacity,
    Counter,
    DirtyMark,
    Held,
    HeldReservation,
    IdempotencyKey,
    ReaderGroup,
    Request,
    Retries,
    Session,
    State,
)
from dir_redis.migrate.tables import FIRST_KEY, FIRST_ROW, Read, among, by_key, in_order
from dir_redis.sqlite.columns import json_column, moment_column, read_moment
from dir_redis.sqlite.escalation import exactly
from dir_redis.sqlite.flow_reservations import SINCE, release_flow

K_contra = TypeVar("K_contra", contravariant=True)


class Writer(Protocol[K_contra]):
    """Writes the records of one kind."""

    def put(self, connection: sqlite3.Connection, record: K_contra) -> None:
        """Write a record to the end of the order, in place of one that is there."""
        ...


def _by_key_of_two(key: str, one: str, other: str) -> str:
    return f"""
        SELECT {key}, {key} FROM (SELECT {key} FROM {one} UNION SELECT {key} FROM {other})
        WHERE {key} > ? ORDER BY {key} LIMIT ?
    """


def _replace(
    connection: sqlite3.Connection, table: str, columns: str, values: tuple[Any, ...]
) -> None:
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", values)


_KEPT_AS = {"reservations": "reservation_number", "sagas": "saga_epoch"}


class Counters:
    """The last numbers given, kept in ``dir_redis_meta``."""

    keys = """
        SELECT name, name FROM (SELECT 'reservations' AS name UNION ALL SELECT 'sagas')
        WHERE name > ? ORDER BY name LIMIT ?
    """
    beginning = FIRST_KEY

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, Counter]:
        # What the records themselves say counts too: an older version kept no number beside them.
        rows = read(
            """
            SELECT 'reservations', MAX(
                COALESCE((SELECT value FROM dir_redis_meta WHERE name = 'reservation_number'), 0),
                COALESCE((SELECT MAX(token) FROM reservation_leases), 0))
            UNION ALL SELECT 'sagas', MAX(
                COALESCE((SELECT value FROM dir_redis_meta WHERE name = 'saga_epoch'), 0),
                COALESCE((SELECT MAX(epoch) FROM saga_dirty_state), 0))
            """
        )
        return {name: Counter(name, value) for name, value in rows if value and name in keys}

    def put(self, connection: sqlite3.Connection, record: Counter) -> None:
        connection.execute(
            """
            INSERT INTO dir_redis_meta (name, value) VALUES (?, ?)
            ON CONFLICT (name) DO UPDATE SET value = MAX(value, excluded.value)
            """,
            (_KEPT_AS[record.name], record.value),
        )


class Agents:
    keys = in_order("agent_registry", "agent_id")
    beginning = FIRST_ROW

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, Agent]:
        rows = read(
            f"""
            SELECT agent_id, CAST(contract AS TEXT), contract_version, priority, status,
                agent_version, session_token, suspension_reason, heartbeat_until
            FROM agent_registry WHERE agent_id {among(keys)}
            """,
            *keys,
        )
        return {row[0]: Agent(row[0], row[1] or EMPTY_OBJECT, *row[2:]) for row in rows}

    def put(self, connection: sqlite3.Connection, record: Agent) -> None:
        _replace(
            connection,
            "agent_registry",
            "agent_id, contract, contract_version, priority, status, agent_version, session_token,"
            " suspension_reason, heartbeat_until",
            (record.agent_id, json_column(record.contract_json), *record[2:]),
        )


class Sessions:
    keys = by_key("context_session", "dfid")
    beginning = FIRST_KEY

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, Session]:
        rows = read(
            f"""
            SELECT dfid, CAST(data AS TEXT), base_keys, version, agent_id, expires_us
            FROM context_session
            WHERE dfid {among(keys)} AND (expires_us IS NULL OR expires_us > ?)
            """,
            *(*keys, now),
        )
        return {row[0]: Session(row[0], row[1] or EMPTY_OBJECT, *row[2:]) for row in rows}

    def put(self, connection: sqlite3.Connection, record: Session) -> None:
        _replace(
            connection,
            "context_session",
            "dfid, data, base_keys, version, agent_id, expires_us",
            (record.dfid, json_column(record.data_json), *record[2:]),
        )


class States:
    keys = by_key("context_state", "agent_id")
    beginning = FIRST_KEY

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, State]:
        rows = read(
            f"""
            SELECT agent_id, CAST(data AS TEXT), base_keys, version FROM context_state
            WHERE agent_id {among(keys)}
            """,
            *keys,
        )
        return {row[0]: State(row[0], row[1] or EMPTY_OBJECT, *row[2:]) for row in rows}

    def put(self, connection: sqlite3.Connection, record: State) -> None:
        _replace(
            connection,
            "context_state",
            "agent_id, data, base_keys, version",
            (record.agent_id, json_column(record.data_json), *record[2:]),
        )


class Keys:
    keys = _by_key_of_two("key", "idempotency_cache", "idempotency_claims")
    beginning = FIRST_KEY

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, IdempotencyKey]:
        results = read(
            f"SELECT key, CAST(result AS TEXT), expires_us FROM idempotency_cache "
            f"WHERE key {among(keys)}",
            *keys,
        )
        claims = read(
            f"SELECT key, token, owner, until_us, fingerprint, completed, forget_us "
            f"FROM idempotency_claims WHERE key {among(keys)}",
            *keys,
        )
        records = {key: KeyRecord(key, *result) for key, *result in results}
        for key, token, owner, until_us, fingerprint, completed, forget_us in claims:
            record = records.setdefault(key, KeyRecord(key))
            record.token, record.owner, record.until_us = token, owner, until_us
            record.fingerprint, record.completed = fingerprint, bool(completed)
            record.forget_us = forget_us
        for record in records.values():
            record.forget(now)
        return {
            key: IdempotencyKey(
                *(key, record.result, record.result_until_us, record.token, record.owner),
                *(record.until_us, record.fingerprint, record.completed, record.forget_us),
            )
            for key, record in records.items()
            if record.result is not None or record.has_claim
        }

    def put(self, connection: sqlite3.Connection, record: IdempotencyKey) -> None:
        for table in ("idempotency_cache", "idempotency_claims"):
            connection.execute(f"DELETE FROM {table} WHERE key = ?", (record.key,))
        if record.result_json is not None:
            _replace(
                connection,
                "idempotency_cache",
                "key, result, expires_us",
                (record.key, json_column(record.result_json), record.result_until_us),
            )
        if record.token is not None or record.fingerprint is not None:
            _replace(
                connection,
                "idempotency_claims",
                "key, token, owner, until_us, fingerprint, completed, forget_us",
                (record.key, *record[3:]),
            )


class Marks:
    keys = in_order("saga_dirty_state", "dfid")
    beginning = FIRST_ROW

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, DirtyMark]:
        rows = read(
            f"""
            SELECT dfid, failed_step, partial_state_json, marked_us, due_us, epoch, owner
            FROM saga_dirty_state WHERE dfid {among(keys)}
            """,
            *keys,
        )
        return {row[0]: DirtyMark(row[0], row[1], row[2] or EMPTY_OBJECT, *row[3:]) for row in rows}

    def put(self, connection: sqlite3.Connection, record: DirtyMark) -> None:
        _replace(
            connection,
            "saga_dirty_state",
            "dfid, failed_step, partial_state_json, marked_us, due_us, epoch, owner",
            record,
        )


class Capacities:
    keys = by_key("resource_capacities", "resource_id")
    beginning = FIRST_KEY

    def __init__(self, scale: AmountScale) -> None:
        self._scale = scale

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, Capacity]:
        rows = read(
            f"SELECT resource_id, units FROM resource_capacities WHERE resource_id {among(keys)}",
            *keys,
        )
        return {rid: Capacity(rid, self._scale.to_decimal(units)) for rid, units in rows}

    def put(self, connection: sqlite3.Connection, record: Capacity) -> None:
        rid, amount = record
        units = exact_units(self._scale, f"capacity of {rid!r}", rid, amount)
        _replace(connection, "resource_capacities", "resource_id, units", (rid, units))


class Reservations:
    keys = _by_key_of_two("dfid", "resource_locks", "reservation_leases")
    beginning = FIRST_KEY

    def __init__(self, scale: AmountScale) -> None:
        self._scale = scale

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, HeldReservation]:
        leases = read(
            f"SELECT dfid, token, until_us FROM reservation_leases WHERE dfid {among(keys)}", *keys
        )
        ended = {dfid for dfid, _, until_us in leases if until_us is not None and until_us <= now}
        records = {
            dfid: HeldReservation(dfid, (), token, until_us)
            for dfid, token, until_us in leases
            if dfid not in ended
        }
        held: defaultdict[str, list[Held]] = defaultdict(list)
        for dfid, rid, units, since_us in read(
            f"""
            SELECT dfid, resource_id, units, {SINCE} FROM resource_locks
            WHERE dfid {among(keys)} AND units > 0 ORDER BY resource_id
            """,
            *keys,
        ):
            held[dfid].append(Held(rid, self._scale.to_decimal(units), since_us))
        for dfid, parts in held.items():
            if dfid not in ended:
                empty = records.get(dfid, HeldReservation(dfid, (), 0, None))
                records[dfid] = empty._replace(held=tuple(parts))
        return records

    def put(self, connection: sqlite3.Connection, record: HeldReservation) -> None:
        name = f"reservation of {record.dfid!r}"
        release_flow(connection, record.dfid)
        for rid, amount, since_us in record.held:
            units = exact_units(self._scale, name, rid, amount)
            try:
                _replace(
                    connection,
                    "resource_locks",
                    "dfid, resource_id, amount, units, since_us",
                    (record.dfid, rid, self._scale.to_float(units), units, since_us),
                )
            except sqlite3.IntegrityError as error:
                raise NotRepresentableError(name, str(self._scale.overflow(rid))) from error
        if record.token or record.until_us is not None:
            _replace(
                connection,
                "reservation_leases",
                "dfid, token, until_us",
                (record.dfid, record.token, record.until_us),
            )


class Rejections:
    keys = by_key("intent_retry", "dfid")
    beginning = FIRST_KEY

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, Retries]:
        rows = read(
            f"SELECT dfid, rejection_count FROM intent_retry WHERE dfid {among(keys)}", *keys
        )
        return {dfid: Retries(dfid, count) for dfid, count in rows}

    def put(self, connection: sqlite3.Connection, record: Retries) -> None:
        _replace(connection, "intent_retry", "dfid, rejection_count", record)


class Budgets:
    keys = """
        SELECT DISTINCT agent_id, agent_id FROM escalation_budget
        WHERE agent_id > ? ORDER BY agent_id LIMIT ?
    """
    beginning = FIRST_KEY

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, Budget]:
        spent: defaultdict[str, list[int]] = defaultdict(list)
        for agent_id, created_at in read(
            f"SELECT agent_id, created_at FROM escalation_budget WHERE agent_id {among(keys)}",
            *keys,
        ):
            spent[agent_id].append(read_moment("escalation_budget", agent_id, created_at))
        return {agent_id: Budget(agent_id, tuple(sorted(all_))) for agent_id, all_ in spent.items()}

    def put(self, connection: sqlite3.Connection, record: Budget) -> None:
        connection.execute("DELETE FROM escalation_budget WHERE agent_id = ?", (record.agent_id,))
        connection.executemany(
            "INSERT INTO escalation_budget (agent_id, created_at) VALUES (?, ?)",
            [(record.agent_id, moment_column(spent_us)) for spent_us in record.spent_us],
        )


class Requests:
    keys = in_order("escalation_requests", "dfid")
    beginning = FIRST_ROW

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, Request]:
        rows = read(
            f"""
            SELECT dfid, agent_id, reason, context_json, proposal_json, impact,
                CAST(created_at AS TEXT), deadline_us, default_decision, reviewer,
                reviewer_until_us, status, human_decision, CAST(resolved_at AS TEXT), decided_by,
                decision_reason, by_default
            FROM escalation_requests WHERE dfid {among(keys)}
            """,
            *keys,
        )
        return {row[0]: self._request(row, now) for row in rows}

    @staticmethod
    def _request(row: Any, now: int) -> Request:
        dfid, agent_id, reason, context_json, proposal_json, impact, created_at = row[:7]
        deadline_us, default_decision, reviewer, until_us, status, decision, resolved_at = row[7:14]
        decided_by, decision_reason, by_default = row[14:]
        pending = status == "PENDING"
        resolved_us = decided_us(resolved_at)
        request = Request(
            *(dfid, agent_id, reason, context_json or EMPTY_OBJECT, proposal_json or EMPTY_OBJECT),
            *(impact, read_moment("escalation_requests", dfid, created_at), deadline_us),
            *(default_decision, reviewer, until_us, "PENDING" if pending else "RESOLVED"),
            None if pending else decision or "",
            resolved_at if resolved_us is None else None,
            resolved_us,
            decided_by,
            decision_reason,
            bool(by_default),
        )
        if pending and deadline_us is not None and deadline_us <= now:
            return request._replace(
                status="RESOLVED",
                decision=default_decision,
                resolved_us=deadline_us,
                by_default=True,
            )
        return request

    def put(self, connection: sqlite3.Connection, record: Request) -> None:
        resolved_at = record.resolved_at
        if resolved_at is None and record.resolved_us is not None:
            resolved_at = format_moment(record.resolved_us)
        _replace(
            connection,
            "escalation_requests",
            "dfid, agent_id, reason, context_json, proposal_json, impact, created_at, deadline_us,"
            " default_decision, reviewer, reviewer_until_us, status, human_decision, resolved_at,"
            " decided_by, decision_reason, by_default",
            (
                *(*record[:6], moment_column(record.requested_us), *record[7:13]),
                None if resolved_at is None else exactly(resolved_at),
                *record[15:],
            ),
        )


class Archivers:
    keys = by_key("audit_groups", "name")
    beginning = FIRST_KEY

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, ReaderGroup]:
        rows = read(f"SELECT name FROM audit_groups WHERE name {among(keys)}", *keys)
        return {name: ReaderGroup(name) for (name,) in rows}

    def put(self, connection: sqlite3.Connection, record: ReaderGroup) -> None:
        connection.execute(
            "INSERT OR IGNORE INTO audit_groups (name, archived) VALUES (?, 0)", (record.name,)
        )
