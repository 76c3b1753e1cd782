"""However a request or its reply is lost, each write is applied once, and its caller told so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dir_redis import (
    LeaseLostError,
    SessionSupersededError,
    StorageUnavailableError,
    VersionConflictError,
    open_storage,
)
from tests.faults.conftest import Setup
from tests.redis_only.test_once import WRITES

# What a write may answer after another one has had its way.
ANSWERS = (LeaseLostError, SessionSupersededError, VersionConflictError)
ATTEMPT_SEC = 0.05
PATIENCE_SEC = 0.4

LOSSES = {
    "reply cut": lambda proxy, count, to: proxy.lose_replies(count, to=to),
    "half a reply": lambda proxy, count, to: proxy.lose_replies(count, to=to, half=True),
    "no reply": lambda proxy, count, to: proxy.lose_replies(count, to=to, silent=True),
    "request cut": lambda proxy, count, to: proxy.lose_requests(count, to=to),
    "half a request": lambda proxy, count, to: proxy.lose_requests(count, to=to, half=True),
}


def applied(setup: Setup, namespace: str) -> int:
    """How many writes a namespace's operation sessions have seen, asked past the proxy."""
    admin = setup.primary(namespace).admin
    keys = list(admin.scan_iter(f"{{{namespace}:0}}:op:*", count=1000))
    return sum(int(value.split()[0]) for value in admin.mget(keys))


@pytest.mark.parametrize("loss", LOSSES)
def test_each_write_survives_one_loss_and_is_applied_once(
    setup: Setup, loss: str, namespace: str
) -> None:
    more = {}
    with open_storage(setup.url, namespace=namespace, attempt_timeout_sec=ATTEMPT_SEC) as bundle:
        for name, write in WRITES.items():
            write(bundle)  # loads its script
            before = applied(setup, namespace)
            LOSSES[loss](setup.proxy, 1, b"EVALSHA")
            write(bundle)
            more[name] = applied(setup, namespace) - before
            assert setup.proxy.lost(), name

    assert more == dict.fromkeys(WRITES, 1)


class _Caller:
    """Whoever makes one write in a namespace of its own, with little patience."""

    def __init__(self, setup: Setup, namespace: str, name: str) -> None:
        self.name, self.namespace = name, namespace
        self._setup = setup
        self.bundle = open_storage(
            setup.url,
            namespace=namespace,
            timeout_sec=PATIENCE_SEC,
            attempt_timeout_sec=PATIENCE_SEC,
        )
        self.error: StorageUnavailableError | None = None

    def prepare(self) -> None:
        until_told(lambda: WRITES[self.name](self.bundle))
        self.before = applied(self._setup, self.namespace)

    def call_in_vain(self) -> None:
        with pytest.raises(StorageUnavailableError) as caught:
            WRITES[self.name](self.bundle)
        self.error = caught.value

    def repeat(self) -> None:
        assert self.error is not None
        with contextlib.suppress(*ANSWERS):
            until_told(self.error.repeat)

    def applications(self) -> int:
        return applied(self._setup, self.namespace) - self.before


def until_told(call: Any) -> Any:
    """What a call returns, gone on with as long as its outcome is unknown: little time is given."""
    for _ in range(50):
        try:
            return call()
        except StorageUnavailableError as error:
            call = error.repeat
    raise AssertionError("50 times no answer")


@contextlib.contextmanager
def callers(setup: Setup, namespace: str) -> Iterator[list[_Caller]]:
    with contextlib.ExitStack() as opened:
        found = []
        for number, name in enumerate(WRITES):
            caller = _Caller(setup, f"{namespace}-{number}", name)
            opened.enter_context(caller.bundle)
            found.append(caller)
        yield found


@pytest.mark.parametrize("loss", LOSSES)
def test_a_write_that_is_never_answered_is_of_unknown_outcome_and_repeated_once(
    setup: Setup, loss: str, namespace: str
) -> None:
    with callers(setup, namespace) as each, ThreadPoolExecutor(len(each)) as pool:
        for caller in each:
            caller.prepare()
        LOSSES[loss](setup.proxy, 1_000_000, b"EVAL")
        list(pool.map(_Caller.call_in_vain, each))
        setup.proxy.lose_nothing()
        unknown = {caller.name: caller.error.outcome_unknown for caller in each}
        for caller in each:
            caller.repeat()

        assert unknown == dict.fromkeys(WRITES, True)
        assert {one.name: one.applications() for one in each} == dict.fromkeys(WRITES, 1)


def test_the_repeat_gives_the_answer_that_was_lost(setup: Setup, namespace: str) -> None:
    with open_storage(setup.url, namespace=namespace, timeout_sec=0.2) as bundle:
        assert bundle.intent_retry.increment("f") == (1, False)
        bundle.resource_lock.set_capacity("r", 10)
        for loss in LOSSES.values():
            loss(setup.proxy, 1_000_000, b"EVAL")
            with pytest.raises(StorageUnavailableError) as caught:
                bundle.intent_retry.increment("f", 3)
            setup.proxy.lose_nothing()
            caught.value.repeat()
        assert bundle.intent_retry.get_count("f") == 6

        setup.proxy.lose_replies(1_000_000, to=b"EVAL")
        with pytest.raises(StorageUnavailableError) as caught:
            bundle.resource_lock.reserve("f", {"r": 10}, lease_sec=60)
        setup.proxy.lose_nothing()
        reservation = caught.value.repeat()

        assert bundle.resource_lock.holders("r")[0].fencing_token == reservation.fencing_token


def test_without_the_number_of_its_write_a_repeat_would_apply_it_again(
    setup: Setup, namespace: str
) -> None:
    """What the numbers are for: the same faults, and calls made anew."""
    with open_storage(setup.url, namespace=namespace, timeout_sec=0.2) as bundle:
        bundle.intent_retry.increment("f")
        setup.proxy.lose_replies(1_000_000, to=b"EVAL")
        with pytest.raises(StorageUnavailableError):
            bundle.intent_retry.increment("f")
        setup.proxy.lose_nothing()
        bundle.intent_retry.increment("f")

        assert bundle.intent_retry.get_count("f") == 3
