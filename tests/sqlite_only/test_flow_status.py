"""Closing a flow is one transaction, whatever fails in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dir_redis import SqliteLifecycleStorage, StorageBundle, StorageError, sqlite_storage


def state(store: StorageBundle) -> list[Any]:
    return [
        [row["to_status"] for row in store.lifecycle.get_transitions("f")],
        len(store.decision_audit.events_for_dfid("f")),
        store.intent_retry.get_count("f"),
        store.context.get_session("f"),
        store.resource_lock.get_locked_amount("r", "nobody"),
    ]


@pytest.mark.parametrize(
    "failing",
    [
        "INSERT ON flow_transitions",
        "INSERT ON decision_audit_events",
        "DELETE ON intent_retry",
        "UPDATE ON context_session",
        "DELETE ON resource_locks",
    ],
)
def test_a_step_that_fails_takes_all_others_back(
    store: StorageBundle, raw: Callable[..., list[Any]], failing: str
) -> None:
    store.lifecycle.record_transition("f", "ACTIVE", "EXECUTING")
    store.intent_retry.set_count("f", 2)
    store.context.set_session("f", "{}")
    store.resource_lock.acquire_batch("f", {"r": 1.5}, 0)
    before = state(store)
    raw(f"CREATE TRIGGER spoil BEFORE {failing} BEGIN SELECT RAISE(ABORT, 'spoilt'); END")

    with pytest.raises(StorageError, match="spoilt"):
        store.lifecycle.close_flow("f", "CLOSED")

    assert state(store) == before
    raw("DROP TRIGGER spoil")
    assert store.lifecycle.close_flow("f", "CLOSED") is True
    assert state(store) == [["EXECUTING", "CLOSED"], 1, 0, "{}", 0.0]


def test_a_lifecycle_storage_alone_closes_all_that_the_file_has_of_a_flow(path: Path) -> None:
    with sqlite_storage(path) as store:
        store.intent_retry.set_count("f", 2)
        store.resource_lock.acquire_batch("f", {"r": 1.5}, 0)
        alone = SqliteLifecycleStorage(path)
        assert alone.close_flow("f", "CLOSED")
        alone.close()

        assert store.resource_lock.get_locked_amount("r", "nobody") == 0.0
        assert store.intent_retry.get_count("f") == 0


def test_an_old_flow_goes_on_from_the_status_it_has(
    old_file: Path, raw: Callable[..., list[Any]]
) -> None:
    raw(
        "INSERT INTO flow_transitions (dfid, from_status, to_status) VALUES (?, ?, ?)",
        *("f", "CREATED", "ACTIVE"),
    )
    with sqlite_storage(old_file) as store:
        assert store.lifecycle.current_status("f") == "ACTIVE"
        store.lifecycle.transition("f", "ACTIVE", "VALIDATING")
        assert store.lifecycle.close_flow("f", "ABORTED", expected="VALIDATING")
