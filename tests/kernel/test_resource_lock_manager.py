"""Reservations against what there is of each resource (DIR §6.2)."""

from __future__ import annotations

import contextlib

import pytest
from dir_core import LockResult

AVAILABLE = {"capital": 100.0, "seats": 4.0}


@pytest.fixture
def locks(managers, bundle):
    return managers.ResourceLockManager(
        availability_provider=AVAILABLE.__getitem__, storage=bundle.resource_lock
    )


def held(bundle, resource):
    return bundle.resource_lock.get_locked_amount(resource, "nobody")


def test_what_fits_is_acquired(locks, bundle):
    assert locks.acquire("flow", {"capital": 60, "seats": 1}) == LockResult.ACQUIRED
    assert held(bundle, "capital") == 60
    assert held(bundle, "seats") == 1


def test_all_that_there_is_can_be_acquired(locks):
    assert locks.acquire("flow", {"capital": 100.0}) == LockResult.ACQUIRED


def test_what_does_not_fit_is_refused_and_nothing_is_held(locks, bundle):
    assert locks.acquire("flow", {"capital": 100.5}) == LockResult.INSUFFICIENT_LIQUIDITY
    assert held(bundle, "capital") == 0


def test_of_several_resources_all_are_acquired_or_none(locks, bundle):
    result = locks.acquire("flow", {"capital": 10, "seats": 5})

    assert result == LockResult.INSUFFICIENT_LIQUIDITY
    assert held(bundle, "capital") == 0
    assert held(bundle, "seats") == 0


def test_nothing_is_always_acquired(locks):
    assert locks.acquire("flow", {}) == LockResult.ACQUIRED
    assert locks.acquire("flow", {"capital": 0}) == LockResult.ACQUIRED


def test_what_others_hold_is_not_available(locks, bundle):
    """dir-core 0.4's own SQLite backend lets a second holder erase the first."""
    assert locks.acquire("flow-1", {"capital": 60}) == LockResult.ACQUIRED
    assert locks.acquire("flow-2", {"capital": 30}) == LockResult.ACQUIRED
    assert held(bundle, "capital") == 90

    assert locks.acquire("flow-3", {"capital": 20}) == LockResult.INSUFFICIENT_LIQUIDITY
    assert locks.acquire("flow-3", {"capital": 10}) == LockResult.ACQUIRED
    assert held(bundle, "capital") == 100


def test_released_amounts_are_available_again(locks, bundle):
    locks.acquire("flow-1", {"capital": 60, "seats": 4})
    locks.acquire("flow-2", {"capital": 40})

    assert locks.release("flow-1") is None

    assert held(bundle, "capital") == 40
    assert held(bundle, "seats") == 0
    assert locks.acquire("flow-3", {"capital": 60}) == LockResult.ACQUIRED


def test_who_holds_nothing_can_release(locks, bundle):
    locks.acquire("flow", {"capital": 60})
    locks.release("other")

    assert held(bundle, "capital") == 60


def test_acquiring_again_replaces_the_amount_and_does_not_count_it_twice(locks, bundle):
    locks.acquire("flow", {"capital": 60})

    assert locks.acquire("flow", {"capital": 90}) == LockResult.ACQUIRED
    assert held(bundle, "capital") == 90
    assert locks.acquire("flow", {"capital": 20}) == LockResult.ACQUIRED
    assert held(bundle, "capital") == 20


def test_acquiring_more_leaves_what_the_flow_holds_of_other_resources(locks, bundle):
    """dir-core's own memory backend forgets it."""
    locks.acquire("flow", {"capital": 60})
    locks.acquire("flow", {"seats": 2})

    assert held(bundle, "capital") == 60
    assert held(bundle, "seats") == 2


def test_a_refused_request_leaves_what_the_flow_holds(locks, bundle):
    locks.acquire("flow", {"capital": 60})

    assert locks.acquire("flow", {"capital": 101}) == LockResult.INSUFFICIENT_LIQUIDITY
    assert held(bundle, "capital") == 60


@pytest.mark.parametrize("amount", [-1, -0.5, float("nan"), True])
def test_what_is_no_amount_is_refused_by_name(locks, bundle, amount):
    """dir-core's own backends store negative amounts and NaN."""
    with pytest.raises(ValueError, match="capital"):
        locks.acquire("flow", {"capital": amount})

    assert held(bundle, "capital") == 0


def test_an_infinite_amount_is_never_held(locks, bundle):
    """dir-core's manager finds that it does not fit; the kernel's, that it is no amount."""
    with contextlib.suppress(ValueError):
        result = locks.acquire("flow", {"capital": float("inf")})
        assert result == LockResult.INSUFFICIENT_LIQUIDITY

    assert held(bundle, "capital") == 0


def test_the_availability_is_asked_for_each_time(managers, bundle):
    available = {"capital": 100.0}
    locks = managers.ResourceLockManager(
        availability_provider=available.__getitem__, storage=bundle.resource_lock
    )
    locks.acquire("flow-1", {"capital": 60})
    assert locks.acquire("flow-2", {"capital": 60}) == LockResult.INSUFFICIENT_LIQUIDITY

    available["capital"] = 120.0
    assert locks.acquire("flow-2", {"capital": 60}) == LockResult.ACQUIRED

    available["capital"] = 50.0
    assert locks.acquire("flow-3", {"capital": 1}) == LockResult.INSUFFICIENT_LIQUIDITY
    assert held(bundle, "capital") == 120


def test_resources_are_looked_at_in_alphabetical_order(managers, bundle):
    asked = []

    def available(resource):
        asked.append(resource)
        return 10.0

    locks = managers.ResourceLockManager(
        availability_provider=available, storage=bundle.resource_lock
    )
    locks.acquire("flow", {"c": 1, "a": 1, "b": 1})

    assert asked == ["a", "b", "c"]


def test_a_failing_provider_fails_the_request_and_nothing_is_held(managers, bundle):
    locks = managers.ResourceLockManager(
        availability_provider=AVAILABLE.__getitem__, storage=bundle.resource_lock
    )

    with pytest.raises(KeyError):
        locks.acquire("flow", {"capital": 1, "unknown": 1})

    assert held(bundle, "capital") == 0


def test_managers_on_one_store_see_each_others_reservations(managers, bundle, locks):
    locks.acquire("flow-1", {"capital": 60})

    other = managers.ResourceLockManager(
        availability_provider=AVAILABLE.__getitem__, storage=bundle.resource_lock
    )
    assert other.acquire("flow-2", {"capital": 60}) == LockResult.INSUFFICIENT_LIQUIDITY
    other.release("flow-1")
    assert locks.acquire("flow-3", {"capital": 100}) == LockResult.ACQUIRED


def test_a_manager_needs_a_provider_and_a_store(managers, bundle):
    with pytest.raises(ValueError, match="availability_provider"):
        managers.ResourceLockManager(storage=bundle.resource_lock)
    with pytest.raises(ValueError, match="storage"):
        managers.ResourceLockManager(availability_provider=AVAILABLE.__getitem__)
