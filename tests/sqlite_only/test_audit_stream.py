"""The audit log in one file that several processes write, follow, archive and trim."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dir_redis import StorageBundle, StorageError, sqlite_storage
from dir_redis.audit_events import TRIM_ROWS

SECONDS = 20


def test_rows_of_other_processes_are_followed_in_order_archived_and_trimmed(
    store: StorageBundle, at_once: Callable[..., list[str]]
) -> None:
    """Two processes append and one trims, while this one follows and commits."""
    audit = store.decision_audit
    audit.commit_archived("g", "")
    followed = audit.follow(timeout_sec=SECONDS)
    archived = []

    def follow() -> None:
        for row in itertools.islice(followed, 2 * 90):
            archived.append((row["dfid"], row["event"]))
            if len(archived) % 20 == 0:
                audit.commit_archived("g", followed.cursor)

    follower = threading.Thread(target=follow)
    follower.start()
    dropped = at_once(
        """
audit, dropped = sqlite_storage(path).decision_audit, 0
for turn in range(30):
    if number < 2:
        audit.record(f"f{number}", f"{turn}.0")
        audit.record_many([{"dfid": f"f{number}", "event": f"{turn}.{k}"} for k in (1, 2)])
    else:
        dropped += audit.trim(max_rows=0)
print(dropped)
""",
        3,
    )
    follower.join(SECONDS)

    for n in range(2):
        own = [event for flow, event in archived if flow == f"f{n}"]
        assert own == [f"{turn}.{k}" for turn in range(30) for k in range(3)]
    left = [row["event"] for row in audit.all_events_chronological()]
    assert int(dropped[2]) + len(left) == 180
    assert len(left) >= 180 - len(archived)


def test_rows_of_dir_core_are_numbered_and_trimmed_like_any(
    old_file: Path, raw: Callable[..., list[Any]]
) -> None:
    for number in range(3):
        raw(
            "INSERT INTO decision_audit_events (dfid, event, timestamp) VALUES (?, ?, ?)",
            *("f", str(number), "2026-01-01T00:00:00.000000+00:00"),
        )
    with sqlite_storage(old_file) as store:
        store.decision_audit.record("f", "young")

        assert store.decision_audit.trim(older_than_sec=3600) == 3
        assert [row["event"] for row in store.decision_audit.iter_events("f")] == ["young"]


def test_ids_of_dropped_rows_are_not_given_out_again(store: StorageBundle) -> None:
    """Or a cursor behind them would hide new rows."""
    audit = store.decision_audit
    audit.record_many([{"dfid": "f", "event": str(n)} for n in range(5)])
    iterator = audit.iter_events()
    list(iterator)
    audit.trim(max_rows=0)
    audit.record("f", "new")

    assert [row["event"] for row in audit.iter_events(after=iterator.cursor)] == ["new"]


def test_many_rows_are_one_transaction(store: StorageBundle, raw: Callable[..., list[Any]]) -> None:
    raw(
        "CREATE TRIGGER spoil BEFORE INSERT ON decision_audit_events WHEN NEW.event = 'bad' "
        "BEGIN SELECT RAISE(ABORT, 'spoilt'); END"
    )

    with pytest.raises(StorageError, match="spoilt"):
        store.decision_audit.record_many(
            [{"dfid": "f", "event": event} for event in ("good", "bad", "good")]
        )

    assert store.decision_audit.all_events_chronological() == []


def test_trimming_lets_other_writers_in_between_its_pages(store: StorageBundle) -> None:
    audit = store.decision_audit
    rows = 3 * TRIM_ROWS
    audit.record_many([{"dfid": "f", "event": "old"}] * rows)
    transactions = []
    database: Any = audit._database  # type: ignore[attr-defined]
    begin = database.transaction
    database.transaction = lambda *waiting: transactions.append(1) or begin(*waiting)

    assert audit.trim(max_rows=0) == rows

    assert len(transactions) == 4  # three pages, and a look that finds no more
