"""A fleet under random faults of many kinds, and then proof that nothing went wrong.

    python -m tests.soak --seconds 600 --seed 7

Half of the time one server is beset, with the demo's fleet and others on it, then a Sentinel
service, then a cluster.

The seed fixes the order of the kinds of fault in each part, the choices within each fault (how many
replies, how long, which client; which of those of the demo's workers that are at work), and which
operation each client tries first, second, ... and with which arguments. When a fault comes, and so
what it befalls, is up to the machine: a replay makes the same faults in the same order.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path

from examples.signals import InterruptionError, signals_raised
from tests.soak.failovers import soak_cluster, soak_sentinel
from tests.soak.one_server import soak_one_server
from tests.soak.report import Report

# Which share of the time each takes.
PARTS = (
    ("one server", soak_one_server, 0.5),
    ("a Sentinel service", soak_sentinel, 0.25),
    ("a cluster", soak_cluster, 0.25),
)


def main(arguments: list[str] | None = None) -> int:
    """Run a soak and report; the exit code is 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=120,
        help="how long faults are made; longer where it takes longer to make each kind once",
    )
    parser.add_argument("--seed", type=int, default=7, help="of the faults and the clients")
    options = parser.parse_args(arguments)
    report = Report()
    try:
        with signals_raised():
            for name, soak, share in PARTS:
                report.say(f"--- {name}")
                with (
                    report.watching(name),
                    tempfile.TemporaryDirectory(prefix="dir-redis-soak-") as folder,
                ):
                    seconds = options.seconds * share
                    soak(Path(folder), seconds=seconds, seed=options.seed, report=report)
    except InterruptionError as interrupted:
        report.say(f"stopped by {interrupted}")
        return 128 + interrupted.signum
    finally:
        for problem in report.violations:
            report.say(f"VIOLATION: {problem}")
    report.say(f"seed {options.seed}: {len(report.violations)} violations")
    return 1 if report.violations else 0


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
