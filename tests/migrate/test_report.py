"""What differs, what only the target has, and what it cannot hold is counted and listed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dir_redis import (
    CorruptRecordError,
    StorageBundle,
    memory_storage,
    open_storage,
    sqlite_storage,
)
from dir_redis.migrate import CopyProgress, copy_store
from dir_redis.migrate.ends import raw_store
from dir_redis.migrate.records import (
    AuditRow,
    Capacity,
    Held,
    HeldReservation,
    IdempotencyKey,
    Keyed,
    LedgerEntry,
    Row,
    Session,
    Transition,
)
from dir_redis.migrate.sqlite import SqliteRawStore
from tests.migrate.conftest import STORES, Opener
from tests.migrate.full_store import answers, fill


@pytest.fixture
def source() -> StorageBundle:
    store = memory_storage()
    fill(store)
    return store


@pytest.mark.parametrize("backend", STORES)
def test_a_record_that_differs_is_listed_and_not_overwritten(
    backend: str, source: StorageBundle, new_store: Opener
) -> None:
    target = new_store(backend)
    copy_store(source, target)
    target.context.set_session("z", "{}")
    target.agent_registry.update_status("zeta", "RETIRED", "done")
    target.intent_retry.set_count("z", 9)
    target.resource_lock.set_capacity("capital", 5)
    source.saga.clear_dirty("a")
    source.saga.mark_dirty("a", "anew", "{}")

    report = copy_store(source, target)

    assert not report.complete
    assert report.copied == 0
    differing = {
        listed.record: listed.reason for kind in report.kinds.values() for listed in kind.differing
    }
    assert differing.pop("DirtyMark 'a'").startswith("failed_step is '' in the target, 'anew'")
    assert set(differing) == {
        "Session 'z'",
        "Agent 'zeta'",
        "Retries 'z'",
        "Capacity 'capital'",
    }
    assert differing["Agent 'zeta'"] == "status is 'RETIRED' in the target, 'ACTIVE' in the source"
    assert target.context.get_session("z") == "{}"
    assert target.intent_retry.get_count("z") == 9


@pytest.mark.parametrize("backend", STORES)
def test_to_a_flow_whose_rows_are_others_none_is_appended(
    backend: str, source: StorageBundle, new_store: Opener
) -> None:
    target = new_store(backend)
    target.decision_audit.record("z", "MINE")
    target.lifecycle.record_transition("späť", "CREATED", "ABORTED")
    target.decision_audit.record("only here", "E")

    report = copy_store(source, target)

    assert not report.complete
    assert [listed.record for listed in report.kinds["AuditRow"].differing] == ["AuditRow of 'z'"]
    assert [row["event"] for row in target.decision_audit.events_for_dfid("z")] == ["MINE"]
    assert report.kinds["AuditRow"].only_in_target == 1
    (transition,) = report.kinds["Transition"].differing
    assert transition == ("Transition of 'späť'", "row 1 is another one in the target")
    for dfid in ("a", "flow-1"):
        assert len(target.decision_audit.events_for_dfid(dfid)) == len(
            source.decision_audit.events_for_dfid(dfid)
        )


@pytest.mark.parametrize("backend", STORES)
def test_a_flow_with_more_rows_in_the_target_differs(
    backend: str, source: StorageBundle, new_store: Opener
) -> None:
    target = new_store(backend)
    copy_store(source, target)
    target.decision_audit.record("z", "LATER")

    (differing,) = copy_store(source, target).kinds["AuditRow"].differing

    assert differing == ("AuditRow of 'z'", "the target has 5 rows, the source 4")


@pytest.mark.parametrize("backend", STORES)
def test_what_only_the_target_has_is_counted_and_stays(
    backend: str, source: StorageBundle, new_store: Opener
) -> None:
    target = new_store(backend)
    target.context.set_state("mine", "{}")
    target.agent_registry.upsert_agent("mine", "{}", 0, "ACTIVE", None, None)

    report = copy_store(source, target)

    assert report.complete, str(report)
    assert report.kinds["State"].only_in_target == 1
    assert report.kinds["Agent"].only_in_target == 1
    assert target.agent_registry.list_active_agents()[0] == "mine"


@pytest.mark.parametrize("backend", STORES)
def test_agents_in_another_order_are_told(backend: str, new_store: Opener) -> None:
    source, target = memory_storage(), new_store(backend)
    for store, order in ((source, "ab"), (target, "ba")):
        for agent_id in order:
            store.agent_registry.upsert_agent(agent_id, "{}", 0, "ACTIVE", None, None)

    report = copy_store(source, target)

    assert report.kinds["Agent"].differing == [
        ("Agent 'b'", "has another place in the target's order")
    ]


@pytest.mark.parametrize("backend", STORES)
def test_amounts_of_more_places_than_the_target_keeps_are_listed_and_the_rest_is_copied(
    backend: str, new_store: Opener
) -> None:
    source, target = memory_storage(amount_places=4), new_store(backend, amount_places=2)
    locks = source.resource_lock
    for n in range(5):
        locks.set_capacity(f"r{n}", Decimal(n) + Decimal("0.25"))
        locks.acquire_batch(f"f{n}", {f"r{n}": n + 0.25}, 1)
    locks.set_capacity("fine", Decimal("1.2345"))
    locks.acquire_batch("f2", {"other": Decimal("0.0001")}, 1)

    report = copy_store(source, target)

    assert not report.complete
    (capacity,) = report.kinds["Capacity"].not_represented
    assert capacity.record == "Capacity 'fine'"
    assert "decimal places" in capacity.reason
    (reservation,) = report.kinds["HeldReservation"].not_represented
    assert reservation.record == "HeldReservation 'f2'"
    capacities = report.kinds["Capacity"]
    assert (capacities.copied, capacities.source) == (5, 6)
    assert (report.kinds["HeldReservation"].copied, report.kinds["HeldReservation"].source) == (
        4,
        5,
    )
    raw, _ = raw_store(target)
    assert set(raw.find(Capacity, ["r0", "r4", "fine"])) == {"r0", "r4"}
    assert set(raw.find(HeldReservation, ["f0", "f2", "f4"])) == {"f0", "f4"}


@pytest.mark.parametrize("backend", STORES[2:])
def test_a_row_that_a_server_cannot_hold_ends_its_flow_there_and_no_other(
    backend: str, new_store: Opener
) -> None:
    source, target = memory_storage(), new_store(backend)
    raw, _ = raw_store(source)
    rows = [
        AuditRow(f"f{n % 3}", 1_700_000_000_000_000 + n, f"E{n}", "", "", "{}", None, None, "INFO")
        for n in range(30)
    ]
    rows[10] = rows[10]._replace(moment_us=-1)
    raw.put(rows)

    report = copy_store(source, target)

    (listed,) = report.kinds["AuditRow"].not_represented
    assert listed.record == "AuditRow 4 and later of 'f1'"
    assert (report.kinds["AuditRow"].copied, report.kinds["AuditRow"].source) == (23, 30)
    assert [len(target.decision_audit.events_for_dfid(f"f{n}")) for n in range(3)] == [10, 3, 10]
    assert not report.complete
    again = copy_store(source, target)
    assert (again.copied, again.kinds["AuditRow"].already_there) == (0, 23)


@pytest.mark.parametrize("backend", STORES[2:])
def test_rows_whose_moments_go_back_keep_their_order_and_are_listed(
    backend: str, new_store: Opener
) -> None:
    source, target = memory_storage(), new_store(backend)
    raw, _ = raw_store(source)
    base = 1_700_000_000_000_000
    rows = [
        AuditRow("f", base + moment, f"E{moment}", "", "", "{}", None, None, "INFO")
        for moment in (50, 40, 60)
    ]
    raw.put(rows)

    report = copy_store(source, target)

    assert report.complete
    assert report.kinds["AuditRow"].adjusted == [
        ("AuditRow 2 of 'f'", "its moment is 10 µs later, to keep the order")
    ]
    events = target.decision_audit.events_for_dfid("f")
    assert [row["event"] for row in events] == ["E50", "E40", "E60"]


def test_a_source_that_changes_meanwhile_is_told_by_the_comparison(source: StorageBundle) -> None:
    def change(progress: CopyProgress) -> None:
        if progress[:2] == ("copy", "AuditRow"):
            source.context.set_session("z", "{}")
            source.decision_audit.record("a", "LATER")
            source.intent_retry.set_count("new", 1)

    with memory_storage() as target:
        report = copy_store(source, target, progress=change)

    assert not report.complete
    assert [listed.record for kind in report.kinds.values() for listed in kind.differing] == [
        "Session 'z'",
        "Retries 'new'",
        "AuditRow of 'a'",
    ]


def test_what_ends_between_two_looks_does_not_differ(
    source: StorageBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.lifecycle.close_flow("z", "ABORTED", session_ttl_sec=0.5)
    comparing = []
    real = SqliteRawStore.find

    def find(self: SqliteRawStore, kind: Any, keys: Any) -> Any:
        while comparing and kind is Session and source.context.get_session("z"):
            pass
        return real(self, kind, keys)

    monkeypatch.setattr(SqliteRawStore, "find", find)
    with sqlite_storage(tmp_path / "target.db") as target:
        report = copy_store(
            source, target, progress=lambda told: told.stage == "compare" and comparing.append(told)
        )

    assert comparing
    assert report.complete, str(report)
    assert (report.kinds["Session"].copied, report.kinds["Session"].source) == (5, 5)


def test_progress_is_told_for_every_page_and_every_kind(source: StorageBundle) -> None:
    source.decision_audit.record_many({"dfid": "f", "event": "E"} for _ in range(1200))
    told: list[CopyProgress] = []

    with memory_storage() as target:
        report = copy_store(source, target, progress=told.append)

    rows = report.kinds["AuditRow"].source
    assert rows == 1224
    assert [progress for progress in told if progress.kind == "AuditRow"] == [
        ("copy", "AuditRow", 500, None),
        ("copy", "AuditRow", 1000, None),
        ("copy", "AuditRow", rows, rows),
        ("compare", "AuditRow", 500, rows),
        ("compare", "AuditRow", 1000, rows),
        ("compare", "AuditRow", rows, rows),
    ]
    assert {progress.kind for progress in told} == set(report.kinds)


def test_the_report_reads_well(source: StorageBundle) -> None:
    with memory_storage() as target:
        target.context.set_session("z", "{}")
        lines = str(copy_store(source, target)).splitlines()

    assert lines[0] == "memory:// -> memory://: NOT complete"
    assert lines[1].split()[:4] == ["source", "copied", "already", "differ"]
    assert (
        "Session                 5        4        0        1        0         0           0"
        in lines
    )
    assert "  Session 'z': data_json is '{}' in the target, " in "\n".join(lines)


def test_urls_and_paths_are_opened_and_closed(source: StorageBundle, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "target.db"

    assert copy_store(source, path).complete
    assert copy_store(f"sqlite:///{path}", f"sqlite:///{tmp_path}/second.db").complete
    with open_storage(f"sqlite:///{tmp_path}/second.db") as second:
        assert answers(second) == answers(source)


@pytest.mark.parametrize("backend", STORES)
def test_a_store_is_not_copied_to_itself(backend: str, new_store: Opener) -> None:
    store = new_store(backend)

    with pytest.raises(ValueError, match="same store"):
        copy_store(store, store)
    if store.url is not None and backend != "memory":
        with (
            open_storage(store.url, **_same_namespace(store)) as again,
            pytest.raises(ValueError, match="same store"),
        ):
            copy_store(store, again)


def _same_namespace(store: StorageBundle) -> dict[str, Any]:
    return {} if store.namespace is None else {"namespace": store.namespace}


def test_a_bundle_of_several_backends_is_refused(tmp_path: Path) -> None:
    mixed = memory_storage()
    with sqlite_storage(tmp_path / "x.db") as store, memory_storage() as other:
        mixed.context = store.context
        for source, target in ((mixed, other), (other, mixed)):
            with pytest.raises(ValueError, match="mixes"):
                copy_store(source, target)
        mixed.context = other.context
        with pytest.raises(ValueError, match="several stores"):
            copy_store(mixed, store)


def test_what_is_no_place_is_told_with_what_is_taken() -> None:
    taken = "a bundle of dir_redis, a URL, or the path of a SQLite file, not builtins.object"
    for source, target, name in ((object(), memory_storage(), "source"), ("x", object(), "target")):
        with pytest.raises(TypeError, match=f"^{name} must be {taken}"):
            copy_store(source, target)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "table", "column"),
    [
        (LedgerEntry, "decision_ledger_entries", "dfid"),
        (LedgerEntry, "decision_ledger_entries", "signature"),
        (AuditRow, "decision_audit_events", "event"),
        (Transition, "flow_transitions", "to_status"),
    ],
)
def test_a_blob_in_a_log_of_a_file_is_named(
    kind: type[Row], table: str, column: str, source: StorageBundle, tmp_path: Path
) -> None:
    path = tmp_path / "source.db"
    copy_store(source, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {table} SET {column} = CAST({column} AS BLOB) WHERE id = 2")

    with sqlite_storage(path) as store, pytest.raises(CorruptRecordError, match=f"{table} 2"):
        list(raw_store(store)[0].read(kind))


@pytest.mark.parametrize("backend", STORES)
def test_what_has_ended_in_the_target_is_no_record_in_the_way(
    backend: str, new_store: Opener
) -> None:
    target = new_store(backend)
    raw, _ = raw_store(target)
    past, future = 1_700_000_000_000_000, 4_000_000_000_000_000
    new: list[Keyed] = [
        HeldReservation("f", (Held("r", Decimal(2), past),), 4, future),
        Session("f", "[2]", None, 1, None, None),
        IdempotencyKey("k", "2", None, None, None, 0, None, False, None),
    ]
    old: list[Keyed] = [
        HeldReservation("f", (Held("r", Decimal(1), past), Held("s", Decimal(1), past)), 3, past),
        Session("f", "[1]", None, 1, None, past),
        IdempotencyKey("k", "1", past, 7, None, 0, None, True, past),
    ]
    for record in old:
        raw.put([record])

    assert [raw.put([record, record]) for record in new] == [1, 1, 1]

    for record in new:
        assert raw.find(type(record), [record.key]) == {record.key: record}
    assert target.resource_lock.get_locked_amount("r", "nobody") == 2
    assert target.resource_lock.get_locked_amount("s", "nobody") == 0
