"""Into a target goes one copy at a time, and what keeps others out is no record of it."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from dir_redis import (
    ClaimState,
    LeaseLostError,
    ResourceContentionError,
    StorageBundle,
    memory_storage,
)
from dir_redis.migrate import CopyProgress, CopyReport, alone, copy_store
from tests.migrate.conftest import STORES, Opener


@pytest.fixture
def source() -> StorageBundle:
    store = memory_storage()
    store.decision_audit.record_many({"dfid": f"f{n % 50}", "event": f"E{n}"} for n in range(1500))
    for n in range(1200):
        store.lifecycle.record_transition(f"f{n % 50}", f"S{n}", f"S{n + 1}")
    return store


@pytest.mark.parametrize("backend", STORES)
def test_of_two_copies_at_once_the_second_waits_and_finds_all_there(
    backend: str, source: StorageBundle, new_store: Opener
) -> None:
    target = new_store(backend)
    begun, reports = threading.Event(), list[CopyReport]()

    def copy(after: threading.Event, told: threading.Event) -> None:
        assert after.wait(10)
        reports.append(copy_store(source, target, progress=lambda _: told.set()))

    at_once = threading.Event()
    at_once.set()
    copies = [
        threading.Thread(target=copy, args=(at_once, begun)),
        threading.Thread(target=copy, args=(begun, threading.Event())),
    ]
    for thread in copies:
        thread.start()
    for thread in copies:
        thread.join(60)

    assert [report.complete for report in reports] == [True, True]
    assert [report.copied for report in reports] == [2700, 0]
    rows = Counter(row["event"] for row in target.decision_audit.all_events_chronological())
    assert rows == {f"E{n}": 1 for n in range(1500)}
    assert len(target.lifecycle.get_transitions()) == 1200


@pytest.mark.parametrize("backend", STORES)
def test_while_a_copy_goes_on_another_is_refused_in_the_end(
    backend: str, source: StorageBundle, new_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = new_store(backend)
    monkeypatch.setattr(alone, "LEASE_SEC", 1.5)
    refused = []

    def meanwhile(told: CopyProgress) -> None:
        if told == ("copy", "AuditRow", 500, None):
            with pytest.raises(ResourceContentionError, match="one copy at a time"):
                copy_store(memory_storage(), target)
            refused.append(told)

    report = copy_store(source, target, progress=meanwhile)
    assert report.complete, str(report)
    assert len(refused) == 1
    monkeypatch.undo()
    assert copy_store(source, target).complete


@pytest.mark.parametrize("backend", STORES)
def test_a_copy_that_lost_its_target_stops(
    backend: str, source: StorageBundle, new_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = new_store(backend)
    monkeypatch.setattr(alone, "LEASE_SEC", 1.5)
    told = []

    def lose(progress: CopyProgress) -> None:
        told.append(progress)
        if progress == ("copy", "AuditRow", 500, None):
            # As if this process had stood still for as long as the lease.
            monkeypatch.setattr(type(target.idempotency), "renew_claim", _refused)
            assert target.idempotency.wait(alone.KEY, 10).state is ClaimState.NEW

    with pytest.raises(LeaseLostError, match="copy into"):
        copy_store(source, target, progress=lose)

    assert told[-1] == ("copy", "AuditRow", 500, None)
    monkeypatch.undo()
    assert copy_store(source, target).complete
    assert len(target.decision_audit.all_events_chronological()) == 1500


def _refused(*_: object) -> None:
    raise LeaseLostError("claim", 1)


@pytest.mark.parametrize("backend", STORES)
def test_the_claim_is_no_record_of_source_or_target(backend: str, new_store: Opener) -> None:
    first, second = new_store(backend), new_store(backend)
    copy_store(memory_storage(), first)

    for source, target in ((first, second), (first, second), (second, first)):
        keys = copy_store(source, target).kinds["IdempotencyKey"]
        assert (keys.source, keys.copied, keys.already_there, keys.only_in_target) == (0, 0, 0, 0)
        assert keys.differing == []
