"""Measures what a flow costs a server: ``python -m benchmarks.sizing [--quick] [--output FILE]``.

Writes the figures, and what follows from them, into docs/sizing.md.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console

from benchmarks import machine
from benchmarks.counters import COUNTED, Cost, counters
from benchmarks.files import folder
from benchmarks.flows import (
    CLOSE_IN_0,
    ESCALATED,
    ESCALATION,
    FLOW_SCOPED,
    PARTITIONS,
    RESERVATION,
    TYPICAL,
    Step,
    dfid_of,
    register_agents,
)
from benchmarks.primaries import clusters_table
from benchmarks.remains import NO_REWRITE, kept, kinds_table
from benchmarks.report import Section, Table, show
from benchmarks.servers import plain_client, server
from benchmarks.sizing_page import (
    PAGE,
    Figures,
    balance_table,
    example_table,
    filled,
    flow_table,
    nodes_table,
)
from dir_redis import redis_storage


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        blocks: blocks of flows whose costs are counted, of which the medians count.
        block: flows in a block.
        flows_left: flows whose memory is measured.
        rounds: rounds in which the clusters take turns.
        round_sec: how long each turn takes.
    """

    blocks: int = 15
    block: int = 40
    flows_left: int = 3_000
    rounds: int = 5
    round_sec: float = 2.0


QUICK = Sizes(blocks=3, block=10, flows_left=300, rounds=1, round_sec=0.4)


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
    with folder() as where, server() as memory, server(where / "costs", **NO_REWRITE) as disk:
        in_memory, on_disk = _costs((memory, disk), sizes)
    with folder() as where:
        left = {
            name: kept(where / name, steps, sizes.flows_left)
            for name, steps in (("typical", TYPICAL), ("escalated", ESCALATED))
        }
    typical = _figures(TYPICAL, in_memory, on_disk, left["typical"][0])
    escalated = _figures(ESCALATED, in_memory, on_disk, left["escalated"][0])
    return {
        "machine": [Table(("Measured on", ""), machine.facts())],
        "flow": [flow_table(typical, escalated)],
        "steps": [_steps_table(in_memory, on_disk)],
        "kinds": [kinds_table(left["typical"][1], left["escalated"][1])],
        "example": [example_table(typical, escalated)],
        "nodes": [nodes_table(typical)],
        "cluster": [clusters_table(sizes.rounds, sizes.round_sec)],
        "balance": [balance_table()],
    }


def _costs(urls: Sequence[str], sizes: Sizes) -> list[dict[str, Cost]]:
    """What each step of a flow costs each server, by its name: medians over blocks of flows."""
    nothing = Step("nothing", False, lambda *_: None)
    steps = (nothing, *ESCALATED, CLOSE_IN_0)
    told: list[dict[str, list[Cost]]] = [{step.name: [] for step in steps} for _ in urls]
    with ExitStack() as running:
        clients = [running.enter_context(closing(plain_client(url))) for url in urls]
        bundles = [running.enter_context(redis_storage(url, partitions=PARTITIONS)) for url in urls]
        for bundle in bundles:
            register_agents(bundle)
        for block in range(sizes.blocks + 1):  # the first is not counted: it loads the scripts
            dfids = [dfid_of(number, f"block {block} ") for number in range(sizes.block)]
            for step in steps:
                for client, bundle, of_server in zip(clients, bundles, told, strict=True):
                    before = counters(client)
                    for dfid in dfids:
                        step.run(bundle, dfid)
                    after = counters(client)
                    if block:
                        cost = {name: (after[name] - before[name]) / len(dfids) for name in COUNTED}
                        of_server[step.name].append(cost)
    return [_medians(of_server, nothing.name) for of_server in told]


def _medians(told: dict[str, list[Cost]], nothing: str) -> dict[str, Cost]:
    """Of each step's blocks the medians, without what looking at the counters costs itself."""
    costs = {
        step: {name: median(cost[name] for cost in of_blocks) for name in COUNTED}
        for step, of_blocks in told.items()
    }
    looking = costs.pop(nothing)
    return {
        step: {name: max(0.0, cost[name] - looking[name]) for name in COUNTED}
        for step, cost in costs.items()
    }


def _sum(steps: Sequence[Step], costs: dict[str, Cost], name: str) -> float:
    return sum(costs[step.name][name] for step in steps)


def _figures(
    steps: Sequence[Step],
    in_memory: dict[str, Cost],
    on_disk: dict[str, Cost],
    left: dict[str, float],
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
        **{name: round(value) for name, value in left.items()},
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


if __name__ == "__main__":
    main()
