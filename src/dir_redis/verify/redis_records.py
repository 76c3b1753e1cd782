"""What must hold of agents, contexts, steps, counts and the small records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dir_redis.arguments import INT64_MAX
from dir_redis.errors import CorruptRecordError
from dir_redis.redis.context import document_in, merged_in
from dir_redis.redis.keys import Keys
from dir_redis.redis.replies import LARGEST_TOKEN, as_text
from dir_redis.verify.redis_reading import (
    Family,
    Look,
    check_json,
    fields_of,
    listed,
    number_in,
    score_of,
)
from dir_redis.verify.report import Finding

_ENTRY_ID = re.compile(r"\d+-\d+", re.ASCII)
# Another server may have told the time before, and its clock may have gone ahead.
_AHEAD_US = 1_000_000
_LINK = re.compile(r"[0-9a-f]{64}", re.ASCII)


class AgentFamily(Family):
    """Agents, and their places in three orders."""

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        keys = self.keys
        return [
            Look("HGETALL", keys.agent(record_id)),
            Look("ZSCORE", keys.agents(record_id), (record_id,)),
            Look("ZSCORE", keys.agents_active(record_id), (record_id,)),
            Look("ZSCORE", keys.agents_heartbeat(record_id), (record_id,)),
        ]

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        keys, at = self.keys, self.keys.agent(record_id)
        registered, active, heartbeat = map(score_of, found[1:])
        fields = fields_of(found[0])
        if not fields:
            if registered is not None or active is not None or heartbeat is not None:
                yield Finding(at, "missing", "is no record, but an order of the agents has it")
            for key, score in (
                (keys.agents(record_id), registered),
                (keys.agents_active(record_id), active),
                (keys.agents_heartbeat(record_id), heartbeat),
            ):
                yield from listed(key, record_id, score, None, "there is no such agent")
            return
        if registered is None:
            yield Finding(
                keys.agents(record_id), "missing", f"{record_id!r} is not in it, but has a record"
            )
        is_active = fields.get("status") == "ACTIVE"
        place = (registered if registered is not None else active) if is_active else None
        what = f"its status is {fields.get('status')!r}"
        yield from listed(keys.agents_active(record_id), record_id, active, place, what)
        if heartbeat is not None and not fields.get("session_token"):
            problem = f"{record_id!r} is in it, but has no session"
            yield Finding(keys.agents_heartbeat(record_id), "orphan", problem)
        for name in ("contract", "priority", "status"):
            if name not in fields:
                yield Finding(at, "garbled", f"has no {name}")
        check_json(at, "its contract", fields.get("contract", "{}"))
        if not re.fullmatch(r"-?\d+", fields.get("priority", "0"), re.ASCII):
            raise CorruptRecordError(at, "its priority should be a whole number")
        number_in(at, "its version", fields.get("version", "1"), least=1)


class DocumentFamily(Family):
    """Sessions or states; a record's id is its key."""

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        return [Look("HGETALL", record_id)]

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        fields = fields_of(found[0])
        if not fields:
            return
        document_in(record_id, fields)
        check_json(record_id, "its document", fields["data"])
        for key, value in merged_in(fields).items():
            check_json(record_id, f"what was merged into it as {key!r}", value)
        number_in(record_id, "its version", fields.get("version"), least=1)
        yield from ()


class StepFamily(Family):
    """Idempotency keys: results and claims."""

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        result, claim = self.keys.idempotency(record_id), self.keys.claim(record_id)
        return [
            *(Look("GET", result), Look("PTTL", result)),
            *(Look("HGETALL", claim), Look("PTTL", claim)),
        ]

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        at, result = self.keys.claim(record_id), found[0]
        if result is not None:
            check_json(self.keys.idempotency(record_id), "the result", result)
        claim = fields_of(found[2])
        if not claim:
            return
        owned, done = "owner" in claim, claim.get("state") == "DONE"
        if owned != ("until" in claim) or (owned and "token" not in claim):
            raise CorruptRecordError(at, "a claim that is held has a token, an owner and an end")
        for name in claim.keys() & {"token", "until"}:
            number_in(at, f"its {name}", claim[name], most=LARGEST_TOKEN)
        if claim.get("state", "DONE") != "DONE":
            raise CorruptRecordError(at, f"its state should be DONE, not {claim['state']!r}")
        if owned and (done or result is not None):
            yield Finding(at, "mismatch", "is held by an owner, though there is a result")
        if result is not None and not done and not owned and "token" in claim:
            yield Finding(at, "mismatch", "was given back, though there is a result")
        lasting = "fingerprint" in claim and done and result is not None and int(found[1]) == -1
        if int(found[3]) == -1 and not lasting:
            yield Finding(at, "no ttl", "should end by itself: its result does, or it has none")
        if int(found[3]) != -1 and lasting:
            yield Finding(at, "mismatch", "its fingerprint goes before its result, which stays")


