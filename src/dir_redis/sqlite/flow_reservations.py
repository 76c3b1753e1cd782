"""What flows hold, until when, and who waits: reads and writes within a caller's transaction.

A lease is a row of ``reservation_leases``, which every flow has that ever reserved, until it is
released; who waits has a row of ``reservation_queue`` for each resource. A process may be killed
while it waits, so its rows count for a few seconds only, and it writes them anew meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dir_redis.admission import lease_lost, next_number
from dir_redis.amounts import AmountScale
from dir_redis.arguments import INT64_MAX
from dir_redis.clock import MOMENTS
from dir_redis.sqlite.columns import read_column

# Rows of dir-core 0.1.0 know the second only.
SINCE = "COALESCE(since_us, 1000000 * CAST(strftime('%s', acquired_at) AS INTEGER))"

# What there is to know of a resource for a flow, at a moment and a place in the queue. Leases that
# have run out count as gone, whether or not somebody has removed them.
_LOOK = f"""
    WITH asked (rid, flow, now, place) AS (VALUES (?, ?, ?, ?))
    SELECT
        COALESCE((SELECT units FROM resource_totals WHERE resource_id = rid), 0) - COALESCE((
            SELECT SUM(CAST(units AS INTEGER))
            FROM reservation_leases AS lease CROSS JOIN resource_locks AS lock
            ON lock.dfid = lease.dfid AND resource_id = rid WHERE until_us <= now), 0),
        units,
        {SINCE},
        (SELECT units FROM resource_capacities WHERE resource_id = rid),
        EXISTS (
            SELECT 1 FROM reservation_queue
            WHERE resource_id = rid AND ticket < place AND dead_at_us > now)
    FROM asked LEFT JOIN resource_locks ON dfid = flow AND resource_id = rid
    AND NOT EXISTS (SELECT 1 FROM reservation_leases WHERE dfid = flow AND until_us <= now)
"""

HOLDERS = f"""
    SELECT lock.dfid, units, {SINCE} AS since, until_us, token
    FROM resource_locks AS lock LEFT JOIN reservation_leases AS lease ON lease.dfid = lock.dfid
    WHERE resource_id = ? AND units > 0 AND (until_us IS NULL OR until_us > ?)
    ORDER BY since, lock.dfid
"""

Execute = Callable[[str, tuple[object, ...]], Iterable[Any]]


@dataclass(slots=True)
class View:
    """What a decision looks at, by resource_id; see :func:`dir_redis.admission.admit_reservation`.

    Attributes:
        held: units that the flow holds.
        since: when it got them, microseconds; only of what it holds.
        others: units that all other flows hold.
        declared: capacities, units; only of limited resources.
        queued: the resources for which somebody waits, or did before the caller's ticket.
    """

    held: dict[str, int] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    declared: dict[str, int] = field(default_factory=dict)
    queued: set[str] = field(default_factory=set)


def look(
    execute: Execute, dfid: str, resource_ids: Iterable[str], now: int, before: int | None = None
) -> View:
    """Look at some resources for a flow.

    Args:
        execute: runs a SELECT; that of a transaction, for a view of one moment.
        dfid: the flow.
        resource_ids: the resources.
        now: the store's time, microseconds.
        before: the flow's ticket, if it waits.
    """
    view = View()
    ticket = INT64_MAX if before is None else before
    for rid in resource_ids:
        ((total, own, since, capacity, queued),) = execute(_LOOK, (rid, dfid, now, ticket))
        view.others[rid] = read_column("resource_totals", rid, "units", total)
        if own:
            view.held[rid] = read_column("resource_locks", (dfid, rid), "units", own)
            view.others[rid] -= own
            if since is not None:
                view.since[rid] = read_column("resource_locks", (dfid, rid), "since_us", since)
        if capacity is not None:
            view.declared[rid] = read_column("resource_capacities", rid, "units", capacity)
        if queued:
            view.queued.add(rid)
    return view


def forget_the_dead(connection: sqlite3.Connection, now: int) -> None:
    """Release what has expired and drop who waits no more, as every writer does first."""
    connection.execute(
        """
        DELETE FROM resource_locks
        WHERE dfid IN (SELECT dfid FROM reservation_leases WHERE until_us <= ?)
        """,
        (now,),
    )
    connection.execute("DELETE FROM reservation_leases WHERE until_us <= ?", (now,))
    # Text and bytes, which are no moments, compare greater than all numbers.
    connection.execute(
        f"DELETE FROM reservation_queue WHERE dead_at_us <= ? OR dead_at_us > {MOMENTS[-1]}", (now,)
    )


def hold(
    connection: sqlite3.Connection,
    scale: AmountScale,
    dfid: str,
    amounts: Mapping[str, int],
    since: Mapping[str, int],
    now: int,
) -> None:
    """Set what a flow holds of some resources; what is 0 leaves no trace."""
    for rid, units in amounts.items():
        if units:
            connection.execute(
                """
                INSERT OR REPLACE INTO resource_locks (dfid, resource_id, amount, units, since_us)
                VALUES (?, ?, ?, ?, ?)
                """,
                (dfid, rid, scale.to_float(units), units, since.get(rid, now)),
            )
        else:
            connection.execute(
                "DELETE FROM resource_locks WHERE dfid = ? AND resource_id = ?", (dfid, rid)
            )


def release_flow(connection: sqlite3.Connection, dfid: str) -> None:
    """Release all that a flow holds, whoever reserved it; an unknown flow is fine."""
    connection.execute("DELETE FROM resource_locks WHERE dfid = ?", (dfid,))
    connection.execute("DELETE FROM reservation_leases WHERE dfid = ?", (dfid,))


def begin_lease(connection: sqlite3.Connection, dfid: str, until: int | None, now: int) -> int:
    """Give a flow's reservation a lease, or none, and return its new fencing token."""
    token = _give_number(connection, now)
    connection.execute(
        "INSERT OR REPLACE INTO reservation_leases (dfid, token, until_us) VALUES (?, ?, ?)",
        (dfid, token, until),
    )
    return token


