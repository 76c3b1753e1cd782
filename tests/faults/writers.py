"""Threads that count up through a store while faults happen, and what each of them was told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dir_redis import StorageBundle, StorageUnavailableError, UnconfirmedWriteError
from tests.faults.judge import Judge
from tests.servers import wait_until

WRITERS = 4
NONE_LOST = [0] * WRITERS
PROGRESS_TIMEOUT_SEC = 30.0


class Writer:
    """One thread that increments one counter, one after the other.

    Attributes:
        acknowledged: how many increments were answered, and confirmed if that was asked for.
        unconfirmed: how many were applied without the confirmation that was asked for.
        unknown: how many may or may not have been applied.
        refused: how many were known not to be applied.
        longest_gap: the longest time between two answers of these first two kinds, seconds.
        judge: knows by the counts it was told what became of its increments.
    """

    def __init__(self, bundle: StorageBundle, flow: str) -> None:
        self.flow = flow
        self.acknowledged = self.unconfirmed = self.unknown = self.refused = 0
        self.longest_gap = 0.0
        self.judge = Judge()
        self.failure: BaseException | None = None
        self._bundle = bundle
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    @property
    def answered(self) -> int:
        return self.acknowledged + self.unconfirmed

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def join(self) -> None:
        """Wait until it has ended, stopped or by a failure."""
        self._thread.join()

    def _write(self) -> None:
        last = time.monotonic()
        try:
            while not self._stopped.is_set():
                try:
                    count = self._bundle.intent_retry.increment(self.flow).count
                    self.judge.answer(count, confirmed=True)
                    self.acknowledged += 1
                except UnconfirmedWriteError as error:
                    self.judge.answer(error.result.count, confirmed=False)
                    self.unconfirmed += 1
                except StorageUnavailableError as error:
                    if error.outcome_unknown:
                        self.judge.no_answer()
                    self.unknown += error.outcome_unknown
                    self.refused += not error.outcome_unknown
                    continue
                now = time.monotonic()
                self.longest_gap, last = max(self.longest_gap, now - last), now
        except BaseException as error:
            self.failure = error


class Writers:
    """Several writers on one store."""

    def __init__(self, bundle: StorageBundle) -> None:
        self.each = [Writer(bundle, f"writer-{number}") for number in range(WRITERS)]

    def go_on(self, more: int = 5) -> None:
        """Wait until each has been answered some more times."""
        goals = [one.answered + more for one in self.each]
        wait_until(
            lambda: (
                any(one.failure for one in self.each)
                or all(one.answered >= goal for one, goal in zip(self.each, goals, strict=True))
            ),
            PROGRESS_TIMEOUT_SEC,
        )

    def stop(self) -> None:
        for one in self.each:
            one.stop()

    @property
    def failures(self) -> list[BaseException]:
        """What no caller should ever see."""
        return [one.failure for one in self.each if one.failure is not None]

    @property
    def doubtful(self) -> int:
        """How many were told neither that it was applied as they asked, nor that it was not."""
        return sum(one.unconfirmed + one.unknown for one in self.each)

    def longest_gap(self) -> float:
        return max(one.longest_gap for one in self.each)

    def lost(self, bundle: StorageBundle) -> list[int]:
        """How many acknowledged increments of each got lost, then or by now."""
        return [lost for lost, _ in self._judged(bundle)]

    def doubled(self, bundle: StorageBundle) -> list[int]:
        """How many increments of each there were beyond all that can have been applied."""
        return [doubled for _, doubled in self._judged(bundle)]

    def _judged(self, bundle: StorageBundle) -> list[tuple[int, int]]:
        return [one.judge.at_the_end(bundle.intent_retry.get_count(one.flow)) for one in self.each]


@contextmanager
def writing(bundle: StorageBundle) -> Iterator[Writers]:
    """Writers at work for the time of a with block."""
    writers = Writers(bundle)
    try:
        writers.go_on()
        yield writers
    finally:
        writers.stop()
