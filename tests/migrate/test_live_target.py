"""What somebody writes into the target while a copy runs stays, and is listed as differing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from dir_redis import StorageBundle, memory_storage
from dir_redis.migrate import CopyReport, copy_store
from dir_redis.migrate.memory import MemoryRawStore
from dir_redis.migrate.records import (
    Agent,
    AuditRow,
    Budget,
    Capacity,
    DirtyMark,
    HeldReservation,
    IdempotencyKey,
    LedgerEntry,
    Record,
    Request,
    Retries,
    Session,
    State,
    Transition,
)
from dir_redis.migrate.redis import RedisRawStore
from dir_redis.migrate.sqlite import SqliteRawStore
from tests.migrate.conftest import STORES, Opener
from tests.migrate.full_store import Intent

RAW_STORES = (MemoryRawStore, SqliteRawStore, RedisRawStore)
TERMS = {"limit": 5, "window_sec": 1000.0}


def fill(store: StorageBundle) -> None:
    for n in range(3):
        store.agent_registry.upsert_agent(f"agent-{n}", "{}", 1, "ACTIVE", None, None)
        store.context.set_session(f"flow-{n}", '{"of": "source"}')
        store.context.set_state(f"agent-{n}", '{"of": "source"}')
        store.idempotency.set(f"key-{n}", "source")
        store.saga.mark_dirty(f"flow-{n}", "source", "{}")
        store.resource_lock.set_capacity(f"resource-{n}", 100)
        store.resource_lock.acquire_batch(f"flow-{n}", {"resource-1": 1}, 1)
        store.intent_retry.set_count(f"flow-{n}", 1)
        store.escalation.escalate(f"flow-{n}", f"agent-{n}", "source", "{}", "{}", "", **TERMS)
        store.decision_ledger.append(Intent(f"flow-{n}", {}, signature="source"), agent_id="a")
        store.decision_audit.record(f"flow-{n}", "SOURCE")
        store.lifecycle.record_transition(f"flow-{n}", "", "SOURCE")


# What a host that was not stopped does to one record of each kind.
LIVE: dict[type, Callable[[StorageBundle], object]] = {
    Agent: lambda store: store.agent_registry.register("agent-1", '{"live": 1}', 1),
    Session: lambda store: store.context.set_session("flow-1", '{"of": "live"}'),
    State: lambda store: store.context.set_state("agent-1", '{"of": "live"}'),
    IdempotencyKey: lambda store: store.idempotency.set("key-1", "live"),
    DirtyMark: lambda store: store.saga.mark_dirty("flow-1", "live", "{}"),
    Capacity: lambda store: store.resource_lock.set_capacity("resource-1", 50),
    HeldReservation: lambda store: store.resource_lock.acquire_batch("flow-1", {"other": 2}, 1),
    Retries: lambda store: store.intent_retry.set_count("flow-1", 5),
    Budget: lambda store: store.escalation.record_budget_token("agent-1"),
    Request: lambda store: store.escalation.insert_request("flow-1", "a", "live", "", "", ""),
    LedgerEntry: lambda store: store.decision_ledger.append(
        Intent("flow-1", {}, signature="live"), agent_id="a"
    ),
    AuditRow: lambda store: store.decision_audit.record("flow-1", "LIVE"),
    Transition: lambda store: store.lifecycle.record_transition("flow-1", "", "LIVE"),
}


def copied_while_somebody_writes(
    source: StorageBundle, target: StorageBundle, patch: pytest.MonkeyPatch
) -> CopyReport:
    """Copy; between look and write somebody else writes a record of each kind to the target."""
    left = dict(LIVE)
    with patch.context() as patched:
        for store in RAW_STORES:

            def put(self: Any, records: Iterable[Record], real: Any = store.put) -> Any:
                page = list(records)
                if page and (live := left.pop(type(page[0]), None)):
                    live(target)
                return real(self, page)

            patched.setattr(store, "put", put)
        report = copy_store(source, target)
    assert left == {}
    return report


@pytest.mark.parametrize("backend", STORES)
def test_what_came_after_the_first_look_at_the_target_is_never_replaced(
    backend: str, new_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = memory_storage(), new_store(backend)
    fill(source)

    report = copied_while_somebody_writes(source, target, monkeypatch)

    assert [one.record for kind in report.kinds.values() for one in kind.differing] == [
        *("Agent 'agent-1'", "Session 'flow-1'", "State 'agent-1'", "IdempotencyKey 'key-1'"),
        *("DirtyMark 'flow-1'", "Capacity 'resource-1'", "HeldReservation 'flow-1'"),
        *("Retries 'flow-1'", "Budget 'agent-1'", "Request 'flow-1'", "Transition of 'flow-1'"),
        *("LedgerEntry of 'flow-1'", "AuditRow of 'flow-1'"),
    ]
    assert not any(kind.not_represented for kind in report.kinds.values())
    assert report.kinds["HeldReservation"].copied == 2
    assert report.kinds["LedgerEntry"].copied == 2
    assert target.agent_registry.get_agent("agent-1")["contract"] == {"live": 1}
    assert target.context.get_session("flow-1") == '{"of": "live"}'
    assert target.context.get_state("agent-1") == '{"of": "live"}'
    assert target.idempotency.get("key-1") == "live"
    assert target.saga.get_dirty_state("flow-1") == {"failed_step": "live", "partial_state": {}}
    assert target.resource_lock.get_capacity("resource-1") == 50
    assert target.resource_lock.get_locked_amount("other", "nobody") == 2
    assert target.resource_lock.get_locked_amount("resource-1", "nobody") == 2
    assert target.intent_retry.get_count("flow-1") == 5
    assert target.escalation.get_window_count("agent-1", "2020-01-01 00:00:00") == 1
    assert target.escalation.get_request("flow-1")["reason"] == "live"
    entries = target.decision_ledger.all_entries_chronological()
    assert sorted((entry["dfid"], entry["signature"]) for entry in entries) == [
        ("flow-0", "source"),
        ("flow-1", "live"),
        ("flow-2", "source"),
    ]
    verified = target.decision_ledger.verify_ledger()
    assert (verified.verified, verified.broken_at) == (3, None)
    assert copy_store(source, target).copied == 0
