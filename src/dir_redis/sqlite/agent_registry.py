"""Agents in ``agent_registry``, whose rowids are the order of first registration."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dir_redis.agent_sessions import contract_conflict, new_session_token, registered_status
from dir_redis.arguments import checked
from dir_redis.clock import as_datetime
from dir_redis.errors import SessionSupersededError
from dir_redis.fleet_protocols import AgentSessionStorage
from dir_redis.records import AgentSession, VersionedDocument
from dir_redis.sqlite.columns import json_column, parse_document, read_column, read_columns
from dir_redis.sqlite.storage import SqliteStorage

_TABLE = "agent_registry"
_AGENT = ("contract", "priority", "status", "agent_version", "session_token")
_STATUS = ("status", "suspension_reason")


class SqliteAgentRegistryStorage(SqliteStorage, AgentSessionStorage):
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
                    contract_version = contract_version + 1,
                    heartbeat_until =
                        CASE WHEN session_token IS excluded.session_token THEN heartbeat_until END,
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
        for row in rows:
            contract, priority, status, agent_version, session_token = read_columns(
                _TABLE, agent_id, _AGENT, row
            )
            return {
                "agent_id": agent_id,
                "contract": parse_document(_TABLE, agent_id, contract),
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
        for row in rows:
            status, reason = read_columns(_TABLE, agent_id, _STATUS, row)
            return status, reason
        return None

    def list_active_agents(self) -> list[str]:
        rows = self._database.read(
            "SELECT agent_id FROM agent_registry WHERE status = 'ACTIVE' ORDER BY rowid"
        )
        return _agent_ids(rows)

    @checked
    def register(
        self,
        agent_id: str,
        contract_json: str,
        priority: int,
        agent_version: str | None = None,
        *,
        keep_suspended: bool = True,
        ttl_sec: float | None = None,
    ) -> AgentSession:
        token = new_session_token()
        with self._database.transaction() as connection:
            earlier = connection.execute(
                "SELECT status, suspension_reason FROM agent_registry WHERE agent_id = ?",
                (agent_id,),
            ).fetchone()
            if earlier is not None:
                earlier = read_columns(_TABLE, agent_id, _STATUS, earlier)
            status, reason = registered_status(
                *(earlier or (None, None)), keep_suspended=keep_suspended
            )
            connection.execute(
                """
                INSERT INTO agent_registry
                    (agent_id, contract, priority, status, suspension_reason, agent_version,
                    session_token, heartbeat_until)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (agent_id) DO UPDATE SET
                    contract = excluded.contract,
                    priority = excluded.priority,
                    status = excluded.status,
                    suspension_reason = excluded.suspension_reason,
                    agent_version = excluded.agent_version,
                    session_token = excluded.session_token,
                    contract_version = contract_version + 1,
                    heartbeat_until = excluded.heartbeat_until,
                    updated_at = CURRENT_TIMESTAMP
                """,
                (
                    *(agent_id, json_column(contract_json), priority, status, reason),
                    *(agent_version, token, None if ttl_sec is None else self._after(ttl_sec)),
                ),
            )
        return AgentSession(agent_id, token, status, reason)

    @checked
    def heartbeat(self, agent_id: str, session_token: str, ttl_sec: float) -> datetime:
        with self._database.transaction() as connection:
            stale_at = self._after(ttl_sec)
            updated = connection.execute(
                """
                UPDATE agent_registry SET heartbeat_until = ?
                WHERE agent_id = ? AND session_token = ? AND session_token <> ''
                """,
                (stale_at, agent_id, session_token),
            )
            if updated.rowcount == 0:
                raise SessionSupersededError(agent_id)
        return as_datetime(stale_at)

    def list_stale_agents(self) -> list[str]:
        rows = self._database.read(
            """
            SELECT agent_id FROM agent_registry WHERE heartbeat_until <= ?
            ORDER BY heartbeat_until, agent_id
            """,
            self._database.clock.now(),
        )
        return _agent_ids(rows)

    @checked
    def get_contract_versioned(self, agent_id: str) -> VersionedDocument:
        rows = self._database.read(
            """
            SELECT CAST(contract AS TEXT), contract_version FROM agent_registry WHERE agent_id = ?
            """,
            agent_id,
        )
        for row in rows:
            contract, version = read_columns(
                _TABLE, agent_id, ("contract", "contract_version"), row
            )
            return VersionedDocument(contract or "{}", version)  # dir-core 0.1.0 may leave it empty
        return VersionedDocument(None, 0)

    @checked
    def update_contract(self, agent_id: str, contract_json: str, expected_version: int) -> int:
        with self._database.transaction() as connection:
            found = connection.execute(
                "SELECT contract_version FROM agent_registry WHERE agent_id = ?", (agent_id,)
            ).fetchone()
            version = 0
            if found is not None:
                version = read_column(_TABLE, agent_id, "contract_version", *found)
            if version != expected_version or found is None:
                raise contract_conflict(agent_id, expected_version, version)
            connection.execute(
                """
                UPDATE agent_registry
                SET contract = ?, contract_version = contract_version + 1,
                    updated_at = CURRENT_TIMESTAMP
                WHERE agent_id = ?
                """,
                (json_column(contract_json), agent_id),
            )
        return expected_version + 1

    def _after(self, seconds: float) -> int:
        return self._database.clock.now() + round(seconds * 1_000_000)


def _agent_ids(rows: list[Any]) -> list[str]:
    return [read_column(_TABLE, agent_id, "agent_id", agent_id) for (agent_id,) in rows]
