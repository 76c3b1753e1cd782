"""What must hold after a run, checked from the store alone, and which kernel promises it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from dir_core import FlowStatus, compute_evidence_hash, hash_content, proposal_params_for_hash

from dir_redis import StorageBundle
from examples.fleet.finding import Finding
from examples.fleet.strategy import Order
from examples.kernel.broker import FILLED, REVERSED
from examples.kernel.desk import OURS
from examples.kernel.flow import Event, Outcome
from examples.kernel.history import History
from examples.kernel.plan import CAPITAL, MAX_REJECTIONS, agent_of, book_of
from examples.kernel.run import KILLED, SAMPLED
from examples.kernel.worker import OPEN_FLOWS

ALL_TIME = "1970-01-01 00:00:00"
ENDS = (FlowStatus.CLOSED, FlowStatus.ABORTED)
EXECUTED = (Outcome.EXECUTED, Outcome.COMPENSATED)


class Verdict(NamedTuple):
    """What was found of an invariant, and whether the kernel in use promises it."""

    finding: Finding
    promised: bool


def check_all(store: StorageBundle) -> list[Verdict]:
    """Check every invariant of the run that the store holds."""
    history = History.read(store)
    by_store = [
        capital_never_over(history),
        accepted_are_in_the_ledger(store, history),
        ledger_is_intact(store, history),
    ]
    by_kernel = [
        only_accepted_are_in_the_ledger(history),
        orders_filled_once(history),
        broken_ones_reversed_once(history),
        orders_covered(history),
        every_flow_has_its_end(history),
        rejections_counted(store, history),
        budgets_kept(store, history),
        books_agree(store, history),
        nothing_left_behind(store, history),
    ]
    ours = history.plan.kernel == OURS
    return [
        *(Verdict(finding, True) for finding in by_store),
        *(Verdict(finding, ours) for finding in by_kernel),
    ]


def capital_never_over(history: History) -> Finding:
    """What the store held, each time somebody looked, was within the limit."""
    seen = [Decimal(row["details"]["used"]) for row in history.of(SAMPLED)]
    limit = Decimal(history.plan.capital)
    problems = [f"{used:,.2f} of {limit:,.2f} were held" for used in seen if used > limit]
    if not any(seen):
        problems.append("nobody saw any capital held")
    evidence = f"{len(seen)} looks: up to {max(seen, default=0):,.0f} of {limit:,.0f}"
    return Finding("capital never above its limit", problems, evidence)


def accepted_are_in_the_ledger(store: StorageBundle, history: History) -> Finding:
    """What was accepted is bound in the ledger, and every entry's evidence matches it."""
    missing = _accepted(history) - history.entries.keys()
    problems = _those("was accepted and is not in the ledger", missing)
    for dfid, entry in history.entries.items():
        agent = store.agent_registry.get_agent(entry["agent_id"])
        evidence = compute_evidence_hash(
            dfid,
            entry["context_ref"],
            hash_content(agent["contract"] if agent else None),
            proposal_params_for_hash(entry["intent_payload"]),
        )
        if evidence != entry["evidence_hash"]:
            problems.append(f"{dfid}: the evidence does not match the entry")
    evidence = f"{len(_accepted(history))} accepted, {len(history.entries)} entries"
    return Finding("accepted proposals are in the ledger", problems, evidence)


def ledger_is_intact(store: StorageBundle, history: History) -> Finding:
    """The ledger's chain of hashes is unbroken."""
    report = store.decision_ledger.verify_ledger()
    problems = [] if report.intact else [str(report.broken_at)]
    if report.verified != len(history.entries):
        problems.append(f"{report.verified} chained of {len(history.entries)} entries")
    return Finding("the ledger's chain is intact", problems, f"{report.verified} in the chain")


def only_accepted_are_in_the_ledger(history: History) -> Finding:
    """The ledger binds nothing that was not accepted."""
    strangers = history.entries.keys() - _accepted(history)
    problems = _those("is in the ledger and was not accepted", strangers)
    return Finding("nothing else is in the ledger", problems, f"{len(strangers)} others")


def orders_filled_once(history: History) -> Finding:
    """The broker filled the order of a flow that executed once, and no other flow's."""
    problems = []
    fills = 0
    for dfid in history.plan.flows:
        filled = history.at_broker(dfid, FILLED)
        outcome = history.outcome(dfid)
        fills += len(filled)
        if len(filled) != (outcome in EXECUTED):
            clients = ", ".join(each["client"] for each in filled)
            problems.append(f"{dfid}: {outcome}, filled {len(filled)} times ({clients})")
        elif filled and filled[0]["whole"] != (outcome == Outcome.EXECUTED):
            problems.append(f"{dfid}: {outcome}, but not so at the broker")
    return Finding("each order filled once", problems, f"{fills} orders filled")


def broken_ones_reversed_once(history: History) -> Finding:
    """What an order that broke off had filled was reversed, once; nothing else was."""
    problems = []
    reversals = 0
    for dfid in history.plan.flows:
        broken = history.outcome(dfid) == Outcome.COMPENSATED
        filled = [each["shares"] for each in history.at_broker(dfid, FILLED)] if broken else []
        reverted = [each["shares"] for each in history.at_broker(dfid, REVERSED)]
        reversals += len(reverted)
        if reverted != filled:
            problems.append(f"{dfid}: filled {filled}, reversed {reverted}")
    return Finding("each broken order reversed once", problems, f"{reversals} reversed")


