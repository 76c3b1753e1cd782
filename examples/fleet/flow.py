"""One decision's flow through the nine storages.

A flow is a generator: it yields how many seconds it has nothing to do, and its worker sees to other
flows meanwhile. Between any two writes the process may die; each write is placed so that
``recovery.py`` can tell from the store what was done.
"""

from __future__ import annotations

import json
from collections.abc import Generator

from dir_redis import AuditStore, InsufficientCapacityError
from examples.fleet.claims import ACQUIRE_TIMEOUT_SEC, holder_name, order_of, take_order
from examples.fleet.desk import Desk
from examples.fleet.endings import close, compensate
from examples.fleet.escalation import await_human, escalate
from examples.fleet.grammar import FINAL, MAX_REFUSALS, Event, Outcome, Status
from examples.fleet.plan import CAPITAL, symbol_limit
from examples.fleet.prices import Decision
from examples.fleet.strategy import Order, filled_before_failure, needs_human, propose
from examples.fleet.trail import Trail, status_of

POLL_SEC = 0.05
RETRY_SEC = 0.25
SETTLEMENT_SEC = (0.08, 0.25)


def deliver(desk: Desk, decision: Decision) -> Generator[float, None, None]:
    """Carry out one delivery of a decision: run its flow, unless another process does or did."""
    store, dfid = desk.store, decision.dfid
    holder = holder_name(dfid, desk.agent_id, desk.session_token)
    desk.book.claim(store, dfid, holder)
    refused = False
    while not take_order(store, dfid, holder):
        if not refused:
            desk.note_duplicate(dfid, "another process had the order")
            refused = True
        if status_of(store, dfid) in FINAL:
            desk.book.drop(store, dfid)
            return
        yield POLL_SEC  # whoever has it ends it, or dies and leaves it to the supervisor
    trail = Trail(store, dfid, desk.agent_id)
    if trail.finished:
        if not refused:
            desk.note_duplicate(dfid, "another process had ended the flow")
        store.resource_lock.release(holder)
        desk.book.drop(store, dfid)
        return
    if trail.begun:
        raise RuntimeError(f"flow {dfid!r} is unfinished, and nobody held it")
    outcome = yield from _run(desk, trail, holder, decision)
    close(store, trail, holder, outcome)
    desk.book.settle(store, trail)


def _run(
    desk: Desk, trail: Trail, holder: str, decision: Decision
) -> Generator[float, None, Outcome]:
    order = _open(desk, trail, decision)
    if order is None:
        return Outcome.NO_TRADE
    if needs_human(order):
        if not escalate(desk, trail, order):
            return Outcome.NO_BUDGET
        answer = yield from await_human(desk, trail)
        if not isinstance(answer, Order):
            return answer
        order = answer
    if not (yield from _reserve(desk, trail, holder, decision.symbol, order)):
        return Outcome.NO_CAPACITY
    return (yield from _execute(desk, trail, decision.symbol, order))


def _open(desk: Desk, trail: Trail, decision: Decision) -> Order | None:
    """Begin the flow, and decide."""
    store = desk.store
    status = store.agent_registry.get_status(desk.agent_id)
    if status is None or status[0] != "ACTIVE":
        raise RuntimeError(f"agent {desk.agent_id!r} is not registered as active")
    trail.note(Event.OPENED)
    trail.move(Status.ACTIVE)
    context = {"symbol": decision.symbol, "prices": decision.prices}
    store.context.set_session(decision.dfid, json.dumps(context), agent_id=desk.agent_id)
    order = propose(decision.prices)
    trail.note(Event.DECIDED, proposal=None if order is None else order.as_dict())
    if order is not None:
        trail.move(Status.VALIDATING)
    return order


def _reserve(
    desk: Desk, trail: Trail, holder: str, symbol: str, order: Order
) -> Generator[float, None, bool]:
    """Reserve the order's value of the capital and of its symbol's limit, with a few retries.

    A refusal is no failure of the store: it is the store keeping the fleet within its capital.
    """
    store = desk.store
    amounts = {CAPITAL: order.value, symbol_limit(symbol): order.value}
    while True:
        short_of: str | None = None
        try:
            reserved = store.resource_lock.acquire_batch(holder, amounts, ACQUIRE_TIMEOUT_SEC)
        except InsufficientCapacityError as error:
            reserved, short_of = False, error.resource_id
        if reserved:
            trail.note(Event.RESERVED, amounts=amounts)
            trail.move(Status.ACCEPTED)
            return True
        refusals = store.intent_retry.get_count(trail.dfid) + 1
        store.intent_retry.set_count(trail.dfid, refusals)
        trail.note(Event.REFUSED, refusals=refusals, short_of=short_of, value=order.value)
        if refusals >= MAX_REFUSALS:
            return False
        yield RETRY_SEC * refusals


def _execute(
    desk: Desk, trail: Trail, symbol: str, order: Order
) -> Generator[float, None, Outcome]:
    """Place the order: its intent is written first, then its result under its key, then its row.

    The result under the key is the deed itself: the demo's broker lives in the store and knows
    orders by key, as brokers know them by the client's order id. ``get`` and ``set`` are two steps,
    and only one process can be between them because it holds the order.
    """
    audit = AuditStore(desk.store.decision_audit, desk.store.idempotency)
    key = order_of(trail.dfid)
    if audit.get_idempotent_result(key) is not None:
        raise RuntimeError(f"{key!r} has a result of which its flow's trail says nothing")
    trail.move(Status.EXECUTING)
    trail.note(Event.SUBMITTED, symbol=symbol, **order.as_dict())
    yield desk.random.uniform(*SETTLEMENT_SEC)
    filled = filled_before_failure(trail.dfid, order)
    if filled is not None:
        trail.note(Event.FAILED, filled=filled, shares=order.shares)
        compensate(desk.store, trail, filled=filled)
        return Outcome.COMPENSATED
    result = {"status": Event.EXECUTED, "symbol": symbol, **order.as_dict()}
    audit.save_idempotent_result(key, trail.dfid, result)
    trail.note(Event.EXECUTED, symbol=symbol, **order.as_dict())
    return Outcome.EXECUTED
