"""Rejection counts in ``intent_retry``."""

from __future__ import annotations

from typing import Any

from dir_redis.arguments import INT64_MAX, checked
from dir_redis.fleet_protocols import RetryLimitStorage
from dir_redis.records import RetryCount
from dir_redis.sqlite.columns import read_column
from dir_redis.sqlite.storage import SqliteStorage

_COUNT = "SELECT rejection_count FROM intent_retry WHERE dfid = ?"


class SqliteIntentRetryStorage(SqliteStorage, RetryLimitStorage):
    """Rejection counts in a SQLite file (DIR §6.2)."""

    @checked
    def get_count(self, dfid: str) -> int:
        return _count(dfid, self._database.read(_COUNT, dfid))

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
            last = _count(dfid, connection.execute(_COUNT, (dfid,)).fetchall())
            count = min(last + 1, INT64_MAX)
            connection.execute(
                "INSERT OR REPLACE INTO intent_retry (dfid, rejection_count) VALUES (?, ?)",
                (dfid, count),
            )
        return RetryCount.of(count, limit)


def _count(dfid: str, rows: list[Any]) -> int:
    return read_column("intent_retry", dfid, "rejection_count", rows[0][0]) if rows else 0
