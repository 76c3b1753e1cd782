"""Capacities and reservations of a SQLite store, as neutral records."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence

from dir_redis.amounts import AmountScale
from dir_redis.errors import NotRepresentableError
from dir_redis.migrate.exact import exact_units
from dir_redis.migrate.records import (
    Capacity,
    Held,
    HeldReservation,
)
from dir_redis.migrate.sqlite_records import by_key_of_two, replace
from dir_redis.migrate.tables import FIRST_KEY, Read, among, by_key
from dir_redis.sqlite.columns import read_columns, read_rows
from dir_redis.sqlite.flow_reservations import SINCE, release_flow

_HELD = ("dfid", "resource_id", "units", "since_us")


class Capacities:
    keys = by_key("resource_capacities", "resource_id")
    beginning = FIRST_KEY

    def __init__(self, scale: AmountScale) -> None:
        self._scale = scale

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, Capacity]:
        rows = read(
            f"SELECT resource_id, units FROM resource_capacities WHERE resource_id {among(keys)}",
            *keys,
        )
        return {
            rid: Capacity(rid, self._scale.to_decimal(units))
            for rid, units in read_rows("resource_capacities", ("resource_id", "units"), rows)
        }

    def put(self, connection: sqlite3.Connection, record: Capacity) -> None:
        rid, amount = record
        units = exact_units(self._scale, f"capacity of {rid!r}", rid, amount)
        replace(connection, "resource_capacities", "resource_id, units", (rid, units))


class Reservations:
    keys = by_key_of_two("dfid", "resource_locks", "reservation_leases")
    beginning = FIRST_KEY

    def __init__(self, scale: AmountScale) -> None:
        self._scale = scale

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, HeldReservation]:
        rows = read(
            f"SELECT dfid, token, until_us FROM reservation_leases WHERE dfid {among(keys)}", *keys
        )
        leases = read_rows("reservation_leases", ("dfid", "token", "until_us"), rows)
        ended = {dfid for dfid, _, until_us in leases if until_us is not None and until_us <= now}
        records = {
            dfid: HeldReservation(dfid, (), token, until_us)
            for dfid, token, until_us in leases
            if dfid not in ended
        }
        held: defaultdict[str, list[Held]] = defaultdict(list)
        for row in read(
            f"""
            SELECT dfid, resource_id, units, {SINCE} FROM resource_locks
            WHERE dfid {among(keys)} AND units > 0 ORDER BY resource_id
            """,
            *keys,
        ):
            dfid, rid, units, since_us = read_columns("resource_locks", row[:2], _HELD, row)
            held[dfid].append(Held(rid, self._scale.to_decimal(units), since_us))
        for dfid, parts in held.items():
            if dfid not in ended:
                empty = records.get(dfid, HeldReservation(dfid, (), 0, None))
                records[dfid] = empty._replace(held=tuple(parts))
        return records

    def put(self, connection: sqlite3.Connection, record: HeldReservation) -> None:
        name = f"reservation of {record.dfid!r}"
        release_flow(connection, record.dfid)
        for rid, amount, since_us in record.held:
            units = exact_units(self._scale, name, rid, amount)
            try:
                replace(
                    connection,
                    "resource_locks",
                    "dfid, resource_id, amount, units, since_us",
                    (record.dfid, rid, self._scale.to_float(units), units, since_us),
                )
            except sqlite3.IntegrityError as error:
                raise NotRepresentableError(name, str(self._scale.overflow(rid))) from error
        if record.token or record.until_us is not None:
            replace(
                connection,
                "reservation_leases",
                "dfid, token, until_us",
                (record.dfid, record.token, record.until_us),
            )
