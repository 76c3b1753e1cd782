"""What must hold of reservations, and of who waits for room."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterator
from typing import Any, NamedTuple

from dir_redis.errors import CorruptRecordError
from dir_redis.redis.keys import Keys
from dir_redis.verify.redis_reading import (
    Family,
    Look,
    bytes_of,
    listed,
    number_in,
    score_of,
)
from dir_redis.verify.report import Finding

_FLOW = re.compile(rb"(\d+) (\d+)")
_HELD = re.compile(rb" (\d+) (\d+) (\d+):")
_WANTED = re.compile(rb" (\d+) (\d+|-) (\d+):")
_LENGTH = re.compile(rb"(\d+):")


class Flow(NamedTuple):
    """A stored reservation: its token, the end of its lease (0 for none), units by resource."""

    token: int
    ends: int
    units: dict[str, int]


def parse_flow(key: str, dfid: str, text: Any) -> Flow:
    """Parse what a flow holds.

    Raises:
        CorruptRecordError: it is not as docs/keys.md says.
    """
    raw = bytes_of(text)
    head = _FLOW.match(raw)
    if head is None:
        raise CorruptRecordError(key, f"what {dfid!r} holds cannot be read")
    place, units = head.end(), {}
    while place < len(raw):
        held, place, resource_id = _take(key, dfid, raw, place, _HELD)
        if resource_id in units or not int(held[1]):
            raise CorruptRecordError(key, f"{dfid!r} holds {resource_id!r} twice, or 0 of it")
        units[resource_id] = int(held[1])
    return Flow(int(head[1]), int(head[2]), units)


def _waiter_resources(key: str, ticket: str, text: Any) -> list[str]:
    raw, place, resources = bytes_of(text), 0, []
    for _ in range(2):  # its wake key, and its flow
        _, place, _ = _take(key, ticket, raw, place, _LENGTH)
    while place < len(raw):
        _, place, resource_id = _take(key, ticket, raw, place, _WANTED)
        resources.append(resource_id)
    return resources


def _take(
    key: str, whose: str, raw: bytes, place: int, pattern: re.Pattern[bytes]
) -> tuple[re.Match[bytes], int, str]:
    """Match a head that ends with a length, and take so many bytes behind it."""
    head = pattern.match(raw, place)
    if head is None or head.end() + int(head[head.re.groups]) > len(raw):
        raise CorruptRecordError(key, f"what it has of {whose!r} cannot be read")
    end = head.end() + int(head[head.re.groups])
    try:
        return head, end, raw[head.end() : end].decode()
    except UnicodeDecodeError as error:
        raise CorruptRecordError(key, f"what it has of {whose!r} is no UTF-8") from error


def member_of(resource_id: str, who: str) -> str:
    """What stands for a holder or a waiter of a resource in its sorted set."""
    return f"{len(resource_id.encode())}:{resource_id}:{who}"


def split_member(key: str, member: str) -> tuple[str, str]:
    """The resource and the holder or waiter in a member.

    Raises:
        CorruptRecordError: it is none.
    """
    raw = member.encode()
    head = _LENGTH.match(raw)
    end = head.end() + int(head[1]) if head else 0
    if head is None or raw[end : end + 1] != b":":
        raise CorruptRecordError(key, f"its member {member!r} should be <length>:<resource>:<id>")
    return raw[head.end() : end].decode(), raw[end + 1 :].decode()


class ReservationFamily(Family):
    """What flows hold; a record's id is its dfid.

    Args:
        keys: the namespace's keys.
        agrees: gets each holder that is listed where it belongs.

    Attributes:
        unlisted: the resources that were met, with the flows that hold them but are not listed.
    """

    def __init__(self, keys: Keys, agrees: Callable[[str], None]) -> None:
        super().__init__(keys)
        self._agrees = agrees
        self.unlisted: defaultdict[str, list[str]] = defaultdict(list)

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        keys = self.keys
        looks = [
            Look("HGET", keys.lock_flows(), (record_id,)),
            Look("ZSCORE", keys.lock_leases(), (record_id,)),
            Look("GET", keys.lock_counter()),
        ]
        if found and found[0] is not None:
            for resource_id in parse_flow(keys.lock_flows(), record_id, found[0]).units:
                member = member_of(resource_id, record_id)
                looks.append(Look("ZSCORE", keys.lock_holders(), (member,)))
        return looks

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        keys, lease = self.keys, score_of(found[1])
        if found[0] is None:
            why = "it holds nothing"
            yield from listed(keys.lock_leases(), record_id, lease, None, why)
            return
        flow = parse_flow(keys.lock_flows(), record_id, found[0])
        why = f"its reservation says its lease ends at {flow.ends}"
        yield from listed(keys.lock_leases(), record_id, lease, flow.ends or None, why)
        if flow.token > number_in(keys.lock_counter(), "what it holds", found[2] or 0):
            problem = f"{record_id!r} has the token {flow.token}, which was not given yet"
            yield Finding(keys.lock_counter(), "mismatch", problem)
        if not flow.units and not flow.token:
            problem = f"{record_id!r} holds nothing and has no token"
            yield Finding(keys.lock_flows(), "orphan", problem)
        for resource_id, score in zip(flow.units, found[3:], strict=True):
            member = member_of(resource_id, record_id)
            why = f"the flow holds {resource_id!r}"
            yield from listed(keys.lock_holders(), member, score_of(score), 0, why)
            unlisted = self.unlisted[resource_id]
            if score is None:
                unlisted.append(record_id)
            else:
                self._agrees(member)


class _MemberFamily(Family):
    """Members of the order of all that is of resources; a record is those of one flow or ticket.

    What a flow holds is one text, so it is read and parsed once for many of its members.
    """

    def records(self, ids: list[str]) -> list[str]:
        of: defaultdict[str, list[str]] = defaultdict(list)
        for member in ids:
            try:
                _, who = split_member("", member)
            except CorruptRecordError:
                who = f"no one: {member}"  # by itself, and told of when it is read
            of[who].append(member)
        return [json.dumps(members) for members in of.values()]

    def _looks(self, order: str, texts: str, record_id: str) -> list[Look]:
        members = json.loads(record_id)
        _, who = split_member(order, members[0])
        places = (Look("ZSCORE", order, (member,)) for member in members)
        return [Look("HGET", texts, (who,)), *places]

    def _check(
        self, order: str, record_id: str, found: list[Any], resources: Container[str], why: str
    ) -> Iterator[Finding]:
        for member, score in zip(json.loads(record_id), found[1:], strict=True):
            resource_id, _ = split_member(order, member)
            if score is not None and resource_id not in resources:
                yield from listed(order, member, score_of(score), None, f"{why} {resource_id!r}")


class HolderFamily(_MemberFamily):
    """Those listed as holders."""

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        return self._looks(self.keys.lock_holders(), self.keys.lock_flows(), record_id)

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        order, texts = self.keys.lock_holders(), self.keys.lock_flows()
        _, dfid = split_member(order, json.loads(record_id)[0])
        held = parse_flow(texts, dfid, found[0]).units if found[0] else ()
        yield from self._check(order, record_id, found, held, f"{dfid!r} holds nothing of")


class WaiterFamily(Family):
    """Who waits for room; a record's id is the ticket.

    Args:
        keys: the namespace's keys.
        agrees: gets each member of the queue that is where it belongs.
    """

    def __init__(self, keys: Keys, agrees: Callable[[str], None]) -> None:
        super().__init__(keys)
        self._agrees = agrees

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        keys = self.keys
        looks = [
            Look("HGET", keys.lock_waiters(), (record_id,)),
            Look("ZSCORE", keys.lock_waiting(), (record_id,)),
            Look("GET", keys.lock_counter()),
        ]
        if found and found[0] is not None:
            for resource_id in _waiter_resources(keys.lock_waiters(), record_id, found[0]):
                member = member_of(resource_id, record_id)
                looks.append(Look("ZSCORE", keys.lock_queue(), (member,)))
        return looks

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        keys, waiting = self.keys, score_of(found[1])
        if found[0] is None:
            yield from listed(
                keys.lock_waiting(), record_id, waiting, None, "nobody has the ticket"
            )
            return
        ticket = number_in(keys.lock_waiters(), "a ticket in it", record_id)
        if ticket > number_in(keys.lock_counter(), "what it holds", found[2] or 0):
            problem = f"the ticket {record_id!r} was not given yet"
            yield Finding(keys.lock_counter(), "mismatch", problem)
        if waiting is None:
            problem = f"{record_id!r} is not in it, but waits"
            yield Finding(keys.lock_waiting(), "missing", problem)
        resources = _waiter_resources(keys.lock_waiters(), record_id, found[0])
        for resource_id, score in zip(resources, found[3:], strict=True):
            member = member_of(resource_id, record_id)
            why = f"the ticket waits for {resource_id!r}"
            yield from listed(keys.lock_queue(), member, score_of(score), 0, why)
            if score is not None:
                self._agrees(member)


class QueuedFamily(_MemberFamily):
    """Places in the queue."""

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        return self._looks(self.keys.lock_queue(), self.keys.lock_waiters(), record_id)

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        order, texts = self.keys.lock_queue(), self.keys.lock_waiters()
        _, ticket = split_member(order, json.loads(record_id)[0])
        wanted = frozenset(_waiter_resources(texts, ticket, found[0]) if found[0] else ())
        why = "nobody with that ticket waits for"
        yield from self._check(order, record_id, found, wanted, why)


def check_total(keys: Keys, resource_id: str, reply: list[Any]) -> Iterator[Finding]:
    """Compare a resource's total with what the flows hold, see ``lua/verify_total.lua``."""
    total, unreadable, *units = reply
    if int(unreadable):
        return  # which is a finding of its own
    key, held = keys.lock_totals(), sum(map(int, units))
    if not total:
        if held:
            yield Finding(key, "missing", f"has no {resource_id!r}, of which {held} units are held")
        return
    stated = number_in(key, f"the total of {resource_id!r}", total)
    if not held:
        yield Finding(key, "orphan", f"says {stated} of {resource_id!r}, of which nothing is held")
    elif stated != held:
        yield Finding(key, "mismatch", f"says {stated} of {resource_id!r}, and {held} are held")
