"""Reading replies, whether the client decodes them to str or not."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

from dir_redis.clock import MOMENTS
from dir_redis.errors import CorruptRecordError

_MOMENT = re.compile(r"-?\d{1,18}", re.ASCII)
# Without json.loads' look at its options, which costs as much as parsing a small document.
_parse = json.JSONDecoder().decode

# The numbers of Lua are floats: above this one two tokens in a row may be the same to it.
LARGEST_TOKEN = 2**53 - 1


def as_text(value: Any) -> str:
    """A reply that is a string."""
    return value.decode() if isinstance(value, bytes) else str(value)


def as_optional_text(value: Any) -> str | None:
    """A reply that is a string, or nothing."""
    return None if value is None else as_text(value)


def as_digits(value: Any) -> str:
    """A reply that should be a number; a byte that is no UTF-8 becomes what is no digit."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def as_json(key: str, value: Any) -> Any:
    """A stored JSON text, parsed.

    Raises:
        CorruptRecordError: it is no JSON.
    """
    if value is None:
        raise CorruptRecordError(key, "it should hold JSON, and holds nothing")
    try:
        return _parse(as_text(value))
    except (ValueError, RecursionError) as error:
        raise CorruptRecordError(key, f"it should hold JSON ({error})") from error


def as_units(key: str, value: Any) -> int:
    """A stored non-negative integer, 0 if there is none.

    Raises:
        CorruptRecordError: it is something else.
    """
    if value is None:
        return 0
    digits = as_digits(value)
    if not (digits.isascii() and digits.isdigit()):
        raise CorruptRecordError(key, f"it should hold whole units, not {digits!r}")
    return int(digits)


def as_moment(key: str, value: Any) -> int:
    """A stored moment, microseconds since 1970 UTC.

    Raises:
        CorruptRecordError: there is none, or it is something else.
    """
    digits = as_digits(value)
    if not _MOMENT.fullmatch(digits) or int(digits) not in MOMENTS:
        raise CorruptRecordError(key, f"it should hold a moment, not {digits or 'nothing'}")
    return int(digits)


def as_version(key: str, value: Any) -> int:
    """A stored version.

    Raises:
        CorruptRecordError: there is none, or it is something else.
    """
    digits = as_digits(value)
    if not (digits.isascii() and digits.isdigit()):
        raise CorruptRecordError(key, f"its version should be a number, not {digits!r}")
    return int(digits)


def as_fields(fields: Any) -> dict[str, str]:
    """A stream entry's fields, as the client parsed them or as a script returns them."""
    words = list(itertools.chain(*fields.items())) if isinstance(fields, dict) else fields
    if words and isinstance(words[0], bytes):
        words = [word.decode() for word in words]
    return dict(zip(words[::2], words[1::2], strict=True))


def as_ordered(replies: list[Any]) -> list[str]:
    """Members of one sorted set per partition, merged by score.

    A single one's reply comes without scores; several have them, see :func:`as_scored`.
    """
    if len(replies) == 1:
        return [as_text(member) for member in replies[0]]
    return as_scored(replies)


def as_scored(replies: list[Any]) -> list[str]:
    """Members of one sorted set per partition, each reply with scores, merged by them."""
    scored = [pair for reply in replies for pair in scored_pairs(reply)]
    return [member for _, member in sorted(scored)]


def scored_pairs(reply: Any) -> list[tuple[float, str]]:
    """Scores and members of a sorted set, in its order.

    A reply alternates members and scores; a command's on RESP3 has them in pairs.
    """
    pairs = reply if reply and isinstance(reply[0], list) else zip(*[iter(reply)] * 2, strict=True)
    return [(float(score), as_text(member)) for member, score in pairs]
