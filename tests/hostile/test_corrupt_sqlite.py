"""Every column of every table spoilt in every way: whatever meets it names table and row."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dir_redis import CorruptRecordError, NamespaceMismatchError, sqlite_storage
from tests.hostile.test_corrupt_records import OPERATIONS, error_of, fill
from tests.hostile.test_fuzz import DOCUMENTED

# As SQL. The third is text that is no UTF-8, the last a moment beyond the years 1 to 9999.
GARBAGE = ("'garbage'", "x'ff'", "CAST(x'ff61' AS TEXT)", "NULL", "-1", "1.5", f"{2**62}")

# Nobody reads them, SQLite keeps garbage out, or it makes the row another's.
UNREAD = {
    *(("agent_registry", column) for column in ("registered_at", "updated_at")),
    *((table, "updated_at") for table in ("context_session", "context_state", "intent_retry")),
    *((table, "created_at") for table in ("idempotency_cache", "saga_dirty_state")),
    *(("resource_locks", column) for column in ("amount", "acquired_at")),
    *((table, "id") for table in ("escalation_budget", "flow_transitions")),
    *((table, "id") for table in ("decision_audit_events", "decision_ledger_entries")),
    ("chain_ends", "chain"),
    ("resource_totals", "resource_id"),
    # SQL alone compares them: a waiter that is spoilt is dead.
    *(("reservation_queue", column) for column in ("resource_id", "ticket", "dead_at_us")),
    # ``verify_audit`` and ``verify_ledger`` find them, which report and do not raise.
    *(("decision_audit_events", column) for column in ("chain_number", "chain_link")),
    ("decision_ledger_entries", "link"),
}
# What is found wrong of a record that was taken: that stands, so that it keeps no others back; and
# what is read of a request once its deadline, which has passed, is written down.
WRITTEN_FIRST = {"claim_next", "claim_dirty", "get_request"}
# Triggers sum up what is held, so that a spoilt amount may be found in its resource's total.
NAMED_TOO = {"resource_locks": "resource_totals "}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a record of every kind, also of somebody who waits for a resource."""
    path = tmp_path_factory.mktemp("whole") / "store.db"
    with sqlite_storage(path, audit_chain=True) as bundle:
        fill(bundle)
    execute(path, "INSERT INTO reservation_queue VALUES ('another', 1, 4000000000000000)")
    return path


