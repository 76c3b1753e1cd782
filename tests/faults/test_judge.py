"""The judge of the faults' tests sees what it is to see, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from dir_redis import RetryCount, StorageUnavailableError, UnconfirmedWriteError
from tests.faults.writers import NONE_LOST, WRITERS, Writers

Outcome = RetryCount | Exception


class Told:
    """A store that answers the increments of each flow as it is told to, and then has a count."""

    def __init__(self, outcomes: Iterable[Outcome], stored: int) -> None:
        self.intent_retry = self
        self._outcomes = list(outcomes)
        self._left: dict[str, list[Outcome]] = {}
        self._stored = stored

    def increment(self, flow: str) -> RetryCount:
        outcome = self._left.setdefault(flow, [*self._outcomes]).pop(
            0
        )  # IndexError ends the writer
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def get_count(self, flow: str) -> int:  # noqa: ARG002
        return self._stored


def confirmed(*counts: int) -> list[Outcome]:
    return [RetryCount(count, exhausted=False) for count in counts]


def unconfirmed(*counts: int) -> list[Outcome]:
    return [UnconfirmedWriteError("replicas=1", 0, answer) for answer in confirmed(*counts)]


UNKNOWN: list[Outcome] = [StorageUnavailableError("no answer", outcome_unknown=True)]
REFUSED: list[Outcome] = [StorageUnavailableError("no answer", outcome_unknown=False)]
TO_10 = confirmed(*range(1, 11))


@pytest.mark.parametrize(
    ("outcomes", "stored", "lost", "doubled"),
    [
        pytest.param(TO_10, 10, 0, 0, id="all there"),
        pytest.param(TO_10, 7, 3, 0, id="lost at the end"),
        pytest.param(TO_10, 12, 0, 2, id="doubled at the end"),
        pytest.param([*TO_10, *confirmed(8, 9)], 9, 3, 0, id="lost"),
        pytest.param([*TO_10, *confirmed(8, 9, 10, 11)], 11, 3, 0, id="lost, and passed again"),
        pytest.param([*TO_10, *confirmed(12)], 12, 0, 1, id="doubled"),
        pytest.param(
            [*TO_10, *unconfirmed(8, 9, 10)], 10, 3, 0, id="lost under the unconfirmed ones"
        ),
        pytest.param(
            [*TO_10, *unconfirmed(8, 9), *confirmed(10)], 10, 3, 0, id="lost under both kinds"
        ),
        pytest.param(
            [*TO_10, *confirmed(8, 10, 12)], 12, 3, 2, id="lost ones hide doubled ones no more"
        ),
        pytest.param([*TO_10, *UNKNOWN, *confirmed(12)], 12, 0, 0, id="unknown, and applied"),
        pytest.param([*TO_10, *UNKNOWN, *confirmed(11)], 11, 0, 0, id="unknown, and not applied"),
        pytest.param([*TO_10, *UNKNOWN, *confirmed(11)], 12, 0, 0, id="unknown, and applied late"),
        pytest.param([*TO_10, *UNKNOWN, *confirmed(13)], 13, 0, 1, id="unknown, and doubled"),
        pytest.param(
            [*TO_10, *UNKNOWN, *confirmed(12, 14)], 14, 0, 1, id="unknown, known, doubled"
        ),
        pytest.param([*TO_10, *REFUSED, *confirmed(11)], 11, 0, 0, id="refused"),
        pytest.param([*TO_10, *REFUSED], 11, 0, 1, id="refused, and applied"),
        pytest.param(
            [*TO_10, *unconfirmed(11, 12), *confirmed(11)], 11, 0, 0, id="the unconfirmed got lost"
        ),
        pytest.param([*TO_10, *unconfirmed(11, 12)], 10, 0, 0, id="so they did at the end"),
        pytest.param([*TO_10, *unconfirmed(11, 12)], 9, 1, 0, id="and one that was confirmed"),
        pytest.param(
            [*TO_10, *unconfirmed(12), *confirmed(13)], 13, 0, 1, id="unconfirmed doubled"
        ),
        pytest.param(
            [*TO_10, *unconfirmed(11), *confirmed(11, 12), *unconfirmed(12), *confirmed(13)],
            13,
            0,
            0,
            id="an old primary counts on, and the new one stays",
        ),
        pytest.param(
            [
                *confirmed(1, 2),
                *unconfirmed(3),
                *confirmed(3, 4, 5, 6),
                *unconfirmed(5),
                *confirmed(7),
            ],
            7,
            0,
            0,
            id="an old primary has an increment of which it told nobody",
        ),
    ],
)
def test_what_writers_were_told_is_judged(
    outcomes: list[Outcome], stored: int, lost: int, doubled: int
) -> None:
    store: Any = Told(outcomes, stored)
    writers = Writers(store)
    for one in writers.each:
        one.join()

    assert writers.lost(store) == [lost] * WRITERS
    assert writers.doubled(store) == [doubled] * WRITERS
    assert [type(failure) for failure in writers.failures] == [IndexError] * WRITERS
    assert len(NONE_LOST) == WRITERS
