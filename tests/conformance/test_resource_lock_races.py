"""Sixteen threads at once: two callers never both see room and both succeed."""

from __future__ import annotations

import time

from dir_redis import InsufficientCapacityError

THREADS = 16
DEADLINE_SECONDS = 60


def manager_acquire(locks, dfid, wanted, available):
    """What the kernel's ResourceLockManager does, in spirit: look, then acquire, then retry."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        for rid in sorted(wanted):
            locked = locks.get_locked_amount(rid, exclude_dfid=dfid)
            if available[rid] - locked < wanted[rid]:
                return "INSUFFICIENT_LIQUIDITY"
        if locks.acquire_batch(dfid, wanted, DEADLINE_SECONDS):
            return "ACQUIRED"
    return "RESOURCE_CONTENTION_TIMEOUT"


def acquire(locks, dfid, wanted, **how):
    """True if the batch was reserved, False if there was too little."""
    try:
        assert locks.acquire_batch(dfid, wanted, DEADLINE_SECONDS, **how) is True
    except InsufficientCapacityError:
        return False
    return True


def test_a_declared_capacity_of_100_is_filled_and_never_exceeded(locks, race):
    locks.set_capacity("capital", 100)

    def worker(n):
        return [acquire(locks, f"f{n}-{turn}", {"capital": 1}) for turn in range(10)]

    outcomes = [ok for own in race([lambda n=n: worker(n) for n in range(THREADS)]) for ok in own]
    assert outcomes.count(True) == 100
    assert locks.get_locked_amount("capital", exclude_dfid="nobody") == 100.0


def test_a_capacity_brought_by_every_call_is_filled_and_never_exceeded(locks, race):
    def worker(n):
        return [
            acquire(locks, f"f{n}-{turn}", {"capital": 7}, capacities={"capital": 100})
            for turn in range(4)
        ]

    outcomes = [ok for own in race([lambda n=n: worker(n) for n in range(THREADS)]) for ok in own]
    assert outcomes.count(True) == 14
    assert locks.get_locked_amount("capital", exclude_dfid="nobody") == 98.0


def test_the_unmodified_manager_never_exceeds_what_is_available(locks, race):
    available = {"capital": 100.0, "quota": 1000.0}

    def worker(n):
        return [
            manager_acquire(locks, f"f{n}-{turn}", {"quota": 3.0, "capital": 7.0}, available)
            for turn in range(4)
        ]

    outcomes = [end for own in race([lambda n=n: worker(n) for n in range(THREADS)]) for end in own]
    assert outcomes.count("ACQUIRED") == 14
    assert outcomes.count("INSUFFICIENT_LIQUIDITY") == 50
    assert locks.get_locked_amount("capital", exclude_dfid="nobody") == 98.0
    assert locks.get_locked_amount("quota", exclude_dfid="nobody") == 42.0


def test_no_reader_sees_more_than_the_capacity_while_flows_come_and_go(locks, race):
    locks.set_capacity("capital", 20)

    def worker(n):
        seen = []
        for turn in range(40):
            acquire(locks, f"f{n}", {"capital": 3 + turn % 5})
            seen.append(locks.get_locked_amount("capital", exclude_dfid="nobody"))
            locks.release(f"f{n}")
        return max(seen)

    assert max(race([lambda n=n: worker(n) for n in range(THREADS)])) <= 20.0
    assert locks.get_locked_amount("capital", exclude_dfid="nobody") == 0.0


def test_batches_in_opposite_orders_neither_block_nor_split(locks, race):
    locks.set_capacity("a", 5)
    locks.set_capacity("b", 5)

    def worker(n):
        wanted = {"a": 1, "b": 1} if n % 2 else {"b": 1, "a": 1}
        return acquire(locks, f"f{n}", wanted)

    assert race([lambda n=n: worker(n) for n in range(THREADS)]).count(True) == 5
    assert [locks.get_locked_amount(rid, "nobody") for rid in "ab"] == [5.0, 5.0]


def test_one_flow_acquired_by_all_threads_holds_one_of_the_batches_whole(locks, race):
    def worker(n):
        for _ in range(10):
            assert acquire(locks, "f", {"a": n, "b": n})

    race([lambda n=n: worker(n) for n in range(1, THREADS + 1)])

    held = [locks.get_locked_amount(rid, "nobody") for rid in "ab"]
    assert held[0] == held[1]
    assert held[0] in range(1, THREADS + 1)
