"""What the tables of a SQLite store hold, as neutral records.

``put`` writes a record that is not there to the end of its order, in place of what is left of one
that has ended, in the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from dir_redis.claims import KeyRecord
from dir_redis.documents import EMPTY_OBJECT
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
from dir_redis.migrate.tables import FIRST_KEY, FIRST_ROW, Read, among, by_key, in_order
from dir_redis.sqlite.columns import json_column, read_column, read_rows


def by_key_of_two(key: str, one: str, other: str) -> str:
    """SQL for the keys that are in one of two tables, in their own order."""
    return f"""
        SELECT {key}, {key} FROM (SELECT {key} FROM {one} UNION SELECT {key} FROM {other})
        WHERE {key} > ? ORDER BY {key} LIMIT ?
    """


def replace(
    connection: sqlite3.Connection, table: str, columns: str, values: tuple[Any, ...]
) -> None:
    """Insert a row, at the end of its table, in place of one of the same key."""
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
            SELECT 'reservations', 'dir_redis_meta', name, 'value', value
            FROM dir_redis_meta WHERE name = 'reservation_number'
            UNION ALL SELECT 'sagas', 'dir_redis_meta', name, 'value', value
            FROM dir_redis_meta WHERE name = 'saga_epoch'
            UNION ALL SELECT 'reservations', 'reservation_leases', dfid, 'token', MAX(token)
            FROM reservation_leases HAVING COUNT(*)
            UNION ALL SELECT 'sagas', 'saga_dirty_state', dfid, 'epoch', MAX(epoch)
            FROM saga_dirty_state HAVING COUNT(*)
            """
        )
        last: defaultdict[str, int] = defaultdict(int)
        for name, *number in rows:
            last[name] = max(last[name], read_column(*number))
        return {
            name: Counter(name, value) for name, value in last.items() if value and name in keys
        }

    def put(self, connection: sqlite3.Connection, record: Counter) -> None:
        connection.execute(
            """
            INSERT INTO dir_redis_meta (name, value) VALUES (?, ?)
            ON CONFLICT (name) DO UPDATE SET value = MAX(value, excluded.value)
            """,
            (_KEPT_AS[record.name], record.value),
        )


_AGENT = (
    *("agent_id", "contract", "contract_version", "priority", "status", "agent_version"),
    *("session_token", "suspension_reason", "heartbeat_until"),
)
_SESSION = ("dfid", "data", "base_keys", "version", "agent_id", "expires_us")
_STATE = ("agent_id", "data", "base_keys", "version")
_RESULT = ("key", "result", "expires_us")
_CLAIM = ("key", "token", "owner", "until_us", "fingerprint", "completed", "forget_us")
_MARK = ("dfid", "failed_step", "partial_state_json", "marked_us", "due_us", "epoch", "owner")


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
        return {
            agent_id: Agent(agent_id, contract or EMPTY_OBJECT, *rest)
            for agent_id, contract, *rest in read_rows("agent_registry", _AGENT, rows)
        }

    def put(self, connection: sqlite3.Connection, record: Agent) -> None:
        replace(
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
        return {
            dfid: Session(dfid, data or EMPTY_OBJECT, *rest)
            for dfid, data, *rest in read_rows("context_session", _SESSION, rows)
        }

    def put(self, connection: sqlite3.Connection, record: Session) -> None:
        replace(
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
        return {
            agent_id: State(agent_id, data or EMPTY_OBJECT, *rest)
            for agent_id, data, *rest in read_rows("context_state", _STATE, rows)
        }

    def put(self, connection: sqlite3.Connection, record: State) -> None:
        replace(
            connection,
            "context_state",
            "agent_id, data, base_keys, version",
            (record.agent_id, json_column(record.data_json), *record[2:]),
        )


class Keys:
    keys = by_key_of_two("key", "idempotency_cache", "idempotency_claims")
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
        records = {
            key: KeyRecord(key, *result)
            for key, *result in read_rows("idempotency_cache", _RESULT, results)
        }
        for key, token, owner, until_us, fingerprint, completed, forget_us in read_rows(
            "idempotency_claims", _CLAIM, claims
        ):
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
            replace(
                connection,
                "idempotency_cache",
                "key, result, expires_us",
                (record.key, json_column(record.result_json), record.result_until_us),
            )
        if record.token is not None or record.fingerprint is not None:
            replace(
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
        return {
            dfid: DirtyMark(dfid, failed_step, partial_state or EMPTY_OBJECT, *rest)
            for dfid, failed_step, partial_state, *rest in read_rows(
                "saga_dirty_state", _MARK, rows
            )
        }

    def put(self, connection: sqlite3.Connection, record: DirtyMark) -> None:
        replace(
            connection,
            "saga_dirty_state",
            "dfid, failed_step, partial_state_json, marked_us, due_us, epoch, owner",
            record,
        )


class Rejections:
    keys = by_key("intent_retry", "dfid")
    beginning = FIRST_KEY

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, Retries]:
        rows = read(
            f"SELECT dfid, rejection_count FROM intent_retry WHERE dfid {among(keys)}", *keys
        )
        return {
            dfid: Retries(dfid, count)
            for dfid, count in read_rows("intent_retry", ("dfid", "rejection_count"), rows)
        }

    def put(self, connection: sqlite3.Connection, record: Retries) -> None:
        replace(connection, "intent_retry", "dfid, rejection_count", record)


class Archivers:
    keys = by_key("audit_groups", "name")
    beginning = FIRST_KEY

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, ReaderGroup]:
        rows = read(f"SELECT name FROM audit_groups WHERE name {among(keys)}", *keys)
        return {name: ReaderGroup(name) for (name,) in read_rows("audit_groups", ("name",), rows)}

    def put(self, connection: sqlite3.Connection, record: ReaderGroup) -> None:
        connection.execute(
            "INSERT OR IGNORE INTO audit_groups (name, archived) VALUES (?, 0)", (record.name,)
        )
