"""The clock of memory and SQLite stores."""

from __future__ import annotations

import pytest

from dir_redis.clock import MonotonicClock


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The host's two clocks, in nanoseconds, set by the test."""
    clocks = {"utc": 1_800_000_000 * 10**9, "monotonic": 5 * 10**9}
    monkeypatch.setattr("dir_redis.clock.time.time_ns", lambda: clocks["utc"])
    monkeypatch.setattr("dir_redis.clock.time.monotonic_ns", lambda: clocks["monotonic"])
    return clocks


def pass_time(host: dict[str, int], nanoseconds: int) -> None:
    host["utc"] += nanoseconds
    host["monotonic"] += nanoseconds


def test_it_follows_the_hosts_clock(host: dict[str, int]) -> None:
    clock = MonotonicClock()

    assert clock.now() == 1_800_000_000 * 10**6
    pass_time(host, 1500)
    assert clock.now() == 1_800_000_000 * 10**6 + 1
    host["utc"] += 3600 * 10**9
    assert clock.now() == 1_800_003_600 * 10**6 + 1


def test_set_back_by_an_hour_it_goes_on_at_the_same_pace(host: dict[str, int]) -> None:
    clock = MonotonicClock()
    before = clock.now()
    host["utc"] -= 3600 * 10**9

    assert clock.now() == before
    pass_time(host, 2 * 10**9)
    assert clock.now() == before + 2 * 10**6
    for _ in range(1000):
        pass_time(host, 300)
        clock.now()
    assert clock.now() == before + 2 * 10**6 + 300
