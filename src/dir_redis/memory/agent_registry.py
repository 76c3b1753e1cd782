"""Agents in a dict, which keeps them in order of first registration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from dir_redis.arguments import checked
from dir_redis.memory.storage import MemoryStorage
from dir_redis.protocols import AgentRegistryStorage


@dataclass(slots=True)
class _Agent:
    contract_json: str
    priority: int
    status: str
    agent_version: str | None
    session_token: str | None
    suspension_reason: str | None = None


class MemoryAgentRegistryStorage(MemoryStorage, AgentRegistryStorage):
    """Registered agents of one process (DIR §2.3)."""

    def __init__(self) -> None:
        super().__init__()
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
            return [
                agent_id for agent_id, agent in self._agents.items() if agent.status == "ACTIVE"
            ]
