"""Records chained by SHA-256: computing a link, and walking a chain to find its first break.

A link is the SHA-256 of the link before it (32 zero bytes before the first), the SHA-256 of the
record's contents, and its number and place as text: ``<number> <place>``. A place is what the store
gives a record besides its contents: its moment, or its entry id, which has the moment in it. The
script ``lua/shared/chain.lua`` computes the same on a server.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dir_redis.errors import CorruptRecordError
from dir_redis.records import ChainBreak, ChainReport

_NO_LINK = "0" * 64
_END = re.compile(r"(0|[1-9]\d{0,15}):([0-9a-f]{64})", re.ASCII)


class ChainEnd(NamedTuple):
    """How far a chain reaches: the number of its last record, from 1, and that record's link."""

    number: int
    link: str


BEGINNING = ChainEnd(0, _NO_LINK)


def digest_of(fields: Iterable[str]) -> str:
    """Return the SHA-256 of a record's contents; each behind its length, so that none runs over."""
    digest = hashlib.sha256()
    for field in fields:
        encoded = field.encode()
        digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()


def next_end(end: ChainEnd, digest: str, place: str) -> ChainEnd:
    """Return where a chain ends once a record is appended to it.

    Args:
        end: where it ended.
        digest: what :func:`digest_of` gives for the record.
        place: what the store gives it besides.
    """
    number = end.number + 1
    linked = bytes.fromhex(end.link) + bytes.fromhex(digest) + f"{number} {place}".encode()
    return ChainEnd(number, hashlib.sha256(linked).hexdigest())


class StoredLink(NamedTuple):
    """A chained record as it was found.

    Attributes:
        record: where it is, for the report.
        dfid: the flow it says it belongs to.
        number: its place in the chain as it is stored, whatever that is.
        link: its link, likewise.
        digest: of what it holds now; None if that is not what such a record can hold.
        place: see :mod:`dir_redis.chain`.
    """

    record: str
    dfid: str | None
    number: object
    link: object
    digest: str | None
    place: str


class Waypoint(NamedTuple):
    """A place that a chain has to pass through, and who says so: a record, or the caller."""

    end: ChainEnd
    said_by: str


SaidEnd = Waypoint | CorruptRecordError
"""Where the store says that a chain ends, or why it cannot say."""


class ChainWalk:
    """Follows the chain of one partition from record to record.

    Args:
        begin: where the chain begins; records before that were dropped on purpose.
        said: where the store said that it ends, asked before the first record was read.
        waypoints: what it has to pass through besides.
        where: the partition's records, for the report.
    """

    def __init__(
        self, begin: ChainEnd, said: SaidEnd, waypoints: Sequence[Waypoint], where: str
    ) -> None:
        self.end = begin
        self.walked = self.passed_over = 0
        self._dropped = range(0)
        self._waypoints = [*waypoints, *([said] if isinstance(said, Waypoint) else [])]
        self._where = where

    def step(self, found: StoredLink | None) -> ChainBreak | None:
        """Go on to the next record; return the break if it does not follow from the one before.

        Args:
            found: the record; None for one that is in no chain, which is passed over and counted.
        """
        if found is None:
            self.passed_over += 1
            return None
        if found.number in self._dropped:
            return None  # it was read before it was dropped
        expected = None if found.digest is None else next_end(self.end, found.digest, found.place)
        if expected is None or found.link != expected.link or found.number != expected.number:
            number = self.end.number + 1
            ahead = isinstance(found.number, int) and found.number > number
            # One whose link is right for this place, or that another place cannot explain, is here.
            if ahead and (expected is None or found.link != expected.link):
                return ChainBreak(f"{self._where}, before {found.record}", number, None, "missing")
            return ChainBreak(found.record, number, found.dfid, _CHANGED)
        self.end = expected
        self.walked += 1
        return self._at_waypoints()

    def explains(self, begin: ChainEnd) -> bool:
        """Say whether records being dropped meanwhile explains a break; if so, go on behind them.

        Args:
            begin: where the chain begins, asked after the break was found.
        """
        if begin.number <= self.end.number:
            return False
        self._dropped = range(self.end.number + 1, begin.number + 1)
        self.end = begin
        return True

    def finish(self, said: SaidEnd) -> ChainBreak | None:
        """Say what is wrong at the end, where no more records are.

        Args:
            said: where the store says now that the chain ends; others may have appended since the
                last record was read, but it cannot be behind.
        """
        number = self.end.number
        broken = self._at_waypoints()  # of a chain without records
        if broken is not None:
            return broken
        ahead = [point for point in self._waypoints if number < point.end.number]
        for point in ahead:
            if point.end.link == self.end.link:
                return ChainBreak(point.said_by, number, None, _says_end(point.end))
        if ahead:
            return ChainBreak(f"{self._where}, at its end", number + 1, None, "missing")
        if isinstance(said, CorruptRecordError):
            return ChainBreak(said.key, number, None, said.problem)
        if said.end.number < number or (said.end.number == number and said.end != self.end):
            return ChainBreak(said.said_by, number, None, _says_end(said.end))
        return None

    def _at_waypoints(self) -> ChainBreak | None:
        for point in self._waypoints:
            if point.end.number == self.end.number and point.end.link != self.end.link:
                return ChainBreak(point.said_by, self.end.number, None, _ANOTHER)
        return None


def _says_end(end: ChainEnd) -> str:
    return f"it says that the chain ends at record {end.number}"


_CHANGED = "changed: its SHA-256 is not that of what it holds, its place and the record before it"
_ANOTHER = "another chain: the record of this number had another SHA-256"


def stored_end(record: str, number: object, link: object) -> ChainEnd:
    """Return where a chain ends, as it is stored; at its beginning if nothing is.

    Raises:
        CorruptRecordError: something else is stored.
    """
    if number is None and link is None:
        return BEGINNING
    match = _END.fullmatch(f"{number}:{link}")
    if match is None:
        raise CorruptRecordError(record, "it should hold a number and a SHA-256")
    return ChainEnd(int(match[1]), match[2])


def format_anchor(ends: Iterable[ChainEnd]) -> str:
    """Format where the chains of all partitions end."""
    return ",".join(f"{end.number}:{end.link}" for end in ends)


def parse_anchor(argument: str, anchor: str | None, partitions: int) -> list[list[Waypoint]]:
    """Parse what :func:`format_anchor` made; without one there are no waypoints.

    Raises:
        ValueError: it is not an anchor of so many partitions.
    """
    if anchor is None:
        return [[] for _ in range(partitions)]
    matches = [_END.fullmatch(part) for part in anchor.split(",")]
    if len(matches) != partitions or None in matches:
        raise ValueError(f"{argument} is no anchor of this store: {anchor!r}")
    ends = [ChainEnd(int(match[1]), match[2]) for match in matches if match is not None]
    return [[Waypoint(end, f"the {argument}")] for end in ends]


def check_reaches(argument: str, points: Sequence[Waypoint], begin: ChainEnd) -> None:
    """Refuse an anchor from before the records that are left.

    Raises:
        ValueError: the records up to it were dropped.
    """
    for point in points:
        if point.end.number < begin.number:
            raise ValueError(
                f"{argument} is at record {point.end.number}, and those up to {begin.number} were "
                "trimmed since: take a new one before trimming"
            )


def report(walks: Sequence[ChainWalk], broken_at: ChainBreak | None) -> ChainReport:
    """Put together what the walks through all partitions found."""
    return ChainReport(
        verified=sum(walk.walked for walk in walks),
        unchained=sum(walk.passed_over for walk in walks),
        anchor=format_anchor(walk.end for walk in walks),
        broken_at=broken_at,
    )
