"""Reservations as hashes of whole units: one per flow, and a running total per resource."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Unpack

from dir_redis.errors import CorruptRecordError
from dir_redis.protocols import CapacityStorage
from dir_redis.redis.replies import as_text, as_units
from dir_redis.redis.steps import Call, Command, Steps, operation
from dir_redis.redis.storage import RedisStorage
from dir_redis.redis.store import RedisOptions
from dir_redis.told_amounts import ToldAmounts


class RedisResourceLockStorage(RedisStorage, CapacityStorage):
    """Quantity reservations of a fleet, each batch one atomic check-and-set (DIR §6.2)."""

    def __init__(self, url_or_client: object, **options: Unpack[RedisOptions]) -> None:
        super().__init__(url_or_client, **options)
        self._scale = self._store.scale
        self._told = ToldAmounts()

    @operation
    def get_locked_amount(self, resource_id: str, exclude_dfid: str) -> Steps[float]:
        keys = (self._keys.lock_totals(), self._keys.lock_flow(exclude_dfid))
        total, own = yield Call("resource_lock_read", keys, (resource_id,))
        units = as_units(keys[0], total) - as_units(keys[1], own)
        if units < 0:
            raise CorruptRecordError(keys[0], f"its total of {resource_id!r} is below one holder's")
        self._told.remember(exclude_dfid, resource_id, units)
        return self._scale.to_float(units)

    @operation
    def acquire_batch(
        self,
        dfid: str,
        resources: Mapping[str, float | Decimal],
        timeout_sec: float,  # noqa: ARG002 (a server never keeps a script waiting for a lock)
        *,
        capacities: Mapping[str, float | Decimal] | None = None,
    ) -> Steps[bool]:
        wanted = self._scale.batch_to_units("resources", resources)
        brought = self._scale.capacities_to_units(capacities, wanted)
        told = self._told.take(dfid)
        resource_ids = list(wanted)
        keys = (
            self._keys.lock_totals(),
            self._keys.lock_capacities(),
            self._keys.lock_flow(dfid),
        )
        reply = yield Call(
            "resource_lock_acquire",
            keys,
            (
                len(wanted),
                *resource_ids,
                *wanted.values(),
                *(brought.get(resource_id, "") for resource_id in resource_ids),
                *(told.get(resource_id, "") for resource_id in resource_ids),
            ),
        )
        verdict, *numbers = as_text(reply).split()
        if verdict == "SHORT":
            resource_id = resource_ids[int(numbers[0]) - 1]
            capacity, others = as_units(keys[1], numbers[1]), int(numbers[2])
            raise self._scale.insufficient(resource_id, wanted[resource_id], capacity, others)
        if verdict == "OVERFLOW":
            raise self._scale.overflow(resource_ids[int(numbers[0]) - 1])
        return verdict == "ACQUIRED"

    @operation
    def release(self, dfid: str) -> Steps[None]:
        self._told.take(dfid)
        keys = (self._keys.lock_totals(), self._keys.lock_flow(dfid))
        yield Call("resource_lock_release", keys)

    @operation
    def set_capacity(self, resource_id: str, capacity: float | Decimal | None) -> Steps[None]:
        key = self._keys.lock_capacities()
        if capacity is None:
            yield Command("HDEL", key, (resource_id,), write=True)
        else:
            units = self._scale.to_units(resource_id, capacity)
            yield Command("HSET", key, (resource_id, units), write=True)

    @operation
    def get_capacity(self, resource_id: str) -> Steps[Decimal | None]:
        key = self._keys.lock_capacities()
        reply = yield Command("HGET", key, (resource_id,))
        return None if reply is None else self._scale.to_decimal(as_units(key, reply))
