"""Tables of what the store holds after a run, for a terminal of 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.columns import Columns
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dir_redis import StorageBundle
from examples.fleet.prices import symbol_of
from examples.kernel.broker import FILLED, REVERSED
from examples.kernel.flow import Event, Outcome
from examples.kernel.history import History
from examples.kernel.invariants import ALL_TIME, Verdict
from examples.kernel.plan import agent_of
from examples.kernel.run import KILLED
from examples.tables import table_of

PROBLEMS_SHOWN = 3


def print_report(console: Console, store: StorageBundle, verdicts: Sequence[Verdict]) -> None:
    """Print what was decided, by whom, and what holds."""
    history = History.read(store)
    console.print(Columns([outcomes_table(history), workers_table(history)], padding=(0, 6)))
    console.print(agents_table(store, history))
    console.print(_pace(history))
    for row in history.of(KILLED):
        console.print(_inheritance(history, row["details"]["worker"], row["details"]["flows"]))
    print_verdicts(console, verdicts)
    console.print(_summary(verdicts))


def outcomes_table(history: History) -> Table:
    """How the flows ended."""
    table = table_of("Flows", "outcome", "flows")
    counts = Counter(history.outcome(dfid) for dfid in history.plan.flows)
    for outcome in Outcome:
        if counts[outcome]:
            table.add_row(outcome.lower().replace("_", " "), str(counts[outcome]))
    if counts[None]:
        table.add_row("none", str(counts[None]), style="red")
    table.add_section()
    table.add_row("total", str(len(history.plan.flows)), style="bold")
    return table


def workers_table(history: History) -> Table:
    """What each process did."""
    table = table_of("Processes", "process", "led", "orders", "reversed", "")
    led = Counter(row["details"]["worker"] for row in history.of(Event.LED))
    done = {
        event: Counter(row["details"]["client"] for row in history.of(event))
        for event in (FILLED, REVERSED)
    }
    killed = {row["details"]["worker"] for row in history.of(KILLED)}
    for name in history.plan.workers:
        counts = (led[name], done[FILLED][name], done[REVERSED][name])
        table.add_row(name, *map(str, counts), "killed" if name in killed else "")
    return table


def agents_table(store: StorageBundle, history: History) -> Table:
    """What each agent proposed, and what became of it."""
    table = table_of("Agents", "agent", "proposals", "rejections", "executed", "asked", "undone")
    rejected = Counter(row["details"]["agent"] for row in history.of(Event.COUNTED))
    for symbol in history.plan.symbols:
        agent = agent_of(symbol)
        mine = [dfid for dfid in history.plan.flows if symbol_of(dfid) == symbol]
        ends = Counter(history.outcome(dfid) for dfid in mine)
        tokens = store.escalation.get_window_count(agent, ALL_TIME)
        table.add_row(
            agent,
            str(len(mine)),
            str(rejected[agent]),
            str(ends[Outcome.EXECUTED]),
            f"{tokens} of {history.plan.escalation_budget}",
            str(ends[Outcome.COMPENSATED]),
        )
    return table


def print_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Print whether each invariant holds, with the numbers that say so."""
    console.print("\n[bold]Invariants, checked from the store alone[/bold]")
    for finding, promised in verdicts:
        if finding.holds:
            verdict = "[green]PASS[/green]" if promised else "[yellow]held[/yellow]"
        else:
            verdict = f"[bold red]{'FAIL' if promised else 'LOST'}[/bold red]"
        _line(console, f" {verdict}  {finding.invariant:<36} {finding.evidence}")
        more = len(finding.problems) - PROBLEMS_SHOWN
        for problem in finding.problems[:PROBLEMS_SHOWN]:
            _line(console, f"       [red]{escape(problem)}[/red]")
        if more > 0:
            _line(console, f"       [red]and {more} more[/red]")


def _line(console: Console, text: str) -> None:
    console.print(text, no_wrap=True, overflow="ellipsis")


def _summary(verdicts: Sequence[Verdict]) -> str:
    every = len(verdicts)
    unpromised = [each for each in verdicts if not each.promised]
    if not unpromised:
        broken = sum(not each.finding.holds for each in verdicts)
        return f"\n{broken or 'None'} of {every} invariants broken."
    lost = sum(not each.finding.holds for each in unpromised)
    return (
        f"\nBetween processes dir_core's own managers promise {every - len(unpromised)} of these "
        f"{every}. Of the other {len(unpromised)}, {lost} were lost in this run (LOST) and "
        f"{len(unpromised) - lost} held this time (held). dir_redis.kernel's promise all of "
        "them: docs/dir-core.md."
    )


def _inheritance(history: History, name: str, flows: Sequence[str]) -> str:
    heirs: Counter[str] = Counter()
    for dfid in flows:
        rows = history.by_flow.get(dfid, [])
        ends = [row["details"]["worker"] for row in rows if row["event"] == Event.ENDED]
        heirs.update(ends[:1])
    shares = ", ".join(f"{heir} {count}" for heir, count in heirs.most_common())
    return f"{name} was killed with {len(flows)} flows; they were ended by: {shares or 'nobody'}"


def _pace(history: History) -> str:
    seconds = history.seconds()
    return (
        f"\n{len(history.plan.flows)} flows in {seconds:.1f} s, with {len(history.rows):,} audit "
        f"rows and {len(history.entries)} ledger entries"
    )
