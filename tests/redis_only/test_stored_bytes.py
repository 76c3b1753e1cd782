"""Stored formats are a promise: what is written is pinned here, field by field."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dir_redis import StorageBundle
from tests.servers import keys_of


@pytest.fixture
def tag(namespace: str) -> str:
    return f"{{{namespace}:0}}:"


def text(value: Any) -> Any:
    """A reply with its bytes decoded, at any depth."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {text(name): text(content) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [text(item) for item in value]
    return value


@pytest.mark.usefixtures("store")
def test_the_meta_record(raw: Any, tag: str) -> None:
    assert text(raw.hgetall(f"{tag}meta")) == {
        "schema": "1",
        "partitions": "1",
        "amount_places": "8",
    }


def test_an_agent(store: StorageBundle, raw: Any, tag: str) -> None:
    store.agent_registry.upsert_agent("a", '{"role": "x"}', 5, "ACTIVE", "1.0", None)
    store.agent_registry.update_status("a", "SUSPENDED", "broke a rule")

    assert text(raw.hgetall(f"{tag}agent:a")) == {
        "contract": '{"role": "x"}',
        "priority": "5",
        "status": "SUSPENDED",
        "agent_version": "1.0",
        "suspension_reason": "broke a rule",
    }
    [(member, score)] = raw.zrange(f"{tag}agents", 0, -1, withscores=True)
    assert member == b"a"
    assert 1.7e15 < score < 7.2e15  # microseconds since 1970
    assert not raw.exists(f"{tag}agents_active")


def test_contexts(store: StorageBundle, raw: Any, tag: str) -> None:
    store.context.set_session("f", '{"a":  1}', agent_id="a")
    store.context.set_session("f", '{"a":  2}')
    store.context.set_state("a", "[]")

    assert text(raw.hgetall(f"{tag}session:f")) == {
        "data": '{"a":  2}',
        "agent_id": "a",
        "version": "2",
    }
    assert text(raw.hgetall(f"{tag}state:a")) == {"data": "[]", "version": "1"}


def test_an_idempotency_result(store: StorageBundle, raw: Any, tag: str) -> None:
    store.idempotency.set("k", {"b": 1, "a": None})

    assert raw.get(f"{tag}idempotency:k") == b'{"a": null, "b": 1}'


def test_an_audit_row(store: StorageBundle, raw: Any, tag: str) -> None:
    store.decision_audit.record("f", "E", details={"x": 1})
    store.decision_audit.record(
        "f", "E2", step_id="s", state="OK", root_dfid="r", agent_id="a", severity="ERROR"
    )

    first, second = raw.xrange(f"{tag}audit")
    names = ["dfid", "event", "step_id", "state", "details", "root_dfid", "agent_id", "severity"]
    assert [text(name) for name in first[1]] == names
    assert text(list(first[1].values())) == ["f", "E", "", "", '{"x": 1}', "", "", "INFO"]
    assert text(list(second[1].values())) == ["f", "E2", "s", "OK", "{}", "r", "a", "ERROR"]
    assert raw.lrange(f"{tag}audit_flow:f", 0, -1) == [first[0], second[0]]


def test_an_entry_id_carries_the_time_of_the_row(store: StorageBundle, raw: Any, tag: str) -> None:
    store.decision_audit.record("f", "E")

    [(entry_id, _)] = raw.xrange(f"{tag}audit")
    milliseconds, sequence = map(int, entry_id.split(b"-"))
    [row] = store.decision_audit.events_for_dfid("f")
    assert row["timestamp"].endswith(f".{milliseconds % 1000:03d}{sequence // 1000:03d}Z")


