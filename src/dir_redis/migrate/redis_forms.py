"""What each keyed record is on Redis: what to read of it, what that says, and how to write it.

Nothing is sent here. See docs/keys.md for what the keys hold.
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from dir_redis.agent_sessions import ACTIVE
from dir_redis.amounts import AmountScale
from dir_redis.documents import (
    EMPTY_OBJECT,
    members_of,
    merge,
    merge_into,
    session_of,
    state_of,
)
from dir_redis.errors import CorruptRecordError, NotRepresentableError
from dir_redis.migrate.records import (
    Agent,
    Budget,
    Capacity,
    DirtyMark,
    IdempotencyKey,
    Keyed,
    Request,
    Retries,
    Session,
    State,
)
from dir_redis.redis.context import MERGED, document_in, merged_in
from dir_redis.redis.escalation import TERMS, stored_request
from dir_redis.redis.keys import Keys
from dir_redis.redis.replies import as_fields, as_json, as_text, as_units, as_version, scored_pairs
from dir_redis.redis.saga import stored_mark
from dir_redis.redis.steps import Argument, Call, Steps
from dir_redis.redis.steps import Request as Sent

K = TypeVar("K", bound=Keyed)

_CLAIM = re.compile(r"(\d+) (\d+) (.*)", re.DOTALL | re.ASCII)
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

    def prepare(self, records: Sequence[K]) -> Steps[None]:
        """Whatever has to be known before records are written."""
        yield from ()

    def writes(self, record: K) -> Iterator[Write]:
        """The commands that write a record in the place of one that is there.

        Raises:
            NotRepresentableError: it cannot be kept as it is.
        """
        raise NotImplementedError


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
            heartbeat_until_us=_moment(heartbeat),
        )

    def prepare(self, records: Sequence[Agent]) -> Steps[None]:
        """Find out where in the order the end is, over all partitions."""
        ends: list[Sent] = [
            Call("migrate_read", (order,), (1, 0, "ZREVRANGE", 1, ""))
            for order in self._keys.in_each_partition("agents")
        ]
        last = 0
        for now, newest in (yield ends):
            scores = [int(score) for score, _ in scored_pairs(newest)]
            last = max(last, int(now) - 1, *scores)
        self._stamps = itertools.count(last + 1)

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
        yield from _hash(keys.agent(agent_id), fields)
        yield Write("ZADD", keys.agents(agent_id), (stamp, agent_id))
        yield _placed(keys.agents_active(agent_id), agent_id, stamp, record.status == ACTIVE)
        heartbeat = record.heartbeat_until_us
        yield _placed(keys.agents_heartbeat(agent_id), agent_id, heartbeat, heartbeat is not None)


class _DocumentForm(Form[K]):
    """A document: the text that was set, and what was merged into it."""

    def _parts(self, at: str, fields: dict[str, str]) -> tuple[str, int | None, int]:
        """Its text, how many of its members are those that were set, and its version."""
        text = document_in(at, fields)
        assert text is not None
        # Where something was merged, the text that was set has been found to be an object.
        base_keys = len(members_of(fields["data"])) if merged_in(fields) else None
        return text, base_keys, as_version(at, fields.get("version"))

    def _fields(self, record: str, data_json: str, base_keys: int | None) -> list[Argument]:
        """The text that was set, and what was merged into it, which makes the same document."""
        merged: dict[str, str] = {}
        if base_keys is None:
            return ["data", data_json]
        try:
            members = members_of(data_json)
            names = list(members)
            merged = {name: members[name] for name in names[base_keys:]}
            base = {name: members[name] for name in names[:base_keys]}
            if not merged:  # then all of it replaced what was set; one of them shows that
                name = next(filter(_is_utf8, base), None)
                merged = {} if name is None else {name: base[name]}
            data = merge(base, {}, len(base)) if base else EMPTY_OBJECT
            if merge_into(data, merged) != data_json:
                raise ValueError("its text is not as a merge would have left it")
        except (ValueError, RecursionError) as error:
            raise NotRepresentableError(record, str(error)) from error
        fields: list[Argument] = ["data", data]
        for name, value in merged.items():
            fields += [MERGED + name, value]
        return fields


class SessionForm(_DocumentForm[Session]):
    """Sessions; their end is kept in whole milliseconds, rounded up."""

    scanned = ("session",)

    def looks(self, key: str) -> tuple[Look, ...]:
        at = self._keys.session(key)
        return Look("HGETALL", at), Look("PTTL", at)

    def parse(self, key: str, found: Found) -> Session | None:
        fields, at = as_fields(found.parts[0]), self._keys.session(key)
        if not fields:
            return None
        text, base_keys, version = self._parts(at, fields)
        return Session(key, text, base_keys, version, fields.get("agent_id"), _end(found.parts[1]))

    def writes(self, record: Session) -> Iterator[Write]:
        at = self._keys.session(record.dfid)
        fields = self._fields(session_of(record.dfid), record.data_json, record.base_keys)
        fields += ["version", record.version]
        if record.agent_id is not None:
            fields += ["agent_id", record.agent_id]
        yield from _hash(at, fields)
        yield from _ending(at, record.expires_us)


class StateForm(_DocumentForm[State]):
    """States."""

    scanned = ("state",)

    def looks(self, key: str) -> tuple[Look, ...]:
        return (Look("HGETALL", self._keys.state(key)),)

    def parse(self, key: str, found: Found) -> State | None:
        fields = as_fields(found.parts[0])
        return State(key, *self._parts(self._keys.state(key), fields)) if fields else None

    def writes(self, record: State) -> Iterator[Write]:
        fields = self._fields(state_of(record.agent_id), record.data_json, record.base_keys)
        yield from _hash(self._keys.state(record.agent_id), [*fields, "version", record.version])


class IdempotencyForm(Form[IdempotencyKey]):
    """Results and claims; when they go is kept in whole milliseconds, rounded up."""

    scanned = ("idempotency", "claim")

    def looks(self, key: str) -> tuple[Look, ...]:
        result, claim = self._keys.idempotency(key), self._keys.claim(key)
        return (
            *(Look("GET", result), Look("PTTL", result)),
            *(Look("HGETALL", claim), Look("PTTL", claim)),
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
        token = _number(at, claim["token"]) if "token" in claim else None
        if token is None and fingerprint is None:
            if result is None:
                return None
            completed = False
        has_claim = token is not None or fingerprint is not None
        return IdempotencyKey(
            key=key,
            result_json=result,
            result_until_us=None if result is None else _end(found.parts[1]),
            token=token,
            owner=owner,
            until_us=0 if owner is None else _number(at, claim["until"]),
            fingerprint=fingerprint,
            completed=completed,
            forget_us=_end(found.parts[3]) if has_claim else None,
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
            yield from _ending(result, record.result_until_us)
        yield Write("DEL", claim)
        if fields:
            yield Write("HSET", claim, tuple(fields))
            yield from _ending(claim, record.forget_us)
        yield Write("DEL", keys.claim_ended(key))


class DirtyMarkForm(Form[DirtyMark]):
    """Dirty marks; their order is that of their moments, and in one moment that of the dfids."""

    ordered = "sagas_dirty"

    def looks(self, key: str) -> tuple[Look, ...]:
        keys = self._keys
        return (
            Look("ZSCORE", keys.sagas_dirty(key), key),
            Look("ZSCORE", keys.sagas_due(key), key),
            Look("HGET", keys.sagas_marks(key), key),
            Look("HGET", keys.sagas_claims(key), key),
            Look("HGETALL", keys.saga(key)),
        )

    def parse(self, key: str, found: Found) -> DirtyMark | None:
        marked_us, due_us = _moment(found.parts[0]), _moment(found.parts[1])
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
        members = _members(at, mark, {"failed_step", "partial_state"})
        return _string(at, members["failed_step"]), members["partial_state"]

    def writes(self, record: DirtyMark) -> Iterator[Write]:
        keys, dfid, owner = self._keys, record.dfid, record.owner
        claims = keys.sagas_claims(dfid)
        mark = stored_mark(record.failed_step, record.partial_state_json)
        yield Write("DEL", keys.saga(dfid))
        yield Write("ZADD", keys.sagas_dirty(dfid), (record.marked_us, dfid))
        yield _placed(keys.sagas_due(dfid), dfid, record.due_us, owner is None)
        yield _placed(keys.sagas_claimed(dfid), dfid, record.due_us, owner is not None)
        yield Write("HSET", keys.sagas_marks(dfid), (dfid, mark))
        if owner is not None:
            yield Write("HSET", claims, (dfid, f"{record.epoch} {record.due_us} {owner}"))
        elif record.epoch:
            yield Write("HSET", claims, (dfid, f"{record.epoch} 0 "))
        else:
            yield Write("HDEL", claims, (dfid,))


class CapacityForm(Form[Capacity]):
    """Declared capacities."""

    hashed = "lock_capacities"

    def looks(self, key: str) -> tuple[Look, ...]:
        return (Look("HGET", self._keys.lock_capacities(), key),)

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

    def parse(self, key: str, found: Found) -> Retries | None:
        if found.parts[0] is None:
            return None
        return Retries(key, _number(self._keys.retry(key), found.parts[0]))

    def writes(self, record: Retries) -> Iterator[Write]:
        yield Write("SET", self._keys.retry(record.dfid), (record.rejections,))


class BudgetForm(Form[Budget]):
    """Budget tokens; they get new names, which mean nothing."""

    scanned = ("budget",)

    def looks(self, key: str) -> tuple[Look, ...]:
        return (Look("ZRANGE", self._keys.budget(key)),)

    def parse(self, key: str, found: Found) -> Budget | None:
        spent = tuple(int(float(score)) for score in found.parts[0][1::2])
        return Budget(key, spent) if spent else None

    def writes(self, record: Budget) -> Iterator[Write]:
        at = self._keys.budget(record.agent_id)
        words = [word for spent in record.spent_us for word in (spent, secrets.token_hex(8))]
        yield Write("DEL", at)
        yield from _in_parts("ZADD", at, words)


class RequestForm(Form[Request]):
    """Requests; one that its deadline has decided is decided, though nobody has looked at it."""

    ordered = "requests_pending"
    hashed = "requests_open"
    scanned = ("request",)

    def looks(self, key: str) -> tuple[Look, ...]:
        keys = self._keys
        return (
            Look("HGET", keys.requests_open(), key),
            Look("ZSCORE", keys.requests_pending(), key),
            Look("HGET", keys.requests_terms(), key),
            Look("ZSCORE", keys.requests_claimed(), key),
            Look("HGET", keys.requests_reviewers(), key),
            Look("HGETALL", keys.request(key)),
        )

    def parse(self, key: str, found: Found) -> Request | None:
        if found.parts[0] is not None:
            return self._open(key, found)
        fields = as_fields(found.parts[5])
        return self._decided(key, fields) if fields else None

    def _open(self, key: str, found: Found) -> Request:
        keys = self._keys
        asked = self._asked(keys.requests_open(), key, found.parts[0])
        requested_us, deadline_us, default = _moment(found.parts[1]), None, None
        queued = requested_us is not None
        if found.parts[2] is not None:
            terms = TERMS.fullmatch(as_text(found.parts[2]))
            if terms is None:
                raise CorruptRecordError(keys.requests_terms(), f"those of {key!r} are no terms")
            requested_us, deadline_us, default = int(terms[1]), int(terms[2]), terms[3]
        if requested_us is None:
            raise CorruptRecordError(keys.requests_pending(), f"{key!r} is not in it")
        request = asked._replace(
            requested_us=requested_us, deadline_us=deadline_us, default_decision=default
        )
        if deadline_us is not None and (not queued or deadline_us <= found.now_us):
            return request._replace(
                status="RESOLVED", decision=default, resolved_us=deadline_us, by_default=True
            )
        until_us = _moment(found.parts[3])
        if until_us is None:
            return request
        if found.parts[4] is None:
            raise CorruptRecordError(keys.requests_reviewers(), f"{key!r} is not in it")
        return request._replace(reviewer=as_text(found.parts[4]), reviewer_until_us=until_us)

    def _decided(self, key: str, fields: dict[str, str]) -> Request:
        at = self._keys.request(key)
        needed = {"request", "decision", "requested_us"}
        if not fields.keys() >= needed or not fields.keys() & {"resolved_at", "resolved_us"}:
            raise CorruptRecordError(at, "it should hold a decided request")
        asked = self._asked(at, key, fields["request"])
        deadline, resolved_at = fields.get("deadline_us"), fields.get("resolved_at")
        return asked._replace(
            proposal_json=fields.get("proposal", asked.proposal_json),
            requested_us=_number(at, fields["requested_us"]),
            deadline_us=None if deadline is None else _number(at, deadline),
            default_decision=fields.get("default_decision"),
            status="RESOLVED",
            decision=fields["decision"],
            resolved_at=resolved_at,
            # Beside the text that a human's client gave, the store's own moment is shown to nobody.
            resolved_us=None if resolved_at is not None else _number(at, fields["resolved_us"]),
            decided_by=fields.get("decided_by"),
            decision_reason=fields.get("decision_reason"),
            by_default="by_default" in fields,
        )

    def _asked(self, at: str, key: str, document: Any) -> Request:
        """A request as it was put before the humans; of the rest, nothing is known here."""
        members = _members(at, document, {"agent_id", "reason", "impact", "context", "proposal"})
        return Request(
            dfid=key,
            agent_id=_string(at, members["agent_id"]),
            reason=_string(at, members["reason"]),
            context_json=members["context"],
            proposal_json=members["proposal"],
            impact=_string(at, members["impact"]),
            requested_us=0,
            deadline_us=None,
            default_decision=None,
            reviewer=None,
            reviewer_until_us=0,
            status="PENDING",
            decision=None,
            resolved_at=None,
            resolved_us=None,
            decided_by=None,
            decision_reason=None,
            by_default=False,
        )

    def writes(self, record: Request) -> Iterator[Write]:
        keys, dfid = self._keys, record.dfid
        document = stored_request(
            *(record.agent_id, record.reason, record.context_json),
            *(record.proposal_json, record.impact),
        )
        if record.status == "RESOLVED":
            decided = self._decision(record, document)
        elif record.status != "PENDING":
            raise _unfit(record, f"its status is {record.status!r}, not PENDING or RESOLVED")
        pending = record.status == "PENDING"
        claimed = pending and record.reviewer is not None
        unclaimed = pending and not claimed
        deadline_us = record.deadline_us if pending else None
        requested = record.requested_us
        yield _placed(keys.requests_pending(), dfid, requested, pending)
        yield _placed(keys.requests_unclaimed(), dfid, requested, unclaimed)
        yield _placed(keys.requests_claimed(), dfid, record.reviewer_until_us, claimed)
        yield _placed(keys.requests_deadlines(), dfid, deadline_us, deadline_us is not None)
        yield _set(keys.requests_reviewers(), dfid, record.reviewer if claimed else None)
        terms = f"{requested} {deadline_us} {record.default_decision or ''}"
        yield _set(keys.requests_terms(), dfid, None if deadline_us is None else terms)
        yield _set(keys.requests_open(), dfid, document if pending else None)
        yield Write("DEL", keys.request(dfid))
        yield Write("DEL", keys.decided(dfid))
        if not pending:
            yield Write("HSET", keys.request(dfid), decided)

    def _decision(self, record: Request, document: str) -> tuple[Argument, ...]:
        if record.decision is None:
            raise _unfit(record, "it is RESOLVED, but has no decision")
        if record.resolved_at is None and record.resolved_us is None:
            raise _unfit(record, "it is RESOLVED, but does not say when")
        fields: list[Argument] = ["request", document, "status", "RESOLVED"]
        given = {
            "requested_us": record.requested_us,
            "deadline_us": record.deadline_us,
            "default_decision": record.default_decision,
            "resolved_us": record.resolved_us,
            "decision": record.decision,
            "resolved_at": record.resolved_at,
            "decided_by": record.decided_by,
            "decision_reason": record.decision_reason,
            "by_default": 1 if record.by_default else None,
        }
        for name, value in given.items():
            if value is not None:
                fields += [name, value]
        return tuple(fields)


FORMS: dict[type[Any], Callable[[Keys, AmountScale], Form[Any]]] = {
    Agent: AgentForm,
    Session: SessionForm,
    State: StateForm,
    IdempotencyKey: IdempotencyForm,
    DirtyMark: DirtyMarkForm,
    Capacity: CapacityForm,
    Retries: RetriesForm,
    Budget: BudgetForm,
    Request: RequestForm,
}


def exact_units(scale: AmountScale, record: str, resource_id: str, amount: Decimal) -> int:
    """An amount in whole units, none of it lost.

    Raises:
        NotRepresentableError: it has more places than the scale keeps, or is too large for it.
    """
    try:
        units = scale.to_units(resource_id, amount)
    except ValueError as error:
        raise NotRepresentableError(record, str(error)) from error
    if scale.to_decimal(units) != amount:
        problem = f"{amount:f} has more than the {scale.places} decimal places that are kept"
        raise NotRepresentableError(record, problem)
    return units


def _unfit(record: Request, problem: str) -> NotRepresentableError:
    return NotRepresentableError(f"request of {record.dfid!r}", problem)


def _hash(key: str, words: list[Argument]) -> Iterator[Write]:
    """A hash of these fields and values, and no others."""
    yield Write("DEL", key)
    yield from _in_parts("HSET", key, words)


def _in_parts(command: str, key: str, words: list[Argument]) -> Iterator[Write]:
    for first in range(0, len(words), _WORDS_AT_ONCE):
        yield Write(command, key, tuple(words[first : first + _WORDS_AT_ONCE]))


def _placed(key: str, member: str, score: int | None, is_in: bool) -> Write:
    """A member's place in a sorted set, or that it has none."""
    if is_in:
        assert score is not None
        return Write("ZADD", key, (score, member))
    return Write("ZREM", key, (member,))


