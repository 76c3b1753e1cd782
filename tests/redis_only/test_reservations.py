"""Reservations over processes: handed over at once and in order, whoever dies or restarts."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dir_redis import (
    CorruptRecordError,
    InsufficientCapacityError,
    LeaseLostError,
    StorageBundle,
    open_storage,
)
from dir_redis.embedded import ServerProcess, valkey_binary
from dir_redis.redis.connection import connect
from tests.conftest import SERVERS
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.redis_only.test_races import CONTEXT
from tests.servers import free_ports, wait_until

PATIENCE_SEC = 30.0
# A waiter that nobody wakes looks again after a second: half of it shows that it was woken.
WOKEN_SEC = 0.5


@pytest.fixture
def store(server_url: str, namespace: str) -> Iterator[StorageBundle]:
    """A store on each real server."""
    with open_storage(server_url, namespace=namespace) as bundle:
        yield bundle


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as running:
        yield running


class Processes:
    """Processes that a test starts and may kill."""

    def __init__(self) -> None:
        self._running = ExitStack()

    def __call__(self, target: Callable[..., None], *arguments: Any) -> Any:
        process = CONTEXT.Process(target=target, args=arguments, daemon=True)
        process.start()
        self._running.callback(process.join)
        self._running.callback(process.kill)
        return process

    def stop(self) -> None:
        self._running.close()


@pytest.fixture
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.stop()


def tickets(store: StorageBundle) -> int:
    """How many wait."""
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    key = store.resource_lock._keys.lock_waiting()  # type: ignore[attr-defined]
    return int(driver._execute_command("ZCARD", key))


def until_queued(store: StorageBundle, count: int) -> None:
    wait_until(lambda: tickets(store) == count, PATIENCE_SEC)


def reserving(
    pool: ThreadPoolExecutor, store: StorageBundle, dfid: str, amount: float = 1, **how: Any
) -> Future[Any]:
    """Wait for some of "r" on a thread, from when the queue has got longer."""
    before = tickets(store)
    future = pool.submit(
        store.resource_lock.reserve, dfid, {"r": amount}, wait_sec=PATIENCE_SEC, **how
    )
    until_queued(store, before + 1)
    return future


def reserve_and_say(url: str, namespace: str, dfid: str, lease_sec: float, said: Any) -> None:
    """A process that waits for "r", says when it has it, and then holds it for ever."""
    with open_storage(url, namespace=namespace) as bundle:
        bundle.resource_lock.reserve(dfid, {"r": 1}, lease_sec=lease_sec, wait_sec=PATIENCE_SEC)
        said.send((dfid, time.monotonic()))
        signal.pause()


def test_a_release_hands_over_at_once_every_time(
    store: StorageBundle, server_url: str, namespace: str, pool: ThreadPoolExecutor
) -> None:
    """Two connections pass one seat to and fro; a lost wake-up would cost a second."""
    store.resource_lock.set_capacity("r", 1)

    def play(name: str) -> None:
        with open_storage(server_url, namespace=namespace) as own:
            for _ in range(300):
                began = time.monotonic()
                with own.resource_lock.reserve(name, {"r": 1}, lease_sec=60, wait_sec=60):
                    assert time.monotonic() - began < WOKEN_SEC

    for player in [pool.submit(play, name) for name in ("a", "b")]:
        player.result()


def test_only_who_is_next_is_woken(store: StorageBundle, pool: ThreadPoolExecutor) -> None:
    store.resource_lock.set_capacity("r", 1)
    holder = store.resource_lock.reserve("f", {"r": 1})
    waiters = [reserving(pool, store, f"w{number}") for number in range(5)]
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    wake_keys = []
    execute = driver._execute_command

    def listen(*command: Any) -> Any:
        reply = execute(*command)
        if command[0] == "BLPOP" and reply is not None:
            wake_keys.append(command[1])
        return reply

    driver._execute_command = listen
    # Those under way were sent before; each looks again, and is listened to from then on.
    with pytest.raises(InsufficientCapacityError):
        store.resource_lock.reserve("x", {"r": 1}, wait_sec=1.5)
    holder.release()
    first = waiters[0].result(PATIENCE_SEC)

    assert [waiter.done() for waiter in waiters] == [True, False, False, False, False]
    assert len(wake_keys) == 1
    for waiter in waiters[1:]:
        first.release()
        first = waiter.result(PATIENCE_SEC)


def test_processes_are_served_in_the_order_they_came(
    store: StorageBundle, server_url: str, namespace: str, processes: Processes
) -> None:
    store.resource_lock.set_capacity("r", 1)
    store.resource_lock.reserve("f", {"r": 1})
    heard, said = CONTEXT.Pipe(duplex=False)
    for number in range(4):
        processes(reserve_and_say, server_url, namespace, f"w{number}", 60.0, said)
        until_queued(store, number + 1)

    served = ["f"]
    for _ in range(4):
        store.resource_lock.release(served[-1])
        assert heard.poll(PATIENCE_SEC)
        served.append(heard.recv()[0])

    assert served == ["f", "w0", "w1", "w2", "w3"]


def test_a_killed_waiter_is_passed_over_before_long(
    store: StorageBundle,
    server_url: str,
    namespace: str,
    processes: Processes,
    pool: ThreadPoolExecutor,
) -> None:
    store.resource_lock.set_capacity("r", 1)
    holder = store.resource_lock.reserve("f", {"r": 1})
    _, said = CONTEXT.Pipe(duplex=False)
    dead = processes(reserve_and_say, server_url, namespace, "dead", 60.0, said)
    until_queued(store, 1)
    living = reserving(pool, store, "living")
    dead.kill()
    dead.join()
    killed = time.monotonic()
    holder.release()

    reservation = living.result(PATIENCE_SEC)

    assert time.monotonic() - killed < 5
    assert tickets(store) == 0
    reservation.release()


def test_a_waiter_counts_as_dead_soon_after_it_would_have_given_up(
    store: StorageBundle, server_url: str, namespace: str, pool: ThreadPoolExecutor
) -> None:
    """One that was killed must not hold others up for longer than it would have waited."""
    store.resource_lock.set_capacity("r", 1)
    holder = store.resource_lock.reserve("f", {"r": 1})
    waiter = pool.submit(store.resource_lock.reserve, "g", {"r": 1}, wait_sec=0.9)
    until_queued(store, 1)

    with connect(server_url, attempt_timeout_sec=5).client as raw:
        queue = f"{{{namespace}:0}}:lock_waiting"
        [(_, dead_at)] = raw.zrange(queue, 0, -1, withscores=True)
        seconds, microseconds = raw.eval("return redis.call('TIME')", 1, queue)

    assert dead_at / 1e6 - (int(seconds) + int(microseconds) / 1e6) < 0.9 + 0.3
    holder.release()
    waiter.result(PATIENCE_SEC)


def test_the_lease_of_a_killed_holder_ends_and_who_waits_gets_it_at_once(
    store: StorageBundle,
    server_url: str,
    namespace: str,
    processes: Processes,
    pool: ThreadPoolExecutor,
) -> None:
    lease_sec = 1.2
    store.resource_lock.set_capacity("r", 1)
    heard, said = CONTEXT.Pipe(duplex=False)
    holder = processes(reserve_and_say, server_url, namespace, "dead", lease_sec, said)
    assert heard.poll(PATIENCE_SEC)
    granted = heard.recv()[1]
    waiter = reserving(pool, store, "living")
    holder.kill()

    waiter.result(PATIENCE_SEC)

    # CLOCK_MONOTONIC is one for all processes of a machine.
    assert lease_sec - 0.1 < time.monotonic() - granted < lease_sec + WOKEN_SEC


def test_a_waiter_hears_of_a_lease_that_ends_before_it_looks_again(
    store: StorageBundle, pool: ThreadPoolExecutor
) -> None:
    """One that was not first, became so, and sleeps: it must not oversleep the lease's end."""
    locks = store.resource_lock
    locks.set_capacity("r", 1)
    for _ in range(3):
        holder = locks.reserve("f", {"r": 1})
        first = reserving(pool, store, "first", lease_sec=0.1)
        second = reserving(pool, store, "second")
        holder.release()
        first.result(PATIENCE_SEC)
        began = time.monotonic()
        reservation = second.result(PATIENCE_SEC)
        assert time.monotonic() - began < 0.1 + WOKEN_SEC
        reservation.release()


