"""What each operation costs: one round trip, and keys that somebody removes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dir_redis import StorageBundle, open_storage
from dir_redis.redis.connection import connect
from tests.redis_only.conftest import commands_sent
from tests.redis_only.test_once import WRITES
from tests.servers import keys_of

READS: dict[str, Callable[[StorageBundle], Any]] = {
    "get_agent": lambda b: b.agent_registry.get_agent("a"),
    "get_status": lambda b: b.agent_registry.get_status("a"),
    "list_active_agents": lambda b: b.agent_registry.list_active_agents(),
    "get_session": lambda b: b.context.get_session("f"),
    "get_state": lambda b: b.context.get_state("a"),
    "idempotency_get": lambda b: b.idempotency.get("k"),
    "events_for_dfid": lambda b: b.decision_audit.events_for_dfid("f"),
    "all_events_chronological": lambda b: b.decision_audit.all_events_chronological(),
    "get_dirty_flows": lambda b: b.saga.get_dirty_flows(),
    "get_dirty_state": lambda b: b.saga.get_dirty_state("f"),
    "get_locked_amount": lambda b: b.resource_lock.get_locked_amount("r", "f"),
    "get_capacity": lambda b: b.resource_lock.get_capacity("r"),
    "get_count": lambda b: b.intent_retry.get_count("f"),
    "get_window_count": lambda b: b.escalation.get_window_count("a", "2026-01-01 00:00:00"),
    "get_pending_requests": lambda b: b.escalation.get_pending_requests(),
    "get_transitions": lambda b: b.lifecycle.get_transitions("f"),
    "get_transitions of all": lambda b: b.lifecycle.get_transitions(),
}


def test_the_list_of_operations_is_complete() -> None:
    from dir_redis import protocols

    methods = {
        name
        for protocol in vars(protocols).values()
        if getattr(protocol, "_is_protocol", False)
        for name in vars(protocol)
        if not name.startswith("_") and name != "init_schema"
    }
    covered = {name.split()[0].removeprefix("idempotency_") for name in {**READS, **WRITES}}
    assert methods - {"record_transition", "set", "get"} <= covered


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
    *("meta", "agent", "agents", "agents_active", "session", "state", "idempotency"),
    *("audit", "audit_flow", "transitions", "transitions_flow", "budget", "request"),
}


def test_no_key_is_left_behind(server_url: str, namespace: str) -> None:
    with open_storage(server_url, namespace=namespace, partitions=5) as bundle:
        for number in range(30):
            for write in WRITES.values():
                write(bundle)
            bundle.saga.mark_dirty(f"f{number}", "s", "{}")
            bundle.resource_lock.acquire_batch(f"f{number}", {"r": 0, f"r{number}": 1.5}, 0)
            bundle.escalation.insert_request(f"f{number}", "a", "", "", "", "")
            bundle.intent_retry.set_count(f"f{number}", 1)
        for number in range(30):
            bundle.saga.clear_dirty(f"f{number}")
            bundle.resource_lock.release(f"f{number}")
            bundle.escalation.resolve_request(f"f{number}", "now", "NO", None)
            bundle.intent_retry.delete(f"f{number}")
        bundle.saga.clear_dirty("f")
        bundle.resource_lock.release("f")
        bundle.resource_lock.set_capacity("r", None)
        bundle.intent_retry.delete("f")

    client: Any = connect(server_url, attempt_timeout_sec=5).client
    left = {key.decode() for key in keys_of(client, namespace)}
    kinds = {key.split("}:")[1].split(":")[0] for key in left}
    assert kinds == RECORDS | {"op"}
    assert all(client.pttl(key) > 0 for key in left if "}:op:" in key)
    client.close()


def test_every_kind_of_key_is_documented(store: StorageBundle, raw: Any, namespace: str) -> None:
    for write in WRITES.values():
        write(store)
    store.saga.mark_dirty("f", "s", "{}")
    store.resource_lock.acquire_batch("f", {"r": 1}, 0)
    store.intent_retry.set_count("f", 1)
    store.escalation.insert_request("g", "a", "", "", "", "")
    documented = (Path(__file__).parents[2] / "docs" / "keys.md").read_text()

    kinds = {key.decode().split("}:")[1].split(":")[0] for key in keys_of(raw, namespace)}

    assert len(kinds) == 22
    for kind in kinds:
        assert re.search(rf"^\| `\{{ns:[0p]\}}:{kind}(:<[a-z_]+>)?` \|", documented, re.M), kind
