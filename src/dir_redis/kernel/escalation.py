"""Escalations whose budget no number of hosts overspends."""

from __future__ import annotations

import logging
import math
from typing import Any

from dir_core.data_types import HumanDecision
from dir_core.escalation import EscalationManager as CoreEscalationManager
from dir_core.escalation import EscalationOutcome, ImpactCategory

from dir_redis import records
from dir_redis.arguments import string
from dir_redis.fleet_protocols import EscalationQueueStorage
from dir_redis.kernel.arguments import encoded, like, number
from dir_redis.kernel.storages import chosen_storage
from dir_redis.sqlite import SqliteEscalationStorage

logger = logging.getLogger(__name__)

_NO_LIMIT = 2**53


class EscalationManager(CoreEscalationManager):
    """dir-core's escalation manager, safe between hosts (DIR §9).

    Args:
        db_path: a SQLite file of this package; counts without a storage.
        max_escalations_per_hour: tokens per agent and window; of a fraction the next whole number,
            ``inf`` is no limit, and a negative number is 0.
        refill_interval_sec: the window's length in seconds, from 0.001 to 30 days.
        storage: where budgets and requests are kept.

    Raises:
        TypeError: the storage lacks an atomic operation.
        ValueError: neither a file nor a storage is given.
    """

    def __init__(
        self,
        db_path: str | None = None,
        max_escalations_per_hour: int = 3,
        refill_interval_sec: int = 3600,
        *,
        storage: EscalationQueueStorage | None = None,
    ) -> None:
        chosen = chosen_storage(
            self, "escalation", storage, db_path, SqliteEscalationStorage, "escalate"
        )
        super().__init__(None, max_escalations_per_hour, refill_interval_sec, storage=chosen)

    def request_escalation(
        self,
        dfid: str,
        agent_id: str,
        reason: str,
        context: dict[str, Any],
        proposal: Any,
        impact: ImpactCategory,
    ) -> EscalationOutcome:
        """Spend one of an agent's tokens and put its request before the humans, or neither.

        A repeat of a request that still waits is granted and spends nothing, if all of it is the
        same: of the proposal also ``created_at``. Any other request of the flow, waiting or
        decided, is replaced for a token, as in dir-core.

        Args:
            dfid: the flow that asks.
            agent_id: the agent that asks, whose budget it is.
            reason: why.
            context: what was known.
            proposal: what the agent would do, a ``PolicyProposal``.
            impact: how much is at stake.

        Returns:
            GRANTED or BUDGET_EXHAUSTED.

        Raises:
            TypeError: the proposal is no model, or another argument has another type.
            ValueError: there is no such impact, or an argument cannot be stored.
        """
        most = number("max_escalations_per_hour", self.max_escalations_per_hour)
        agent_id = string("agent_id", agent_id)
        like("proposal", proposal, "PolicyProposal", "model_dump_json")
        asked = self._storage.escalate(
            dfid,
            agent_id,
            reason,
            encoded("context", context, default=str),
            proposal.model_dump_json(),
            ImpactCategory(string("impact", impact)).value,
            limit=math.ceil(max(0, min(most, _NO_LIMIT))),
            window_sec=self.refill_interval_sec,
            replace=True,
        )
        if asked.outcome is records.EscalationOutcome.BUDGET_EXHAUSTED:
            logger.warning(
                "Escalation budget exhausted: agent_id=%s limit=%s; a token in %.0f s",
                agent_id,
                self.max_escalations_per_hour,
                asked.retry_after_sec,
            )
            return EscalationOutcome.BUDGET_EXHAUSTED
        return EscalationOutcome.GRANTED

    def request_from_model(self, escalation: Any) -> EscalationOutcome:
        """Request what an ``EscalationRequest`` of dir-core asks for, see ``request_escalation``.

        Args:
            escalation: the request; of HIGH and CRITICAL severity the impact is HIGH_IMPACT.

        Returns:
            GRANTED or BUDGET_EXHAUSTED.

        Raises:
            TypeError: it is no such request.
            ValueError: a part of it cannot be stored.
        """
        used = ("dfid", "from_agent_id", "trigger", "context", "original_policy", "severity")
        return super().request_from_model(
            like("escalation", escalation, "EscalationRequest", *used)
        )

    def resolve_escalation(
        self, dfid: str, decision: HumanDecision | str, modified_proposal: Any = None
    ) -> None:
        """Record what a human decided; the first decision of a request stands.

        Args:
            dfid: the flow that asked.
            decision: OVERRIDE, MODIFY or ABORT.
            modified_proposal: what is to be done instead, a ``PolicyProposal``; None leaves the
                agent's own.

        Raises:
            TypeError: the modified proposal is no model.
            ValueError: there is no such decision, or an argument cannot be stored.
        """
        if modified_proposal is not None:
            like("modified_proposal", modified_proposal, "PolicyProposal", "model_dump_json")
        super().resolve_escalation(
            dfid, HumanDecision(string("decision", decision)), modified_proposal
        )
