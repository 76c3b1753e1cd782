"""Keeping a lease alive: at every third of it, through failures, and not a moment too long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

import pytest

from dir_redis.errors import LeaseLostError, StorageUnavailableError
from dir_redis.keep_alive import KeepAlive

PATIENCE_SECONDS = 30
LEASE = 0.3

LOST = LeaseLostError("claim", 1)
UNAVAILABLE = StorageUnavailableError("no answer", outcome_unknown=True)


class Renewals:
    """Renews as told, then for ever successfully, and notes when."""

    def __init__(self, outcomes: Iterable[Exception | None] = ()) -> None:
        self._outcomes = iter(outcomes)
        self._changed = threading.Condition()
        self.moments: list[float] = []

    def __call__(self) -> None:
        with self._changed:
            self.moments.append(time.monotonic())
            self._changed.notify_all()
        outcome = next(self._outcomes, None)
        if outcome is not None:
            raise outcome

    def await_number(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.moments) >= number, PATIENCE_SECONDS)


class Told:
    """Notes when, and on which thread, the owner was told of the loss."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.threads: list[threading.Thread] = []
        self.moment = 0.0

    def __call__(self) -> None:
        self.moment = time.monotonic()
        self.threads.append(threading.current_thread())
        self.event.set()

    def wait(self) -> None:
        assert self.event.wait(PATIENCE_SECONDS)


def kept(renew: Callable[[], object], lease_sec: float = LEASE, **how: object) -> KeepAlive:
    return KeepAlive(renew, lease_sec, record="lease", **how)  # type: ignore[arg-type]


def test_a_lease_is_renewed_at_every_third_of_it() -> None:
    renewals = Renewals()
    started = time.monotonic()
    with kept(renewals) as keep_alive:
        renewals.await_number(4)
        assert not keep_alive.lost

    gaps = [b - a for a, b in zip([started, *renewals.moments], renewals.moments, strict=False)]
    assert min(gaps) >= LEASE / 3 - 0.02
    assert sorted(gaps)[len(gaps) // 2] < LEASE


def test_a_lease_that_began_earlier_is_renewed_earlier() -> None:
    renewals = Renewals()
    with kept(renewals, 1000, leased_at=time.monotonic() - 999) as keep_alive:
        renewals.await_number(1)
        assert not keep_alive.lost
    assert len(renewals.moments) == 1


def test_nothing_is_renewed_after_the_block() -> None:
    renewals = Renewals()
    with kept(renewals) as keep_alive:
        renewals.await_number(1)
    count = len(renewals.moments)

    assert not any("keep-alive" in thread.name for thread in threading.enumerate())
    assert len(renewals.moments) == count
    assert not keep_alive.lost


def test_a_block_that_ends_at_once_does_not_wait_for_a_third() -> None:
    renewals = Renewals()
    started = time.monotonic()
    with kept(renewals, 3600):
        pass

    assert time.monotonic() - started < PATIENCE_SECONDS
    assert renewals.moments == []


def test_stopping_twice_or_before_the_start_is_fine() -> None:
    keep_alive = kept(Renewals())
    keep_alive.stop()
    with keep_alive:
        keep_alive.stop()
    keep_alive.stop()

    assert not keep_alive.lost


def test_a_lost_lease_is_told_once_on_another_thread_and_renewed_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    renewals, told = Renewals([None, LOST]), Told()
    with kept(renewals, on_lost=told) as keep_alive:
        told.wait()
        assert keep_alive.lost

    assert keep_alive.lost
    assert len(renewals.moments) == 2
    assert len(told.threads) == 1
    assert told.threads != [threading.current_thread()]
    assert [record.getMessage() for record in caplog.records] == ["the lease of the lease is lost"]


def test_the_owner_may_stop_when_it_is_told() -> None:
    told = Told()

    def on_lost() -> None:
        keep_alive.stop()
        told()

    with kept(Renewals([LOST]), on_lost=on_lost) as keep_alive:
        told.wait()
    assert keep_alive.lost


def test_without_anybody_to_tell_a_lost_lease_is_known() -> None:
    renewals = Renewals([LOST])
    with kept(renewals) as keep_alive:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not keep_alive.lost:
            assert time.monotonic() < deadline
            time.sleep(0.001)
    assert len(renewals.moments) == 1


def test_a_store_that_is_unavailable_for_a_while_costs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    renewals, told = Renewals([None, UNAVAILABLE, UNAVAILABLE, None, None]), Told()
    with kept(renewals, 1.5, on_lost=told) as keep_alive:
        renewals.await_number(5)
        assert not keep_alive.lost

    assert told.threads == []
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "the lease of the lease was not renewed: no answer")
    ] * 2
    first, second, third, fourth, fifth = renewals.moments
    assert max(third - second, fourth - third) < min(second - first, fifth - fourth)


@pytest.mark.parametrize("error", [UNAVAILABLE, ValueError("a bug")])
def test_a_lease_that_cannot_be_renewed_counts_as_lost_when_it_has_run_out(
    error: Exception,
) -> None:
    renewals, told = Renewals([error] * 1000), Told()
    started = time.monotonic()
    with kept(renewals, 3 * LEASE, on_lost=told) as keep_alive:
        told.wait()
        assert keep_alive.lost

    assert told.moment - started >= 3 * LEASE
    assert len(renewals.moments) >= 2


def test_a_lease_has_run_out_also_while_its_renewal_hangs() -> None:
    hanging, answered, told = threading.Event(), threading.Event(), Told()

    def hang() -> None:
        hanging.set()
        assert answered.wait(PATIENCE_SECONDS)
        raise LOST

    with kept(hang, on_lost=told) as keep_alive:
        assert hanging.wait(PATIENCE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not keep_alive.lost:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert not told.event.is_set()
        answered.set()
        told.wait()
    assert keep_alive.lost
