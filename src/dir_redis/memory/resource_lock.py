"""Reservations as whole units, with a running total per resource."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

from dir_redis.amounts import DEFAULT_PLACES, AmountScale, admit
from dir_redis.arguments import checked
from dir_redis.memory.storage import MemoryStorage
from dir_redis.protocols import CapacityStorage
from dir_redis.told_amounts import ToldAmounts


class MemoryResourceLockStorage(MemoryStorage, CapacityStorage):
    """Quantity reservations of one process (DIR §6.2).

    Args:
        amount_places: decimal places an amount keeps, 0 to 18.
    """

    def __init__(self, *, amount_places: int = DEFAULT_PLACES) -> None:
        super().__init__()
        self._scale = AmountScale(amount_places)
        self._told = ToldAmounts()
        self._totals: dict[str, int] = {}
        self._capacities: dict[str, int] = {}
        self._holdings: defaultdict[str, dict[str, int]] = defaultdict(dict)

    @checked
    def get_locked_amount(self, resource_id: str, exclude_dfid: str) -> float:
        with self._lock:
            units = self._others(exclude_dfid, resource_id)
        self._told.remember(exclude_dfid, resource_id, units)
        return self._scale.to_float(units)

    @checked
    def acquire_batch(
        self,
        dfid: str,
        resources: Mapping[str, float | Decimal],
        timeout_sec: float,
        *,
        capacities: Mapping[str, float | Decimal] | None = None,
    ) -> bool:
        wanted = self._scale.batch_to_units("resources", resources)
        brought = self._scale.capacities_to_units(capacities, wanted)
        told = self._told.take(dfid)
        if not self._lock.acquire(timeout=min(timeout_sec, threading.TIMEOUT_MAX)):
            return False
        try:
            others = {rid: self._others(dfid, rid) for rid in wanted}
            if not admit(
                self._scale,
                wanted,
                others=others,
                declared=self._capacities,
                brought=brought,
                told=told,
            ):
                return False
            for rid, units in wanted.items():
                self._hold(dfid, rid, units)
            return True
        finally:
            self._lock.release()

    @checked
    def release(self, dfid: str) -> None:
        self._told.take(dfid)
        with self._lock:
            for rid in list(self._holdings.get(dfid, ())):
                self._hold(dfid, rid, 0)

    @checked
    def set_capacity(self, resource_id: str, capacity: float | Decimal | None) -> None:
        units = None if capacity is None else self._scale.to_units(resource_id, capacity)
        with self._lock:
            if units is None:
                self._capacities.pop(resource_id, None)
            else:
                self._capacities[resource_id] = units

    @checked
    def get_capacity(self, resource_id: str) -> Decimal | None:
        with self._lock:
            units = self._capacities.get(resource_id)
        return None if units is None else self._scale.to_decimal(units)

    def _others(self, dfid: str, resource_id: str) -> int:
        held = self._holdings[dfid].get(resource_id, 0) if dfid in self._holdings else 0
        return self._totals.get(resource_id, 0) - held

    def _hold(self, dfid: str, resource_id: str, units: int) -> None:
        """Set what a flow holds of a resource; what is 0 leaves no trace."""
        total = self._others(dfid, resource_id) + units
        if total:
            self._totals[resource_id] = total
        else:
            self._totals.pop(resource_id, None)
        holding = self._holdings[dfid]
        if units:
            holding[resource_id] = units
        else:
            holding.pop(resource_id, None)
        if not holding:
            del self._holdings[dfid]
