"""dir-core's facade with this package's managers in place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dir_core import models
from dir_core.data_types import ValidationResult
from dir_core.dim import validate_proposal
from dir_core.models import PolicyProposal
from dir_core.runtime import CustomValidator
from dir_core.runtime import DecisionRuntime as CoreDecisionRuntime

from dir_redis.arguments import identifier, string
from dir_redis.kernel.agent_registry import AgentRegistry
from dir_redis.kernel.arguments import callback, like, valid
from dir_redis.kernel.context import ContextStore
from dir_redis.kernel.escalation import EscalationManager
from dir_redis.kernel.storages import limits_of, require


class DecisionRuntime(CoreDecisionRuntime):
    """dir-core's runtime, safe between hosts.

    Args:
        storage_bundle: what :func:`dir_redis.open_storage` returns, or a bundle of storages that
            have the same operations.
        supported_versions: the versions a handshake accepts, such as ``"1.x"``.
        max_escalations_per_hour: tokens per agent and window.
        escalation_refill_interval_sec: the window's length in seconds, up to 30 days.

    Raises:
        TypeError: it is no bundle, or a storage of it lacks an operation.
    """

    def __init__(
        self,
        storage_bundle: Any,
        *,
        supported_versions: str = "1.x",
        max_escalations_per_hour: int = 3,
        escalation_refill_interval_sec: int = 3600,
    ) -> None:
        kinds = ("agent_registry", "context", "escalation", "decision_audit", "idempotency")
        like("storage_bundle", storage_bundle, "StorageBundle", *kinds)
        require("DecisionRuntime", "decision_audit", storage_bundle.decision_audit, "record")
        super().__init__(
            storage_bundle,
            supported_versions=supported_versions,
            max_escalations_per_hour=max_escalations_per_hour,
            escalation_refill_interval_sec=escalation_refill_interval_sec,
        )
        self.registry = AgentRegistry(
            storage=storage_bundle.agent_registry, supported_versions=supported_versions
        )
        self._audit_limits = limits_of(storage_bundle.decision_audit)
        self.context_store = ContextStore(storage=storage_bundle.context)
        self.escalation = EscalationManager(
            storage=storage_bundle.escalation,
            max_escalations_per_hour=max_escalations_per_hour,
            refill_interval_sec=escalation_refill_interval_sec,
        )

    if hasattr(CoreDecisionRuntime, "apply_parameter_amendment"):  # since dir-core 0.4.0

        def apply_parameter_amendment(self, amendment: Any, *, record_audit: bool = True) -> Any:
            """Add an amendment to an agent's contract, and a row of it to the audit log.

            Args:
                amendment: dir-core's ``ContractParameterAmendment``.
                record_audit: whether there is to be a row.

            Returns:
                dir-core's ``AmendmentResult``.

            Raises:
                TypeError: it is no amendment.
                ValueError: a part of it cannot be stored.
                VersionConflictError: others changed the contract at every one of many attempts.
            """
            amendment = valid("amendment", amendment, models.ContractParameterAmendment)
            if amendment.dfid:  # the row comes last: what it would refuse is refused now
                identifier("amendment.dfid", amendment.dfid, self._audit_limits)
            return super().apply_parameter_amendment(amendment, record_audit=bool(record_audit))

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

        Args:
            proposal: what the agent would do.
            raw_web_context: what was known, merged into the flow's session before anything is
                judged: an error that a contract, a validator or the audit log raises leaves it.
            dim_context: what to judge by; None for the working context.
            allowed_agents: the agents that may propose; None for all.
            contract: the contract to judge by; None for the registered one.
            use_registry_contract: whether that one counts.
            retry_governor: counts the rejections; None for nobody.
            custom_validators: called with the proposal, the context and the contract; each returns
                None, or why it refuses.
            now: the time to judge at; None for the present.
            record_audit: whether the judgement becomes a row of the audit log.

        Returns:
            The verdict and its reason.

        Raises:
            TypeError: an argument has another type.
            ValueError: an argument cannot be stored.
        """
        used = ("dfid", "agent_id", "policy_kind", "params", "confidence", "valid_until")
        like("proposal", proposal, "PolicyProposal", *used)
        string("proposal.agent_id", proposal.agent_id)
        string("proposal.policy_kind", proposal.policy_kind)
        raw_web_context = dict(raw_web_context)
        dim_context = None if dim_context is None else dict(dim_context)
        allowed_agents = _names("allowed_agents", allowed_agents)
        if isinstance(contract, Mapping):
            contract = dict(contract)
        elif contract is not None:
            like("contract", contract, "dict or RuntimeContractProjection", "model_dump")
        if retry_governor is not None:
            counts = ("should_abort", "record_rejection")
            like("retry_governor", retry_governor, "IntentRetryGovernor", *counts)
        if custom_validators is not None:
            custom_validators = [
                callback("one of custom_validators", one) for one in custom_validators
            ]
        if now is not None and not isinstance(now, datetime):
            raise TypeError(f"now must be a datetime, not {type(now).__name__}")
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
        dfid = string("proposal.dfid", proposal.dfid)
        self.context_store.update_session(dfid, raw_web_context)
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


def _names(argument: str, names: Any) -> list[str] | None:
    """A list of ids, or None; one id in its place would let in those whose ids are a part of it."""
    if isinstance(names, str | bytes):
        raise TypeError(f"{argument} must be a list of str, not {type(names).__name__}")
    return None if names is None else [string(f"one of {argument}", name) for name in names]
