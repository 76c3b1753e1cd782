"""For every method the plainest redis-py call that moves the same bytes."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import redis

from benchmarks import payloads as p
from benchmarks.measure import Variant

Json = Callable[[Any], object]
Maker = Callable[[redis.Redis], Variant]

_tokens = itertools.count()
_REASON = {"status": "SUSPENDED", "suspension_reason": "limit breached"}
_DECISION = {"status": "RESOLVED", "decision": "APPROVE", "resolved_at": "2026-11-23T16:00:00Z"}
_REQUEST = {
    "agent_id": "agent-000007",
    "reason": "above the limit",
    "context": p.SESSION_JSON,
    "proposal": p.PROPOSAL_JSON,
    "impact": "HIGH",
}
_STORED_REQUEST = json.dumps({**_REQUEST, "context": p.SESSION, "proposal": {"kind": "BUY"}})
_MARK = {"failed_step": "settle", "partial_state": p.SESSION_JSON}


def _locks(dfid: str) -> dict[str, str]:
    return dict.fromkeys(p.resources_of(dfid), "100050000000")


def _add_token(c: redis.Redis, agent_id: str) -> None:
    c.zadd(f"plain:budget:{agent_id}", {f"{next(_tokens):016x}": time.time_ns() // 1000})


WRITES: dict[str, Maker] = {
    "upsert_agent": lambda c: Variant(lambda i: c.hset(f"plain:agent:{i}", mapping=p.AGENT_RECORD)),
    "update_status": lambda c: Variant(lambda i: c.hset(f"plain:agent:{i}", mapping=_REASON)),
    "set_session": lambda c: Variant(
        lambda i: c.hset(f"plain:session:{i}", "data", p.SESSION_JSON)
    ),
    "set_state": lambda c: Variant(lambda i: c.hset(f"plain:state:{i}", "data", p.SESSION_JSON)),
    "idempotency.set": lambda c: Variant(lambda i: c.set(f"plain:idempotency:{i}", p.RESULT_JSON)),
    "record": lambda c: Variant(lambda i: c.xadd("plain:audit", p.audit_entry(i))),
    "mark_dirty": lambda c: Variant(lambda i: c.hset(f"plain:saga:{i}", mapping=_MARK)),
    "clear_dirty": lambda c: Variant(
        lambda i: c.delete(f"plain:saga:{i}"),
        lambda i: c.hset(f"plain:saga:{i}", mapping=_MARK),
    ),
    "acquire_batch, 2 resources": lambda c: Variant(
        lambda i: c.hset(f"plain:lock:{i}", mapping=_locks(i)),
        lambda i: c.delete(f"plain:lock:{i}"),
    ),
    "release, 2 resources": lambda c: Variant(
        lambda i: c.delete(f"plain:lock:{i}"),
        lambda i: c.hset(f"plain:lock:{i}", mapping=_locks(i)),
    ),
    "set_capacity": lambda c: Variant(lambda i: c.hset("plain:capacities", i, "100000000000000")),
    "set_count": lambda c: Variant(lambda i: c.set(f"plain:retry:{i}", 2)),
    "intent_retry.delete": lambda c: Variant(
        lambda i: c.delete(f"plain:retry:{i}"), lambda i: c.set(f"plain:retry:{i}", 2)
    ),
    "record_budget_token": lambda c: Variant(lambda i: _add_token(c, i)),
    "insert_request": lambda c: Variant(
        lambda i: c.hset(f"plain:request:{i}", mapping=_REQUEST),
        lambda i: c.delete(f"plain:request:{i}"),
    ),
    "resolve_request": lambda c: Variant(
        lambda i: c.hset(f"plain:request:{i}", mapping=_DECISION),
        lambda i: c.hset(f"plain:request:{i}", mapping=_REQUEST),
    ),
    "record_transition": lambda c: Variant(
        lambda i: c.xadd("plain:transitions", p.transition_entry(i))
    ),
}

_AGENT_FIELDS = list(p.AGENT_RECORD)

READS: dict[str, Maker] = {
    "get_agent": lambda c: Variant(lambda i: c.hmget(f"plain:agent:{i}", _AGENT_FIELDS)),
    "get_status": lambda c: Variant(lambda i: c.hmget(f"plain:agent:{i}", list(_REASON))),
    "list_active_agents, 10": lambda c: Variant(lambda _: c.zrange("plain:ten", 0, -1)),
    "get_session": lambda c: Variant(lambda i: c.hget(f"plain:session:{i}", "data")),
    "get_state": lambda c: Variant(lambda i: c.hget(f"plain:state:{i}", "data")),
    "idempotency.get": lambda c: Variant(lambda i: c.get(f"plain:idempotency:{i}")),
    "events_for_dfid, 10 rows": lambda c: Variant(lambda i: c.xrange(f"plain:audit:{i}")),
    "all_events_chronological, 100 rows": lambda c: Variant(lambda _: c.xrange("plain:audit")),
    "get_dirty_flows, 10": lambda c: Variant(lambda _: c.zrange("plain:ten", 0, -1)),
    "get_dirty_state": lambda c: Variant(lambda i: c.hmget(f"plain:saga:{i}", list(_MARK))),
    "get_locked_amount": lambda c: Variant(lambda i: c.hmget(f"plain:lock:{i}", list(_locks(i)))),
    "get_capacity": lambda c: Variant(lambda i: c.hget("plain:capacities", i)),
    "get_count": lambda c: Variant(lambda i: c.get(f"plain:retry:{i}")),
    "get_window_count": lambda c: Variant(
        lambda i: c.zcount(f"plain:budget:{i}", 1767225600000000, "+inf")
    ),
    "get_pending_requests, 10": lambda c: Variant(lambda _: c.hgetall("plain:requests")),
    "get_transitions, 10 rows": lambda c: Variant(lambda i: c.xrange(f"plain:transitions:{i}")),
    "get_transitions of all, 100 rows": lambda c: Variant(lambda _: c.xrange("plain:transitions")),
}

# The JSON work the contract asks of a method: encoding what it stores, checking that a text is
# JSON, parsing what it returns. It is given what the plain call replied.
JSON_WORK: dict[str, Json] = {
    "upsert_agent": lambda _: json.loads(p.CONTRACT_JSON),
    "set_session": lambda _: json.loads(p.SESSION_JSON),
    "set_state": lambda _: json.loads(p.SESSION_JSON),
    "idempotency.set": lambda _: json.dumps(p.RESULT, sort_keys=True, default=str),
    "record": lambda _: json.dumps(p.DETAILS, sort_keys=True, default=str),
    "mark_dirty": lambda _: json.loads(p.SESSION_JSON),
    "insert_request": lambda _: (json.loads(p.SESSION_JSON), json.loads(p.PROPOSAL_JSON)),
    "get_agent": lambda reply: json.loads(reply[0]),
    "idempotency.get": json.loads,
    "events_for_dfid, 10 rows": lambda rows: [json.loads(row[b"details"]) for _, row in rows],
    "all_events_chronological, 100 rows": lambda rows: [
        json.loads(row[b"details"]) for _, row in rows
    ],
    "get_dirty_state": lambda reply: json.loads(reply[1]),
    "get_pending_requests, 10": lambda reply: [json.loads(text) for text in reply.values()],
}


def with_json(name: str, plain: Variant) -> Variant | None:
    """The same call with the JSON work of the method, or None where there is none."""
    work = JSON_WORK.get(name)
    if work is None:
        return None
    call = plain.call
    return Variant(lambda identifier: work(call(identifier)), plain.prepare)


def fill_for_reads(client: redis.Redis, ids: list[str]) -> None:
    """Store what the plain reads find: the same values as the methods' reads."""
    for number, i in enumerate(ids):
        client.hset(f"plain:agent:{i}", mapping={**p.AGENT_RECORD, **_REASON})
        client.hset(f"plain:session:{i}", "data", p.SESSION_JSON)
        client.hset(f"plain:state:{i}", "data", p.SESSION_JSON)
        client.set(f"plain:idempotency:{i}", p.RESULT_JSON)
        client.hset(f"plain:saga:{i}", mapping=_MARK)
        client.hset(f"plain:lock:{i}", mapping=_locks(i))
        client.hset("plain:capacities", i, "100000000000000")
        client.set(f"plain:retry:{i}", 2)
        client.zadd("plain:ten", {i: number})
        client.hset("plain:requests", i, _STORED_REQUEST)
        for _ in range(3):
            _add_token(client, i)
    for _ in range(10):
        for i in ids:
            for stream in ("plain:audit", f"plain:audit:{i}"):
                client.xadd(stream, p.audit_entry(i))
            for stream in ("plain:transitions", f"plain:transitions:{i}"):
                client.xadd(stream, p.transition_entry(i))
