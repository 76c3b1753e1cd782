"""Copying the rows of one log, flow by flow, and comparing them afterwards."""

from __future__ import annotations

from collections import Counter

from dir_redis.errors import NotRepresentableError
from dir_redis.migrate.compare import Verdict
from dir_redis.migrate.flows import FlowRows
from dir_redis.migrate.paging import PAGE
from dir_redis.migrate.records import RawStore, Row
from dir_redis.migrate.report import KindReport, Listed, Telling


class LogCopy:
    """The copy of one log; see :class:`KeyedCopy` for the arguments.

    Each flow's rows in the target have to be the source's first rows, or none is appended. So a
    log that was copied in part is told by itself, whatever part it was.
    """

    def __init__(
        self,
        kind: type[Row],
        source: RawStore,
        target: RawStore,
        tally: KindReport,
        telling: Telling,
    ) -> None:
        self._kind, self._source, self._target = kind, source, target
        self._tally, self._telling = tally, telling
        # By flow, why the target cannot hold its next row.
        self._lost: dict[str, str] = {}

    def copy(self) -> None:
        """Append each flow's rows that the target does not have."""
        try:
            self._append(PAGE)
        except NotRepresentableError:
            # What came before the row in its page may be there or not: look again, row by row.
            self._tally.already_there = -self._tally.copied
            self._append(1)

    def compare(self) -> None:
        """Read both logs again and note the flows whose rows differ."""
        tally, name = self._tally, self._kind.__name__
        held = FlowRows(self._target.read(self._kind))
        places: Counter[str] = Counter()
        differing: dict[str, str] = {}
        for row in self._telling.each("compare", self._source.read(self._kind)):
            tally.source += 1
            place = places[row.dfid]
            places[row.dfid] += 1
            comparison = held.at(place, row)
            if row.dfid in self._lost or comparison is None:
                continue
            if comparison.verdict is Verdict.DIFFERENT:
                differing.setdefault(row.dfid, f"row {place + 1} is another one in the target")
            elif comparison.verdict is Verdict.MOVED:
                tally.adjusted.append(
                    Listed(f"{name} {place + 1} of {row.dfid!r}", comparison.reason)
                )
        for dfid, count in places.items():
            if dfid not in self._lost and held.count(dfid) != count:
                reason = f"the target has {held.count(dfid)} rows, the source {count}"
                differing.setdefault(dfid, reason)
        tally.only_in_target = sum(held.count(dfid) for dfid in held.flows() if dfid not in places)
        tally.differing += [Listed(f"{name} of {dfid!r}", differing[dfid]) for dfid in differing]
        for dfid, problem in self._lost.items():
            record = f"{name} {held.count(dfid) + 1} and later of {dfid!r}"
            tally.not_represented.append(Listed(record, problem))

    def _append(self, size: int) -> None:
        """Append what is missing, so many rows at a time."""
        tally = self._tally
        held = FlowRows(self._target.read(self._kind))
        places: Counter[str] = Counter()
        refused: set[str] = set()
        missing: list[Row] = []
        for row in self._telling.each("copy", self._source.read(self._kind)):
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
                    tally.copied += self._target.put(missing)
                except NotRepresentableError as error:
                    if size > 1:
                        raise
                    self._lost[row.dfid] = error.problem
                    refused.add(row.dfid)
                missing = []
        tally.copied += self._target.put(missing)