def test_rows_stay_in_order_when_the_servers_clock_goes_back(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    an_hour_ahead = "4102444800000-999000"  # the year 2100
    row = dict.fromkeys(("event", "step_id", "state", "root_dfid", "agent_id", "severity"), "")
    raw.xadd(f"{tag}audit", {"dfid": "earlier", **row, "details": "{}"}, id=an_hour_ahead)

    store.decision_audit.record("f", "E")

    rows = store.decision_audit.all_events_chronological()
    assert [row["dfid"] for row in rows] == ["earlier", "f"]
    assert rows[1]["timestamp"] == "2100-01-01T00:00:00.000999Z"


def test_members_stay_in_order_when_the_servers_clock_goes_back(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    in_the_year_2100 = 4102444800000000
    raw.zadd(f"{tag}sagas_dirty", {"earlier": in_the_year_2100})

    for flow in ("z", "y", "x"):
        store.saga.mark_dirty(flow, "s", "{}")

    assert store.saga.get_dirty_flows() == ["earlier", "z", "y", "x"]


def test_a_transition(store: StorageBundle, raw: Any, tag: str) -> None:
    store.lifecycle.record_transition("f", "CREATED", "ACTIVE", root_dfid="r")

    [(entry_id, fields)] = raw.xrange(f"{tag}transitions")
    assert text(fields) == {"dfid": "f", "from": "CREATED", "to": "ACTIVE", "root_dfid": "r"}
    assert raw.lrange(f"{tag}transitions_flow:f", 0, -1) == [entry_id]


def test_a_dirty_mark(store: StorageBundle, raw: Any, tag: str) -> None:
    store.saga.mark_dirty("f", "pay", '{"paid":1}')

    assert text(raw.hgetall(f"{tag}saga:f")) == {
        "failed_step": "pay",
        "partial_state": '{"paid":1}',
    }
    assert raw.zrange(f"{tag}sagas_dirty", 0, -1) == [b"f"]


def test_reservations(store: StorageBundle, raw: Any, tag: str) -> None:
    store.resource_lock.set_capacity("capital", 100)
    store.resource_lock.acquire_batch("f", {"capital": 1.5, "seats": 2}, 0)
    store.resource_lock.acquire_batch("g", {"capital": 0.00000001}, 0)

    assert text(raw.hgetall(f"{tag}lock_capacities")) == {"capital": "10000000000"}
    assert text(raw.hgetall(f"{tag}lock_totals")) == {"capital": "150000001", "seats": "200000000"}
    assert text(raw.hgetall(f"{tag}lock_flow:f")) == {"capital": "150000000", "seats": "200000000"}
    assert text(raw.hgetall(f"{tag}lock_flow:g")) == {"capital": "1"}


def test_a_retry_count(store: StorageBundle, raw: Any, tag: str) -> None:
    store.intent_retry.set_count("f", 3)

    assert raw.get(f"{tag}retry:f") == b"3"


def test_a_budget_token(store: StorageBundle, raw: Any, tag: str) -> None:
    store.escalation.record_budget_token("a")

    [(token, score)] = raw.zrange(f"{tag}budget:a", 0, -1, withscores=True)
    assert re.fullmatch(rb"[0-9a-f]{16}", token)
    assert 1.7e15 < score < 7.2e15  # microseconds since 1970


def test_a_request_pending_and_resolved(store: StorageBundle, raw: Any, tag: str) -> None:
    store.escalation.insert_request("f", "a", "why", '{"c":1}', '{"p":1}', "HIGH")

    stored = (
        '{"agent_id": "a", "reason": "why", "impact": "HIGH", '
        '"context": {"c":1}, "proposal": {"p":1}}'
    )
    assert text(raw.hgetall(f"{tag}requests_open")) == {"f": stored}
    assert raw.zrange(f"{tag}requests_pending", 0, -1) == [b"f"]

    store.escalation.resolve_request("f", "2026-01-01T00:00:00", "APPROVED", '{"p":2}')

    resolved = text(raw.hgetall(f"{tag}request:f"))
    assert 1.7e15 < int(resolved.pop("requested_us")) <= int(resolved.pop("resolved_us")) < 7.2e15
    assert resolved == {
        "request": stored,
        "status": "RESOLVED",
        "decision": "APPROVED",
        "resolved_at": "2026-01-01T00:00:00",
        "proposal": '{"p":2}',
    }
    assert not raw.exists(f"{tag}requests_open", f"{tag}requests_pending")


def test_an_operation_session(store: StorageBundle, raw: Any, tag: str, namespace: str) -> None:
    store.intent_retry.set_count("f", 3)
    store.intent_retry.set_count("f", 4)

    [key] = [key for key in keys_of(raw, namespace) if b":op:" in key]
    assert key.startswith(f"{tag}op:".encode())
    assert raw.get(key) == b"2 OK"
    assert 590_000 < raw.pttl(key) <= 600_000
