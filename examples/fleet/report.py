"""Tables of what the store holds after a run, and the verdicts on its invariants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich import box
from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dir_redis import StorageBundle
from examples.fleet.book import Book
from examples.fleet.desk import DUPLICATE, PROCESS_LOST, log_of
from examples.fleet.finding import Finding
from examples.fleet.grammar import Event, Outcome
from examples.fleet.history import History, moment_of
from examples.fleet.invariants import ALL_TIME
from examples.fleet.sampling import held_now

PROBLEMS_SHOWN = 5


def print_report(console: Console, store: StorageBundle, history: History) -> None:
    """Print everything but the chart and the verdicts."""
    console.print(Columns([outcomes_table(history), events_table(history)], padding=(0, 4)))
    for table in agents_tables(store, history):
        console.print(table)
    console.print(resources_table(store, history))
    console.print(_pace(history), highlight=False)


def outcomes_table(history: History) -> Table:
    """How the flows ended."""
    outcomes = Counter(row["details"]["outcome"] for row in history.of(Event.CLOSED))
    table = _table("Flows", "outcome", "flows")
    for outcome in Outcome:
        if outcomes[outcome]:
            table.add_row(outcome.value, f"{outcomes[outcome]:,}")
    return _totalled(table, sum(outcomes.values()))


def events_table(history: History) -> Table:
    """What the audit log consists of."""
    events = Counter(row["event"] for row in history.rows)
    table = _table("Audit rows", "event", "rows")
    in_order = dict.fromkeys([*(event.value for event in Event), *events])
    for event in in_order:
        if events[event]:
            table.add_row(event, f"{events[event]:,}")
    return _totalled(table, len(history.rows))


def agents_tables(store: StorageBundle, history: History) -> tuple[Table, Table]:
    """What each agent did, and what its book says: two tables, which fit 80 columns."""
    symbols = history.plan.symbols
    headers = ("agent", "flows", "executed", "duplicates", "humans asked", "times lost")
    deeds = _table("Agents", *headers)
    positions = _table("Their positions, shares", "agent", *symbols)
    executed = Counter(row["details"]["agent"] for row in history.of(Event.EXECUTED))
    for agent in history.plan.agents:
        book = Book.load(store, agent)
        log = Counter(row["event"] for row in history.flow_rows.get(log_of(agent), []))
        tokens = store.escalation.get_window_count(agent, ALL_TIME)
        deeds.add_row(
            agent,
            f"{book.finished}",
            f"{executed[agent]}",
            f"{log[DUPLICATE]}",
            f"{tokens} of {history.plan.escalation_budget}",
            f"{log[PROCESS_LOST]}",
        )
        positions.add_row(agent, *(f"{book.positions.get(symbol, 0):+,}" for symbol in symbols))
    return deeds, positions


def resources_table(store: StorageBundle, history: History) -> Table:
    """The reservations, and how hard the capacities were pressed."""
    refused = Counter(row["details"]["short_of"] for row in history.of(Event.REFUSED))
    table = _table(
        "Reservations, US dollars",
        "resource",
        "held now",
        "most seen",
        "capacity",
        "refusals",
    )
    for resource_id, limit in history.plan.limits.items():
        most = max((use.amount for use in history.sampled_use(resource_id)), default=0)
        table.add_row(
            resource_id,
            f"{held_now(store, resource_id):,.2f}",
            f"{most:,.2f}",
            f"{limit:,.2f}",
            f"{refused[resource_id]:,}",
        )
    return table


def print_verdicts(console: Console, findings: Sequence[Finding]) -> None:
    """Print whether each invariant holds, with the numbers that say so."""
    table = _table("Invariants", "")
    table.add_column("invariant")
    table.add_column("evidence")
    for finding in findings:
        verdict = Text("PASS", style="green") if finding.holds else Text("FAIL", style="bold red")
        table.add_row(verdict, finding.invariant, finding.evidence)
        for problem in _some(finding.problems):
            table.add_row("", Text(problem, style="red"), "")
    console.print(table)


def _pace(history: History) -> str:
    flows = [row for rows in history.flow_transitions.values() for row in rows]
    moments = [moment_of(row) for row in flows]
    seconds = (max(moments) - min(moments)).total_seconds()
    return (
        f"{len(history.plan.decisions)} flows in {seconds:.1f} s: "
        f"{len(history.plan.decisions) / seconds:.0f} a second, with "
        f"{len(history.rows):,} audit rows and {len(flows):,} transitions"
    )


def _table(title: str, name: str, *figures: str) -> Table:
    """An empty table of one column of names and others of figures."""
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
    )
    table.add_column(name, no_wrap=True)
    for header in figures:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _totalled(table: Table, total: int) -> Table:
    table.add_section()
    table.add_row("total", f"{total:,}", style="bold")
    return table


def _some(problems: Sequence[str]) -> Iterator[str]:
    yield from problems[:PROBLEMS_SHOWN]
    if len(problems) > PROBLEMS_SHOWN:
        yield f"and {len(problems) - PROBLEMS_SHOWN} more"
