"""Reservations checked in the step that writes them, and waited for in turn."""

from __future__ import annotations

import math
import threading
import time
from decimal import Decimal

import pytest

from dir_redis import InsufficientCapacityError, LeaseLostError, ResourceContentionError
from dir_redis.kernel import LockResult, ResourceLockManager

ACQUIRED = LockResult.ACQUIRED
INSUFFICIENT = LockResult.INSUFFICIENT_LIQUIDITY
CONTENTION = LockResult.RESOURCE_CONTENTION_TIMEOUT
PATIENCE_SEC = 20


def manager(bundle, capacity=100, **capacities):
    return ResourceLockManager(
        availability_provider=lambda rid: capacities.get(rid, capacity),
        storage=bundle.resource_lock,
    )


def held(bundle, resource_id="capital"):
    return sum(holder.amount for holder in bundle.resource_lock.holders(resource_id))


def somebody_waits(bundle, dfid="small"):
    """Whether a request waits: then not even 0.01 can be had, though there is room."""
    try:
        bundle.resource_lock.reserve(dfid, {"capital": 0.01}).release()
    except ResourceContentionError:
        return True
    return False


def until(condition):
    deadline = time.monotonic() + PATIENCE_SEC
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_what_fits_is_acquired_and_what_does_not_is_refused_whole(bundle):
    locks = manager(bundle, capital=100, seats=2)

    assert locks.acquire("f", {"capital": 60, "seats": 1}) is ACQUIRED
    assert locks.acquire("g", {"capital": 50, "seats": 1}) is INSUFFICIENT
    assert locks.acquire("g", {"capital": 40, "seats": 1}) is ACQUIRED
    assert locks.acquire("h", {"seats": 1}) is INSUFFICIENT
    locks.release("f")
    assert locks.acquire("h", {"seats": 1}) is ACQUIRED
    assert (held(bundle), held(bundle, "seats")) == (40, 2)


def test_too_little_is_known_at_once(bundle):
    begun = time.monotonic()

    assert manager(bundle).acquire("f", {"capital": 101}, timeout_sec=30) is INSUFFICIENT
    assert time.monotonic() - begun < 10


def test_amounts_are_exact(bundle):
    locks = manager(bundle, 0.3)

    assert locks.acquire("f", {"capital": 0.1}) is ACQUIRED
    assert locks.acquire("g", {"capital": 0.2}) is ACQUIRED
    assert locks.acquire("h", {"capital": 0.00000001}) is INSUFFICIENT


def test_what_a_flow_holds_itself_is_not_in_its_way(bundle):
    locks = manager(bundle)

    assert locks.acquire("f", {"capital": 60}) is ACQUIRED
    assert locks.acquire("f", {"capital": 100}) is ACQUIRED
    assert held(bundle) == 100


@pytest.mark.parametrize("wait", [False, True])
def test_nothing_can_be_acquired_as_in_dir_core(bundle, wait):
    assert manager(bundle, 0).acquire("f", {}, wait=wait) is ACQUIRED


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("capacity", [math.inf, Decimal("Infinity")])
def test_infinity_is_no_limit(bundle, wait, capacity):
    locks = manager(bundle, capacity, seats=1)

    assert locks.acquire("f", {"capital": 1e9, "seats": 1}, 0.01, wait=wait) is ACQUIRED
    assert locks.acquire("g", {"capital": 1e9, "seats": 1}, 0.01, wait=wait) is INSUFFICIENT


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("capacity", [-1, -0.5, -math.inf, Decimal(-1)])
@pytest.mark.parametrize("amount", [1, 0])
def test_less_than_nothing_is_insufficient(bundle, wait, capacity, amount):
    locks = manager(bundle, capital=capacity)

    assert locks.acquire("f", {"capital": amount}, wait=wait) is INSUFFICIENT
    assert bundle.resource_lock.holders("capital") == []


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("capacity", [math.nan, Decimal("nan"), None, "100", True])
def test_what_the_provider_says_must_be_a_number(bundle, wait, capacity):
    with pytest.raises(ValueError, match="'capital'"):
        manager(bundle, capital=capacity).acquire("f", {"capital": 1}, wait=wait)
    assert bundle.resource_lock.holders("capital") == []


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("amount", [math.nan, math.inf, -1, "1", None])
def test_an_amount_must_be_a_number_too(bundle, wait, amount):
    with pytest.raises(ValueError, match="'capital'"):
        manager(bundle).acquire("f", {"capital": amount}, wait=wait)


