"""Runs the benchmark: ``python -m benchmarks [--quick] [--only NAME] [--output FILE]``."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from benchmarks import (
    against_plain,
    contention,
    fleet_operations,
    hand_over,
    machine,
    memory,
    server_time,
    writes,
)
from benchmarks.measure import QUICK, Sizes
from benchmarks.report import as_markdown, show

SECTIONS = {
    "against-plain": against_plain.run,
    "writes": writes.run,
    "server-time": server_time.run,
    "memory": memory.run,
    "contention": contention.run,
    "fleet-operations": fleet_operations.run,
    "fleet-growth": fleet_operations.run_growth,
    "hand-over": hand_over.run,
}
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run; writes no page")
    parser.add_argument("--only", choices=SECTIONS, help="one section; writes no page")
    parser.add_argument("--output", type=Path, help="write the page to this file")
    options = parser.parse_args()
    # Leaves by the usual way, so that servers are stopped and folders removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))

    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    sizes = QUICK if options.quick else Sizes()
    sections = []
    started = time.monotonic()
    for name in [options.only] if options.only else SECTIONS:
        with console.status(f"measuring: {name}"):
            section = SECTIONS[name](sizes)
        sections.append(section)
        show(console, section)
    console.print(f"took {time.monotonic() - started:.0f} s")

    output = options.output or (None if options.quick or options.only else PAGE)
    if output is not None:
        output.write_text(as_markdown(machine.facts(), sections), encoding="utf-8")
        console.print(f"wrote {output}")


if __name__ == "__main__":
    main()
