"""Reading the records of a namespace for verification, each at one moment."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from dir_redis.arguments import INT64_MAX
from dir_redis.errors import CorruptRecordError
from dir_redis.redis.driver import RedisDriver
from dir_redis.redis.keys import Keys
from dir_redis.redis.replies import as_digits, as_fields, as_json, as_text
from dir_redis.redis.steps import Argument, Call, Request, Steps
from dir_redis.verify.report import Finding, Trouble

# So many records are read at once, or fewer of so many bytes.
RECORDS_AT_ONCE = 200
BYTES_AT_ONCE = 1_000_000
# After so many words no further record is asked for: Redis 6.2 takes 1,048,576.
WORDS_AT_ONCE = 50_000
# What a record is made of may depend on what it says; should it change meanwhile, it is read again.
ATTEMPTS = 50


class Look(NamedTuple):
    """One thing to read of a record: a command that reads, its key, and what follows."""

    command: str
    key: str
    words: tuple[Argument, ...] = ()


class _Unreadable(NamedTuple):
    """What a look found in a key of another type, which is a finding of its own."""

    problem: str


class Family:
    """One kind of record: what to read of it, and what must hold.

    Args:
        keys: the namespace's keys.
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    def records(self, ids: list[str]) -> list[str]:
        """The records that a page of ids is of; most ids are one each."""
        return ids

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        """What to read of a record; all of one partition.

        Args:
            record_id: the record.
            found: what these looks found the time before; None the first time.
        """
        raise NotImplementedError

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        """What is inconsistent in it, as it was found.

        Raises:
            CorruptRecordError: a part of it cannot be read.
        """
        raise NotImplementedError


class Reader:
    """Reads and checks records of one namespace."""

    def __init__(self, keys: Keys, driver: RedisDriver) -> None:
        self._keys = keys
        self._driver = driver

    def check(self, family: Family, ids: Iterable[str]) -> Iterator[Finding]:
        """Check some records of a family, all in one page."""
        unread = {}
        for one in ids:
            try:
                unread[one] = family.looks(one, None)
            except CorruptRecordError as error:
                yield Finding(error.key, "garbled", error.problem)
        for _ in range(ATTEMPTS):
            again: dict[str, list[Look]] = {}
            for record_id, found, now_us in self._read(unread):
                if any(isinstance(part, _Unreadable) for part in found):
                    continue
                try:
                    looks = family.looks(record_id, found)
                    if looks != unread[record_id]:
                        again[record_id] = looks
                        continue
                    yield from family.check(record_id, found, now_us)
                except CorruptRecordError as error:
                    yield Finding(error.key, "garbled", error.problem)
                except UnicodeDecodeError as error:
                    key = unread[record_id][0].key
                    yield Finding(
                        key, "garbled", f"what it has of {record_id!r} is no UTF-8 ({error})"
                    )
            unread = again
            if not unread:
                return

    def _read(self, records: dict[str, list[Look]]) -> Iterator[tuple[str, list[Any], int]]:
        by_partition: defaultdict[str, list[str]] = defaultdict(list)
        for record_id, looks in records.items():
            by_partition[self._keys.tag_in(looks[0].key)].append(record_id)
        for ids in by_partition.values():
            unread = ids
            while unread:
                now, *found = self._driver.run(_ask(_call([records[one] for one in unread])))
                count = 0
                while found:
                    size = len(records[unread[count]])
                    yield unread[count], [_part(part) for part in found[:size]], int(now)
                    found = found[size:]
                    count += 1
                unread = unread[count:]


def _call(records: list[list[Look]]) -> Call:
    """What reads some records, or the first of them, at least one."""
    places: dict[str, int] = {}
    words: list[Argument] = [BYTES_AT_ONCE]
    for looks in records:
        words.append(len(looks))
        for look in looks:
            number = places.setdefault(look.key, len(places) + 1)
            words += (look.command, number, len(look.words), *look.words)
        if len(words) > WORDS_AT_ONCE:
            break
    return Call("verify_read", tuple(places), tuple(words))


def _part(part: list[Any]) -> Any:
    return part[0] if len(part) == 1 else _Unreadable(as_text(part[1]))


def _ask(request: Request) -> Steps[Any]:
    return (yield request)


# Reading parts


def score_of(part: Any) -> int | float | None:
    """A score, all of which are whole numbers here, unless somebody has spoilt them."""
    if part is None:
        return None
    score = float(part)
    return int(score) if score.is_integer() else score


def fields_of(part: Any) -> dict[str, str]:
    """The fields of a hash, none of a missing one."""
    return as_fields(part or [])


def bytes_of(part: Any) -> bytes:
    """A text with lengths in bytes."""
    return part if isinstance(part, bytes) else str(part).encode()


def number_in(key: str, what: str, text: Any, *, least: int = 0, most: int = INT64_MAX) -> int:
    """A whole number of 64 bits, not negative.

    Raises:
        CorruptRecordError: it is none, less than the least, or more than the most.
    """
    digits = None if text is None else as_digits(text)
    if digits is None or not re.fullmatch(r"\d+", digits, re.ASCII):
        raise CorruptRecordError(key, f"{what} should be a whole number, not {digits!r}")
    number = int(digits) if len(digits) <= len(str(INT64_MAX)) else INT64_MAX + 1
    if not least <= number <= most:
        wanted = f"a whole number from {least} to {most}"
        raise CorruptRecordError(key, f"{what} should be {wanted}, not {digits[:40]!r}")
    return number


def check_json(key: str, what: str, text: Any) -> Any:
    """A JSON text, parsed.

    Raises:
        CorruptRecordError: it is none.
    """
    try:
        return as_json(key, text)
    except CorruptRecordError as error:
        raise CorruptRecordError(key, f"{what}: {error.problem}") from error


def listed(key: str, record_id: str, score: Any, wanted: Any, what: str) -> Iterator[Finding]:
    """Compare the place of a record in an index with the one it must have; None for no place."""
    if score == wanted:
        return
    kind: Trouble
    if score is None:
        kind, problem = "missing", f"{record_id!r} is not in it, but {what}"
    elif wanted is None:
        kind, problem = "orphan", f"{record_id!r} is in it, but {what}"
    else:
        kind, problem = "mismatch", f"{record_id!r} is at {score} in it, not at {wanted}: {what}"
    yield Finding(key, kind, problem)
