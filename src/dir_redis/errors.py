"""Every error this package raises on purpose; all but argument errors share one root.

Bad arguments are ``ValueError`` or ``TypeError`` naming the argument. Everything that goes wrong
with a store is a :class:`StorageError`; an error of the driver underneath is kept as
``__cause__`` and never reaches the caller itself. All of them survive pickling, so they cross
process boundaries whole: what a constructor is given is what ``args`` holds.
"""

from __future__ import annotations

from decimal import Decimal


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

    Attributes:
        outcome_unknown: True when a write was sent and its answer never came, so that it may
            or may not have been applied; False when nothing can have been applied.
    """

    def __init__(self, message: str, outcome_unknown: bool) -> None:
        super().__init__(message, outcome_unknown)
        self.outcome_unknown = outcome_unknown

    def __str__(self) -> str:
        return str(self.args[0])


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