def test_a_large_request_is_not_starved_by_a_storm_of_small_ones(
    store: StorageBundle, pool: ThreadPoolExecutor
) -> None:
    store.resource_lock.set_capacity("r", 10)
    over = []

    def storm(number: int) -> None:
        while not over:
            with store.resource_lock.reserve(f"s{number}", {"r": 1}, lease_sec=60, wait_sec=60):
                pass

    small = [pool.submit(storm, number) for number in range(8)]
    try:
        for _ in range(5):
            began = time.monotonic()
            with store.resource_lock.reserve("large", {"r": 10}, lease_sec=60, wait_sec=60):
                assert time.monotonic() - began < 5
    finally:
        over.append(True)
        for one in small:
            one.result(PATIENCE_SEC)


@pytest.mark.parametrize("appendonly", ["yes", "no"])
def test_tokens_rise_over_a_restart_of_the_server(
    tmp_path: Path, namespace: str, appendonly: str
) -> None:
    (port,) = free_ports(1)
    url = f"redis://127.0.0.1:{port}"
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    arguments += ["--appendonly", appendonly, "--appendfsync", "always"]

    def start() -> ServerProcess:
        return ServerProcess(valkey_binary(), arguments, url=url, folder=tmp_path)

    running = start()
    try:
        with open_storage(url, namespace=namespace) as bundle:
            before = bundle.resource_lock.reserve("f", {"r": 1}, lease_sec=60)
        running.stop()
        running = start()
        with open_storage(url, namespace=namespace) as bundle:
            kept = [holder.fencing_token for holder in bundle.resource_lock.holders("r")]
            after = bundle.resource_lock.reserve("g", {"r": 1})
    finally:
        running.stop()

    assert kept == ([before.fencing_token] if appendonly == "yes" else [])
    assert after.fencing_token > before.fencing_token


