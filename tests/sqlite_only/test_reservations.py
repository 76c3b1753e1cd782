"""Reservations with leases in a file that processes share, some of which are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from dir_redis import CorruptRecordError, InsufficientCapacityError, admission, sqlite_storage
from dir_redis.sqlite import flow_reservations, resource_lock

PATIENCE_SECONDS = 30

REPLACE = "INSERT OR REPLACE INTO resource_locks (dfid, resource_id, amount) VALUES (?, ?, ?)"


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@contextmanager
def process(path, code) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the store open; it is killed at the end at the latest."""
    prologue = "import sys; from dir_redis import *; store = sqlite_storage(sys.argv[1])\n"
    running = subprocess.Popen(
        [sys.executable, "-c", prologue + code, str(path)], stdout=subprocess.PIPE, text=True
    )
    with running:
        try:
            yield running
        finally:
            running.kill()


def test_what_dir_core_0_1_0_acquired_is_held_since_then(store, raw):
    raw("INSERT INTO resource_locks (dfid, resource_id, amount, acquired_at) "
        "VALUES ('theirs', 'seats', 2, '2026-01-02 03:04:05')")  # fmt: skip
    then = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert store.resource_lock.holders("seats") == [("theirs", 2, then, None, None)]

    store.resource_lock.acquire_batch("theirs", {"seats": 3}, 1)
    assert store.resource_lock.holders("seats") == [("theirs", 3, then, None, None)]


def test_a_negative_or_zero_amount_of_dir_core_0_1_0_holds_nothing(store, raw):
    raw(REPLACE, "theirs", "seats", -1)
    raw(REPLACE, "others", "seats", 0)

    assert store.resource_lock.holders("seats") == []


def test_a_spoilt_moment_is_an_error_that_names_the_row(store, raw):
    raw(REPLACE, "theirs", "seats", 1)
    raw("UPDATE resource_locks SET acquired_at = 'yesterday'")

    with pytest.raises(CorruptRecordError, match="'theirs', 'seats'"):
        store.resource_lock.holders("seats")
    assert store.resource_lock.acquire_batch("theirs", {"seats": 2}, 1)
    assert store.resource_lock.holders("seats")[0].amount == 2


def test_a_release_by_dir_core_0_1_0_makes_room(store, raw):
    store.resource_lock.set_capacity("seats", 1)
    reservation = store.resource_lock.reserve("f", {"seats": 1})
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(store.resource_lock.reserve, "g", {"seats": 1}, wait_sec=60)
        until(lambda: raw("SELECT 1 FROM reservation_queue"))
        raw("DELETE FROM resource_locks WHERE dfid = 'f'")
        assert waiter.result(PATIENCE_SECONDS).resources == {"seats": 1}
    reservation.release()


def test_a_file_of_schema_1_gets_what_leases_need(store, path, raw):
    store.resource_lock.acquire_batch("f", {"seats": 1}, 1)
    store.close()
    for statement in (
        "DROP TABLE reservation_leases",
        "DROP TABLE reservation_queue",
        "DROP INDEX idx_resource_locks_resource",
        "ALTER TABLE resource_locks DROP COLUMN since_us",
        "UPDATE dir_redis_meta SET value = 1 WHERE name = 'schema_version'",
    ):
        raw(statement)

    with sqlite_storage(path) as again:
        again.resource_lock.reserve("g", {"seats": 2}, lease_sec=3600)
        assert [holder.dfid for holder in again.resource_lock.holders("seats")] == ["f", "g"]
    assert raw("SELECT value FROM dir_redis_meta WHERE name = 'schema_version'") == [(3,)]


def test_nothing_is_left_of_reservations_and_waits_that_are_over(store, raw):
    locks = store.resource_lock
    locks.set_capacity("seats", 1)
    held = locks.reserve("f", {"seats": 1, "quota": 1}, lease_sec=3600)
    with held, pytest.raises(InsufficientCapacityError):
        locks.reserve("g", {"seats": 1}, wait_sec=0.05)
    locks.reserve("h", {"seats": 1}, lease_sec=0.001)
    until(lambda: locks.holders("seats") == [])
    locks.release("somebody")

    for table in ("resource_locks", "resource_totals", "reservation_leases", "reservation_queue"):
        assert raw(f"SELECT * FROM {table}") == []


def test_tokens_rise_if_the_last_one_is_lost(store, raw):
    first = store.resource_lock.reserve("f", {"seats": 1}).fencing_token
    raw("DELETE FROM dir_redis_meta WHERE name = 'reservation_number'")

    assert store.resource_lock.reserve("f", {"seats": 1}).fencing_token > first


def test_tokens_rise_if_the_clock_stands_still_or_is_set_back(store, monkeypatch):
    last = store.resource_lock.reserve("f", {"seats": 1}).fencing_token
    monkeypatch.setattr(store.resource_lock._database.clock, "now", lambda: 1_700_000_000_000_000)

    for _ in range(3):
        token = store.resource_lock.reserve("f", {"seats": 1}).fencing_token
        assert token > last
        last = token


