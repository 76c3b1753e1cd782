"""Claims: what memory and SQLite keep of an idempotency key, and the errors of every backend.

The scripts ``lua/idempotency_*.lua`` follow the same rules on a server.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dir_redis.arguments import identifier, integer
from dir_redis.clock import as_datetime
from dir_redis.errors import FingerprintMismatchError, LeaseLostError
from dir_redis.limits import Limits
from dir_redis.run_once import Claim, ClaimState

# A claim is remembered for a day after its end, or after its lease ran out, so that tokens go on
# rising under a clock that is set back; one that led to a result at least as long as that, for the
# fingerprint, which goes with it.
ENDED_KEPT_SEC = 86_400
_ENDED_KEPT_US = ENDED_KEPT_SEC * 1_000_000


def held_claim(claim: object, limits: Limits) -> tuple[str, int]:
    """Return the key and the token of a claim that was its caller's when it was made.

    Raises:
        TypeError: it is no claim.
        ValueError: it says that somebody else has the key, or nobody.
    """
    if not isinstance(claim, Claim):
        raise TypeError(f"claim must be a Claim, not {type(claim).__name__}")
    if claim.state is not ClaimState.NEW or claim.token is None:
        raise ValueError(
            f"claim of {claim.key!r} never was the caller's: only what claim() returns as NEW is"
        )
    return identifier("claim.key", claim.key, limits.reading), integer("claim.token", claim.token)


def claim_lost(key: str, token: int) -> LeaseLostError:
    """The error of a caller whose claim is not the current one."""
    return LeaseLostError(f"claim of {key!r}", token)


def compensation_lost(dfid: str, epoch: int) -> LeaseLostError:
    """The error of a compensator whose claim is not the current one."""
    return LeaseLostError(f"compensation of {dfid!r}", epoch)


@dataclass(slots=True)
class KeyRecord:
    """An idempotency key: its result, if it has one, and its latest claim, if there was one.

    Attributes:
        key: the key.
        result: the result as JSON text.
        result_until_us: when the result goes; None never.
        token: the token of the latest claim.
        owner: who has the claim; None once it has ended.
        until_us: when the owner's lease runs out.
        fingerprint: the digest of the payload that the key belongs to, if one was given.
        completed: whether the claim has ended with a result.
        forget_us: when claim and fingerprint go; None never.
        parse: reads the result.
    """

    key: str
    result: str | None = None
    result_until_us: int | None = None
    token: int | None = None
    owner: str | None = None
    until_us: int = 0
    fingerprint: str | None = None
    completed: bool = False
    forget_us: int | None = None
    parse: Callable[[str], Any] = json.loads

    @property
    def has_claim(self) -> bool:
        """Whether there is anything of a claim to keep."""
        return self.token is not None or self.fingerprint is not None

    @property
    def ends_us(self) -> int | None:
        """When a part of the record goes next; None never."""
        ends = [end for end in (self.result_until_us, self.forget_us) if end is not None]
        return min(ends, default=None)

    def forget(self, now: int) -> None:
        """Drop what has gone by now; with a result goes its fingerprint, but not yet the token."""
        if self.result_until_us is not None and self.result_until_us <= now:
            self.result = self.result_until_us = None
        if self.completed and self.result is None:
            self.fingerprint = None
        if self.forget_us is not None and self.forget_us <= now:
            self.token = self.owner = self.fingerprint = self.forget_us = None
            self.until_us = 0
            self.completed = False

    def replace(self, encoded: str, now: int) -> bool:
        """Store a result that no claim led to; return whether it ended a claim."""
        ended = self.owner is not None
        self.result, self.result_until_us = encoded, None
        if self.has_claim:
            self._end_with_result(now)
        return ended

    def claim(self, fingerprint: str | None, lease_us: int, owner: str, now: int) -> Claim:
        """Take the claim if nobody has it; say how it stands.

        Raises:
            FingerprintMismatchError: the key belongs to another payload.
        """
        if fingerprint is not None:
            if self.fingerprint is None:
                self.fingerprint = fingerprint
                if self.result is not None and self.owner is None:
                    self._end_with_result(now)
            elif self.fingerprint != fingerprint:
                raise FingerprintMismatchError(self.key)
        if self.result is not None or self._is_running(now):
            return self.look(now)
        self.token = max((self.token or 0) + 1, now)
        self.owner = owner
        self.completed = False
        self._lease(lease_us, now)
        return self._as_claim(ClaimState.NEW)

    def look(self, now: int) -> Claim:
        """Say how it stands."""
        if self.result is not None:
            return Claim(self.key, ClaimState.DONE, result=self.parse(self.result))
        if self._is_running(now):
            return self._as_claim(ClaimState.IN_PROGRESS)
        return Claim(self.key, ClaimState.NEW)

    def renew(self, token: int, lease_us: int, now: int) -> int:
        """Let the lease run anew; return when it runs out.

        Raises:
            LeaseLostError: it ran out, has ended, or somebody newer has it.
        """
        if self.token != token or not self._is_running(now):
            raise claim_lost(self.key, token)
        return self._lease(lease_us, now)

    def complete(self, token: int, encoded: str, ttl_us: int | None, now: int) -> None:
        """End the claim with a result; the same once more changes nothing.

        Raises:
            LeaseLostError: it has ended otherwise, or somebody newer has it.
        """
        if self.token != token:
            raise claim_lost(self.key, token)
        if self.owner is None:
            if self.completed and self.result == encoded:
                return
            raise claim_lost(self.key, token)
        self.result = encoded
        self.result_until_us = None if ttl_us is None else now + ttl_us
        self._end_with_result(now)

    def abandon(self, token: int, now: int) -> None:
        """End the claim without a result; the same once more changes nothing.

        Raises:
            LeaseLostError: it has ended with a result, or somebody newer has it.
        """
        if self.token != token or self.completed:
            raise claim_lost(self.key, token)
        if self.owner is not None:
            self.owner = None
            self.until_us = 0
            self.forget_us = now + _ENDED_KEPT_US

    def left_sec(self, now: int) -> float:
        """How long the running lease lasts from now."""
        return (self.until_us - now) / 1_000_000

    def _is_running(self, now: int) -> bool:
        return self.owner is not None and self.until_us > now

    def _lease(self, lease_us: int, now: int) -> int:
        self.until_us = now + lease_us
        self.forget_us = self.until_us + _ENDED_KEPT_US
        return self.until_us

    def _end_with_result(self, now: int) -> None:
        self.owner = None
        self.until_us = 0
        self.completed = True
        if self.result_until_us is None and self.fingerprint is not None:
            self.forget_us = None
        else:
            self.forget_us = max(now + _ENDED_KEPT_US, self.result_until_us or 0)

    def _as_claim(self, state: ClaimState) -> Claim:
        return Claim(
            self.key,
            state,
            token=self.token,
            owner=self.owner,
            expires_at=as_datetime(self.until_us),
        )