def test_tokens_rise_when_the_servers_clock_goes_back(store: StorageBundle) -> None:
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    key = store.resource_lock._keys.lock_counter()  # type: ignore[attr-defined]
    in_the_year_2100 = 4102444800000000
    driver._execute_command("SET", key, in_the_year_2100)

    tokens = [store.resource_lock.reserve("f", {"r": 1}).fencing_token for _ in range(3)]

    assert tokens == [in_the_year_2100 + number for number in (1, 2, 3)]


def queue_up(store: StorageBundle, ticket: int, record: str, dead_at: int, *ids: str) -> None:
    """Leave a waiter as a script does, whatever its record says."""
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    keys: Any = store.resource_lock._keys  # type: ignore[attr-defined]
    driver._execute_command("HSET", keys.lock_waiters(), f"{ticket:016d}", record)
    for rid in ids:
        driver._execute_command("ZADD", keys.lock_queue(), 0, f"{len(rid)}:{rid}:{ticket:016d}")
    driver._execute_command("ZADD", keys.lock_waiting(), dead_at, f"{ticket:016d}")


def queue_dead(store: StorageBundle, count: int, *, record: str = "1:x1:w 1 - 1:r") -> None:
    """Leave waiters of "r" that have not looked since 1970."""
    for number in range(count):
        queue_up(store, number, record, number, "r")


