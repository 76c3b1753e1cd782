"""Budget tokens in a sorted set per agent; pending requests in one hash, oldest first by another.

A request is one JSON text: the pending ones of a partition lie in one hash, so that listing them
is one call, and a resolved one moves to a key of its own.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from dir_redis.clock import parse_moment
from dir_redis.errors import CorruptRecordError
from dir_redis.protocols import EscalationStorage
from dir_redis.redis.replies import as_json, as_text
from dir_redis.redis.steps import Call, Command, Steps, operation
from dir_redis.redis.storage import RedisStorage


class RedisEscalationStorage(RedisStorage, EscalationStorage):
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
        rest = json.dumps({"agent_id": agent_id, "reason": reason, "impact": impact})
        request = f'{rest[:-1]}, "context": {context_json}, "proposal": {proposal_json}}}'
        yield Call("escalation_request", self._keys_of(dfid), (dfid, request))

    @operation
    def resolve_request(
        self, dfid: str, resolved_at: str, decision: str, proposal_json: str | None
    ) -> Steps[None]:
        proposal = () if proposal_json is None else ("proposal", proposal_json)
        fields = ("status", "RESOLVED", "decision", decision, "resolved_at", resolved_at)
        yield Call("escalation_resolve", self._keys_of(dfid), (dfid, *fields, *proposal))

    @operation
    def get_pending_requests(self) -> Steps[list[dict[str, Any]]]:
        pending_keys = self._keys.in_each_partition("requests_pending")
        open_keys = self._keys.in_each_partition("requests_open")
        replies = yield [
            Call("escalation_pending", keys) for keys in zip(pending_keys, open_keys, strict=True)
        ]
        requests = []
        for key, (ordered, documents) in zip(open_keys, replies, strict=True):
            dfids = [as_text(dfid) for dfid in ordered[::2]]
            moments = [float(score) for score in ordered[1::2]]
            for dfid, moment, document in zip(dfids, moments, documents, strict=True):
                requests.append((moment, _request(key, dfid, document)))
        return [request for _, request in sorted(requests, key=lambda pair: pair[0])]

    def _keys_of(self, dfid: str) -> tuple[str, str, str]:
        keys = self._keys
        return keys.requests_pending(dfid), keys.requests_open(dfid), keys.request(dfid)


def _request(key: str, dfid: str, document: Any) -> dict[str, Any]:
    stored = as_json(key, document)
    try:
        return {
            "dfid": dfid,
            "agent_id": stored["agent_id"],
            "reason": stored["reason"],
            "context": stored["context"],
            "proposal": stored["proposal"],
            "impact": stored["impact"],
        }
    except (KeyError, TypeError) as error:
        raise CorruptRecordError(key, f"the request of {dfid!r} lacks a field") from error
