"""The rows of a log by flow, kept small, to compare another log's rows with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from dir_redis.migrate.compare import SAME, Comparison, Verdict, visible
from dir_redis.migrate.records import Row

_DIGEST_BYTES = 16
_MOMENT_BYTES = 8
_ROW_BYTES = _DIGEST_BYTES + _MOMENT_BYTES

DIFFERENT = Comparison(Verdict.DIFFERENT, "")


class FlowRows:
    """Of each flow a digest and the moment of every row: 24 bytes a row, not the rows themselves.

    Args:
        rows: the rows of a log, each flow's in their order.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self._flows: dict[str, bytearray] = {}
        for row in rows:
            stored = self._flows.setdefault(row.dfid, bytearray())
            stored += _digest(row) + row.moment_us.to_bytes(_MOMENT_BYTES, "big", signed=True)

    def at(self, place: int, row: Row) -> Comparison | None:
        """Compare a row with the one at a place in its flow; None if the flow is shorter."""
        stored = self._flows.get(row.dfid, b"")[place * _ROW_BYTES : (place + 1) * _ROW_BYTES]
        if not stored:
            return None
        moment_us = int.from_bytes(stored[_DIGEST_BYTES:], "big", signed=True)
        if stored[:_DIGEST_BYTES] != _digest(row) or moment_us < row.moment_us:
            return DIFFERENT
        if moment_us == row.moment_us:
            return SAME
        later = moment_us - row.moment_us
        return Comparison(Verdict.MOVED, f"its moment is {later} µs later, to keep the order")

    def count(self, dfid: str) -> int:
        """How many rows a flow has."""
        return len(self._flows.get(dfid, b"")) // _ROW_BYTES

    def flows(self) -> Iterable[str]:
        """All flows."""
        return self._flows.keys()


def _digest(row: Row) -> bytes:
    even = visible(row, 0)._replace(moment_us=0)  # type: ignore[call-arg]
    return hashlib.blake2b(repr(tuple(even)).encode(), digest_size=_DIGEST_BYTES).digest()
