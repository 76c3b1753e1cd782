"""Flow-scoped operations with 1, 2 and 3 primaries, as far as this machine shows it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection
from statistics import median

from benchmarks.counters import counters
from benchmarks.flows import FLOW_SCOPED, PARTITIONS, dfid_of, run_flow
from benchmarks.report import Table
from benchmarks.servers import cluster, plain_client
from benchmarks.workers import processes
from dir_redis import StorageBundle, redis_storage

PRIMARIES = (1, 2, 3)
CLIENTS = 2


def clusters_table(measured_rounds: int, round_sec: float) -> Table:
    """Measure clusters that take turns.

    Args:
        measured_rounds: rounds that count.
        round_sec: how long each cluster's turn takes.
    """
    rates: dict[int, list[float]] = {count: [] for count in PRIMARIES}
    used: dict[int, list[list[float]]] = {count: [] for count in PRIMARIES}
    of_clients: dict[int, list[float]] = {count: [] for count in PRIMARIES}
    with ExitStack() as running:
        nodes = {count: running.enter_context(cluster(count)) for count in PRIMARIES}
        clients = {
            count: [running.enter_context(closing(plain_client(url))) for url in urls]
            for count, urls in nodes.items()
        }
        urls = {
            count: "redis+cluster://" + ",".join(url.removeprefix("redis://") for url in of_cluster)
            for count, of_cluster in nodes.items()
        }
        workers = running.enter_context(processes(CLIENTS, _work, urls))
        calls = 0.0
        for number in range(measured_rounds + 1):  # the first is not counted
            for count in PRIMARIES[:: -1 if number % 2 else 1]:
                before = [counters(client) for client in clients[count]]
                for worker in workers:
                    worker.send((count, round_sec))
                replies = [worker.recv() for worker in workers]
                after = [counters(client) for client in clients[count]]
                if number:
                    flows = sum(done for done, _, _ in replies)
                    rates[count].append(sum(done / took for done, took, _ in replies))
                    of_clients[count].append(sum(cpu for _, _, cpu in replies) / flows * 1e6)
                    spent = zip(before, after, strict=True)
                    used[count].append([(b["cpu_us"] - a["cpu_us"]) / flows for a, b in spent])
                    sent = zip(before, after, strict=True)
                    calls = sum(b["calls"] - a["calls"] for a, b in sent) / flows
    one = median(rates[PRIMARIES[0]])
    one_busiest = _busiest(used[PRIMARIES[0]])
    rows = []
    for count in PRIMARIES:
        rate, busiest = median(rates[count]), _busiest(used[count])
        rows.append(
            (
                str(count),
                f"{rate:,.0f}",
                f"{rate * calls:,.0f}",
                f"{rate / one:.2f}",
                f"{median(of_clients[count]):,.0f}",
                f"{median(sum(round_) for round_ in used[count]):,.0f}",
                f"{busiest:,.0f}",
                f"{1e6 / busiest:,.0f}",
                f"{one_busiest / busiest:.2f}",
            )
        )
    return Table(
        (
            *("primaries", "flows per second", "operations per second", "ratio to one"),
            *("client CPU per flow, µs", "server CPU per flow, µs"),
            "of it the busiest primary, µs",
            *("flows per second that one has time for", "ratio to one"),
        ),
        rows,
    )


def _busiest(rounds: Sequence[Sequence[float]]) -> float:
    return median(max(nodes) for nodes in rounds)


def _work(orders: Connection, urls: dict[int, str]) -> None:
    """Take orders: which cluster and for how many seconds; None ends."""
    number = 0
    with ExitStack() as running:
        bundles: dict[int, StorageBundle] = {
            count: running.enter_context(redis_storage(url, partitions=PARTITIONS))
            for count, url in urls.items()
        }
        orders.send("ready")
        while (order := orders.recv()) is not None:
            count, seconds = order
            done, started, cpu = 0, time.monotonic(), time.process_time()
            while (took := time.monotonic() - started) < seconds:
                run_flow(bundles[count], FLOW_SCOPED, dfid_of(number, f"{os.getpid()} "))
                done, number = done + 1, number + 1
            orders.send((done, took, time.process_time() - cpu))
