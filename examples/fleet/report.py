"""Tables of what the store holds after a run, and the verdicts on its invariants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dir_redis import StorageBundle
from examples.fleet.compensator import COMPENSATOR
from examples.fleet.desk import NOT_NEEDED, agent_of, log_of
from examples.fleet.finding import Finding
from examples.fleet.grammar import Event, Outcome
from examples.fleet.history import History, moment_of
from examples.fleet.invariants import ALL_TIME
from examples.fleet.recovery import Bequest, Kill, kills_of
from examples.fleet.sampling import KILLED
from examples.tables import table_of

PROBLEMS_SHOWN = 5


def print_report(console: Console, store: StorageBundle, history: History) -> None:
    """Print everything but the chart and the verdicts."""
    console.print(Columns([outcomes_table(history), events_table(history)], padding=(0, 4)))
    console.print(agents_table(store, history))
    console.print(resources_table(store, history))
    console.print(_pace(history), highlight=False)
    for kill in kills_of(history):
        console.print(kill_table(history, kill))


def outcomes_table(history: History) -> Table:
    """How the flows ended."""
    outcomes = Counter(row["details"]["outcome"] for row in history.of(Event.CLOSED))
    table = table_of("Flows", "outcome", "flows")
    for outcome in Outcome:
        if outcomes[outcome]:
            table.add_row(outcome.value, f"{outcomes[outcome]:,}")
    return _totalled(table, sum(outcomes.values()))


def events_table(history: History) -> Table:
    """What the audit log consists of."""
    events = Counter(row["event"] for row in history.rows)
    table = table_of("Audit rows", "event", "rows")
    in_order = dict.fromkeys([*(event.value for event in Event), *events])
    for event in in_order:
        if events[event]:
            table.add_row(event, f"{events[event]:,}")
    return _totalled(table, len(history.rows))


def agents_table(store: StorageBundle, history: History) -> Table:
    """What each agent did."""
    headers = ("agent", "flows", "executed", "taken over", "not needed", "asked", "killed")
    table = table_of("Agents", *headers)
    closed = Counter(row["details"]["agent"] for row in history.of(Event.CLOSED))
    executed = Counter(row["details"]["agent"] for row in history.of(Event.EXECUTED))
    claimed: set[str] = set()
    taken: Counter[str] = Counter()
    for row in history.of(Event.CLAIMED):
        taken[row["details"]["agent"]] += row["dfid"] in claimed
        claimed.add(row["dfid"])
    for agent in [*history.plan.agents, COMPENSATOR]:
        log = Counter(row["event"] for row in history.flow_rows.get(log_of(agent), []))
        tokens = store.escalation.get_window_count(agent, ALL_TIME)
        asked = f"{tokens} of {history.plan.escalation_budget}" if agent != COMPENSATOR else ""
        counts = (closed[agent], executed[agent], taken[agent], log[NOT_NEEDED])
        table.add_row(agent, *map(str, counts), asked, str(log[KILLED]))
    return table


def resources_table(store: StorageBundle, history: History) -> Table:
    """The reservations, and how hard the capacities were pressed."""
    refused = Counter(row["details"]["short_of"] for row in history.of(Event.REFUSED))
    table = table_of(
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
            f"{sum(holder.amount for holder in store.resource_lock.holders(resource_id)):,.2f}",
            f"{most:,.2f}",
            f"{limit:,.2f}",
            f"{refused[resource_id]:,}",
        )
    return table


def kill_table(history: History, kill: Kill) -> Table:
    """What a killed worker held, who took it over, and how long that took."""
    start = moment_of(next(history.of(Event.CLAIMED)))
    table = table_of(
        f"{kill.agent_id} killed at {(kill.moment - start).total_seconds():.1f} s, with "
        f"{len(kill.bequests)} flows and {kill.amount:,.0f} dollars; "
        f"leases: {history.plan.lease_sec:g} s",
        "its flow",
        "was",
        "held",
        "went to",
        "claimed",
        "freed",
        "ended",
    )
    for each in kill.bequests:
        table.add_row(
            each.dfid,
            each.status.removeprefix("PARTIAL_SUCCESS_"),
            "" if each.amount is None else f"{each.amount:,.2f}",
            _heir(kill, each),
            *map(_seconds, (each.claimed_sec, each.freed_sec, each.ended_sec)),
        )
    return table


def print_verdicts(console: Console, findings: Sequence[Finding]) -> None:
    """Print whether each invariant holds, with the numbers that say so."""
    table = table_of("Invariants", "")
    table.add_column("invariant")
    table.add_column("evidence")
    for finding in findings:
        verdict = Text("PASS", style="green") if finding.holds else Text("FAIL", style="bold red")
        table.add_row(verdict, finding.invariant, finding.evidence)
        for problem in _some(finding.problems):
            table.add_row("", Text(problem, style="red"), "")
    console.print(table)


def _heir(kill: Kill, bequest: Bequest) -> str:
    agent_id = agent_of(bequest.heir or "nobody")
    return "its successor" if agent_id == kill.agent_id else agent_id


def _seconds(duration: float | None) -> str:
    return "" if duration is None else f"+{duration:.2f} s"


def _pace(history: History) -> str:
    flows = [row for rows in history.flow_transitions.values() for row in rows]
    moments = [moment_of(row) for row in flows]
    seconds = (max(moments) - min(moments)).total_seconds()
    return (
        f"{len(history.plan.decisions)} flows in {seconds:.1f} s: "
        f"{len(history.plan.decisions) / seconds:.0f} a second, with "
        f"{len(history.rows):,} audit rows and {len(flows):,} transitions"
    )


def _totalled(table: Table, total: int) -> Table:
    table.add_section()
    table.add_row("total", f"{total:,}", style="bold")
    return table


def _some(problems: Sequence[str]) -> Iterator[str]:
    yield from problems[:PROBLEMS_SHOWN]
    if len(problems) > PROBLEMS_SHOWN:
        yield f"and {len(problems) - PROBLEMS_SHOWN} more"
