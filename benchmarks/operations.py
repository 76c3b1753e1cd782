"""Every method of the storage Protocols as a call for one id, on any backend."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import payloads as p
from benchmarks.measure import Variant
from dir_redis import StorageBundle

Maker = Callable[[StorageBundle], Variant]


def _record(bundle: StorageBundle, dfid: str) -> None:
    bundle.decision_audit.record(dfid, details=p.DETAILS, **p.AUDIT_FIELDS)


def _transition(bundle: StorageBundle, dfid: str) -> None:
    bundle.lifecycle.record_transition(dfid, "VALIDATING", "ACCEPTED")


def _upsert(bundle: StorageBundle, agent_id: str) -> None:
    record = p.AGENT_RECORD
    bundle.agent_registry.upsert_agent(
        agent_id,
        str(record["contract"]),
        int(record["priority"]),
        str(record["status"]),
        str(record["agent_version"]),
        str(record["session_token"]),
    )


def _request(bundle: StorageBundle, dfid: str) -> None:
    bundle.escalation.insert_request(
        dfid, "agent-000007", "above the limit", p.SESSION_JSON, p.PROPOSAL_JSON, "HIGH"
    )


def _acquire(bundle: StorageBundle, dfid: str) -> None:
    assert bundle.resource_lock.acquire_batch(dfid, p.resources_of(dfid), 5.0)


def _resolve(bundle: StorageBundle, dfid: str) -> None:
    bundle.escalation.resolve_request(dfid, "2026-11-23T16:00:00Z", "APPROVE", None)


WRITES: dict[str, Maker] = {
    "upsert_agent": lambda b: Variant(lambda i: _upsert(b, i)),
    "update_status": lambda b: Variant(
        lambda i: b.agent_registry.update_status(i, "SUSPENDED", "limit breached"),
        lambda i: _upsert(b, i),
    ),
    "set_session": lambda b: Variant(lambda i: b.context.set_session(i, p.SESSION_JSON)),
    "set_state": lambda b: Variant(
        lambda i: b.context.set_state(i, p.SESSION_JSON), lambda i: _upsert(b, i)
    ),
    "idempotency.set": lambda b: Variant(lambda i: b.idempotency.set(i, p.RESULT)),
    "record": lambda b: Variant(lambda i: _record(b, i)),
    "mark_dirty": lambda b: Variant(lambda i: b.saga.mark_dirty(i, "settle", p.SESSION_JSON)),
    "clear_dirty": lambda b: Variant(
        b.saga.clear_dirty, lambda i: b.saga.mark_dirty(i, "settle", p.SESSION_JSON)
    ),
    "acquire_batch, 2 resources": lambda b: Variant(
        lambda i: _acquire(b, i), b.resource_lock.release
    ),
    "release, 2 resources": lambda b: Variant(b.resource_lock.release, lambda i: _acquire(b, i)),
    "set_count": lambda b: Variant(lambda i: b.intent_retry.set_count(i, 2)),
    "intent_retry.delete": lambda b: Variant(
        b.intent_retry.delete, lambda i: b.intent_retry.set_count(i, 2)
    ),
    "record_budget_token": lambda b: Variant(
        b.escalation.record_budget_token, lambda i: _upsert(b, i)
    ),
    "insert_request": lambda b: Variant(lambda i: _request(b, i), lambda i: _resolve(b, i)),
    "resolve_request": lambda b: Variant(lambda i: _resolve(b, i), lambda i: _request(b, i)),
    "record_transition": lambda b: Variant(lambda i: _transition(b, i)),
}

# What upstream's Protocols do not have.
CAPACITY_WRITES: dict[str, Maker] = {
    "set_capacity": lambda b: Variant(lambda i: b.resource_lock.set_capacity(i, 1000000.0)),
}

READS: dict[str, Maker] = {
    "get_agent": lambda b: Variant(b.agent_registry.get_agent),
    "get_status": lambda b: Variant(b.agent_registry.get_status),
    "list_active_agents, 10": lambda b: Variant(lambda _: b.agent_registry.list_active_agents()),
    "get_session": lambda b: Variant(b.context.get_session),
    "get_state": lambda b: Variant(b.context.get_state),
    "idempotency.get": lambda b: Variant(b.idempotency.get),
    "events_for_dfid, 10 rows": lambda b: Variant(b.decision_audit.events_for_dfid),
    "all_events_chronological, 100 rows": lambda b: Variant(
        lambda _: b.decision_audit.all_events_chronological()
    ),
    "get_dirty_flows, 10": lambda b: Variant(lambda _: b.saga.get_dirty_flows()),
    "get_dirty_state": lambda b: Variant(b.saga.get_dirty_state),
    "get_locked_amount": lambda b: Variant(
        lambda i: b.resource_lock.get_locked_amount(f"capital of {i}", i)
    ),
    "get_capacity": lambda b: Variant(b.resource_lock.get_capacity),
    "get_count": lambda b: Variant(b.intent_retry.get_count),
    "get_window_count": lambda b: Variant(lambda i: b.escalation.get_window_count(i, p.SINCE)),
    "get_pending_requests, 10": lambda b: Variant(lambda _: b.escalation.get_pending_requests()),
    "get_transitions, 10 rows": lambda b: Variant(b.lifecycle.get_transitions),
    "get_transitions of all, 100 rows": lambda b: Variant(lambda _: b.lifecycle.get_transitions()),
}


READ_IDS = [f"flow-{number:06d}" for number in range(10)]


def fill_for_reads(bundle: StorageBundle) -> None:
    """Store what the reads find: 10 of whatever is listed, and 10 rows of each of 10 flows."""
    for identifier in READ_IDS:
        _upsert(bundle, identifier)
        bundle.context.set_session(identifier, p.SESSION_JSON)
        bundle.context.set_state(identifier, p.SESSION_JSON)
        bundle.idempotency.set(identifier, p.RESULT)
        _acquire(bundle, identifier)
        bundle.resource_lock.set_capacity(identifier, 1000000.0)
        bundle.intent_retry.set_count(identifier, 2)
        for _ in range(3):
            bundle.escalation.record_budget_token(identifier)
        _request(bundle, identifier)
        bundle.saga.mark_dirty(identifier, "settle", p.SESSION_JSON)
    for _ in range(10):
        for identifier in READ_IDS:
            _record(bundle, identifier)
            _transition(bundle, identifier)
