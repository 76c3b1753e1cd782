"""One decision's flow, from its claim to its end.

Whoever claims a flow goes through the same steps, whether it is new or a dead process left it in
the middle: what the trail shows as done is skipped, and what cannot be known (was the order
executed?) is asked of the broker, who knows.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

from dir_redis import (
    ClaimState,
    EscalationOutcome,
    InsufficientCapacityError,
    LeaseLostError,
    ResourceContentionError,
    TransitionConflictError,
)
from examples.fleet.broker import Entry, OrderRefusedError, OrderState
from examples.fleet.desk import Desk
from examples.fleet.grammar import FINAL, MAX_REFUSALS, Event, Outcome, Status
from examples.fleet.leases import FlowLeases
from examples.fleet.plan import CAPITAL, book_of, flow_key, symbol_limit
from examples.fleet.prices import Decision
from examples.fleet.strategy import Order, needs_human, propose
from examples.fleet.trail import Trail

PATIENCE_SEC = 0.4
SETTLEMENT_SEC = (0.08, 0.25)
BUDGET_WINDOW_SEC = 3600.0
HUMAN_DEADLINE_SEC = 20.0
# What a broken-off order ties up is held for the compensator for so long; it releases it earlier.
COMPENSATION_SEC = 5.0
REJECTED = "REJECTED"


def deliver(desk: Desk, decision: Decision) -> tuple[ClaimState, str | None]:
    """Carry out one delivery of a decision: run its flow, unless another process does or did.

    Returns:
        How it stands with the flow now: DONE, or IN_PROGRESS elsewhere; and who had it.
    """
    asked = desk.keeper.clock()
    claim = desk.store.idempotency.claim(
        flow_key(decision.dfid),
        fingerprint=decision.fingerprint,
        lease_sec=desk.keeper.lease_sec,
        owner=desk.name,
    )
    if claim.state is not ClaimState.NEW:
        return claim.state, claim.owner
    with desk.keeper.keeping(decision.dfid, claim, asked) as leases:
        try:
            outcome = Flow(desk, decision, leases).run()
            leases.let_go = True
            desk.store.idempotency.complete(claim, {"outcome": outcome})
        except (LeaseLostError, TransitionConflictError, OrderRefusedError):
            # This process was too slow, and the flow is another's now, who ends it.
            _let_go(desk, leases)
            return ClaimState.IN_PROGRESS, None
    return ClaimState.DONE, desk.name


class Flow:
    """A flow in the hands of the process that has claimed it.

    Args:
        desk: the process's.
        decision: what to decide.
        leases: the claim.
    """

    def __init__(self, desk: Desk, decision: Decision, leases: FlowLeases) -> None:
        self._desk = desk
        self._store = desk.store
        self._decision = decision
        self._dfid = decision.dfid
        self._leases = leases
        fence = {"token": leases.claim.token or 0}
        # The row comes first: what an earlier owner still writes after it is late and known as such
        # by its smaller token, so that the trail read now is all that counts.
        details = {"owner": desk.name, "agent": desk.agent_id, **fence}
        desk.store.decision_audit.record(
            self._dfid, Event.CLAIMED, details=details, agent_id=desk.agent_id
        )
        self._trail = Trail(desk.store, self._dfid, desk.agent_id, fence=fence, check=leases.check)

    def run(self) -> Outcome:
        """Take the flow to its end.

        Raises:
            LeaseLostError: it is another process's by now.
            TransitionConflictError: as well.
            OrderRefusedError: as well.
        """
        trail = self._trail
        if trail.finished:
            outcome = Outcome(trail.details(Event.CLOSED)["outcome"])
            return self._close(outcome)  # again: it may have been cut off in the middle
        if trail.status == Status.DIRTY:
            return self._hand_over()
        if trail.status == Status.EXECUTING:
            entry = self._desk.broker.look_up(self._dfid)
            if entry.executed:
                return self._settle(entry)
        order = self._decide()
        if order is None:
            return self._close(Outcome.NO_TRADE)
        if needs_human(order):
            answer = self._ask_human(order)
            if not isinstance(answer, Order):
                return self._close(answer)
            order = answer
        fencing_token = self._reserve(order)
        if fencing_token is None:
            return self._give_up()
        return self._settle(self._execute(order, fencing_token))

    def _decide(self) -> Order | None:
        trail, decision = self._trail, self._decision
        trail.move(Status.ACTIVE)
        order = propose(decision.prices)
        if Event.DECIDED not in trail:
            proposal = None if order is None else order.as_dict()
            updates = {"symbol": decision.symbol, "prices": decision.prices, "proposal": proposal}
            self._store.context.merge_session(self._dfid, updates, agent_id=self._desk.agent_id)
            trail.note(Event.DECIDED, proposal=proposal)
        if order is not None:
            trail.move(Status.VALIDATING)
        return order

    def _ask_human(self, order: Order) -> Order | Outcome:
        """Put an order before a human, if the budget allows it, and wait for the answer (DIR §9).

        A flow that was taken over has asked already: then nothing is spent, and the answer to the
        earlier request counts.
        """
        trail, escalation = self._trail, self._store.escalation
        if Event.NO_BUDGET in trail:
            return Outcome.NO_BUDGET
        asked = escalation.escalate(
            self._dfid,
            self._desk.agent_id,
            f"an order of {order.value:,.2f} is above the agent's limit",
            self._store.context.get_session(self._dfid) or "{}",
            json.dumps(order.as_dict()),
            "HIGH",
            limit=self._desk.plan.escalation_budget,
            window_sec=BUDGET_WINDOW_SEC,
            deadline_sec=HUMAN_DEADLINE_SEC,
            default_decision=REJECTED,
        )
        if asked.outcome is EscalationOutcome.BUDGET_EXHAUSTED:
            trail.note(Event.NO_BUDGET, retry_after_sec=asked.retry_after_sec)
            return Outcome.NO_BUDGET
        trail.move(Status.ESCALATED)
        if Event.ESCALATED not in trail:
            trail.note(Event.ESCALATED, value=order.value, remaining=asked.remaining)
        while (request := escalation.wait_for_decision(self._dfid, timeout_sec=5)) is None:
            self._leases.check()
        if Event.HUMAN not in trail:
            updates = {"verdict": request["decision"]}
            self._store.context.merge_session(self._dfid, updates)
            trail.note(
                Event.HUMAN,
                verdict=request["decision"],
                by=request["decided_by"],
                asked_by=request["agent_id"],
            )
        if request["decision"] == REJECTED:
            return Outcome.NO_DECISION if request["by_default"] else Outcome.REJECTED
        return Order.from_dict(request["proposal"])

    def _reserve(self, order: Order) -> int | None:
        """Reserve the order's value of the capital and of its symbol's limit, a few times.

        A refusal is no failure of the store: it is the store keeping the fleet within its capital.

        Returns:
            The reservation's fencing token, or None if there was no room.
        """
        trail, lease_sec = self._trail, self._desk.keeper.lease_sec
        amounts = {CAPITAL: order.value, symbol_limit(self._decision.symbol): order.value}
        while True:
            self._leases.check()
            try:
                reservation = self._store.resource_lock.reserve(
                    self._dfid, amounts, lease_sec=lease_sec, wait_sec=PATIENCE_SEC
                )
            except (InsufficientCapacityError, ResourceContentionError) as error:
                refused = self._store.intent_retry.increment(self._dfid, MAX_REFUSALS)
                short_of = getattr(error, "resource_id", CAPITAL)
                trail.note(Event.REFUSED, refusals=refused.count, short_of=short_of)
                if refused.exhausted:
                    return None
                continue
            # Known before anything else, for whoever loses the flow now must give this back.
            self._leases.fencing_token = reservation.fencing_token
            trail.move(Status.ACCEPTED)
            trail.note(
                Event.RESERVED,
                amounts=amounts,
                fencing_token=reservation.fencing_token,
                until=str(reservation.expires_at),
            )
            return reservation.fencing_token

    def _execute(self, order: Order, fencing_token: int) -> Entry:
        """Place the order under its reservation's token, which the broker compares."""
        trail, broker = self._trail, self._desk.broker
        trail.move(Status.EXECUTING)
        trail.note(Event.SUBMITTED, fencing_token=fencing_token, **order.as_dict())
        broker.place(self._dfid, order, fencing_token)
        time.sleep(self._desk.random.uniform(*SETTLEMENT_SEC))
        self._leases.check()
        return broker.settle(self._dfid, fencing_token)

    def _settle(self, entry: Entry) -> Outcome:
        """Book what the broker executed; what it executed in part is left to the compensator."""
        trail, order = self._trail, Order.from_dict(entry.order)
        if entry.state == OrderState.FILLED:
            # One key per flow: any number of hosts book at once, and booking again changes nothing.
            book = {self._dfid: order.change}
            self._store.context.merge_state(book_of(self._decision.symbol), book)
            if Event.EXECUTED not in trail:
                trail.note(Event.EXECUTED, symbol=self._decision.symbol, **order.as_dict())
            return self._close(Outcome.EXECUTED)
        rows: dict[Event, dict[str, Any]] = {
            Event.FAILED: {"filled": entry.filled, "shares": order.shares}
        }
        value = order.resized(entry.filled).value
        used = {CAPITAL: value, symbol_limit(self._decision.symbol): value}
        token = self._leases.fencing_token
        if token is not None:  # None: the reservation was a dead process's, and goes with it
            rows[Event.SETTLED] = {"amounts": used}
        trail.note_all({event: row for event, row in rows.items() if event not in trail})
        if token is not None:
            self._store.resource_lock.settle(self._dfid, used, fencing_token=token)
            self._leases.fencing_token = None
            self._store.resource_lock.renew(self._dfid, token, COMPENSATION_SEC)
        trail.move(Status.DIRTY)
        return self._hand_over()

    def _hand_over(self) -> Outcome:
        """Mark the flow dirty: a compensator takes it from here, and ends it (DIR §7)."""
        filled = self._trail.details(Event.FAILED)["filled"]
        self._leases.check()
        self._store.saga.mark_dirty(self._dfid, "execute", json.dumps({"filled": filled}))
        return Outcome.COMPENSATED

    def _give_up(self) -> Outcome:
        """End the flow for want of room, unless an earlier owner's order went through after all."""
        if self._trail.status in (Status.ACCEPTED, Status.EXECUTING):
            entry = self._desk.broker.cancel(self._dfid)
            if entry.executed:
                return self._settle(entry)
            self._trail.note(Event.CANCELLED)
        return self._close(Outcome.NO_CAPACITY)

    def _close(self, outcome: Outcome) -> Outcome:
        trail = self._trail
        status = Status.CLOSED if outcome is Outcome.EXECUTED else Status.ABORTED
        self._leases.check()
        self._leases.let_go = True
        trail.close(Status(trail.status) if trail.finished else status, outcome=outcome)
        return outcome


def _let_go(desk: Desk, leases: FlowLeases) -> None:
    """Tidy what a step that came too late may have left in a flow that is another's."""
    if leases.fencing_token is not None:
        with contextlib.suppress(LeaseLostError):
            desk.store.resource_lock.release(leases.dfid, fencing_token=leases.fencing_token)
    if desk.store.lifecycle.current_status(leases.dfid) in FINAL:
        desk.store.intent_retry.delete(leases.dfid)
