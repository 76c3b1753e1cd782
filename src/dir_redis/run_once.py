"""Running a step once over all hosts: claims on an idempotency key, and the loop on top."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from dir_redis.errors import (
    CorruptRecordError,
    LeaseLostError,
    StepInProgressError,
    StorageError,
    UnconfirmedWriteError,
)
from dir_redis.keep_alive import KeepAlive

if TYPE_CHECKING:
    from dir_redis.fleet_protocols import RunOnceStorage

logger = logging.getLogger(__name__)

_PAUSE_SEC = 0.1


class ClaimState(StrEnum):
    """How it stands with an idempotency key."""

    NEW = "NEW"
    """The caller of ``claim`` has it now and runs the step; from ``wait``: nobody has it."""
    IN_PROGRESS = "IN_PROGRESS"
    """Another owner has it, and its lease has not run out."""
    DONE = "DONE"
    """The step was completed, and its result is known."""


@dataclass(frozen=True, slots=True)
class Claim:
    """How it stands with an idempotency key, as ``claim`` or ``wait`` found it.

    Attributes:
        key: the idempotency key.
        state: see :class:`ClaimState`.
        result: the result of a step that is DONE, as JSON gives it back; None may be one.
        token: the fencing token of whoever runs the step; a later claim of the key has a larger
            one. None if nobody does.
        owner: who runs the step, or None.
        expires_at: when the running owner's lease runs out, UTC, by the store's clock, or None.
    """

    key: str
    state: ClaimState
    result: Any = None
    token: int | None = None
    owner: str | None = None
    expires_at: datetime | None = None


def new_owner() -> str:
    """Return a name no other caller has: the host, the process and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def run_once(
    storage: RunOnceStorage,
    key: str,
    func: Callable[[Claim], Any],
    *,
    fingerprint: str | None,
    lease_sec: float,
    wait_sec: float,
    ttl_sec: float | None,
    owner: str | None,
) -> Any:
    """Do what :meth:`~dir_redis.RunOnceStorage.run_once` says, on any backend's claims."""
    if not callable(func):
        raise TypeError(f"func must be callable, not {type(func).__name__}")
    name = new_owner() if owner is None else owner
    deadline = time.monotonic() + wait_sec
    while True:
        asked = time.monotonic()
        try:
            claim = storage.claim(key, fingerprint=fingerprint, lease_sec=lease_sec, owner=name)
        except UnconfirmedWriteError as error:
            claim = error.result
            if claim.state is ClaimState.NEW:
                # The step has not begun: let others try at once, rather than after the lease.
                _abandon_quietly(storage, claim)
            if claim.state is not ClaimState.IN_PROGRESS:  # of which nothing was written
                raise UnconfirmedWriteError(error.wanted, error.confirmed, claim.result) from error
        if claim.state is ClaimState.NEW:
            return _run(storage, claim, func, lease_sec, ttl_sec, leased_at=asked)
        if claim.state is ClaimState.IN_PROGRESS:
            claim = storage.wait(key, max(0.0, deadline - time.monotonic()))
        if claim.state is ClaimState.DONE:
            return claim.result
        if claim.state is ClaimState.IN_PROGRESS:
            raise StepInProgressError(key, claim.owner or "")
        # NEW: the owner died or gave up, so take its place.


def _run(
    storage: RunOnceStorage,
    claim: Claim,
    func: Callable[[Claim], Any],
    lease_sec: float,
    ttl_sec: float | None,
    *,
    leased_at: float,
) -> Any:
    completing = False

    def renew() -> None:
        try:
            storage.renew_claim(claim, lease_sec)
        except LeaseLostError:
            # Once completed it is no claim any more; whether it was lost, complete() says.
            if not completing:
                raise

    record = f"claim of {claim.key!r}"
    keep_alive = KeepAlive(renew, lease_sec, record=record, leased_at=leased_at)
    with ExitStack() as running:
        try:
            kept = running.enter_context(keep_alive)  # fails if there can be no more threads
            result = func(claim)
        except BaseException:
            _abandon_quietly(storage, claim)
            raise
        completing = True
        # Still within the keep-alive: a slow store must not cost the result its claim.
        return _complete(storage, claim, result, ttl_sec, kept)


def _complete(
    storage: RunOnceStorage, claim: Claim, result: Any, ttl_sec: float | None, kept: KeepAlive
) -> Any:
    """Store a result. While the lease lasts a store that cannot take it is asked again, whether it
    is away, refuses or is busy: giving up would have the step run twice."""
    while True:
        try:
            return storage.complete(claim, result, ttl_sec=ttl_sec)
        except (LeaseLostError, CorruptRecordError):  # which no other attempt changes
            raise
        except UnconfirmedWriteError:  # stored, and nobody but the caller can judge what that means
            raise
        except StorageError as error:
            if kept.lost:
                raise
            logger.warning("the result of %r is not stored yet: %s", claim.key, error)
            time.sleep(_PAUSE_SEC)
        except (TypeError, ValueError):  # no JSON: the step failed
            _abandon_quietly(storage, claim)
            raise


def _abandon_quietly(storage: RunOnceStorage, claim: Claim) -> None:
    """Let others try at once, if possible; the step's own error is the one to be told."""
    try:
        storage.abandon(claim)
    except StorageError as error:
        logger.warning("%r was not abandoned for certain: %s", claim.key, error)
