"""The storages in one process's memory: the specification of all backends; thread-safe."""

from dir_redis.memory.agent_registry import MemoryAgentRegistryStorage
from dir_redis.memory.context import MemoryContextStorage
from dir_redis.memory.decision_audit import MemoryDecisionAuditStorage
from dir_redis.memory.decision_ledger import MemoryDecisionLedgerStorage
from dir_redis.memory.escalation import MemoryEscalationStorage
from dir_redis.memory.idempotency import MemoryIdempotencyStorage
from dir_redis.memory.intent_retry import MemoryIntentRetryStorage
from dir_redis.memory.lifecycle import MemoryLifecycleStorage
from dir_redis.memory.resource_lock import MemoryResourceLockStorage
from dir_redis.memory.saga import MemorySagaStorage

__all__ = [
    "MemoryAgentRegistryStorage",
    "MemoryContextStorage",
    "MemoryDecisionAuditStorage",
    "MemoryDecisionLedgerStorage",
    "MemoryEscalationStorage",
    "MemoryIdempotencyStorage",
    "MemoryIntentRetryStorage",
    "MemoryLifecycleStorage",
    "MemoryResourceLockStorage",
    "MemorySagaStorage",
]
