"""Agents whose suspension a handshake does not undo, and contracts whose amendments add up."""

from __future__ import annotations

import json
import logging
import random
import time
import warnings
from typing import Any

from dir_core import models
from dir_core.agent_registry import AgentRegistry as CoreAgentRegistry
from dir_core.agent_registry import HandshakeResult, _version_compatible
from dir_core.data_types import HandshakeRejectionReason

from dir_redis.agent_sessions import ACTIVE
from dir_redis.arguments import string
from dir_redis.errors import VersionConflictError
from dir_redis.fleet_protocols import AgentSessionStorage
from dir_redis.kernel.arguments import encoded, like, valid
from dir_redis.kernel.storages import chosen_storage
from dir_redis.records import AgentSession
from dir_redis.sqlite import SqliteAgentRegistryStorage

logger = logging.getLogger(__name__)

# Of hosts that amend one contract at once, one succeeds each time.
_ATTEMPTS = 100
_LONGEST_PAUSE_SEC = 0.02


class AgentRegistry(CoreAgentRegistry):
    """dir-core's registry of agents, safe between hosts (DIR §2.3).

    Args:
        db_path: a SQLite file of this package; counts without a storage.
        supported_versions: the versions a handshake accepts, such as ``"1.x"``.
        storage: where the agents are kept.

    Raises:
        TypeError: the storage lacks an atomic operation.
        ValueError: neither a file nor a storage is given.
    """

    def __init__(
        self,
        db_path: str | None = None,
        supported_versions: str = "1.x",
        *,
        storage: AgentSessionStorage | None = None,
    ) -> None:
        needs = ("register", "get_contract_versioned", "update_contract")
        chosen = chosen_storage(
            self, "agent_registry", storage, db_path, SqliteAgentRegistryStorage, *needs
        )
        super().__init__(None, string("supported_versions", supported_versions), storage=chosen)

    def handshake(
        self, agent_id: str, contract: dict[str, Any], agent_version: str, priority: int = 0
    ) -> HandshakeResult:
        """Register an agent of a supported version; one that is not ACTIVE keeps its status.

        A suspended agent is accepted, and stays suspended until ``set_agent_status`` says
        otherwise.

        Args:
            agent_id: the agent.
            contract: its responsibility contract.
            agent_version: its version, checked against ``supported_versions``.
            priority: its priority.

        Returns:
            As dir-core's; the session token is the one that ``heartbeat`` of the storage takes.

        Raises:
            TypeError: the contract is no dict, or holds what JSON does not know.
            ValueError: an argument cannot be stored.
        """
        agent_version = string("agent_version", agent_version)
        if not _version_compatible(agent_version, self.supported_versions):
            return HandshakeResult(
                accepted=False, reason=HandshakeRejectionReason.VERSION_MISMATCH.value
            )
        session = self._register(agent_id, contract, priority, agent_version)
        logger.info("Handshake: agent_id=%s ver=%s accepted", agent_id, agent_version)
        return HandshakeResult(accepted=True, session_token=session.session_token)

    def register_agent(self, agent_id: str, contract: dict[str, Any], priority: int = 0) -> None:
        """Register an agent without a version; deprecated in dir-core in favour of ``handshake``.

        Args:
            agent_id: the agent.
            contract: its responsibility contract.
            priority: its priority.

        Raises:
            TypeError: the contract is no dict, or holds what JSON does not know.
            ValueError: an argument cannot be stored.
        """
        warnings.warn(
            "register_agent is deprecated: handshake() checks the version (DIR §2.3)",
            DeprecationWarning,
            stacklevel=2,
        )
        self._register(agent_id, contract, priority, None)
        logger.info("Registered agent: %s (priority=%d)", agent_id, priority)

    def get_schema(self, agent_id: str, schema_kind: str | None = None) -> Any:
        """Return the schema in an agent's contract, or None.

        Args:
            agent_id: the agent.
            schema_kind: which of the contract's ``schemas``; None for its ``schema``.

        Raises:
            TypeError: the schema_kind is neither a str nor None.
        """
        kind = None if schema_kind is None else string("schema_kind", schema_kind)
        return super().get_schema(agent_id, kind)

    if hasattr(CoreAgentRegistry, "apply_parameter_amendment"):  # since dir-core 0.4.0

        def register_projection(
            self, projection: Any, agent_version: str, priority: int = 0
        ) -> HandshakeResult:
            """Register an agent by its contract's projection, as ``handshake`` does.

            Args:
                projection: dir-core's ``RuntimeContractProjection``.
                agent_version: the agent's version.
                priority: its priority.

            Returns:
                As ``handshake``.

            Raises:
                TypeError: it is no projection.
                ValueError: an argument cannot be stored.
            """
            like("projection", projection, "RuntimeContractProjection", "agent_id", "model_dump")
            return super().register_projection(projection, agent_version, priority)

        def apply_parameter_amendment(self, amendment: Any) -> Any:
            """Add an amendment to an agent's contract, whoever else amends it meanwhile.

            The agent's status and session stay as they are.

            Args:
                amendment: dir-core's ``ContractParameterAmendment``.

            Returns:
                dir-core's ``AmendmentResult``.

            Raises:
                TypeError: it is no amendment.
                ValueError: a part of it cannot be stored, or read again.
                VersionConflictError: others changed the contract at every one of many attempts.
            """
            amendment = valid("amendment", amendment, models.ContractParameterAmendment)
            left = _ATTEMPTS
            while True:
                contract = _ContractAsRead(self._storage, amendment.agent_id)
                result = CoreAgentRegistry(storage=contract).apply_parameter_amendment(amendment)
                try:
                    contract.replace()
                except VersionConflictError:
                    left -= 1
                    if not left:
                        raise
                else:
                    return result
                time.sleep(random.uniform(0, _LONGEST_PAUSE_SEC))

    def _register(
        self, agent_id: str, contract: dict[str, Any], priority: int, agent_version: str | None
    ) -> AgentSession:
        if not isinstance(contract, dict):
            raise TypeError(f"contract must be a dict, not {type(contract).__name__}")
        session: AgentSession = self._storage.register(
            agent_id, encoded("contract", contract), priority, agent_version, keep_suspended=True
        )
        if session.status != ACTIVE:
            logger.warning(
                "Agent %s registered and stays %s (%s)",
                agent_id,
                session.status,
                session.suspension_reason,
            )
        return session


class _ContractAsRead:
    """An agent's contract as it was read, which is replaced only if it is still the same.

    It is the storage on which dir-core's own registry decides about one amendment.
    """

    def __init__(self, storage: AgentSessionStorage, agent_id: str) -> None:
        self._storage = storage
        self._agent_id = agent_id
        self._contract, self._version = storage.get_contract_versioned(agent_id)
        self._amended = False

    def get_agent(self, agent_id: str) -> dict[str, Any] | None:
        if self._contract is None:
            return None
        # What upsert_agent leaves alone need not be known.
        unknown = dict.fromkeys(("priority", "status", "agent_version", "session_token"))
        return {"agent_id": agent_id, "contract": json.loads(self._contract), **unknown}

    def upsert_agent(self, contract_json: str, **_unchanged: Any) -> None:
        # Not stored yet: what dir-core makes of it now, it could not make of it later either.
        self._contract, self._amended = contract_json, True

    def replace(self) -> None:
        """Store the contract, if it was amended."""
        if self._contract is not None and self._amended:
            self._storage.update_contract(self._agent_id, self._contract, self._version)
