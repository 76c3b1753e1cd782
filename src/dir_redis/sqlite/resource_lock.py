"""Reservations in ``resource_locks``, decided by the totals that ``reservations.py`` keeps."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from decimal import Decimal
from os import PathLike

from dir_redis.amounts import DEFAULT_PLACES, AmountScale, admit
from dir_redis.arguments import checked
from dir_redis.errors import ResourceContentionError
from dir_redis.protocols import CapacityStorage
from dir_redis.sqlite.database import SqliteDatabase
from dir_redis.sqlite.reservations import agree_on_scale
from dir_redis.sqlite.storage import SqliteStorage
from dir_redis.told_amounts import ToldAmounts

_OTHERS = """
    SELECT COALESCE((SELECT units FROM resource_totals WHERE resource_id = ?), 0)
        - COALESCE((SELECT units FROM resource_locks WHERE resource_id = ? AND dfid = ?), 0)
"""
_CAPACITY = "SELECT units FROM resource_capacities WHERE resource_id = ?"


class SqliteResourceLockStorage(SqliteStorage, CapacityStorage):
    """Quantity reservations in a SQLite file (DIR §6.2).

    Args:
        db_path: the file, or a database that is open already.
        amount_places: decimal places an amount keeps, 0 to 18; the file's first user fixes it.
    """

    def __init__(
        self,
        db_path: str | PathLike[str] | SqliteDatabase,
        *,
        amount_places: int = DEFAULT_PLACES,
    ) -> None:
        self._scale = AmountScale(amount_places)
        self._told = ToldAmounts()
        super().__init__(db_path)
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
        ((units,),) = self._database.read(_OTHERS, resource_id, resource_id, exclude_dfid)
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
        try:
            with self._database.transaction(timeout_sec) as connection:
                others, declared = {}, {}
                for rid in wanted:
                    ((others[rid],),) = connection.execute(_OTHERS, (rid, rid, dfid))
                    for (capacity,) in connection.execute(_CAPACITY, (rid,)):
                        declared[rid] = capacity
                if not admit(
                    self._scale,
                    wanted,
                    others=others,
                    declared=declared,
                    brought=brought,
                    told=told,
                ):
                    return False
                for rid, units in wanted.items():
                    self._hold(connection, dfid, rid, units)
        except ResourceContentionError:
            return False
        return True

    @checked
    def release(self, dfid: str) -> None:
        self._told.take(dfid)
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM resource_locks WHERE dfid = ?", (dfid,))

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
        rows = self._database.read(_CAPACITY, resource_id)
        return self._scale.to_decimal(rows[0][0]) if rows else None

    def _hold(
        self, connection: sqlite3.Connection, dfid: str, resource_id: str, units: int
    ) -> None:
        """Set what a flow holds of a resource; what is 0 leaves no trace."""
        if units:
            connection.execute(
                """
                INSERT OR REPLACE INTO resource_locks (dfid, resource_id, amount, units)
                VALUES (?, ?, ?, ?)
                """,
                (dfid, resource_id, self._scale.to_float(units), units),
            )
        else:
            connection.execute(
                "DELETE FROM resource_locks WHERE dfid = ? AND resource_id = ?",
                (dfid, resource_id),
            )
