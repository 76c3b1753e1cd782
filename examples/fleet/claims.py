"""Having a flow to oneself, with today's one atomic check-and-set: the reservation.

Of each resource ``order:<dfid>`` there is 1. Who reserves it has the flow to itself, and adds the
capital it needs to the same holder, so that one release frees all in one step. A holder names the
process, not the agent: the process that takes a dead one's place is another holder.

What this cannot do: a reservation does not end by itself. When its process dies, somebody has to
know and release it (``recovery.py``); and a process that is only slow must not be taken for dead,
since nothing would stop its writes. Leases with fencing tokens are for that. Here the supervisor is
the parent of all processes and learns of their death from the operating system.
"""

from __future__ import annotations

import time

from dir_redis import InsufficientCapacityError, ResourceContentionError, StorageBundle

ACQUIRE_TIMEOUT_SEC = 5.0
GIVE_UP_SEC = 30.0


def order_of(dfid: str) -> str:
    """The resource_id, and idempotency key, of a flow's one order."""
    return f"order:{dfid}"


def holder_name(dfid: str, agent_id: str, session_token: str) -> str:
    """The holder that a process reserves under for a flow."""
    return f"{dfid}@{agent_id}#{session_token}"


def take_order(store: StorageBundle, dfid: str, holder: str) -> bool:
    """Try to have a flow to oneself; taking again what the holder already has succeeds.

    Returns:
        True if the holder has it now, False if another does.

    Raises:
        ResourceContentionError: the store's write access could not be had.
    """
    order = order_of(dfid)
    deadline = time.monotonic() + GIVE_UP_SEC
    while time.monotonic() < deadline:
        try:
            if store.resource_lock.acquire_batch(
                holder, {order: 1}, ACQUIRE_TIMEOUT_SEC, capacities={order: 1}
            ):
                return True
        except InsufficientCapacityError:
            return False
    raise ResourceContentionError(f"no write access for {order!r} within {GIVE_UP_SEC:.0f} s")