class SmallFamily(Family):
    """Records of one key that stand alone; a record's id is its key.

    Args:
        keys: the namespace's keys.
        places: the decimal places of amounts that the store was opened with.
    """

    def __init__(self, keys: Keys, places: int) -> None:
        super().__init__(keys)
        self._places = places

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        parts = self.keys.parts_of(record_id)
        assert parts is not None
        commands = {"meta": "HGETALL", "audit_groups": "HGETALL", "lock_capacities": "HGETALL"}
        commands |= {"audit_end": "HGETALL", "ledger_end": "HGETALL"}
        if parts[1] == "budget":
            last = Look("ZRANGE", record_id, (-1, -1, "WITHSCORES"))
            return [Look("ZCOUNT", record_id, ("-inf", 0)), last]
        return [Look(commands.get(parts[1], "GET"), record_id)]

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        parts = self.keys.parts_of(record_id)
        assert parts is not None
        kind, value = parts[1], found[0]
        if kind in ("retry", "sagas_counter", "lock_counter"):
            if value is not None:
                most = INT64_MAX if kind == "retry" else LARGEST_TOKEN
                number_in(record_id, "what it holds", value, most=most)
        elif kind == "op":
            if value is not None and not re.match(rb"\d+ ", _raw(value)):
                raise CorruptRecordError(record_id, "it should begin with a number")
        elif kind == "budget":
            if int(value):
                yield Finding(record_id, "mismatch", f"{value} tokens were spent before 1970")
            last = score_of(found[1][1]) if found[1] else None
            if last is not None and last > now_us + _AHEAD_US:
                problem = f"its last token was spent at {last}, and it is {now_us} now"
                yield Finding(record_id, "mismatch", problem)
        elif kind == "meta":
            yield from _meta(self.keys, self._places, record_id, fields_of(value))
        else:
            yield from _HASHES[kind](record_id, fields_of(value))


def _meta(keys: Keys, places: int, at: str, fields: dict[str, str]) -> Iterator[Finding]:
    if not fields:
        yield Finding(at, "missing", "does not say what the namespace was made with")
        return
    number_in(at, "schema", fields.get("schema"))
    for name, what, opened in (
        ("partitions", "partitions", keys.partitions),
        ("amount_places", "decimal places", places),
    ):
        stated = number_in(at, name, fields.get(name))
        if stated != opened:
            problem = f"says {stated} {what}, and the store was opened with {opened}"
            yield Finding(at, "mismatch", problem)


def _groups(at: str, fields: dict[str, str]) -> Iterator[Finding]:
    for name, archived in fields.items():
        if archived and not _ENTRY_ID.fullmatch(archived):
            raise CorruptRecordError(at, f"{name!r} should be at an entry, not {archived!r}")
    yield from ()


def _capacities(at: str, fields: dict[str, str]) -> Iterator[Finding]:
    for resource_id, units in fields.items():
        number_in(at, f"the capacity of {resource_id!r}", units)
    yield from ()


def _chain_end(at: str, fields: dict[str, str]) -> Iterator[Finding]:
    for number, link in (("number", "link"), ("trimmed_number", "trimmed_link")):
        if number in fields or link in fields:
            number_in(at, f"its {number}", fields.get(number))
            if not _LINK.fullmatch(fields.get(link, "")):
                raise CorruptRecordError(at, f"its {link} should be 64 hex digits")
    yield from ()


_HASHES = {
    "audit_groups": _groups,
    "lock_capacities": _capacities,
    "audit_end": _chain_end,
    "ledger_end": _chain_end,
}


def _raw(value: Any) -> bytes:
    return value if isinstance(value, bytes) else as_text(value).encode()
