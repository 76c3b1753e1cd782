"""Rejection counts in ``intent_retry``."""

from __future__ import annotations

from dir_redis.arguments import checked
from dir_redis.protocols import IntentRetryStorage
from dir_redis.sqlite.storage import SqliteStorage


class SqliteIntentRetryStorage(SqliteStorage, IntentRetryStorage):
    """Rejection counts in a SQLite file (DIR §6.2)."""

    @checked
    def get_count(self, dfid: str) -> int:
        rows = self._database.read("SELECT rejection_count FROM intent_retry WHERE dfid = ?", dfid)
        return rows[0][0] if rows else 0

    @checked
    def set_count(self, dfid: str, count: int) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO intent_retry (dfid, rejection_count) VALUES (?, ?)",
                (dfid, count),
            )

    @checked
    def delete(self, dfid: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM intent_retry WHERE dfid = ?", (dfid,))
