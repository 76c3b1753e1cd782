"""One copy into a store at a time: a claim in the target, kept while the copy runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dir_redis.bundle import StorageBundle
from dir_redis.errors import LeaseLostError, ResourceContentionError, StorageError
from dir_redis.keep_alive import KeepAlive
from dir_redis.run_once import ClaimState, new_owner

logger = logging.getLogger(__name__)

# The idempotency key that is claimed. It is no record of either store: it is neither copied nor
# compared, and what a copy leaves of it goes by itself, as of any claim.
KEY = "dir_redis.migrate"
# So long the next copy waits for one that was killed.
LEASE_SEC = 10.0


@contextmanager
def alone_in(target: StorageBundle, where: str) -> Iterator[Callable[[], None]]:
    """Keep other copies out of a target within a with block.

    Args:
        target: the target.
        where: the target as messages call it.

    Yields:
        What to call between writes; raises LeaseLostError if the target may be another copy's by
        now, since this one stood still for too long or could not reach it.

    Raises:
        ResourceContentionError: another copy went on for longer than one that was killed would
            be waited for.
    """
    steps, owner, asked = target.idempotency, new_owner(), time.monotonic()
    claim = steps.claim(KEY, lease_sec=LEASE_SEC, owner=owner)
    if claim.state is ClaimState.IN_PROGRESS:
        steps.wait(KEY, LEASE_SEC * 1.2)
        asked = time.monotonic()
        claim = steps.claim(KEY, lease_sec=LEASE_SEC, owner=owner)
    if claim.state is not ClaimState.NEW or claim.token is None:
        raise ResourceContentionError(
            f"{claim.owner} is copying into {where}: one copy at a time; start this one after it"
        )
    record, token = f"claim of the copy into {where}", claim.token

    def renew() -> None:
        steps.renew_claim(claim, LEASE_SEC)

    try:
        with KeepAlive(renew, LEASE_SEC, record=record, leased_at=asked) as kept:

            def check() -> None:
                if kept.lost:
                    raise LeaseLostError(record, token)

            yield check
    finally:
        try:
            steps.abandon(claim)
        except StorageError as error:
            logger.warning("the %s was not given back, and runs out by itself: %s", record, error)
