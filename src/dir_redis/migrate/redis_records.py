"""The other keyed records on Redis, one key each, with the indices that they are in."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from dir_redis.agent_sessions import ACTIVE
from dir_redis.errors import CorruptRecordError
from dir_redis.migrate.exact import exact_units
from dir_redis.migrate.records import Agent, Capacity, DirtyMark, IdempotencyKey, Retries
from dir_redis.migrate.redis_form import (
    Form,
    Found,
    Look,
    Write,
    end_of,
    ending,
    hash_of,
    in_order,
    last_of_others,
    moment_of,
    number_of,
    placed,
    stored_members,
    string_of,
)
from dir_redis.redis.replies import as_fields, as_text, as_units, as_version
from dir_redis.redis.saga import stored_mark
from dir_redis.redis.steps import Argument, Call, Steps
from dir_redis.redis.steps import Request as Sent

_CLAIM = re.compile(r"(\d+) (\d+) (.*)", re.DOTALL | re.ASCII)


class AgentForm(Form[Agent]):
    """Agents; those that are written come after all that are there, in their order."""

    ordered = "agents"
    _stamps: Iterator[int]

    def looks(self, key: str) -> tuple[Look, ...]:
        keys = self._keys
        return (
            Look("HGETALL", keys.agent(key)),
            Look("ZSCORE", keys.agents(key), key),
            Look("ZSCORE", keys.agents_heartbeat(key), key),
        )

    def signs(self, key: str) -> tuple[Look, ...]:
        keys = self._keys
        return Look("EXISTS", keys.agent(key)), Look("ZSCORE", keys.agents(key), key)

    def parse(self, key: str, found: Found) -> Agent | None:
        fields, place, heartbeat = as_fields(found.parts[0]), found.parts[1], found.parts[2]
        if not fields and place is None:
            return None
        at = self._keys.agent(key)
        if place is None:
            raise CorruptRecordError(at, "it has no place in the order of the agents")
        with_all = {"contract", "priority", "status"} <= fields.keys()
        if not with_all or not re.fullmatch(r"-?\d+", fields["priority"], re.ASCII):
            raise CorruptRecordError(at, "it should have a contract, a whole priority and a status")
        return Agent(
            agent_id=key,
            contract_json=fields["contract"],
            contract_version=as_version(at, fields.get("version", "1")),
            priority=int(fields["priority"]),
            status=fields["status"],
            agent_version=fields.get("agent_version"),
            session_token=fields.get("session_token"),
            suspension_reason=fields.get("suspension_reason"),
            heartbeat_until_us=moment_of(self._keys.agents_heartbeat(key), heartbeat),
        )

    def prepare(self, records: Sequence[Agent]) -> Steps[None]:
        orders = self._keys.in_each_partition("agents")
        last, _ = yield from last_of_others(orders, {record.agent_id for record in records})
        looks: list[Sent] = [Call("migrate_read", (key,), (1, 0, "ZCARD", 1, "")) for key in orders]
        times = [int(now) for now, _ in (yield looks)]
        self._stamps = itertools.count(max(last + 1, *times))

    def writes(self, record: Agent) -> Iterator[Write]:
        keys, agent_id = self._keys, record.agent_id
        stamp = next(self._stamps)
        given = {
            "agent_version": record.agent_version,
            "session_token": record.session_token,
            "suspension_reason": record.suspension_reason,
        }
        fields: list[Argument] = ["contract", record.contract_json, "priority", record.priority]
        fields += ["status", record.status, "version", record.contract_version]
        for name, value in given.items():
            if value is not None:
                fields += [name, value]
        yield from hash_of(keys.agent(agent_id), fields)
        yield Write("ZADD", keys.agents(agent_id), (stamp, agent_id))
        yield placed(keys.agents_active(agent_id), agent_id, stamp, record.status == ACTIVE)
        heartbeat = record.heartbeat_until_us
        yield placed(keys.agents_heartbeat(agent_id), agent_id, heartbeat, heartbeat is not None)


class IdempotencyForm(Form[IdempotencyKey]):
    """Results and claims; when they go is kept in whole milliseconds, rounded up."""

    scanned = ("idempotency", "claim")

    def looks(self, key: str) -> tuple[Look, ...]:
        result, claim = self._keys.idempotency(key), self._keys.claim(key)
        return (
            *(Look("GET", result), Look("PTTL", result)),
            *(Look("HGETALL", claim), Look("PTTL", claim)),
        )

    def signs(self, key: str) -> tuple[Look, ...]:
        claim = self._keys.claim(key)
        return (
            Look("EXISTS", self._keys.idempotency(key)),
            *(Look("HEXISTS", claim, "token"), Look("HEXISTS", claim, "fingerprint")),
        )

    def parse(self, key: str, found: Found) -> IdempotencyKey | None:
        at = self._keys.claim(key)
        result = None if found.parts[0] is None else as_text(found.parts[0])
        claim = as_fields(found.parts[2])
        owner, fingerprint = claim.get("owner"), claim.get("fingerprint")
        completed = claim.get("state") == "DONE"
        if completed and result is None:
            fingerprint = None  # it went with the result
        if owner is not None and not claim.keys() >= {"token", "until"}:
            raise CorruptRecordError(at, "it has an owner, but no token or no end of the lease")
        token = number_of(at, claim["token"]) if "token" in claim else None
        if token is None and fingerprint is None:
            if result is None:
                return None
            completed = False
        has_claim = token is not None or fingerprint is not None
        return IdempotencyKey(
            key=key,
            result_json=result,
            result_until_us=None if result is None else end_of(found.parts[1]),
            token=token,
            owner=owner,
            until_us=0 if owner is None else number_of(at, claim["until"]),
            fingerprint=fingerprint,
            completed=completed,
            forget_us=end_of(found.parts[3]) if has_claim else None,
        )

    def writes(self, record: IdempotencyKey) -> Iterator[Write]:
        keys, key = self._keys, record.key
        result, claim = keys.idempotency(key), keys.claim(key)
        fields: list[Argument] = []
        if record.token is not None:
            fields += ["token", record.token]
        if record.owner is not None:
            fields += ["owner", record.owner, "until", record.until_us]
        if record.fingerprint is not None:
            fields += ["fingerprint", record.fingerprint]
        if record.completed and fields:
            fields += ["state", "DONE"]
        yield Write("DEL", result)
        if record.result_json is not None:
            yield Write("SET", result, (record.result_json,))
            yield from ending(result, record.result_until_us)
        yield Write("DEL", claim)
        if fields:
            yield Write("HSET", claim, tuple(fields))
            yield from ending(claim, record.forget_us)
        yield Write("DEL", keys.claim_ended(key))


class DirtyMarkForm(Form[DirtyMark]):
    """Dirty marks; one that is to come after a later one is marked a microsecond after that."""

    ordered = "sagas_dirty"
    _marked: dict[str, int]

    def looks(self, key: str) -> tuple[Look, ...]:
        keys = self._keys
        return (
            Look("ZSCORE", keys.sagas_dirty(key), key),
            Look("ZSCORE", keys.sagas_due(key), key),
            Look("HGET", keys.sagas_marks(key), key),
            Look("HGET", keys.sagas_claims(key), key),
            Look("HGETALL", keys.saga(key)),
        )

    def signs(self, key: str) -> tuple[Look, ...]:
        return (Look("ZSCORE", self._keys.sagas_dirty(key), key),)

    def parse(self, key: str, found: Found) -> DirtyMark | None:
        keys = self._keys
        marked_us = moment_of(keys.sagas_dirty(key), found.parts[0])
        due_us = moment_of(keys.sagas_due(key), found.parts[1])
        if marked_us is None:
            return None
        failed_step, partial_state = self._mark(key, found.parts[2], as_fields(found.parts[4]))
        epoch, owner = 0, None
        if found.parts[3] is not None:
            claim = _CLAIM.fullmatch(as_text(found.parts[3]))
            if claim is None:
                at = self._keys.sagas_claims(key)
                raise CorruptRecordError(at, f"that of {key!r} is no claim")
            epoch = int(claim[1])
            if claim[2] != "0":
                owner, due_us = claim[3], int(claim[2])
        if due_us is None:
            raise CorruptRecordError(self._keys.sagas_due(key), f"{key!r} is not in it")
        return DirtyMark(key, failed_step, partial_state, marked_us, due_us, epoch, owner)

    def _mark(self, key: str, mark: Any, old: dict[str, str]) -> tuple[str, str]:
        """The failed step and the partial state, to the byte."""
        at = self._keys.sagas_marks(key)
        if mark is None:
            at = self._keys.saga(key)
            if not old.keys() >= {"failed_step", "partial_state"}:
                raise CorruptRecordError(at, f"the mark of {key!r} lacks a field")
            return old["failed_step"], old["partial_state"]
        members = stored_members(at, mark, {"failed_step", "partial_state"})
        return string_of(at, members["failed_step"]), members["partial_state"]

    def prepare(self, records: Sequence[DirtyMark]) -> Steps[None]:
        moments = {record.dfid: record.marked_us for record in records}
        self._marked = yield from in_order(self._keys.in_each_partition("sagas_dirty"), moments)

    def writes(self, record: DirtyMark) -> Iterator[Write]:
        keys, dfid, owner = self._keys, record.dfid, record.owner
        marked_us, due_us = self._marked[dfid], record.due_us
        if owner is None and due_us == record.marked_us:
            due_us = marked_us
        claims = keys.sagas_claims(dfid)
        mark = stored_mark(record.failed_step, record.partial_state_json)
        yield Write("DEL", keys.saga(dfid))
        yield Write("ZADD", keys.sagas_dirty(dfid), (marked_us, dfid))
        yield placed(keys.sagas_due(dfid), dfid, due_us, owner is None)
        yield placed(keys.sagas_claimed(dfid), dfid, due_us, owner is not None)
        yield Write("HSET", keys.sagas_marks(dfid), (dfid, mark))
        if owner is not None:
            yield Write("HSET", claims, (dfid, f"{record.epoch} {due_us} {owner}"))
        elif record.epoch:
            yield Write("HSET", claims, (dfid, f"{record.epoch} 0 "))
        else:
            yield Write("HDEL", claims, (dfid,))


class CapacityForm(Form[Capacity]):
    """Declared capacities."""

    hashed = "lock_capacities"

    def looks(self, key: str) -> tuple[Look, ...]:
        return (Look("HGET", self._keys.lock_capacities(), key),)

    def signs(self, key: str) -> tuple[Look, ...]:
        return (Look("HEXISTS", self._keys.lock_capacities(), key),)

    def parse(self, key: str, found: Found) -> Capacity | None:
        if found.parts[0] is None:
            return None
        units = as_units(self._keys.lock_capacities(), found.parts[0])
        return Capacity(key, self._scale.to_decimal(units))

    def writes(self, record: Capacity) -> Iterator[Write]:
        what, rid = f"capacity of {record.resource_id!r}", record.resource_id
        units = exact_units(self._scale, what, rid, record.amount)
        yield Write("HSET", self._keys.lock_capacities(), (rid, units))


class RetriesForm(Form[Retries]):
    """Rejection counts."""

    scanned = ("retry",)

    def looks(self, key: str) -> tuple[Look, ...]:
        return (Look("GET", self._keys.retry(key)),)

    def signs(self, key: str) -> tuple[Look, ...]:
        return (Look("EXISTS", self._keys.retry(key)),)

    def parse(self, key: str, found: Found) -> Retries | None:
        if found.parts[0] is None:
            return None
        return Retries(key, number_of(self._keys.retry(key), found.parts[0]))

    def writes(self, record: Retries) -> Iterator[Write]:
        yield Write("SET", self._keys.retry(record.dfid), (record.rejections,))
