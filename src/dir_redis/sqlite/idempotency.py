"""Results in ``idempotency_cache``."""

from __future__ import annotations

from typing import Any

from dir_redis.arguments import checked
from dir_redis.json_codec import encode_object
from dir_redis.protocols import IdempotencyStorage
from dir_redis.sqlite.columns import parse_object
from dir_redis.sqlite.storage import SqliteStorage


class SqliteIdempotencyStorage(SqliteStorage, IdempotencyStorage):
    """Idempotency results in a SQLite file (DIR §7)."""

    @checked
    def get(self, key: str) -> dict[str, Any] | None:
        rows = self._database.read("SELECT result FROM idempotency_cache WHERE key = ?", key)
        return parse_object("idempotency_cache", key, rows[0][0]) if rows else None

    @checked
    def set(self, key: str, result: dict[str, Any]) -> None:
        encoded = encode_object("result", result)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO idempotency_cache (key, result) VALUES (?, ?)",
                (key, encoded),
            )
