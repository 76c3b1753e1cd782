"""Copying the keyed records of one kind, and comparing them afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Generic

from dir_redis.errors import NotRepresentableError
from dir_redis.migrate.alone import KEY
from dir_redis.migrate.compare import SAME, Comparison, Verdict, compare, name_of
from dir_redis.migrate.paging import pages
from dir_redis.migrate.records import (
    Agent,
    Counter,
    DirtyMark,
    IdempotencyKey,
    K,
    Keyed,
    RawStore,
    ReaderGroup,
    Request,
)
from dir_redis.migrate.report import KindReport, Listed, Telling

_MISSING = Comparison(Verdict.DIFFERENT, "is missing in the target")


class KeyedCopy(Generic[K]):
    """The copy of the records of one kind.

    Args:
        kind: the kind.
        source: where they are read.
        target: where they are written.
        tally: where it is counted and listed.
        telling: tells how far it is.
    """

    def __init__(
        self, kind: type[K], source: RawStore, target: RawStore, tally: KindReport, telling: Telling
    ) -> None:
        self._kind, self._source, self._target = kind, source, target
        self._tally, self._telling = tally, telling
        # By key, why the target cannot hold a record.
        self._lost: dict[str, str] = {}

    def copy(self) -> None:
        """Write the records that the target does not have."""
        for page in pages(self._telling.each("copy", self._all(self._source))):
            found = self._target.find(self._kind, [record.key for record in page])
            missing = []
            for record in page:
                other = found.get(record.key)
                if other is not None and _compare(record, other).verdict is not Verdict.DIFFERENT:
                    self._tally.already_there += 1
                elif other is None or isinstance(record, Counter):
                    # A counter only rises by being put: that it is there is no reason against it.
                    missing.append(record)
            self._tally.copied += self._put(missing)

    def compare(self) -> None:
        """Read both stores again and note what differs."""
        tally = self._tally
        order: list[str] = []
        for page in pages(self._telling.each("compare", self._all(self._source))):
            found = self._target.find(self._kind, [record.key for record in page])
            for record in page:
                tally.source += 1
                if record.key in self._lost:
                    continue
                other = found.get(record.key)
                comparison = _MISSING if other is None else _compare(record, other)
                if comparison.verdict is Verdict.DIFFERENT:
                    comparison = self._look_again(record.key)
                if comparison.verdict is Verdict.DIFFERENT:
                    tally.differing.append(Listed(name_of(record), comparison.reason))
                elif _is_ordered(record):
                    order.append(record.key)
                if comparison.verdict is Verdict.MOVED:
                    tally.adjusted.append(Listed(name_of(record), comparison.reason))
                if isinstance(record, ReaderGroup):
                    tally.adjusted.append(
                        Listed(name_of(record), "registered in the target with nothing archived")
                    )
        self._compare_order(order)
        name = self._kind.__name__
        tally.not_represented += [Listed(f"{name} {key!r}", self._lost[key]) for key in self._lost]

    def _all(self, store: RawStore) -> Iterator[K]:
        """The records of a store, without what copies keep for themselves."""
        for record in store.read(self._kind):
            if self._kind is not IdempotencyKey or record.key != KEY:
                yield record

    def _put(self, records: list[K]) -> int:
        """Write what the target can hold of some records, and does not have; return how many."""
        try:
            return self._target.put(records)
        except NotRepresentableError:
            written = 0
            for record in records:
                try:
                    self._target.put([record])
                    written += 1  # now, or with those before the one that stopped them
                except NotRepresentableError as error:
                    self._lost[record.key] = error.problem
            return written

    def _look_again(self, key: str) -> Comparison:
        """Compare a record once more: it may have come to its end between the first two looks."""
        record = self._source.find(self._kind, [key]).get(key)
        other = self._target.find(self._kind, [key]).get(key)
        if record is None:
            if other is None:
                return SAME
            return Comparison(Verdict.DIFFERENT, "is not in the source any more")
        return _MISSING if other is None else _compare(record, other)

    def _compare_order(self, order: list[str]) -> None:
        """Count records that only the target has, and look whether the others are in order.

        Args:
            order: the keys of the source's ordered records that the target has as well.
        """
        expected, known = iter(order), set(order)
        in_order = True
        for page in pages(self._all(self._target)):
            theirs = self._source.find(self._kind, [record.key for record in page])
            for record in page:
                if record.key not in theirs:
                    self._tally.only_in_target += 1
                elif in_order and record.key in known and next(expected, None) != record.key:
                    in_order = False
                    self._tally.differing.append(
                        Listed(name_of(record), "has another place in the target's order")
                    )


def _compare(record: Keyed, other: Keyed) -> Comparison:
    return compare(record, other, time.time_ns() // 1000)


def _is_ordered(record: Keyed) -> bool:
    """Whether the record has a place in an order that callers see."""
    return isinstance(record, Agent | DirtyMark) or (
        isinstance(record, Request) and record.decision is None
    )