def in_seconds(seconds: float) -> int:
    """When that is, in microseconds, on a server of this machine."""
    return round((time.time() + seconds) * 1_000_000)


def test_hundreds_of_dead_waiters_are_passed_over_at_once(store: StorageBundle) -> None:
    queue_dead(store, 250)

    store.resource_lock.reserve("f", {"r": 1})

    assert tickets(store) == 0
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    keys: Any = store.resource_lock._keys  # type: ignore[attr-defined]
    assert driver._execute_command("EXISTS", keys.lock_waiters(), keys.lock_queue()) == 0


def expire_at_once(store: StorageBundle, flows: int, resources: int) -> None:
    """Leave flows that held so many resources each until now."""
    for number in range(flows):
        wanted = {f"{number}-{i}": 1 for i in range(resources)}
        store.resource_lock.reserve(f"f{number}", wanted, lease_sec=60)
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    key = store.resource_lock._keys.lock_leases()  # type: ignore[attr-defined]
    for number in range(flows):
        driver._execute_command("ZADD", key, 1, f"f{number}")


def swept_by_each_call(store: StorageBundle, holders: str) -> list[int]:
    """Release a flow that holds nothing; return how many members each call took out of a key."""
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    store.resource_lock.set_capacity("unused", 1)
    execute = driver._execute_command
    sizes = [int(execute("ZCARD", holders))]

    def watch(*command: Any) -> Any:
        reply = execute(*command)
        sizes.append(int(execute("ZCARD", holders)))
        return reply

    driver._execute_command = watch
    try:
        store.resource_lock.release("nobody")
    finally:
        driver._execute_command = execute
    assert sizes[-1] == 0
    return [before - after for before, after in itertools.pairwise(sizes)]


@pytest.mark.parametrize(
    ("flows", "resources", "swept"),
    [(7, 300, [900, 900, 300]), (2, 1500, [1500, 1500]), (30, 10, [300])],
)
def test_one_call_ends_leases_of_a_thousand_resources_or_of_one_flow(
    store: StorageBundle, flows: int, resources: int, swept: list[int]
) -> None:
    """Whatever ran out, no call keeps the server busy for long."""
    expire_at_once(store, flows, resources)
    key = store.resource_lock._keys.lock_holders()  # type: ignore[attr-defined]

    by_call = swept_by_each_call(store, key)

    assert [count for count in by_call if count] == swept
    assert store.resource_lock.get_locked_amount("0-0", "nobody") == 0


def test_one_call_drops_waiters_for_a_thousand_resources(store: StorageBundle) -> None:
    ids = [f"{i:03d}" for i in range(400)]
    record = "1:x1:w" + "".join(f" 1 - 3:{rid}" for rid in ids)
    for number in range(5):
        queue_up(store, number, record, number, *ids)
    key = store.resource_lock._keys.lock_queue()  # type: ignore[attr-defined]

    by_call = swept_by_each_call(store, key)

    assert [count for count in by_call if count] == [800, 800, 400]
    assert tickets(store) == 0


@pytest.mark.parametrize(("resources", "judged"), [(1, 32), (300, 7)])
def test_one_call_judges_some_waiters_only(
    store: StorageBundle, resources: int, judged: int
) -> None:
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    keys: Any = store.resource_lock._keys  # type: ignore[attr-defined]
    ids = [f"{i:03d}" for i in range(100)]
    store.resource_lock.reserve("f", dict.fromkeys(ids, 1))
    wake_keys = [keys.lock_wake(rid) for rid in ids]
    more = "".join(f" 1 - 4:x{i:03d}" for i in range(resources - 1))
    for number, (rid, wake_key) in enumerate(zip(ids, wake_keys, strict=True), start=1):
        record = f"{len(wake_key)}:{wake_key}1:w 1 1 3:{rid}{more}"
        queue_up(store, number, record, in_seconds(3), rid)

    store.resource_lock.release("f")

    woken = [wake_key for wake_key in wake_keys if driver._execute_command("EXISTS", wake_key)]
    assert woken == wake_keys[:judged]


