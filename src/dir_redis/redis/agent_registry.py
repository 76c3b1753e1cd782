"""Agents as hashes; two sorted sets keep their order, one of all and one of the active."""

from __future__ import annotations

from typing import Any

from dir_redis.errors import CorruptRecordError
from dir_redis.protocols import AgentRegistryStorage
from dir_redis.redis.replies import as_json, as_optional_text, as_ordered, as_text
from dir_redis.redis.steps import Argument, Call, Command, Steps, operation, ordered_members
from dir_redis.redis.storage import RedisStorage

_FIELDS = ("contract", "priority", "status", "agent_version", "session_token")


class RedisAgentRegistryStorage(RedisStorage, AgentRegistryStorage):
    """Registered agents of a fleet (DIR §2.3)."""

    @operation
    def upsert_agent(
        self,
        agent_id: str,
        contract_json: str,
        priority: int,
        status: str,
        agent_version: str | None,
        session_token: str | None,
    ) -> Steps[None]:
        fields: list[Argument] = ["contract", contract_json, "priority", priority]
        if agent_version is not None:
            fields += ["agent_version", agent_version]
        if session_token is not None:
            fields += ["session_token", session_token]
        keys = self._keys_of(agent_id)
        yield Call("agent_registry_upsert", keys, (agent_id, status, *fields))

    @operation
    def get_agent(self, agent_id: str) -> Steps[dict[str, Any] | None]:
        key = self._keys.agent(agent_id)
        fields = yield Command("HMGET", key, _FIELDS)
        contract, priority, status, version, token = fields
        if not any(fields):
            return None
        if status is None:
            raise CorruptRecordError(key, "it has no status")
        try:
            whole_priority = int(priority)
        except (TypeError, ValueError) as error:
            raise CorruptRecordError(key, "its priority is no integer") from error
        return {
            "agent_id": agent_id,
            "contract": as_json(key, contract),
            "priority": whole_priority,
            "status": as_text(status),
            "agent_version": as_optional_text(version),
            "session_token": as_optional_text(token),
        }

    @operation
    def update_status(
        self, agent_id: str, status: str, suspension_reason: str | None
    ) -> Steps[bool]:
        reason = () if suspension_reason is None else (suspension_reason,)
        keys = self._keys_of(agent_id)
        reply = yield Call("agent_registry_update_status", keys, (agent_id, status, *reason))
        return as_text(reply) == "UPDATED"

    @operation
    def get_status(self, agent_id: str) -> Steps[tuple[str, str | None] | None]:
        key = self._keys.agent(agent_id)
        status, reason = yield Command("HMGET", key, ("status", "suspension_reason"))
        if status is None and reason is not None:
            raise CorruptRecordError(key, "it has no status")
        return None if status is None else (as_text(status), as_optional_text(reason))

    @operation
    def list_active_agents(self) -> Steps[list[str]]:
        keys = self._keys.in_each_partition("agents_active")
        return as_ordered((yield ordered_members(keys)))

    def _keys_of(self, agent_id: str) -> tuple[str, str, str]:
        keys = self._keys
        return keys.agent(agent_id), keys.agents(agent_id), keys.agents_active(agent_id)
