"""Opening a store: one factory per backend, and one that picks by URL."""

from __future__ import annotations

from os import PathLike

from dir_redis.amounts import DEFAULT_PLACES
from dir_redis.bundle import StorageBundle
from dir_redis.memory import (
    MemoryAgentRegistryStorage,
    MemoryContextStorage,
    MemoryDecisionAuditStorage,
    MemoryEscalationStorage,
    MemoryIdempotencyStorage,
    MemoryIntentRetryStorage,
    MemoryLifecycleStorage,
    MemoryResourceLockStorage,
    MemorySagaStorage,
)


def memory_storage(*, amount_places: int = DEFAULT_PLACES) -> StorageBundle:
    """Open a store in this process's memory; gone with the process.

    Args:
        amount_places: decimal places a reserved amount keeps, 0 to 18.
    """
    return StorageBundle(
        agent_registry=MemoryAgentRegistryStorage(),
        context=MemoryContextStorage(),
        idempotency=MemoryIdempotencyStorage(),
        decision_audit=MemoryDecisionAuditStorage(),
        saga=MemorySagaStorage(),
        resource_lock=MemoryResourceLockStorage(amount_places=amount_places),
        intent_retry=MemoryIntentRetryStorage(),
        escalation=MemoryEscalationStorage(),
        lifecycle=MemoryLifecycleStorage(),
        url="memory://",
    )


def sqlite_storage(
    db_path: str | PathLike[str], *, amount_places: int = DEFAULT_PLACES
) -> StorageBundle:
    """Open a store in one SQLite file, for the processes of one machine."""
    raise NotImplementedError