def columns_of(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute(
            "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c "
            "WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'"
        ).fetchall()


def spoilings(whole: Path) -> Iterator[tuple[str, str, str]]:
    """Table, column and SQL, for all rows of a table or, where they are of many kinds, for each."""
    with closing(sqlite3.connect(whole)) as raw:
        names = raw.execute("SELECT name FROM dir_redis_meta").fetchall()
    for table, column in columns_of(whole):
        kinds = [f"name = '{name}'" for (name,) in names] if table == "dir_redis_meta" else ["true"]
        for value in GARBAGE:
            for kind in kinds:
                yield table, column, f"UPDATE {table} SET {column} = {value} WHERE {kind}"


def execute(path: Path, sql: str) -> int:
    with closing(sqlite3.connect(path)) as raw, raw:
        return raw.execute(sql).rowcount


def spoil(path: Path, table: str, column: str, update: str) -> bool:
    """Spoil all rows, or one if they have to differ; False if SQLite keeps the value out."""
    for where in ("", f" AND {column} = (SELECT MIN({column}) FROM {table})"):
        try:
            return execute(path, update + where) > 0
        except sqlite3.IntegrityError:
            continue
    return False


@pytest.mark.timeout(240)
def test_whatever_meets_a_spoilt_column_works_or_names_it(whole: Path, tmp_path: Path) -> None:
    wrong: list[str] = []
    met: set[tuple[str, str]] = set()
    path = tmp_path / "store.db"
    for table, column, update in spoilings(whole):
        shutil.copy(whole, path)
        if not spoil(path, table, column, update):
            continue
        for name, caught, changed in errors(path, table):
            if isinstance(caught, CorruptRecordError):
                met.add((table, column))
            if not is_explained(caught, table, name, changed=changed):
                wrong.append(f"{update}: {name}: {caught!r}")
    assert wrong == []
    assert set(columns_of(whole)) - met == UNREAD


def errors(path: Path, table: str) -> Iterator[tuple[str, Exception | None, bool]]:
    """Each operation's error on a file, and whether it changed the table."""
    try:
        bundle = sqlite_storage(path, audit_chain=True)
    except Exception as error:
        yield "opening", error, False
        return
    with bundle, closing(sqlite3.connect(path)) as raw:
        raw.text_factory = bytes
        # Nothing crashes here, and waiting for the disk would take most of the time.
        bundle.context._database._connection.execute("PRAGMA synchronous = OFF")
        for name, operation in OPERATIONS.items():
            before = raw.execute(f"SELECT * FROM {table}").fetchall()
            caught = error_of(operation, bundle)
            yield name, caught, raw.execute(f"SELECT * FROM {table}").fetchall() != before


def is_explained(caught: Exception | None, table: str, name: str, *, changed: bool) -> bool:
    """Whether an operation that met a spoilt row worked, or says what is wrong and did nothing."""
    if isinstance(caught, CorruptRecordError):
        named = caught.key.startswith((f"{table} ", NAMED_TOO.get(table, f"{table} ")))
        return named and (not changed or name in WRITTEN_FIRST)
    if isinstance(caught, NamespaceMismatchError):
        return name == "opening" and table == "dir_redis_meta"
    if isinstance(caught, ValueError):
        return "merging needs an object" in str(caught)  # JSON, but not what merging needs
    # A row whose key was spoilt is another's.
    return caught is None or isinstance(caught, (*DOCUMENTED, StopIteration))


def test_a_spoilt_request_keeps_no_others_from_being_claimed(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite_storage(path) as bundle:
        for dfid in ("spoilt", "sound"):
            bundle.escalation.insert_request(dfid, "agent", "reason", "{}", "{}", "impact")
        execute(path, "UPDATE escalation_requests SET impact = x'ff' WHERE dfid = 'spoilt'")

        with pytest.raises(CorruptRecordError, match="escalation_requests 'spoilt'"):
            bundle.escalation.claim_next("reviewer", 60)
        claimed = bundle.escalation.claim_next("reviewer", 60)
        assert claimed is not None
        assert claimed["dfid"] == "sound"


@pytest.mark.parametrize("column", ["epoch", "failed_step", "partial_state_json"])
def test_a_spoilt_mark_keeps_no_others_from_being_claimed(column: str, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite_storage(path) as bundle:
        bundle.saga.mark_dirty("spoilt", "step", "{}")
        bundle.saga.mark_dirty("sound", "step", "{}")
        execute(path, f"UPDATE saga_dirty_state SET {column} = x'ff' WHERE dfid = 'spoilt'")

        with pytest.raises(CorruptRecordError, match="saga_dirty_state 'spoilt'"):
            bundle.saga.claim_dirty("me", 60)
        claim = bundle.saga.claim_dirty("me", 60)
        assert claim is not None
        assert claim.dfid == "sound"


@pytest.mark.parametrize("deadline", ["1.5", f"{-(2**62)}", "'garbage'"])
def test_a_spoilt_deadline_keeps_no_others_from_being_decided(
    deadline: str, tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    with sqlite_storage(path) as bundle:
        for dfid in ("spoilt", "sound"):
            bundle.escalation.insert_request(dfid, "agent", "reason", "{}", "{}", "impact")
        execute(
            path, f"UPDATE escalation_requests SET deadline_us = {deadline} WHERE dfid = 'spoilt'"
        )

        assert bundle.escalation.resolve("sound", "YES")
        with pytest.raises(CorruptRecordError, match="escalation_requests 'spoilt'"):
            bundle.escalation.get_request("spoilt")


@pytest.mark.parametrize("dead_at", ["'garbage'", f"{2**62}"])
def test_a_spoilt_waiter_holds_nobody_up(dead_at: str, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite_storage(path) as bundle:
        execute(path, f"INSERT INTO reservation_queue VALUES ('seats', 1, {dead_at})")

        bundle.resource_lock.reserve("flow", {"seats": 1})


def test_rows_are_not_trimmed_when_it_is_not_known_what_is_archived(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite_storage(path) as bundle:
        bundle.decision_audit.record("flow", "EVENT")
        bundle.decision_audit.commit_archived("group", "")
        execute(path, "UPDATE audit_groups SET archived = 'garbage'")

        with pytest.raises(CorruptRecordError, match="audit_groups 'group'"):
            bundle.decision_audit.trim(max_rows=0)
        assert len(bundle.decision_audit.all_events_chronological()) == 1
