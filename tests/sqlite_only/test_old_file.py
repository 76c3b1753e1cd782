"""A file of dir-core 0.1.0 opens with all its records, and dir-core 0.1.0 can go on using it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal

import pytest

from dir_redis import InsufficientCapacityError, StorageConfigurationError, sqlite_storage


@pytest.fixture
def old_store(old_file):
    with closing(sqlite3.connect(old_file)) as connection:
        connection.executescript(
            """
            INSERT INTO agent_registry
                (agent_id, contract, priority, status, agent_version, session_token)
                VALUES ('zeta', '{"role": "trader"}', 3, 'ACTIVE', '1.2', 'token'),
                       ('alpha', '', 0, 'ACTIVE', NULL, NULL);
            INSERT INTO agent_registry (agent_id, status, suspension_reason)
                VALUES ('beta', 'SUSPENDED', 'too eager');
            INSERT INTO context_session (dfid, data) VALUES ('flow', '{"x":  1}');
            INSERT INTO context_state (agent_id, data) VALUES ('zeta', '[1, 2]');
            INSERT INTO idempotency_cache (key, result) VALUES ('key', '{"paid": true}');
            INSERT INTO saga_dirty_state (dfid, failed_step, partial_state_json)
                VALUES ('z', 'pay', '{"sent": 1}'), ('a', 'ship', '');
            INSERT INTO resource_locks (dfid, resource_id, amount)
                VALUES ('f1', 'capital', 0.1), ('f2', 'capital', 0.2), ('f2', 'quota', 33),
                       ('f3', 'capital', -50);
            INSERT INTO intent_retry (dfid, rejection_count) VALUES ('flow', 4);
            INSERT INTO escalation_budget (agent_id, created_at)
                VALUES ('zeta', '2026-01-01 10:00:00'), ('zeta', '2026-01-01 10:00:01');
            INSERT INTO escalation_requests
                (dfid, agent_id, reason, context_json, proposal_json, impact)
                VALUES ('z', 'zeta', 'why', '{"c": 1}', '', 'high'),
                       ('a', 'alpha', '', '{}', '{"p": 2}', '');
            INSERT INTO escalation_requests (dfid, agent_id, status) VALUES ('b', 'x', 'RESOLVED');
            INSERT INTO flow_transitions (dfid, from_status, to_status, created_at)
                VALUES ('flow', 'CREATED', 'ACTIVE', '2026-01-01 10:00:00');
            INSERT INTO decision_audit_events (dfid, event, timestamp, step_id, state, detail_json)
                VALUES ('flow', 'STARTED', '2026-01-01T10:00:00.500000Z', 's', 'ACTIVE',
                        '{"n": 1}');
            """
        )
    with sqlite_storage(old_file) as bundle:
        yield bundle


def test_agents_are_there_in_their_order(old_store):
    assert old_store.agent_registry.get_agent("zeta") == {
        "agent_id": "zeta",
        "contract": {"role": "trader"},
        "priority": 3,
        "status": "ACTIVE",
        "agent_version": "1.2",
        "session_token": "token",
    }
    assert old_store.agent_registry.get_agent("alpha")["contract"] == {}
    assert old_store.agent_registry.get_status("beta") == ("SUSPENDED", "too eager")
    assert old_store.agent_registry.list_active_agents() == ["zeta", "alpha"]


def test_contexts_and_results_and_counts_are_there(old_store):
    assert old_store.context.get_session("flow") == '{"x":  1}'
    assert old_store.context.get_state("zeta") == "[1, 2]"
    assert old_store.idempotency.get("key") == {"paid": True}
    assert old_store.intent_retry.get_count("flow") == 4


def test_marks_and_requests_are_there_in_their_order(old_store):
    assert old_store.saga.get_dirty_flows() == ["z", "a"]
    assert old_store.saga.get_dirty_state("z") == {
        "failed_step": "pay",
        "partial_state": {"sent": 1},
    }
    assert old_store.saga.get_dirty_state("a") == {"failed_step": "ship", "partial_state": {}}
    assert [request["dfid"] for request in old_store.escalation.get_pending_requests()] == [
        "z",
        "a",
    ]


def test_reservations_count_exactly_and_a_negative_one_makes_no_room(old_store):
    locks = old_store.resource_lock
    assert locks.get_locked_amount("capital", exclude_dfid="nobody") == 0.3
    assert locks.get_locked_amount("capital", exclude_dfid="f1") == 0.2
    locks.set_capacity("capital", Decimal("0.4"))
    assert locks.acquire_batch("f4", {"capital": 0.1}, 1)
    with pytest.raises(InsufficientCapacityError):
        locks.acquire_batch("f5", {"capital": Decimal("0.00000001")}, 1)


def test_tokens_of_both_makers_count_in_one_window(old_store):
    escalation = old_store.escalation
    assert escalation.get_window_count("zeta", "2026-01-01 10:00:00") == 2
    assert escalation.get_window_count("zeta", "2026-01-01T10:00:00.000001Z") == 1
    escalation.record_budget_token("zeta")
    assert escalation.get_window_count("zeta", "2026-01-01 10:00:01") == 2


def test_log_rows_get_the_fields_of_newer_ones(old_store):
    assert old_store.decision_audit.events_for_dfid("flow") == [
        {
            "dfid": "flow",
            "root_dfid": "flow",
            "event": "STARTED",
            "event_type": "STARTED",
            "timestamp": "2026-01-01T10:00:00.500000Z",
            "created_at": "2026-01-01T10:00:00.500000Z",
            "step_id": "s",
            "state": "ACTIVE",
            "details": {"n": 1},
            "severity": "INFO",
        }
    ]
    assert old_store.lifecycle.get_transitions("flow") == [
        {
            "dfid": "flow",
            "root_dfid": "flow",
            "from_status": "CREATED",
            "to_status": "ACTIVE",
            "created_at": "2026-01-01T10:00:00.000000Z",
        }
    ]


def test_dir_core_0_1_0_goes_on_writing_and_reading(old_store, raw):
    raw("INSERT OR REPLACE INTO saga_dirty_state (dfid, failed_step) VALUES ('z', 'again')")
    raw("INSERT INTO decision_audit_events (dfid, event, timestamp) "
        "VALUES ('flow', 'MORE', '2026-01-01T10:00:01.000000Z')")  # fmt: skip
    assert old_store.saga.get_dirty_flows() == ["a", "z"]
    assert [row["event"] for row in old_store.decision_audit.events_for_dfid("flow")] == [
        "STARTED",
        "MORE",
    ]
    old_store.resource_lock.acquire_batch("f9", {"quota": 1.5}, 1)
    assert raw("SELECT SUM(amount) FROM resource_locks WHERE resource_id = 'quota'") == [(34.5,)]


def test_amounts_too_large_for_the_scale_are_refused_and_stay_as_they_were(old_file, raw):
    raw("INSERT INTO resource_locks (dfid, resource_id, amount) VALUES ('f', 'yen', 1e11)")
    with pytest.raises(StorageConfigurationError, match="open it with fewer"):
        sqlite_storage(old_file)
    assert raw("SELECT dfid, resource_id, amount FROM resource_locks") == [("f", "yen", 1e11)]
    columns = [name for (name,) in raw("SELECT name FROM pragma_table_info('resource_locks')")]
    assert "units" not in columns
    assert raw("SELECT name FROM sqlite_master WHERE type = 'trigger'") == []
    with sqlite_storage(old_file, amount_places=2) as bundle:
        assert bundle.resource_lock.get_locked_amount("yen", exclude_dfid="nobody") == 1e11
