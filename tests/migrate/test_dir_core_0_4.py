"""A file that dir-core's own storages wrote, of release 0.2 or later, and what becomes of it."""

from __future__ import annotations

import hashlib
import importlib
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dir_redis import StorageBundle, StorageConfigurationError, memory_storage
from dir_redis.migrate import copy_store
from dir_redis.migrate.ends import raw_store
from dir_redis.migrate.records import IdempotencyKey, Session
from tests.dir_core_needed import need_dir_core
from tests.migrate.conftest import STORES, Opener

need_dir_core()
dir_core: Any = importlib.import_module("dir_core.storage.sqlite")


@dataclass
class Intent:
    dfid: str
    intent_payload: dict[str, Any] = field(default_factory=lambda: {"buy": 3})
    context_ref: str = "context"
    evidence_hash: str = "evidence"
    signature: str = "signature"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that dir-core's storages have written every table of that they write."""
    path = tmp_path / "dir-core.db"
    where = str(path)
    agents = dir_core.SqliteAgentRegistryStorage(where)
    agents.upsert_agent("zeta", '{"role":  "trader"}', 3, "ACTIVE", "1.2", "token")
    agents.upsert_agent("alpha", "{}", 0, "ACTIVE", None, None)
    agents.update_status("alpha", "SUSPENDED", "too eager")
    context = dir_core.SqliteContextStorage(where)
    context.set_session("flow", '{"x": 0}', agent_id="zeta")
    context.set_session("flow", '{"x":  1}')
    context.set_session("nobody's", "[]")
    context.set_state("zeta", "[1, 2]")
    dir_core.SqliteIdempotencyStorage(where).set("key", {"paid": True})
    saga = dir_core.SqliteSagaStorage(where)
    saga.mark_dirty("z", "pay", '{"sent": 1}')
    saga.mark_dirty("a", "ship", "{}")
    locks = dir_core.SqliteResourceLockStorage(where)
    locks.acquire_batch("flow", {"capital": 0.1, "quota": 33}, 1)
    locks.acquire_batch("other", {"seats": 2}, 1)
    dir_core.SqliteIntentRetryStorage(where).set_count("flow", 4)
    escalation = dir_core.SqliteEscalationStorage(where)
    escalation.record_budget_token("zeta")
    escalation.record_budget_token("zeta")
    escalation.insert_request("flow", "zeta", "first", "{}", "{}", "")
    escalation.resolve_request("flow", "2026-01-01T10:00:00+00:00", "ABORT", '{"p": 2}')
    escalation.insert_request("z", "zeta", "why", '{"c": 1}', "{}", "high")
    escalation.insert_request("a", "newcomer", "", "{}", "{}", "")
    escalation.insert_request("z", "zeta", "again", '{"c": 1}', "{}", "high")
    lifecycle = dir_core.SqliteLifecycleStorage(where)
    lifecycle.record_transition("flow", "CREATED", "ACTIVE", root_dfid="root")
    lifecycle.record_transition("z", "CREATED", "ACTIVE")
    audit = dir_core.SqliteDecisionAuditStorage(where)
    audit.record("flow", "STARTED", details={"n": 1}, agent_id="zeta", severity="ERROR")
    audit.record("flow", "ENDED", step_id="s", state="CLOSED", root_dfid="root")
    ledger = dir_core.SqliteDecisionLedgerStorage(where)
    ledger.append(Intent("flow"), agent_id="zeta", root_dfid="root")
    ledger.append(Intent("z", signature=""), agent_id="alpha")
    return path


def run(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql)


