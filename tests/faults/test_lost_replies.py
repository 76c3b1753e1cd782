"""However a request or its reply is lost, each write is applied once, and its caller told so."""

from __future__ import annotations

import contextlib
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
from tests.applications import counted_applications
from tests.faults.conftest import primaries
from tests.faults.failover import Setup
from tests.redis_only.test_once import WRITES

# What a write may answer after another one has had its way.
ANSWERS = (LeaseLostError, SessionSupersededError, VersionConflictError)
# Who repeats one of these after another write ended its claim claims once more: each goes alone.
CLAIMS = ("claim_dirty", "claim_dirty of a flow", "claim_next")
ATTEMPT_SEC = 0.05
PATIENCE_SEC = 0.6

LOSSES = {
    "reply cut": lambda proxy, count, to: proxy.lose_replies(count, to=to),
    "half a reply": lambda proxy, count, to: proxy.lose_replies(count, to=to, half=True),
    "no reply": lambda proxy, count, to: proxy.lose_replies(count, to=to, silent=True),
    "request cut": lambda proxy, count, to: proxy.lose_requests(count, to=to),
    "half a request": lambda proxy, count, to: proxy.lose_requests(count, to=to, half=True),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_each_write_survives_one_loss_and_is_applied_once(
    setup: Setup, loss: str, namespace: str
) -> None:
    applied = {}
    with (
        open_storage(setup.url, namespace=namespace, attempt_timeout_sec=ATTEMPT_SEC) as bundle,
        counted_applications(primaries(setup)) as applications,
    ):
        for name, write in WRITES.items():
            write(bundle)  # loads its script
            applications.since_the_last_time()
            LOSSES[loss](setup.proxy, 1, b"EVALSHA")
            write(bundle)
            assert setup.proxy.lost(), name
            applied[name] = applications.since_the_last_time().total()

    assert applied == dict.fromkeys(WRITES, 1)


def until_told(call: Any) -> Any:
    """What a call returns, gone on with as long as its outcome is unknown: little time is given."""
    for _ in range(50):
        try:
            return call()
        except StorageUnavailableError as error:
            call = error.repeat
    raise AssertionError("50 times no answer")


@pytest.mark.parametrize("loss", LOSSES)
def test_a_write_that_is_never_answered_is_of_unknown_outcome_and_repeated_once(
    setup: Setup, loss: str, namespace: str
) -> None:
    with (
        open_storage(
            setup.url,
            namespace=namespace,
            timeout_sec=PATIENCE_SEC,
            attempt_timeout_sec=PATIENCE_SEC,
        ) as bundle,
        counted_applications(primaries(setup)) as applications,
        ThreadPoolExecutor(len(WRITES)) as pool,
    ):

        def call_in_vain(name: str) -> StorageUnavailableError:
            with pytest.raises(StorageUnavailableError) as caught:
                WRITES[name](bundle)
            return caught.value

        for write in WRITES.values():
            until_told(lambda write=write: write(bundle))
        for names in ([name for name in WRITES if name not in CLAIMS], *([one] for one in CLAIMS)):
            applications.since_the_last_time()
            LOSSES[loss](setup.proxy, 1_000_000, b"EVAL")
            errors = dict(zip(names, pool.map(call_in_vain, names), strict=True))
            setup.proxy.lose_nothing()
            for error in errors.values():
                with contextlib.suppress(*ANSWERS):
                    until_told(error.repeat)
            applied = applications.since_the_last_time()

            assert {name: error.outcome_unknown for name, error in errors.items()} == dict.fromkeys(
                names, True
            )
            # All were under way at once, so each had a session of its own.
            assert sorted(applied.values()) == [1] * len(names)


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
