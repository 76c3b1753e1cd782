"""The storage contract: nine Protocols, their optional extensions, and AuditStore.

Every backend behaves as these docstrings say. What holds for all of them:

- ids (``dfid``, ``agent_id``, ``resource_id``, ``key``) are non-empty strings of up to 1,024
  bytes in UTF-8; an empty or longer one is a ValueError, what is no str a TypeError;
- a document is up to 16 MiB of JSON text, and other text up to 1 MiB; more is a ValueError
  (:mod:`dir_redis.limits` says how a store is opened with other limits);
- ``*_json`` arguments are strings that ``json.loads`` takes; where the field is returned
  parsed, ``""`` and None count as ``{}``; anything else is a ValueError, with nothing stored;
- what is returned is the caller's own copy;
- a write is whole or not at all, and its timestamps are UTC from the store's own clock;
- every method raises :class:`~dir_redis.StorageError` when the store fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

from dir_redis.arguments import identifier
from dir_redis.limits import DEFAULT_LIMITS


@runtime_checkable
class AgentRegistryStorage(Protocol):
    """Registered agents, their contracts and their status (DIR §2.3)."""

    def init_schema(self) -> None:
        """Make what the storage needs; may be called any number of times, by many at once."""
        ...

    def upsert_agent(
        self,
        agent_id: str,
        contract_json: str,
        priority: int,
        status: str,
        agent_version: str | None,
        session_token: str | None,
    ) -> None:
        """Insert an agent or replace its record; a stored suspension reason survives.

        Args:
            agent_id: the agent.
            contract_json: its responsibility contract, a JSON document.
            priority: an int of 64 bits.
            status: any string; upstream uses ACTIVE, SUSPENDED, DEGRADED, ESCALATION_ONLY and
                RETIRED.
            agent_version: any string, or None.
            session_token: any string, or None.
        """
        ...

    def get_agent(self, agent_id: str) -> dict[str, Any] | None:
        """Return an agent's record, or None if it was never registered.

        Returns:
            A dict of exactly ``agent_id, contract`` (parsed)``, priority, status,
            agent_version, session_token``.
        """
        ...

    def update_status(self, agent_id: str, status: str, suspension_reason: str | None) -> bool:
        """Set an agent's status and suspension reason together.

        Args:
            agent_id: the agent.
            status: any string.
            suspension_reason: any string; None removes a stored one.

        Returns:
            True if the agent exists; False, with nothing stored, if not.
        """
        ...

    def get_status(self, agent_id: str) -> tuple[str, str | None] | None:
        """Return ``(status, suspension_reason)``, or None if the agent is unknown."""
        ...

    def list_active_agents(self) -> list[str]:
        """Return the agents whose status is ``"ACTIVE"``, in order of first registration."""
        ...


@runtime_checkable
class ContextStorage(Protocol):
    """Session context per flow and state per agent, as the caller's own JSON text (DIR §8)."""

    def init_schema(self) -> None:
        """Make what the storage needs; may be called any number of times, by many at once."""
        ...

    def get_session(self, dfid: str) -> str | None:
        """Return a flow's session exactly as it was set, or None."""
        ...

    def set_session(self, dfid: str, data_json: str, *, agent_id: str | None = None) -> None:
        """Store a flow's session, replacing an earlier one.

        Args:
            dfid: the flow.
            data_json: JSON text; comes back to the byte.
            agent_id: the agent the flow belongs to; None leaves a stored one.
        """
        ...

    def get_state(self, agent_id: str) -> str | None:
        """Return an agent's state exactly as it was set, or None."""
        ...

    def set_state(self, agent_id: str, data_json: str) -> None:
        """Store an agent's state, replacing an earlier one.

        Args:
            agent_id: the agent.
            data_json: JSON text; comes back to the byte.
        """
        ...