def _set(key: str, field: str, value: str | None) -> Write:
    """A field of a hash, or that there is none."""
    return Write("HDEL", key, (field,)) if value is None else Write("HSET", key, (field, value))


def _ending(key: str, until_us: int | None) -> Iterator[Write]:
    if until_us is not None:
        yield Write("PEXPIREAT", key, (-(-until_us // 1000),))


def _end(found: Any) -> int | None:
    """When a key goes, in microseconds."""
    milliseconds = as_text(found)
    return int(milliseconds) * 1000 if milliseconds else None


def _moment(score: Any) -> int | None:
    return None if score is None else int(float(score))


def _number(key: str, value: Any) -> int:
    digits = as_text(value)
    if not re.fullmatch(r"-?\d+", digits, re.ASCII):
        raise CorruptRecordError(key, f"it should hold a whole number, not {digits!r}")
    return int(digits)


def _members(key: str, document: Any, needed: set[str]) -> dict[str, str]:
    """The members of a stored JSON object, each to the byte."""
    try:
        members = members_of(as_text(document))
    except (ValueError, RecursionError) as error:
        raise CorruptRecordError(key, f"it should hold JSON objects ({error})") from error
    if not members.keys() >= needed:
        raise CorruptRecordError(key, f"a record in it lacks {', '.join(sorted(needed))}")
    return members


def _string(key: str, member: str) -> str:
    """A member that is a string."""
    value = as_json(key, member)
    if not isinstance(value, str):
        raise CorruptRecordError(key, f"{json.dumps(value)} in it should be a string")
    return value


def _is_utf8(name: str) -> bool:
    """Whether a key can be stored, as one that somebody merged can."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
