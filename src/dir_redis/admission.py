"""The rule by which reservations are granted, queued for, renewed and settled, in units.

Memory and SQLite decide by these functions; ``lua/resource_lock_*.lua`` decide by the same rule, in
the same order, and the errors of all backends are made here.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

from dir_redis.amounts import AmountScale, admit, lower_capacity
from dir_redis.errors import InsufficientCapacityError, LeaseLostError, ResourceContentionError

# A waiter looks again at least this often, so that one who was not woken is late, not lost.
LOOK_AGAIN_SEC = 1.0
# A waiter that has not looked for so long is dead: its process was killed or stands still.
DEAD_AFTER_US = 3_000_000
# So late a waiter whose time is over may make its last look.
_LAST_LOOK_US = 250_000


def admit_reservation(
    scale: AmountScale,
    wanted: Mapping[str, int],
    *,
    held: Mapping[str, int],
    others: Mapping[str, int],
    declared: Mapping[str, int],
    brought: Mapping[str, int],
    queued: Container[str],
) -> InsufficientCapacityError | ResourceContentionError | None:
    """Decide about a whole request, from one consistent view of the store.

    Args:
        scale: for the errors.
        wanted: what the flow asks for, sorted by resource_id.
        held: what the flow holds; a resource that is missing counts as 0.
        others: what all other flows hold, for every resource wanted.
        declared: capacities set in the store; one that is missing is unlimited.
        brought: capacities that came with the call; the lower of the two counts.
        queued: the resources for which an earlier request waits.

    Returns:
        None if it is granted, else the error to raise when there is no time left for waiting.

    Raises:
        InsufficientCapacityError: waiting is pointless, a capacity itself being too small; names
            the first resource that does not fit, as always.
        ValueError: the total of a resource would exceed int64.
    """
    try:
        admit(scale, wanted, others=others, declared=declared, brought=brought, told={})
    except InsufficientCapacityError as no_room:
        for rid, units in wanted.items():
            limit = lower_capacity(rid, declared, brought)
            if limit is not None and units > limit:
                raise
        return no_room
    ahead = first_overtaken(wanted, held, queued)
    return None if ahead is None else waited_longer(ahead)


def first_overtaken(
    wanted: Mapping[str, int], held: Mapping[str, int], queued: Container[str]
) -> str | None:
    """The first resource at which granting a request would overtake one that waits for it.

    What asks for no more of anything than the flow holds already takes nothing from those who
    wait, and need not queue.
    """
    if all(units <= held.get(rid, 0) for rid, units in wanted.items()):
        return None
    return next((rid for rid in wanted if rid in queued), None)


def next_number(last: int, now: int) -> int:
    """The fencing token or ticket after the last one given, in a store whose time is now.

    Being at least the time, it rises also if the last one was lost.
    """
    return max(last + 1, now)


def dead_after(left_sec: float) -> int:
    """Microseconds after which a waiter that has not looked again counts as dead.

    No longer than it would have waited: one that was killed holds nobody up beyond that.

    Args:
        left_sec: how long it goes on waiting, seconds.
    """
    longest = DEAD_AFTER_US / 1_000_000
    left_us = round(min(max(0.0, left_sec), longest) * 1_000_000)
    return min(DEAD_AFTER_US, left_us + _LAST_LOOK_US)


def check_kept(scale: AmountScale, used: Mapping[str, int], held: Mapping[str, int]) -> None:
    """Refuse to settle for more than a flow holds.

    Raises:
        ValueError: names the first such resource.
    """
    for rid, units in used.items():
        if units > held.get(rid, 0):
            raise exceeds_held(scale, rid, held.get(rid, 0))


def exceeds_held(scale: AmountScale, resource_id: str, held: int) -> ValueError:
    """The error for settling for more of a resource than the flow holds."""
    return ValueError(
        f"the amount of {resource_id!r} to keep exceeds what the flow holds: "
        f"{scale.to_decimal(held):f}"
    )


def waited_longer(resource_id: str) -> ResourceContentionError:
    """The error for a request that fits, but has to let others go first."""
    return ResourceContentionError(
        f"resource {resource_id!r}: there is room, but others have waited longer for it; "
        "nothing was reserved"
    )


def lease_lost(dfid: str, fencing_token: int) -> LeaseLostError:
    """The error for a token that is not, or not any more, that of the flow's reservation."""
    return LeaseLostError(f"reservation of {dfid!r}", fencing_token)
