"""What must hold after a run, whoever died in it; checked from the store alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import pairwise

from dir_redis import ClaimState, StorageBundle
from examples.fleet.broker import OrderState
from examples.fleet.finding import Finding
from examples.fleet.grammar import Event, Outcome, event_problem, transition_problem
from examples.fleet.history import History, Use
from examples.fleet.plan import CAPITAL, CAPITAL_LIMIT, SYMBOL_LIMIT, book_of, flow_key
from examples.fleet.recovery import LATE_ORDER, kills_of

ALL_TIME = "1970-01-01 00:00:00"


def check_all(store: StorageBundle) -> list[Finding]:
    """Check every invariant of the run that the store holds."""
    history = History.read(store)
    return [
        never_over_capacity_when_sampled(store, history),
        never_over_capacity_by_the_log(store, history),
        trails_whole_and_in_order(history),
        orders_executed_once(history),
        dirty_flows_compensated_once(history),
        tokens_rise(history),
        old_tokens_refused(history),
        all_taken_over(history),
        no_budget_exceeded(store, history),
        books_agree(store, history),
        nothing_left_behind(store, history),
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


def trails_whole_and_in_order(history: History) -> Finding:
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


def orders_executed_once(history: History) -> Finding:
    """A flow that says it executed was filled once, in whole; others not, or in part and undone."""
    problems = []
    totals: Counter[str] = Counter()
    for dfid, order in history.orders.items():
        counts = Counter(row["event"] for row in history.flow_rows.get(dfid, []))
        outcome = _outcome(history, dfid)
        totals[order.state] += 1
        said = {Outcome.EXECUTED: OrderState.FILLED, Outcome.COMPENSATED: OrderState.BROKEN_OFF}
        if order.executed:
            if len(order.fills) != 1:
                problems.append(f"{dfid}: filled {len(order.fills)} times")
            if said.get(Outcome(outcome or Outcome.NO_TRADE)) != order.state:
                problems.append(f"{dfid}: {order.state} at the broker, its end is {outcome!r}")
        elif outcome in said or order.fills or order.state == OrderState.WORKING:
            problems.append(f"{dfid}: {order.state} at the broker, its end is {outcome!r}")
        if counts[Event.EXECUTED] != (order.state == OrderState.FILLED):
            problems.append(f"{dfid}: {counts[Event.EXECUTED]} x {Event.EXECUTED}")
    submitted = sum(1 for order in history.orders.values() if order.order)
    evidence = (
        f"{totals[OrderState.FILLED]} filled, {totals[OrderState.BROKEN_OFF]} broken off, "
        f"of {submitted} placed"
    )
    return Finding("each order executed at most once", problems, evidence)


def dirty_flows_compensated_once(history: History) -> Finding:
    """An order that broke off was reversed once, by as much as it had filled; no other was."""
    problems = []
    for dfid, order in history.orders.items():
        expected = [order.filled] if order.state == OrderState.BROKEN_OFF else []
        rows = [row["event"] for row in history.flow_rows.get(dfid, [])]
        if order.reversals != expected:
            problems.append(f"{dfid}: filled {order.filled}, reversed {order.reversals}")
        for event in (Event.FAILED, Event.COMPENSATED):
            if rows.count(event) != len(expected):
                problems.append(f"{dfid}: {rows.count(event)} x {event}, {len(expected)} dirty")
    reversals = [shares for order in history.orders.values() for shares in order.reversals]
    evidence = f"{len(reversals)} reversed, {sum(reversals):,} shares"
    return Finding("each dirty flow compensated once", problems, evidence)


def tokens_rise(history: History) -> Finding:
    """Whoever takes a flow over has larger tokens than the one before: claims and reservations."""
    problems = []
    takeovers = 0
    for dfid in history.plan.decisions:
        rows = history.flow_rows.get(dfid, [])
        for event, name in ((Event.CLAIMED, "token"), (Event.RESERVED, "fencing_token")):
            tokens = [row["details"][name] for row in rows if row["event"] == event]
            if any(later <= earlier for earlier, later in pairwise(tokens)):
                problems.append(f"{dfid}: {name}s {tokens}")
            if event == Event.CLAIMED:
                takeovers += max(0, len(tokens) - 1)
        placed = history.orders[dfid].tokens
        if placed != sorted(set(placed)):
            problems.append(f"{dfid}: tokens {placed} at the broker")
    evidence = f"{takeovers} flows taken over; {history.late_rows} late rows do not count"
    return Finding("tokens of takeovers rise", problems, evidence)


def old_tokens_refused(history: History) -> Finding:
    """The broker executed nothing under a token older than one it had seen."""
    problems = []
    for dfid, order in history.orders.items():
        for token, _ in order.fills:
            if token not in order.tokens:
                problems.append(f"{dfid}: filled under token {token}, placed under {order.tokens}")
        for token in order.refused:
            if order.state != OrderState.CANCELLED and token >= max(order.tokens, default=0):
                problems.append(f"{dfid}: token {token} refused after {order.tokens}")
    late = [row["details"] for row in history.of(LATE_ORDER)]
    problems += [f"{each['flow']}: executed late" for each in late if each["answer"] == "executed"]
    answers = Counter(each["answer"] for each in late)
    evidence = (
        f"{len(late)} late orders of the killed: {answers['refused']} refused, "
        f"{answers['known']} known"
    )
    return Finding("old tokens are refused", problems, evidence)


def all_taken_over(history: History) -> Finding:
    """What killed workers led went on elsewhere and ended, and what they held came free."""
    problems = []
    kills = kills_of(history)
    for kill in kills:
        for each in kill.bequests:
            if each.heir in (None, kill.name):
                problems.append(f"{each.dfid}: nobody took it over from {kill.name}")
            if each.ended_sec is None:
                problems.append(f"{each.dfid}: it never ended after {kill.name} died")
            if each.amount is not None and each.freed_sec is None:
                problems.append(f"{each.dfid}: what {kill.name} held was never seen free")
    flows = [each for kill in kills for each in kill.bequests]
    slowest = max((each.ended_sec or 0 for each in flows), default=0)
    evidence = f"{len(kills)} killed with {len(flows)} flows"
    if flows:
        evidence += f"; the last ended after {slowest:.1f} s"
    return Finding("killed workers' flows ended", problems, evidence)


def no_budget_exceeded(store: StorageBundle, history: History) -> Finding:
    """No agent spent more tokens than it had, nor was heard by a human without one."""
    budget = history.plan.escalation_budget
    heard = Counter(row["details"]["asked_by"] for row in history.of(Event.HUMAN))
    tokens = {
        agent: store.escalation.get_window_count(agent, ALL_TIME) for agent in history.plan.agents
    }
    problems = [
        f"{agent}: {count} tokens of {budget}" for agent, count in tokens.items() if count > budget
    ] + [
        f"{agent}: {count} decisions of humans with {tokens.get(agent, 0)} tokens"
        for agent, count in heard.items()
        if count > tokens.get(agent, 0)
    ]
    refused = sum(1 for _ in history.of(Event.NO_BUDGET))
    evidence = f"at most {max(tokens.values())} of {budget} tokens per agent; {refused} refused"
    return Finding("no escalation budget exceeded", problems, evidence)


def books_agree(store: StorageBundle, history: History) -> Finding:
    """The books that all hosts merge into have each executed order, once, and nothing else."""
    problems = []
    shares = 0
    for symbol in history.plan.symbols:
        book = json.loads(store.context.get_state(book_of(symbol)) or "{}")
        executed = {
            row["dfid"]: row["details"]["change"]
            for row in history.of(Event.EXECUTED)
            if row["details"]["symbol"] == symbol
        }
        wrong = {dfid for dfid, _ in book.items() ^ executed.items()}
        problems += [f"{dfid}: not the same in {symbol}'s book" for dfid in sorted(wrong)]
        shares += sum(map(abs, executed.values()))
    return Finding("books agree with the trails", problems, f"{shares:,} shares, no merge lost")


def nothing_left_behind(store: StorageBundle, history: History) -> Finding:
    """No reservation, claim, dirty mark, request or retry count outlived its flow."""
    decisions, limits = history.plan.decisions, history.plan.limits
    problems = [
        *_those("is still held", (each for each in limits if store.resource_lock.holders(each))),
        *_those("is still dirty", store.saga.get_dirty_flows()),
        *_those(
            "still waits for a human",
            (request["dfid"] for request in store.escalation.get_pending_requests()),
        ),
        *_those(
            "is still claimed",
            (
                dfid
                for dfid in decisions
                if store.idempotency.wait(flow_key(dfid), 0).state is not ClaimState.DONE
            ),
        ),
        *_those(
            "still has a retry count",
            (each for each in decisions if store.intent_retry.get_count(each)),
        ),
    ]
    evidence = f"{len(limits)} limits free, {len(decisions)} claims done, 0 dirty, 0 waiting"
    return Finding("nothing left behind", problems, evidence if not problems else "")


def _outcome(history: History, dfid: str) -> str | None:
    ends = [row for row in history.flow_rows.get(dfid, []) if row["event"] == Event.CLOSED]
    return ends[-1]["details"].get("outcome") if ends else None


def _never_over(
    store: StorageBundle,
    history: History,
    use: Callable[[str], list[Use]],
    invariant: str,
    unit: str,
) -> Finding:
    problems = []
    curves = {resource_id: use(resource_id) for resource_id in history.plan.limits}
    peaks = {resource_id: _peak(curve) for resource_id, curve in curves.items()}
    for resource_id, peak in peaks.items():
        capacity = store.resource_lock.get_capacity(resource_id)
        if capacity is None:
            problems.append(f"{resource_id} has no capacity")
        elif peak > capacity:
            problems.append(f"{resource_id} was used up to {peak:,.2f} of {capacity:,.2f}")
    symbol_peak = max(peak for resource_id, peak in peaks.items() if resource_id != CAPITAL)
    evidence = (
        f"{len(curves[CAPITAL])} {unit}: {peaks[CAPITAL]:,.0f} of {CAPITAL_LIMIT:,.0f}; "
        f"symbol {symbol_peak:,.0f} of {SYMBOL_LIMIT:,.0f}"
    )
    return Finding(invariant, problems, evidence)


def _peak(use: Iterable[Use]) -> Decimal:
    return max((each.amount for each in use), default=Decimal())


def _those(what: str, names: Iterable[str]) -> list[str]:
    return [f"{name} {what}" for name in names]
