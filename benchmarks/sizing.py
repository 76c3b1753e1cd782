"""Measures what a flow costs a server: ``python -m benchmarks.sizing [--quick] [--output FILE]``.

Writes the figures, and what follows from them, into docs/sizing.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks import machine
from benchmarks.files import folder
from benchmarks.flows import (
    CLOSE_IN_0,
    ESCALATED,
    ESCALATION,
    FLOW_SCOPED,
    RESERVATION,
    TYPICAL,
    Step,
    dfid_of,
    register_agents,
    run_flow,
)
from benchmarks.report import Section, Table, show
from benchmarks.servers import cluster, plain_client, server
from benchmarks.sizing_page import (
    PAGE,
    Figures,
    balance_table,
    example_table,
    filled,
    flow_table,
    nodes_table,
)
from dir_redis import StorageBundle, redis_storage

PARTITIONS = 12
PRIMARIES = (1, 2, 3)
CLIENTS = 2
LONGEST_MINUTE_MS = 600_000  # longer, so that the op keys of clients count with the short-lived
REWRITE_TIMEOUT_SEC = 60.0
PIPELINE = 1000
NO_REWRITE = {"auto-aof-rewrite-percentage": "0"}
COUNTED = ("calls", "commands", "script_us", "cpu_us", "bytes_in", "bytes_out", "aof")
Cost = dict[str, float]
"""What a step of one flow costs, by the names in COUNTED."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        blocks: blocks of flows whose costs are counted, of which the medians count.
        block: flows in a block.
        kept: flows whose memory is measured.
        rounds: rounds in which the clusters take turns.
        round_sec: how long each turn takes.
    """

    blocks: int = 15
    block: int = 40
    kept: int = 3_000
    rounds: int = 5
    round_sec: float = 2.0


QUICK = Sizes(blocks=3, block=10, kept=300, rounds=1, round_sec=0.4)


def main() -> None:
    """Measure, print, and write the figures into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run; writes no page")
    parser.add_argument("--output", type=Path, help="write the filled page to this file")
    options = parser.parse_args()
    # Leaves by the usual way, so that servers are stopped and folders removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    started = time.monotonic()
    tables = measure(QUICK if options.quick else Sizes())
    for name, of_place in tables.items():
        show(console, Section(name, "", of_place))
    console.print(f"took {time.monotonic() - started:.0f} s")
    output = options.output or (None if options.quick else PAGE)
    if output is not None:
        output.write_text(filled(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
        console.print(f"wrote {output}")


def measure(sizes: Sizes) -> dict[str, list[Table]]:
    """The tables of the page, by the place they go to."""
    with server() as url:
        in_memory = _costs(url, sizes)
    with folder() as where, server(where / "costs", **NO_REWRITE) as url:
        on_disk = _costs(url, sizes)
    with folder() as where:
        kept = {
            name: _kept(where / name, steps, sizes.kept)
            for name, steps in (("typical", TYPICAL), ("escalated", ESCALATED))
        }
    typical = _figures(TYPICAL, in_memory, on_disk, kept["typical"][0])
    escalated = _figures(ESCALATED, in_memory, on_disk, kept["escalated"][0])
    return {
        "machine": [Table(("Measured on", ""), machine.facts())],
        "flow": [flow_table(typical, escalated)],
        "steps": [_steps_table(in_memory, on_disk)],
        "kinds": [_kinds_table(kept["typical"][1], kept["escalated"][1])],
        "example": [example_table(typical, escalated)],
        "nodes": [nodes_table(typical)],
        "cluster": [_clusters(sizes)],
        "balance": [balance_table()],
    }


# What each step costs


def _costs(url: str, sizes: Sizes) -> dict[str, Cost]:
    """What each step of a flow costs, by its name: medians over blocks of flows."""
    told: dict[str, list[Cost]] = {}
    nothing = Step("nothing", False, lambda *_: None)
    steps = (nothing, *ESCALATED, CLOSE_IN_0)
    with closing(plain_client(url)) as client, redis_storage(url, partitions=PARTITIONS) as bundle:
        register_agents(bundle)
        for block in range(sizes.blocks + 1):  # the first is not counted: it loads the scripts
            dfids = [dfid_of(number, f"block {block} ") for number in range(sizes.block)]
            for step in steps:
                before = _counters(client)
                for dfid in dfids:
                    step.run(bundle, dfid)
                after = _counters(client)
                if block:
                    cost = {name: (after[name] - before[name]) / len(dfids) for name in COUNTED}
                    told.setdefault(step.name, []).append(cost)
    costs = {
        step: {name: median(cost[name] for cost in of_blocks) for name in COUNTED}
        for step, of_blocks in told.items()
    }
    looking = costs.pop(nothing.name)
    return {
        step: {name: max(0.0, cost[name] - looking[name]) for name in COUNTED}
        for step, cost in costs.items()
    }


def _counters(client: Any) -> Cost:
    """The server's own counters; looking at them costs as much each time."""
    commands, told = client.info("commandstats"), client.info("persistence")
    told |= client.info("stats") | client.info("cpu")
    scripts = commands.get("cmdstat_evalsha", {"calls": 0, "usec": 0})
    return {
        "calls": scripts["calls"],
        "commands": sum(one["calls"] for one in commands.values()) - scripts["calls"],
        "script_us": scripts["usec"],
        "cpu_us": 1e6 * (told["used_cpu_user_main_thread"] + told["used_cpu_sys_main_thread"]),
        "bytes_in": told["total_net_input_bytes"],
        "bytes_out": told["total_net_output_bytes"],
        "aof": told.get("aof_current_size", 0) + told.get("aof_buffer_length", 0),
    }


def _sum(steps: Sequence[Step], costs: dict[str, Cost], name: str) -> float:
    return sum(costs[step.name][name] for step in steps)


def _figures(
    steps: Sequence[Step],
    in_memory: dict[str, Cost],
    on_disk: dict[str, Cost],
    kept: dict[str, float],
) -> Figures:
    in_0 = (*(step for step in steps if step.in_partition_0), CLOSE_IN_0)
    shared = {
        name: round(_sum(steps, in_memory, name))
        for name in ("calls", "commands", "script_us", "cpu_us", "bytes_in", "bytes_out")
    }
    return Figures(
        **shared,
        aof_cpu_us=round(_sum(steps, on_disk, "cpu_us")),
        zero_us=round(_sum(in_0, on_disk, "cpu_us")),
        aof=round(_sum(steps, on_disk, "aof")),
        **{name: round(value) for name, value in kept.items()},
    )


def _steps_table(in_memory: dict[str, Cost], on_disk: dict[str, Cost]) -> Table:
    rows = []
    for step in (*FLOW_SCOPED, CLOSE_IN_0, *RESERVATION, ESCALATION):
        cost, disk = in_memory[step.name], on_disk[step.name]
        times = (cost["script_us"], cost["cpu_us"], disk["cpu_us"])
        rows.append(
            (
                step.name,
                "0" if step.in_partition_0 else "its own",
                f"{cost['calls']:.1f}",
                *(f"{value:.0f}" for value in times),
                f"{disk['aof']:,.0f}",
            )
        )
    return Table(
        (
            *("Step", "partition", "calls", "in scripts, µs", "CPU, µs", "CPU with AOF, µs"),
            "AOF, bytes",
        ),
        rows,
    )


# What flows leave behind


def _kept(
    where: Path, steps: Sequence[Step], flows: int
) -> tuple[dict[str, float], dict[str, tuple[str, float, float]]]:
    """Bytes per flow that stay, and by kind of key: how long, how many, how many bytes."""
    with (
        server(where, **NO_REWRITE) as url,
        closing(plain_client(url)) as client,
        redis_storage(url) as bundle,
    ):
        register_agents(bundle)
        run_flow(bundle, steps, dfid_of(0, "first "))
        before = _used(client)
        for number in range(flows):
            run_flow(bundle, steps, dfid_of(number))
        told: dict[str, float] = {"at_once": _used(client) - before}
        kinds, passing = _keys(client)
        for name, keys in zip(("after_minute", "after_day"), passing, strict=True):
            for start in range(0, len(keys), PIPELINE):
                client.delete(*keys[start : start + PIPELINE])
            told[name] = _used(client) - before
        told["audit"] = sum(
            size for kind, (_, _, size) in kinds.items() if kind in ("audit", "audit_flow")
        )
        told["rewritten"] = _rewritten(client)
    of_kinds = {
        kind: (lives, count / flows, size / flows) for kind, (lives, count, size) in kinds.items()
    }
    return {name: value / flows for name, value in told.items()}, of_kinds


def _used(client: Any) -> int:
    return int(client.info("memory")["used_memory"])


def _keys(client: Any) -> tuple[dict[str, tuple[str, int, int]], tuple[list[bytes], list[bytes]]]:
    """All keys by kind, and those that go after a minute, and after a day."""
    kinds: dict[str, tuple[str, int, int]] = {}
    minute: list[bytes] = []
    day: list[bytes] = []
    keys = list(client.scan_iter("{dir:*", count=PIPELINE))
    for start in range(0, len(keys), PIPELINE):
        some = keys[start : start + PIPELINE]
        with client.pipeline(transaction=False) as pipeline:
            for key in some:
                pipeline.pttl(key)
                pipeline.memory_usage(key, samples=0)
            replies = pipeline.execute()
        for key, ttl_ms, size in zip(some, replies[::2], replies[1::2], strict=True):
            kind = key.decode().partition("}:")[2].partition(":")[0]
            lives = (
                "stays" if ttl_ms < 0 else "a minute" if ttl_ms <= LONGEST_MINUTE_MS else "a day"
            )
            if lives != "stays":
                (minute if lives == "a minute" else day).append(key)
            _, count, bytes_so_far = kinds.get(kind, (lives, 0, 0))
            kinds[kind] = lives, count + 1, bytes_so_far + size
    return kinds, (minute, day)


def _rewritten(client: Any) -> int:
    """The append-only file's size once it was rewritten."""
    rewritten = client.info("stats")["total_forks"]
    client.bgrewriteaof()
    deadline = time.monotonic() + REWRITE_TIMEOUT_SEC
    while True:
        told = client.info("persistence")
        forks = client.info("stats")["total_forks"]
        if forks > rewritten and not told["aof_rewrite_in_progress"]:
            return int(told["aof_current_size"])
        if time.monotonic() > deadline:
            raise TimeoutError(f"the file was not rewritten in {REWRITE_TIMEOUT_SEC} s")
        time.sleep(0.02)


def _kinds_table(
    typical: dict[str, tuple[str, float, float]], escalated: dict[str, tuple[str, float, float]]
) -> Table:
    none = ("", 0.0, 0.0)
    rows = [
        (
            f"`{kind}`",
            lives,
            f"{count:.2f}",
            *(f"{of.get(kind, none)[2]:,.0f}" for of in (typical, escalated)),
        )
        for kind, (lives, count, size) in sorted(escalated.items(), key=lambda one: -one[1][2])
        if size >= 1 and not kind.startswith("agent")  # of those there are as many as agents
    ]
    return Table(
        ("Kind of key", "lives for", "keys per flow", "bytes per flow", "with an escalation"), rows
    )


# Primaries


def _clusters(sizes: Sizes) -> Table:
    """Flow-scoped flows with 1, 2 and 3 primaries, which take turns."""
    rates: dict[int, list[float]] = {count: [] for count in PRIMARIES}
    used: dict[int, list[list[float]]] = {count: [] for count in PRIMARIES}
    of_clients: dict[int, list[float]] = {count: [] for count in PRIMARIES}
    with ExitStack() as running:
        nodes = {count: running.enter_context(cluster(count)) for count in PRIMARIES}
        clients = {
            count: [running.enter_context(closing(plain_client(url))) for url in urls]
            for count, urls in nodes.items()
        }
        workers = running.enter_context(_processes(nodes))
        calls = 0.0
        for number in range(sizes.rounds + 1):  # the first is not counted
            for count in PRIMARIES[:: -1 if number % 2 else 1]:
                before = [_counters(client) for client in clients[count]]
                for worker in workers:
                    worker.send((count, sizes.round_sec))
                replies = [worker.recv() for worker in workers]
                after = [_counters(client) for client in clients[count]]
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


@contextmanager
def _processes(nodes: dict[int, list[str]]) -> Iterator[list[Connection]]:
    urls = {
        count: "redis+cluster://" + ",".join(url.removeprefix("redis://") for url in of_cluster)
        for count, of_cluster in nodes.items()
    }
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe() for _ in range(CLIENTS)]
    workers = [context.Process(target=_work, args=(theirs, urls)) for _, theirs in ends]
    for worker in workers:
        worker.start()
    try:
        for ours, _ in ends:
            ours.recv()
        yield [ours for ours, _ in ends]
    finally:
        for ours, _ in ends:
            ours.send(None)
        for worker in workers:
            worker.join()


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


if __name__ == "__main__":
    main()