@runtime_checkable
class IdempotencyStorage(Protocol):
    """Results of steps that must run once, by idempotency key (DIR §7)."""

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the JSON round trip of the result set under key, or None."""
        ...

    def set(self, key: str, result: Any) -> None:
        """Store a result, replacing an earlier one.

        Args:
            key: the idempotency key.
            result: a dict, or any other JSON value, which dir-core's IdempotencyGuard hands over
                as well; stored as :func:`~dir_redis.dumps_json_dict` encodes it.

        Raises:
            TypeError: the result has keys that JSON objects cannot have.
        """
        ...


@runtime_checkable
class DecisionAuditStorage(Protocol):
    """An append-only log of what happened in every flow."""

    def init_schema(self) -> None:
        """Make what the storage needs; may be called any number of times, by many at once."""
        ...

    def record(
        self,
        dfid: str,
        event: str,
        *,
        step_id: str = "",
        state: str = "",
        details: dict[str, Any] | None = None,
        root_dfid: str | None = None,
        agent_id: str | None = None,
        severity: str = "INFO",
    ) -> None:
        """Append one row; nothing ever changes or reorders rows.

        Args:
            dfid: the flow the row belongs to.
            event: what happened; any string.
            step_id: the step of the flow; any string.
            state: the flow's state; any string.
            details: a dict, stored as :func:`~dir_redis.dumps_json_dict` encodes it.
            root_dfid: the flow this one descends from; the flow itself by default.
            agent_id: the agent that acted.
            severity: DEBUG, INFO, WARNING, ERROR or CRITICAL; anything else becomes INFO.
        """
        ...

    def events_for_dfid(self, dfid: str) -> list[dict[str, Any]]:
        """Return a flow's rows in order of insertion.

        Returns:
            Dicts of ``dfid, root_dfid, event, event_type`` (the event)``, timestamp``
            (``2026-11-23T16:00:00.123456Z``)``, created_at`` (the timestamp)``, step_id,
            state, details`` (a dict) and ``severity``.
        """
        ...

    def all_events_chronological(self) -> list[dict[str, Any]]:
        """Return the rows of all flows in order of insertion, as ``events_for_dfid`` does."""
        ...


class VerifiedIntent(Protocol):
    """What a ledger takes of a proof-carrying intent; dir-core's ProofCarryingIntent has it all."""

    @property
    def dfid(self) -> str: ...
    @property
    def intent_payload(self) -> Mapping[str, Any]: ...
    @property
    def context_ref(self) -> str: ...
    @property
    def evidence_hash(self) -> str: ...
    @property
    def signature(self) -> str | None: ...


@runtime_checkable
class DecisionLedgerStorage(Protocol):
    """An append-only ledger of verified decisions, one entry per flow (DIR Topology C)."""

    def init_schema(self) -> None:
        """Make what the storage needs; may be called any number of times, by many at once."""
        ...

    def append(self, pci: VerifiedIntent, *, agent_id: str, root_dfid: str | None = None) -> None:
        """Append a flow's verified intent; the same once more changes nothing.

        Args:
            pci: the proof-carrying intent: an object with ``dfid``, ``intent_payload`` (a dict,
                stored as :func:`~dir_redis.dumps_json_dict` encodes it), ``context_ref``,
                ``evidence_hash`` and ``signature`` (None counts as ``""``).
            agent_id: the agent that decided.
            root_dfid: the flow this one descends from; the flow itself by default.

        Raises:
            LedgerConflictError: the flow has an entry that differs; nothing was stored.
        """
        ...

    def get_by_dfid(self, dfid: str) -> dict[str, Any] | None:
        """Return a flow's entry, or None.

        Returns:
            A dict of ``dfid, root_dfid, agent_id, intent_payload`` (a dict)``, context_ref,
            evidence_hash, signature`` and ``committed_at`` (``2026-11-23T16:00:00.123456Z``).
        """
        ...

    def entries_for_dfid(self, dfid: str) -> list[dict[str, Any]]:
        """Return a flow's entry in a list, which is empty if there is none."""
        ...

    def all_entries_chronological(self) -> list[dict[str, Any]]:
        """Return the entries of all flows in order of insertion, as ``get_by_dfid`` does."""
        ...


@runtime_checkable
class SagaStorage(Protocol):
    """Flows that failed half-way and wait for compensation (DIR §7)."""

    def init_schema(self) -> None:
        """Make what the storage needs; may be called any number of times, by many at once."""
        ...

    def mark_dirty(self, dfid: str, failed_step: str, partial_state_json: str) -> None:
        """Mark a flow as partially done; replaces an earlier mark, and counts as a new one.

        Args:
            dfid: the flow.
            failed_step: the step that failed; any string.
            partial_state_json: what was done before it, a JSON document.
        """
        ...

    def get_dirty_flows(self) -> list[str]:
        """Return the marked flows, oldest mark first."""
        ...

    def get_dirty_state(self, dfid: str) -> dict[str, Any] | None:
        """Return ``{"failed_step", "partial_state"}`` with the state parsed, or None."""
        ...

    def clear_dirty(self, dfid: str) -> None:
        """Remove a flow's mark; an unknown flow is fine."""
        ...


