"""The command ``python -m examples.kernel``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec

from dir_redis import StorageBundle
from examples import command

REPORT_WIDTH = 80


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Returns:
        0 when every invariant held, 1 when one is broken, 2 when the demo could not run, 128 plus
        the signal's number when it was stopped (130 for Ctrl-C).
    """
    options = parse(arguments)
    problem = _missing()
    if problem:
        return command.unable(problem)
    return command.run(_demo, options, left_behind="every process is stopped")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.kernel",
        description="dir-core's DecisionRuntime in several processes on one store: real proposals, "
        "one process killed in the middle, and all invariants checked at the end.",
        epilog="Exit code: 0 if every invariant held, 1 if one is broken, 2 if it could not run. "
        "With --kernel unmodified a broken one is to be expected.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--kernel",
        choices=("ours", "unmodified"),
        default="ours",
        help="whose managers: those of dir_redis.kernel, or dir_core's own (default: ours)",
    )
    command.add_store_arguments(parser)
    parser.add_argument(
        "--workers",
        type=int,
        choices=range(2, 9),
        default=4,
        metavar="N",
        help="processes: 2 to 8 (default: 4)",
    )
    parser.add_argument(
        "--months",
        type=_months,
        metavar="N",
        help="only N months of each symbol, 12 or more (default: all)",
    )
    parser.add_argument("--no-kill", action="store_true", help="kill nobody")
    return command.parse(parser, arguments, prefix="kernel")


def _missing() -> str | None:
    if sys.version_info < (3, 12):
        return f"dir-core needs Python 3.12 or newer, and this is {sys.version.split()[0]}"
    if find_spec("dir_core") is None:
        return "the demo needs dir-core: pip install 'dir-core>=0.4'"
    if tuple(map(int, version("dir-core").split(".")[:2])) < (0, 4):
        return (
            f"the demo's contracts have limits, which dir-core {version('dir-core')} does not "
            "check: pip install 'dir-core>=0.4'"
        )
    if find_spec("rich") is None:
        return "the demo needs rich: pip install rich"
    return None


def _demo(options: argparse.Namespace, store: StorageBundle) -> int:
    from examples.fleet.prices import decisions, read_quotes
    from examples.kernel.desk import KERNELS
    from examples.kernel.invariants import check_all
    from examples.kernel.plan import make_plan, worth_proposing
    from examples.kernel.report import print_report
    from examples.kernel.run import run_fleet

    console = command.console_of(REPORT_WIDTH)
    where = command.where(store)
    if store.lifecycle.get_transitions() or store.decision_audit.all_events_chronological():
        return command.unable(
            f"{where} has data already; the demo proves something on an empty one only"
        )
    todo = worth_proposing(decisions(read_quotes(), months=options.months))
    plan = make_plan(todo, workers=options.workers, kernel=options.kernel)
    plan.save(store)
    console.print(
        f"{options.workers} processes with the managers of {KERNELS[options.kernel]}, "
        f"{len(todo)} proposals\non {where}"
    )
    address = command.address_of(store, options)
    run_fleet(store, plan, todo, address=address, kill=not options.no_kill, console=console)
    verdicts = check_all(store)
    print_report(console, store, verdicts)
    return command.OK if all(each.finding.holds for each in verdicts) else command.BROKEN


def _months(text: str) -> int:
    if int(text) < 12:
        raise argparse.ArgumentTypeError(
            f"{text} is less than 12: too few for anybody to be killed"
        )
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
