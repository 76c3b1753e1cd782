"""Results by key, kept as the JSON text that other backends store, and the claims on them."""

from __future__ import annotations

import heapq
import json
import time
from datetime import datetime
from typing import Any, Unpack

from dir_redis.arguments import checked
from dir_redis.claims import KeyRecord, held_claim
from dir_redis.clock import as_datetime
from dir_redis.fleet_protocols import RunOnceStorage
from dir_redis.json_codec import encode_value
from dir_redis.limits import LimitOptions
from dir_redis.memory.storage import MemoryStorage, MemoryStore
from dir_redis.run_once import Claim, ClaimState

_FORGOTTEN_AT_ONCE = 100


class MemoryIdempotencyStorage(MemoryStorage, RunOnceStorage):
    """Idempotency results and claims of one process (DIR §7)."""

    def __init__(self, store: MemoryStore | None = None, **limits: Unpack[LimitOptions]) -> None:
        super().__init__(store, **limits)
        self._records: dict[str, KeyRecord] = {}
        # When to look at a key again because a part of its record goes, and the same in order.
        self._ends: dict[str, int] = {}
        self._ends_in_order: list[tuple[int, str]] = []

    @checked
    def get(self, key: str) -> dict[str, Any] | None:
        with self._lock:
            encoded = self._find(key, self._clock.now()).result
        return None if encoded is None else json.loads(encoded)

    @checked
    def set(self, key: str, result: Any) -> None:
        encoded = encode_value("result", result, self._limits)
        with self._lock:
            now = self._clock.now()
            record = self._find(key, now)
            if record.replace(encoded, now):
                self._store.changed.notify_all()
            self._keep(record, now)

    @checked
    def claim(
        self, key: str, *, fingerprint: str | None = None, lease_sec: float, owner: str
    ) -> Claim:
        with self._lock:
            now = self._clock.now()
            record = self._find(key, now)
            claim = record.claim(fingerprint, round(lease_sec * 1_000_000), owner, now)
            self._keep(record, now)
            return claim

    @checked
    def renew_claim(self, claim: Claim, lease_sec: float) -> datetime:
        key, token = held_claim(claim, self._limits)
        with self._lock:
            now = self._clock.now()
            record = self._find(key, now)
            until = record.renew(token, round(lease_sec * 1_000_000), now)
            self._keep(record, now)
            return as_datetime(until)

    @checked
    def complete(self, claim: Claim, result: Any, *, ttl_sec: float | None = None) -> Any:
        key, token = held_claim(claim, self._limits)
        encoded = encode_value("result", result, self._limits)
        ttl_us = None if ttl_sec is None else round(ttl_sec * 1_000_000)
        with self._lock:
            now = self._clock.now()
            record = self._find(key, now)
            record.complete(token, encoded, ttl_us, now)
            self._keep(record, now)
            self._store.changed.notify_all()
        return json.loads(encoded)

    @checked
    def abandon(self, claim: Claim) -> None:
        key, token = held_claim(claim, self._limits)
        with self._lock:
            now = self._clock.now()
            record = self._find(key, now)
            record.abandon(token, now)
            self._keep(record, now)
            self._store.changed.notify_all()

    @checked
    def wait(self, key: str, timeout_sec: float) -> Claim:
        until = time.monotonic() + timeout_sec
        with self._lock:
            while True:
                now = self._clock.now()
                record = self._find(key, now)
                claim = record.look(now)
                left = until - time.monotonic()
                if claim.state is not ClaimState.IN_PROGRESS or left <= 0:
                    return claim
                self._store.wait(self._store.changed, min(left, record.left_sec(now)))

    def _find(self, key: str, now: int) -> KeyRecord:
        record = self._records.get(key)
        if record is None:
            return KeyRecord(key)
        record.forget(now)
        return record

    def _keep(self, record: KeyRecord, now: int) -> None:
        self._records[record.key] = record
        self._look_again(record)
        for _ in range(_FORGOTTEN_AT_ONCE):
            if not self._ends_in_order or self._ends_in_order[0][0] > now:
                break
            moment, key = heapq.heappop(self._ends_in_order)
            if self._ends.get(key) == moment:
                del self._ends[key]
                ended = self._find(key, now)
                if ended.result is None and not ended.has_claim:
                    self._records.pop(key, None)
                else:
                    self._look_again(ended)

    def _look_again(self, record: KeyRecord) -> None:
        """Note when a part of the record goes; a lease that is renewed needs no new note."""
        ends, noted = record.ends_us, self._ends.get(record.key)
        if ends is not None and (noted is None or ends < noted):
            self._ends[record.key] = ends
            heapq.heappush(self._ends_in_order, (ends, record.key))