def renew_lease(connection: sqlite3.Connection, dfid: str, token: int, until: int) -> None:
    """Let a lease run to another moment.

    Raises:
        LeaseLostError: the token is not that of the flow's reservation.
    """
    check_token(connection, dfid, token)
    connection.execute("UPDATE reservation_leases SET until_us = ? WHERE dfid = ?", (until, dfid))


def check_token(connection: sqlite3.Connection, dfid: str, token: int) -> None:
    """Refuse a token that is not that of the flow's reservation.

    Raises:
        LeaseLostError: it is not.
    """
    rows = connection.execute("SELECT token FROM reservation_leases WHERE dfid = ?", (dfid,))
    if token not in [read_column("reservation_leases", dfid, "token", given) for (given,) in rows]:
        raise lease_lost(dfid, token)


def join_queue(
    connection: sqlite3.Connection, resource_ids: Iterable[str], now: int, dead_at: int
) -> int:
    """Queue for some resources behind all who do; return the ticket."""
    ticket = _give_number(connection, now)
    connection.executemany(
        "INSERT INTO reservation_queue (resource_id, ticket, dead_at_us) VALUES (?, ?, ?)",
        [(rid, ticket, dead_at) for rid in resource_ids],
    )
    return ticket


def stay_in_queue(connection: sqlite3.Connection, ticket: int, dead_at: int) -> bool:
    """Show that the holder of a ticket lives; False if it was dropped, having seemed dead."""
    updated = connection.execute(
        "UPDATE reservation_queue SET dead_at_us = ? WHERE ticket = ?",
        (dead_at, ticket),
    )
    return updated.rowcount > 0


def leave_queue(connection: sqlite3.Connection, ticket: int) -> None:
    """Wait no more; a ticket that was dropped is fine."""
    connection.execute("DELETE FROM reservation_queue WHERE ticket = ?", (ticket,))


def _give_number(connection: sqlite3.Connection, now: int) -> int:
    select = "SELECT value FROM dir_redis_meta WHERE name = 'reservation_number'"
    rows = connection.execute(select).fetchall()
    last = read_column("dir_redis_meta", "reservation_number", "value", rows[0][0]) if rows else 0
    number = next_number(last, now)
    connection.execute(
        "INSERT OR REPLACE INTO dir_redis_meta (name, value) VALUES ('reservation_number', ?)",
        (number,),
    )
    return number
