"""Dirty marks in ``saga_dirty_state``, whose rowids are the order of the marks."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from typing import Any

from dir_redis.arguments import INT64_MAX, checked
from dir_redis.claims import compensation_lost
from dir_redis.clock import as_datetime
from dir_redis.fleet_protocols import SagaClaimStorage
from dir_redis.records import DirtyClaim
from dir_redis.sqlite.columns import parse_document, read_column, read_columns
from dir_redis.sqlite.storage import SqliteStorage

_TABLE = "saga_dirty_state"
_MARK = ("failed_step", "partial_state_json")


class SqliteSagaStorage(SqliteStorage, SagaClaimStorage):
    """Flows that wait for compensation, in a SQLite file (DIR §7).

    A row has an owner while it is claimed; due_us is when it may be claimed, and so the end of the
    lease while it is. dir-core 0.1.0 marks with defaults there: nobody has the flow, it is due.
    """

    @checked
    def mark_dirty(self, dfid: str, failed_step: str, partial_state_json: str) -> None:
        with self._database.transaction() as connection:
            now = self._database.clock.now()
            connection.execute(
                """
                INSERT OR REPLACE INTO saga_dirty_state
                    (dfid, failed_step, partial_state_json, marked_us, due_us, epoch)
                VALUES (?, ?, ?, ?, ?,
                    COALESCE((SELECT epoch FROM saga_dirty_state WHERE dfid = ?), 0))
                """,
                (dfid, failed_step, partial_state_json, now, now, dfid),
            )

    def get_dirty_flows(self) -> list[str]:
        rows = self._database.read("SELECT dfid FROM saga_dirty_state ORDER BY rowid")
        return [read_column(_TABLE, dfid, "dfid", dfid) for (dfid,) in rows]

    @checked
    def get_dirty_state(self, dfid: str) -> dict[str, Any] | None:
        rows = self._database.read(
            "SELECT failed_step, partial_state_json FROM saga_dirty_state WHERE dfid = ?", dfid
        )
        for row in rows:
            failed_step, partial_state_json = read_columns(_TABLE, dfid, _MARK, row)
            return {
                "failed_step": failed_step,
                "partial_state": parse_document(_TABLE, dfid, partial_state_json),
            }
        return None

    @checked
    def claim_dirty(
        self, owner: str, lease_sec: float, dfid: str | None = None
    ) -> DirtyClaim | None:
        with self._database.transaction() as connection:
            now = self._database.clock.now()
            only, named = ("", ()) if dfid is None else ("AND dfid = ?", (dfid,))
            row = connection.execute(
                f"""
                SELECT rowid, dfid, failed_step, partial_state_json, epoch FROM saga_dirty_state
                WHERE (owner IS NULL OR due_us <= ?) {only} ORDER BY due_us, rowid LIMIT 1
                """,
                (now, *named),
            ).fetchone()
            if row is None:
                return None
            rowid, claimed, *mark, last_epoch = row
            # A spoilt mark is found below, with its claim standing: so it keeps no others back.
            known = last_epoch if isinstance(last_epoch, int) and last_epoch < INT64_MAX else 0
            epoch = max(known + 1, _latest_epoch(connection) + 1, now)
            until = now + round(lease_sec * 1_000_000)
            connection.execute(
                "UPDATE saga_dirty_state SET epoch = ?, owner = ?, due_us = ? WHERE rowid = ?",
                (epoch, owner, until, rowid),
            )
            connection.execute(
                "INSERT OR REPLACE INTO dir_redis_meta (name, value) VALUES ('saga_epoch', ?)",
                (epoch,),
            )
        claimed, failed_step, partial_state_json, _ = read_columns(
            _TABLE, claimed, ("dfid", *_MARK, "epoch"), (claimed, *mark, last_epoch)
        )
        partial_state = parse_document(_TABLE, claimed, partial_state_json)
        return DirtyClaim(claimed, epoch, failed_step, partial_state, as_datetime(until))

    @checked
    def renew_dirty(self, dfid: str, epoch: int, lease_sec: float) -> datetime:
        with self._database.transaction() as connection:
            now = self._database.clock.now()
            until = now + round(lease_sec * 1_000_000)
            renewed = connection.execute(
                """
                UPDATE saga_dirty_state SET due_us = ?
                WHERE dfid = ? AND epoch = ? AND owner IS NOT NULL AND due_us > ?
                """,
                (until, dfid, epoch, now),
            )
            _check_claimed(renewed, dfid, epoch)
        return as_datetime(until)

    @checked
    def release_dirty(self, dfid: str, epoch: int) -> None:
        with self._database.transaction() as connection:
            released = connection.execute(
                """
                UPDATE saga_dirty_state SET owner = NULL, due_us = marked_us
                WHERE dfid = ? AND epoch = ? AND owner IS NOT NULL
                """,
                (dfid, epoch),
            )
            _check_claimed(released, dfid, epoch)

    @checked
    def clear_dirty(self, dfid: str, *, epoch: int | None = None) -> None:
        with self._database.transaction() as connection:
            if epoch is None:
                connection.execute("DELETE FROM saga_dirty_state WHERE dfid = ?", (dfid,))
            else:
                cleared = connection.execute(
                    """
                    DELETE FROM saga_dirty_state
                    WHERE dfid = ? AND epoch = ? AND owner IS NOT NULL
                    """,
                    (dfid, epoch),
                )
                _check_claimed(cleared, dfid, epoch)


def _latest_epoch(connection: sqlite3.Connection) -> int:
    """The latest epoch of all, which a flow that was cleared leaves behind."""
    select = "SELECT value FROM dir_redis_meta WHERE name = 'saga_epoch'"
    rows = connection.execute(select).fetchall()
    return read_column("dir_redis_meta", "saga_epoch", "value", rows[0][0]) if rows else 0


def _check_claimed(changed: sqlite3.Cursor, dfid: str, epoch: int) -> None:
    """Refuse what found no row that is claimed under the epoch."""
    if changed.rowcount != 1:
        raise compensation_lost(dfid, epoch)
