"""No byte of a file's ledger can change without its verification naming where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dir_redis import CorruptRecordError, StorageBundle, sqlite_storage
from tests.conformance.test_decision_ledger import Intent

DFIDS = ("a-1", "b-2", "c-3", "d-4", "e-5", "f-6")  # no two of them differ in one byte
ENTRIES = len(DFIDS)
TEXTS = (
    *("dfid", "root_dfid", "agent_id", "intent_payload", "context_ref", "evidence_hash"),
    *("signature", "committed_at", "link"),
)

Raw = Callable[..., list[Any]]


@pytest.fixture
def written(store: StorageBundle) -> StorageBundle:
    for number in range(1, ENTRIES + 1):
        intent = Intent(
            DFIDS[number - 1], {"shares": number, "é": [None, 1.5]}, f"c{number}", "e", "s"
        )
        store.decision_ledger.append(intent, agent_id="agent", root_dfid=f"root-{number}")
    assert store.decision_ledger.verify_ledger().intact
    return store


def test_every_single_byte_of_every_entry_counts(written: StorageBundle, raw: Raw) -> None:
    tried = 0
    for number in range(1, ENTRIES + 1):
        for column in TEXTS:
            change = f"UPDATE decision_ledger_entries SET {column} = CAST(? AS TEXT) WHERE id = ?"
            [(whole,)] = raw(
                f"SELECT CAST({column} AS BLOB) FROM decision_ledger_entries WHERE id = ?", number
            )
            for at in range(len(whole)):
                # All bits in turn; the highest makes it no UTF-8 any more.
                changed = whole[:at] + bytes([whole[at] ^ (1 << (tried % 8))]) + whole[at + 1 :]
                raw(change, changed, number)
                broken_at = written.decision_ledger.verify_ledger().broken_at
                assert broken_at is not None, (column, changed)
                assert broken_at.record == f"decision_ledger_entries {number}"
                assert broken_at.problem.startswith("changed")
                tried += 1
            raw(change, whole, number)

    assert tried == 864
    assert written.decision_ledger.verify_ledger().intact


def test_a_missing_entry_is_named_by_its_number(written: StorageBundle, raw: Raw) -> None:
    for number in range(ENTRIES, 0, -1):
        raw("DELETE FROM decision_ledger_entries WHERE id = ?", number)

        broken_at = written.decision_ledger.verify_ledger().broken_at
        assert broken_at is not None
        assert (broken_at.number, broken_at.problem) == (number, "missing")


@pytest.mark.parametrize("column", TEXTS)
def test_the_same_bytes_of_another_type_count(
    written: StorageBundle, raw: Raw, column: str
) -> None:
    """A BLOB equals no text: its flow would not be found."""
    raw(f"UPDATE decision_ledger_entries SET {column} = CAST({column} AS BLOB) WHERE id = 2")

    broken_at = written.decision_ledger.verify_ledger().broken_at
    assert broken_at is not None
    assert broken_at.number == 2


@pytest.mark.parametrize("column", ["dfid", "root_dfid", "agent_id", "event", "chain_link"])
def test_the_same_bytes_of_another_type_count_in_the_audit_log(
    path: Path, raw: Raw, column: str
) -> None:
    with sqlite_storage(path, audit_chain=True) as store:
        for _ in range(3):
            store.decision_audit.record("f", "E", agent_id="a")
        raw(f"UPDATE decision_audit_events SET {column} = CAST({column} AS BLOB) WHERE id = 2")

        broken_at = store.decision_audit.verify_audit().broken_at
        assert broken_at is not None
        assert broken_at.number == 2


def test_a_changed_byte_in_the_index_of_flows_counts(written: StorageBundle, path: Path) -> None:
    written.close()
    content = path.read_bytes()
    # The index has its own copy of each dfid, in front of the entry's number.
    places = [at for at in range(len(content)) if content.startswith(b"d-4\x04", at)]
    assert len(places) == 1
    path.write_bytes(content[: places[0]] + b"d-5" + content[places[0] + 3 :])

    with sqlite_storage(path) as store:
        broken_at = store.decision_ledger.verify_ledger().broken_at
        assert broken_at is not None
        assert (broken_at.number, broken_at.dfid) == (4, "d-4")
        assert "index" in broken_at.problem


def test_a_renumbered_entry_counts(written: StorageBundle, raw: Raw) -> None:
    raw("UPDATE decision_ledger_entries SET id = 99 WHERE id = 3")

    broken_at = written.decision_ledger.verify_ledger().broken_at
    assert broken_at is not None
    assert broken_at.number == 3


@pytest.mark.parametrize(
    "change",
    [
        "number = number - 1",
        "number = number + 1",
        "number = 'x'",
        "link = REPLACE(link, substr(link, 1, 1), 'g')",
        "link = (SELECT link FROM decision_ledger_entries WHERE id = 2)",
    ],
)
def test_a_changed_end_of_the_chain_counts(written: StorageBundle, raw: Raw, change: str) -> None:
    raw(f"UPDATE chain_ends SET {change} WHERE chain = 'ledger'")

    assert not written.decision_ledger.verify_ledger().intact


def test_a_garbled_end_takes_no_further_entry(written: StorageBundle, raw: Raw) -> None:
    raw("UPDATE chain_ends SET link = 'x' WHERE chain = 'ledger'")

    with pytest.raises(CorruptRecordError, match="chain_ends 'ledger'"):
        written.decision_ledger.append(Intent("next"), agent_id="a")


def test_a_lost_end_takes_no_further_entry_and_changes_none(
    written: StorageBundle, raw: Raw
) -> None:
    raw("DELETE FROM chain_ends")
    before = written.decision_ledger.all_entries_chronological()

    assert not written.decision_ledger.verify_ledger().intact
    with pytest.raises(CorruptRecordError, match="it is gone, and there are entries"):
        written.decision_ledger.append(Intent("next"), agent_id="a")
    assert written.decision_ledger.all_entries_chronological() == before


@pytest.mark.usefixtures("written")
def test_the_stored_entry(raw: Raw) -> None:
    [row] = raw(f"SELECT id, {', '.join(TEXTS)} FROM decision_ledger_entries WHERE id = 2")

    assert row[:8] == (
        *(2, "b-2", "root-2", "agent", '{"shares": 2, "\\u00e9": [null, 1.5]}', "c2", "e", "s"),
    )
    assert len(row[9]) == 64
    assert raw("SELECT number, link, trimmed_number FROM chain_ends WHERE chain = 'ledger'") == [
        (ENTRIES, raw("SELECT link FROM decision_ledger_entries WHERE id = 6")[0][0], 0)
    ]


def test_rows_trimmed_while_the_audit_chain_is_walked_are_not_missing(path: Path) -> None:
    with sqlite_storage(path, audit_chain=True) as store:
        audit: Any = store.decision_audit
        audit.record_many([{"dfid": "f", "event": "E"}] * 10)
        read = audit._database.read
        trimmed: list[int] = []

        def trim_before_the_rows(sql: str, *values: object) -> Any:
            if "chain_number" in sql and not trimmed:
                trimmed.append(audit.trim(max_rows=4))
            return read(sql, *values)

        audit._database.read = trim_before_the_rows
        report = audit.verify_audit()

    assert trimmed == [6]
    assert (report.verified, report.broken_at) == (4, None)
