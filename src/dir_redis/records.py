"""The small records that fleet-safe operations return."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple


class RetryCount(NamedTuple):
    """What ``increment`` counted.

    Attributes:
        count: the flow's count, this rejection included.
        exhausted: whether the count has reached the limit; False without a limit.
    """

    count: int  # type: ignore[assignment]  # hides tuple.count
    exhausted: bool

    @classmethod
    def of(cls, count: int, limit: int | None) -> RetryCount:
        """Compare a count with its limit."""
        return cls(count, limit is not None and count >= limit)


class VersionedDocument(NamedTuple):
    """A document and the version to expect when replacing it.

    Attributes:
        data_json: the document's JSON text; None if there is none.
        version: counts the writes; 0 if there is no document.
    """

    data_json: str | None
    version: int


class AgentSession(NamedTuple):
    """What ``register`` began.

    Attributes:
        agent_id: the agent.
        session_token: proves to ``heartbeat`` that this is the latest registration.
        status: the status the agent has now; not ACTIVE if an earlier one was kept.
        suspension_reason: the reason that was kept with it, or None.
    """

    agent_id: str
    session_token: str
    status: str
    suspension_reason: str | None


class DirtyClaim(NamedTuple):
    """A partially done flow, claimed for compensation.

    Attributes:
        dfid: the flow.
        epoch: the claim's fencing token; a later claim of the flow has a larger one.
        failed_step: the step that failed.
        partial_state: what was done before it, parsed.
        expires_at: when the claim comes free, UTC, by the store's clock.
    """

    dfid: str
    epoch: int
    failed_step: str
    partial_state: Any
    expires_at: datetime


class EscalationOutcome(StrEnum):
    """What ``escalate`` did."""

    GRANTED = "GRANTED"
    """A token was spent, and the request waits for a human."""
    REPEATED = "REPEATED"
    """The flow has a request already, which stays; nothing was changed or spent."""
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    """The agent's budget is spent; nothing was stored."""


class Escalation(NamedTuple):
    """What ``escalate`` did, and how it stands with the budget.

    Attributes:
        outcome: see :class:`EscalationOutcome`.
        remaining: how many tokens the agent has left in the window.
        retry_after_sec: seconds until the budget has a token again; 0.0 if it has one now.
    """

    outcome: EscalationOutcome
    remaining: int
    retry_after_sec: float


class ChainBreak(NamedTuple):
    """Where a chain of records is broken first.

    Attributes:
        record: the key, or table and id, of the record; where it is missing, where it should be.
        number: its place in the chain of its partition, from 1.
        dfid: the flow it belongs to, if that is still known.
        problem: ``"missing"``, or what is wrong with it.
    """

    record: str
    number: int
    dfid: str | None
    problem: str


class ChainReport(NamedTuple):
    """What walking a chain of records found.

    Attributes:
        verified: how many records the chain holds, up to the break if there is one.
        unchained: how many records belong to no chain, since they were written without.
        anchor: where the chain ends. Kept outside the store it tells later whether anybody wrote
            the chain anew: hand it to the next verification.
        broken_at: the first break; None if there is none.
    """

    verified: int
    unchained: int
    anchor: str
    broken_at: ChainBreak | None

    @property
    def intact(self) -> bool:
        """Whether nothing was changed and nothing is missing."""
        return self.broken_at is None
