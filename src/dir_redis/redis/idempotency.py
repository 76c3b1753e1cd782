"""Results as strings of JSON, one key each; a claim is a hash beside its result.

Who waits for a claim to end blocks on a stream that has an entry once it has ended; the next claim
deletes it.
"""

from __future__ import annotations

import json
import math
import time
from datetime import datetime
from typing import Any

from dir_redis.claims import ENDED_KEPT_SEC, claim_lost, held_claim
from dir_redis.clock import as_datetime
from dir_redis.errors import CorruptRecordError, FingerprintMismatchError
from dir_redis.fleet_protocols import RunOnceStorage
from dir_redis.json_codec import encode_value
from dir_redis.redis.replies import as_json, as_text
from dir_redis.redis.steps import Call, Command, Steps, WaitForEntries, operation
from dir_redis.redis.storage import RedisStorage
from dir_redis.run_once import Claim, ClaimState

ENDED_KEPT_MS = ENDED_KEPT_SEC * 1000
# Who comes later than that to wait reads the end of the claim itself.
WOKEN_MS = 60_000


class RedisIdempotencyStorage(RedisStorage, RunOnceStorage):
    """Idempotency results and claims of a fleet (DIR §7)."""

    @operation
    def get(self, key: str) -> Steps[dict[str, Any] | None]:
        stored_at = self._keys.idempotency(key)
        reply = yield Command("GET", stored_at)
        return None if reply is None else as_json(stored_at, reply)

    @operation
    def set(self, key: str, result: Any) -> Steps[None]:
        encoded = encode_value("result", result, self._limits)
        yield Call("idempotency_set", self._keys_of(key), (encoded, ENDED_KEPT_MS, WOKEN_MS))

    @operation
    def claim(
        self, key: str, *, fingerprint: str | None = None, lease_sec: float, owner: str
    ) -> Steps[Claim]:
        call = Call(
            "idempotency_claim",
            self._keys_of(key),
            (
                owner,
                round(lease_sec * 1_000_000),
                _kept_ms(lease_sec),
                *(("0", "") if fingerprint is None else ("1", fingerprint)),
            ),
        )
        word, _, rest = as_text((yield call)).partition(" ")
        while word == "AGAIN":  # it was done, but the reply that said so got lost
            word, _, rest = as_text((yield call)).partition(" ")
        if word == "MISMATCH":
            raise FingerprintMismatchError(key)
        if word == "DONE":
            return self._done(key, rest)
        token, until, *other = rest.split(" ", 2)
        return self._leased(key, word, token, until, *(other or (owner,)))

    @operation
    def renew_claim(self, claim: Claim, lease_sec: float) -> Steps[datetime]:
        key, token = held_claim(claim, self._limits)
        reply = yield Call(
            "idempotency_renew",
            (self._keys.claim(key),),
            (token, round(lease_sec * 1_000_000), _kept_ms(lease_sec)),
        )
        word, _, until = as_text(reply).partition(" ")
        if word == "LOST":
            raise claim_lost(key, token)
        return as_datetime(int(until))

    @operation
    def complete(self, claim: Claim, result: Any, *, ttl_sec: float | None = None) -> Steps[Any]:
        key, token = held_claim(claim, self._limits)
        encoded = encode_value("result", result, self._limits)
        ttl_ms = "" if ttl_sec is None else math.ceil(ttl_sec * 1000)
        reply = yield Call(
            "idempotency_complete",
            self._keys_of(key),
            (token, encoded, ttl_ms, ENDED_KEPT_MS, WOKEN_MS),
        )
        if as_text(reply) == "LOST":
            raise claim_lost(key, token)
        return json.loads(encoded)

    @operation
    def abandon(self, claim: Claim) -> Steps[None]:
        key, token = held_claim(claim, self._limits)
        keys = (self._keys.claim(key), self._keys.claim_ended(key))
        reply = yield Call("idempotency_abandon", keys, (token, ENDED_KEPT_MS, WOKEN_MS))
        if as_text(reply) == "LOST":
            raise claim_lost(key, token)

    @operation
    def wait(self, key: str, timeout_sec: float) -> Steps[Claim]:
        until = time.monotonic() + timeout_sec
        while True:
            claim, lease_left_sec = yield from self._look(key)
            left = until - time.monotonic()
            if claim.state is not ClaimState.IN_PROGRESS or left <= 0:
                return claim
            # A running claim has no such stream: any entry is its end's.
            ended = (self._keys.claim_ended(key),)
            yield WaitForEntries(ended, ("0-0",), min(left, lease_left_sec))

    def _look(self, key: str) -> Steps[tuple[Claim, float]]:
        """How it stands with a key, and how many seconds are left of the running lease."""
        keys = (self._keys.idempotency(key), self._keys.claim(key))
        state, *rest = yield Call("idempotency_look", keys)
        word = as_text(state)
        if word == "DONE":
            return self._done(key, rest[0]), 0.0
        if word == "NEW":
            return Claim(key, ClaimState.NEW), 0.0
        token, until, owner, left = map(as_text, rest)
        return self._leased(key, word, token, until, owner), int(left) / 1_000_000

    def _done(self, key: str, encoded: Any) -> Claim:
        result = as_json(self._keys.idempotency(key), encoded)
        return Claim(key, ClaimState.DONE, result=result)

    def _leased(self, key: str, word: str, token: str, until: str, owner: str) -> Claim:
        try:
            ends = as_datetime(int(until))
            return Claim(key, ClaimState(word), token=int(token), owner=owner, expires_at=ends)
        except (ValueError, OverflowError) as error:
            raise CorruptRecordError(
                self._keys.claim(key), f"it should hold a claim ({error})"
            ) from error

    def _keys_of(self, key: str) -> tuple[str, ...]:
        keys = self._keys
        return (keys.idempotency(key), keys.claim(key), keys.claim_ended(key))


def _kept_ms(lease_sec: float) -> int:
    """How long the record of a claim outlives its lease."""
    return math.ceil(lease_sec * 1000) + ENDED_KEPT_MS
