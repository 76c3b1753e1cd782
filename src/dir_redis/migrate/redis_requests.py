"""Requests to humans and budget tokens on Redis, see :mod:`dir_redis.redis.escalation`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from dir_redis.errors import CorruptRecordError, NotRepresentableError
from dir_redis.migrate.records import Budget, Request
from dir_redis.migrate.redis_form import (
    Form,
    Found,
    Look,
    Write,
    field_of,
    in_order,
    in_parts,
    moment_of,
    number_of,
    placed,
    stored_members,
    string_of,
)
from dir_redis.redis.escalation import TERMS, stored_request
from dir_redis.redis.replies import as_fields, as_text
from dir_redis.redis.steps import Argument, Steps

# What a request is made of before there is an answer.
_ASKED = {"agent_id", "reason", "impact", "context", "proposal"}


class BudgetForm(Form[Budget]):
    """Budget tokens; they get new names, which mean nothing."""

    scanned = ("budget",)

    def looks(self, key: str) -> tuple[Look, ...]:
        return (Look("ZRANGE", self._keys.budget(key)),)

    def signs(self, key: str) -> tuple[Look, ...]:
        return (Look("EXISTS", self._keys.budget(key)),)

    def parse(self, key: str, found: Found) -> Budget | None:
        spent = tuple(
            moment_of(self._keys.budget(key), score) or 0 for score in found.parts[0][1::2]
        )
        return Budget(key, spent) if spent else None

    def writes(self, record: Budget) -> Iterator[Write]:
        at = self._keys.budget(record.agent_id)
        words = [word for spent in record.spent_us for word in (spent, secrets.token_hex(8))]
        yield Write("DEL", at)
        yield from in_parts("ZADD", at, words)


class RequestForm(Form[Request]):
    """Requests; one that its deadline has decided is decided, though nobody has looked at it.

    A waiting one that is to come after a later one is of a microsecond after that.
    """

    ordered = "requests_pending"
    hashed = "requests_open"
    scanned = ("request",)
    _requested: dict[str, int]

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

    def signs(self, key: str) -> tuple[Look, ...]:
        keys = self._keys
        return Look("HEXISTS", keys.requests_open(), key), Look("EXISTS", keys.request(key))

    def parse(self, key: str, found: Found) -> Request | None:
        if found.parts[0] is not None:
            return self._open(key, found)
        fields = as_fields(found.parts[5])
        return self._decided(key, fields) if fields else None

    def _open(self, key: str, found: Found) -> Request:
        keys = self._keys
        asked = self._asked(keys.requests_open(), key, found.parts[0])
        requested_us = moment_of(keys.requests_pending(), found.parts[1])
        deadline_us, default = None, None
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
        until_us = moment_of(keys.requests_claimed(), found.parts[3])
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
            requested_us=number_of(at, fields["requested_us"]),
            deadline_us=None if deadline is None else number_of(at, deadline),
            default_decision=fields.get("default_decision"),
            status="RESOLVED",
            decision=fields["decision"],
            resolved_at=resolved_at,
            # Beside the text that a human's client gave, the store's own moment is shown to nobody.
            resolved_us=None if resolved_at is not None else number_of(at, fields["resolved_us"]),
            decided_by=fields.get("decided_by"),
            decision_reason=fields.get("decision_reason"),
            by_default="by_default" in fields,
        )

    def _asked(self, at: str, key: str, document: Any) -> Request:
        """A request as it was put before the humans; of the rest, nothing is known here."""
        members = stored_members(
            at, document, {"agent_id", "reason", "impact", "context", "proposal"}
        )
        return Request(
            dfid=key,
            agent_id=string_of(at, members["agent_id"]),
            reason=string_of(at, members["reason"]),
            context_json=members["context"],
            proposal_json=members["proposal"],
            impact=string_of(at, members["impact"]),
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

    def prepare(self, records: Sequence[Request]) -> Steps[None]:
        moments = {
            record.dfid: record.requested_us for record in records if record.status == "PENDING"
        }
        self._requested = yield from in_order([self._keys.requests_pending()], moments)

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
        requested = self._requested.get(dfid, record.requested_us)
        yield placed(keys.requests_pending(), dfid, requested, pending)
        yield placed(keys.requests_unclaimed(), dfid, requested, unclaimed)
        yield placed(keys.requests_claimed(), dfid, record.reviewer_until_us, claimed)
        yield placed(keys.requests_deadlines(), dfid, deadline_us, deadline_us is not None)
        yield field_of(keys.requests_reviewers(), dfid, record.reviewer if claimed else None)
        terms = f"{requested} {deadline_us} {record.default_decision or ''}"
        yield field_of(keys.requests_terms(), dfid, None if deadline_us is None else terms)
        yield field_of(keys.requests_open(), dfid, document if pending else None)
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


def _unfit(record: Request, problem: str) -> NotRepresentableError:
    return NotRepresentableError(f"request of {record.dfid!r}", problem)
