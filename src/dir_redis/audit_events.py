"""What the audit logs of all backends share: rows to append, cursors, and reading in pages.

The cursor of a log in one piece is the number of a row; a log in partitions has the entry id of
each, joined by commas. Cursors of one flow's rows are marked, since they say nothing of others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dir_redis.arguments import INT64_MAX, checked, size_of
from dir_redis.chain import digest_of
from dir_redis.fleet_protocols import EventIterator
from dir_redis.json_codec import encode_object
from dir_redis.limits import LARGEST_BATCH_BYTES, MAX_ITEMS, Limits

# Rows per page of a long read.
PAGE_ROWS = 2000
# Rows that one trimming step looks at, so that none keeps others waiting for long.
TRIM_ROWS = 500

# The place before all rows of one partition, in a cursor that is past those of another.
BEGINNING = "0-0"
_FLOW_MARK = "flow:"
_NUMBER = re.compile(r"0|[1-9]\d{0,18}", re.ASCII)


class AuditRecord(NamedTuple):
    """A row as it is to be appended, its arguments checked and its details encoded."""

    dfid: str
    event: str
    step_id: str
    state: str
    details_json: str
    root_dfid: str | None
    agent_id: str | None
    severity: str

    @property
    def digest(self) -> str:
        """The SHA-256 of all that it holds, for the chain."""
        return digest_of(
            (
                *("audit", self.dfid, self.event, self.step_id, self.state, self.details_json),
                *(self.root_dfid or self.dfid, self.agent_id or "", self.severity),
            )
        )


def encode_details(details: Mapping[str, Any] | None, limits: Limits) -> str:
    """Encode a row's details; none are an empty dict."""
    return encode_object("details", {} if details is None else details, limits)


