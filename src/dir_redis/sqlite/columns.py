"""JSON and moments as columns hold them, and reading back what somebody may have spoilt.

SQLite keeps what it is given, whatever a column is declared as. So every column is read through
here: what is not what this package writes there becomes an error that names its table and row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from dir_redis.arguments import INT64_MAX
from dir_redis.clock import MOMENTS, parse_moment
from dir_redis.errors import CorruptRecordError

_EPOCH = datetime(1970, 1, 1)

# What a number may be, by its column's name alone. Of a number that the next one is counted from
# there has to be a next one in 64 bits.
_COUNTED = range(INT64_MAX)
_NUMBERS = {
    "priority": range(-INT64_MAX - 1, INT64_MAX + 1),
    **dict.fromkeys(("rejection_count", "units", "archived", "base_keys"), range(INT64_MAX + 1)),
    **dict.fromkeys(("value", "token", "epoch", "version", "contract_version"), _COUNTED),
    **dict.fromkeys(("completed", "by_default"), range(2)),
    **dict.fromkeys(("since_us", "marked_us", "due_us", "until_us", "reviewer_until_us"), MOMENTS),
    **dict.fromkeys(("deadline_us", "expires_us", "forget_us", "heartbeat_until"), MOMENTS),
}
# The columns that may hold nothing, for the schema cannot say so of all that may not.
_OPTIONAL = frozenset(
    ("agent_version", "session_token", "suspension_reason", "heartbeat_until", "root_dfid")
    + ("base_keys", "expires_us", "owner", "token", "until_us", "fingerprint", "completed")
    + ("forget_us", "from_status", "deadline_us", "default_decision", "reviewer", "human_decision")
    + ("resolved_at", "decided_by", "decision_reason", "context_session.agent_id")
    + ("decision_audit_events.agent_id",)
)


def json_column(text: str) -> str | bytes:
    """Return JSON text in the form that a column declared JSON keeps to the byte.

    Such a column has numeric affinity: text that reads as a number would be stored as one, and
    ``1.50`` come back as ``1.5``. As bytes it stays; readers CAST the column to TEXT.
    """
    return text.encode() if text.lstrip()[:1] in tuple("-0123456789") else text


def text_or_bytes(stored: bytes) -> str | bytes:
    """Decode text, but leave what is no UTF-8 to :func:`read_columns`, which can name the row."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


def read_columns(
    table: str, record_id: object, columns: Sequence[str], values: Iterable[object]
) -> tuple[Any, ...]:
    """Return the values of some columns of a row, each being what its column may hold.

    Raises:
        CorruptRecordError: one is not.
    """
    read = tuple(values)
    for column, value in zip(columns, read, strict=True):
        if value is None and not _OPTIONAL.isdisjoint((column, f"{table}.{column}")):
            continue
        numbers = _NUMBERS.get(column)
        if numbers is None:
            if not isinstance(value, str):
                problem = f"its {column} should be text in UTF-8, not {value!r}"
                raise _corrupt(table, record_id, problem)
        elif not isinstance(value, int) or value not in numbers:
            kind = "a moment" if numbers is MOMENTS else f"{numbers[0]} to {numbers[-1]}"
            raise _corrupt(table, record_id, f"its {column} should be {kind}, not {value!r}")
    return read


def read_rows(
    table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> list[tuple[Any, ...]]:
    """Return rows whose first column names them; see :func:`read_columns`."""
    return [read_columns(table, row[0], columns, row) for row in rows]


def read_column(table: str, record_id: object, column: str, value: object) -> Any:
    """Return the value of one column; see :func:`read_columns`."""
    return read_columns(table, record_id, (column,), (value,))[0]


def as_bytes(*columns: str) -> str:
    """The columns in a SELECT as the bytes of the text they hold, which need not be UTF-8 any more.

    NULL stays NULL. What is neither, such as a BLOB of the same bytes (which equals no text),
    becomes bytes that are no UTF-8.
    """
    return ", ".join(
        f"CASE typeof({column}) WHEN 'text' THEN CAST({column} AS BLOB) "
        f"WHEN 'null' THEN NULL ELSE x'FF' END"
        for column in columns
    )


def text_of(column: bytes | None) -> str | None:
    """A column that was selected as bytes; None too if it is no text any more."""
    try:
        return None if column is None else column.decode()
    except UnicodeDecodeError:
        return None


def parse_document(table: str, record_id: object, text: str | None) -> Any:
    """Parse a stored JSON document; none counts as ``{}``.

    Raises:
        CorruptRecordError: it is not JSON.
    """
    try:
        return json.loads(text) if text else {}
    except (TypeError, ValueError, RecursionError) as error:
        raise _corrupt(table, record_id, f"not JSON: {error}") from error


def parse_object(table: str, record_id: object, text: str | None) -> dict[str, Any]:
    """Parse a stored JSON object; none counts as ``{}``.

    Raises:
        CorruptRecordError: it is not JSON, or no object.
    """
    document = parse_document(table, record_id, text)
    if not isinstance(document, dict):
        raise _corrupt(table, record_id, f"a JSON {type(document).__name__}, not an object")
    return document


def moment_column(microseconds: int) -> str:
    """Format a moment as ``2026-11-23 16:00:00.123456``.

    As text it sorts among the ``2026-11-23 16:00:00`` that dir-core 0.1.0 writes.
    """
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(sep=" ", timespec="microseconds")


def lower_bound(microseconds: int) -> str:
    """Return the text that those moments compare greater or equal to which are not earlier.

    A whole second is written without a fraction: ``16:00:00.000000`` would leave out the
    ``16:00:00`` of dir-core 0.1.0. A zone may put the moment beyond the years 1 to 9999.
    """
    try:
        return (_EPOCH + timedelta(microseconds=microseconds)).isoformat(sep=" ")
    except OverflowError:
        return "" if microseconds < 0 else "~"


def read_moment(table: str, record_id: object, text: object) -> int:
    """Parse a stored moment to microseconds since 1970 UTC.

    Raises:
        CorruptRecordError: it is none.
    """
    try:
        moment = parse_moment("the moment", text)
    except (TypeError, ValueError) as error:
        raise _corrupt(table, record_id, str(error)) from error
    if moment not in MOMENTS:  # its zone puts it there
        raise _corrupt(table, record_id, f"{text!r} is beyond the years 1 to 9999")
    return moment


def _corrupt(table: str, record_id: object, problem: str) -> CorruptRecordError:
    return CorruptRecordError(f"{table} {record_id!r}", problem)
