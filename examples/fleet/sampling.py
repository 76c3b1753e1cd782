"""Looking at the reservations while the fleet runs, and keeping in the store what was seen."""

from __future__ import annotations

from dir_redis import StorageBundle
from examples.fleet.plan import CAPITAL, Plan

SAMPLES_LOG = "fleet:samples"
SAMPLED = "USE_SAMPLED"

# get_locked_amount leaves one flow out; nobody reserves under this name.
_NOBODY = "fleet:nobody"


def sample(store: StorageBundle, plan: Plan) -> float:
    """Read what is reserved of each of the plan's resources and record it as one audit row.

    Each amount is what the store held at one moment, though not all at the same one.

    Returns:
        The capital in use, US dollars.
    """
    used = {each: store.resource_lock.get_locked_amount(each, _NOBODY) for each in plan.limits}
    store.decision_audit.record(SAMPLES_LOG, SAMPLED, details={"used": used})
    return used[CAPITAL]


def held_now(store: StorageBundle, resource_id: str) -> float:
    """How much of a resource is reserved now, by all holders."""
    return store.resource_lock.get_locked_amount(resource_id, _NOBODY)