def test_who_waits_keeps_its_place_for_longer_than_a_dead_waiter_would(store, raw, monkeypatch):
    monkeypatch.setattr(admission, "DEAD_AFTER_US", 300_000)
    monkeypatch.setattr(resource_lock, "LOOK_AGAIN_SEC", 0.05)
    locks = store.resource_lock
    locks.set_capacity("seats", 10)
    locks.reserve("f", {"seats": 6})
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(locks.reserve, "large", {"seats": 9}, wait_sec=60)
        until(lambda: raw("SELECT 1 FROM reservation_queue"))
        ((ticket, first_end),) = raw("SELECT ticket, dead_at_us FROM reservation_queue")
        until(lambda: time.time() * 1e6 > first_end + 100_000)
        assert locks.acquire_batch("small", {"seats": 1}, 1) is False
        assert raw("SELECT ticket FROM reservation_queue") == [(ticket,)]
        locks.release("f")
        assert large.result(PATIENCE_SECONDS).resources == {"seats": 9}


def test_who_seemed_dead_and_lives_queues_again_behind_the_others(store, raw):
    locks = store.resource_lock
    locks.set_capacity("seats", 1)
    holder = locks.reserve("f", {"seats": 1})
    queue = "SELECT ticket FROM reservation_queue ORDER BY ticket"
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(locks.reserve, "first", {"seats": 1}, wait_sec=60)
        until(lambda: len(raw(queue)) == 1)
        second = pool.submit(locks.reserve, "second", {"seats": 1}, wait_sec=60)
        until(lambda: len(raw(queue)) == 2)
        (dropped,), (kept,) = raw(queue)
        raw("UPDATE reservation_queue SET dead_at_us = 1 WHERE ticket = ?", dropped)
        until(lambda: raw(queue)[0] == (kept,) and len(raw(queue)) == 2)
        holder.release()
        second.result(PATIENCE_SECONDS).release()
        assert first.result(PATIENCE_SECONDS).fencing_token > second.result().fencing_token


def test_a_killed_waiter_is_skipped(store, path, raw):
    locks = store.resource_lock
    locks.set_capacity("seats", 10)
    locks.reserve("f", {"seats": 6})
    with process(path, "store.resource_lock.reserve('g', {'seats': 9}, wait_sec=60)") as waiter:
        until(lambda: raw("SELECT 1 FROM reservation_queue"))
        waiter.send_signal(signal.SIGKILL)
        waiter.wait(PATIENCE_SECONDS)
    killed = time.monotonic()
    assert locks.acquire_batch("h", {"seats": 1}, 1) is False

    locks.reserve("h", {"seats": 1}, wait_sec=PATIENCE_SECONDS)
    assert time.monotonic() - killed < 10
    assert raw("SELECT * FROM reservation_queue") == []


def test_the_lease_of_a_killed_holder_ends_and_the_waiter_gets_its_room(store, path):
    locks = store.resource_lock
    locks.set_capacity("seats", 1)
    code = "print(store.resource_lock.reserve('f', {'seats': 1}, lease_sec=1), flush=True)\n"
    with process(path, code + "sys.stdin.read()") as holder:
        assert holder.stdout is not None
        assert "fencing_token" in holder.stdout.readline()
        holder.send_signal(signal.SIGKILL)
    started = time.monotonic()
    reservation = locks.reserve("g", {"seats": 1}, wait_sec=PATIENCE_SECONDS)

    assert time.monotonic() - started < 2
    assert [holder.fencing_token for holder in locks.holders("seats")] == [
        reservation.fencing_token
    ]


def test_processes_that_wait_for_each_other_all_get_their_turn(at_once, store):
    store.resource_lock.set_capacity("seats", 1)
    outputs = at_once(
        "with sqlite_storage(path) as store:\n"
        "    for turn in range(15):\n"
        "        with store.resource_lock.reserve(\n"
        "            f'flow-{number}', {'seats': 1}, lease_sec=60, wait_sec=60\n"
        "        ) as reservation:\n"
        "            assert store.resource_lock.get_locked_amount('seats', 'nobody') == 1.0\n"
        "            print(reservation.fencing_token)\n",
        processes=4,
    )
    tokens = [[int(token) for token in output.split()] for output in outputs]
    assert all(own == sorted(own) for own in tokens)
    assert len({token for own in tokens for token in own}) == 60


@pytest.mark.usefixtures("store")
def test_every_statement_finds_its_rows_by_an_index(raw):
    plans = []
    for sql, count in (
        (flow_reservations._LOOK, 4),
        (flow_reservations.HOLDERS, 2),
        ("DELETE FROM resource_locks WHERE dfid IN "
         "(SELECT dfid FROM reservation_leases WHERE until_us <= ?)", 1),
        ("DELETE FROM reservation_leases WHERE until_us <= ?", 1),
        ("DELETE FROM reservation_queue WHERE dead_at_us <= ?", 1),
        ("UPDATE reservation_queue SET dead_at_us = 1 WHERE ticket = ?", 1),
    ):  # fmt: skip
        plans += [row[-1] for row in raw(f"EXPLAIN QUERY PLAN {sql}", *[1] * count)]
    assert [plan for plan in plans if plan.startswith("SCAN")] in (
        ["SCAN CONSTANT ROW", "SCAN asked"],
        ["SCAN CONSTANT ROW"],
    )