def test_waiters_that_are_not_woken_at_once_find_room_by_themselves(store: StorageBundle) -> None:
    locks = store.resource_lock
    ids = [f"{i:03d}" for i in range(40)]
    for rid in ids:
        locks.set_capacity(rid, 1)
    holder = locks.reserve("f", dict.fromkeys(ids, 1))
    with ThreadPoolExecutor(len(ids)) as many:
        waiters = [
            many.submit(locks.reserve, f"w{rid}", {rid: 1}, wait_sec=PATIENCE_SEC) for rid in ids
        ]
        until_queued(store, len(ids))
        released = time.monotonic()
        holder.release()
        for waiter in waiters:
            waiter.result(PATIENCE_SEC)

    assert time.monotonic() - released < 3


def test_a_waiter_that_died_before_the_servers_clock_went_back_holds_nobody_up(
    store: StorageBundle,
) -> None:
    queue_up(store, 1, "1:x1:w 1 - 1:r", in_seconds(3600), "r")

    store.resource_lock.reserve("f", {"r": 1})

    assert tickets(store) == 0


def test_a_waiter_lives_on_when_the_servers_clock_goes_back(
    store: StorageBundle, pool: ThreadPoolExecutor
) -> None:
    """Whoever comes by takes it for dead; it queues anew and is woken as ever."""
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    key = store.resource_lock._keys.lock_waiting()  # type: ignore[attr-defined]
    store.resource_lock.set_capacity("r", 1)
    holder = store.resource_lock.reserve("f", {"r": 1})
    waiter = reserving(pool, store, "g")
    [ticket] = driver._execute_command("ZRANGE", key, 0, -1)
    # A clock that was set back by a little shows nothing impossible.
    driver._execute_command("ZADD", key, in_seconds(3.5), ticket)
    store.resource_lock.release("nobody")
    assert driver._execute_command("ZRANGE", key, 0, -1) == [ticket]
    driver._execute_command("ZADD", key, in_seconds(3600), ticket)
    store.resource_lock.release("nobody")
    assert tickets(store) == 0

    until_queued(store, 1)
    assert driver._execute_command("ZRANGE", key, 0, -1) != [ticket]
    holder.release()
    waiter.result(PATIENCE_SEC).release()
    assert tickets(store) == 0


@pytest.mark.parametrize("record", ["", "x", "1:x", "1:x1:w 1 1:r", "1:x1:w 1 - 2:r", "9:x1:w"])
def test_a_garbled_waiter_that_died_holds_nobody_up(store: StorageBundle, record: str) -> None:
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    keys: Any = store.resource_lock._keys  # type: ignore[attr-defined]
    queue_up(store, 1, record, 1, "r", "a:b")
    queue_up(store, 2, "1:x1:w 1 - 1:r", 2, "r")
    queue_up(store, 3, "1:x1:w 1 - 1:s", in_seconds(PATIENCE_SEC), "s")
    driver._execute_command("ZADD", keys.lock_waiting(), in_seconds(3), f"{3:016d}")

    store.resource_lock.reserve("f", {"r": 1, "a:b": 1})

    assert driver._execute_command("ZRANGE", keys.lock_waiting(), 0, -1) == [b"%016d" % 3]
    assert driver._execute_command("ZRANGE", keys.lock_queue(), 0, -1) == [b"1:s:%016d" % 3]
    # It stays for whoever looks.
    assert driver._execute_command("HGET", keys.lock_waiters(), f"{1:016d}") == record.encode()
    assert driver._execute_command("HLEN", keys.lock_waiters()) == 2


