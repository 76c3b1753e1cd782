"""Every error this package raises on purpose; all but argument errors share one root.

Bad arguments are ``ValueError`` or ``TypeError`` naming the argument. Everything that goes wrong
with a store is a :class:`StorageError`; an error of the driver underneath is kept as
``__cause__`` and never reaches the caller itself. All of them survive pickling, so they cross
process boundaries whole: what a constructor is given is what ``args`` holds.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Self


class StorageError(Exception):
    """Root of all errors of a store. Catch this to catch them all."""


class ResourceContentionError(StorageError):
    """Exclusive access could not be had in time. Try again later."""


class InsufficientCapacityError(StorageError):
    """A batch asked for more of a resource than its capacity leaves; nothing was reserved.

    Attributes:
        resource_id: the first resource, in sorted order, that does not fit.
        requested: the amount asked for.
        available: the capacity less what other flows hold; negative when the capacity was
            lowered below what is already held.
    """

    def __init__(self, resource_id: str, requested: Decimal, available: Decimal) -> None:
        super().__init__(resource_id, requested, available)
        self.resource_id = resource_id
        self.requested = requested
        self.available = available

    def __str__(self) -> str:
        return (
            f"resource {self.resource_id!r}: {self.requested:f} requested, "
            f"{self.available:f} available; nothing of the batch was reserved"
        )


class StorageUnavailableError(StorageError):
    """The store did not answer in time. Try again when it is back.

    If the outcome is unknown, :meth:`repeat` is the safe way to try again: the store recognises the
    very operation. Calling the method anew is a new operation.

    Attributes:
        outcome_unknown: True when a write was sent and its answer never came, so that it may
            or may not have been applied; False when nothing can have been applied.
        half_written: True when the server says that it cut a write off in the middle, which takes
            a user who lacks one of its commands. What was written stays, so it is not to be done
            again; ``verify_store`` names what is missing.
    """

    _go_on: Callable[[], Any] | None = None

    def __init__(self, message: str, outcome_unknown: bool, half_written: bool = False) -> None:
        super().__init__(message, outcome_unknown, half_written)
        self.outcome_unknown = outcome_unknown
        self.half_written = half_written

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the way to go on: the operation is one of this process's.
        return type(self), self.args

    def repeatable(self, go_on: Callable[[], Any]) -> Self:
        """Have :meth:`repeat` do this; for the store that makes the error."""
        self._go_on = go_on
        return self

    def repeat(self) -> Any:
        """Go on with the operation where it was cut off, under the number it has already.

        What was applied is recognised and not applied again, so this may be done any number of
        times, also by another thread, but not by two at once.

        Returns:
            What the method would have returned.

        Raises:
            StorageUnavailableError: there was no answer again; repeat that error.
            StorageError: this error cannot be repeated: its outcome is known, or it is half
                written; it was made in another process or by another backend, or too long ago for
                the store to remember (9 minutes); or whatever else the method raises.
        """
        if self._go_on is None:
            raise StorageError(f"this cannot be repeated, only called anew: {self}")
        go_on, self._go_on = self._go_on, None  # an operation can be gone on with only once
        return go_on()


class UnconfirmedWriteError(StorageError):
    """A write was applied, but could not be confirmed as durable in time; it is not undone.

    It is there now, and may be lost in a crash or failover of the server. Where there was nothing
    to write (no request waits, say), what made that so may be lost. Nothing needs to be
    called again; stop relying on it, or wait until the store is sound again.

    Attributes:
        wanted: the durability that was asked for, such as ``"replicas=1"``.
        confirmed: how many replicas (or, for ``"disk"``, servers' disks) were known to have it.
        result: what the method would have returned.
    """

    def __init__(self, wanted: str, confirmed: int, result: Any = None) -> None:
        super().__init__(wanted, confirmed, result)
        self.wanted = wanted
        self.confirmed = confirmed
        self.result = result

    def __str__(self) -> str:
        what = "the disk" if self.wanted == "disk" else f"{self.confirmed} replicas"
        few = "not even" if self.wanted == "disk" else "only"
        return (
            "what was written, if anything, was applied but not confirmed: "
            f"{self.wanted!r} was asked for, and in time {few} {what} had it"
        )


class StorageRefusedError(StorageError):
    """The server refused the operation, and nothing was applied.

    Attributes:
        code: the server's error code, such as ``OOM``, ``READONLY`` or ``NOPERM``.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message, code)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


class LeaseLostError(StorageError):
    """A lease, claim or epoch is not the caller's any more; what was asked for was not done.

    It ran out, was given back, or somebody newer has it. Stop the work it protected.

    Attributes:
        record: what was leased, such as ``reservation of 'flow-1'``.
        token: the fencing token (or epoch) the caller came with.
    """

    def __init__(self, record: str, token: int) -> None:
        super().__init__(record, token)
        self.record = record
        self.token = token

    def __str__(self) -> str:
        return (
            f"the {self.record} is not held with token {self.token} any more: it ran out, was "
            "given back, or somebody newer has it"
        )


class FingerprintMismatchError(StorageError):
    """An idempotency key was claimed again for another payload.

    Attributes:
        key: the idempotency key.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return (
            f"the idempotency key {self.key!r} belongs to another payload: its fingerprint differs;"
            " use one key per payload"
        )


class StepInProgressError(StorageError):
    """Another owner runs a step, and its result did not come in time. Try again later.

    Attributes:
        key: the idempotency key of the step.
        owner: who runs it.
    """

    def __init__(self, key: str, owner: str) -> None:
        super().__init__(key, owner)
        self.key = key
        self.owner = owner

    def __str__(self) -> str:
        return f"the step {self.key!r} is being run by {self.owner!r}, without a result in time"


class VersionConflictError(StorageError):
    """A record changed since its version was read; nothing was written. Read it again.

    Attributes:
        record: which record, such as ``session of 'flow-1'``.
        expected: the version the caller had read.
        found: the version it has now; 0 when there is no record.
    """

    def __init__(self, record: str, expected: int, found: int) -> None:
        super().__init__(record, expected, found)
        self.record = record
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        if not self.found:
            return f"there is no {self.record}; version {self.expected} was expected"
        return f"the {self.record} has version {self.found}, not {self.expected}"


class TransitionConflictError(StorageError):
    """A flow is not where the caller believed it to be; no transition was appended.

    Attributes:
        dfid: the flow.
        expected: the status the caller expected.
        actual: the status it has; None when it has no transitions.
    """

    def __init__(self, dfid: str, expected: str, actual: str | None) -> None:
        super().__init__(dfid, expected, actual)
        self.dfid = dfid
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        where = "has no status yet" if self.actual is None else f"is {self.actual}"
        return f"flow {self.dfid!r} {where}, not {self.expected}"


class SessionSupersededError(StorageError):
    """An agent's session token is not the current one: it registered again elsewhere.

    Attributes:
        agent_id: the agent.
    """

    def __init__(self, agent_id: str) -> None:
        super().__init__(agent_id)
        self.agent_id = agent_id

    def __str__(self) -> str:
        return (
            f"the session token of agent {self.agent_id!r} is not the current one: it registered "
            "again elsewhere, or never; register to go on"
        )


class LedgerConflictError(StorageError):
    """A flow has another entry in the ledger already, which stays; nothing was stored.

    Attributes:
        dfid: the flow.
        differing: the fields that differ, sorted.
    """

    def __init__(self, dfid: str, differing: tuple[str, ...]) -> None:
        super().__init__(dfid, differing)
        self.dfid = dfid
        self.differing = differing

    def __str__(self) -> str:
        return (
            f"flow {self.dfid!r} has a ledger entry that differs in {', '.join(self.differing)}: "
            "a flow is decided once, and its entry is never replaced"
        )


class StorageConfigurationError(StorageError):
    """A store cannot be opened as asked: a bad URL, a missing package, an unfit server."""


class NamespaceMismatchError(StorageConfigurationError):
    """The namespace was made with another schema version, partition count or amount scale."""


class CorruptRecordError(StorageError):
    """A stored record is not what this package writes. Look at the key before repairing it.

    Attributes:
        key: the key (Redis) or table and id (SQLite) of the record; where the server does not say
            which of several keys it is, all of them, joined by " or ".
        problem: what is wrong with it.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(key, problem)
        self.key = key
        self.problem = problem

    def __str__(self) -> str:
        return f"the record at {self.key!r} is corrupt: {self.problem}"


class NotRepresentableError(StorageError):
    """A record of another store cannot be kept here as it is; it was not written.

    Attributes:
        record: which record, such as ``reservation of 'flow-1'``.
        problem: what of it has no place here.
    """

    def __init__(self, record: str, problem: str) -> None:
        super().__init__(record, problem)
        self.record = record
        self.problem = problem

    def __str__(self) -> str:
        return f"the {self.record} cannot be represented: {self.problem}"
