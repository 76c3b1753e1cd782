"""Capacities and reservations of a memory store, as neutral records."""

from __future__ import annotations

from heapq import heappush

from dir_redis.arguments import INT64_MAX
from dir_redis.errors import NotRepresentableError
from dir_redis.memory import (
    MemoryResourceLockStorage,
)
from dir_redis.memory.resource_lock import _Flow
from dir_redis.migrate.exact import exact_units
from dir_redis.migrate.records import (
    Capacity,
    Held,
    HeldReservation,
)


class Capacities:
    def __init__(self, storage: MemoryResourceLockStorage) -> None:
        self._storage = storage

    def keys(self) -> list[str]:
        return list(self._storage._capacities)

    def find(self, key: str) -> Capacity | None:
        units = self._storage._capacities.get(key)
        return None if units is None else Capacity(key, self._storage._scale.to_decimal(units))

    def put(self, record: Capacity) -> None:
        rid = record.resource_id
        self._storage._capacities[rid] = exact_units(
            self._storage._scale, f"capacity of {rid!r}", rid, record.amount
        )


class Reservations:
    def __init__(self, storage: MemoryResourceLockStorage) -> None:
        self._storage = storage

    def keys(self) -> list[str]:
        self._storage._end_leases()
        return list(self._storage._flows)

    def find(self, key: str) -> HeldReservation | None:
        self._storage._end_leases()
        flow = self._storage._flows.get(key)
        if flow is None:
            return None
        held = tuple(
            Held(rid, self._storage._scale.to_decimal(units), flow.since[rid])
            for rid, units in sorted(flow.held.items())
        )
        return HeldReservation(key, held, flow.token or 0, flow.until)

    def put(self, record: HeldReservation) -> None:
        locks = self._storage
        name = f"reservation of {record.dfid!r}"
        units = {
            rid: exact_units(locks._scale, name, rid, amount) for rid, amount, _ in record.held
        }
        for rid, wanted in units.items():
            if locks._others(record.dfid, rid) + wanted > INT64_MAX:
                raise NotRepresentableError(name, str(locks._scale.overflow(rid)))
        flow = _Flow(token=record.token or None, until=record.until_us)
        flow.since = {rid: since_us for rid, _, since_us in record.held if units[rid]}
        locks._flows[record.dfid] = flow
        locks._hold(record.dfid, units)
        if record.until_us is not None:
            heappush(locks._leases, (record.until_us, record.dfid))