def same_answers(store: StorageBundle, path: Path) -> None:
    """Compare what a store answers with what dir-core itself does."""
    where = str(path)
    agents = dir_core.SqliteAgentRegistryStorage(where)
    for agent_id in ("zeta", "alpha", "newcomer", "unknown"):
        assert store.agent_registry.get_agent(agent_id) == agents.get_agent(agent_id)
        assert store.agent_registry.get_status(agent_id) == agents.get_status(agent_id)
    assert store.agent_registry.list_active_agents() == ["zeta", "newcomer"]
    context = dir_core.SqliteContextStorage(where)
    for dfid in ("flow", "nobody's", "z"):
        assert store.context.get_session(dfid) == context.get_session(dfid)
    assert store.context.get_state("zeta") == "[1, 2]"
    assert store.idempotency.get("key") == {"paid": True}
    assert store.saga.get_dirty_flows() == ["z", "a"]
    assert store.saga.get_dirty_state("z") == {"failed_step": "pay", "partial_state": {"sent": 1}}
    locks = dir_core.SqliteResourceLockStorage(where)
    for resource_id in ("capital", "quota", "seats"):
        held = store.resource_lock.get_locked_amount(resource_id, "nobody")
        assert held == locks.get_locked_amount(resource_id, "nobody") > 0
    assert store.intent_retry.get_count("flow") == 4
    escalation = dir_core.SqliteEscalationStorage(where)
    assert store.escalation.get_window_count("zeta", "2020-01-01 00:00:00") == 2
    pending = {one["reason"]: one for one in escalation.get_pending_requests()}
    assert store.escalation.get_pending_requests() == [pending[""], pending["again"]]
    for mine, theirs in (
        (store.decision_audit, dir_core.SqliteDecisionAuditStorage(where)),
        (store.decision_ledger, dir_core.SqliteDecisionLedgerStorage(where)),
    ):
        read = "all_events_chronological" if mine is store.decision_audit else None
        rows = getattr(mine, read or "all_entries_chronological")()
        expected = getattr(theirs, read or "all_entries_chronological")()
        moments = {"timestamp", "created_at", "committed_at"}
        assert [{k: v for k, v in row.items() if k not in moments} for row in rows] == [
            {k: v for k, v in row.items() if k not in moments} for row in expected
        ]
        for row, other in zip(rows, expected, strict=True):
            for name in moments & row.keys():
                # dir-core keeps whole seconds, as '2026-01-01 10:00:00'.
                assert row[name][:19] == other[name].replace(" ", "T")
    assert [
        (row["dfid"], row["root_dfid"], row["from_status"], row["to_status"])
        for row in store.lifecycle.get_transitions()
    ] == [("flow", "root", "CREATED", "ACTIVE"), ("z", "z", "CREATED", "ACTIVE")]


@pytest.mark.parametrize("backend", STORES)
def test_its_records_answer_in_the_copy_as_they_do_there(
    backend: str, file: Path, new_store: Opener
) -> None:
    target = new_store(backend)

    report = copy_store(file, target)

    assert report.complete, str(report)
    same_answers(target, file)
    assert target.decision_ledger.verify_ledger().verified == 2
    again = copy_store(file, target)
    assert (again.copied, again.complete) == (0, True)


def test_versions_owners_and_ends_are_kept(file: Path) -> None:
    with memory_storage() as target:
        copy_store(file, target)
        raw, _ = raw_store(target)
        sessions = raw.find(Session, ["flow", "nobody's"])
        (key,) = raw.find(IdempotencyKey, ["key"]).values()
        holder = target.resource_lock.holders("capital")[0]
        request = target.escalation.get_request("flow")

    assert (sessions["flow"].version, sessions["flow"].agent_id) == (2, "zeta")
    assert (sessions["nobody's"].version, sessions["nobody's"].agent_id) == (1, None)
    with closing(sqlite3.connect(file)) as connection:
        ((expires_at,),) = connection.execute("SELECT expires_at FROM idempotency_cache")
    assert key.result_until_us is not None
    assert key.result_until_us % 1_000_000 == int(expires_at[20:26])
    assert (key.fingerprint, key.token) == (None, None)
    assert (holder.amount, holder.until, holder.fencing_token) == (Decimal("0.1"), None, None)
    assert request is not None
    assert (request["decision"], request["resolved_at"], request["proposal"]) == (
        "ABORT",
        "2026-01-01T10:00:00+00:00",
        {"p": 2},
    )


def test_all_that_is_left_out_is_listed(file: Path) -> None:
    with memory_storage() as target:
        report = copy_store(file, target)
        assert target.agent_registry.get_agent("__dir_kernel__") is None

    assert dict(report.left_out) == {
        "agent_registry '__dir_kernel__'": "no agent: dir-core makes the row for its foreign keys",
        "agent_registry.registered_at": "nothing returns it, and no order depends on it (4 rows)",
        "agent_registry.updated_at": "nothing returns it, and no order depends on it (4 rows)",
        "flow_context.updated_at": "nothing returns it, and no order depends on it (2 rows)",
        "agent_state.updated_at": "nothing returns it, and no order depends on it (1 row)",
        "idempotency_cache.request_hash": (
            "the hash of the result, not of a request, so no fingerprint of a payload (1 row)"
        ),
        "idempotency_cache.created_at": "nothing returns it, and no order depends on it (1 row)",
        "intent_retry.max_retries": "the limit is an argument of increment() (1 row)",
        "intent_retry.retry_policy": "nothing here waits between retries (1 row)",
        "intent_retry.updated_at": "nothing returns it, and no order depends on it (1 row)",
        "decision_flows": (
            "made by dir-core for its foreign keys; a flow's status here is its last transition's "
            "(5 rows)"
        ),
        "escalation_requests 2": "a later one of 'z' stands (PENDING for 'z')",
    }


