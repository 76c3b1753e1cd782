"""The command ``python -m examples.fleet``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from dir_redis import StorageBundle
from examples import command

REPORT_WIDTH = 100
NEEDED = ("rich", "matplotlib")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Returns:
        0 when every invariant held, 1 when one is broken, 2 when the demo could not run, 128 plus
        the signal's number when it was stopped (130 for Ctrl-C).
    """
    options = parse(arguments)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return command.unable(
            f"the demo needs {' and '.join(missing)}: pip install {' '.join(missing)}"
        )
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return command.unable(str(error))
    return command.run(_demo, options, left_behind="leases end what was held")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.fleet",
        description="A fleet of trading agents on real prices, one process each, on one store.",
        allow_abbrev=False,
    )
    command.add_store_arguments(parser)
    parser.add_argument(
        "--workers",
        type=_between(1, 32),
        default=8,
        metavar="N",
        help="processes, each with one agent: 1 to 32 (default: 8)",
    )
    parser.add_argument(
        "--kill",
        type=_between(0, 100),
        default=2,
        metavar="N",
        help="kill N workers on the way, in the middle of their work (default: 2)",
    )
    parser.add_argument(
        "--no-replace",
        action="store_true",
        help="start no new process for a killed one; the others take its work over all the same",
    )
    parser.add_argument(
        "--lease",
        type=_seconds,
        default=1.5,
        metavar="SEC",
        help="how long what a process holds outlives it: 0.5 to 30 (default: 1.5)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the choice of whom to kill when")
    parser.add_argument(
        "--months",
        type=_between(1, 1000),
        metavar="N",
        help="only N months of each symbol (default: all)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="where the picture goes (default: demo-output)",
    )
    options = command.parse(parser, arguments, prefix="fleet")
    if options.no_replace and options.kill >= options.workers:
        parser.error("--no-replace with as many --kill as --workers leaves nobody to do the work")
    return options


def _demo(options: argparse.Namespace, store: StorageBundle) -> int:
    from examples.fleet.chart import CapitalUse, as_text, draw
    from examples.fleet.history import History
    from examples.fleet.invariants import check_all
    from examples.fleet.plan import deliveries, make_plan
    from examples.fleet.prices import decisions, read_quotes
    from examples.fleet.recovery import send_late_orders
    from examples.fleet.report import print_report, print_verdicts
    from examples.fleet.run import KillPlan, run_fleet
    from examples.fleet.sampling import Lookout
    from examples.fleet.supervisor import Patience, Supervisor

    console = command.console_of(REPORT_WIDTH)
    if _in_use(store):
        return command.unable(
            f"{command.where(store)} has data already; "
            "the demo proves something on an empty one only"
        )
    todo = decisions(read_quotes(), months=options.months)
    plan = make_plan(todo, workers=options.workers, lease_sec=options.lease)
    plan.store(store)
    console.print(f"{options.workers} agents, {len(todo)} decisions, on {command.where(store)}")
    hands = dict(zip(plan.agents, deliveries(todo, workers=options.workers), strict=True))
    patience = Patience()
    supervisor = Supervisor(
        command.address_of(store, options),
        hands,
        replace=not options.no_replace,
        patience=patience,
    )
    run_fleet(
        Lookout(store, plan),
        supervisor,
        patience=patience,
        kills=KillPlan(options.kill, total=len(todo), seed=options.seed),
        console=console,
    )
    send_late_orders(store, History.read(store))

    history = History.read(store)
    print_report(console, store, history)
    use = CapitalUse.of(history)
    picture = options.output / "capital.png"
    draw(use, picture)
    console.print("\n[bold]Capital in use[/bold], US dollars")
    console.print(as_text(use, width=min(70, console.width - 17)), markup=False)
    console.print(f"The same as a picture: {picture}\n")
    findings = check_all(store)
    print_verdicts(console, findings)
    return command.OK if all(finding.holds for finding in findings) else command.BROKEN


def _in_use(store: StorageBundle) -> bool:
    return bool(
        store.agent_registry.list_active_agents()
        or store.lifecycle.get_transitions()
        or store.decision_audit.all_events_chronological()
    )


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
        return int(text)

    return number


def _seconds(text: str) -> float:
    if not 0.5 <= float(text) <= 30:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.5 and 30")
    return float(text)


if __name__ == "__main__":
    sys.exit(main())
