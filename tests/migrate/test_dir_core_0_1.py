"""A file of dir-core 0.1.0 is copied without being changed, and what has no place is listed."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from dir_redis import StorageBundle, StorageConfigurationError, memory_storage
from dir_redis.migrate import CopyReport, copy_store
from tests.migrate.conftest import STORES, Opener
from tests.sqlite_only.conftest import TABLES_OF_0_1_0

ROWS = """
    INSERT INTO agent_registry (agent_id, contract, priority, status, agent_version, session_token)
        VALUES ('zeta', '{"role":  "trader"}', 3, 'ACTIVE', '1.2', 'token'),
               ('alpha', '', 0, 'ACTIVE', NULL, NULL);
    INSERT INTO agent_registry (agent_id, status, suspension_reason)
        VALUES ('beta', 'SUSPENDED', 'too eager');
    INSERT INTO context_session (dfid, data) VALUES ('flow', '{"x":  1}'), ('none', '');
    INSERT INTO context_state (agent_id, data, version) VALUES ('zeta', '[1, 2]', 7);
    INSERT INTO idempotency_cache (key, result) VALUES ('key', '{"paid": true}');
    INSERT INTO saga_dirty_state (dfid, failed_step, partial_state_json, created_at)
        VALUES ('z', 'pay', '{"sent": 1}', '2026-01-01 10:00:00'),
               ('a', 'ship', '', '2026-01-01 10:00:00'),
               ('m', 'late', '{}', '2026-01-01 09:00:00');
    INSERT INTO resource_locks (dfid, resource_id, amount, acquired_at)
        VALUES ('f1', 'capital', 0.1, '2026-01-01 10:00:00'),
               ('f2', 'capital', 0.2, '2026-01-01 10:00:01'),
               ('f2', 'quota', 33, '2026-01-01 10:00:01');
    INSERT INTO intent_retry (dfid, rejection_count) VALUES ('flow', 4);
    INSERT INTO escalation_budget (agent_id, created_at)
        VALUES ('zeta', '2026-01-01 10:00:00'), ('zeta', '2026-01-01 10:00:00'),
               ('zeta', '2026-01-01 10:00:01');
    INSERT INTO escalation_requests (dfid, agent_id, reason, context_json, proposal_json, impact,
        created_at)
        VALUES ('z', 'zeta', 'why', '{"c":  1}', '', 'high', '2026-01-01 10:00:00'),
               ('a', 'alpha', '', '{}', '{"p": 2}', '', '2026-01-01 10:00:00');
    INSERT INTO escalation_requests (dfid, agent_id, status, resolved_at, human_decision)
        VALUES ('b', 'x', 'RESOLVED', '2026-01-01T10:00:00+00:00', 'APPROVE'),
               ('c', 'x', 'RESOLVED', NULL, NULL);
    INSERT INTO flow_transitions (dfid, from_status, to_status, created_at)
        VALUES ('flow', 'CREATED', 'ACTIVE', '2026-01-01 10:00:00'),
               ('flow', 'ACTIVE', 'CLOSED', '2026-01-01 10:00:00'),
               ('older', NULL, 'ACTIVE', '2025-12-31 10:00:00');
    INSERT INTO decision_audit_events (dfid, event, timestamp, step_id, state, detail_json)
        VALUES ('flow', 'STARTED', '2026-01-01T10:00:00.500000Z', 's', 'ACTIVE', '{"n":  1}'),
               ('flow', 'ENDED', '2026-01-01T10:00:00.400000Z', '', '', '');
