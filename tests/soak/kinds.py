"""Which kind of fault is next, and which were made."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from random import Random

from tests.soak.report import Report


def in_turn(kinds: Collection[str], random: Random) -> Iterator[str]:
    """Yield kinds without end: all of them in a random order, then all in another."""
    order = list(kinds)
    while True:
        random.shuffle(order)
        yield from order


class Turns:
    """Iterates over the kinds of fault in turn, for some seconds and until each was made once.

    Args:
        kinds: all of them.
        seconds: how long faults are made at least.
        random: their order.
        report: told of each, and at which second it was made.

    Attributes:
        made: how often each was.
    """

    def __init__(
        self, kinds: Collection[str], seconds: float, random: Random, report: Report
    ) -> None:
        self.made: Counter[str] = Counter()
        self._kinds, self._seconds, self._random = kinds, seconds, random
        self._report = report
        self._began = time.monotonic()

    def __iter__(self) -> Iterator[str]:
        for kind in in_turn(self._kinds, self._random):
            if self._now() > self._seconds and len(self.made) == len(self._kinds):
                return
            yield kind

    def make(self, kind: str, fault: Callable[[], bool]) -> None:
        """Make one; it counts if it tells that it befell somebody."""
        at, outcome = self._now(), " (cut short)"
        try:
            if fault():
                self.made[kind] += 1
                outcome = ""
            else:
                outcome = " (met nobody)"
        finally:
            self._report.say(f"{at:7.1f} s  {kind}{outcome}")

    def _now(self) -> float:
        return time.monotonic() - self._began
