"""dir-core's facade with this package's managers in place."""

from __future__ import annotations

from typing import Any

from dir_core.runtime import DecisionRuntime as CoreDecisionRuntime

from dir_redis.kernel.agent_registry import AgentRegistry
from dir_redis.kernel.context import ContextStore
from dir_redis.kernel.escalation import EscalationManager


class DecisionRuntime(CoreDecisionRuntime):
    """dir-core's runtime, safe between hosts.

    Args:
        storage_bundle: what :func:`dir_redis.open_storage` returns, or a bundle of storages that
            have the same operations.
        supported_versions: the versions a handshake accepts, such as ``"1.x"``.
        max_escalations_per_hour: tokens per agent and window.
        escalation_refill_interval_sec: the window's length in seconds, up to 30 days.

    Raises:
        TypeError: a storage of the bundle lacks an atomic operation.
    """

    def __init__(
        self,
        storage_bundle: Any,
        *,
        supported_versions: str = "1.x",
        max_escalations_per_hour: int = 3,
        escalation_refill_interval_sec: int = 3600,
    ) -> None:
        super().__init__(
            storage_bundle,
            supported_versions=supported_versions,
            max_escalations_per_hour=max_escalations_per_hour,
            escalation_refill_interval_sec=escalation_refill_interval_sec,
        )
        self.registry = AgentRegistry(
            storage=storage_bundle.agent_registry, supported_versions=supported_versions
        )
        self.context_store = ContextStore(storage=storage_bundle.context)
        self.escalation = EscalationManager(
            storage=storage_bundle.escalation,
            max_escalations_per_hour=max_escalations_per_hour,
            refill_interval_sec=escalation_refill_interval_sec,
        )
