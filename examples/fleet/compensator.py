"""Undoing what broke off half-way, as a process: takes a dirty flow, reverses, ends it (DIR §7)."""

from __future__ import annotations

from dir_redis import LeaseLostError, StorageBundle, TransitionConflictError
from examples.fleet.broker import Broker
from examples.fleet.grammar import Event, Outcome, Status
from examples.fleet.service import serve
from examples.fleet.trail import Trail

COMPENSATOR = "compensator"
LEASE_SEC = 5.0


def run_compensator(url: str, namespace: str) -> None:
    """Compensate; the main function of the compensator's process."""
    serve(url, namespace, COMPENSATOR, compensate)


def compensate(store: StorageBundle) -> bool:
    """Compensate the dirty flow that has waited longest, and end it.

    Returns:
        Whether there was one.
    """
    claim = store.saga.claim_dirty(COMPENSATOR, LEASE_SEC)
    if claim is None:
        return False

    def check() -> None:
        store.saga.renew_dirty(claim.dfid, claim.epoch, LEASE_SEC)

    try:
        trail = Trail(store, claim.dfid, COMPENSATOR, fence={"epoch": claim.epoch}, check=check)
        # A second mark of a flow that has ended is left by a process that was too late.
        if not trail.finished:
            entry = Broker(store).reverse(claim.dfid)
            if Event.COMPENSATED not in trail:
                trail.note(Event.COMPENSATED, reversed=entry.filled)
            trail.close(Status.CLOSED, outcome=Outcome.COMPENSATED)
        store.saga.clear_dirty(claim.dfid, epoch=claim.epoch)
    except (LeaseLostError, TransitionConflictError):
        pass  # a newer claim or mark: its holder goes on from here
    return True
