"""Agents as hashes; sorted sets keep their order: of all, of the active, and by heartbeat."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dir_redis.agent_sessions import ACTIVE, contract_conflict, new_session_token
from dir_redis.clock import as_datetime
from dir_redis.errors import CorruptRecordError, SessionSupersededError
from dir_redis.fleet_protocols import AgentSessionStorage
from dir_redis.records import AgentSession, VersionedDocument
from dir_redis.redis.replies import (
    as_json,
    as_optional_text,
    as_ordered,
    as_scored,
    as_text,
    as_version,
)
from dir_redis.redis.steps import Argument, Call, Command, Steps, operation, ordered_members
from dir_redis.redis.storage import RedisStorage

_FIELDS = ("contract", "priority", "status", "agent_version", "session_token")


class RedisAgentRegistryStorage(RedisStorage, AgentSessionStorage):
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
        fields = _fields(contract_json, priority, agent_version, session_token)
        keys = (*self._keys_of(agent_id), self._keys.agents_heartbeat(agent_id))
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

    @operation
    def register(
        self,
        agent_id: str,
        contract_json: str,
        priority: int,
        agent_version: str | None = None,
        *,
        keep_suspended: bool = True,
        ttl_sec: float | None = None,
    ) -> Steps[AgentSession]:
        token = new_session_token()
        keep = "keep" if keep_suspended else ""
        ttl = "" if ttl_sec is None else round(ttl_sec * 1_000_000)
        fields = _fields(contract_json, priority, agent_version, token)
        keys = (*self._keys_of(agent_id), self._keys.agents_heartbeat(agent_id))
        reply = yield Call("agent_registry_register", keys, (agent_id, keep, ttl, *fields))
        return AgentSession(agent_id, token, *_kept(as_text(reply)))

    @operation
    def heartbeat(self, agent_id: str, session_token: str, ttl_sec: float) -> Steps[datetime]:
        keys = (self._keys.agent(agent_id), self._keys.agents_heartbeat(agent_id))
        ttl = round(ttl_sec * 1_000_000)
        reply = as_text(
            (yield Call("agent_registry_heartbeat", keys, (agent_id, session_token, ttl)))
        )
        if reply == "SUPERSEDED":
            raise SessionSupersededError(agent_id)
        return as_datetime(int(reply))

    @operation
    def list_stale_agents(self) -> Steps[list[str]]:
        keys = self._keys.in_each_partition("agents_heartbeat")
        return as_scored((yield [Call("agent_registry_stale", (key,)) for key in keys]))

    @operation
    def get_contract_versioned(self, agent_id: str) -> Steps[VersionedDocument]:
        key = self._keys.agent(agent_id)
        fields = yield Command("HMGET", key, ("contract", "version", "status"))
        contract, version, _ = fields
        if not any(fields):
            return VersionedDocument(None, 0)
        if contract is None:
            raise CorruptRecordError(key, "it has no contract")
        # A record of before versions were counted has none.
        return VersionedDocument(
            as_text(contract), 1 if version is None else as_version(key, version)
        )

    @operation
    def update_contract(
        self, agent_id: str, contract_json: str, expected_version: int
    ) -> Steps[int]:
        keys = (self._keys.agent(agent_id), self._keys.agents(agent_id))
        arguments = (agent_id, contract_json, expected_version)
        reply = as_text((yield Call("agent_registry_update_contract", keys, arguments)))
        verdict, _, found = reply.partition(" ")
        if verdict == "CONFLICT":
            raise contract_conflict(agent_id, expected_version, int(found))
        return int(reply)

    def _keys_of(self, agent_id: str) -> tuple[str, str, str]:
        keys = self._keys
        return keys.agent(agent_id), keys.agents(agent_id), keys.agents_active(agent_id)


def _fields(
    contract_json: str, priority: int, agent_version: str | None, session_token: str | None
) -> list[Argument]:
    """Fields and values of a record, without those that are None."""
    fields: list[Argument] = ["contract", contract_json, "priority", priority]
    if agent_version is not None:
        fields += ["agent_version", agent_version]
    if session_token is not None:
        fields += ["session_token", session_token]
    return fields


def _kept(reply: str) -> tuple[str, str | None]:
    """The status and reason in a registration's reply; both are any text."""
    if reply == ACTIVE:
        return ACTIVE, None
    _, length, rest = reply.split(" ", 2)
    kept = rest.encode()
    status, reason = kept[: int(length)].decode(), kept[int(length) :].decode()
    return status, reason[1:] if reason else None
