"""Memory's look at the budget and its spending are one step: each thread is held in between."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dir_redis import EscalationOutcome, memory_storage
from dir_redis.memory import escalation

THREADS = 8


def test_no_two_threads_are_between_the_count_and_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the lock all threads would find the budget unspent before any of them spends."""
    store = memory_storage()
    everybody_is_in = threading.Barrier(THREADS)
    count = escalation.bisect_right
    met: list[bool] = []

    def count_and_wait_for_the_others(*args: Any) -> int:
        counted = count(*args)
        # Breaks after a moment, since the others cannot come in; then it breaks at once.
        try:
            everybody_is_in.wait(0.1)
        except threading.BrokenBarrierError:
            pass
        else:
            met.append(True)
        return counted

    monkeypatch.setattr(escalation, "bisect_right", count_and_wait_for_the_others)

    def ask(number: int) -> bool:
        asked = (f"flow-{number}", "agent", "", "", "", "")
        answer = store.escalation.escalate(*asked, limit=1, window_sec=60)
        return answer.outcome is EscalationOutcome.GRANTED

    with ThreadPoolExecutor(THREADS) as pool:
        granted = sum(pool.map(ask, range(THREADS)))

    assert met == []
    assert granted == 1
    assert store.escalation.get_window_count("agent", "2000-01-01 00:00:00") == 1
