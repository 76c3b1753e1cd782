"""Dirty marks in ``saga_dirty_state``, whose rowids are the order of the marks."""

from __future__ import annotations

from typing import Any

from dir_redis.arguments import checked
from dir_redis.protocols import SagaStorage
from dir_redis.sqlite.columns import parse_document
from dir_redis.sqlite.storage import SqliteStorage


class SqliteSagaStorage(SqliteStorage, SagaStorage):
    """Flows that wait for compensation, in a SQLite file (DIR §7)."""

    @checked
    def mark_dirty(self, dfid: str, failed_step: str, partial_state_json: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                """
                INSERT OR REPLACE INTO saga_dirty_state (dfid, failed_step, partial_state_json)
                VALUES (?, ?, ?)
                """,
                (dfid, failed_step, partial_state_json),
            )

    def get_dirty_flows(self) -> list[str]:
        rows = self._database.read("SELECT dfid FROM saga_dirty_state ORDER BY rowid")
        return [dfid for (dfid,) in rows]

    @checked
    def get_dirty_state(self, dfid: str) -> dict[str, Any] | None:
        rows = self._database.read(
            "SELECT failed_step, partial_state_json FROM saga_dirty_state WHERE dfid = ?", dfid
        )
        for failed_step, partial_state_json in rows:
            return {
                "failed_step": failed_step,
                "partial_state": parse_document("saga_dirty_state", dfid, partial_state_json),
            }
        return None

    @checked
    def clear_dirty(self, dfid: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM saga_dirty_state WHERE dfid = ?", (dfid,))
