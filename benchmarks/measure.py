"""Timing of calls that do the same thing, in rounds that take turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from redis.connection import AbstractConnection

MIN_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        rounds: rounds of calls; every variant has its turn in each.
        calls: calls of one variant in one round.
        budget_sec: how long one method may take before its rounds are cut short.
        slow_rounds: rounds where calls wait for a disk.
        slow_calls: calls of one variant in such a round.
        holders: flows that hold the same resources, in the large store.
        log_rows: rows of the large log.
        agents: agents, or requests, in the large store.
        memory_rows: rows in the logs whose memory is compared, ten per flow.
        contention_rounds: rounds of the contention benchmark.
        contention_sec: how long each of its turns takes.
    """

    rounds: int = 150
    calls: int = 20
    budget_sec: float = 5.0
    slow_rounds: int = 20
    slow_calls: int = 20
    holders: int = 100_000
    log_rows: int = 1_000_000
    agents: int = 10_000
    memory_rows: int = 200_000
    contention_rounds: int = 3
    contention_sec: float = 2.0


QUICK = Sizes(
    rounds=10,
    calls=10,
    slow_rounds=2,
    slow_calls=10,
    holders=2_000,
    log_rows=20_000,
    agents=1_000,
    memory_rows=10_000,
    contention_rounds=1,
    contention_sec=0.3,
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to do something.

    Attributes:
        call: does it once, for an id.
        prepare: what has to be there before a call for that id; not timed.
    """

    call: Callable[[str], object]
    prepare: Callable[[str], object] | None = None


def interleaved(
    variants: Mapping[str, Variant],
    *,
    rounds: int,
    ids: Callable[[int], Sequence[str]],
    budget_sec: float,
) -> dict[str, list[float]]:
    """Return microseconds per call, by variant and round.

    Every variant has its turn in every round, one call for each id, and the order turns about; a
    first round is not counted.

    Args:
        variants: the ways to do it, by name.
        rounds: how many rounds count.
        ids: the ids of a round.
        budget_sec: after this long, a busy machine or a slow disk gets no more rounds.
    """
    started = time.monotonic()
    order = list(variants)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        if number > MIN_ROUNDS and time.monotonic() - started > budget_sec:
            break
        now = ids(number)
        for name in order:
            variant = variants[name]
            if variant.prepare is not None:
                for identifier in now:
                    variant.prepare(identifier)
            taken = _time(variant.call, now)
            if number:
                times[name].append(taken / len(now) * 1e6)
        order = order[1:] + order[:1] if number % 2 else order[::-1]
    return times


def new_ids(calls: int) -> Callable[[int], list[str]]:
    """Ids that no other round has, so that each write adds something."""
    return lambda number: [f"flow-{number:03d}-{call:02d}" for call in range(calls)]


def _time(call: Callable[[str], object], ids: Sequence[str]) -> float:
    start = time.perf_counter()
    for identifier in ids:
        call(identifier)
    return time.perf_counter() - start


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each variant's rounds."""
    return {name: median(rounds) for name, rounds in times.items()}


def geometric_mean(ratios: Iterable[float]) -> float:
    """The mean that suits ratios."""
    logs = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logs) / len(logs))


def round_trips(variant: Variant, identifier: str) -> int:
    """Count the packets that redis-py sends for one call."""
    if variant.prepare is not None:
        variant.prepare(identifier)
    with _counting() as count:
        variant.call(identifier)
    return count()


@contextmanager
def _counting() -> Iterator[Callable[[], int]]:
    """Count what redis-py's connections send."""
    sent: list[None] = []
    send = AbstractConnection.send_packed_command

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        sent.append(None)
        return send(self, *args, **kwargs)

    AbstractConnection.send_packed_command = counting  # type: ignore[method-assign]
    try:
        yield lambda: len(sent)
    finally:
        AbstractConnection.send_packed_command = send  # type: ignore[method-assign]
