"""Reservations in ``resource_locks``, decided by the totals that ``reservations.py`` keeps."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from os import PathLike
from typing import Any, Unpack

from dir_redis.admission import (
    LOOK_AGAIN_SEC,
    admit_reservation,
    check_kept,
    dead_after,
    first_overtaken,
)
from dir_redis.amounts import DEFAULT_PLACES, AmountScale, admit
from dir_redis.arguments import checked
from dir_redis.clock import as_datetime
from dir_redis.errors import (
    InsufficientCapacityError,
    ResourceContentionError,
    StorageError,
)
from dir_redis.fleet_protocols import LeaseStorage
from dir_redis.limits import LimitOptions
from dir_redis.reservations import Holder, Reservation
from dir_redis.sqlite.columns import read_column, read_columns
from dir_redis.sqlite.database import FIRST_PAUSE_SEC, LONGEST_PAUSE_SEC, SqliteDatabase
from dir_redis.sqlite.flow_reservations import (
    HOLDERS,
    View,
    begin_lease,
    check_token,
    forget_the_dead,
    hold,
    join_queue,
    leave_queue,
    look,
    release_flow,
    renew_lease,
    stay_in_queue,
)
from dir_redis.sqlite.reservations import agree_on_scale
from dir_redis.sqlite.storage import SqliteStorage
from dir_redis.told_amounts import ToldAmounts

_HELD = ("dfid", "units", "since_us")
_LEASE = ("until_us", "token")


class SqliteResourceLockStorage(SqliteStorage, LeaseStorage):
    """Quantity reservations in a SQLite file (DIR §6.2).

    Args:
        db_path: the file, or a database that is open already.
        amount_places: decimal places an amount keeps, 0 to 18; the file's first user fixes it.
        limits: the size limits, unless the database is open already.
    """

    def __init__(
        self,
        db_path: str | PathLike[str] | SqliteDatabase,
        *,
        amount_places: int = DEFAULT_PLACES,
        **limits: Unpack[LimitOptions],
    ) -> None:
        self._scale = AmountScale(amount_places)
        self._told = ToldAmounts()
        super().__init__(db_path, **limits)
        try:
            self.init_schema()
        except BaseException:
            self.close()
            raise

    def init_schema(self) -> None:
        """Make the tables; may be called any number of times, by many processes at once."""
        super().init_schema()
        agree_on_scale(self._database, self._scale)

    @checked
    def get_locked_amount(self, resource_id: str, exclude_dfid: str) -> float:
        units = self._glance(exclude_dfid, (resource_id,)).others[resource_id]
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
        try:
            with self._database.transaction(timeout_sec) as connection:
                now = self._database.clock.now()
                forget_the_dead(connection, now)
                view = look(connection.execute, dfid, wanted, now)
                if not admit(
                    self._scale,
                    wanted,
                    others=view.others,
                    declared=view.declared,
                    brought=brought,
                    told=told,
                    overtaking=first_overtaken(wanted, view.held, view.queued) is not None,
                ):
                    return False
                hold(connection, self._scale, dfid, wanted, view.since, now)
        except ResourceContentionError:
            return False
        return True

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
        ticket = None
        try:
            while True:
                asked = time.monotonic()
                left_sec = deadline - asked
                time_is_over = left_sec <= 0
                with self._database.transaction() as connection:
                    now = self._database.clock.now()
                    dead_at = now + dead_after(left_sec)
                    forget_the_dead(connection, now)
                    if ticket is not None and not stay_in_queue(connection, ticket, dead_at):
                        ticket = None
                    view = look(connection.execute, dfid, wanted, now, before=ticket)
                    refusal = self._decide(wanted, brought, view)
                    if refusal is None:
                        until = None if lease_sec is None else now + round(lease_sec * 1_000_000)
                        token = begin_lease(connection, dfid, until, now)
                        hold(connection, self._scale, dfid, wanted, view.since, now)
                    if refusal is None or time_is_over:
                        if ticket is not None:
                            leave_queue(connection, ticket)
                    elif ticket is None:
                        ticket = join_queue(connection, wanted, now, dead_at)
                if refusal is None:
                    ticket = None
                    return Reservation(
                        self,
                        dfid,
                        {rid: self._scale.to_decimal(units) for rid, units in wanted.items()},
                        token,
                        None if until is None else as_datetime(until),
                        lease_sec,
                        leased_at=asked,
                    )
                if time_is_over:
                    ticket = None
                    raise refusal
                self._pause(dfid, wanted, brought, ticket, deadline)
        finally:
            if ticket is not None:
                # If that fails too, the others wait until the ticket seems dead.
                with suppress(StorageError), self._database.transaction() as connection:
                    leave_queue(connection, ticket)

    @checked
    def renew(self, dfid: str, fencing_token: int, lease_sec: float) -> datetime:
        with self._database.transaction() as connection:
            now = self._database.clock.now()
            forget_the_dead(connection, now)
            until = now + round(lease_sec * 1_000_000)
            renew_lease(connection, dfid, fencing_token, until)
        return as_datetime(until)

    @checked
    def settle(
        self,
        dfid: str,
        used: Mapping[str, float | Decimal],
        *,
        fencing_token: int | None = None,
    ) -> None:
        kept = self._scale.batch_to_units("used", used, self._limits.reading)
        with self._database.transaction() as connection:
            now = self._database.clock.now()
            forget_the_dead(connection, now)
            if fencing_token is not None:
                check_token(connection, dfid, fencing_token)
            view = look(connection.execute, dfid, kept, now)
            check_kept(self._scale, kept, view.held)
            hold(connection, self._scale, dfid, kept, view.since, now)

    @checked
    def release(self, dfid: str, *, fencing_token: int | None = None) -> None:
        self._told.take(dfid)
        with self._database.transaction() as connection:
            forget_the_dead(connection, self._database.clock.now())
            if fencing_token is not None:
                check_token(connection, dfid, fencing_token)
            release_flow(connection, dfid)

    @checked
    def holders(self, resource_id: str) -> list[Holder]:
        rows = self._database.read(HOLDERS, resource_id, self._database.clock.now())
        return [self._holder(resource_id, *row) for row in rows]

    @checked
    def set_capacity(self, resource_id: str, capacity: float | Decimal | None) -> None:
        units = None if capacity is None else self._scale.to_units(resource_id, capacity)
        with self._database.transaction() as connection:
            if units is None:
                connection.execute(
                    "DELETE FROM resource_capacities WHERE resource_id = ?", (resource_id,)
                )
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO resource_capacities (resource_id, units) VALUES (?, ?)",
                    (resource_id, units),
                )

    @checked
    def get_capacity(self, resource_id: str) -> Decimal | None:
        rows = self._database.read(
            "SELECT units FROM resource_capacities WHERE resource_id = ?", resource_id
        )
        for (units,) in rows:
            return self._scale.to_decimal(
                read_column("resource_capacities", resource_id, "units", units)
            )
        return None

    def _decide(
        self, wanted: Mapping[str, int], brought: Mapping[str, int], view: View
    ) -> InsufficientCapacityError | ResourceContentionError | None:
        return admit_reservation(
            self._scale,
            wanted,
            held=view.held,
            others=view.others,
            declared=view.declared,
            brought=brought,
            queued=view.queued,
        )

    def _glance(self, dfid: str, resource_ids: tuple[str, ...], before: int | None = None) -> View:
        """Look without a transaction: at each resource at a moment of its own."""
        return look(
            lambda sql, parameters: self._database.read(sql, *parameters),
            dfid,
            resource_ids,
            self._database.clock.now(),
            before,
        )

    def _pause(
        self,
        dfid: str,
        wanted: Mapping[str, int],
        brought: Mapping[str, int],
        ticket: int | None,
        deadline: float,
    ) -> None:
        """Sleep until there seems to be room, or it is time to show that this waiter lives."""
        end = min(deadline, time.monotonic() + LOOK_AGAIN_SEC)
        pause = FIRST_PAUSE_SEC
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, pause * random.uniform(0.5, 1.0)))
            pause = min(pause * 2, LONGEST_PAUSE_SEC)
            view = self._glance(dfid, tuple(wanted), before=ticket)
            try:
                if self._decide(wanted, brought, view) is None:
                    return
            except (InsufficientCapacityError, ValueError):
                return  # waiting has become pointless, which the caller's next look finds too

    def _holder(self, resource_id: str, dfid: Any, *columns: Any) -> Holder:
        units, since, until, token = columns
        dfid, units, since = read_columns(
            "resource_locks", (dfid, resource_id), _HELD, (dfid, units, since)
        )
        until, token = read_columns("reservation_leases", dfid, _LEASE, (until, token))
        return Holder(
            dfid,
            self._scale.to_decimal(units),
            as_datetime(since),
            None if until is None else as_datetime(until),
            token,
        )
