"""One resource from hand to hand: waking the next in line, against polling for it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from statistics import median

import redis

from benchmarks.measure import Sizes
from benchmarks.report import Aim, Section, Table
from benchmarks.servers import plain_client, server
from benchmarks.workers import processes
from dir_redis import InsufficientCapacityError, StorageBundle, redis_storage

PROCESSES = (2, 16)
WAKE, POLL, BARE = "reserve, woken", "acquire_batch, every 50 ms", "bare BLPOP and RPUSH"
POLL_SEC = 0.05
WAIT_SEC = 30.0
AIM_MS = 1.0

HOW = """\
Processes take the one unit of a resource in turn, each for a flow of its own: reserve, release at
once, again. *woken* waits inside `reserve(wait_sec=...)`; *every 50 ms* is what dir-core's manager
does: `acquire_batch`, and when it is refused sleep 50 ms. *Bare* is one list as a baton between
redis-py clients (`BLPOP`, then `RPUSH`): what any such hand-over costs on this machine, without
keeping count of anything. A hand-over counts from just before the release is sent until the next
holder has its reservation, by the machine's monotonic clock; the waiting time is how long a call
for the resource took. Whoever polls takes the resource again the moment it has released it, which
makes for many hand-overs to itself and for long waits of the others.
"""

Turn = tuple[float, float, float]
"""When a holder asked, had it, and began to release it; seconds of the machine's clock."""


def run(sizes: Sizes) -> Section:
    """Measure."""
    section = Section("Handing over one resource", HOW)
    rows = []
    with server() as url, processes(max(PROCESSES), _work, url) as workers:
        turns: dict[tuple[str, int], list[list[Turn]]] = {}
        for number in range(sizes.contention_rounds):
            for name in [WAKE, POLL, BARE][:: -1 if number % 2 else 1]:
                for count in PROCESSES:
                    turns.setdefault((name, count), []).append(
                        _compete(workers[:count], name, sizes.contention_sec)
                    )
        for name in (WAKE, POLL, BARE):
            for count in PROCESSES:
                rounds = turns[name, count]
                rates = [len(one) / (one[-1][2] - one[0][0]) for one in rounds]
                waits = [had - asked for one in rounds for asked, had, _ in one]
                overs = [gap for one in rounds for gap in _hand_overs(one)]
                rows.append(
                    (
                        f"{name}, {count} processes",
                        f"{median(rates):,.0f}",
                        *(f"{_percentile(overs, q) * 1000:.2f}" for q in (50, 99)),
                        *(f"{_percentile(waits, q) * 1000:.2f}" for q in (50, 99)),
                        f"{max(waits) * 1000:.0f}",
                    )
                )
                if name == WAKE:
                    section.aims.append(_aim(overs, count))
    headings = (
        "Way",
        "hand-overs per second",
        *("hand-over p50, ms", "p99, ms"),
        *("waiting p50, ms", "p99, ms", "longest, ms"),
    )
    section.tables.append(Table(headings, rows))
    return section


def _aim(overs: Sequence[float], count: int) -> Aim:
    reached = _percentile(overs, 50) * 1000
    return Aim(
        f"from release to the next holder's return within {AIM_MS:.0f} ms (p50), {count} processes",
        f"{reached:.2f} ms",
        reached < AIM_MS,
    )


def _hand_overs(turns: Sequence[Turn]) -> Iterator[float]:
    """From each release to the next holder, where that one was waiting already."""
    for (_, _, released), (asked, had, _) in itertools.pairwise(turns):
        if asked < released:
            yield had - released


def _percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _compete(workers: Sequence[Connection], name: str, seconds: float) -> list[Turn]:
    """Let some processes take turns; returns all turns in order of the moment they were had."""
    for worker in workers:
        worker.send((name, seconds))
    turns = [turn for worker in workers for turn in worker.recv()]
    return sorted(turns, key=lambda turn: turn[1])


def _work(orders: Connection, url: str) -> None:
    """Take orders: a way and for how many seconds; None ends."""
    client = plain_client(url)
    with redis_storage(url) as store:
        store.resource_lock.set_capacity("baton", 1)
        ways: dict[str, Callable[[float], list[Turn]]] = {
            WAKE: lambda until: _woken(store, until),
            POLL: lambda until: _polling(store, until),
            BARE: lambda until: _bare(client, until),
        }
        orders.send("ready")
        while (order := orders.recv()) is not None:
            name, seconds = order
            orders.send(ways[name](time.monotonic() + seconds))
    client.close()


def _woken(store: StorageBundle, until: float) -> list[Turn]:
    dfid = f"flow-{os.getpid()}"
    turns = []
    while (asked := time.monotonic()) < until:
        reservation = store.resource_lock.reserve(
            dfid, {"baton": 1}, lease_sec=WAIT_SEC, wait_sec=WAIT_SEC
        )
        had = time.monotonic()
        released = time.monotonic()
        reservation.release()
        turns.append((asked, had, released))
    return turns


def _polling(store: StorageBundle, until: float) -> list[Turn]:
    dfid = f"flow-{os.getpid()}"
    turns = []
    while (asked := time.monotonic()) < until:
        while True:
            try:
                if store.resource_lock.acquire_batch(dfid, {"baton": 1}, 0):
                    break
            except InsufficientCapacityError:
                pass
            time.sleep(POLL_SEC)
        had = time.monotonic()
        released = time.monotonic()
        store.resource_lock.release(dfid)
        turns.append((asked, had, released))
    return turns


def _bare(client: redis.Redis, until: float) -> list[Turn]:
    turns = []
    if client.set("bare:begun", 1, nx=True):
        client.rpush("bare:baton", 1)
    while (asked := time.monotonic()) < until:
        if client.blpop(["bare:baton"], timeout=1) is None:
            continue
        had = time.monotonic()
        released = time.monotonic()
        client.rpush("bare:baton", 1)
        turns.append((asked, had, released))
    return turns
