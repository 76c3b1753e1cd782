"""What the audit logs of all backends share: rows to append, cursors, and reading in pages.

The cursor of a log in one piece is the number of a row; a log in partitions has the entry id of
each, joined by commas. Cursors of one flow's rows are marked, since they say nothing of others.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dir_redis.arguments import INT64_MAX, checked
from dir_redis.fleet_protocols import EventIterator
from dir_redis.json_codec import encode_object

# Rows per page of a long read.
PAGE_ROWS = 2000
# Rows that one trimming step looks at, so that none keeps others waiting for long.
TRIM_ROWS = 500
# Rows that one call may append: one atomic step, which keeps a server busy for some 100 ms.
MAX_ROWS = 10_000

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


def encode_details(details: Mapping[str, Any] | None) -> str:
    """Encode a row's details; none are an empty dict."""
    return encode_object("details", {} if details is None else details)


class _Recorder:
    """Makes a record of the arguments of ``record``, by the same rules."""

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
        details_json = encode_details(details)
        return AuditRecord(dfid, event, step_id, state, details_json, root_dfid, agent_id, severity)


_recorder = _Recorder()
_ROW_ARGUMENTS = frozenset(AuditRecord._fields) - {"details_json"} | {"details"}


def records_of(rows: object) -> list[AuditRecord]:
    """Check and encode what was given to ``record_many``, all of it before any is stored.

    Raises:
        TypeError: it is no iterable of dicts of arguments of ``record``, or one has another type.
        ValueError: an argument is refused, or there are too many rows for one call.
    """
    if not isinstance(rows, Iterable) or isinstance(rows, Mapping):
        raise TypeError(f"rows must be an iterable of dicts, not {type(rows).__name__}")
    records = []
    for number, row in enumerate(rows):
        if number == MAX_ROWS:
            raise ValueError(f"rows are more than {MAX_ROWS:,}; append them in several calls")
        records.append(_record_of(f"rows[{number}]", row))
    return records


def _record_of(where: str, row: object) -> AuditRecord:
    if not isinstance(row, Mapping):
        raise TypeError(f"{where} must be a dict, not {type(row).__name__}")
    unknown = [name for name in row if name not in _ROW_ARGUMENTS]
    if unknown:
        raise TypeError(f"{where} has an argument {unknown[0]!r} that record() does not take")
    missing = [name for name in ("dfid", "event") if name not in row]
    if missing:
        raise TypeError(f"{where} has no {missing[0]!r}")
    try:
        return _recorder.record(**row)
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


class NumberedRow(NamedTuple):
    """A row, and its place in its partition of the log."""

    partition: int
    place: str
    row: dict[str, Any]


class PagedEvents(EventIterator):
    """Rows one by one, from pages that are read when they are needed.

    Args:
        read_page: returns the next rows; none at the end. May fail, and is then asked again at
            the next step.
        places: where each partition is read from.
        of_flow: whether the rows are those of one flow.
    """

    def __init__(
        self,
        read_page: Callable[[], Sequence[NumberedRow]],
        places: Sequence[str],
        *,
        of_flow: bool = False,
    ) -> None:
        self._read_page = read_page
        self._places = list(places)
        self._mark = _FLOW_MARK if of_flow else ""
        self._page: deque[NumberedRow] = deque()
        self._ended = False

    def __next__(self) -> dict[str, Any]:
        if not self._page and not self._ended:
            self._page.extend(self._read_page())
            self._ended = not self._page
        if self._ended:
            raise StopIteration
        partition, place, row = self._page.popleft()
        self._places[partition] = place
        return row

    @property
    def cursor(self) -> str:
        """The place after the latest row returned."""
        return join_places(self._places, self._mark)


def join_places(places: Sequence[str], mark: str = "") -> str:
    """Return the cursor for a place in each partition, empty for its beginning."""
    if not any(places):
        return ""
    return mark + ",".join(place or BEGINNING for place in places)


class NumberedPages:
    """Pages of a log in one piece.

    Args:
        rows_after: returns the rows after a number, with their numbers.
        after: the number to begin after.
    """

    def __init__(
        self, rows_after: Callable[[int], Sequence[tuple[int, dict[str, Any]]]], after: int
    ) -> None:
        self._rows_after = rows_after
        self._after = after

    def read(self) -> list[NumberedRow]:
        """Return the next page."""
        rows = self._rows_after(self._after)
        if rows:
            self._after = rows[-1][0]
        return [NumberedRow(0, str(number), row) for number, row in rows]

    def events(self, *, of_flow: bool = False) -> PagedEvents:
        """Return an iterator over all pages."""
        place = str(self._after) if self._after else ""
        return PagedEvents(self.read, [place], of_flow=of_flow)


def check_limits(older_than_sec: float | None, max_rows: int | None) -> None:
    """Refuse a trim without any limit.

    Raises:
        ValueError: neither an age nor a number is given.
    """
    if older_than_sec is None and max_rows is None:
        raise ValueError("give older_than_sec or max_rows: without a limit nothing is dropped")
