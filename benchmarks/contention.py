"""Reservations per second while 1, 4 and 16 processes compete for the same two resources."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from benchmarks import payloads as p
from benchmarks.files import dir_core_sqlite, folder
from benchmarks.measure import Sizes
from benchmarks.report import Section, Table
from benchmarks.servers import server
from benchmarks.workers import processes
from dir_redis import StorageBundle, redis_storage, sqlite_storage

PROCESSES = (1, 4, 16)
REDIS, OUR_SQLITE, DIR_CORE = "Redis", "our SQLite", "dir-core's SQLite"

HOW = """\
Each process reserves 2 resources, the same for all, for a flow of its own, and releases them, as
fast as it can; a reservation counts with its release. Redis keeps it in memory only; our SQLite
and dir-core's sync each write to the same disk. Only dir-core's storage is called, not its
`ResourceLockManager`. Its version 0.4 keeps one holder per resource, so that a reservation there
erases another's; the others check and keep all of them.
"""


def run(sizes: Sizes) -> Section:
    """Measure."""
    section = Section("Reservations under contention", HOW)
    with (
        folder() as where,
        server() as url,
        processes(max(PROCESSES), _work, url, where) as workers,
    ):
        names = [REDIS, OUR_SQLITE]
        if dir_core_sqlite(where / "dir-core.db") is not None:
            names.append(DIR_CORE)
        rates: dict[tuple[str, int], list[float]] = {}
        failures = dict.fromkeys(names, 0)
        for number in range(sizes.contention_rounds):
            for name in names[:: -1 if number % 2 else 1]:
                for count in PROCESSES:
                    rate, failed = _turn(workers[:count], name, sizes.contention_sec)
                    rates.setdefault((name, count), []).append(rate)
                    failures[name] += failed
    rows = [
        [name, *(f"{median(rates[name, count]):,.0f}" for count in PROCESSES), str(failures[name])]
        for name in names
    ]
    headings = [
        "Reservations per second",
        *(f"{n} process{'es'[: 2 * (n > 1)]}" for n in PROCESSES),
    ]
    section.tables.append(Table([*headings, "refused or failed"], rows))
    for name in names[1:]:
        times = [median(rates[REDIS, n]) / max(median(rates[name, n]), 0.1) for n in PROCESSES]
        section.notes.append(
            f"On Redis {', '.join(f'{ratio:.1f}' for ratio in times)} times as many as on {name}."
        )
    return section


def _turn(workers: list[Connection], name: str, seconds: float) -> tuple[float, int]:
    """Let some processes compete; returns reservations per second, and how many went wrong."""
    for worker in workers:
        worker.send(name)  # opens the store
    for worker in workers:
        worker.recv()
    for worker in workers:
        worker.send(seconds)
    results = [worker.recv() for worker in workers]
    return sum(made / taken for made, _, taken in results), sum(bad for _, bad, _ in results)


def _work(orders: Connection, url: str, where: Path) -> None:
    """Take orders: a store's name, then for how many seconds; None ends."""
    openers: dict[str, Callable[[], StorageBundle | None]] = {
        REDIS: lambda: redis_storage(url),
        OUR_SQLITE: lambda: sqlite_storage(where / "ours.db"),
        DIR_CORE: lambda: dir_core_sqlite(where / "dir-core.db"),
    }
    with ExitStack() as stack:
        stores: dict[str, StorageBundle] = {}
        orders.send("ready")
        while (name := orders.recv()) is not None:
            if name not in stores:
                store = openers[name]()
                assert store is not None
                stores[name] = stack.enter_context(store)
            orders.send("ready")
            orders.send(_compete(stores[name], orders.recv()))


def _compete(store: StorageBundle, seconds: float) -> tuple[int, int, float]:
    """Reserve and release for some seconds: how many were made, went wrong, and the seconds."""
    dfid = f"flow-{os.getpid()}"
    made = failed = 0
    start = time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        try:
            if not store.resource_lock.acquire_batch(dfid, p.RESOURCES, 5.0):
                failed += 1
                continue
            store.resource_lock.release(dfid)
            made += 1
        except Exception:  # dir-core lets sqlite3's errors through
            failed += 1
    return made, failed, taken
