"""Redis-backed distributed coordination for the Decision Intelligence Runtime (DIR).

Agents propose, a deterministic kernel validates, reserves, executes once, escalates to humans,
compensates and records. This package is the storage layer under that kernel, for fleets of
agents on many hosts: nine small Protocols on Redis, with memory and SQLite backends of the same
behaviour. :func:`open_storage` is where to begin.
"""

import logging

from dir_redis.bundle import StorageBundle
from dir_redis.errors import (
    CorruptRecordError,
    InsufficientCapacityError,
    NamespaceMismatchError,
    ResourceContentionError,
    StorageConfigurationError,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
)
from dir_redis.json_codec import dumps_json_dict
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
from dir_redis.opening import (
    embedded_storage,
    memory_storage,
    open_storage,
    redis_storage,
    sqlite_storage,
)
from dir_redis.protocols import (
    AgentRegistryStorage,
    AuditStore,
    CapacityStorage,
    ContextStorage,
    DecisionAuditStorage,
    EscalationStorage,
    IdempotencyStorage,
    IntentRetryStorage,
    LifecycleStorage,
    ResourceLockStorage,
    SagaStorage,
)
from dir_redis.redis import (
    RedisAgentRegistryStorage,
    RedisContextStorage,
    RedisDecisionAuditStorage,
    RedisEscalationStorage,
    RedisIdempotencyStorage,
    RedisIntentRetryStorage,
    RedisLifecycleStorage,
    RedisOptions,
    RedisResourceLockStorage,
    RedisSagaStorage,
)
from dir_redis.sqlite import (
    SqliteAgentRegistryStorage,
    SqliteContextStorage,
    SqliteDecisionAuditStorage,
    SqliteEscalationStorage,
    SqliteIdempotencyStorage,
    SqliteIntentRetryStorage,
    SqliteLifecycleStorage,
    SqliteResourceLockStorage,
    SqliteSagaStorage,
    ensure_db,
)

__version__ = "0.1.0"

# What is logged (retries, checks left out) is shown where the program asks for it.
logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "AgentRegistryStorage",
    "AuditStore",
    "CapacityStorage",
    "ContextStorage",
    "CorruptRecordError",
    "DecisionAuditStorage",
    "EscalationStorage",
    "IdempotencyStorage",
    "InsufficientCapacityError",
    "IntentRetryStorage",
    "LifecycleStorage",
    "MemoryAgentRegistryStorage",
    "MemoryContextStorage",
    "MemoryDecisionAuditStorage",
    "MemoryEscalationStorage",
    "MemoryIdempotencyStorage",
    "MemoryIntentRetryStorage",
    "MemoryLifecycleStorage",
    "MemoryResourceLockStorage",
    "MemorySagaStorage",
    "NamespaceMismatchError",
    "RedisAgentRegistryStorage",
    "RedisContextStorage",
    "RedisDecisionAuditStorage",
    "RedisEscalationStorage",
    "RedisIdempotencyStorage",
    "RedisIntentRetryStorage",
    "RedisLifecycleStorage",
    "RedisOptions",
    "RedisResourceLockStorage",
    "RedisSagaStorage",
    "ResourceContentionError",
    "ResourceLockStorage",
    "SagaStorage",
    "SqliteAgentRegistryStorage",
    "SqliteContextStorage",
    "SqliteDecisionAuditStorage",
    "SqliteEscalationStorage",
    "SqliteIdempotencyStorage",
    "SqliteIntentRetryStorage",
    "SqliteLifecycleStorage",
    "SqliteResourceLockStorage",
    "SqliteSagaStorage",
    "StorageBundle",
    "StorageConfigurationError",
    "StorageError",
    "StorageRefusedError",
    "StorageUnavailableError",
    "dumps_json_dict",
    "embedded_storage",
    "ensure_db",
    "memory_storage",
    "open_storage",
    "redis_storage",
    "sqlite_storage",
]