@pytest.mark.parametrize(
    ("spoilt", "field", "garbage"),
    [
        ("lock_flows", "bad", "x"),
        ("lock_flows", "bad", "1 1 1 1 2:b"),
        ("lock_totals", "b", "nan"),
        ("lock_totals", "b", "1"),
    ],
)
def test_a_garbled_reservation_whose_lease_ran_out_stops_nobody_else(
    store: StorageBundle, namespace: str, spoilt: str, field: str, garbage: str
) -> None:
    locks = store.resource_lock
    locks.set_capacity("b", 1)
    locks.reserve("bad", {"b": 1}, lease_sec=60)
    locks.reserve("good", {"g": 1}, lease_sec=60)
    driver: Any = locks._driver  # type: ignore[attr-defined]
    key, leases = f"{{{namespace}:0}}:{spoilt}", f"{{{namespace}:0}}:lock_leases"
    driver._execute_command("HSET", key, field, garbage)
    driver._execute_command("ZADD", leases, 1, "bad", 2, "good")

    other = locks.reserve("other", {"g": 1}, lease_sec=60, capacities={"g": 1})

    assert [holder.dfid for holder in locks.holders("g")] == ["other"]
    other.renew(60)
    other.settle({"g": 0})
    other.release()
    assert driver._execute_command("ZCARD", leases) == 0
    # It stays for whoever looks, and what it holds stays counted.
    assert driver._execute_command("HGET", key, field) == garbage.encode()
    if spoilt == "lock_flows":
        assert locks.get_locked_amount("b", "nobody") == 1
        with pytest.raises(InsufficientCapacityError):
            locks.reserve("other", {"b": 1})
    for _ in range(2):
        with pytest.raises(CorruptRecordError) as caught:
            locks.release("bad")
        assert caught.value.key == key


@pytest.mark.parametrize("record", ["", "0", "0 0 ", "0 0 1 1 2:r", "0 0 1 1 1:r ", "0 0 -1 1 1:r"])
def test_a_garbled_reservation_is_a_corrupt_record_that_is_named(
    store: StorageBundle, namespace: str, record: str
) -> None:
    store.resource_lock.acquire_batch("f", {"r": 1}, 0)
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    key = f"{{{namespace}:0}}:lock_flows"
    driver._execute_command("HSET", key, "f", record)

    for operation in (
        lambda: store.resource_lock.reserve("f", {"r": 1}),
        lambda: store.resource_lock.release("f"),
        lambda: store.resource_lock.holders("r"),
    ):
        with pytest.raises(CorruptRecordError) as caught:
            operation()
        assert caught.value.key == key
    assert driver._execute_command("HGET", key, "f") == record.encode()


def test_a_lease_that_ran_out_is_lost_also_if_it_cannot_be_released(
    store: StorageBundle, namespace: str
) -> None:
    reservation = store.resource_lock.reserve("f", {"r": 1}, lease_sec=0.05)
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    driver._execute_command("HSET", f"{{{namespace}:0}}:lock_totals", "r", "nan")
    time.sleep(0.1)

    with pytest.raises(LeaseLostError):
        reservation.renew(60)

    assert store.resource_lock.holders("r") == []


def test_a_garbled_counter_gives_no_token(store: StorageBundle, namespace: str) -> None:
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    key = f"{{{namespace}:0}}:lock_counter"
    driver._execute_command("SET", key, "nan")

    with pytest.raises(CorruptRecordError) as caught:
        store.resource_lock.reserve("f", {"r": 1})

    assert caught.value.key == key
    assert store.resource_lock.holders("r") == []


SINGLE_SERVERS = [name for name in SERVERS if name != "cluster"]


@pytest.fixture(params=SINGLE_SERVERS)
def proxy(request: pytest.FixtureRequest, servers: Any) -> Iterator[FaultProxy]:
    """A proxy before each real server."""
    with fault_proxy(servers.url(request.param)) as running:
        yield running


