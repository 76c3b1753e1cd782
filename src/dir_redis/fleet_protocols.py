"""Fleet-safe operations: small optional Protocols beside the nine, one atomic step each.

Where callers of the nine read, decide and write in three steps, these decide in the store. Every
backend of this package has them all, and behaves as these docstrings say. What
:mod:`dir_redis.protocols` says of all methods holds here too, and:

- time is the store's (the server's on Redis), never the caller's; moments come back as aware
  datetimes in UTC. Only how long a caller waits is measured by its own monotonic clock;
- durations are in seconds, from 0.001 up, and kept to the microsecond;
- a waiting caller is woken by what it waits for; SQLite, which cannot wake another process, looks
  again every few milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

from dir_redis.arguments import checked
from dir_redis.protocols import (
    AgentRegistryStorage,
    CapacityStorage,
    ContextStorage,
    DecisionAuditStorage,
    DecisionLedgerStorage,
    EscalationStorage,
    IdempotencyStorage,
    IntentRetryStorage,
    LifecycleStorage,
    SagaStorage,
)
from dir_redis.records import (
    AgentSession,
    ChainReport,
    DirtyClaim,
    Escalation,
    RetryCount,
    VersionedDocument,
)
from dir_redis.reservations import Holder, Reservation
from dir_redis.run_once import Claim, run_once
from dir_redis.transitions import DEFAULT_TRANSITIONS, Transitions


@runtime_checkable
class LeaseStorage(CapacityStorage, Protocol):
    """Reservations that end by themselves, are fenced, and can be waited for (DIR §6.2).

    A flow has one reservation: all that it holds, however it got it. Its lease, if it has one,
    covers all of it, and what the latest ``reserve`` says of lease and token counts. A lease that
    has run out counts for nobody from that moment; its amounts are free.

    While a request waits for a resource, no later request for any of the same resources is
    served before it, though it would fit: ``reserve`` queues or raises, ``acquire_batch`` answers
    False. A request that asks for no more than the flow holds already overtakes nobody and passes.
    """

    def reserve(
        self,
        dfid: str,
        resources: Mapping[str, float | Decimal],
        *,
        lease_sec: float | None = None,
        wait_sec: float = 0.0,
        capacities: Mapping[str, float | Decimal] | None = None,
    ) -> Reservation:
        """Reserve all of a flow's amounts or none, with a lease, waiting for room if need be.

        Reserving a resource again replaces that amount; what else the flow holds stays held. A
        second ``reserve`` of a flow supersedes the first: only the newest token is good.

        Args:
            dfid: the flow.
            resources: amounts by resource_id, as in ``acquire_batch``; at least one.
            lease_sec: after how long the reservation ends by itself; None never.
            wait_sec: how long to wait for room, first come first served; 0 does not wait.
            capacities: as in ``acquire_batch``.

        Returns:
            The reservation, a context manager that releases it.

        Raises:
            InsufficientCapacityError: there is no room, and none came in time; at once if the
                amount exceeds the capacity itself, so that waiting is pointless.
            ResourceContentionError: there would be room, but others have waited longer.
            ValueError: an amount is NaN, infinite, negative, no number or too large.
        """
        ...

    def renew(self, dfid: str, fencing_token: int, lease_sec: float) -> datetime:
        """Let a flow's lease run anew from now; a reservation without one gets one.

        Args:
            dfid: the flow.
            fencing_token: the token of its reservation.
            lease_sec: how long from now.

        Returns:
            When it runs out.

        Raises:
            LeaseLostError: the reservation ran out, was released, or has a newer token.
        """
        ...

    def settle(
        self,
        dfid: str,
        used: Mapping[str, float | Decimal],
        *,
        fencing_token: int | None = None,
    ) -> None:
        """Keep what was used of some resources and give the rest back.

        Args:
            dfid: the flow.
            used: what it keeps, by resource_id; 0 gives all of that resource back. Resources that
                are not named stay as they are.
            fencing_token: the token it must still have; None settles whatever the flow holds.

        Raises:
            ValueError: more is to be kept than the flow holds; nothing was changed.
            LeaseLostError: the token is not the reservation's any more.
        """
        ...

    def release(self, dfid: str, *, fencing_token: int | None = None) -> None:
        """Release all that a flow holds; without a token an unknown flow is fine.

        Args:
            dfid: the flow.
            fencing_token: the token it must still have; None releases whatever the flow holds.

        Raises:
            LeaseLostError: the token is not the reservation's any more; nothing was released.
        """
        ...

    def holders(self, resource_id: str) -> list[Holder]:
        """Return who holds how much of a resource, since when and until when.

        Returns:
            The holders in order of ``since``, then dfid; each has more than 0.
        """
        ...


@runtime_checkable
class RunOnceStorage(IdempotencyStorage, Protocol):
    """Steps that run once over all hosts, by a claim on their idempotency key (DIR §7).

    A result stored by ``set`` makes its key DONE for ``claim``, and ends the claim there may be;
    one stored by ``complete`` is what ``get`` returns.
    """

    def claim(
        self, key: str, *, fingerprint: str | None = None, lease_sec: float, owner: str
    ) -> Claim:
        """Claim a step, or learn who has it or what came of it.

        A claim whose lease ran out, or that was abandoned, can be taken by anybody, with a larger
        token.

        Args:
            key: the idempotency key.
            fingerprint: a digest of the step's payload; None compares nothing. The first one given
                under a key stays with it as long as the result, without one until a day after the
                latest claim ended or ran out.
            lease_sec: after how long others may take the claim, unless it is renewed.
            owner: who claims, for others to see.

        Returns:
            A claim whose state is NEW (the caller has it and runs the step), IN_PROGRESS
            (another has it) or DONE (with the result).

        Raises:
            FingerprintMismatchError: the key belongs to another payload.
        """
        ...

    def renew_claim(self, claim: Claim, lease_sec: float) -> datetime:
        """Let a claim's lease run anew from now.

        Args:
            claim: what ``claim`` returned as NEW.
            lease_sec: how long from now.

        Returns:
            When it runs out.

        Raises:
            LeaseLostError: it ran out, has ended, or somebody newer has it.
            ValueError: it never was the caller's.
        """
        ...

    def complete(self, claim: Claim, result: Any, *, ttl_sec: float | None = None) -> Any:
        """Store a step's result and end its claim, in one step; waiters get the result.

        An owner that is slow may complete after its lease ran out, if nobody took the claim.
        Completing again with the same result changes nothing: what to do about an unknown outcome.

        Args:
            claim: what ``claim`` returned as NEW.
            result: any JSON value, encoded like audit details; None is a result.
            ttl_sec: how long the result is kept; None for ever.

        Returns:
            The result as ``get`` and the other hosts see it: its JSON round trip.

        Raises:
            LeaseLostError: somebody newer has or had the claim, or it ended otherwise; nothing was
                stored.
            TypeError: the result has keys that JSON objects cannot have.
            ValueError: the claim never was the caller's, or the result is nested too deeply.
        """
        ...

    def abandon(self, claim: Claim) -> None:
        """End a claim without a result, so that others may run the step at once.

        Abandoning again changes nothing.

        Args:
            claim: what ``claim`` returned as NEW.

        Raises:
            LeaseLostError: somebody newer has or had the claim, or it ended with a result.
            ValueError: it never was the caller's.
        """
        ...

    def wait(self, key: str, timeout_sec: float) -> Claim:
        """Wait for the result of a step that another owner runs.

        Args:
            key: the idempotency key.
            timeout_sec: how long to wait; 0 looks once.

        Returns:
            A claim whose state is DONE (with the result), NEW (nobody has it: it was never
            claimed, was abandoned, or its lease ran out) or, when time is over, IN_PROGRESS.
        """
        ...

    @checked
    def run_once(
        self,
        key: str,
        func: Callable[[Claim], Any],
        *,
        fingerprint: str | None = None,
        lease_sec: float = 30.0,
        wait_sec: float = 60.0,
        ttl_sec: float | None = None,
        owner: str | None = None,
    ) -> Any:
        """Run a step unless it was run, and return its result; the claim is kept alive meanwhile.

        If the step raises, or its result cannot be stored as JSON, its claim is abandoned and the
        error goes on to the caller. If this process dies, another caller runs the step after
        lease_sec. A store that cannot be reached, or does not take the result for now, is asked
        again as long as the lease lasts. What the step does outside the store should carry
        ``claim.token``, so that a host that was cut off can be refused there.

        Args:
            key: the idempotency key.
            func: called with the claim; returns any JSON value.
            fingerprint: a digest of the step's payload; None compares nothing.
            lease_sec: how long the claim outlives a dead process.
            wait_sec: how long to wait for another owner's result.
            ttl_sec: how long the result is kept; None for ever.
            owner: a name for others to see; host, process and a random part by default.

        Returns:
            The JSON round trip of the step's result, whoever ran it.

        Raises:
            StepInProgressError: another owner had no result in time.
            FingerprintMismatchError: the key belongs to another payload.
            LeaseLostError: the step was run here, but somebody else took the claim meanwhile;
                their result counts.
            UnconfirmedWriteError: with the result of the step, if it was run, here or before; with
                None if it was not begun, for want of a claim that is confirmed.
        """
        return run_once(
            self,
            key,
            func,
            fingerprint=fingerprint,
            lease_sec=lease_sec,
            wait_sec=wait_sec,
            ttl_sec=ttl_sec,
            owner=owner,
        )


@runtime_checkable
class EscalationQueueStorage(EscalationStorage, Protocol):
    """Escalations whose budget, request and decision are one step each (DIR §9).

    A request may have a deadline: from that moment on it counts as decided with its default
    decision, for every operation, without anybody having to act.
    """

    def escalate(
        self,
        dfid: str,
        agent_id: str,
        reason: str,
        context_json: str,
        proposal_json: str,
        impact: str,
        *,
        limit: int,
        window_sec: float,
        deadline_sec: float | None = None,
        default_decision: str | None = None,
        replace: bool = False,
    ) -> Escalation:
        """Spend one of an agent's budget tokens and put its request before the humans, or neither.

        A flow escalates once: while it has a request, also a decided one, a repeat changes and
        spends nothing. (``insert_request`` replaces a request, without a budget.)

        With ``replace`` a flow escalates anew, for a token like any other: its request, waiting or
        decided, gives way, with its deadline and its reviewer. Only one that still waits and has
        the same agent, reason, context, proposal (both to the byte) and impact stays as it is.

        Args:
            dfid: the flow that asks.
            agent_id: the agent that asks, whose budget it is.
            reason: why; any string.
            context_json: what was known, a JSON document.
            proposal_json: what the agent would do, a JSON document.
            impact: how much is at stake; any string.
            limit: tokens the agent may spend in any window.
            window_sec: the window's length, up to 30 days; older tokens are forgotten.
            deadline_sec: after how long the default decision counts; None never.
            default_decision: what counts then; required with a deadline.
            replace: whether another request of the flow is replaced.

        Returns:
            What was done, the tokens left, and the seconds until there is one again.

        Raises:
            ValueError: a deadline without a default decision or the other way round; a window of
                more than 30 days.
        """
        ...

    def claim_next(self, reviewer: str, lease_sec: float) -> dict[str, Any] | None:
        """Take the oldest waiting request that no reviewer has, to decide it.

        Args:
            reviewer: who takes it, for others to see.
            lease_sec: after how long others may take it. Deciding does not need the lease: the
                first decision stands, whoever makes it.

        Returns:
            The request as ``get_request`` returns it, or None if none waits.
        """
        ...

    def resolve(
        self,
        dfid: str,
        decision: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        proposal_json: str | None = None,
    ) -> bool:
        """Decide a request; the first decision stands.

        Whoever calls again after a StorageUnavailableError of unknown outcome may get False though
        the first call went through: ``get_request`` tells by ``decided_by`` whose decision stands.

        Args:
            dfid: the flow that asked.
            decision: any string.
            by: who decided.
            reason: why.
            proposal_json: a JSON document that replaces the proposal; None keeps it.

        Returns:
            True if this decision stands; False, with nothing changed, if the request was decided
            before (by a human or by its deadline) or does not exist.
        """
        ...

    def get_request(self, dfid: str) -> dict[str, Any] | None:
        """Return all that is known of a flow's request, waiting or decided, or None.

        Returns:
            A dict of ``dfid, agent_id, reason, context`` (parsed)``, proposal`` (parsed; the
            human's if it was replaced)``, impact, status`` (``PENDING`` or ``RESOLVED``)``,
            requested_at, deadline, default_decision, reviewer`` and ``reviewer_until`` (while a
            reviewer has it)``, decision, resolved_at, decided_by, decision_reason`` and
            ``by_default`` (whether the deadline decided). Moments are strings like
            ``2026-11-23T16:00:00.123456Z`` (``resolved_at`` of ``resolve_request`` is as its
            caller gave it); what there is not is None.
        """
        ...

    def wait_for_decision(self, dfid: str, timeout_sec: float) -> dict[str, Any] | None:
        """Wait until a flow's request is decided, by a human or by its deadline.

        A flow that has no request is not waited for.

        Args:
            dfid: the flow that asked.
            timeout_sec: how long to wait; 0 looks once.

        Returns:
            The request as ``get_request`` returns it; None if it was not decided in time or does
            not exist.
        """
        ...


@runtime_checkable
class RetryLimitStorage(IntentRetryStorage, Protocol):
    """Rejections counted in the store, so that none is lost (DIR §6.2)."""

    def increment(self, dfid: str, limit: int | None = None) -> RetryCount:
        """Count one more rejection of a flow.

        Args:
            dfid: the flow.
            limit: the count at which the flow must be given up; None for no limit.

        Returns:
            The new count, and whether it has reached the limit. A count of ``2**63 - 1`` stays.
        """
        ...


@runtime_checkable
class ContextMergeStorage(ContextStorage, Protocol):
    """Contexts that any number of hosts change without losing each other's changes (DIR §8).

    A version counts the writes of a session or state. A document written by ``set_*`` comes back
    to the byte until something is merged into it.
    """

    def set_session(
        self,
        dfid: str,
        data_json: str,
        *,
        agent_id: str | None = None,
        expected_version: int | None = None,
    ) -> None:
        """Store a flow's session, replacing an earlier one.

        Args:
            dfid: the flow.
            data_json: JSON text; comes back to the byte.
            agent_id: the agent the flow belongs to; None leaves a stored one.
            expected_version: the version it must still have, 0 for none; None replaces any.

        Raises:
            VersionConflictError: the session changed meanwhile; nothing was stored.
        """
        ...

    def set_state(
        self, agent_id: str, data_json: str, *, expected_version: int | None = None
    ) -> None:
        """Store an agent's state, replacing an earlier one.

        Args:
            agent_id: the agent.
            data_json: JSON text; comes back to the byte.
            expected_version: the version it must still have, 0 for none; None replaces any.

        Raises:
            VersionConflictError: the state changed meanwhile; nothing was stored.
        """
        ...

    def merge_session(
        self, dfid: str, updates: Mapping[str, Any], *, agent_id: str | None = None
    ) -> int:
        """Set top-level keys of a flow's session and leave the others.

        Args:
            dfid: the flow.
            updates: values by key, each any JSON value, encoded like audit details.
            agent_id: the agent the flow belongs to; None leaves a stored one.

        Returns:
            The session's new version.

        Raises:
            ValueError: the session is JSON, but no object; nothing was stored.
        """
        ...

    def merge_state(self, agent_id: str, updates: Mapping[str, Any]) -> int:
        """Set top-level keys of an agent's state and leave the others.

        Args:
            agent_id: the agent.
            updates: values by key, each any JSON value, encoded like audit details.

        Returns:
            The state's new version.

        Raises:
            ValueError: the state is JSON, but no object; nothing was stored.
        """
        ...

    def get_session_versioned(self, dfid: str) -> VersionedDocument:
        """Return a flow's session and its version, ``(None, 0)`` if there is none."""
        ...

    def get_state_versioned(self, agent_id: str) -> VersionedDocument:
        """Return an agent's state and its version, ``(None, 0)`` if there is none."""
        ...


@runtime_checkable
class AgentSessionStorage(AgentRegistryStorage, Protocol):
    """Registrations that respect a suspension, and sessions that prove they live (DIR §2.3)."""

    def register(
        self,
        agent_id: str,
        contract_json: str,
        priority: int,
        agent_version: str | None = None,
        *,
        keep_suspended: bool = True,
        ttl_sec: float | None = None,
    ) -> AgentSession:
        """Register an agent and begin its session; an earlier session is superseded.

        Args:
            agent_id: the agent.
            contract_json: its responsibility contract, a JSON document.
            priority: an int of 64 bits.
            agent_version: any string, or None.
            keep_suspended: whether an agent that is not ACTIVE keeps its status and the reason for
                it. False makes it ACTIVE and removes the reason.
            ttl_sec: after how long without a heartbeat the agent counts as stale; None never,
                until the first heartbeat.

        Returns:
            The session, with the status the agent has now.
        """
        ...

    def heartbeat(self, agent_id: str, session_token: str, ttl_sec: float) -> datetime:
        """Say that an agent lives.

        Args:
            agent_id: the agent.
            session_token: the token of its session.
            ttl_sec: after how long without another heartbeat it counts as stale.

        Returns:
            When it does.

        Raises:
            SessionSupersededError: the agent registered again meanwhile, or never did.
        """
        ...

    def list_stale_agents(self) -> list[str]:
        """Return the agents whose latest heartbeat is over, the longest over first.

        An agent without any heartbeat or ttl is never stale.
        """
        ...

    def get_contract_versioned(self, agent_id: str) -> VersionedDocument:
        """Return an agent's contract as JSON text and its version, ``(None, 0)`` if unknown.

        The version counts registrations and contract updates.
        """
        ...

    def update_contract(self, agent_id: str, contract_json: str, expected_version: int) -> int:
        """Replace an agent's contract and nothing else: its status and session stay.

        Args:
            agent_id: the agent.
            contract_json: the changed contract, a JSON document.
            expected_version: the version it must still have.

        Returns:
            The new version.

        Raises:
            VersionConflictError: the contract changed meanwhile, or the agent is unknown; nothing
                was stored.
        """
        ...


@runtime_checkable
class SagaClaimStorage(SagaStorage, Protocol):
    """Compensations that one host at a time carries out (DIR §7).

    A new mark of a flow ends the claim on the old one: what was claimed is not what is dirty now.
    """

    def claim_dirty(
        self, owner: str, lease_sec: float, dfid: str | None = None
    ) -> DirtyClaim | None:
        """Take a dirty flow that nobody is compensating, the longest waiting first.

        A flow waits from its mark on, or, if its compensator's lease ran out, from then on. Of
        several partitions on Redis the flows of one are taken in this order, each time of another.

        Args:
            owner: who takes it, for others to see.
            lease_sec: after how long others may take it, unless it is renewed.
            dfid: the flow to take, whoever waits longer; None for any.

        Returns:
            The claim, or None if no flow waits; with a dfid, if that one does not.
        """
        ...

    def renew_dirty(self, dfid: str, epoch: int, lease_sec: float) -> datetime:
        """Let a claim's lease run anew from now.

        Args:
            dfid: the flow.
            epoch: the claim's epoch.
            lease_sec: how long from now.

        Returns:
            When it runs out.

        Raises:
            LeaseLostError: it ran out, or another claim or a newer mark took its place.
        """
        ...

    def release_dirty(self, dfid: str, epoch: int) -> None:
        """Give a claim back uncompensated, so that others may take the flow at once.

        Args:
            dfid: the flow.
            epoch: the claim's epoch.

        Raises:
            LeaseLostError: another claim or a newer mark took its place.
        """
        ...

    def clear_dirty(self, dfid: str, *, epoch: int | None = None) -> None:
        """Remove a flow's mark; without an epoch an unknown flow is fine.

        Args:
            dfid: the flow.
            epoch: the epoch of the claim under which it was compensated; None removes any mark,
                claimed or not.

        Raises:
            LeaseLostError: another claim or a newer mark took the claim's place; nothing was
                removed.
        """
        ...


@runtime_checkable
class FlowStatusStorage(LifecycleStorage, Protocol):
    """Transitions from the status a flow really has (DIR §4.3)."""

    def transition(
        self,
        dfid: str,
        expected: str,
        to: str,
        *,
        allowed: Transitions | None = DEFAULT_TRANSITIONS,
        root_dfid: str | None = None,
    ) -> None:
        """Append a transition if the flow is where the caller believes it to be.

        Args:
            dfid: the flow.
            expected: the status it must have. A flow without transitions is CREATED.
            to: the status it gets.
            allowed: the statuses that may follow each status; None allows everything.
            root_dfid: the flow this one descends from; the flow itself by default.

        Raises:
            TransitionConflictError: it has another status; nothing was appended.
            ValueError: the table has no such transition.
        """
        ...

    def current_status(self, dfid: str) -> str | None:
        """Return the status a flow has by its latest transition, or None if it has none."""
        ...

    def close_flow(
        self,
        dfid: str,
        status: str,
        *,
        expected: str | None = None,
        event: str = "FLOW_CLOSED",
        details: dict[str, Any] | None = None,
        agent_id: str | None = None,
        root_dfid: str | None = None,
        session_ttl_sec: float | None = 86_400.0,
    ) -> bool:
        """End a flow: final transition, audit row, retry count, reservations and session.

        In one atomic step where all of it lies in one place (memory, SQLite, Redis with one
        partition), else in two: first the flow's own records, then its reservations. Calling
        again after a cut finishes what is missing and writes nothing twice. What other stores keep
        of the flow, in a bundle of several, is left to the caller, and so is its saga mark. A
        ``reserve`` of the flow that still waits elsewhere goes on, and may be granted later.

        Args:
            dfid: the flow.
            status: the status it ends in, such as CLOSED or ABORTED.
            expected: the status it must have before; None takes any.
            event: the event of the audit row.
            details: the details of the audit row.
            agent_id: the agent of the audit row.
            root_dfid: the flow this one descends from; the flow itself by default.
            session_ttl_sec: how long the flow's session is kept from now; None for ever.

        Returns:
            True if the flow was ended now; False if it had the status already.

        Raises:
            TransitionConflictError: its status is neither the expected one nor the final one;
                nothing was changed.
        """
        ...


@runtime_checkable
class LedgerChainStorage(DecisionLedgerStorage, Protocol):
    """A ledger whose entries are chained by hash, so that no change to it goes unnoticed.

    Each entry's SHA-256 covers all that the entry holds, its place and moment, and the SHA-256 of
    the entry before it (of its partition).
    """

    def count_entries(self) -> int:
        """Return how many entries there are, without reading them."""
        ...

    def verify_ledger(self, *, anchor: str | None = None) -> ChainReport:
        """Walk the whole ledger and find the first entry that was changed or is missing.

        Args:
            anchor: the ``anchor`` of an earlier report, kept outside the store: the chain must
                still pass through it. None checks the chain in itself; whoever can write the
                store could have written all of it anew.

        Returns:
            What was found.

        Raises:
            ValueError: the anchor is not one of this store's.
            CorruptRecordError: a key or table of the ledger is something else altogether.
        """
        ...


class EventIterator(Iterator[dict[str, Any]], Protocol):
    """Audit rows one by one, read in pages of bounded size.

    It passes over no row: after an error it goes on where it was, and raises the error of a corrupt
    row again at every step.
    """

    @property
    def cursor(self) -> str:
        """The place after the latest row returned; hand it to ``after`` to go on from there."""
        ...


@runtime_checkable
class AuditStreamStorage(DecisionAuditStorage, Protocol):
    """The audit log many rows at once: written, read, followed, archived and trimmed.

    A cursor is a string that only the store that made it understands; ``""`` is the beginning. One
    of a flow's rows goes on with a flow's rows only. What was trimmed is skipped.
    """

    def record_many(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append many rows, in order; all rows of one partition in one atomic step.

        Calling again after an error of the store may store rows twice.

        Args:
            rows: dicts of the arguments of ``record``, by name; at most 10,000.

        Raises:
            StorageUnavailableError: with ``outcome_unknown`` also if a later partition's rows could
                not be stored, for whatever reason; its ``repeat`` stores them.
            TypeError: a row has an unknown argument or lacks ``dfid`` or ``event``; nothing was
                stored.
            ValueError: an argument of a row is refused, as ``record`` would, or there are too many
                rows; nothing was stored.
        """
        ...

    def iter_events(self, dfid: str | None = None, *, after: str | None = None) -> EventIterator:
        """Read a flow's rows, or all rows, in pages.

        Args:
            dfid: the flow; None for all flows, in the order of
                ``all_events_chronological``.
            after: the cursor to go on from; None begins at the first row.

        Returns:
            An iterator of rows as ``events_for_dfid`` returns them. It ends with the last row there
            is when it gets there.

        Raises:
            ValueError: the cursor is not one of this store.
        """
        ...

    def follow(
        self, *, after: str | None = None, timeout_sec: float | None = None
    ) -> EventIterator:
        """Read rows as they are appended, by whichever host.

        Args:
            after: the cursor to go on from; None begins with the next row to be appended.
            timeout_sec: after how long without a row the iterator ends; None never.

        Returns:
            An iterator of rows; each step waits for a row.

        Raises:
            ValueError: the cursor is not one of this store.
        """
        ...

    def commit_archived(self, group: str, cursor: str) -> None:
        """Say that a reader group has archived all rows up to a cursor; ``""`` registers it.

        A group's cursor only moves forward.

        Args:
            group: the group's name.
            cursor: a cursor of ``iter_events`` over all flows or of ``follow``.

        Raises:
            ValueError: the cursor is not one of this store, or ahead of all its rows; nothing was
                committed.
        """
        ...

    def get_archived(self, group: str) -> str | None:
        """Return the cursor a reader group has committed, or None if there is no such group.

        A group whose registering or forgetting was cut off between two partitions is none either:
        commit again, or forget it again. So a group that has a cursor holds back every trim.
        """
        ...

    def forget_group(self, group: str) -> None:
        """Remove a reader group, which then holds back no trimming; an unknown one is fine."""
        ...

    def verify_audit(self, *, anchor: str | None = None) -> ChainReport:
        """Walk the log's chain and find the first row that was changed or is missing.

        Rows are chained, as the ledger's entries are, where the store was opened with
        ``audit_chain=True``. Rows that were written without are counted and passed over: nothing
        tells whether they were changed. What was trimmed is not missing.

        Args:
            anchor: as of :meth:`LedgerChainStorage.verify_ledger`.

        Returns:
            What was found.

        Raises:
            ValueError: the anchor is not one of this store's, or the rows up to it were trimmed.
            CorruptRecordError: a key or table of the log is something else altogether, or where
                its chain begins since it was trimmed is garbled.
        """
        ...

    def trim(self, *, older_than_sec: float | None = None, max_rows: int | None = None) -> int:
        """Drop the oldest rows, but none that a reader group has not archived.

        Nothing is ever dropped unless this is called.

        Args:
            older_than_sec: drop rows older than this by the store's clock; None for any age.
            max_rows: keep this many of the newest rows per partition; None for any number. Of two
                limits the one that drops more counts.

        Returns:
            How many rows were dropped.

        Raises:
            ValueError: neither an age nor a number is given.
        """
        ...
