"""verify_store on SQLite: each damage to the file is named with its table and row."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dir_redis import sqlite_storage, verify_store
from tests.migrate.full_store import fill

# What is done to the file; the table of the finding, its kind, and words of it.
DAMAGES = {
    "a total too high": (
        "UPDATE resource_totals SET units = units + 1 WHERE resource_id = 'capital'",
        *("resource_totals 'capital'", "mismatch", "are held"),
    ),
    "a total of nothing": (
        "INSERT INTO resource_totals VALUES ('ghost', 7)",
        *("resource_totals 'ghost'", "mismatch", "says 7 units, and 0 are held"),
    ),
    "a total is gone": (
        "DELETE FROM resource_totals WHERE resource_id = 'capital'",
        *("resource_totals 'capital'", "mismatch", "says 0 units"),
    ),
    "a contract that is no JSON": (
        "UPDATE agent_registry SET contract = '{' WHERE agent_id = 'zeta'",
        *("agent_registry 'zeta'", "garbled", "its contract should hold JSON"),
    ),
    "a session that is no JSON": (
        "UPDATE context_session SET data = '{' WHERE dfid = 'z'",
        *("context_session 'z'", "garbled", "its data"),
    ),
    "a result that is no JSON": (
        "UPDATE idempotency_cache SET result = '{' WHERE key = 'set'",
        *("idempotency_cache 'set'", "garbled", "its result"),
    ),
    "a claim without a token": (
        "UPDATE idempotency_claims SET token = NULL WHERE key = 'running'",
        *("idempotency_claims 'running'", "garbled", "without a token"),
    ),
    "a claim held beside its result": (
        "UPDATE idempotency_claims SET completed = 1 WHERE key = 'running'",
        *("idempotency_claims 'running'", "mismatch", "though it is completed"),
    ),
    "tokens that begin anew": (
        "UPDATE dir_redis_meta SET value = 1 WHERE name = 'reservation_number'",
        *("reservation_leases 'flow-1'", "mismatch", "not given yet"),
    ),
    "a mark that is no JSON": (
        "UPDATE saga_dirty_state SET partial_state_json = '{' WHERE dfid = 'flow-2'",
        *("saga_dirty_state 'flow-2'", "garbled", "partial_state_json"),
    ),
    "an owner without an epoch": (
        "UPDATE saga_dirty_state SET epoch = 0 WHERE owner IS NOT NULL",
        *("saga_dirty_state 'flow-1'", "mismatch", "without an epoch"),
    ),
    "a request of no status": (
        "UPDATE escalation_requests SET status = 'x' WHERE dfid = 'z'",
        *("escalation_requests 'z'", "garbled", "neither PENDING nor RESOLVED"),
    ),
    "a decision without a decision": (
        "UPDATE escalation_requests SET human_decision = NULL WHERE dfid = 'a'",
        *("escalation_requests 'a'", "mismatch", "without a decision"),
    ),
    "an audit row that is gone": (
        "DELETE FROM decision_audit_events WHERE id = 5",
        *(
            "decision_audit_events, before decision_audit_events 6",
            "missing",
            "breaks the chain at number 5",
        ),
    ),
    "a ledger entry that says something else": (
        "UPDATE decision_ledger_entries SET intent_payload = '{}' WHERE dfid = 'z'",
        *("decision_ledger_entries 1", "mismatch", "breaks the chain at number 1"),
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_named_with_its_row(tmp_path: Path, name: str) -> None:
    statement, record, kind, words = DAMAGES[name]
    path = tmp_path / "store.db"
    with sqlite_storage(path, audit_chain=True) as bundle:
        fill(bundle)
        assert verify_store(bundle).findings == ()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute(statement).rowcount > 0
            connection.commit()

        findings = verify_store(bundle).findings

    assert any(
        found.key == record and found.kind == kind and words in found.problem for found in findings
    ), findings
    assert len(findings) <= 3


def test_pages_that_sqlite_finds_broken_are_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite_storage(path) as bundle:
        fill(bundle)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            # An index that should have all requests, and says that it has those of another status.
            connection.execute(
                "UPDATE sqlite_master SET sql = replace(sql, '''PENDING''', '''RESOLVED''') "
                "WHERE name = 'idx_escalation_requests_pending'"
            )
            connection.commit()

    report = verify_store(f"sqlite:///{path}")

    assert report.where == str(path)
    assert {found.kind for found in report.findings} == {"garbled"}
    assert "idx_escalation_requests_pending" in report.findings[0].problem
