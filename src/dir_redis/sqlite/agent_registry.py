"""Agents in ``agent_registry``, whose rowids are the order of first registration."""

from __future__ import annotations

from typing import Any

from dir_redis.arguments import checked
from dir_redis.protocols import AgentRegistryStorage
from dir_redis.sqlite.columns import json_column, parse_document
from dir_redis.sqlite.storage import SqliteStorage


class SqliteAgentRegistryStorage(SqliteStorage, AgentRegistryStorage):
    """Registered agents in a SQLite file (DIR §2.3)."""

    @checked
    def upsert_agent(
        self,
        agent_id: str,
        contract_json: str,
        priority: int,
        status: str,
        agent_version: str | None,
        session_token: str | None,
    ) -> None:
        record = (
            agent_id,
            json_column(contract_json),
            priority,
            status,
            agent_version,
            session_token,
        )
        with self._database.transaction() as connection:
            connection.execute(
                """
                INSERT INTO agent_registry
                    (agent_id, contract, priority, status, agent_version, session_token)
                VALUES (?, ?, ?, ?, ?, ?)
                ON CONFLICT (agent_id) DO UPDATE SET
                    contract = excluded.contract,
                    priority = excluded.priority,
                    status = excluded.status,
                    agent_version = excluded.agent_version,
                    session_token = excluded.session_token,
                    updated_at = CURRENT_TIMESTAMP
                """,
                record,
            )

    @checked
    def get_agent(self, agent_id: str) -> dict[str, Any] | None:
        rows = self._database.read(
            """
            SELECT CAST(contract AS TEXT), priority, status, agent_version, session_token
            FROM agent_registry WHERE agent_id = ?
            """,
            agent_id,
        )
        for contract, priority, status, agent_version, session_token in rows:
            return {
                "agent_id": agent_id,
                "contract": parse_document("agent_registry", agent_id, contract),
                "priority": priority,
                "status": status,
                "agent_version": agent_version,
                "session_token": session_token,
            }
        return None

    @checked
    def update_status(self, agent_id: str, status: str, suspension_reason: str | None) -> bool:
        with self._database.transaction() as connection:
            updated = connection.execute(
                """
                UPDATE agent_registry
                SET status = ?, suspension_reason = ?, updated_at = CURRENT_TIMESTAMP
                WHERE agent_id = ?
                """,
                (status, suspension_reason, agent_id),
            )
            return updated.rowcount > 0

    @checked
    def get_status(self, agent_id: str) -> tuple[str, str | None] | None:
        rows = self._database.read(
            "SELECT status, suspension_reason FROM agent_registry WHERE agent_id = ?", agent_id
        )
        return rows[0] if rows else None

    def list_active_agents(self) -> list[str]:
        rows = self._database.read(
            "SELECT agent_id FROM agent_registry WHERE status = 'ACTIVE' ORDER BY rowid"
        )
        return [agent_id for (agent_id,) in rows]
