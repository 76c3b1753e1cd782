"""Budget tokens in order of time, and requests, the pending ones oldest first."""

from __future__ import annotations

import heapq
import json
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Unpack

from dir_redis.arguments import checked
from dir_redis.clock import format_moment, parse_moment
from dir_redis.escalations import (
    FORGOTTEN_AT_ONCE,
    MAX_WINDOW_US,
    check_terms,
    escalation,
    full_request,
    microseconds,
    pending_request,
)
from dir_redis.fleet_protocols import EscalationQueueStorage
from dir_redis.limits import LimitOptions
from dir_redis.memory.storage import MemoryStorage, MemoryStore
from dir_redis.records import Escalation, EscalationOutcome


@dataclass(slots=True)
class _Request:
    agent_id: str
    reason: str
    context_json: str
    proposal_json: str
    impact: str
    requested_us: int
    deadline_us: int | None = None
    default_decision: str | None = None
    reviewer: str | None = None
    reviewer_until_us: int = 0
    resolved_at: str | None = None
    decision: str | None = None
    decided_by: str | None = None
    decision_reason: str | None = None
    by_default: bool = False

    @property
    def content(self) -> tuple[str, ...]:
        return (self.agent_id, self.reason, self.context_json, self.proposal_json, self.impact)


class MemoryEscalationStorage(MemoryStorage, EscalationQueueStorage):
    """Escalations of one process (DIR §9)."""

    def __init__(self, store: MemoryStore | None = None, **limits: Unpack[LimitOptions]) -> None:
        super().__init__(store, **limits)
        self._tokens: defaultdict[str, list[int]] = defaultdict(list)
        self._pending: dict[str, _Request] = {}
        self._resolved: dict[str, _Request] = {}
        # Deadline and dfid of every request that has one; what was decided or replaced stays in.
        self._deadlines: list[tuple[int, str]] = []

    @checked
    def get_window_count(self, agent_id: str, since_str: str) -> int:
        since = parse_moment("since_str", since_str)
        with self._lock:
            tokens = self._tokens.get(agent_id, [])
            return len(tokens) - bisect_left(tokens, since)

    @checked
    def record_budget_token(self, agent_id: str) -> None:
        with self._lock:
            self._tokens[agent_id].append(self._clock.now())

    @checked
    def insert_request(
        self,
        dfid: str,
        agent_id: str,
        reason: str,
        context_json: str,
        proposal_json: str,
        impact: str,
    ) -> None:
        with self._lock:
            now = self._clock.now()
            request = _Request(agent_id, reason, context_json, proposal_json, impact, now)
            self._put(dfid, request)

    @checked
    def resolve_request(
        self, dfid: str, resolved_at: str, decision: str, proposal_json: str | None
    ) -> None:
        with self._lock:
            self._meet_deadlines()
            self._decide(dfid, decision, resolved_at, proposal_json)

    def get_pending_requests(self) -> list[dict[str, Any]]:
        with self._lock:
            self._meet_deadlines()
            return [_asked(dfid, request) for dfid, request in self._pending.items()]

    @checked
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
    ) -> Escalation:
        check_terms(window_sec, deadline_sec, default_decision)
        window_us = microseconds(window_sec)
        with self._lock:
            now = self._meet_deadlines()
            tokens = self._tokens.get(agent_id, [])
            spent = len(tokens) - bisect_right(tokens, now - window_us)
            request = _Request(agent_id, reason, context_json, proposal_json, impact, now)
            waiting = self._pending.get(dfid)
            if replace:
                stays = waiting is not None and waiting.content == request.content
            else:
                stays = waiting is not None or dfid in self._resolved
            if stays:
                outcome = EscalationOutcome.REPEATED
            elif spent >= limit:
                outcome = EscalationOutcome.BUDGET_EXHAUSTED
            else:
                outcome = EscalationOutcome.GRANTED
                tokens = self._tokens[agent_id]
                del tokens[: min(bisect_right(tokens, now - MAX_WINDOW_US), FORGOTTEN_AT_ONCE)]
                tokens.append(now)
                spent += 1
                if deadline_sec is not None:
                    request.deadline_us = now + microseconds(deadline_sec)
                    request.default_decision = default_decision
                    heapq.heappush(self._deadlines, (request.deadline_us, dfid))
                self._put(dfid, request)
            if spent < limit:
                wait_us = 0
            elif limit == 0:
                wait_us = window_us
            else:
                # The limit-th newest token is the one that has to leave the window.
                wait_us = tokens[-limit] + window_us - now
            return escalation(outcome, limit, spent, wait_us)

    @checked
    def claim_next(self, reviewer: str, lease_sec: float) -> dict[str, Any] | None:
        with self._lock:
            now = self._meet_deadlines()
            for dfid, request in self._pending.items():
                if request.reviewer_until_us <= now:
                    request.reviewer = reviewer
                    request.reviewer_until_us = now + microseconds(lease_sec)
                    return _in_full(dfid, request, now)
            return None

    @checked
    def resolve(
        self,
        dfid: str,
        decision: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        proposal_json: str | None = None,
    ) -> bool:
        with self._lock:
            now = self._meet_deadlines()
            return self._decide(dfid, decision, format_moment(now), proposal_json, by, reason)

    @checked
    def get_request(self, dfid: str) -> dict[str, Any] | None:
        with self._lock:
            now = self._meet_deadlines()
            request = self._pending.get(dfid) or self._resolved.get(dfid)
            return None if request is None else _in_full(dfid, request, now)

    @checked
    def wait_for_decision(self, dfid: str, timeout_sec: float) -> dict[str, Any] | None:
        until = time.monotonic() + timeout_sec
        with self._lock:
            while True:
                now = self._meet_deadlines()
                request = self._pending.get(dfid)
                if request is None:
                    decided = self._resolved.get(dfid)
                    return None if decided is None else _in_full(dfid, decided, now)
                left = until - time.monotonic()
                if left <= 0:
                    return None
                if request.deadline_us is not None:
                    left = min(left, (request.deadline_us - now) / 1_000_000)
                self._store.wait(self._store.changed, left)

    def _put(self, dfid: str, request: _Request) -> None:
        """Let a request wait, behind all others and in the place of the flow's earlier one."""
        self._pending.pop(dfid, None)
        self._resolved.pop(dfid, None)
        self._pending[dfid] = request

    def _decide(
        self,
        dfid: str,
        decision: str,
        resolved_at: str,
        proposal_json: str | None,
        by: str | None = None,
        reason: str | None = None,
    ) -> bool:
        request = self._pending.pop(dfid, None)
        if request is None:
            return False
        request.resolved_at = resolved_at
        request.decision = decision
        request.decided_by = by
        request.decision_reason = reason
        if proposal_json is not None:
            request.proposal_json = proposal_json
        self._resolved[dfid] = request
        self._store.changed.notify_all()
        return True

    def _meet_deadlines(self) -> int:
        """Let every deadline that has passed decide its request; return the moment it is."""
        now = self._clock.now()
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline_us, dfid = heapq.heappop(self._deadlines)
            request = self._pending.get(dfid)
            if request is None or request.deadline_us != deadline_us:
                continue
            assert request.default_decision is not None
            if self._decide(dfid, request.default_decision, format_moment(deadline_us), None):
                request.by_default = True
        return now


def _asked(dfid: str, request: _Request) -> dict[str, Any]:
    return pending_request(
        dfid,
        request.agent_id,
        request.reason,
        json.loads(request.context_json),
        json.loads(request.proposal_json),
        request.impact,
    )


def _in_full(dfid: str, request: _Request, now: int) -> dict[str, Any]:
    leased = request.decision is None and request.reviewer_until_us > now
    return full_request(
        _asked(dfid, request),
        requested_us=request.requested_us,
        deadline_us=request.deadline_us,
        default_decision=request.default_decision,
        reviewer=request.reviewer if leased else None,
        reviewer_until_us=request.reviewer_until_us if leased else None,
        decision=request.decision,
        resolved_at=request.resolved_at,
        decided_by=request.decided_by,
        decision_reason=request.decision_reason,
        by_default=request.by_default,
    )
