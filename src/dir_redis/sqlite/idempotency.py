"""Results in ``idempotency_cache``, the claims on them in ``idempotency_claims``."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from dir_redis.arguments import checked
from dir_redis.claims import KeyRecord, held_claim
from dir_redis.clock import as_datetime
from dir_redis.fleet_protocols import RunOnceStorage
from dir_redis.json_codec import encode_value
from dir_redis.run_once import Claim, ClaimState
from dir_redis.sqlite.columns import json_column, parse_document, read_column, read_columns
from dir_redis.sqlite.database import FIRST_PAUSE_SEC, LONGEST_PAUSE_SEC
from dir_redis.sqlite.storage import SqliteStorage

_FORGOTTEN_AT_ONCE = 100

_CLAIM = ("token", "owner", "until_us", "fingerprint", "completed", "forget_us")
_RECORD = """
    SELECT CAST(cache.result AS TEXT), cache.expires_us, claims.token, claims.owner,
        claims.until_us, claims.fingerprint, claims.completed, claims.forget_us
    FROM (SELECT ? AS key) AS wanted
    LEFT JOIN idempotency_cache AS cache ON cache.key = wanted.key
    LEFT JOIN idempotency_claims AS claims ON claims.key = wanted.key
"""


class SqliteIdempotencyStorage(SqliteStorage, RunOnceStorage):
    """Idempotency results and claims in a SQLite file (DIR §7)."""

    @checked
    def get(self, key: str) -> dict[str, Any] | None:
        rows = self._database.read(
            """
            SELECT CAST(result AS TEXT) FROM idempotency_cache
            WHERE key = ? AND (expires_us IS NULL OR expires_us > ?)
            """,
            key,
            self._database.clock.now(),
        )
        for (result,) in rows:
            text = read_column("idempotency_cache", key, "result", result)
            parsed: dict[str, Any] = parse_document("idempotency_cache", key, text)
            return parsed
        return None

    @checked
    def set(self, key: str, result: Any) -> None:
        encoded = encode_value("result", result, self._limits)
        with self._changing(key) as (record, now):
            record.replace(encoded, now)

    @checked
    def claim(
        self, key: str, *, fingerprint: str | None = None, lease_sec: float, owner: str
    ) -> Claim:
        with self._changing(key) as (record, now):
            return record.claim(fingerprint, round(lease_sec * 1_000_000), owner, now)

    @checked
    def renew_claim(self, claim: Claim, lease_sec: float) -> datetime:
        key, token = held_claim(claim, self._limits)
        with self._changing(key) as (record, now):
            return as_datetime(record.renew(token, round(lease_sec * 1_000_000), now))

    @checked
    def complete(self, claim: Claim, result: Any, *, ttl_sec: float | None = None) -> Any:
        key, token = held_claim(claim, self._limits)
        encoded = encode_value("result", result, self._limits)
        ttl_us = None if ttl_sec is None else round(ttl_sec * 1_000_000)
        with self._changing(key) as (record, now):
            record.complete(token, encoded, ttl_us, now)
        return json.loads(encoded)

    @checked
    def abandon(self, claim: Claim) -> None:
        key, token = held_claim(claim, self._limits)
        with self._changing(key) as (record, now):
            record.abandon(token, now)

    @checked
    def wait(self, key: str, timeout_sec: float) -> Claim:
        until = time.monotonic() + timeout_sec
        pause = FIRST_PAUSE_SEC
        while True:
            record = _record(key, self._database.read(_RECORD, key)[0])
            now = self._database.clock.now()
            record.forget(now)
            claim = record.look(now)
            left = until - time.monotonic()
            if claim.state is not ClaimState.IN_PROGRESS or left <= 0:
                return claim
            time.sleep(min(pause, left, record.left_sec(now)))
            pause = min(pause * 2, LONGEST_PAUSE_SEC)

    @contextmanager
    def _changing(self, key: str) -> Iterator[tuple[KeyRecord, int]]:
        """A key's record as it is now; what the block makes of it is stored."""
        with self._database.transaction() as connection:
            record = _record(key, connection.execute(_RECORD, (key,)).fetchone())
            now = self._database.clock.now()
            record.forget(now)
            before = replace(record)
            yield record, now
            _store(connection, before, record)
            _forget_old(connection, now)


def _record(key: str, row: tuple[Any, ...]) -> KeyRecord:
    result, expires_us, *claim = row
    if result is not None:
        read_columns("idempotency_cache", key, ("result", "expires_us"), (result, expires_us))
    token, owner, until_us, fingerprint, completed, forget_us = read_columns(
        "idempotency_claims", key, _CLAIM, claim
    )
    return KeyRecord(
        key,
        result,
        expires_us,
        token,
        owner,
        until_us or 0,
        fingerprint,
        bool(completed),
        forget_us,
        parse=partial(parse_document, "idempotency_cache", key),
    )


def _store(connection: sqlite3.Connection, before: KeyRecord, record: KeyRecord) -> None:
    """Write what has changed of a record."""
    result = (record.result, record.result_until_us)
    if record.result is not None and result != (before.result, before.result_until_us):
        connection.execute(
            "INSERT OR REPLACE INTO idempotency_cache (key, result, expires_us) VALUES (?, ?, ?)",
            (record.key, json_column(record.result), record.result_until_us),
        )
    if record.has_claim and record != before:
        connection.execute(
            """
            INSERT OR REPLACE INTO idempotency_claims
                (key, token, owner, until_us, fingerprint, completed, forget_us)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            (
                record.key,
                record.token,
                record.owner,
                record.until_us,
                record.fingerprint,
                record.completed,
                record.forget_us,
            ),
        )


def _forget_old(connection: sqlite3.Connection, now: int) -> None:
    """Delete some of what has gone."""
    for table, ends in (("idempotency_cache", "expires_us"), ("idempotency_claims", "forget_us")):
        connection.execute(
            f"""
            DELETE FROM {table}
            WHERE key IN (SELECT key FROM {table} WHERE {ends} <= ? LIMIT {_FORGOTTEN_AT_ONCE})
            """,
            (now,),
        )
