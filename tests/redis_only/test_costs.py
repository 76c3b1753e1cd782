"""What each operation costs: one round trip, and keys that somebody removes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dir_redis import InsufficientCapacityError, StorageBundle, open_storage
from dir_redis.redis.connection import connect
from tests.redis_only.conftest import commands_sent
from tests.redis_only.test_once import WRITES
from tests.servers import keys_of, wait_until

READS: dict[str, Callable[[StorageBundle], Any]] = {
    "get_agent": lambda b: b.agent_registry.get_agent("a"),
    "get_status": lambda b: b.agent_registry.get_status("a"),
    "list_active_agents": lambda b: b.agent_registry.list_active_agents(),
    "list_stale_agents": lambda b: b.agent_registry.list_stale_agents(),
    "get_contract_versioned": lambda b: b.agent_registry.get_contract_versioned("a"),
    "get_session": lambda b: b.context.get_session("f"),
    "get_state": lambda b: b.context.get_state("a"),
    "get_session_versioned": lambda b: b.context.get_session_versioned("f"),
    "get_state_versioned": lambda b: b.context.get_state_versioned("a"),
    "idempotency_get": lambda b: b.idempotency.get("k"),
    "wait": lambda b: b.idempotency.wait("c", 0),
    "events_for_dfid": lambda b: b.decision_audit.events_for_dfid("f"),
    "all_events_chronological": lambda b: b.decision_audit.all_events_chronological(),
    "iter_events": lambda b: list(b.decision_audit.iter_events()),
    "iter_events of a flow": lambda b: next(b.decision_audit.iter_events("f")),
    "follow from a cursor": lambda b: next(b.decision_audit.follow(after="")),
    "get_archived": lambda b: b.decision_audit.get_archived("g"),
    "trim without need": lambda b: b.decision_audit.trim(older_than_sec=3600),
    "get_dirty_flows": lambda b: b.saga.get_dirty_flows(),
    "get_dirty_state": lambda b: b.saga.get_dirty_state("f"),
    "get_locked_amount": lambda b: b.resource_lock.get_locked_amount("r", "f"),
    "get_capacity": lambda b: b.resource_lock.get_capacity("r"),
    "holders": lambda b: b.resource_lock.holders("r"),
    "get_count": lambda b: b.intent_retry.get_count("f"),
    "get_window_count": lambda b: b.escalation.get_window_count("a", "2026-01-01 00:00:00"),
    "get_pending_requests": lambda b: b.escalation.get_pending_requests(),
    "get_request": lambda b: b.escalation.get_request("e"),
    "wait_for_decision": lambda b: b.escalation.wait_for_decision("f", 0),
    "get_transitions": lambda b: b.lifecycle.get_transitions("f"),
    "get_transitions of all": lambda b: b.lifecycle.get_transitions(),
    "current_status": lambda b: b.lifecycle.current_status("f"),
    "get_by_dfid": lambda b: b.decision_ledger.get_by_dfid("f"),
    "entries_for_dfid": lambda b: b.decision_ledger.entries_for_dfid("f"),
    "all_entries_chronological": lambda b: b.decision_ledger.all_entries_chronological(),
    "count_entries": lambda b: b.decision_ledger.count_entries(),
}

# They walk through everything there is, page by page.
WALKS = {"verify_ledger", "verify_audit"}


def test_the_list_of_operations_is_complete() -> None:
    from dir_redis import fleet_protocols, protocols

    methods = {
        name
        for protocol in (*vars(protocols).values(), *vars(fleet_protocols).values())
        if getattr(protocol, "_is_protocol", False)
        for name in vars(protocol)
        if not name.startswith("_") and name not in ("init_schema", "cursor")  # an iterator's
    }
    covered = {name.split()[0].removeprefix("idempotency_") for name in {**READS, **WRITES}}
    # run_once is made of claim, wait, complete and abandon.
    apart = {"record_transition", "set", "get", "run_once", "cursor"} | WALKS
    # A VerifiedIntent's are no operations.
    apart |= {"dfid", "intent_payload", "context_ref", "evidence_hash", "signature"}
    assert methods - apart <= covered


@pytest.mark.parametrize("name", {**READS, **WRITES})
def test_an_operation_is_one_round_trip(store: StorageBundle, name: str) -> None:
    call = {**READS, **WRITES}[name]
    for write in WRITES.values():
        write(store)
    call(store)  # whatever script it uses is loaded now

    with commands_sent(store) as sent:
        call(store)

    assert len(sent) == 1


def test_a_long_read_takes_one_round_trip_per_2000_rows(store: StorageBundle) -> None:
    for _ in range(2001):
        store.lifecycle.record_transition("f", "A", "B")
    store.lifecycle.get_transitions("f")  # loads its script

    with commands_sent(store) as sent:
        assert len(store.lifecycle.get_transitions("f")) == 2001
        assert len(store.lifecycle.get_transitions()) == 2001

    assert len(sent) == 4


# Keys that stay because the Protocol has no way to remove what they hold.
RECORDS = {
    *("meta", "agent", "agents", "agents_active", "agents_heartbeat", "session", "state"),
    *("idempotency", "lock_counter", "sagas_counter"),
    *("audit", "audit_flow", "transitions", "transitions_flow", "budget", "request"),
    *("ledger", "ledger_flow", "ledger_end"),
}

# Keys that end by themselves.
EXPIRING = {"op", "claim", "claim_ended", "decided"}


def test_no_key_is_left_behind(server_url: str, namespace: str) -> None:
    with open_storage(server_url, namespace=namespace, partitions=5) as bundle:
        for number in range(30):
            for write in WRITES.values():
                write(bundle)
            bundle.saga.mark_dirty(f"f{number}", "s", "{}")
            locks = bundle.resource_lock
            locks.acquire_batch(f"f{number}", {"r": 0, f"r{number}": 1.5}, 0)
            locks.reserve(f"l{number}", {"s": 1}, lease_sec=60 if number % 2 else 0.001)
            with contextlib.suppress(InsufficientCapacityError):
                locks.reserve(f"w{number}", {f"r{number}": 1}, wait_sec=0.001, capacities={
                    f"r{number}": 2
                })  # fmt: skip
            bundle.escalation.insert_request(f"f{number}", "a", "", "", "", "")
            bundle.escalation.escalate(
                f"e{number}", "a", "", "", "", "", limit=99, window_sec=60,
                deadline_sec=60, default_decision="NO",
            )  # fmt: skip
            bundle.escalation.claim_next("maria", 0.001 if number % 2 else 60)
            bundle.intent_retry.set_count(f"f{number}", 1)
            claim = bundle.idempotency.claim(f"k{number}", lease_sec=60, owner="me")
            if number % 3 == 0:
                bundle.idempotency.abandon(claim)
            elif number % 3 == 1:
                bundle.idempotency.complete(claim, None, ttl_sec=60 if number % 2 else None)
            else:
                bundle.idempotency.set(f"k{number}", {})
        for number in range(30):
            bundle.saga.clear_dirty(f"f{number}")
            for flow in "flw":
                bundle.resource_lock.release(f"{flow}{number}")
            bundle.escalation.resolve_request(f"f{number}", "now", "NO", None)
            bundle.escalation.resolve(f"e{number}", "NO")
            bundle.intent_retry.delete(f"f{number}")
        bundle.saga.clear_dirty("f")
        bundle.resource_lock.release("f")
        bundle.resource_lock.release("g")
        bundle.resource_lock.set_capacity("r", None)
        bundle.intent_retry.delete("f")
        bundle.escalation.resolve("e", "NO")

    client: Any = connect(server_url, attempt_timeout_sec=5).client
    left = {key.decode() for key in keys_of(client, namespace)}
    kinds = {key.split("}:")[1].split(":")[0] for key in left}
    assert kinds == RECORDS | EXPIRING
    ends = [key for key in left if key.split("}:")[1].split(":")[0] in EXPIRING]
    assert all(client.pttl(key) > 0 for key in ends)
    client.close()


def test_every_kind_of_key_is_documented(store: StorageBundle, raw: Any, namespace: str) -> None:
    for write in WRITES.values():
        write(store)
    store.saga.mark_dirty("f", "s", "{}")
    store.saga.claim_dirty("me", 60)
    store.saga.mark_dirty("g", "s", "{}")
    store.idempotency.abandon(store.idempotency.claim("d", lease_sec=60, owner="me"))
    store.resource_lock.acquire_batch("f", {"r": 1}, 0)
    store.intent_retry.set_count("f", 1)
    store.escalation.insert_request("g", "a", "", "", "", "")
    store.escalation.claim_next("maria", 60)
    store.escalation.insert_request("h", "a", "", "", "", "")
    store.decision_audit.commit_archived("h", "")
    documented = (Path(__file__).parents[2] / "docs" / "keys.md").read_text()
    holder = store.resource_lock.reserve("h", {"q": 1}, lease_sec=60)
    with ThreadPoolExecutor(1) as pool:
        capacities = {"q": 1}
        pool.submit(store.resource_lock.reserve, "w", {"q": 1}, wait_sec=60, capacities=capacities)
        wait_until(lambda: raw.exists(f"{{{namespace}:0}}:lock_waiting"), 30)
        kinds = {key.decode().split("}:")[1].split(":")[0] for key in keys_of(raw, namespace)}
        holder.release()

    assert len(kinds) == 45
    for kind in kinds | {"lock_wake", "audit_end"}:
        assert re.search(rf"^\| `\{{ns:[0p]\}}:{kind}(:<[a-z_]+>)?` \|", documented, re.M), kind