def test_a_change_whose_reply_is_lost_is_made_once(proxy: FaultProxy, namespace: str) -> None:
    def lose_the_next_reply() -> None:
        proxy.lose_replies(1, to=b"EVALSHA")

    with open_storage(proxy.url, namespace=namespace, timeout_sec=3) as bundle:
        locks = bundle.resource_lock
        with pytest.raises(LeaseLostError):
            locks.release("f", fencing_token=1)  # loads the script
        lose_the_next_reply()
        reservation = locks.reserve("f", {"r": 5}, lease_sec=60)
        lose_the_next_reply()
        end = reservation.renew(600)
        lose_the_next_reply()
        reservation.settle({"r": 2})

        [holder] = locks.holders("r")
        assert (holder.amount, holder.until) == (2, end)
        assert holder.fencing_token == reservation.fencing_token
        lose_the_next_reply()
        reservation.release()  # applied twice, the second would find the reservation gone
        assert locks.holders("r") == []


def test_a_lease_counts_from_before_it_was_granted(proxy: FaultProxy, namespace: str) -> None:
    """The reply may have been long under way, and the lease be over when it arrives."""
    with open_storage(proxy.url, namespace=namespace, timeout_sec=3) as bundle:
        bundle.resource_lock.reserve("f", {"r": 5}).release()  # loads the scripts
        proxy.lose_replies(5, to=b"EVALSHA")
        asked = time.monotonic()
        reservation = bundle.resource_lock.reserve("f", {"r": 5}, lease_sec=0.1)

        assert time.monotonic() - asked > 0.1
        assert reservation.keep_alive().lost
        assert reservation._leased_at - asked < 0.05
        with pytest.raises(LeaseLostError):
            reservation.release()


def test_a_wake_up_that_is_lost_costs_a_second_at_most(proxy: FaultProxy, namespace: str) -> None:
    with (
        open_storage(proxy.url, namespace=namespace, timeout_sec=3) as bundle,
        ThreadPoolExecutor(1) as pool,
    ):
        bundle.resource_lock.set_capacity("r", 1)
        holder = bundle.resource_lock.reserve("f", {"r": 1})
        waiter = reserving(pool, bundle, "g")
        proxy.lose_replies(1, to=b"BLPOP")
        time_of_next_look = time.monotonic() + 3
        holder.release()

        waiter.result(PATIENCE_SEC).release()
        assert time.monotonic() < time_of_next_look


def test_a_waiters_list_goes_with_it(
    store: StorageBundle, server_url: str, namespace: str, processes: Processes
) -> None:
    """Stopped, it is woken in vain: what woke it ends by itself, and it lost its place."""
    store.resource_lock.set_capacity("r", 1)
    holder = store.resource_lock.reserve("f", {"r": 1})
    _, said = CONTEXT.Pipe(duplex=False)
    waiter = processes(reserve_and_say, server_url, namespace, "w", 60.0, said)
    until_queued(store, 1)
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    waiters_key = store.resource_lock._keys.lock_waiters()  # type: ignore[attr-defined]
    [record] = driver._execute_command("HVALS", waiters_key)
    size, _, rest = record.partition(b":")
    wake_key = rest[: int(size)].decode()
    os.kill(waiter.pid, signal.SIGSTOP)
    # What waits on the server ends with the client's BLPOP; from then on the list is filled.
    wait_until(lambda: _wakes_in_vain(store, wake_key), PATIENCE_SEC)

    assert 0 < driver._execute_command("PTTL", wake_key) <= 10_000
    assert driver._execute_command("LLEN", wake_key) == 1
    holder.release()


def _wakes_in_vain(store: StorageBundle, wake_key: str) -> bool:
    driver: Any = store.resource_lock._driver  # type: ignore[attr-defined]
    store.resource_lock.set_capacity("r", 2)
    store.resource_lock.set_capacity("r", 1)
    return bool(driver._execute_command("EXISTS", wake_key))
