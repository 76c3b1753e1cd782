"""Memory forgets results and claims that are over, without anybody asking for them."""

from __future__ import annotations

import pytest

from dir_redis import MemoryIdempotencyStorage, MemorySagaStorage
from dir_redis.claims import ENDED_KEPT_SEC


@pytest.fixture
def idempotency(monkeypatch):
    storage = MemoryIdempotencyStorage()
    storage.moment = 1_000_000_000
    monkeypatch.setattr(storage._clock, "now", lambda: storage.moment)
    return storage


def claim(idempotency, key, **named):
    return idempotency.claim(key, lease_sec=60, owner="me", **named)


def test_what_is_over_is_forgotten_by_later_writes(idempotency):
    for n in range(250):
        idempotency.complete(claim(idempotency, f"short{n}"), n, ttl_sec=10)
    idempotency.abandon(claim(idempotency, "abandoned", fingerprint="a"))
    idempotency.renew_claim(claim(idempotency, "running"), 3600)
    idempotency.complete(claim(idempotency, "for ever"), 1)
    idempotency.complete(claim(idempotency, "with fingerprint", fingerprint="a"), 1)

    idempotency.moment += 10_000_000
    for n in range(3):
        idempotency.set(f"other{n}", {})
    records = idempotency._records
    assert all(records[f"short{n}"].result is None for n in range(250))
    assert {"abandoned", "running", "for ever", "with fingerprint"} <= set(records)

    idempotency.moment += (ENDED_KEPT_SEC + 7200) * 1_000_000
    for _ in range(6):
        idempotency.set("other0", {})
    assert set(records) == {"for ever", "with fingerprint", "other0", "other1", "other2"}
    assert not records["for ever"].has_claim
    assert records["with fingerprint"].has_claim
    assert idempotency._ends == {}


def test_renewing_leaves_one_note_to_look_again(idempotency):
    claimed = claim(idempotency, "k")
    for _ in range(1000):
        idempotency.moment += 1_000_000
        idempotency.renew_claim(claimed, 60)

    assert len(idempotency._ends_in_order) == 1


def test_a_cleared_flows_epochs_go_on_rising_when_the_clock_goes_back(monkeypatch):
    saga = MemorySagaStorage()
    saga.mark_dirty("f", "pay", "{}")
    claim = saga.claim_dirty("me", 60)
    saga.clear_dirty("f", epoch=claim.epoch)
    monkeypatch.setattr(saga._clock, "now", lambda: claim.epoch - 3_600_000_000)
    saga.mark_dirty("f", "pay", "{}")

    assert saga.claim_dirty("you", 60).epoch == claim.epoch + 1
