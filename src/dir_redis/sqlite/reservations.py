"""The part of the schema that counts reserved amounts in whole units.

``resource_locks.amount`` is a float that dir-core 0.1.0 reads and writes; ``units`` beside it
is what counts. Triggers keep the sum of all units of a resource in ``resource_totals``. They
are plain SQL, so that they run in a process of dir-core 0.1.0 too, which knows nothing of them.
"""

from __future__ import annotations

import sqlite3

from dir_redis.amounts import AmountScale
from dir_redis.errors import (
    CorruptRecordError,
    NamespaceMismatchError,
    StorageConfigurationError,
)
from dir_redis.sqlite.database import SqliteDatabase
from dir_redis.sqlite.schema import add_column

_TABLES = (
    # A sum beyond int64 would silently become a float.
    """CREATE TABLE resource_totals (
        resource_id TEXT PRIMARY KEY,
        units INTEGER NOT NULL CHECK (typeof(units) = 'integer')) WITHOUT ROWID""",
    """CREATE TABLE resource_capacities (
        resource_id TEXT PRIMARY KEY,
        units INTEGER NOT NULL) WITHOUT ROWID""",
)

# No ON CONFLICT in a trigger: the OR REPLACE of the statement that fires it would override it.
_ADD_NEW = """
    INSERT INTO resource_totals SELECT NEW.resource_id, 0
        WHERE NEW.resource_id NOT IN (SELECT resource_id FROM resource_totals);
    UPDATE resource_totals SET units = units + NEW.units WHERE resource_id = NEW.resource_id;
"""
# A row without units, just written by dir-core 0.1.0, is in no total yet.
_SUBTRACT_OLD = """
    UPDATE resource_totals SET units = units - COALESCE(OLD.units, 0)
        WHERE resource_id = OLD.resource_id;
    DELETE FROM resource_totals WHERE resource_id = OLD.resource_id AND units = 0;
"""


def agree_on_scale(database: SqliteDatabase, scale: AmountScale) -> None:
    """Count a file's reservations at a scale; the first to do so fixes it for all.

    Raises:
        NamespaceMismatchError: the file counts at another scale.
        StorageConfigurationError: it holds amounts of dir-core 0.1.0 too large for the scale.
    """

    def make(connection: sqlite3.Connection) -> None:
        _count_in_units(connection, database, scale)

    places = database.settle("amount_places", scale.places, make)
    if places != scale.places:
        raise NamespaceMismatchError(
            f"{database.path} keeps amounts at {places} decimal places, not {scale.places}"
        )


def _count_in_units(
    connection: sqlite3.Connection, database: SqliteDatabase, scale: AmountScale
) -> None:
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'resource_totals'").fetchall():
        raise CorruptRecordError(
            "dir_redis_meta 'amount_places'", "it is gone, and there are totals"
        )
    add_column(connection, "resource_locks", "units INTEGER")
    for statement in (*_TABLES, *_triggers(scale)):
        connection.execute(statement)
    try:
        # The triggers turn this into the totals.
        connection.execute(f"UPDATE resource_locks SET units = {units_of('amount', scale)}")
    except sqlite3.IntegrityError as error:
        raise StorageConfigurationError(
            f"{database.path} holds amounts that 64 bits cannot at {scale.places} decimal places; "
            "open it with fewer"
        ) from error


def _triggers(scale: AmountScale) -> tuple[str, ...]:
    recount = f"""
        UPDATE resource_locks SET units = {units_of("NEW.amount", scale)}
        WHERE dfid = NEW.dfid AND resource_id = NEW.resource_id;
    """
    return (
        # INSERT OR REPLACE fires no delete trigger for the row it replaces, unless a connection
        # asks for recursive triggers; with the row gone beforehand it is all the same.
        """CREATE TRIGGER resource_locks_replace BEFORE INSERT ON resource_locks BEGIN
            DELETE FROM resource_locks
            WHERE dfid = NEW.dfid AND resource_id = NEW.resource_id;
        END""",
        f"""CREATE TRIGGER resource_locks_insert AFTER INSERT ON resource_locks
        WHEN NEW.units IS NOT NULL BEGIN {_ADD_NEW} END""",
        f"""CREATE TRIGGER resource_locks_insert_amount AFTER INSERT ON resource_locks
        WHEN NEW.units IS NULL BEGIN {recount} END""",
        f"""CREATE TRIGGER resource_locks_update AFTER UPDATE OF resource_id, units
        ON resource_locks BEGIN {_SUBTRACT_OLD} {_ADD_NEW} END""",
        f"""CREATE TRIGGER resource_locks_update_amount AFTER UPDATE OF amount
        ON resource_locks BEGIN {recount} END""",
        f"""CREATE TRIGGER resource_locks_delete AFTER DELETE ON resource_locks
        BEGIN {_SUBTRACT_OLD} END""",
    )


def units_of(amount: str, scale: AmountScale) -> str:
    """Return SQL that converts a float as ``AmountScale.to_units`` does, rounding half-even.

    To the unit, but for amounts just between two units, and those of more than 15 digits: SQLite
    writes some floats with a wrong last digit, so that these may be off by one in the last place.

    The shortest of 15 to 17 digits that gives the float is the decimal its writer meant; from
    there on all is integers: digits * 10**shift. A negative amount, which dir-core 0.1.0 lets
    pass, is none, for it must not make room for others; one too large for int64 becomes a
    float, which ``resource_totals`` refuses.

    Args:
        amount: SQL for the float.
        scale: the scale of the units.
    """
    return f"""(
        SELECT CASE
            WHEN amount <= 0 THEN 0
            WHEN amount * 1e{scale.places} >= 9223372036854775807 THEN 1e19
            WHEN shift >= 0 THEN digits * {_ten_to("shift")}
            WHEN shift < -17 THEN 0
            ELSE digits / {_ten_to("-shift")} + (
                2 * (digits % {_ten_to("-shift")}) + digits / {_ten_to("-shift")} % 2
                > {_ten_to("-shift")})
            END
        FROM (
            SELECT amount, CAST(digits AS INTEGER) AS digits,
                exponent + 1 - length(digits) + {scale.places} AS shift
            FROM (
                SELECT amount, replace(substr(text, 1, instr(text, 'e') - 1), '.', '') AS digits,
                    CAST(substr(text, instr(text, 'e') + 1) AS INTEGER) AS exponent
                FROM (
                    SELECT amount, CASE amount
                        WHEN CAST(printf('%!.14e', amount) AS REAL) THEN printf('%!.14e', amount)
                        WHEN CAST(printf('%!.15e', amount) AS REAL) THEN printf('%!.15e', amount)
                        ELSE printf('%!.16e', amount) END AS text
                    FROM (SELECT {amount} AS amount)))))"""


def _ten_to(exponent: str) -> str:
    return f"CAST('1' || substr('000000000000000000', 1, {exponent}) AS INTEGER)"
