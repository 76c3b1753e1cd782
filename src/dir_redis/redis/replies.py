"""Reading replies, whether the client decodes them to str or not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dir_redis.errors import CorruptRecordError


def as_text(value: Any) -> str:
    """A reply that is a string."""
    return value.decode() if isinstance(value, bytes) else str(value)


def as_optional_text(value: Any) -> str | None:
    """A reply that is a string, or nothing."""
    return None if value is None else as_text(value)


def as_json(key: str, value: Any) -> Any:
    """A stored JSON text, parsed.

    Raises:
        CorruptRecordError: it is no JSON.
    """
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise CorruptRecordError(key, f"it should hold JSON ({error})") from error


def as_units(key: str, value: Any) -> int:
    """A stored non-negative integer, 0 if there is none.

    Raises:
        CorruptRecordError: it is something else.
    """
    if value is None:
        return 0
    digits = as_text(value)
    if not (digits.isascii() and digits.isdigit()):
        raise CorruptRecordError(key, f"it should hold whole units, not {digits!r}")
    return int(digits)


def as_fields(key: str, fields: Any) -> dict[str, str]:
    """A stream entry's fields, as the client parsed them or as a script returns them.

    Raises:
        CorruptRecordError: they are no text.
    """
    pairs: Iterable[tuple[Any, Any]]
    pairs = fields.items() if isinstance(fields, dict) else zip(*[iter(fields)] * 2, strict=True)
    try:
        return {as_text(name): as_text(value) for name, value in pairs}
    except UnicodeDecodeError as error:
        raise CorruptRecordError(key, f"it should hold UTF-8 ({error})") from error


def as_ordered(replies: list[Any]) -> list[str]:
    """Members of one sorted set per partition, merged by score.

    A single one's reply comes without scores; several alternate members and scores, which RESP3
    has in pairs.
    """
    if len(replies) == 1:
        return [as_text(member) for member in replies[0]]
    scored: list[tuple[float, str]] = []
    for reply in replies:
        pairs = (
            reply if reply and isinstance(reply[0], list) else zip(*[iter(reply)] * 2, strict=True)
        )
        scored.extend((float(score), as_text(member)) for member, score in pairs)
    scored.sort(key=lambda pair: pair[0])
    return [member for _, member in scored]
