"""Finishing what a dead process left, from what the store says and nothing else."""

from __future__ import annotations

from dir_redis import StorageBundle
from examples.fleet.book import Book
from examples.fleet.claims import order_of, take_order
from examples.fleet.desk import PROCESS_LOST, log_of
from examples.fleet.endings import close, compensate
from examples.fleet.escalation import withdraw_request
from examples.fleet.grammar import IN_DOUBT, Event, Outcome
from examples.fleet.strategy import Order
from examples.fleet.trail import Trail


def recover(store: StorageBundle, agent_id: str, *, cause: str) -> list[str]:
    """Finish every flow that an agent's dead process had claimed. Safe to repeat.

    The process must be dead: nothing here stops one that is only slow. A write that it sent with
    its last breath may still be on its way; on one machine the server has read it before the
    parent learns of the death. Between machines that is for leases and fencing tokens to exclude.

    Args:
        store: the store.
        agent_id: the agent.
        cause: how the process died, for the record.

    Returns:
        The flows that had begun and were finished here.
    """
    store.agent_registry.update_status(agent_id, "SUSPENDED", cause)
    book = Book.load(store, agent_id)
    details = {"cause": cause, "claims": sorted(book.claims)}
    store.decision_audit.record(log_of(agent_id), PROCESS_LOST, details=details, severity="WARNING")
    finished = []
    for dfid, holder in list(book.claims.items()):
        # Under the dead process's own holder: this succeeds if it had the order or nobody does.
        if not take_order(store, dfid, holder):
            book.drop(store, dfid)  # another process has the flow; the dead one never did
            continue
        trail = Trail(store, dfid, agent_id)
        if trail.begun and not trail.finished:
            _finish(store, trail, holder, cause)
            finished.append(dfid)
        else:
            store.resource_lock.release(holder)
        if trail.begun and trail.details(Event.OPENED)["agent"] == agent_id:
            book.settle(store, trail)
        else:
            book.drop(store, dfid)
    return finished


def _finish(store: StorageBundle, trail: Trail, holder: str, cause: str) -> None:
    if Event.LOST not in trail and Event.CLOSED not in trail:
        trail.note(Event.LOST, cause=cause)
    withdraw_request(store, trail.dfid)
    outcome = Outcome.WORKER_LOST
    if trail.status in IN_DOUBT:
        outcome = _settle_order(store, trail)
    close(store, trail, holder, outcome)


def _settle_order(store: StorageBundle, trail: Trail) -> Outcome:
    """Complete the record of an order that was executed; compensate any other."""
    result = store.idempotency.get(order_of(trail.dfid))
    if result is not None and result["status"] == Event.EXECUTED:
        if Event.EXECUTED not in trail:
            trail.note(Event.EXECUTED, symbol=result["symbol"], **Order.from_dict(result).as_dict())
        return Outcome.EXECUTED
    failure = trail.details(Event.FAILED) if Event.FAILED in trail else {"filled": 0}
    compensate(store, trail, filled=failure["filled"])
    return Outcome.COMPENSATED
