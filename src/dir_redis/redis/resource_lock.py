"""Reservations in whole units: a record per flow, a running total per resource, and a queue."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Unpack

from dir_redis.admission import dead_after, exceeds_held, lease_lost, waited_longer
from dir_redis.clock import as_datetime
from dir_redis.errors import CorruptRecordError, StorageError
from dir_redis.fleet_protocols import LeaseStorage
from dir_redis.redis.replies import as_text, as_units
from dir_redis.redis.steps import Argument, Call, Command, Steps, WaitForItem, operation
from dir_redis.redis.storage import RedisStorage
from dir_redis.redis.store import RedisOptions
from dir_redis.reservations import Holder, Reservation
from dir_redis.told_amounts import ToldAmounts

# A lease is over when its end is reached, and a server wakes waiters to the millisecond.
_MARGIN_SEC = 0.001


class RedisResourceLockStorage(RedisStorage, LeaseStorage):
    """Quantity reservations of a fleet, each change one atomic check-and-set (DIR §6.2)."""

    def __init__(self, url_or_client: object, **options: Unpack[RedisOptions]) -> None:
        super().__init__(url_or_client, **options)
        self._scale = self._store.scale
        self._told = ToldAmounts()

    @operation
    def get_locked_amount(self, resource_id: str, exclude_dfid: str) -> Steps[float]:
        totals_key, flows_key = self._keys.lock_totals(), self._keys.lock_flows()
        keys = (totals_key, flows_key, self._keys.lock_leases())
        reply = yield Call("resource_lock_read", keys, (resource_id, exclude_dfid))
        while len(reply) == 1:
            yield from self._changed("resource_lock_sweep", "")
            reply = yield Call("resource_lock_read", keys, (resource_id, exclude_dfid))
        units = as_units(totals_key, reply[0]) - as_units(flows_key, reply[1])
        if units < 0:
            raise CorruptRecordError(
                totals_key, f"its total of {resource_id!r} is below one holder's"
            )
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
        wanted = self._scale.batch_to_units("resources", resources, self._limits)
        brought = self._scale.capacities_to_units(capacities, wanted, self._limits)
        told = self._told.take(dfid)
        verdict, *numbers = yield from self._changed(
            "resource_lock_acquire", dfid, *_request(wanted, brought, told)
        )
        self._raise_refusal(verdict, numbers, wanted)
        return verdict == "ACQUIRED"

    @operation
    def reserve(
        self,
        dfid: str,
        resources: Mapping[str, float | Decimal],
        *,
        lease_sec: float | None = None,
        wait_sec: float = 0.0,
        capacities: Mapping[str, float | Decimal] | None = None,
    ) -> Steps[Reservation]:
        wanted = self._scale.batch_to_units("resources", resources, self._limits)
        if not wanted:
            raise ValueError("resources must name at least one resource")
        brought = self._scale.capacities_to_units(capacities, wanted, self._limits)
        self._told.take(dfid)
        lease = "" if lease_sec is None else round(lease_sec * 1_000_000)
        token, end, asked = yield from self._granted(dfid, lease, wanted, brought, wait_sec)
        granted = {rid: self._scale.to_decimal(units) for rid, units in wanted.items()}
        return Reservation(
            self,
            dfid,
            granted,
            token,
            as_datetime(end) if end else None,
            lease_sec,
            leased_at=asked,
        )

    @operation
    def renew(self, dfid: str, fencing_token: int, lease_sec: float) -> Steps[datetime]:
        verdict, *numbers = yield from self._changed(
            "resource_lock_renew", dfid, fencing_token, round(lease_sec * 1_000_000)
        )
        if verdict == "LOST":
            raise lease_lost(dfid, fencing_token)
        return as_datetime(int(numbers[0]))

    @operation
    def settle(
        self,
        dfid: str,
        used: Mapping[str, float | Decimal],
        *,
        fencing_token: int | None = None,
    ) -> Steps[None]:
        kept = self._scale.batch_to_units("used", used, self._limits.reading)
        token = "" if fencing_token is None else fencing_token
        verdict, *numbers = yield from self._changed(
            "resource_lock_settle", dfid, token, *_request(kept)
        )
        if verdict == "LOST" and fencing_token is not None:
            raise lease_lost(dfid, fencing_token)
        if verdict == "EXCEEDS":
            raise exceeds_held(self._scale, list(kept)[int(numbers[0]) - 1], int(numbers[1]))

    @operation
    def release(self, dfid: str, *, fencing_token: int | None = None) -> Steps[None]:
        self._told.take(dfid)
        token = "" if fencing_token is None else fencing_token
        (verdict,) = yield from self._changed("resource_lock_release", dfid, token)
        if verdict == "LOST" and fencing_token is not None:
            raise lease_lost(dfid, fencing_token)

    @operation
    def holders(self, resource_id: str) -> Steps[list[Holder]]:
        keys = (self._keys.lock_holders(), self._keys.lock_flows())
        reply = yield Call("resource_lock_holders", keys, (resource_id,))
        texts = map(as_text, reply)
        holders = [
            Holder(
                dfid,
                self._scale.to_decimal(int(units)),
                as_datetime(int(since)),
                as_datetime(int(end)) if int(end) else None,
                int(token) or None,
            )
            for dfid, units, since, end, token in zip(*[texts] * 5, strict=True)
        ]
        return sorted(holders, key=lambda holder: (holder.since, holder.dfid))

    @operation
    def set_capacity(self, resource_id: str, capacity: float | Decimal | None) -> Steps[None]:
        units = "" if capacity is None else self._scale.to_units(resource_id, capacity)
        yield from self._changed("resource_lock_set_capacity", resource_id, units)

    @operation
    def get_capacity(self, resource_id: str) -> Steps[Decimal | None]:
        key = self._keys.lock_capacities()
        reply = yield Command("HGET", key, (resource_id,))
        return None if reply is None else self._scale.to_decimal(as_units(key, reply))

    def _granted(
        self,
        dfid: str,
        lease: Argument,
        wanted: Mapping[str, int],
        brought: Mapping[str, int],
        wait_sec: float,
    ) -> Steps[tuple[int, int, float]]:
        """Wait for the grant; return the token, the lease's end (0 without one), and when it was
        asked for, by this process's monotonic clock."""
        deadline = time.monotonic() + wait_sec
        wake_key = self._keys.lock_wake(secrets.token_urlsafe(12))
        ticket = ""
        try:
            while True:
                asked = time.monotonic()
                left_sec = deadline - asked
                here = "" if left_sec <= 0 else wake_key
                verdict, *numbers = yield from self._changed(
                    "resource_lock_reserve",
                    *(dfid, lease, ticket, here, dead_after(left_sec)),
                    *_request(wanted, brought),
                )
                if verdict == "GRANTED":
                    return int(numbers[0]), int(numbers[1]), asked
                self._raise_refusal(verdict, numbers, wanted)
                ticket = numbers[0]
                left = min(deadline - time.monotonic(), int(numbers[1]) / 1e6 + _MARGIN_SEC)
                yield WaitForItem(wake_key, max(left, _MARGIN_SEC))
        except (StorageError, ValueError, GeneratorExit):
            # Out of the queue already, or not to be reached: then it counts as dead before long.
            raise
        except BaseException:
            if ticket:
                yield from self._changed("resource_lock_sweep", ticket)
            raise

    def _changed(self, script: str, *arguments: Argument) -> Steps[list[str]]:
        """Call a script; it asks to be called again while much has to be swept up."""
        reply = ["AGAIN"]
        while reply == ["AGAIN"]:
            reply = as_text((yield Call(script, self._keys.locks(), arguments))).split()
        return reply

    def _raise_refusal(self, verdict: str, numbers: list[str], wanted: Mapping[str, int]) -> None:
        if verdict == "SHORT":
            rid = list(wanted)[int(numbers[0]) - 1]
            capacity, others = int(numbers[1]), int(numbers[2])
            raise self._scale.insufficient(rid, wanted[rid], capacity, others)
        if verdict == "OVERFLOW":
            raise self._scale.overflow(list(wanted)[int(numbers[0]) - 1])
        if verdict == "BEHIND" and numbers:
            raise waited_longer(list(wanted)[int(numbers[0]) - 1])


def _request(wanted: Mapping[str, int], *others: Mapping[str, int]) -> tuple[Argument, ...]:
    """How many resources, which, how much of each, and what else is known of each."""
    return (
        len(wanted),
        *wanted,
        *wanted.values(),
        *(known.get(rid, "") for known in others for rid in wanted),
    )
