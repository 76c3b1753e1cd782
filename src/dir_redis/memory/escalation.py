"""Budget tokens in order of time, and requests, the pending ones oldest first."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from dir_redis.arguments import checked
from dir_redis.clock import parse_moment
from dir_redis.memory.storage import MemoryStorage
from dir_redis.protocols import EscalationStorage


@dataclass(slots=True)
class _Request:
    agent_id: str
    reason: str
    context_json: str
    proposal_json: str
    impact: str
    resolved_at: str | None = None
    decision: str | None = None


class MemoryEscalationStorage(MemoryStorage, EscalationStorage):
    """Escalations of one process (DIR §9)."""

    def __init__(self) -> None:
        super().__init__()
        self._tokens: defaultdict[str, list[int]] = defaultdict(list)
        self._pending: dict[str, _Request] = {}
        self._resolved: dict[str, _Request] = {}

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
            self._pending.pop(dfid, None)
            self._resolved.pop(dfid, None)
            self._pending[dfid] = _Request(agent_id, reason, context_json, proposal_json, impact)

    @checked
    def resolve_request(
        self, dfid: str, resolved_at: str, decision: str, proposal_json: str | None
    ) -> None:
        with self._lock:
            request = self._pending.pop(dfid, None)
            if request is None:
                return
            request.resolved_at = resolved_at
            request.decision = decision
            if proposal_json is not None:
                request.proposal_json = proposal_json
            self._resolved[dfid] = request

    def get_pending_requests(self) -> list[dict[str, Any]]:
        with self._lock:
            return [
                {
                    "dfid": dfid,
                    "agent_id": request.agent_id,
                    "reason": request.reason,
                    "context": json.loads(request.context_json),
                    "proposal": json.loads(request.proposal_json),
                    "impact": request.impact,
                }
                for dfid, request in self._pending.items()
            ]
