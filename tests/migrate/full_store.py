"""A store that uses everything there is, and all that its callers can learn from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dir_redis import StorageBundle

AGENTS = ("zeta", "alpha", "suspended", "ünïcode", "gone-quiet")
FLOWS = ("z", "a", "flow-1", "flow-2", "flow-3", "flow-4", "späť")
KEYS = ("set", "running", "done", "done-for-long", "bound", "abandoned", "nothing")
RESOURCES = ("capital", "seats", "never-held")


@dataclass
class Intent:
    """What a ledger takes."""

    dfid: str
    intent_payload: dict[str, Any]
    context_ref: str = "context"
    evidence_hash: str = "evidence"
    signature: str = ""


@dataclass
class Held:
    """What callers hold of a full store, which must go on counting after a move."""

    session_token: str
    running: Any
    fencing_token: int
    epoch: int


def fill(store: StorageBundle) -> Held:
    """Fill a store with everything; return what its callers hold then."""
    agents = store.agent_registry
    agents.upsert_agent("zeta", '{"n":  1.50}', 3, "ACTIVE", "1.2", "token")
    agents.register("alpha", "{}", -2)
    agents.update_contract("alpha", '{"role": "trader"}', 1)
    agents.register("suspended", "{}", 0, "2", ttl_sec=3600)
    agents.update_status("suspended", "SUSPENDED", "too eager")
    session = agents.register("ünïcode", '{"é": "ü"}', 1, "", ttl_sec=1000)
    agents.register("gone-quiet", "{}", 0, ttl_sec=0.001)

    context = store.context
    context.set_session("z", '{ "a":1,  "b" : [1,2] }', agent_id="zeta")
    context.merge_session("z", {"c": 3, "a": {"x": None}})
    context.merge_session("z", {"b2": 4})
    context.set_session("a", "12.50")
    context.merge_session("flow-1", {"only": "merged"}, agent_id="alpha")
    context.set_session("späť", '{"é": 1, "é": 2}')
    context.set_session("flow-4", '{"ends": true}')
    context.set_state("zeta", '{"n": 1}')
    context.set_state("zeta", '{"n": 2}')
    context.merge_state("alpha", {"b": 1, "a": 2})

    steps = store.idempotency
    steps.set("set", {"paid": True, "amount": 1.5})
    running = steps.claim("running", fingerprint="payload", lease_sec=1000, owner="host-1")
    done = steps.claim("done", lease_sec=1000, owner="host-1")
    steps.complete(done, {"order": 7}, ttl_sec=5000)
    lasting = steps.claim("done-for-long", fingerprint="p", lease_sec=10, owner="host-2")
    steps.complete(lasting, ["a", 1], ttl_sec=500_000)
    bound = steps.claim("bound", fingerprint="q", lease_sec=10, owner="host-2")
    steps.complete(bound, None)
    steps.abandon(steps.claim("abandoned", fingerprint="r", lease_sec=10, owner="host-3"))

    saga = store.saga
    saga.mark_dirty("flow-1", "pay", '{"sent":  1}')
    first = saga.claim_dirty("host-1", 1000)
    saga.mark_dirty("z", "ship", "")
    released = saga.claim_dirty("host-2", 1000)
    assert first is not None
    assert released is not None
    saga.release_dirty("z", released.epoch)
    saga.mark_dirty("a", "", "[]")
    saga.mark_dirty("flow-2", "again", "{}")

    locks = store.resource_lock
    locks.set_capacity("capital", 1000)
    locks.set_capacity("seats", 0.3)
    reservation = locks.reserve("flow-1", {"capital": 0.1, "seats": 0.2}, lease_sec=1000)
    locks.reserve("flow-2", {"capital": 12.5})
    settled = locks.reserve("flow-3", {"capital": 3}, lease_sec=900)
    settled.settle({"capital": 0})
    locks.acquire_batch("flow-4", {"capital": 100}, 1)
    locks.acquire_batch("flow-1", {"capital": 0.3}, 1)

    retries = store.intent_retry
    retries.set_count("z", 4)
    retries.set_count("a", 0)
    retries.increment("flow-1")

    escalation = store.escalation
    escalation.record_budget_token("zeta")
    escalation.record_budget_token("zeta")
    terms = {"limit": 5, "window_sec": 1000.0}
    for dfid, agent_id in (("z", "zeta"), ("a", "alpha"), ("flow-1", "zeta"), ("flow-4", "alpha")):
        escalation.escalate(dfid, agent_id, "why", '{"c":  1}', '{"p": [1]}', "HIGH", **terms)
    escalation.escalate(
        *("flow-2", "alpha", "late", "{}", "{}", ""),
        **terms,
        deadline_sec=0.001,
        default_decision="ABORT",
    )
    escalation.escalate(
        *("flow-3", "alpha", "in time", "{}", "{}", "LOW"),
        **terms,
        deadline_sec=5000,
        default_decision="REJECT",
    )
    escalation.insert_request("späť", "nobody", "", "", "", "")
    escalation.claim_next("anna", 1000)
    escalation.resolve("a", "APPROVE", by="bob", reason="fine", proposal_json='{"p":  2}')
    escalation.resolve_request("flow-4", "12", "MODIFY", None)

    lifecycle = store.lifecycle
    lifecycle.transition("z", "CREATED", "ACTIVE")
    lifecycle.record_transition("flow-1", "", "WAITING", root_dfid="z")
    lifecycle.transition("z", "ACTIVE", "VALIDATING", root_dfid="root")
    lifecycle.record_transition("späť", "CREATED", "ACTIVE")

    audit = store.decision_audit
    audit.record("z", "ASKED", step_id="s", state="ACTIVE", details={"n": 1}, agent_id="zeta")
    audit.record_many({"dfid": dfid, "event": f"E{n}"} for n in range(3) for dfid in FLOWS)
    audit.record("flow-1", "ODD", details={"é": "ü"}, root_dfid="z", severity="ERROR")
    audit.commit_archived("archive", "")
    rows = audit.iter_events()
    next(rows)
    audit.commit_archived("indexer", rows.cursor)
    lifecycle.close_flow("flow-4", "CLOSED", session_ttl_sec=5000, agent_id="alpha")

    ledger = store.decision_ledger
    ledger.append(Intent("z", {"buy": 3}), agent_id="zeta", root_dfid="root")
    ledger.append(Intent("a", {"é": [1, None]}, signature="s"), agent_id="alpha")
    return Held(session.session_token, running, reservation.fencing_token, first.epoch)


def answers(store: StorageBundle) -> dict[str, Any]:
    """What all reading calls answer, but for cursors, which are each store's own."""
    agents, context, escalation = store.agent_registry, store.context, store.escalation
    locks, ledger = store.resource_lock, store.decision_ledger
    return {
        "active agents": agents.list_active_agents(),
        "stale agents": agents.list_stale_agents(),
        "agents": [agents.get_agent(agent_id) for agent_id in AGENTS],
        "statuses": [agents.get_status(agent_id) for agent_id in AGENTS],
        "contracts": [agents.get_contract_versioned(agent_id) for agent_id in AGENTS],
        "sessions": [context.get_session_versioned(dfid) for dfid in FLOWS],
        "states": [context.get_state_versioned(agent_id) for agent_id in AGENTS],
        "results": [store.idempotency.get(key) for key in KEYS],
        "claims": [store.idempotency.wait(key, 0) for key in KEYS],
        "dirty flows": store.saga.get_dirty_flows(),
        "dirty states": [store.saga.get_dirty_state(dfid) for dfid in FLOWS],
        "holders": [locks.holders(resource_id) for resource_id in RESOURCES],
        "locked": [locks.get_locked_amount(rid, dfid) for rid in RESOURCES for dfid in FLOWS],
        "capacities": [locks.get_capacity(resource_id) for resource_id in RESOURCES],
        "counts": [store.intent_retry.get_count(dfid) for dfid in FLOWS],
        "tokens": [
            escalation.get_window_count(agent_id, "2020-01-01 00:00:00") for agent_id in AGENTS
        ],
        "pending": escalation.get_pending_requests(),
        "requests": [escalation.get_request(dfid) for dfid in FLOWS],
        "transitions": [store.lifecycle.get_transitions(dfid) for dfid in FLOWS],
        "all transitions": store.lifecycle.get_transitions(),
        "flow statuses": [store.lifecycle.current_status(dfid) for dfid in FLOWS],
        "events": [store.decision_audit.events_for_dfid(dfid) for dfid in FLOWS],
        "all events": store.decision_audit.all_events_chronological(),
        "ledger": [ledger.get_by_dfid(dfid) for dfid in FLOWS],
        "all of the ledger": ledger.all_entries_chronological(),
    }
