"""Sessions in ``context_session`` by dfid, states in ``context_state`` by agent_id."""

from __future__ import annotations

from dir_redis.arguments import checked
from dir_redis.protocols import ContextStorage
from dir_redis.sqlite.columns import json_column
from dir_redis.sqlite.storage import SqliteStorage


class SqliteContextStorage(SqliteStorage, ContextStorage):
    """Session context and agent state in a SQLite file (DIR §8)."""

    @checked
    def get_session(self, dfid: str) -> str | None:
        rows = self._database.read(
            "SELECT CAST(data AS TEXT) FROM context_session WHERE dfid = ?", dfid
        )
        return rows[0][0] if rows else None

    @checked
    def set_session(self, dfid: str, data_json: str, *, agent_id: str | None = None) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                """
                INSERT INTO context_session (dfid, data, agent_id) VALUES (?, ?, ?)
                ON CONFLICT (dfid) DO UPDATE SET
                    data = excluded.data,
                    agent_id = COALESCE(excluded.agent_id, agent_id),
                    updated_at = CURRENT_TIMESTAMP
                """,
                (dfid, json_column(data_json), agent_id),
            )

    @checked
    def get_state(self, agent_id: str) -> str | None:
        rows = self._database.read(
            "SELECT CAST(data AS TEXT) FROM context_state WHERE agent_id = ?", agent_id
        )
        return rows[0][0] if rows else None

    @checked
    def set_state(self, agent_id: str, data_json: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                """
                INSERT INTO context_state (agent_id, data) VALUES (?, ?)
                ON CONFLICT (agent_id) DO UPDATE SET
                    data = excluded.data,
                    version = version + 1,
                    updated_at = CURRENT_TIMESTAMP
                """,
                (agent_id, json_column(data_json)),
            )