class _Recorder:
    """Makes a record of the arguments of ``record``, by the same rules."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    @checked
    def record(
        self,
        dfid: str,
        event: str,
        *,
        step_id: str = "",
        state: str = "",
        details: dict[str, Any] | None = None,
        root_dfid: str | None = None,
        agent_id: str | None = None,
        severity: str = "INFO",
    ) -> AuditRecord:
        details_json = encode_details(details, self._limits)
        return AuditRecord(dfid, event, step_id, state, details_json, root_dfid, agent_id, severity)


_ROW_ARGUMENTS = frozenset(AuditRecord._fields) - {"details_json"} | {"details"}


def records_of(rows: object, limits: Limits) -> list[AuditRecord]:
    """Check and encode what was given to ``record_many``, all of it before any is stored.

    Raises:
        TypeError: it is no iterable of dicts of arguments of ``record``, or one has another type.
        ValueError: an argument is refused, or the rows are too many, or too long together, for one
            call.
    """
    if not isinstance(rows, Iterable) or isinstance(rows, Mapping):
        raise TypeError(f"rows must be an iterable of dicts, not {type(rows).__name__}")
    recorder = _Recorder(limits)
    records = []
    size = 0
    for number, row in enumerate(rows):
        if number == MAX_ITEMS:
            raise ValueError(f"rows are more than {MAX_ITEMS:,}; append them in several calls")
        record = _record_of(recorder, f"rows[{number}]", row)
        size += sum(size_of(value) for value in record if value)
        if size > LARGEST_BATCH_BYTES:
            raise ValueError(
                f"rows are more than {LARGEST_BATCH_BYTES} bytes together; append them in several "
                "calls"
            )
        records.append(record)
    return records


def _record_of(recorder: _Recorder, where: str, row: object) -> AuditRecord:
    if not isinstance(row, Mapping):
        raise TypeError(f"{where} must be a dict, not {type(row).__name__}")
    unknown = [name for name in row if name not in _ROW_ARGUMENTS]
    if unknown:
        raise TypeError(f"{where} has an argument {unknown[0]!r} that record() does not take")
    missing = [name for name in ("dfid", "event") if name not in row]
    if missing:
        raise TypeError(f"{where} has no {missing[0]!r}")
    try:
        return recorder.record(**row)
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def parse_cursor(argument: str, cursor: str, *, of_flow: bool = False) -> str:
    """Return a cursor without the mark of one flow's rows.

    Raises:
        ValueError: it is a flow's where one of all rows is wanted, or the other way round.
    """
    if cursor and cursor.startswith(_FLOW_MARK) != of_flow:
        whose = "one flow's rows" if of_flow else "all rows"
        raise ValueError(f"{argument} must be a cursor of {whose}, not {cursor!r}")
    return cursor.removeprefix(_FLOW_MARK) if of_flow else cursor


def parse_number(argument: str, cursor: str, *, of_flow: bool = False) -> int:
    """Return the number of the row that a cursor stands behind; 0 before the first.

    Raises:
        ValueError: it is no cursor of a log in one piece.
    """
    number = parse_cursor(argument, cursor, of_flow=of_flow)
    if not number:
        if cursor:
            raise not_a_cursor(argument, cursor)
        return 0
    if not _NUMBER.fullmatch(number) or int(number) > INT64_MAX:
        raise not_a_cursor(argument, cursor)
    return int(number)


def not_a_cursor(argument: str, cursor: str) -> ValueError:
    """The error for a string that is no cursor of the store."""
    return ValueError(f"{argument} is no cursor of this store: {cursor!r}")


class FoundRow(NamedTuple):
    """A row as its backend found it, not parsed yet, and its place in its partition of the log."""

    partition: int
    place: str
    stored: Any


ReadPage = Callable[[], Sequence[FoundRow]]


class PagedEvents(EventIterator):
    """Rows one by one, from pages that are read when they are needed.

    No row is passed over: one that cannot be parsed raises its error at every step, and after an
    error or an interrupt pages are read from behind the latest row returned.

    Args:
        pages_after: given a place in each partition, returns what reads the pages behind them, one
            at each call; an empty one is the end.
        parse: makes a row of one found.
        places: where each partition is read from.
        of_flow: whether the rows are those of one flow.
    """

    def __init__(
        self,
        pages_after: Callable[[Sequence[str]], ReadPage],
        parse: Callable[[FoundRow], dict[str, Any]],
        places: Sequence[str],
        *,
        of_flow: bool = False,
    ) -> None:
        self._pages_after = pages_after
        self._parse = parse
        self._places = list(places)
        self._mark = _FLOW_MARK if of_flow else ""
        self._read_page: ReadPage | None = None
        self._page: Sequence[FoundRow] = ()
        self._returned = 0  # of the page
        self._ended = False

    def __next__(self) -> dict[str, Any]:
        if self._returned == len(self._page) and not self._ended:
            self._turn_page()
        if self._ended:
            raise StopIteration
        found = self._page[self._returned]
        row = self._parse(found)
        # Nothing is called from here on, so that an interrupt finds all of it done or none.
        self._places[found.partition] = found.place
        self._returned += 1
        return row

    def _turn_page(self) -> None:
        read_page = self._read_page or self._pages_after(self._places)
        # A reader may be ahead of a page that never got here: then another one takes over.
        self._read_page = None
        page = read_page()
        self._page, self._returned, self._ended = page, 0, not page
        self._read_page = read_page

    @property
    def cursor(self) -> str:
        """The place after the latest row returned."""
        return join_places(self._places, self._mark)


def join_places(places: Sequence[str], mark: str = "") -> str:
    """Return the cursor for a place in each partition, empty for its beginning."""
    if not any(places):
        return ""
    return mark + ",".join(place or BEGINNING for place in places)


def numbered_events(
    rows_after: Callable[[int], Sequence[tuple[int, Any]]],
    parse: Callable[[Any], dict[str, Any]],
    after: int,
    *,
    of_flow: bool = False,
) -> PagedEvents:
    """Return an iterator over the pages of a log in one piece.

    Args:
        rows_after: returns the rows after a number as they are stored, with their numbers.
        parse: makes a row of a stored one.
        after: the number to begin after.
        of_flow: whether the rows are those of one flow.
    """
    return PagedEvents(
        lambda places: _NumberedPages(rows_after, int(places[0] or 0)).read,
        lambda found: parse(found.stored),
        [str(after) if after else ""],
        of_flow=of_flow,
    )


class _NumberedPages:
    """Pages of a log in one piece."""

    def __init__(self, rows_after: Callable[[int], Sequence[tuple[int, Any]]], after: int) -> None:
        self._rows_after = rows_after
        self._after = after

    def read(self) -> list[FoundRow]:
        """Return the next page."""
        rows = self._rows_after(self._after)
        if rows:
            self._after = rows[-1][0]
        return [FoundRow(0, str(number), stored) for number, stored in rows]


def check_limits(older_than_sec: float | None, max_rows: int | None) -> None:
    """Refuse a trim without any limit.

    Raises:
        ValueError: neither an age nor a number is given.
    """
    if older_than_sec is None and max_rows is None:
        raise ValueError("give older_than_sec or max_rows: without a limit nothing is dropped")
