"""dir-core's facade with this package's managers in place."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from dir_core.data_types import ValidationResult
from dir_core.dim import validate_proposal
from dir_core.models import PolicyProposal
from dir_core.runtime import CustomValidator
from dir_core.runtime import DecisionRuntime as CoreDecisionRuntime

from dir_redis.arguments import identifier
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

    def evaluate_proposal(
        self,
        proposal: PolicyProposal,
        raw_web_context: dict[str, Any],
        *,
        dim_context: dict[str, Any] | None = None,
        allowed_agents: list[str] | None = None,
        contract: dict[str, Any] | None = None,
        use_registry_contract: bool = True,
        retry_governor: Any = None,
        custom_validators: list[CustomValidator] | None = None,
        now: datetime | None = None,
        record_audit: bool = True,
    ) -> ValidationResult:
        """Judge a proposal as dir-core does (DIR §6), also one without an agent.

        That one is rejected; its context and its row are kept with the flow, under no agent.

        Raises:
            ValueError: the dfid is empty.
        """
        if proposal.agent_id:
            return super().evaluate_proposal(
                proposal,
                raw_web_context,
                dim_context=dim_context,
                allowed_agents=allowed_agents,
                contract=contract,
                use_registry_contract=use_registry_contract,
                retry_governor=retry_governor,
                custom_validators=custom_validators,
                now=now,
                record_audit=record_audit,
            )
        dfid = identifier("dfid", proposal.dfid)
        self.context_store.update_session(dfid, dict(raw_web_context))
        verdict, reason = validate_proposal(proposal, {}, retry_governor=retry_governor)
        if record_audit:
            details = {
                "agent_id": "",
                "policy_kind": proposal.policy_kind,
                "reason": str(reason),
                "verdict": str(verdict),
                "confidence": proposal.confidence,
            }
            self.audit.record(dfid, "PROPOSAL_REJECT", details=details)
        return verdict, reason