def orders_covered(history: History) -> Finding:
    """By their own rows, the flows under way never used more than the capital there is."""
    using: dict[str, Decimal] = {}
    most = Decimal()
    for row in history.of(Event.HELD, Event.ENDED):
        if row["event"] == Event.HELD:
            using[row["dfid"]] = Decimal(str(row["details"]["amount"]))
        else:
            using.pop(row["dfid"], None)
        most = max(most, sum(using.values(), Decimal()))
    uncovered = [
        f"{dfid}: filled without capital"
        for dfid in history.plan.flows
        if history.at_broker(dfid, FILLED)
        and not any(row["event"] == Event.HELD for row in history.by_flow[dfid])
    ]
    over = [f"{most:,.2f} used at once"] if most > Decimal(history.plan.capital) else []
    evidence = f"by the log: up to {most:,.0f} of {history.plan.capital:,.0f}"
    return Finding("orders covered by capital", uncovered + over, evidence)


def every_flow_has_its_end(history: History) -> Finding:
    """Each flow's transitions lead without a gap from CREATED to one end."""
    problems = []
    for dfid in history.plan.flows:
        moves = history.moves.get(dfid, [])
        path = ["CREATED", *(move["to_status"] for move in moves)]
        if path[-1] not in ENDS or sum(status in ENDS for status in path) != 1:
            problems.append(f"{dfid}: {' '.join(path)}")
        elif any(move["from_status"] != before for move, before in zip(moves, path, strict=False)):
            problems.append(f"{dfid}: a transition from a status it did not have")
    strangers = history.moves.keys() - set(history.plan.flows)
    problems += _those("was not planned", strangers)
    moves_made = sum(map(len, history.moves.values()))
    evidence = f"{len(history.plan.flows)} flows, {moves_made:,} transitions"
    return Finding("every flow has its one end", problems, evidence)


def rejections_counted(store: StorageBundle, history: History) -> Finding:
    """Each agent's rejections are numbered from 1; no flow is rejected more often than allowed.

    A number that no row bears was counted by a thread of a killed process, and by no other.
    """
    problems = []
    rejections = 0
    missing = 0
    for agent in map(agent_of, history.plan.symbols):
        numbers = Counter(
            row["details"]["number"]
            for row in history.of(Event.COUNTED)
            if row["details"]["agent"] == agent
        )
        rejections += numbers.total()
        counted = store.intent_retry.get_count(agent)
        missing += counted - len(numbers)
        twice = sorted(number for number, times in numbers.items() if times > 1)
        if twice or counted < numbers.total():
            problems.append(f"{agent}: {numbers.total()} rejections counted as {counted}")
    if missing > OPEN_FLOWS * sum(1 for _ in history.of(KILLED)):
        problems.append(f"{missing} counts that no rejection belongs to")
    rejected = Counter(row["dfid"] for row in history.of(Event.COUNTED))
    problems += [
        f"{dfid}: rejected {times} times, {MAX_REJECTIONS} are allowed"
        for dfid, times in rejected.items()
        if times > MAX_REJECTIONS
    ]
    return Finding("rejections counted exactly", problems, f"{rejections} rejections")


def budgets_kept(store: StorageBundle, history: History) -> Finding:
    """No agent spent more escalation tokens than it has, and none for nothing."""
    budget = history.plan.escalation_budget
    problems = []
    spent = 0
    for agent in map(agent_of, history.plan.symbols):
        tokens = store.escalation.get_window_count(agent, ALL_TIME)
        asked = {row["dfid"] for row in history.of(Event.ASKED) if row["details"]["agent"] == agent}
        spent += tokens
        if tokens > budget:
            problems.append(f"{agent}: {tokens} tokens of {budget}")
        if tokens < len(asked):
            problems.append(f"{agent}: {len(asked)} questions with {tokens} tokens")
    evidence = f"{spent} of {budget * len(history.plan.symbols)} tokens spent"
    return Finding("no escalation budget exceeded", problems, evidence)


def books_agree(store: StorageBundle, history: History) -> Finding:
    """The books that all processes merge into have each executed order, and nothing else."""
    problems = []
    entries = 0
    for symbol in history.plan.symbols:
        book = json.loads(store.context.get_state(book_of(symbol)) or "{}")
        entries += len(book)
        executed = {
            dfid: _change(history, dfid)
            for dfid in history.plan.flows
            if history.outcome(dfid) == Outcome.EXECUTED and dfid.startswith(f"{symbol}-")
        }
        wrong = {dfid for dfid, _ in book.items() ^ executed.items()}
        problems += _those(f"is not the same in {symbol}'s book", wrong)
    return Finding("books agree with the orders", problems, f"{entries} entries")


def nothing_left_behind(store: StorageBundle, history: History) -> Finding:
    """No capital, mark, request or retry count outlived its flow."""
    problems = [
        *_those(
            "still holds capital", (each.dfid for each in store.resource_lock.holders(CAPITAL))
        ),
        *_those("is still dirty", store.saga.get_dirty_flows()),
        *_those(
            "still waits for a human",
            (request["dfid"] for request in store.escalation.get_pending_requests()),
        ),
        *_those(
            "still has a retry count",
            (dfid for dfid in history.plan.flows if store.intent_retry.get_count(dfid)),
        ),
    ]
    evidence = f"{len(problems)} things"
    return Finding("nothing left behind", problems, evidence)


def _accepted(history: History) -> set[str]:
    return {
        dfid
        for dfid, moves in history.moves.items()
        if any(move["to_status"] == FlowStatus.ACCEPTED for move in moves)
    }


def _change(history: History, dfid: str) -> int | None:
    entry = history.entries.get(dfid)
    if entry is None:
        return None
    params = entry["intent_payload"]["params"]
    side = entry["intent_payload"]["policy_kind"]
    return Order(side, params["shares"], params["price"]).change


def _those(what: str, names: Iterable[str]) -> list[str]:
    return [f"{name} {what}" for name in sorted(names)]
