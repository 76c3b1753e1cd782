"""Budgets and requests of a memory store, as neutral records."""

from __future__ import annotations

from heapq import heappush

from dir_redis.clock import format_moment
from dir_redis.memory import (
    MemoryEscalationStorage,
)
from dir_redis.memory.escalation import _Request
from dir_redis.migrate.exact import decided_us
from dir_redis.migrate.records import (
    Budget,
    Request,
)


class Budgets:
    def __init__(self, storage: MemoryEscalationStorage) -> None:
        self._tokens = storage._tokens

    def keys(self) -> list[str]:
        return list(self._tokens)

    def find(self, key: str) -> Budget | None:
        tokens = self._tokens.get(key)
        return Budget(key, tuple(tokens)) if tokens else None

    def put(self, record: Budget) -> None:
        self._tokens[record.agent_id] = list(record.spent_us)


class Requests:
    def __init__(self, storage: MemoryEscalationStorage) -> None:
        self._storage = storage

    def keys(self) -> list[str]:
        return [*self._storage._pending, *self._storage._resolved]

    def find(self, key: str) -> Request | None:
        self._storage._meet_deadlines()
        request = self._storage._pending.get(key) or self._storage._resolved.get(key)
        if request is None:
            return None
        resolved_us = decided_us(request.resolved_at)
        return Request(
            *(key, request.agent_id, request.reason, request.context_json, request.proposal_json),
            *(request.impact, request.requested_us, request.deadline_us, request.default_decision),
            *(request.reviewer, request.reviewer_until_us),
            "PENDING" if request.decision is None else "RESOLVED",
            request.decision,
            request.resolved_at if resolved_us is None else None,
            resolved_us,
            request.decided_by,
            request.decision_reason,
            request.by_default,
        )

    def put(self, record: Request) -> None:
        storage = self._storage
        resolved_at = record.resolved_at
        if resolved_at is None and record.resolved_us is not None:
            resolved_at = format_moment(record.resolved_us)
        request = _Request(
            *record[1:11],
            *(resolved_at, record.decision, record.decided_by, record.decision_reason),
            record.by_default,
        )
        if record.decision is not None:
            storage._resolved[record.dfid] = request
            return
        storage._pending[record.dfid] = request
        if record.deadline_us is not None:
            heappush(storage._deadlines, (record.deadline_us, record.dfid))
