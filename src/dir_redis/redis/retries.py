"""Trying again: until a server answers, refuses for good, or the time is over."""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from dir_redis.redis.faults import DRIVER_ERRORS, NO_LONGER_PRIMARY, ON_OPENING, diagnose, explain

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE_SEC = 0.01
_LONGEST_PAUSE_SEC = 0.5


def until_answered(
    send: Callable[[], T],
    *,
    operation: str,
    keys: tuple[str, ...],
    where: str,
    deadline: float,
    fails_over: bool,
    single_attempt: bool,
    write: bool,
    maybe_applied: bool = False,
    failed: Exception | None = None,
    ask_anew: Callable[[], None] | None = None,
) -> T:
    """Call send until it returns, and translate what it raises.

    Args:
        send: one attempt; safe to repeat, also when an earlier one was applied.
        operation: what it does, for messages.
        keys: the keys it touches, to name a corrupt one.
        where: the server, without secrets.
        deadline: the time.monotonic() after which no attempt begins; one that is under way is not
            cut off.
        fails_over: whether another server can take over.
        single_attempt: whether send sends a command at most once.
        write: whether it changes anything.
        maybe_applied: whether it is a repeat of a write that may have been applied before.
        failed: what the first attempt raised, if that was made already.
        ask_anew: has the next attempt ask who the primary is.

    Raises:
        StorageUnavailableError: time ran out, or a write failed half-way.
        StorageRefusedError: the server refused it.
        CorruptRecordError: a key holds what does not belong there.
    """
    for attempt in itertools.count():
        if failed is None:
            try:
                return send()
            except DRIVER_ERRORS as error:
                failed = error
        fault = diagnose(failed, fails_over=fails_over, single_attempt=single_attempt)
        maybe_applied = maybe_applied or (write and fault.applied)
        if fault.code in NO_LONGER_PRIMARY and ask_anew is not None:
            ask_anew()
        pause = random.uniform(0.5, 1) * min(_LONGEST_PAUSE_SEC, _FIRST_PAUSE_SEC * 2**attempt)
        if not fault.passing or time.monotonic() + pause >= deadline:
            raise explain(
                fault,
                operation=operation,
                keys=keys,
                where=where,
                write=write,
                maybe_applied=maybe_applied,
            ) from failed
        logger.log(
            logging.DEBUG if attempt else logging.WARNING,  # once per operation is enough
            "%s on %s failed (%s); attempt %d follows in %.0f ms",
            operation,
            where,
            fault.code or type(failed).__name__,
            attempt + 2,
            pause * 1000,
        )
        failed = None
        time.sleep(pause)
    raise AssertionError("the count never ends")


def patiently(send: Callable[[], T], where: str, timeout_sec: float) -> T:
    """Do what opening takes as often as it needs, as the driver does later."""
    return until_answered(
        send,
        operation=ON_OPENING,
        keys=(),
        where=where,
        deadline=time.monotonic() + timeout_sec,
        fails_over=True,
        single_attempt=True,
        write=False,
    )
