"""Agents in a dict, which keeps them in order of first registration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack

from dir_redis.agent_sessions import (
    ACTIVE,
    contract_conflict,
    new_session_token,
    registered_status,
)
from dir_redis.arguments import checked
from dir_redis.clock import as_datetime
from dir_redis.errors import SessionSupersededError
from dir_redis.fleet_protocols import AgentSessionStorage
from dir_redis.limits import LimitOptions
from dir_redis.memory.storage import MemoryStorage, MemoryStore
from dir_redis.records import AgentSession, VersionedDocument


@dataclass(slots=True)
class _Agent:
    contract_json: str
    priority: int
    status: str
    agent_version: str | None
    session_token: str | None
    suspension_reason: str | None = None
    version: int = 1
    stale_at: int | None = None


class MemoryAgentRegistryStorage(MemoryStorage, AgentSessionStorage):
    """Registered agents of one process (DIR §2.3)."""

    def __init__(self, store: MemoryStore | None = None, **limits: Unpack[LimitOptions]) -> None:
        super().__init__(store, **limits)
        self._agents: dict[str, _Agent] = {}

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
        agent = _Agent(contract_json, priority, status, agent_version, session_token)
        with self._lock:
            earlier = self._agents.get(agent_id)
            if earlier is not None:
                agent.suspension_reason = earlier.suspension_reason
                agent.version = earlier.version + 1
                if earlier.session_token == session_token:
                    agent.stale_at = earlier.stale_at
            self._agents[agent_id] = agent

    @checked
    def get_agent(self, agent_id: str) -> dict[str, Any] | None:
        with self._lock:
            agent = self._agents.get(agent_id)
            if agent is None:
                return None
            return {
                "agent_id": agent_id,
                "contract": json.loads(agent.contract_json),
                "priority": agent.priority,
                "status": agent.status,
                "agent_version": agent.agent_version,
                "session_token": agent.session_token,
            }

    @checked
    def update_status(self, agent_id: str, status: str, suspension_reason: str | None) -> bool:
        with self._lock:
            agent = self._agents.get(agent_id)
            if agent is None:
                return False
            agent.status = status
            agent.suspension_reason = suspension_reason
            return True

    @checked
    def get_status(self, agent_id: str) -> tuple[str, str | None] | None:
        with self._lock:
            agent = self._agents.get(agent_id)
            return None if agent is None else (agent.status, agent.suspension_reason)

    def list_active_agents(self) -> list[str]:
        with self._lock:
            return [agent_id for agent_id, agent in self._agents.items() if agent.status == ACTIVE]

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
        with self._lock:
            earlier = self._agents.get(agent_id)
            status, reason = registered_status(
                None if earlier is None else earlier.status,
                None if earlier is None else earlier.suspension_reason,
                keep_suspended=keep_suspended,
            )
            self._agents[agent_id] = _Agent(
                contract_json,
                priority,
                status,
                agent_version,
                token,
                reason,
                version=1 if earlier is None else earlier.version + 1,
                stale_at=None if ttl_sec is None else self._after(ttl_sec),
            )
            return AgentSession(agent_id, token, status, reason)

    @checked
    def heartbeat(self, agent_id: str, session_token: str, ttl_sec: float) -> datetime:
        with self._lock:
            agent = self._agents.get(agent_id)
            if agent is None or not session_token or agent.session_token != session_token:
                raise SessionSupersededError(agent_id)
            agent.stale_at = self._after(ttl_sec)
            return as_datetime(agent.stale_at)

    def list_stale_agents(self) -> list[str]:
        with self._lock:
            now = self._clock.now()
            stale = [
                (agent.stale_at, agent_id)
                for agent_id, agent in self._agents.items()
                if agent.stale_at is not None and agent.stale_at <= now
            ]
        return [agent_id for _, agent_id in sorted(stale)]

    @checked
    def get_contract_versioned(self, agent_id: str) -> VersionedDocument:
        with self._lock:
            agent = self._agents.get(agent_id)
            if agent is None:
                return VersionedDocument(None, 0)
            return VersionedDocument(agent.contract_json, agent.version)

    @checked
    def update_contract(self, agent_id: str, contract_json: str, expected_version: int) -> int:
        with self._lock:
            agent = self._agents.get(agent_id)
            if agent is None or agent.version != expected_version:
                found = 0 if agent is None else agent.version
                raise contract_conflict(agent_id, expected_version, found)
            agent.contract_json = contract_json
            agent.version += 1
            return agent.version

    def _after(self, seconds: float) -> int:
        return self._clock.now() + round(seconds * 1_000_000)
