"""Budget tokens in a sorted set per agent, and one queue of requests for all humans.

A request is one JSON text. The waiting ones lie in one hash, so that listing them is one call, with
sorted sets for their order, the reviewers' leases and the deadlines; a decided one moves to a key
of its own. All of it has partition 0: one step changes an agent's budget and a flow's request, and
humans are slower than one slot.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from typing import Any, NamedTuple

from dir_redis.clock import format_moment, parse_moment
from dir_redis.errors import CorruptRecordError
from dir_redis.escalations import (
    MAX_WINDOW_US,
    check_terms,
    escalation,
    full_request,
    microseconds,
    pending_request,
)
from dir_redis.fleet_protocols import EscalationQueueStorage
from dir_redis.records import Escalation, EscalationOutcome
from dir_redis.redis.replies import as_json, as_moment, as_text
from dir_redis.redis.steps import Call, Command, Steps, WaitForEntries, operation
from dir_redis.redis.storage import RedisStorage

# The entry that wakes who waits is of no use to those who come later: they read the decision.
WOKEN_MS = 60_000

TERMS = re.compile(r"(\d+) (\d+) (.*)", re.DOTALL | re.ASCII)


class _Found(NamedTuple):
    """A request as it stands, None if there is none, and the seconds until its deadline."""

    request: dict[str, Any] | None
    deadline_in_sec: float | None


class RedisEscalationStorage(RedisStorage, EscalationQueueStorage):
    """Escalations of a fleet (DIR §9)."""

    @operation
    def get_window_count(self, agent_id: str, since_str: str) -> Steps[int]:
        since = parse_moment("since_str", since_str)
        return int((yield Command("ZCOUNT", self._keys.budget(agent_id), (since, "+inf"))))

    @operation
    def record_budget_token(self, agent_id: str) -> Steps[None]:
        yield Call("escalation_spend", (self._keys.budget(agent_id),), (secrets.token_hex(8),))

    @operation
    def insert_request(
        self,
        dfid: str,
        agent_id: str,
        reason: str,
        context_json: str,
        proposal_json: str,
        impact: str,
    ) -> Steps[None]:
        request = stored_request(agent_id, reason, context_json, proposal_json, impact)
        yield Call("escalation_request", self._keys_of(dfid), (dfid, request))

    @operation
    def resolve_request(
        self, dfid: str, resolved_at: str, decision: str, proposal_json: str | None
    ) -> Steps[None]:
        fields = ["decision", decision, "resolved_at", resolved_at]
        if proposal_json is not None:
            fields += ["proposal", proposal_json]
        yield Call("escalation_resolve", self._keys_of(dfid), (dfid, WOKEN_MS, *fields))

    @operation
    def get_pending_requests(self) -> Steps[list[dict[str, Any]]]:
        keys = self._keys
        open_key = keys.requests_open()
        dfids, documents = yield Call(
            "escalation_pending", (keys.requests_pending(), open_key, keys.requests_deadlines())
        )
        return [
            _request(open_key, as_text(dfid), document)
            for dfid, document in zip(dfids, documents, strict=True)
        ]

    @operation
    def escalate(
        self,
        dfid: str,
        agent_id: str,
        reason: str,
        context_json: str,
        proposal_json: str,
        impact: str,
        *,
        limit: int,
        window_sec: float,
        deadline_sec: float | None = None,
        default_decision: str | None = None,
        replace: bool = False,
    ) -> Steps[Escalation]:
        check_terms(window_sec, deadline_sec, default_decision)
        reply = yield Call(
            "escalation_escalate",
            (*self._keys_of(dfid), self._keys.budget(agent_id)),
            (
                dfid,
                stored_request(agent_id, reason, context_json, proposal_json, impact),
                secrets.token_hex(8),
                limit,
                microseconds(window_sec),
                MAX_WINDOW_US,
                "" if deadline_sec is None else microseconds(deadline_sec),
                default_decision or "",
                int(replace),
            ),
        )
        outcome, spent, wait_us = as_text(reply).split()
        wait = as_moment(self._keys.budget(agent_id), wait_us)
        return escalation(EscalationOutcome(outcome), limit, int(spent), wait)

    @operation
    def claim_next(self, reviewer: str, lease_sec: float) -> Steps[dict[str, Any] | None]:
        call = Call(
            "escalation_claim",
            (*self._queue(), self._keys.requests_open()),
            (reviewer, microseconds(lease_sec)),
        )
        while True:
            word, _, rest = as_text((yield call)).partition(" ")
            if word == "NONE":
                return None
            if word == "CLAIMED":
                return self._claimed(reviewer, rest)
            if word == "HELD":  # the reply that had the request in it got lost
                until_us, dfid = rest.split(" ", 1)
                request = (yield from self._look(dfid)).request
                mine = (reviewer, format_moment(int(until_us)))
                if request and (request["reviewer"], request["reviewer_until"]) == mine:
                    return request

    @operation
    def resolve(
        self,
        dfid: str,
        decision: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        proposal_json: str | None = None,
    ) -> Steps[bool]:
        given = {"decided_by": by, "decision_reason": reason, "proposal": proposal_json}
        fields = ["decision", decision]
        for name, value in given.items():
            if value is not None:
                fields += [name, value]
        reply = yield Call("escalation_resolve", self._keys_of(dfid), (dfid, WOKEN_MS, *fields))
        return as_text(reply) == "RESOLVED"

    @operation
    def get_request(self, dfid: str) -> Steps[dict[str, Any] | None]:
        return (yield from self._look(dfid)).request

    @operation
    def wait_for_decision(self, dfid: str, timeout_sec: float) -> Steps[dict[str, Any] | None]:
        until = time.monotonic() + timeout_sec
        while True:
            request, deadline_in_sec = yield from self._look(dfid)
            if request is None or request["status"] == "RESOLVED":
                return request
            left = until - time.monotonic()
            if left <= 0:
                return None
            if deadline_in_sec is not None:
                left = min(left, deadline_in_sec)
            # A waiting request has no such stream: any entry is its decision's.
            yield WaitForEntries((self._keys.decided(dfid),), ("0-0",), left)

    def _look(self, dfid: str) -> Steps[_Found]:
        """Read a request; if its deadline has passed, write that down before it is told."""
        keys = self._keys
        read = Call(
            "escalation_read",
            (
                keys.requests_pending(),
                keys.requests_claimed(),
                keys.requests_reviewers(),
                keys.requests_terms(),
                keys.requests_open(),
                keys.request(dfid),
            ),
            (dfid,),
        )
        state, *rest = yield read
        while as_text(state) == "OVERDUE":
            yield Call("escalation_resolve", self._keys_of(dfid), (dfid, WOKEN_MS))
            state, *rest = yield read
        word = as_text(state)
        if word == "NONE":
            return _Found(None, None)
        if word == "RESOLVED":
            fields = dict(zip(map(as_text, rest[::2]), map(as_text, rest[1::2]), strict=True))
            return _Found(_decided(keys.request(dfid), dfid, fields), None)
        document, *others = rest
        requested_us, terms, left_us, reviewer, until_us = map(as_text, others)
        request = full_request(
            _request(keys.requests_open(), dfid, document),
            requested_us=as_moment(keys.requests_pending(), requested_us),
            reviewer=reviewer or None,
            reviewer_until_us=as_moment(keys.requests_claimed(), until_us) if reviewer else None,
            **self._terms(terms),
        )
        return _Found(request, int(left_us) / 1_000_000 if left_us else None)

    def _claimed(self, reviewer: str, claimed: str) -> dict[str, Any]:
        until_us, requested_us, dfid_size, terms_size, rest = claimed.split(" ", 4)
        # The sizes are in bytes, whether the client decodes replies or not.
        parts = rest.encode()
        document = int(dfid_size) + int(terms_size)
        dfid = parts[: int(dfid_size)].decode()
        return full_request(
            _request(self._keys.requests_open(), dfid, parts[document:]),
            requested_us=as_moment(self._keys.requests_pending(), requested_us),
            reviewer=reviewer,
            reviewer_until_us=int(until_us),
            **self._terms(parts[int(dfid_size) : document].decode()),
        )

    def _terms(self, terms: str) -> dict[str, Any]:
        if not terms:
            return {}
        key = self._keys.requests_terms()
        match = TERMS.fullmatch(terms)
        if match is None:
            raise CorruptRecordError(key, f"{terms!r} are no terms")
        return {"deadline_us": as_moment(key, match[2]), "default_decision": match[3]}

    def _queue(self) -> tuple[str, ...]:
        keys = self._keys
        return (
            keys.requests_pending(),
            keys.requests_unclaimed(),
            keys.requests_claimed(),
            keys.requests_deadlines(),
            keys.requests_reviewers(),
            keys.requests_terms(),
        )

    def _keys_of(self, dfid: str) -> tuple[str, ...]:
        keys = self._keys
        return (*self._queue(), keys.requests_open(), keys.request(dfid), keys.decided(dfid))


def stored_request(
    agent_id: str, reason: str, context_json: str, proposal_json: str, impact: str
) -> str:
    """A request as ``requests_open`` holds it, context and proposal to the byte."""
    rest = json.dumps({"agent_id": agent_id, "reason": reason, "impact": impact})
    return f'{rest[:-1]}, "context": {context_json}, "proposal": {proposal_json}}}'


def _request(key: str, dfid: str, document: Any) -> dict[str, Any]:
    stored = as_json(key, document)
    try:
        return pending_request(
            dfid,
            stored["agent_id"],
            stored["reason"],
            stored["context"],
            stored["proposal"],
            stored["impact"],
        )
    except (KeyError, TypeError) as error:
        raise CorruptRecordError(key, f"the request of {dfid!r} lacks a field") from error


def _decided(key: str, dfid: str, fields: dict[str, str]) -> dict[str, Any]:
    """A decided request from the fields of its own key."""
    try:
        request = _request(key, dfid, fields["request"])
        if "proposal" in fields:
            request["proposal"] = as_json(key, fields["proposal"])
        deadline = fields.get("deadline_us")
        resolved_at = fields.get("resolved_at")
        if resolved_at is None:
            resolved_at = format_moment(int(fields["resolved_us"]))
        return full_request(
            request,
            requested_us=int(fields["requested_us"]),
            deadline_us=None if deadline is None else int(deadline),
            default_decision=fields.get("default_decision"),
            decision=fields["decision"],
            resolved_at=resolved_at,
            decided_by=fields.get("decided_by"),
            decision_reason=fields.get("decision_reason"),
            by_default="by_default" in fields,
        )
    except (KeyError, ValueError, OverflowError) as error:
        raise CorruptRecordError(key, f"it should hold a decided request ({error})") from error
