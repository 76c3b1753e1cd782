"""Whether one order of concurrent calls explains what they returned (Wing and Gong, 1993).

An order explains a history if each call takes effect at one moment between its invocation and its
return, and a single caller making the calls in that order would have been told the same. A pending
call may take effect at any moment after its invocation, or never. Searching one record's calls at
a time is enough: a history is explained if the history of each record is.

Leases end by time alone, so a model is also told between which moments a call took effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.histories.history import Operation


class Moment(NamedTuple):
    """When a call took effect: some time between the two, nanoseconds."""

    earliest: int
    latest: int


# The states a record may be in after a call that returned what it did, or after one that is
# pending; none if a record in this state cannot have told that.
Model = Callable[[Any, Operation, Moment], Iterable[Any]]

FOREVER = 2**63


class _Place(NamedTuple):
    """How far a search has come.

    Attributes:
        passed: so many of the calls that returned, in order of their invocation, are in order.
        others: the numbers of those that are in order besides; the pending ones come last.
        now: no later call took effect before this.
        state: the record's state.
    """

    passed: int
    others: frozenset[int]
    now: int
    state: Any


def unexplained(operations: Iterable[Operation], initial: Any, model: Model) -> str | None:
    """Say why no order of one record's calls explains what they returned; None if one does.

    Args:
        operations: the calls.
        initial: the record's state before them; states are hashable.
        model: what a call does to a state.
    """
    by_invocation = sorted(operations, key=lambda operation: operation.invoked)
    returned = [operation for operation in by_invocation if not operation.pending]
    calls = returned + [operation for operation in by_invocation if operation.pending]
    furthest = start = _Place(0, frozenset(), 0, initial)
    stack, seen = [start], {start}
    while stack:
        place = stack.pop()
        if place.passed == len(returned):
            return None
        if _length(place) > _length(furthest):
            furthest = place
        for following in _following(place, calls, len(returned), model):
            if following not in seen:
                seen.add(following)
                stack.append(following)
    stuck = [str(calls[number]) for number in _candidates(furthest, calls, len(returned))[0]]
    return "\n    ".join(
        [f"{_length(furthest)} calls lead to {furthest.state}, and none of these on:", *stuck]
    )


def _length(place: _Place) -> int:
    return place.passed + len(place.others)


def _candidates(place: _Place, calls: Sequence[Operation], returned: int) -> tuple[list[int], int]:
    """The calls that may come next, and the moment by which the next one took effect."""
    latest = FOREVER
    numbers = []
    for number in range(place.passed, returned):
        if calls[number].invoked > latest:
            break
        if number not in place.others:
            numbers.append(number)
            latest = min(latest, calls[number].returned or FOREVER)
    numbers += [n for n in range(returned, len(calls)) if n not in place.others]
    return [number for number in numbers if calls[number].invoked <= latest], latest


def _following(
    place: _Place, calls: Sequence[Operation], returned: int, model: Model
) -> Iterator[_Place]:
    candidates, latest = _candidates(place, calls, returned)
    # What returned first is most likely what happened first, and is looked at last in, first out.
    candidates.sort(key=lambda number: calls[number].returned or FOREVER, reverse=True)
    for number in candidates:
        earliest = max(place.now, calls[number].invoked)
        passed, others = place.passed, place.others | {number}
        while passed < returned and passed in others:
            others -= {passed}
            passed += 1
        for state in model(place.state, calls[number], Moment(earliest, latest)):
            yield _Place(passed, others, earliest, state)