"""


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """A file of dir-core 0.1.0 that uses all its tables."""
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES_OF_0_1_0)
        connection.executescript(ROWS)
    return path


def run(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql)


def listed(report: CopyReport, kind: str, what: str) -> dict[str, str]:
    return dict(getattr(report.kinds[kind], what))


def is_all_there(store: StorageBundle) -> None:
    agents = store.agent_registry
    assert agents.list_active_agents() == ["zeta", "alpha"]
    assert agents.get_agent("zeta") == {
        "agent_id": "zeta",
        "contract": {"role": "trader"},
        "priority": 3,
        "status": "ACTIVE",
        "agent_version": "1.2",
        "session_token": "token",
    }
    assert agents.get_contract_versioned("alpha") == ("{}", 1)
    assert agents.get_status("beta") == ("SUSPENDED", "too eager")
    assert store.context.get_session_versioned("flow") == ('{"x":  1}', 1)
    assert store.context.get_state_versioned("zeta") == ("[1, 2]", 7)
    assert store.idempotency.get("key") == {"paid": True}
    assert store.saga.get_dirty_state("a") == {"failed_step": "ship", "partial_state": {}}
    holders = store.resource_lock.holders("capital")
    assert [(holder.dfid, holder.amount, holder.since.isoformat()) for holder in holders] == [
        ("f1", Decimal("0.1"), "2026-01-01T10:00:00+00:00"),
        ("f2", Decimal("0.2"), "2026-01-01T10:00:01+00:00"),
    ]
    assert {holder.fencing_token for holder in holders} == {None}
    assert store.intent_retry.get_count("flow") == 4
    assert store.escalation.get_window_count("zeta", "2026-01-01 10:00:00") == 3
    assert store.escalation.get_window_count("zeta", "2026-01-01T10:00:00.5") == 1
    assert [one["dfid"] for one in store.escalation.get_pending_requests()] == ["z", "a"]
    decided = store.escalation.get_request("b")
    assert decided is not None
    assert (decided["decision"], decided["resolved_at"]) == ("APPROVE", "2026-01-01T10:00:00+00:00")
    assert [row["to_status"] for row in store.lifecycle.get_transitions("flow")] == [
        "ACTIVE",
        "CLOSED",
    ]
    events = store.decision_audit.events_for_dfid("flow")
    assert [(row["event"], row["details"]) for row in events] == [
        ("STARTED", {"n": 1}),
        ("ENDED", {}),
    ]
    assert events[0]["timestamp"] == "2026-01-01T10:00:00.500000Z"


@pytest.mark.parametrize("backend", STORES)
def test_its_records_are_all_in_the_copy(backend: str, old_file: Path, new_store: Opener) -> None:
    target = new_store(backend)

    report = copy_store(old_file, target)

    assert report.complete, str(report)
    is_all_there(target)
    assert copy_store(old_file, target).copied == 0


@pytest.mark.parametrize("backend", STORES)
def test_marks_are_in_the_order_in_which_they_were_made(
    backend: str, old_file: Path, new_store: Opener
) -> None:
    target = new_store(backend)

    copy_store(old_file, target)

    assert target.saga.get_dirty_flows() == ["z", "a", "m"]


def test_it_is_not_changed_also_while_somebody_has_it_open(old_file: Path) -> None:
    before = hashlib.sha256(old_file.read_bytes()).hexdigest()
    with closing(sqlite3.connect(old_file)) as connection:
        connection.execute("SELECT * FROM agent_registry").fetchone()
        for source in (old_file, str(old_file), f"sqlite:///{old_file}"):
            with memory_storage() as target:
                assert copy_store(source, target).complete

    assert hashlib.sha256(old_file.read_bytes()).hexdigest() == before
    assert [path.name for path in old_file.parent.iterdir()] == ["old.db"]


def test_what_is_read_otherwise_is_listed(old_file: Path) -> None:
    run(
        old_file,
        "INSERT INTO resource_locks (dfid, resource_id, amount) VALUES ('f3', 'btc', 0.1234567891)",
    )
    with memory_storage() as target:
        report = copy_store(old_file, target)

        assert target.resource_lock.holders("btc")[0].amount == Decimal("0.12345679")
    assert report.complete
    assert listed(report, "Session", "adjusted") == {
        "Session 'none'": "empty text, which is no JSON, became {}"
    }
    assert listed(report, "HeldReservation", "adjusted") == {
        "HeldReservation ('f3', 'btc')": "0.1234567891 was rounded to 0.12345679, 8 decimal places"
    }
    assert listed(report, "Request", "adjusted") == {
        "Request 'c'": "what was decided is not said; its status gives ''; "
        "when it was decided is not said; when it was asked is taken"
    }
    assert listed(report, "Transition", "adjusted") == {
        "Transition 3": "from_status, which is NULL, became ''"
    }
    left_out = dict(report.left_out)
    assert left_out["agent_registry.registered_at"].endswith("(3 rows)")
    assert left_out["idempotency_cache.created_at"].endswith("(1 row)")
    assert set(left_out) == {
        "agent_registry.registered_at",
        *(f"{table}.updated_at" for table in ("agent_registry", "context_session")),
        *(f"{table}.updated_at" for table in ("context_state", "intent_retry")),
        "idempotency_cache.created_at",
    }


def test_what_no_store_can_hold_is_listed_and_the_copy_is_not_complete(old_file: Path) -> None:
    run(
        old_file,
        """
        INSERT INTO resource_locks (dfid, resource_id, amount) VALUES ('f1', 'debt', -50),
            ('f1', 'endless', 9e999), ('f4', 'nothing', 0);
        INSERT INTO agent_registry (agent_id, contract) VALUES ('', '{}'), ('spoilt', '{"a');
        INSERT INTO context_session (dfid, data) VALUES (CAST(x'ff61' AS TEXT), '{}');
        INSERT INTO intent_retry (dfid, rejection_count) VALUES ('below', -1);
        INSERT INTO escalation_requests (dfid, agent_id, status) VALUES ('d', 'x', 'LOST');
        INSERT INTO decision_audit_events (dfid, event, timestamp) VALUES ('flow', 'X', 'today');
        INSERT INTO escalation_budget (agent_id, created_at) VALUES ('zeta', 'yesterday');
        CREATE TABLE mine (a);
        INSERT INTO mine VALUES (1), (2);
        ALTER TABLE context_session ADD COLUMN note TEXT;
        UPDATE context_session SET note = 'n' WHERE dfid = 'flow';
        """,
    )
    with memory_storage() as target:
        report = copy_store(old_file, target)
        is_all_there(target)

    assert not report.complete
    assert listed(report, "HeldReservation", "not_represented") == {
        "HeldReservation ('f1', 'debt')": "the amount of 'debt' must not be negative",
        "HeldReservation ('f1', 'endless')": "the amount of 'endless' must be finite",
    }
    assert set(listed(report, "Agent", "not_represented")) == {"Agent ''", "Agent 'spoilt'"}
    assert list(listed(report, "Session", "not_represented")) == ["Session '\\udcffa'"]
    assert listed(report, "Retries", "not_represented") == {
        "Retries 'below'": "rejection_count must be 0 or more, not -1"
    }
    assert listed(report, "Request", "not_represented") == {
        "Request 'd'": "nobody knows the status 'LOST'"
    }
    assert list(listed(report, "AuditRow", "not_represented")) == ["AuditRow 3"]
    assert list(listed(report, "Budget", "not_represented")) == ["Budget ('zeta', 4)"]
    left_out = dict(report.left_out)
    assert left_out["mine"] == "no table of dir-core 0.1 to 0.4 (2 rows)"
    assert left_out["context_session.note"] == "no column of dir-core 0.1 to 0.4 (1 row)"
    assert left_out["resource_locks ('f4', 'nothing')"] == "an amount of 0 holds nothing"
    assert report.kinds["Agent"].source == 5
    assert "NOT complete" in str(report)


def test_an_unfinished_write_of_a_killed_process_is_told(old_file: Path) -> None:
    with closing(sqlite3.connect(old_file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("CREATE TABLE big (a)")
        connection.executemany("INSERT INTO big VALUES (?)", [("x" * 5000,)] * 500)
        killed = old_file.with_name("killed.db")
        killed.write_bytes(old_file.read_bytes())
        journal = old_file.with_name("old.db-journal").read_bytes()
        killed.with_name("killed.db-journal").write_bytes(journal)
        connection.execute("ROLLBACK")

    with memory_storage() as target, pytest.raises(StorageConfigurationError, match="unfinished"):
        copy_store(killed, target)


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "other.db", "CREATE TABLE mine (a)")
    (tmp_path / "text.db").write_text("no database at all, but long enough to look at twice\n" * 20)

    with memory_storage() as target:
        with pytest.raises(StorageConfigurationError, match="no file of dir-core"):
            copy_store(tmp_path / "other.db", target)
        with pytest.raises(StorageConfigurationError, match=r"text\.db"):
            copy_store(tmp_path / "text.db", target)
        with pytest.raises(StorageConfigurationError, match="must be there"):
            copy_store(tmp_path / "missing.db", target)
    assert not (tmp_path / "missing.db").exists()


def test_a_file_is_not_copied_to_itself_and_stays_what_it_is(
    old_file: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(old_file)
    before = hashlib.sha256(old_file.read_bytes()).hexdigest()

    for target in (old_file, link, f"sqlite:///{old_file}"):
        with pytest.raises(ValueError, match="same store"):
            copy_store(str(old_file), target)

    assert hashlib.sha256(old_file.read_bytes()).hexdigest() == before
