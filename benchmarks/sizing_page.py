"""What docs/sizing.md says in figures: the formulas, the example, and the page's marked places."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from redis.crc import key_slot

from benchmarks.report import Table, table_as_markdown
from benchmarks.servers import CLUSTER_SLOTS
from dir_redis.redis.keys import Keys

PAGE = Path(__file__).parents[1] / "docs" / "sizing.md"
PLACES = ("machine", "flow", "steps", "kinds", "example", "nodes", "cluster", "balance")
DAY_SEC = 86_400
MINUTE_SEC = 60  # how long the streams live that wake who waits

# The example.
FLOWS_PER_DAY = 1_000_000
PEAK = 5
UTILISATION = 0.5
ESCALATED_IN_100 = 2
DAYS, AUDIT_DAYS = 30, 7
NODE_BYTES = 64 * 10**9
MEMORY_USED = 0.6
NODES = (1, 2, 3, 6, 12)
PARTITIONS = (12, 48, 192, 1024)

LABELS = {
    "calls": "calls, each one script and one round trip",
    "commands": "commands that the scripts run",
    "script_us": "server time in scripts, µs (INFO commandstats)",
    "cpu_us": "server time in all, µs: CPU of its main thread, nothing on disk",
    "aof_cpu_us": "the same with an append-only file (everysec)",
    "zero_us": "of that in partition 0",
    "bytes_in": "network to the server, bytes",
    "bytes_out": "network from the server, bytes",
    "at_once": "memory right after, bytes",
    "after_minute": "memory once what lives for a minute has gone, bytes",
    "after_day": "memory once what lives for a day has gone, bytes: what stays",
    "audit": "of that the audit log, which `trim` drops",
    "aof": "append-only file, bytes written",
    "rewritten": "append-only file after rewriting, bytes, of what stays",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What one flow costs, as LABELS says, in whole numbers as the page shows them."""

    calls: int
    commands: int
    script_us: int
    cpu_us: int
    aof_cpu_us: int
    zero_us: int
    bytes_in: int
    bytes_out: int
    at_once: int
    after_minute: int
    after_day: int
    audit: int
    aof: int
    rewritten: int

    def mixed(self, other: Figures, in_100: int) -> dict[str, float]:
        """The mean flow, of which so many in 100 are like the other."""
        return {
            name: ((100 - in_100) * getattr(self, name) + in_100 * getattr(other, name)) / 100
            for name in LABELS
        }


def flows_per_second(utilisation: float, us_per_flow: float) -> float:
    """How many flows a second a node does in that part of its time."""
    return utilisation * 1e6 / us_per_flow


def nodes_for(demand: float, per_node: float) -> int:
    """How many nodes a demand takes."""
    return max(1, math.ceil(demand / per_node))


def of_nodes(nodes: int, us: float, zero_us: float, *, zero_alone: bool = False) -> float:
    """Flows per second of so many primaries over which the partitions are spread evenly.

    Args:
        nodes: how many primaries.
        us: a flow's server time.
        zero_us: how much of it lies in partition 0.
        zero_alone: whether partition 0 has a primary to itself.
    """
    if zero_alone:
        return flows_per_second(UTILISATION, max(zero_us, (us - zero_us) / (nodes - 1)))
    return flows_per_second(UTILISATION, zero_us + (us - zero_us) / nodes)


def flow_table(typical: Figures, escalated: Figures) -> Table:
    """What one flow costs."""
    return Table(
        ("One flow", "typical", "with an escalation"),
        [
            (label, f"{getattr(typical, name):,}", f"{getattr(escalated, name):,}")
            for name, label in LABELS.items()
        ],
    )


def figures_in(page: str) -> tuple[Figures, Figures]:
    """The figures of flow_table, read back from a page."""
    names = {label: name for name, label in LABELS.items()}
    columns: list[dict[str, int]] = [{}, {}]
    for label, *values in re.findall(r"^\| (.+?) \| ([\d,]+) \| ([\d,]+) \|$", page, re.M):
        if label in names:
            for column, value in zip(columns, values, strict=True):
                column[names[label]] = int(value.replace(",", ""))
    typical, escalated = (Figures(**column) for column in columns)
    return typical, escalated


def example_table(typical: Figures, escalated: Figures) -> Table:
    """The worked example, from the figures alone."""
    flow = typical.mixed(escalated, ESCALATED_IN_100)
    peak = FLOWS_PER_DAY / DAY_SEC * PEAK
    rows = [*_time_rows(flow, peak), *_memory_rows(flow, peak), *_traffic_rows(flow, peak)]
    return Table(("", "how", "result"), rows)


def _time_rows(flow: Mapping[str, float], peak: float) -> list[tuple[str, str, str]]:
    us, zero_us = flow["aof_cpu_us"], flow["zero_us"]
    per_node = flows_per_second(UTILISATION, us)
    through_0 = flows_per_second(UTILISATION, zero_us)
    per_day = per_node * DAY_SEC / PEAK / 1e6
    share = f"{100 - ESCALATED_IN_100} % typical, {ESCALATED_IN_100} % with an escalation"
    time = _product(UTILISATION, 1_000_000)
    return [
        ("a flow's server time", share, f"{us:,.0f} µs"),
        (
            "flows per second, at peak",
            f"{_product(FLOWS_PER_DAY, PEAK)} / {DAY_SEC:,}",
            f"{peak:,.1f}",
        ),
        ("flows per second of a node", f"{time} / {us:,.0f}", f"{per_node:,.0f}"),
        (
            "**nodes, by time**",
            "peak / that of a node, rounded up",
            f"**{nodes_for(peak, per_node)}**",
        ),
        (
            "flows a day that a node has time for",
            f"{_product('that of a node', DAY_SEC)} / {PEAK}",
            f"{per_day:,.1f} million",
        ),
        ("flows per second through partition 0", f"{time} / {zero_us:,.0f}", f"{through_0:,.0f}"),
    ]