@runtime_checkable
class ResourceLockStorage(Protocol):
    """Quantity reservations: a flow holds an amount of each of several resources (DIR §6.2)."""

    def init_schema(self) -> None:
        """Make what the storage needs; may be called any number of times, by many at once."""
        ...

    def get_locked_amount(self, resource_id: str, exclude_dfid: str) -> float:
        """Return the sum of what all flows but one hold of a resource.

        Args:
            resource_id: the resource.
            exclude_dfid: the flow that is left out of the sum.

        Returns:
            The float nearest to the exact sum; 0.0 when nothing is held. The store remembers
            it for this caller (thread and task) until the flow acquires or releases.
        """
        ...

    def acquire_batch(self, dfid: str, resources: dict[str, float], timeout_sec: float) -> bool:
        """Reserve all of a flow's amounts, or none of them.

        Acquiring a resource again replaces that amount; what else the flow holds stays held.

        Args:
            dfid: the flow.
            resources: amounts by resource_id: finite, 0 or more, exact to 8 decimal places
                (more digits are rounded half-even); float, int or Decimal.
            timeout_sec: how long to wait for write access; 0 tries once.

        Returns:
            True when reserved. False when write access could not be had in time, or when
            others' holdings of a resource have grown since this caller was told of them by
            ``get_locked_amount``: look again.

        Raises:
            InsufficientCapacityError: a resource's capacity is known and does not suffice.
            ValueError: an amount is NaN, infinite, negative, no number or too large.
        """
        ...

    def release(self, dfid: str) -> None:
        """Release all that a flow holds; an unknown flow is fine."""
        ...


@runtime_checkable
class CapacityStorage(ResourceLockStorage, Protocol):
    """Reservations checked against capacities in the step that writes them."""

    def acquire_batch(
        self,
        dfid: str,
        resources: Mapping[str, float | Decimal],
        timeout_sec: float,
        *,
        capacities: Mapping[str, float | Decimal] | None = None,
    ) -> bool:
        """Reserve all of a flow's amounts within their capacities, or none of them.

        As :meth:`ResourceLockStorage.acquire_batch`, and:

        Args:
            dfid: the flow.
            resources: amounts by resource_id.
            timeout_sec: how long to wait for write access; 0 tries once.
            capacities: capacities by resource_id that count for this call, for callers that
                compute them; where one is declared too, the lower counts.
        """
        ...

    def set_capacity(self, resource_id: str, capacity: float | Decimal | None) -> None:
        """Declare how much of a resource there is in all.

        Args:
            resource_id: the resource.
            capacity: the amount, as in ``acquire_batch``; None makes it unlimited again. What
                is held already stays held, also above a lowered capacity.
        """
        ...

    def get_capacity(self, resource_id: str) -> Decimal | None:
        """Return a resource's declared capacity, exactly, or None if it is unlimited."""
        ...


@runtime_checkable
class IntentRetryStorage(Protocol):
    """How often each flow's intents were rejected (DIR §6.2)."""

    def get_count(self, dfid: str) -> int:
        """Return a flow's count, 0 if it has none."""
        ...

    def set_count(self, dfid: str, count: int) -> None:
        """Store a flow's count.

        Args:
            dfid: the flow.
            count: 0 or more.
        """
        ...

    def delete(self, dfid: str) -> None:
        """Forget a flow's count; an unknown flow is fine."""
        ...


