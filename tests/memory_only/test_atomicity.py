"""Memory's check and write are one step: shown by holding each thread inside its check."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dir_redis import InsufficientCapacityError, memory_storage
from dir_redis.memory import resource_lock

THREADS = 8


def test_no_two_threads_are_between_check_and_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lock all threads would pass the check before any of them writes."""
    store = memory_storage()
    store.resource_lock.set_capacity("capital", 100)
    everybody_is_in = threading.Barrier(THREADS)
    check = resource_lock.admit

    def check_and_wait_for_the_others(*args: Any, **kwargs: Any) -> bool:
        try:
            return check(*args, **kwargs)
        finally:
            # Breaks after a moment, since the others cannot come in; then it breaks at once.
            try:
                everybody_is_in.wait(0.1)
            except threading.BrokenBarrierError:
                pass
            else:
                met.append(True)

    met: list[bool] = []
    monkeypatch.setattr(resource_lock, "admit", check_and_wait_for_the_others)

    def acquire(number: int) -> bool:
        try:
            return store.resource_lock.acquire_batch(f"flow-{number}", {"capital": 60}, 10)
        except InsufficientCapacityError:
            return False

    with ThreadPoolExecutor(THREADS) as pool:
        granted = sum(pool.map(acquire, range(THREADS)))

    assert met == []
    assert granted == 1
    assert store.resource_lock.get_locked_amount("capital", "nobody") == 60
