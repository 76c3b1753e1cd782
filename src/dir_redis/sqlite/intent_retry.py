"""Rejection counts in ``intent_retry``."""

from __future__ import annotations

from dir_redis.arguments import INT64_MAX, checked
from dir_redis.errors import CorruptRecordError
from dir_redis.fleet_protocols import RetryLimitStorage
from dir_redis.records import RetryCount
from dir_redis.sqlite.storage import SqliteStorage


class SqliteIntentRetryStorage(SqliteStorage, RetryLimitStorage):
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

    @checked
    def increment(self, dfid: str, limit: int | None = None) -> RetryCount:
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT rejection_count FROM intent_retry WHERE dfid = ?", (dfid,)
            ).fetchall()
            last = rows[0][0] if rows else 0
            if not isinstance(last, int):
                raise CorruptRecordError(f"intent_retry {dfid!r}", "its count is no integer")
            count = min(last + 1, INT64_MAX)
            connection.execute(
                "INSERT OR REPLACE INTO intent_retry (dfid, rejection_count) VALUES (?, ?)",
                (dfid, count),
            )
        return RetryCount.of(count, limit)