@runtime_checkable
class EscalationStorage(Protocol):
    """Requests to humans, and the budget that keeps them few (DIR §9)."""

    def init_schema(self) -> None:
        """Make what the storage needs; may be called any number of times, by many at once."""
        ...

    def get_window_count(self, agent_id: str, since_str: str) -> int:
        """Count the budget tokens an agent spent at or after a moment.

        Args:
            agent_id: the agent.
            since_str: ``YYYY-MM-DD HH:MM:SS``, or ISO 8601 with ``T``, fractions, ``Z`` or an
                offset; UTC unless it names a zone.

        Raises:
            ValueError: ``since_str`` is anything else.
        """
        ...

    def record_budget_token(self, agent_id: str) -> None:
        """Record that an agent spent one token, now."""
        ...

    def insert_request(
        self,
        dfid: str,
        agent_id: str,
        reason: str,
        context_json: str,
        proposal_json: str,
        impact: str,
    ) -> None:
        """Put a request before the humans; replaces an earlier one of the flow.

        Args:
            dfid: the flow that asks.
            agent_id: the agent that asks.
            reason: why; any string.
            context_json: what was known, a JSON document.
            proposal_json: what the agent would do, a JSON document.
            impact: how much is at stake; any string.
        """
        ...

    def resolve_request(
        self, dfid: str, resolved_at: str, decision: str, proposal_json: str | None
    ) -> None:
        """Store the human's decision on a pending request.

        The first decision stands: resolving again changes nothing, nor does an unknown dfid.

        Args:
            dfid: the flow that asked.
            resolved_at: when the human decided; any string.
            decision: any string.
            proposal_json: a JSON document that replaces the proposal; None keeps it.
        """
        ...

    def get_pending_requests(self) -> list[dict[str, Any]]:
        """Return the undecided requests, oldest first.

        Returns:
            Dicts of ``dfid, agent_id, reason, context`` (parsed)``, proposal`` (parsed) and
            ``impact``.
        """
        ...


@runtime_checkable
class LifecycleStorage(Protocol):
    """An append-only log of every flow's status changes (DIR §4.3)."""

    def record_transition(
        self, dfid: str, from_status: str, to_status: str, *, root_dfid: str | None = None
    ) -> None:
        """Append one transition.

        Args:
            dfid: the flow.
            from_status: any string; upstream uses CREATED, ACTIVE, VALIDATING, ACCEPTED,
                ABORTED, ESCALATED, EXECUTING, CLOSED, PARTIAL_SUCCESS_DIRTY and
                MAINTENANCE_MODE.
            to_status: any string.
            root_dfid: the flow this one descends from; the flow itself by default.
        """
        ...

    def get_transitions(self, dfid: str | None = None) -> list[dict[str, Any]]:
        """Return a flow's transitions, or with None those of all flows, in order.

        Returns:
            Dicts of ``dfid, root_dfid, from_status, to_status, created_at``.
        """
        ...


class AuditStore:
    """The audit log and the idempotency cache behind one handle (DIR §7).

    Args:
        decision_audit: where rows are recorded.
        idempotency: where results are kept.
    """

    __slots__ = ("_decision_audit", "_idempotency")

    def __init__(
        self, decision_audit: DecisionAuditStorage, idempotency: IdempotencyStorage
    ) -> None:
        self._decision_audit = decision_audit
        self._idempotency = idempotency

    def record(
        self,
        dfid: str,
        event: str,
        *,
        step_id: str = "",
        state: str = "",
        details: dict[str, Any] | None = None,
        root_dfid: str | None = None,
        agent_id: str | None = None,
        severity: str = "INFO",
    ) -> None:
        """Append one row, as :meth:`DecisionAuditStorage.record` does."""
        self._decision_audit.record(
            dfid,
            event,
            step_id=step_id,
            state=state,
            details=details,
            root_dfid=root_dfid,
            agent_id=agent_id,
            severity=severity,
        )

    def events_for_dfid(self, dfid: str) -> list[dict[str, Any]]:
        """Return a flow's rows in order of insertion."""
        return self._decision_audit.events_for_dfid(dfid)

    def all_events_chronological(self) -> list[dict[str, Any]]:
        """Return the rows of all flows in order of insertion."""
        return self._decision_audit.all_events_chronological()

    def get_idempotent_result(self, key: str) -> dict[str, Any] | None:
        """Return the result saved under key, or None."""
        return self._idempotency.get(key)

    def save_idempotent_result(self, key: str, dfid: str, result: dict[str, Any]) -> None:
        """Save a copy of a result with ``"_dfid": dfid`` added; the caller's dict stays as it is.

        Args:
            key: the idempotency key.
            dfid: the flow that produced the result.
            result: a dict.

        Raises:
            TypeError: the result is no dict, or cannot be stored as JSON.
        """
        if not isinstance(result, Mapping):
            raise TypeError(f"result must be a dict, not {type(result).__name__}")
        limits = getattr(self._idempotency, "_limits", DEFAULT_LIMITS)
        self._idempotency.set(key, {**result, "_dfid": identifier("dfid", dfid, limits)})

    def close(self) -> None:
        """Do nothing: the storages belong to whoever opened them."""