def test_what_dir_core_itself_never_writes_is_listed_too(file: Path) -> None:
    run(
        file,
        """
        UPDATE decision_flows SET status = 'COMPLETED', completed_at = '2026-01-01 10:00:00'
            WHERE dfid = 'flow';
        INSERT INTO decision_flows (dfid, root_dfid, dfid_parent, agent_id)
            VALUES ('child', 'flow', 'flow', 'alpha');
        INSERT INTO decision_feedback_trajectory (agent_id, dfid, status)
            VALUES ('zeta', 'flow', 'Rejected');
        UPDATE flow_transitions SET correlation_id = 'c' WHERE dfid = 'flow';
        UPDATE decision_audit_events SET causation_id = 'c';
        UPDATE intent_retry SET backoff_until = '2026-01-01 10:00:00';
        UPDATE resource_locks SET expires_at = '2026-01-01 10:00:00' WHERE resource_id = 'quota';
        INSERT INTO idempotency_cache (idempotency_key, request_hash, result, expires_at)
            VALUES ('old', '', '{}', '2026-01-01 10:00:00');
        INSERT INTO escalation_requests (dfid, root_dfid, agent_id, status)
            VALUES ('flow', 'flow', 'zeta', 'CANCELLED');
        INSERT INTO escalation_requests (dfid, root_dfid, agent_id, status, human_decision)
            VALUES ('child', 'flow', 'zeta', 'REJECTED', 'MODIFY');
        INSERT INTO agent_registry (agent_id, contract) VALUES (x'ff', '{}');
        """,
    )
    with memory_storage() as target:
        report = copy_store(file, target)
        assert target.idempotency.get("old") is None
        assert target.resource_lock.holders("quota")[0].until is None

    left_out = dict(report.left_out)
    assert left_out["decision_flows 'flow'"] == (
        "no storage keeps flows beside their log: status 'COMPLETED', root_dfid 'flow', "
        "flow_type 'DEFAULT', flow_version '1.0', priority 0, completed_at '2026-01-01 10:00:00'"
    )
    assert "dfid_parent 'flow'" in left_out["decision_flows 'child'"]
    assert left_out["decision_flows.agent_id"].endswith("these have none (1 row)")
    assert left_out["decision_feedback_trajectory 1"].startswith("no storage keeps feedback")
    assert left_out["flow_transitions.correlation_id"].endswith("(1 row)")
    assert left_out["decision_audit_events.causation_id"].endswith("(2 rows)")
    assert left_out["intent_retry.backoff_until"].endswith("(1 row)")
    assert left_out["resource_locks.expires_at"].endswith("held until released (1 row)")
    assert left_out["idempotency_cache 'old'"] == "its expires_at has passed"
    assert left_out["escalation_requests 5"] == "cancelled (CANCELLED for 'flow')"
    assert left_out["escalation_requests.root_dfid"].endswith("(1 row)")
    assert (
        "but not that it is REJECTED" in dict(report.kinds["Request"].adjusted)["Request 'child'"]
    )
    assert dict(report.kinds["Agent"].not_represented) == {
        "Agent b'\\xff'": "the key must be a str, not bytes"
    }


@pytest.mark.parametrize("ledger", [True, False])
def test_it_is_not_changed(file: Path, ledger: bool) -> None:
    if not ledger:  # as release 0.2 makes it
        run(file, "DROP TABLE decision_ledger_entries")
    before = hashlib.sha256(file.read_bytes()).hexdigest()

    with memory_storage() as target:
        assert copy_store(file, target).kinds["LedgerEntry"].copied == (2 if ledger else 0)

    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_it_is_a_source_and_no_target(file: Path) -> None:
    refused = pytest.raises(StorageConfigurationError, match=r"file of dir-core 0\.2 or later")
    with memory_storage() as source, refused:
        copy_store(source, file)
