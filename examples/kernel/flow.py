"""One decision, from the agent's proposal to its end, with dir-core's objects.

Whoever leads a flow has it by ``IdempotencyGuard.run``. If that process dies, another one runs
:func:`lead` from its beginning: steps that were done give their recorded result, transitions that
were made are passed over, and the rest may be repeated.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Any

from dir_core import (
    DimReasonCode,
    EscalationOutcome,
    FlowStatus,
    HumanDecision,
    ImpactCategory,
    LockResult,
    PolicyProposal,
    ProofCarryingIntent,
    ValidationVerdict,
    compute_evidence_hash,
    hash_content,
    proposal_params_for_hash,
)

from dir_redis import LedgerConflictError
from examples.fleet.prices import Decision
from examples.fleet.strategy import Order, needs_human
from examples.kernel.broker import FILLED
from examples.kernel.desk import Desk
from examples.kernel.plan import CAPITAL, agent_of, book_of, order_for

SMALLER = 0.8
CAPITAL_PATIENCE_SEC = 10.0
HUMAN_PATIENCE_SEC = 20.0
PAUSE_SEC = 0.02


class Outcome(StrEnum):
    """How a flow ends."""

    EXECUTED = "EXECUTED"
    COMPENSATED = "COMPENSATED"
    REJECTED = "REJECTED"
    NO_BUDGET = "NO_BUDGET"
    REFUSED_BY_HUMAN = "REFUSED_BY_HUMAN"
    NO_CAPITAL = "NO_CAPITAL"
    REFUSED_BY_LEDGER = "REFUSED_BY_LEDGER"


class Event(StrEnum):
    """The audit rows of a flow, beside those that dir-core writes itself."""

    LED = "FLOW_LED"
    COUNTED = "REJECTION_COUNTED"
    ASKED = "HUMAN_ASKED"
    HELD = "CAPITAL_HELD"
    DIRTY = "BROKEN_OFF"
    ENDED = "FLOW_ENDED"


class Flow:
    """A flow as far as it has come.

    Args:
        desk: the managers of the process that leads it.
        dfid: the flow.
    """

    def __init__(self, desk: Desk, dfid: str) -> None:
        self.desk, self.dfid = desk, dfid
        moves = desk.store.lifecycle.get_transitions(dfid)
        self._been = {row["to_status"] for row in moves}
        self._status = FlowStatus(moves[-1]["to_status"]) if moves else FlowStatus.CREATED
        rows = desk.runtime.audit.events_for_dfid(dfid)
        ends = [row["details"] for row in rows if row["event"] == Event.ENDED]
        self.outcome = Outcome(ends[0]["outcome"]) if ends else None

    def move(self, status: FlowStatus) -> None:
        """Append a transition, unless the flow has come that far already."""
        if status in self._been:
            return
        self.desk.kernel.transition(
            self.dfid,
            self._status,
            status,
            retry_governor=self.desk.governor,
            storage=self.desk.store.lifecycle,
        )
        self._been.add(status)
        self._status = status

    def end(self, outcome: Outcome) -> dict[str, Any]:
        """End the flow: its row, its capital, its last transition. May be repeated."""
        if self.outcome is None:
            self.outcome = outcome
            self.desk.note(self.dfid, Event.ENDED, outcome=outcome)
        self.desk.locks.release(self.dfid)
        done = self.outcome in (Outcome.EXECUTED, Outcome.COMPENSATED)
        last = FlowStatus.CLOSED if done else FlowStatus.ABORTED
        if last in self._been:
            self.desk.governor.reset(self.dfid)  # whoever made that transition may have died then
        self.move(last)
        return {"outcome": self.outcome, "worker": self.desk.name}


def lead(desk: Desk, decision: Decision) -> dict[str, Any]:
    """Take a decision through its flow; nobody else does meanwhile, if the guard holds.

    Returns:
        How it ended, and the process that led it. A flow that broke off is ended by ``compensate``.
    """
    dfid = decision.dfid
    flow = Flow(desk, dfid)
    if flow.outcome is not None:
        return flow.end(flow.outcome)
    desk.note(dfid, Event.LED)
    flow.move(FlowStatus.ACTIVE)
    flow.move(FlowStatus.VALIDATING)

    order = order_for(decision)
    checked = desk.guard.run(dfid, "validate", {}, lambda: _validate(desk, decision, order))
    if checked["verdict"] != ValidationVerdict.ACCEPT:
        return flow.end(Outcome.REJECTED)
    order = order.resized(checked["shares"])

    if needs_human(order):
        asked = desk.guard.run(dfid, "ask", {}, lambda: _ask(flow, decision, order))
        if asked["decision"] == EscalationOutcome.BUDGET_EXHAUSTED:
            return flow.end(Outcome.NO_BUDGET)
        if asked["decision"] == HumanDecision.ABORT:
            return flow.end(Outcome.REFUSED_BY_HUMAN)
        order = order.resized(asked["shares"])

    if not _hold_capital(desk, dfid, order):
        return flow.end(Outcome.NO_CAPITAL)
    try:
        desk.ledger.append(_intent(desk, decision, order), agent_id=agent_of(decision.symbol))
    except LedgerConflictError:  # another process has bound the flow to something else
        return flow.end(Outcome.REFUSED_BY_LEDGER)
    flow.move(FlowStatus.ACCEPTED)
    flow.move(FlowStatus.EXECUTING)

    filled = desk.guard.run(
        dfid,
        "order",
        {"side": order.side, "shares": order.shares, "price": order.price},
        lambda **params: (
            desk.broker.look_up(dfid, FILLED) or desk.broker.place(dfid, Order(**params))
        ),
    )
    if not filled["whole"]:
        flow.move(FlowStatus.PARTIAL_SUCCESS_DIRTY)
        desk.note(dfid, Event.DIRTY, shares=filled["shares"])
        desk.saga.mark_dirty(dfid, "order", {"shares": filled["shares"]})
        return {"outcome": Event.DIRTY, "worker": desk.name}
    change = order.resized(filled["shares"]).change
    desk.runtime.context_store.update_state(book_of(decision.symbol), {dfid: change})
    return flow.end(Outcome.EXECUTED)


def let_go(desk: Desk, dfid: str) -> None:
    """Tidy what a step that came too late may have left in a flow that another process ended."""
    if desk.store.lifecycle.current_status(dfid) in (FlowStatus.CLOSED, FlowStatus.ABORTED):
        desk.locks.release(dfid)
        desk.governor.reset(dfid)


def _validate(desk: Desk, decision: Decision, order: Order) -> dict[str, Any]:
    """Propose, and propose smaller each time it is rejected, until the governor has enough."""
    session = desk.runtime.context_store.get_session(decision.dfid)
    attempt = session.get("attempt", 0)
    while True:
        sized = order.resized(max(1, int(order.shares * SMALLER**attempt)))
        verdict, reason = desk.runtime.evaluate_proposal(
            _proposal(decision, sized),
            {"price": sized.price, "attempt": attempt},
            retry_governor=desk.governor,
        )
        if verdict == ValidationVerdict.ACCEPT:
            return {"verdict": str(verdict), "shares": sized.shares}
        if reason != DimReasonCode.CONTRACT_LIMIT_EXCEEDED:
            return {"verdict": str(verdict), "reason": str(reason)}
        # The agent's own count, over all flows and hosts: each number is given once.
        agent_id = agent_of(decision.symbol)
        number = desk.governor.record_rejection(agent_id)
        desk.note(decision.dfid, Event.COUNTED, agent=agent_id, number=number)
        attempt += 1


def _ask(flow: Flow, decision: Decision, order: Order) -> dict[str, Any]:
    """Put a large order before a human, and wait for the answer."""
    desk = flow.desk
    outcome = desk.runtime.escalation.request_escalation(
        flow.dfid,
        agent_of(decision.symbol),
        "a large order",
        {"prices": decision.prices},
        _proposal(decision, order),
        ImpactCategory.HIGH_IMPACT,
    )
    if outcome == EscalationOutcome.BUDGET_EXHAUSTED:
        return {"decision": str(outcome)}
    flow.move(FlowStatus.ESCALATED)
    desk.note(flow.dfid, Event.ASKED, agent=agent_of(decision.symbol))
    # dir-core has no call that reads a decision; the store has one, which waits for it.
    answer = desk.store.escalation.wait_for_decision(flow.dfid, HUMAN_PATIENCE_SEC)
    if answer is None:
        return {"decision": str(HumanDecision.ABORT)}
    shares = answer["proposal"]["params"]["shares"]
    return {"decision": answer["decision"], "shares": shares}


def _hold_capital(desk: Desk, dfid: str, order: Order) -> bool:
    deadline = time.monotonic() + CAPITAL_PATIENCE_SEC
    while desk.locks.acquire(dfid, {CAPITAL: order.value}) != LockResult.ACQUIRED:
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE_SEC)
    desk.note(dfid, Event.HELD, amount=order.value)
    return True


def _intent(desk: Desk, decision: Decision, order: Order) -> ProofCarryingIntent:
    """What the ledger binds: the decision, with the hash of what it rests on."""
    proposal = _proposal(decision, order)
    payload = {"policy_kind": proposal.policy_kind, "params": proposal.params}
    context = hash_content(decision.prices)
    contract = desk.runtime.registry.get_agent_contract(proposal.agent_id)
    evidence = compute_evidence_hash(
        decision.dfid, context, hash_content(contract), proposal_params_for_hash(payload)
    )
    return ProofCarryingIntent(
        dfid=decision.dfid, intent_payload=payload, context_ref=context, evidence_hash=evidence
    )


def _proposal(decision: Decision, order: Order) -> PolicyProposal:
    params = {
        "instrument": decision.symbol,
        "shares": order.shares,
        "price": order.price,
        "order_value": order.value,
    }
    return PolicyProposal(
        dfid=decision.dfid,
        agent_id=agent_of(decision.symbol),
        policy_kind=order.side,
        params=params,
    )
