"""What columns keep to the byte, and records that somebody spoilt."""

from __future__ import annotations

import pytest

from dir_redis import CorruptRecordError


@pytest.mark.parametrize("data", ["1.50", " 12 ", "-0", "1e400", "123456789012345678901234", '"1"'])
def test_json_that_looks_like_a_number_comes_back_to_the_byte(store, data):
    store.context.set_session("flow", data)
    store.context.set_state("agent", data)
    assert store.context.get_session("flow") == data
    assert store.context.get_state("agent") == data


def test_a_contract_that_is_a_long_number_keeps_its_digits(store):
    store.agent_registry.upsert_agent("agent", "123456789012345678901", 0, "ACTIVE", None, None)
    assert store.agent_registry.get_agent("agent")["contract"] == 123456789012345678901


@pytest.mark.parametrize(
    ("spoil", "read", "key"),
    [
        (
            "INSERT INTO agent_registry (agent_id, contract) VALUES ('x', '{oops')",
            lambda store: store.agent_registry.get_agent("x"),
            "agent_registry 'x'",
        ),
        (
            "INSERT INTO idempotency_cache (key, result) VALUES ('x', '{oops')",
            lambda store: store.idempotency.get("x"),
            "idempotency_cache 'x'",
        ),
        (
            "INSERT INTO saga_dirty_state (dfid, partial_state_json) VALUES ('x', '{oops')",
            lambda store: store.saga.get_dirty_state("x"),
            "saga_dirty_state 'x'",
        ),
        (
            "INSERT INTO escalation_requests (dfid, agent_id, context_json) "
            "VALUES ('x', 'a', '{oops')",
            lambda store: store.escalation.get_pending_requests(),
            "escalation_requests 'x'",
        ),
        (
            "INSERT INTO decision_audit_events (dfid, event, timestamp, detail_json) "
            "VALUES ('x', 'e', '2026-01-01T00:00:00.000000Z', '{oops')",
            lambda store: store.decision_audit.events_for_dfid("x"),
            "decision_audit_events 1",
        ),
        (
            "INSERT INTO decision_audit_events (dfid, event, timestamp) VALUES ('x', 'e', 'noon')",
            lambda store: store.decision_audit.all_events_chronological(),
            "decision_audit_events 1",
        ),
        (
            "INSERT INTO flow_transitions (dfid, to_status, created_at) VALUES ('x', 'A', 5)",
            lambda store: store.lifecycle.get_transitions(),
            "flow_transitions 1",
        ),
    ],
)
def test_a_spoilt_record_is_named(store, raw, spoil, read, key):
    raw(spoil)
    with pytest.raises(CorruptRecordError) as found:
        read(store)
    assert found.value.key == key


def test_text_that_is_no_utf8_is_a_corrupt_record(store, raw):
    raw("INSERT INTO saga_dirty_state (dfid) VALUES (CAST(x'ff61' AS TEXT))")
    with pytest.raises(CorruptRecordError, match="UTF-8"):
        store.saga.get_dirty_flows()


@pytest.mark.parametrize(
    ("since", "count"),
    [
        ("0001-01-01 00:00:00", 1),
        ("0001-01-01T00:00+14:00", 1),
        ("9999-12-31 23:59:59", 0),
        ("9999-12-31T23:59:59.9999999", 0),
        ("9999-12-31T23:59-14:00", 0),
    ],
)
def test_a_window_may_begin_at_the_ends_of_time(store, since, count):
    store.escalation.record_budget_token("agent")
    assert store.escalation.get_window_count("agent", since) == count


def test_the_stored_form_of_a_token_is_pinned(store, raw):
    store.escalation.record_budget_token("agent")
    ((created_at,),) = raw("SELECT created_at FROM escalation_budget")
    assert len(created_at) == len("2026-11-23 16:00:00.123456")
    assert created_at[10] == " "
    assert created_at[19] == "."


def test_the_stored_amount_is_what_dir_core_0_1_0_would_have_written(store, raw):
    store.resource_lock.acquire_batch("flow", {"capital": 0.1, "none": 0}, 1)
    assert raw("SELECT dfid, resource_id, amount, units FROM resource_locks") == [
        ("flow", "capital", 0.1, 10_000_000)
    ]
