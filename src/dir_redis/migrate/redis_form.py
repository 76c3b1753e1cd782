"""What a kind of keyed record is on Redis: what to read of it, what that says, how to write it.

Nothing is sent here. See docs/keys.md for what the keys hold.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from dir_redis.amounts import AmountScale
from dir_redis.clock import MOMENTS
from dir_redis.documents import members_of
from dir_redis.errors import CorruptRecordError
from dir_redis.migrate.records import Keyed
from dir_redis.redis.keys import Keys
from dir_redis.redis.replies import as_json, as_text, scored_pairs
from dir_redis.redis.steps import Argument, Command, Steps

K = TypeVar("K", bound=Keyed)

# So many words a script hands on to a command at once.
_WORDS_AT_ONCE = 1000


class Look(NamedTuple):
    """One thing to read of a record, see ``lua/migrate_read.lua``."""

    command: str
    key: str
    member: str = ""


class Found(NamedTuple):
    """What the looks of a record found, and the server's time then."""

    parts: Sequence[Any]
    now_us: int


class Write(NamedTuple):
    """One command that writes a part of a record, see ``lua/migrate_write.lua``."""

    command: str
    key: str
    words: tuple[Argument, ...] = ()


class Whole(NamedTuple):
    """How a record is written: by all these commands, unless one of the looks finds something."""

    looks: tuple[Look, ...]
    writes: list[Write]


class Form(Generic[K]):
    """How one kind of record is kept on Redis.

    Attributes:
        ordered: the sorted set of each partition that has all ids of the kind, if there is one.
        hashed: the hash that has them, or more of them, as its fields.
        scanned: the kinds of key that end with an id.
    """

    ordered: ClassVar[str] = ""
    hashed: ClassVar[str] = ""
    scanned: ClassVar[tuple[str, ...]] = ()

    def __init__(self, keys: Keys, scale: AmountScale) -> None:
        self._keys = keys
        self._scale = scale

    def looks(self, key: str) -> tuple[Look, ...]:
        """What to read of the record of an id; always as much."""
        raise NotImplementedError

    def parse(self, key: str, found: Found) -> K | None:
        """The record in what was found, None if there is none.

        Raises:
            CorruptRecordError: it is not what this package writes.
        """
        raise NotImplementedError

    def signs(self, key: str) -> tuple[Look, ...]:
        """Looks (EXISTS, HEXISTS, ZSCORE) of which one finds something if the record is there."""
        raise NotImplementedError

    def prepare(self, records: Sequence[K]) -> Steps[None]:
        """Whatever has to be known before records are written."""
        yield from ()

    def writes(self, record: K) -> Iterator[Write]:
        """The commands that write a record that is not there.

        Raises:
            NotRepresentableError: it cannot be kept as it is.
        """
        raise NotImplementedError


def last_of_others(orders: Sequence[str], ids: Collection[str]) -> Steps[tuple[int, str]]:
    """The last place in an order of all partitions, but for those of some ids, which get new ones.

    Args:
        orders: the sorted set of each partition.
        ids: the ids.

    Returns:
        The score and the id that has it; (0, "") if there is no other.
    """
    replies = yield [Command("ZREVRANGE", key, (0, len(ids), "WITHSCORES")) for key in orders]
    others = (
        (moment_of(key, score) or 0, one)
        for key, reply in zip(orders, replies, strict=True)
        for score, one in scored_pairs(reply)
        if one not in ids
    )
    return max(others, default=(0, ""))


def in_order(orders: Sequence[str], moments: Mapping[str, int]) -> Steps[dict[str, int]]:
    """The moments by which records come after all others of an order, and in the order given.

    A moment stays as it is unless it is not behind the one before; those of one moment are in order
    of their ids.
    """
    last = yield from last_of_others(orders, moments.keys())
    placed_at = {}
    for one, moment in moments.items():
        last = (moment, one) if (moment, one) > last else (last[0] + 1, one)
        placed_at[one] = last[0]
    return placed_at


def hash_of(key: str, words: list[Argument]) -> Iterator[Write]:
    """A hash of these fields and values, and no others."""
    yield Write("DEL", key)
    yield from in_parts("HSET", key, words)


def in_parts(command: str, key: str, words: list[Argument]) -> Iterator[Write]:
    for first in range(0, len(words), _WORDS_AT_ONCE):
        yield Write(command, key, tuple(words[first : first + _WORDS_AT_ONCE]))


def placed(key: str, member: str, score: int | None, is_in: bool) -> Write:
    """A member's place in a sorted set, or that it has none."""
    if is_in:
        assert score is not None
        return Write("ZADD", key, (score, member))
    return Write("ZREM", key, (member,))


def field_of(key: str, field: str, value: str | None) -> Write:
    """A field of a hash, or that there is none."""
    return Write("HDEL", key, (field,)) if value is None else Write("HSET", key, (field, value))


def ending(key: str, until_us: int | None) -> Iterator[Write]:
    if until_us is not None:
        yield Write("PEXPIREAT", key, (-(-until_us // 1000),))


def end_of(found: Any) -> int | None:
    """When a key goes, in microseconds."""
    milliseconds = as_text(found)
    return int(milliseconds) * 1000 if milliseconds else None


def moment_of(key: str, score: Any) -> int | None:
    """The moment that a score of a sorted set is, which a copy has to keep."""
    if score is None:
        return None
    number = float(score)
    if not number.is_integer() or int(number) not in MOMENTS:
        raise CorruptRecordError(key, f"a score in it should be a moment, not {number}")
    return int(number)


def number_of(key: str, value: Any) -> int:
    digits = as_text(value)
    if not re.fullmatch(r"-?\d+", digits, re.ASCII):
        raise CorruptRecordError(key, f"it should hold a whole number, not {digits!r}")
    return int(digits)


def stored_members(key: str, document: Any, needed: set[str]) -> dict[str, str]:
    """The members of a stored JSON object, each to the byte."""
    try:
        members = members_of(as_text(document))
    except (ValueError, RecursionError) as error:
        raise CorruptRecordError(key, f"it should hold JSON objects ({error})") from error
    if not members.keys() >= needed:
        raise CorruptRecordError(key, f"a record in it lacks {', '.join(sorted(needed))}")
    return members


def string_of(key: str, member: str) -> str:
    """A member that is a string."""
    value = as_json(key, member)
    if not isinstance(value, str):
        raise CorruptRecordError(key, f"{value!r} in it should be a string")
    return value