def _memory_rows(flow: Mapping[str, float], peak: float) -> list[tuple[str, str, str]]:
    of_minute = flow["at_once"] - flow["after_minute"]
    of_day = flow["after_minute"] - flow["after_day"]
    stays, audit, trimmed_days = flow["after_day"], flow["audit"], DAYS - AUDIT_DAYS
    memory = of_minute * MINUTE_SEC * peak + of_day * FLOWS_PER_DAY + stays * FLOWS_PER_DAY * DAYS
    trimmed = memory - audit * FLOWS_PER_DAY * trimmed_days
    room = NODE_BYTES * MEMORY_USED
    return [
        (
            f"memory of {DAYS} days that stays",
            _product(_bytes(stays), FLOWS_PER_DAY, DAYS),
            _large(stays * FLOWS_PER_DAY * DAYS),
        ),
        (
            "memory that goes after a day",
            _product(_bytes(of_day), FLOWS_PER_DAY),
            _large(of_day * FLOWS_PER_DAY),
        ),
        (
            "memory that goes after a minute",
            _product(_bytes(of_minute), f"{MINUTE_SEC} s", "peak"),
            _large(of_minute * MINUTE_SEC * peak),
        ),
        (
            "**nodes, by memory**",
            f"their sum / ({_product(MEMORY_USED, _large(NODE_BYTES))}), rounded up",
            f"**{nodes_for(memory, room)}**",
        ),
        (
            f"memory with audit rows trimmed after {AUDIT_DAYS} days",
            f"the sum - {_product(_bytes(audit), FLOWS_PER_DAY, trimmed_days)}",
            _large(trimmed),
        ),
        ("**nodes, by memory, trimmed**", "likewise", f"**{nodes_for(trimmed, room)}**"),
    ]


def _traffic_rows(flow: Mapping[str, float], peak: float) -> list[tuple[str, str, str]]:
    rewritten, written = flow["rewritten"], flow["aof"]
    to, back = (flow[name] * 8 * peak / 1e6 for name in ("bytes_in", "bytes_out"))
    return [
        (
            "append-only file, written a day",
            _product(_bytes(written), FLOWS_PER_DAY),
            _large(written * FLOWS_PER_DAY),
        ),
        (
            "disk of all nodes, untrimmed",
            _product(3, _bytes(rewritten), FLOWS_PER_DAY, DAYS),
            _large(3 * rewritten * FLOWS_PER_DAY * DAYS),
        ),
        (
            "network at peak, to all nodes and from them",
            _product("bytes", 8, "peak"),
            f"{to:,.1f} and {back:,.1f} Mbit/s",
        ),
    ]


def _product(*factors: float | str) -> str:
    return " \u00d7 ".join(one if isinstance(one, str) else f"{one:,}" for one in factors)


def _bytes(count: float) -> str:
    return f"{count:,.0f} bytes"


def nodes_table(typical: Figures) -> Table:
    """How flows per second grow with the primaries, by the formula."""
    us, zero_us = typical.aof_cpu_us, typical.zero_us
    one = of_nodes(1, us, zero_us)
    rows = []
    for nodes in NODES:
        spread = of_nodes(nodes, us, zero_us)
        row = [str(nodes), f"{spread:,.0f}", f"{spread / one:.2f}", "", ""]
        if nodes > 1:
            alone = of_nodes(nodes, us, zero_us, zero_alone=True)
            row[3:] = f"{alone:,.0f}", f"{alone / one:.2f}"
        rows.append(row)
    return Table(
        (
            *("primaries", "flows per second", "ratio to one"),
            *("partition 0 on a primary of its own", "ratio to one"),
        ),
        rows,
    )


def balance_table() -> Table:
    """The busiest primary's part of the partitions, with the slots in even ranges."""
    rows = [
        (f"{partitions:,}", *(f"{busiest_share(partitions, nodes):.2f}" for nodes in NODES[1:]))
        for partitions in PARTITIONS
    ]
    return Table(("partitions", *(f"{nodes} primaries" for nodes in NODES[1:])), rows)


def busiest_share(partitions: int, nodes: int) -> float:
    """The busiest primary's part of a namespace's partitions, over an even part."""
    held = [0] * nodes
    for key in Keys("dir", partitions).in_each_partition(""):
        slot = key_slot(key.encode())
        held[next(n for n in range(nodes) if slot < CLUSTER_SLOTS * (n + 1) // nodes)] += 1
    return max(held) * nodes / partitions


def filled(page: str, tables: Mapping[str, Sequence[Table]]) -> str:
    """A page with its marked places written anew.

    Args:
        page: the page.
        tables: what goes between the marks, by the place's name.

    Raises:
        ValueError: the page has no such place.
    """
    for name, of_place in tables.items():
        text = "\n\n".join(table_as_markdown(table) for table in of_place)
        begin, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page should have {begin} and {end} once each")
        head, _, rest = page.partition(begin)
        page = f"{head}{begin}\n{text}\n{end}{rest.partition(end)[2]}"
    return page


def _large(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


assert {field.name for field in fields(Figures)} == set(LABELS)
