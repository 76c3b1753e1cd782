"""What must hold after a run, whoever died in it; checked from the store alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal

from dir_redis import StorageBundle
from examples.fleet.book import Book
from examples.fleet.claims import order_of
from examples.fleet.finding import Finding
from examples.fleet.grammar import Event, Outcome, event_problem, transition_problem
from examples.fleet.history import History, Use
from examples.fleet.plan import CAPITAL, CAPITAL_LIMIT, SYMBOL_LIMIT
from examples.fleet.sampling import held_now

ALL_TIME = "1970-01-01 00:00:00"


def check_all(store: StorageBundle) -> list[Finding]:
    """Check every invariant of the run that the store holds."""
    history = History.read(store)
    return [
        never_over_capacity_when_sampled(store, history),
        never_over_capacity_by_the_log(store, history),
        trails_whole_and_in_order(store, history),
        orders_executed_once(store, history),
        no_budget_exceeded(store, history),
        books_agree(store, history),
        nothing_left_held(store, history),
    ]


def never_over_capacity_when_sampled(store: StorageBundle, history: History) -> Finding:
    """What the store held, each time somebody looked, was within its capacities."""
    finding = _never_over(
        store, history, history.sampled_use, "never over capacity, as seen", "samples"
    )
    if not history.sampled_use(CAPITAL):
        finding.problems.append("nobody looked")
    return finding


def never_over_capacity_by_the_log(store: StorageBundle, history: History) -> Finding:
    """What the flows recorded to hold, at every row, was within the capacities."""
    return _never_over(
        store, history, history.logged_use, "never over capacity, by the log", "changes"
    )


def trails_whole_and_in_order(_: StorageBundle, history: History) -> Finding:
    """Every planned flow has an unbroken trail from its beginning to its end, and no other has."""
    problems = []
    for dfid in history.plan.decisions:
        events = [row["event"] for row in history.flow_rows.get(dfid, [])]
        for problem in (
            transition_problem(history.flow_transitions.get(dfid, [])),
            event_problem(events),
        ):
            if problem:
                problems.append(f"{dfid}: {problem}")
    strangers = history.flow_transitions.keys() - set(history.plan.decisions)
    problems += [f"{dfid}: nobody planned this flow" for dfid in sorted(strangers)]
    transitions = sum(map(len, history.flow_transitions.values()))
    evidence = f"{len(history.plan.decisions)} flows, {transitions:,} transitions"
    return Finding("every trail whole and in order", problems, evidence)


def orders_executed_once(store: StorageBundle, history: History) -> Finding:
    """A flow that says it executed has one execution and its result; any other has none."""
    problems = []
    totals: Counter[str] = Counter()
    for dfid in history.plan.decisions:
        rows = history.flow_rows.get(dfid, [])
        counts = Counter(row["event"] for row in rows)
        outcome = rows[-1]["details"].get("outcome") if rows else None
        result = store.idempotency.get(order_of(dfid)) or {}
        for event, said in (
            (Event.EXECUTED, outcome == Outcome.EXECUTED),
            (Event.COMPENSATED, outcome == Outcome.COMPENSATED),
        ):
            totals[event] += counts[event]
            if counts[event] != said:
                problems.append(f"{dfid}: {counts[event]} x {event}, its end is {outcome!r}")
            if (result.get("status") == event) != said:
                problems.append(f"{dfid}: its order's result is {result.get('status')}")
    evidence = (
        f"{totals[Event.EXECUTED]} executed, {totals[Event.COMPENSATED]} compensated, "
        f"of {sum(1 for _ in history.of(Event.SUBMITTED))} submitted"
    )
    return Finding("each order executed at most once", problems, evidence)


def no_budget_exceeded(store: StorageBundle, history: History) -> Finding:
    """No agent spent more tokens than it had, nor escalated without one."""
    budget = history.plan.escalation_budget
    asked = Counter(row["details"]["agent"] for row in history.of(Event.ESCALATED))
    tokens = {
        agent: store.escalation.get_window_count(agent, ALL_TIME) for agent in history.plan.agents
    }
    problems = [
        f"{agent}: {count} tokens of {budget}" for agent, count in tokens.items() if count > budget
    ] + [
        f"{agent}: {count} escalations with {tokens.get(agent, 0)} tokens"
        for agent, count in asked.items()
        if count > tokens.get(agent, 0)
    ]
    refused = sum(1 for _ in history.of(Event.NO_BUDGET))
    evidence = f"at most {max(tokens.values())} of {budget} tokens per agent; {refused} refused"
    return Finding("no escalation budget exceeded", problems, evidence)


def books_agree(store: StorageBundle, history: History) -> Finding:
    """Each agent's positions and count are what the flows' trails add up to."""
    positions: defaultdict[str, Counter[str]] = defaultdict(Counter)
    finished: Counter[str] = Counter()
    for row in history.of(Event.EXECUTED):
        details = row["details"]
        positions[details["agent"]][details["symbol"]] += details["change"]
    for row in history.of(Event.CLOSED):
        finished[row["details"]["agent"]] += 1
    problems = []
    for agent in history.plan.agents:
        book = Book.load(store, agent)
        if Counter(book.positions) != positions[agent] or book.finished != finished[agent]:
            problems.append(
                f"{agent}: books {book.positions} after {book.finished} flows, the trails say "
                f"{dict(positions[agent])} after {finished[agent]}"
            )
    shares = sum(abs(shares) for book in positions.values() for shares in book.values())
    return Finding("books agree with the trails", problems, f"{shares:,} shares")


def nothing_left_held(store: StorageBundle, history: History) -> Finding:
    """No reservation, claim, dirty mark, request or retry count outlived its flow."""
    orders = [order_of(dfid) for dfid in history.plan.decisions]
    resources = [*history.plan.limits, *orders]
    problems = [
        *_those("is still held", (each for each in resources if held_now(store, each))),
        *_those("is still dirty", store.saga.get_dirty_flows()),
        *_those(
            "still waits for a human",
            (request["dfid"] for request in store.escalation.get_pending_requests()),
        ),
        *_those(
            "still has claims",
            (agent for agent in history.plan.agents if Book.load(store, agent).claims),
        ),
        *_those(
            "still has a retry count",
            (dfid for dfid in history.plan.decisions if store.intent_retry.get_count(dfid)),
        ),
    ]
    evidence = (
        f"0 of {len(history.plan.limits)} limits and of {len(orders)} orders held, "
        "0 dirty, 0 waiting"
    )
    return Finding("nothing left held", problems, evidence if not problems else "")


def _never_over(
    store: StorageBundle,
    history: History,
    use: Callable[[str], list[Use]],
    invariant: str,
    unit: str,
) -> Finding:
    problems = []
    peaks = {resource_id: _peak(use(resource_id)) for resource_id in history.plan.limits}
    for resource_id, peak in peaks.items():
        capacity = store.resource_lock.get_capacity(resource_id)
        if capacity is None:
            problems.append(f"{resource_id} has no capacity")
        elif peak > capacity:
            problems.append(f"{resource_id} was used up to {peak:,.2f} of {capacity:,.2f}")
    symbol_peak = max(peak for resource_id, peak in peaks.items() if resource_id != CAPITAL)
    evidence = (
        f"{len(use(CAPITAL))} {unit}: {peaks[CAPITAL]:,.0f} of {CAPITAL_LIMIT:,.0f}; "
        f"symbol {symbol_peak:,.0f} of {SYMBOL_LIMIT:,.0f}"
    )
    return Finding(invariant, problems, evidence)


def _peak(use: Iterable[Use]) -> Decimal:
    return max((each.amount for each in use), default=Decimal())


def _those(what: str, names: Iterable[str]) -> list[str]:
    return [f"{name} {what}" for name in names]