def test_a_declared_capacity_that_is_lower_counts(bundle):
    bundle.resource_lock.set_capacity("capital", 10)

    assert manager(bundle, 100).acquire("f", {"capital": 11}) is INSUFFICIENT
    assert manager(bundle, 9).acquire("f", {"capital": 10}) is INSUFFICIENT
    assert manager(bundle, math.inf).acquire("f", {"capital": 10}) is ACQUIRED


class Busy:
    """A storage whose write access cannot be had a number of times."""

    def __init__(self, storage, times):
        self.reserve, self._acquire = storage.reserve, storage.acquire_batch
        self.times, self.tries = times, []

    def acquire_batch(self, dfid, resources, timeout_sec, *, capacities):
        self.tries.append((timeout_sec, dict(capacities)))
        return len(self.tries) > self.times and self._acquire(
            dfid, resources, timeout_sec, capacities=capacities
        )


def test_it_tries_again_until_the_deadline_and_asks_the_provider_anew(bundle):
    capacities = iter((5, 6, 7, 8))
    busy = Busy(bundle.resource_lock, times=3)
    locks = ResourceLockManager(availability_provider=lambda _: next(capacities), storage=busy)

    assert locks.acquire("f", {"capital": 8}, 30) is ACQUIRED
    assert [brought for _, brought in busy.tries] == [{"capital": n} for n in (5, 6, 7, 8)]
    assert [30 >= left > 20 for left, _ in busy.tries] == [True] * 4


@pytest.mark.parametrize("wait", [False, True])
def test_without_an_end_it_tries_or_waits_for_as_long_as_it_takes(bundle, race, wait):
    locks = manager(bundle)
    assert locks.acquire("f", {"capital": 60}, math.inf, wait=wait) is ACQUIRED
    if not wait:
        busy = Busy(bundle.resource_lock, times=3)
        tries = ResourceLockManager(availability_provider=lambda _: 100, storage=busy)
        assert tries.acquire("g", {"capital": 40}, math.inf) is ACQUIRED
        assert len(busy.tries) == 4
        return

    def release():
        until(lambda: somebody_waits(bundle))
        locks.release("f")

    waiting, _ = race([lambda: locks.acquire("g", {"capital": 60}, math.inf, wait=True), release])
    assert waiting is ACQUIRED


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("timeout_sec", [0, -1, -math.inf, math.nan])
def test_without_time_what_fits_is_acquired(bundle, timeout_sec, wait):
    locks = manager(bundle)

    assert locks.acquire("f", {"capital": 60}, timeout_sec, wait=wait) is ACQUIRED
    assert locks.acquire("g", {"capital": 60}, timeout_sec, wait=wait) is INSUFFICIENT


@pytest.mark.parametrize("timeout_sec", [0, -1, math.nan])
def test_without_time_it_tries_once(bundle, timeout_sec):
    busy = Busy(bundle.resource_lock, times=9)
    locks = ResourceLockManager(availability_provider=lambda _: 100, storage=busy)

    assert locks.acquire("g", {"capital": 1}, timeout_sec) is CONTENTION
    assert busy.tries == [(0, {"capital": 100})]


def test_the_time_is_over_when_it_is(bundle):
    busy = Busy(bundle.resource_lock, times=1000)
    locks = ResourceLockManager(availability_provider=lambda _: 100, storage=busy)
    begun = time.monotonic()

    assert locks.acquire("f", {"capital": 1}, 0.2) is CONTENTION
    assert 0.2 <= time.monotonic() - begun < 10
    assert 2 <= len(busy.tries) <= 6


def test_16_hosts_never_hold_more_than_there_is_and_leave_nothing_that_fits(bundle, race):
    def work(host):
        return manager(bundle).acquire(f"f{host}", {"capital": 30})

    results = race([lambda host=host: work(host) for host in range(16)])

    assert sorted(results) == sorted([ACQUIRED] * 3 + [INSUFFICIENT] * 13)
    assert held(bundle) == 90


def test_hosts_that_come_and_go_are_never_above_the_capacity(bundle, race):
    most = []

    def work(host):
        locks = manager(bundle, 10)
        for _ in range(15):
            if locks.acquire(f"f{host}", {"capital": 4}) is ACQUIRED:
                most.append(held(bundle))
                locks.release(f"f{host}")

    race([lambda host=host: work(host) for host in range(8)])

    assert 4 <= max(most) <= 8
    assert held(bundle) == 0


# Waiting


