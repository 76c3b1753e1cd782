"""Copying all records of one store to another, and comparing both at the end."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

from dir_redis.errors import NotRepresentableError
from dir_redis.migrate.compare import Comparison, Verdict, compare, name_of
from dir_redis.migrate.dir_core import DirCoreFile
from dir_redis.migrate.ends import Place, open_ends
from dir_redis.migrate.flows import FlowRows
from dir_redis.migrate.paging import PAGE, pages
from dir_redis.migrate.records import (
    KEYED,
    LOGS,
    Agent,
    DirtyMark,
    K,
    Keyed,
    LedgerEntry,
    RawStore,
    ReaderGroup,
    Record,
    Request,
    Row,
)
from dir_redis.migrate.report import CopyProgress, CopyReport, KindReport, Listed

T = TypeVar("T", bound=Record)

_MISSING = Comparison(Verdict.DIFFERENT, "is missing in the target")
_LOGS = tuple(kind for kind in LOGS if kind is not LedgerEntry)


def copy_store(
    source: Place,
    target: Place,
    *,
    progress: Callable[[CopyProgress], object] | None = None,
) -> CopyReport:
    """Copy all records of one store to another, then read both again and compare them.

    Stop whoever writes to either first; what changed in the source meanwhile is listed as
    differing. Records that are missing in the target are written, those it has are never
    overwritten, and the rows of a flow's logs are appended if those that are there are its first.
    So a copy that was cut off is finished by starting it again.

    Args:
        source: a bundle, a URL as :func:`dir_redis.open_storage` takes, or the path of a SQLite
            file; also of one that dir-core 0.1 to 0.4 made, which is opened for reading only.
        target: a bundle, a URL, or the path of a SQLite file. What is opened here is closed here.
        progress: called after every page of records, and once for each kind at its end.

    Returns:
        What was copied, and all that differs, was adjusted or has no place in the target.

    Raises:
        ValueError: source and target are the same store, or a bundle mixes several.
        CorruptRecordError: a record of the source is not what its store writes.
        StorageError: one of the stores cannot be opened, read or written.
    """
    with ExitStack() as opened:
        reading, writing = open_ends(source, target, opened)
        copy = _Copy(reading, writing, progress or (lambda _: None))
        for kind in KEYED:
            copy.copy_keyed(kind)
        for log in _LOGS:
            copy.copy_log(log)
        for kind in KEYED:
            copy.compare_keyed(kind)
        for log in _LOGS:
            copy.compare_log(log)
        return copy.report()


class _Copy:
    """A copy under way."""

    def __init__(
        self,
        source: RawStore,
        target: RawStore,
        progress: Callable[[CopyProgress], object],
    ) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._report = CopyReport(source.where, target.where)
        # Why the target cannot hold a record, by its key, or the rest of a flow's rows.
        self._lost: dict[type[Record], dict[str, str]] = {kind: {} for kind in (*KEYED, *_LOGS)}
        self._totals: dict[type[Record], int] = {}
        for kind in self._lost:
            self._report.kinds[kind.__name__] = KindReport()

    def copy_keyed(self, kind: type[K]) -> None:
        """Write the records that the target does not have."""
        tally = self._report.kinds[kind.__name__]
        for page in pages(self._read(self._source, kind, "copy")):
            found = self._target.find(kind, [record.key for record in page])
            missing = [record for record in page if record.key not in found]
            tally.already_there += sum(
                not self._differs(record, found[record.key])
                for record in page
                if record.key in found
            )
            tally.copied += self._put(kind, missing)

    def copy_log(self, kind: type[Row]) -> None:
        """Append each flow's rows that the target does not have, if it has those before them."""
        tally = self._report.kinds[kind.__name__]
        try:
            self._append(kind, PAGE)
        except NotRepresentableError:
            # What came before the row in its page may be there or not: look again, row by row.
            copied = tally.copied
            tally.already_there = -copied
            self._append(kind, 1)

    def compare_keyed(self, kind: type[K]) -> None:
        """Read both stores again and note what differs."""
        tally = self._report.kinds[kind.__name__]
        lost = self._lost[kind]
        order: list[str] = []
        for page in pages(self._read(self._source, kind, "compare")):
            found = self._target.find(kind, [record.key for record in page])
            for record in page:
                tally.source += 1
                if record.key in lost:
                    continue
                other = found.get(record.key)
                comparison = _MISSING if other is None else self._compare(record, other)
                if comparison.verdict is Verdict.DIFFERENT:
                    comparison = self._look_again(kind, record.key)
                elif _is_ordered(record):
                    order.append(record.key)
                if comparison.verdict is Verdict.DIFFERENT:
                    tally.differing.append(Listed(name_of(record), comparison.reason))
                elif comparison.verdict is Verdict.MOVED:
                    tally.adjusted.append(Listed(name_of(record), comparison.reason))
                if isinstance(record, ReaderGroup):
                    tally.adjusted.append(
                        Listed(name_of(record), "registered with nothing archived in the target")
                    )
        self._compare_order(kind, order)
        tally.not_represented += [Listed(f"{kind.__name__} {key!r}", lost[key]) for key in lost]

    def _compare_order(self, kind: type[K], order: list[str]) -> None:
        """Note records that only the target has, and whether the others are in the source's order.

        Args:
            kind: the kind.
            order: the keys of the source's ordered records that the target has, in their order.
        """
        tally = self._report.kinds[kind.__name__]
        expected, known = iter(order), set(order)
        kept = True
        for page in pages(self._target.read(kind)):
            theirs = self._source.find(kind, [record.key for record in page])
            for record in page:
                if record.key not in theirs:
                    tally.only_in_target += 1
                elif record.key in known and kept and next(expected, None) != record.key:
                    kept = False
                    tally.differing.append(
                        Listed(name_of(record), "has another place in the target's order")
                    )

    def compare_log(self, kind: type[Row]) -> None:
        """Read both logs again and note the flows whose rows differ."""
        tally = self._report.kinds[kind.__name__]
        lost, name = self._lost[kind], kind.__name__
        held = FlowRows(self._target.read(kind))
        places: Tally[str] = Tally()
        differing: dict[str, str] = {}
        for row in self._read(self._source, kind, "compare"):
            tally.source += 1
            place = places[row.dfid]
            places[row.dfid] += 1
            comparison = held.at(place, row)
            if row.dfid in lost or comparison is None:
                continue
            if comparison.verdict is Verdict.DIFFERENT:
                differing.setdefault(row.dfid, f"row {place + 1} is another one in the target")
            elif comparison.verdict is Verdict.MOVED:
                tally.adjusted.append(
                    Listed(f"{name} {place + 1} of {row.dfid!r}", comparison.reason)
                )
        for dfid, count in places.items():
            if dfid not in lost and held.count(dfid) != count:
                differing.setdefault(dfid, f"the target has {held.count(dfid)} rows, not {count}")
        tally.only_in_target = sum(held.count(dfid) for dfid in held.flows() if dfid not in places)
        tally.differing += [Listed(f"{name} of {dfid!r}", differing[dfid]) for dfid in differing]
        tally.not_represented += [
            Listed(f"{name} {held.count(dfid) + 1} and on of {dfid!r}", lost[dfid]) for dfid in lost
        ]

    def report(self) -> CopyReport:
        """All that was noted."""
        if isinstance(self._source, DirCoreFile):
            for kind, found in self._source.noted.items():
                tally = self._report.kinds[kind.__name__]
                tally.source += len(found.not_represented)
                for listed, noted in (
                    (tally.not_represented, found.not_represented),
                    (tally.adjusted, found.adjusted),
                ):
                    listed += [Listed(record, reason) for record, reason in noted.items()]
            self._report.left_out = self._source.left_out()
        return self._report

    def _append(self, kind: type[Row], size: int) -> None:
        tally = self._report.kinds[kind.__name__]
        held = FlowRows(self._target.read(kind))
        places: Tally[str] = Tally()
        refused = set(self._lost[kind])
        missing: list[Row] = []
        for row in self._read(self._source, kind, "copy"):
            if row.dfid in refused:
                continue
            comparison = held.at(places[row.dfid], row)
            places[row.dfid] += 1
            if comparison is None:
                missing.append(row)
            elif comparison.verdict is Verdict.DIFFERENT:
                refused.add(row.dfid)
            else:
                tally.already_there += 1
            if len(missing) == size:
                try:
                    self._target.put(missing)
                    tally.copied += size
                except NotRepresentableError as error:
                    if size > 1:
                        raise
                    self._lost[kind][row.dfid] = error.problem
                    refused.add(row.dfid)
                missing = []
        self._target.put(missing)
        tally.copied += len(missing)

    def _put(self, kind: type[K], records: list[K]) -> int:
        """Write what the target can hold of some records; return how many."""
        try:
            self._target.put(records)
        except NotRepresentableError as error:
            if len(records) > 1:
                return sum(self._put(kind, [record]) for record in records)
            self._lost[kind][records[0].key] = error.problem
            return 0
        return len(records)

    def _look_again(self, kind: type[K], key: str) -> Comparison:
        """Compare a record once more: it may have come to its end between the first two looks."""
        record = self._source.find(kind, [key]).get(key)
        other = self._target.find(kind, [key]).get(key)
        if record is None and other is None:
            return Comparison(Verdict.SAME, "")
        if record is None:
            return Comparison(Verdict.DIFFERENT, "is not in the source any more")
        return _MISSING if other is None else self._compare(record, other)

    def _differs(self, record: Keyed, other: Keyed) -> bool:
        return self._compare(record, other).verdict is Verdict.DIFFERENT

    @staticmethod
    def _compare(record: Record, other: Record) -> Comparison:
        return compare(record, other, time.time_ns() // 1000)

    def _read(self, store: RawStore, kind: type[T], stage: str) -> Iterator[T]:
        """Read all records of a kind, telling how far it is."""
        done = 0
        total = self._totals.get(kind)
        for record in store.read(kind):
            yield record
            done += 1
            if done % PAGE == 0:
                self._progress(CopyProgress(stage, kind.__name__, done, total))
        self._totals[kind] = done
        self._progress(CopyProgress(stage, kind.__name__, done, done))


def _is_ordered(record: Keyed) -> bool:
    """Whether the record has a place in an order that callers see."""
    return isinstance(record, Agent | DirtyMark) or (
        isinstance(record, Request) and record.decision is None
    )
