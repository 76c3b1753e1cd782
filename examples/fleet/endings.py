"""How a flow ends: compensated where it must be, closed, released.

Each step is skipped when the trail shows it done, so that the recovery of a dead process's flow
goes the same way as the flow itself, from wherever it stopped.
"""

from __future__ import annotations

import json

from dir_redis import AuditStore, StorageBundle
from examples.fleet.claims import order_of
from examples.fleet.grammar import IN_DOUBT, Event, Outcome, Status
from examples.fleet.trail import Trail


def compensate(store: StorageBundle, trail: Trail, *, filled: int) -> None:
    """Undo an order that is half done or in doubt: marked dirty, reversed, cleared (DIR §7).

    Args:
        store: the store.
        trail: the flow's, in EXECUTING or PARTIAL_SUCCESS_DIRTY.
        filled: how many shares are known to have gone through.
    """
    if Event.COMPENSATED not in trail:
        partial = {"order": order_of(trail.dfid), "filled": filled}
        store.saga.mark_dirty(trail.dfid, "execute", json.dumps(partial))
    if trail.status == Status.EXECUTING:
        trail.move(Status.DIRTY)
    if Event.COMPENSATED not in trail:
        trail.note(Event.COMPENSATED, reversed=filled)
    # Under the order's key, so that nobody who is handed this order again would place it.
    result = {"status": Event.COMPENSATED, "reversed": filled}
    audit = AuditStore(store.decision_audit, store.idempotency)
    audit.save_idempotent_result(order_of(trail.dfid), trail.dfid, result)
    store.saga.clear_dirty(trail.dfid)


def close(store: StorageBundle, trail: Trail, holder: str, outcome: Outcome) -> None:
    """End a flow and release what it holds.

    The release comes after everything else, since it lets others have the flow; its row comes
    before it, so that what the log says is held really is held at that moment.
    """
    if Event.RESERVED in trail and Event.RELEASING not in trail:
        trail.note(Event.RELEASING)
    store.intent_retry.delete(trail.dfid)
    if Event.CLOSED not in trail:
        trail.note(Event.CLOSED, outcome=outcome)
    trail.move(Status.CLOSED if trail.status in IN_DOUBT else Status.ABORTED)
    store.resource_lock.release(holder)