def test_waiting_is_woken_by_the_release(bundle, race):
    locks = manager(bundle)
    locks.acquire("f", {"capital": 60})

    def wait():
        return locks.acquire("g", {"capital": 60}, PATIENCE_SEC, wait=True), time.monotonic()

    def release():
        until(lambda: somebody_waits(bundle))
        locks.release("f")
        return time.monotonic()

    (result, woken_at), released_at = race([wait, release])
    assert result is ACQUIRED
    assert woken_at - released_at < 0.9
    assert held(bundle) == 60


def test_who_waits_is_not_overtaken_and_who_is_in_turn_too_late_is_told(bundle, race):
    locks = manager(bundle)
    locks.acquire("f", {"capital": 60})

    def large():
        return locks.acquire("large", {"capital": 100}, PATIENCE_SEC, wait=True)

    def small():
        until(lambda: somebody_waits(bundle))
        results = [
            locks.acquire("small", {"capital": 1}, 0.05),
            locks.acquire("small", {"capital": 1}, 0.05, wait=True),
        ]
        locks.release("f")
        return results

    assert race([large, small]) == [ACQUIRED, [CONTENTION, CONTENTION]]
    assert held(bundle) == 100


@pytest.mark.parametrize("timeout_sec", [0, 0.05])
def test_no_room_in_time_is_insufficient(bundle, timeout_sec):
    locks = manager(bundle)
    locks.acquire("f", {"capital": 60})
    begun = time.monotonic()

    assert locks.acquire("g", {"capital": 60}, timeout_sec, wait=True) is INSUFFICIENT
    assert time.monotonic() - begun >= timeout_sec
    assert held(bundle) == 60


def test_what_can_never_fit_is_not_waited_for(bundle):
    begun = time.monotonic()

    assert manager(bundle).acquire("f", {"capital": 101}, 30, wait=True) is INSUFFICIENT
    assert time.monotonic() - begun < 10


def test_8_hosts_that_wait_are_all_served(bundle, race):
    most = []

    def work(host):
        locks = manager(bundle, 2)
        for _ in range(5):
            assert locks.acquire(f"f{host}", {"capital": 1}, 60, wait=True) is ACQUIRED
            most.append(held(bundle))
            locks.release(f"f{host}")

    race([lambda host=host: work(host) for host in range(8)])

    assert len(most) == 40
    assert max(most) <= 2


# With a lease


def test_a_reservation_has_a_lease_and_a_token_and_ends_with_its_block(bundle):
    locks = manager(bundle)
    with locks.reserve("f", {"capital": 60}, lease_sec=30) as reservation:
        assert reservation.fencing_token > 0
        assert reservation.expires_at is not None
        assert locks.acquire("g", {"capital": 60}) is INSUFFICIENT
        with pytest.raises(InsufficientCapacityError) as refused:
            locks.reserve("g", {"capital": 60}, 0, lease_sec=30)
        assert (refused.value.resource_id, refused.value.available) == ("capital", 40)

    assert held(bundle) == 0


def test_a_dead_hosts_reservation_frees_itself_and_its_token_is_refused(bundle):
    locks = manager(bundle)
    dead = locks.reserve("f", {"capital": 60}, lease_sec=0.05)
    heir = locks.reserve("g", {"capital": 60}, PATIENCE_SEC, lease_sec=60)

    assert heir.fencing_token > dead.fencing_token
    with pytest.raises(LeaseLostError):
        dead.release()
    assert held(bundle) == 60


def test_reserving_asks_the_provider_and_refuses_what_acquire_refuses(bundle):
    with pytest.raises(InsufficientCapacityError) as refused:
        manager(bundle, capital=-5).reserve("f", {"capital": 1.5})
    assert (refused.value.resource_id, refused.value.requested, refused.value.available) == (
        "capital",
        Decimal("1.5"),
        Decimal(-5),
    )
    with pytest.raises(ValueError, match="NaN for 'capital'"):
        manager(bundle, capital=math.nan).reserve("f", {"capital": 1})
    with pytest.raises(ValueError, match="at least one resource"):
        manager(bundle).reserve("f", {})


def test_a_queue_that_is_not_served_in_time_is_an_error_of_reserving(bundle, race):
    locks = manager(bundle)
    locks.acquire("f", {"capital": 60})
    over = threading.Event()

    def small():
        until(lambda: somebody_waits(bundle))
        with pytest.raises(ResourceContentionError):
            locks.reserve("small", {"capital": 1}, 0.05)
        locks.release("f")
        over.set()

    def large():
        locks.reserve("large", {"capital": 100}, PATIENCE_SEC).release()

    race([large, small])
    assert over.is_set()
