"""Reservations as whole units, with a running total per resource and a queue of those who wait."""

from __future__ import annotations

import heapq
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Unpack

from dir_redis.admission import (
    LOOK_AGAIN_SEC,
    admit_reservation,
    check_kept,
    first_overtaken,
    lease_lost,
    next_number,
)
from dir_redis.amounts import DEFAULT_PLACES, AmountScale, admit
from dir_redis.arguments import checked
from dir_redis.clock import as_datetime
from dir_redis.fleet_protocols import LeaseStorage
from dir_redis.limits import LimitOptions
from dir_redis.memory.storage import MemoryStorage, MemoryStore
from dir_redis.reservations import Holder, Reservation
from dir_redis.told_amounts import ToldAmounts


@dataclass(slots=True)
class _Flow:
    """A flow's reservation.

    Attributes:
        held: units by resource_id, more than 0 each.
        since: when it got each of them, microseconds.
        token: that of its latest ``reserve``; None if it only acquired.
        until: when its lease runs out, microseconds; None without one.
    """

    held: dict[str, int] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    token: int | None = None
    until: int | None = None


class MemoryResourceLockStorage(MemoryStorage, LeaseStorage):
    """Quantity reservations of one process (DIR §6.2).

    Args:
        store: what it shares with others of a bundle; None to stand alone.
        amount_places: decimal places an amount keeps, 0 to 18.
        limits: the size limits of one that stands alone.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        amount_places: int = DEFAULT_PLACES,
        **limits: Unpack[LimitOptions],
    ) -> None:
        super().__init__(store, **limits)
        self._scale = AmountScale(amount_places)
        self._told = ToldAmounts()
        self._flows: dict[str, _Flow] = {}
        self._totals: dict[str, int] = {}
        self._capacities: dict[str, int] = {}
        self._holders: defaultdict[str, set[str]] = defaultdict(set)
        # (until, dfid) of every lease; one that was renewed or given back stays until its time.
        self._leases: list[tuple[int, str]] = []
        # What each waits for, by ticket: first come, first served.
        self._queue: dict[int, Mapping[str, int]] = {}
        self._last_number = 0

    @checked
    def get_locked_amount(self, resource_id: str, exclude_dfid: str) -> float:
        with self._lock:
            self._end_leases()
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
        wanted = self._scale.batch_to_units("resources", resources, self._limits)
        brought = self._scale.capacities_to_units(capacities, wanted, self._limits)
        told = self._told.take(dfid)
        if not self._lock.acquire(timeout=min(timeout_sec, threading.TIMEOUT_MAX)):
            return False
        try:
            self._end_leases()
            if not admit(
                self._scale,
                wanted,
                others={rid: self._others(dfid, rid) for rid in wanted},
                declared=self._capacities,
                brought=brought,
                told=told,
                overtaking=first_overtaken(wanted, self._held(dfid), self._queued()) is not None,
            ):
                return False
            self._hold(dfid, wanted)
            return True
        finally:
            self._lock.release()

    @checked
    def reserve(
        self,
        dfid: str,
        resources: Mapping[str, float | Decimal],
        *,
        lease_sec: float | None = None,
        wait_sec: float = 0.0,
        capacities: Mapping[str, float | Decimal] | None = None,
    ) -> Reservation:
        wanted = self._scale.batch_to_units("resources", resources, self._limits)
        if not wanted:
            raise ValueError("resources must name at least one resource")
        brought = self._scale.capacities_to_units(capacities, wanted, self._limits)
        self._told.take(dfid)
        deadline = time.monotonic() + wait_sec
        with self._lock:
            ticket = None
            try:
                while True:
                    time_is_over = time.monotonic() >= deadline
                    self._end_leases()
                    refusal = admit_reservation(
                        self._scale,
                        wanted,
                        held=self._held(dfid),
                        others={rid: self._others(dfid, rid) for rid in wanted},
                        declared=self._capacities,
                        brought=brought,
                        queued=self._queued(before=ticket),
                    )
                    if refusal is None:
                        return self._grant(dfid, wanted, lease_sec)
                    if time_is_over:
                        raise refusal
                    if ticket is None:
                        ticket = self._next_number()
                        self._queue[ticket] = wanted
                    self._store.wait(self._store.changed, self._seconds_to_wait(deadline))
            finally:
                if ticket is not None:
                    del self._queue[ticket]
                    self._store.changed.notify_all()

    @checked
    def renew(self, dfid: str, fencing_token: int, lease_sec: float) -> datetime:
        with self._lock:
            self._end_leases()
            flow = self._with_token(dfid, fencing_token)
            return as_datetime(self._lease(dfid, flow, lease_sec))

    @checked
    def settle(
        self,
        dfid: str,
        used: Mapping[str, float | Decimal],
        *,
        fencing_token: int | None = None,
    ) -> None:
        kept = self._scale.batch_to_units("used", used, self._limits.reading)
        with self._lock:
            self._end_leases()
            if fencing_token is not None:
                self._with_token(dfid, fencing_token)
            check_kept(self._scale, kept, self._held(dfid))
            self._hold(dfid, kept)

    @checked
    def release(self, dfid: str, *, fencing_token: int | None = None) -> None:
        self._told.take(dfid)
        with self._lock:
            self._end_leases()
            if fencing_token is not None:
                self._with_token(dfid, fencing_token)
            self._remove(dfid)

    def release_flow(self, dfid: str) -> None:
        """Release all that a flow holds, as the end of the flow; the caller has the lock."""
        self._end_leases()
        self._remove(dfid)

    @checked
    def holders(self, resource_id: str) -> list[Holder]:
        with self._lock:
            self._end_leases()
            flows = {dfid: self._flows[dfid] for dfid in self._holders.get(resource_id, ())}
            return sorted(
                (
                    Holder(
                        dfid,
                        self._scale.to_decimal(flow.held[resource_id]),
                        as_datetime(flow.since[resource_id]),
                        None if flow.until is None else as_datetime(flow.until),
                        flow.token,
                    )
                    for dfid, flow in flows.items()
                ),
                key=lambda holder: (holder.since, holder.dfid),
            )

    @checked
    def set_capacity(self, resource_id: str, capacity: float | Decimal | None) -> None:
        units = None if capacity is None else self._scale.to_units(resource_id, capacity)
        with self._lock:
            if units is None:
                self._capacities.pop(resource_id, None)
            else:
                self._capacities[resource_id] = units
            self._store.changed.notify_all()

    @checked
    def get_capacity(self, resource_id: str) -> Decimal | None:
        with self._lock:
            units = self._capacities.get(resource_id)
        return None if units is None else self._scale.to_decimal(units)

    def _held(self, dfid: str) -> Mapping[str, int]:
        return self._flows[dfid].held if dfid in self._flows else {}

    def _others(self, dfid: str, resource_id: str) -> int:
        return self._totals.get(resource_id, 0) - self._held(dfid).get(resource_id, 0)

    def _queued(self, before: int | None = None) -> set[str]:
        """The resources for which somebody waits, or did before a ticket was given."""
        return {
            rid
            for ticket, wanted in self._queue.items()
            if before is None or ticket < before
            for rid in wanted
        }

    def _seconds_to_wait(self, deadline: float) -> float:
        """How long nothing can change without a notice, seconds."""
        seconds = min(deadline - time.monotonic(), LOOK_AGAIN_SEC)
        if self._leases:
            seconds = min(seconds, (self._leases[0][0] - self._clock.now()) / 1e6)
        return max(0.0, seconds)

    def _next_number(self) -> int:
        self._last_number = next_number(self._last_number, self._clock.now())
        return self._last_number

    def _with_token(self, dfid: str, fencing_token: int) -> _Flow:
        flow = self._flows.get(dfid)
        if flow is None or flow.token != fencing_token:
            raise lease_lost(dfid, fencing_token)
        return flow

    def _end_leases(self) -> None:
        """Release what has expired, as everybody does before looking at anything."""
        now = self._clock.now()
        while self._leases and self._leases[0][0] <= now:
            until, dfid = heapq.heappop(self._leases)
            if dfid in self._flows and self._flows[dfid].until == until:
                self._remove(dfid)

    def _grant(self, dfid: str, wanted: Mapping[str, int], lease_sec: float | None) -> Reservation:
        flow = self._flows.setdefault(dfid, _Flow())
        flow.token = self._next_number()
        flow.until = None
        self._hold(dfid, wanted)
        until = None if lease_sec is None else as_datetime(self._lease(dfid, flow, lease_sec))
        resources = {rid: self._scale.to_decimal(units) for rid, units in wanted.items()}
        return Reservation(
            self, dfid, resources, flow.token, until, lease_sec, leased_at=time.monotonic()
        )

    def _lease(self, dfid: str, flow: _Flow, lease_sec: float) -> int:
        flow.until = self._clock.now() + round(lease_sec * 1_000_000)
        if len(self._leases) > 2 * len(self._flows) + 64:  # mostly of leases that ended otherwise
            self._leases = [
                (one.until, holder) for holder, one in self._flows.items() if one.until is not None
            ]
            heapq.heapify(self._leases)
        else:
            heapq.heappush(self._leases, (flow.until, dfid))
        # Who waits for the earliest end waits for this one now, if it is earlier.
        self._store.changed.notify_all()
        return flow.until

    def _remove(self, dfid: str) -> None:
        """Forget a flow's reservation, with all that it holds."""
        self._hold(dfid, dict.fromkeys(self._held(dfid), 0))
        self._flows.pop(dfid, None)

    def _hold(self, dfid: str, amounts: Mapping[str, int]) -> None:
        """Set what a flow holds of some resources; what is 0 leaves no trace."""
        flow = self._flows.setdefault(dfid, _Flow())
        now = self._clock.now()
        for rid, units in amounts.items():
            total = self._others(dfid, rid) + units
            if total:
                self._totals[rid] = total
            else:
                self._totals.pop(rid, None)
            if units:
                flow.held[rid] = units
                flow.since.setdefault(rid, now)
                self._holders[rid].add(dfid)
            elif flow.held.pop(rid, None) is not None:
                del flow.since[rid]
                self._holders[rid].discard(dfid)
                if not self._holders[rid]:
                    del self._holders[rid]
        if not flow.held and flow.token is None:
            del self._flows[dfid]
        self._store.changed.notify_all()
