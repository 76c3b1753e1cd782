"""Claims in a file: several processes, one of them killed, old files, and what is deleted when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from dir_redis import Claim, ClaimState, CorruptRecordError, LeaseLostError, sqlite_storage

PATIENCE_SEC = 20


def test_each_step_runs_in_one_of_three_processes(store, at_once):
    outputs = at_once(
        "with sqlite_storage(path) as store:\n"
        "    for n in range(20):\n"
        "        def step(claim):\n"
        "            print('ran', n)\n"
        "            return n\n"
        "        assert store.idempotency.run_once(f'k{n}', step) == n\n",
        processes=3,
    )

    ran = [line for output in outputs for line in output.split("\n") if line]
    assert sorted(ran) == sorted(f"ran {n}" for n in range(20))
    assert [store.idempotency.get(f"k{n}") for n in range(20)] == list(range(20))


@pytest.mark.usefixtures("store")
def test_no_count_of_three_processes_is_lost_or_given_twice(at_once):
    outputs = at_once(
        "with sqlite_storage(path) as store:\n"
        "    for n in range(40):\n"
        "        print(store.intent_retry.increment('f').count)\n",
        processes=3,
    )

    counts = [int(line) for output in outputs for line in output.split()]
    assert sorted(counts) == list(range(1, 121))


def test_each_flow_is_compensated_by_one_of_three_processes(store, at_once):
    for n in range(30):
        store.saga.mark_dirty(f"f{n}", "pay", "{}")
    outputs = at_once(
        "with sqlite_storage(path) as store:\n"
        "    while (claim := store.saga.claim_dirty(str(number), 60)) is not None:\n"
        "        print(claim.dfid)\n"
        "        store.saga.clear_dirty(claim.dfid, epoch=claim.epoch)\n",
        processes=3,
    )

    done = [dfid for output in outputs for dfid in output.split()]
    assert sorted(done) == sorted(f"f{n}" for n in range(30))
    assert store.saga.get_dirty_flows() == []


def test_the_step_of_a_killed_process_is_run_by_another(store, path):
    hanging = (
        "import signal, sys; from dir_redis import *\n"
        "def step(claim):\n"
        "    print(claim.token, flush=True)\n"
        "    signal.pause()\n"
        "with sqlite_storage(sys.argv[1]) as store:\n"
        "    store.idempotency.run_once('k', step, lease_sec=0.3, owner='dead')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", hanging, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    token = int(process.stdout.readline())
    assert store.idempotency.claim("k", lease_sec=1, owner="me").owner == "dead"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    assert store.idempotency.run_once("k", lambda claim: claim.token > token) is True
    with pytest.raises(LeaseLostError):
        store.idempotency.complete(Claim("k", ClaimState.NEW, token=token), "late")
    assert store.idempotency.get("k") is True


def test_a_result_that_has_gone_is_deleted_by_the_next_write(store, raw):
    claim = store.idempotency.claim("k", fingerprint="a", lease_sec=60, owner="me")
    store.idempotency.complete(claim, 1, ttl_sec=0.01)
    stay = store.idempotency.claim("stay", lease_sec=60, owner="me")
    store.idempotency.complete(stay, 2, ttl_sec=3600)
    while store.idempotency.get("k") is not None:
        pass
    store.idempotency.set("other", {})

    keys = raw("SELECT key FROM idempotency_cache ORDER BY key")
    assert keys == [("other",), ("stay",)]
    # Its token is kept for a day, so that the next one is larger under a clock that goes back.
    assert raw("SELECT key FROM idempotency_claims ORDER BY key") == [("k",), ("stay",)]


def test_gone_results_are_deleted_by_the_hundred(store, raw):
    for n in range(250):
        raw("INSERT INTO idempotency_cache (key, result, expires_us) VALUES (?, '1', ?)", f"{n}", n)
    left = []
    for n in range(3):
        store.idempotency.set(f"other{n}", {})
        left += raw("SELECT COUNT(*) FROM idempotency_cache WHERE expires_us IS NOT NULL")

    assert left == [(150,), (50,), (0,)]


def test_results_and_marks_of_dir_core_0_1_0_are_found(old_file, raw):
    raw("INSERT INTO idempotency_cache (key, result) VALUES ('k', '{\"paid\": true}')")
    raw("INSERT INTO saga_dirty_state (dfid, failed_step) VALUES ('f', 'pay')")
    raw("INSERT INTO saga_dirty_state (dfid, failed_step) VALUES ('g', 'ship')")
    with sqlite_storage(old_file) as store:
        assert store.idempotency.claim("k", lease_sec=1, owner="me").result == {"paid": True}
        store.saga.mark_dirty("h", "pay", "{}")
        claims = [store.saga.claim_dirty("me", 60) for _ in range(3)]

        assert [(claim.dfid, claim.failed_step) for claim in claims] == [
            *[("f", "pay"), ("g", "ship"), ("h", "pay")]
        ]
        store.saga.clear_dirty("f", epoch=claims[0].epoch)


def test_a_mark_by_dir_core_0_1_0_ends_a_claim_too(store, raw):
    store.saga.mark_dirty("f", "pay", "{}")
    old = store.saga.claim_dirty("me", 60)
    raw("INSERT OR REPLACE INTO saga_dirty_state (dfid, failed_step) VALUES ('f', 'ship')")

    with pytest.raises(LeaseLostError):
        store.saga.clear_dirty("f", epoch=old.epoch)
    new = store.saga.claim_dirty("you", 60)
    assert new.failed_step == "ship"
    assert new.epoch > old.epoch


def test_epochs_and_tokens_go_on_rising_when_the_clock_goes_back(store, raw):
    in_the_year_2100 = 4102444800000000
    store.saga.mark_dirty("f", "pay", "{}")
    raw("UPDATE saga_dirty_state SET epoch = ?", in_the_year_2100)
    store.saga.mark_dirty("f", "pay", "{}")
    # The mark lies in the future too, and waits all the same.
    raw("UPDATE saga_dirty_state SET due_us = ?", in_the_year_2100)
    raw("INSERT INTO idempotency_claims (key, token) VALUES ('k', ?)", in_the_year_2100)

    assert store.saga.claim_dirty("me", 60).epoch == in_the_year_2100 + 1
    assert store.idempotency.claim("k", lease_sec=60, owner="me").token == in_the_year_2100 + 1


def test_a_result_by_dir_core_0_1_0_is_done_though_somebody_has_the_claim(store, raw):
    claim = store.idempotency.claim("k", lease_sec=60, owner="me")
    raw("INSERT OR REPLACE INTO idempotency_cache (key, result) VALUES ('k', '{}')")

    assert store.idempotency.claim("k", lease_sec=60, owner="you").state is ClaimState.DONE
    assert store.idempotency.complete(claim, 1) == 1


def test_a_claim_on_a_done_key_does_not_write_its_result_again(store, raw):
    store.idempotency.set("k", {})
    raw("UPDATE idempotency_cache SET created_at = 'untouched'")
    store.idempotency.claim("k", fingerprint="a", lease_sec=60, owner="me")

    assert raw("SELECT created_at FROM idempotency_cache") == [("untouched",)]


@pytest.mark.parametrize(
    ("spoil", "use"),
    [
        (
            "INSERT INTO idempotency_claims (key, token, owner) VALUES ('x', 'y', 'me')",
            lambda store: store.idempotency.wait("x", 0),
        ),
        (
            "INSERT INTO idempotency_cache (key, result) VALUES ('x', '{oops')",
            lambda store: store.idempotency.claim("x", lease_sec=1, owner="me"),
        ),
        (
            "INSERT INTO intent_retry (dfid, rejection_count) VALUES ('x', 'y')",
            lambda store: store.intent_retry.increment("x"),
        ),
        (
            "INSERT INTO saga_dirty_state (dfid, epoch) VALUES ('x', 'y')",
            lambda store: store.saga.claim_dirty("me", 1),
        ),
    ],
)
def test_a_spoilt_record_is_named(store, raw, spoil, use):
    raw(spoil)

    with pytest.raises(CorruptRecordError, match=r"[a-z_]+ 'x'"):
        use(store)


def test_a_cleared_flows_epochs_go_on_rising_when_the_clock_goes_back(store, monkeypatch):
    saga = store.saga
    saga.mark_dirty("f", "pay", "{}")
    claim = saga.claim_dirty("me", 60)
    saga.clear_dirty("f", epoch=claim.epoch)
    monkeypatch.setattr(store.saga._database.clock, "now", lambda: claim.epoch - 3_600_000_000)
    saga.mark_dirty("f", "pay", "{}")

    assert saga.claim_dirty("you", 60).epoch == claim.epoch + 1
