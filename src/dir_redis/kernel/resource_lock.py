"""Reservations checked in the step that writes them, which can be waited for and leased."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from decimal import Decimal

from dir_core.resource_lock import LockResult
from dir_core.resource_lock import ResourceLockManager as CoreResourceLockManager

from dir_redis.amounts import exact_amount
from dir_redis.arguments import MAX_DURATION_SEC
from dir_redis.errors import InsufficientCapacityError, ResourceContentionError
from dir_redis.fleet_protocols import LeaseStorage
from dir_redis.kernel.arguments import callback, number
from dir_redis.kernel.storages import chosen_storage
from dir_redis.reservations import Reservation
from dir_redis.sqlite import SqliteResourceLockStorage

_PAUSE_SEC = 0.05


def _patience(timeout_sec: float) -> float:
    """A timeout as a storage takes it: without end is ten years; NaN is no time, as in dir-core."""
    if isinstance(timeout_sec, float) and math.isnan(timeout_sec):
        return 0.0
    return max(0.0, min(number("timeout_sec", timeout_sec), MAX_DURATION_SEC))


class ResourceLockManager(CoreResourceLockManager):
    """dir-core's lock manager, safe between hosts (DIR §6.2).

    Args:
        db_path: a SQLite file of this package; counts without a storage.
        availability_provider: says how much there is of a resource in all: a number, where ``inf``
            is no limit and a negative one is nothing. Where the store has a declared capacity too,
            the lower counts.
        storage: where the reservations are kept.

    Raises:
        TypeError: the storage lacks an atomic operation, or the provider cannot be called.
        ValueError: there is no provider, or neither a file nor a storage.
    """

    def __init__(
        self,
        db_path: str | None = None,
        availability_provider: Callable[[str], float | Decimal] | None = None,
        *,
        storage: LeaseStorage | None = None,
    ) -> None:
        needs = ("acquire_batch", "reserve")
        file = None if availability_provider is None else db_path  # refused below: open nothing
        chosen = chosen_storage(
            self, "resource_lock", storage, file, SqliteResourceLockStorage, *needs
        )
        super().__init__(None, availability_provider, storage=chosen)
        callback("availability_provider", availability_provider)

    def acquire(
        self,
        dfid: str,
        resources: Mapping[str, float | Decimal],
        timeout_sec: float = 5.0,
        *,
        wait: bool = False,
    ) -> LockResult:
        """Reserve all of a flow's amounts or none, until ``release``.

        Args:
            dfid: the flow.
            resources: amounts by resource_id.
            timeout_sec: how long to try, or to wait; ``inf`` without end, 0 or less tries once.
            wait: whether to wait for room, first come first served, instead of giving up at once.
                The provider is then asked once, at the beginning.

        Returns:
            ACQUIRED. INSUFFICIENT_LIQUIDITY if there is no room: now, or when waiting none came in
            time. RESOURCE_CONTENTION_TIMEOUT if others were ahead all the time.

        Raises:
            TypeError: an argument, or what the provider says, has another type.
            ValueError: an amount, or what the provider says, is NaN or no number or too large.
        """
        try:
            if wait and resources:
                self.reserve(dfid, resources, timeout_sec)
                return LockResult.ACQUIRED
            return self._try_until(time.monotonic() + _patience(timeout_sec), dfid, resources)
        except InsufficientCapacityError:
            return LockResult.INSUFFICIENT_LIQUIDITY
        except ResourceContentionError:
            return LockResult.RESOURCE_CONTENTION_TIMEOUT

    def reserve(
        self,
        dfid: str,
        resources: Mapping[str, float | Decimal],
        timeout_sec: float = 5.0,
        *,
        lease_sec: float | None = None,
    ) -> Reservation:
        """Reserve as ``acquire`` with ``wait`` does, with a lease and a fencing token.

        dir-core has nothing like it: a reservation that ends by itself when its host dies can only
        be used by whoever has its token.

        Args:
            dfid: the flow.
            resources: amounts by resource_id; at least one.
            timeout_sec: how long to wait for room, first come first served; ``inf`` without end, 0
                or less does not wait.
            lease_sec: after how long the reservation ends by itself; None never.

        Returns:
            The reservation, a context manager that releases it; see
            :meth:`~dir_redis.LeaseStorage.reserve`.

        Raises:
            InsufficientCapacityError: there is no room, and none came in time.
            ResourceContentionError: there would be room, but others have waited longer.
            TypeError: an argument, or what the provider says, has another type.
            ValueError: an amount, or what the provider says, is NaN or no number or too large.
        """
        reservation: Reservation = self._storage.reserve(
            dfid,
            resources,
            lease_sec=lease_sec,
            wait_sec=_patience(timeout_sec),
            capacities=self._capacities(resources),
        )
        return reservation

    def _try_until(
        self, deadline: float, dfid: str, resources: Mapping[str, float | Decimal]
    ) -> LockResult:
        while True:
            left = max(0.0, deadline - time.monotonic())
            capacities = self._capacities(resources)
            if self._storage.acquire_batch(dfid, resources, left, capacities=capacities):
                return LockResult.ACQUIRED
            left = deadline - time.monotonic()
            if left <= 0:
                return LockResult.RESOURCE_CONTENTION_TIMEOUT
            time.sleep(min(_PAUSE_SEC, left))

    def _capacities(self, resources: Mapping[str, float | Decimal]) -> dict[str, Decimal]:
        """What the provider says there is; a resource without a limit is left out."""
        if not isinstance(resources, Mapping):  # the provider is asked before the storage looks
            raise TypeError(f"resources must be a dict, not {type(resources).__name__}")
        capacities = {}
        for resource_id in sorted(resources):
            capacity = exact_amount(resource_id, self.availability_provider(resource_id))
            if capacity.is_nan():
                raise ValueError(
                    f"availability_provider says NaN for {resource_id!r}; it should say how much "
                    "there is, or inf for no limit"
                )
            if capacity < 0:
                requested = exact_amount(resource_id, resources[resource_id])
                raise InsufficientCapacityError(resource_id, requested, capacity)
            if capacity.is_finite():
                capacities[resource_id] = capacity
        return capacities
