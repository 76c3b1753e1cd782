"""JSON and moments as columns hold them, and reading back what somebody may have spoilt."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from dir_redis.clock import parse_moment
from dir_redis.errors import CorruptRecordError

_EPOCH = datetime(1970, 1, 1)


def json_column(text: str) -> str | bytes:
    """Return JSON text in the form that a column declared JSON keeps to the byte.

    Such a column has numeric affinity: text that reads as a number would be stored as one, and
    ``1.50`` come back as ``1.5``. As bytes it stays; readers CAST the column to TEXT.
    """
    return text.encode() if text.lstrip()[:1] in tuple("-0123456789") else text


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
        return parse_moment("the moment", text)
    except (TypeError, ValueError) as error:
        raise _corrupt(table, record_id, str(error)) from error


def _corrupt(table: str, record_id: object, problem: str) -> CorruptRecordError:
    return CorruptRecordError(f"{table} {record_id!r}", problem)
