"""The storages on Redis or Valkey, for the hosts of a fleet."""

from dir_redis.redis.agent_registry import RedisAgentRegistryStorage
from dir_redis.redis.context import RedisContextStorage
from dir_redis.redis.decision_audit import RedisDecisionAuditStorage
from dir_redis.redis.decision_ledger import RedisDecisionLedgerStorage
from dir_redis.redis.escalation import RedisEscalationStorage
from dir_redis.redis.idempotency import RedisIdempotencyStorage
from dir_redis.redis.intent_retry import RedisIntentRetryStorage
from dir_redis.redis.lifecycle import RedisLifecycleStorage
from dir_redis.redis.resource_lock import RedisResourceLockStorage
from dir_redis.redis.saga import RedisSagaStorage
from dir_redis.redis.store import RedisOptions, RedisStore

__all__ = [
    "RedisAgentRegistryStorage",
    "RedisContextStorage",
    "RedisDecisionAuditStorage",
    "RedisDecisionLedgerStorage",
    "RedisEscalationStorage",
    "RedisIdempotencyStorage",
    "RedisIntentRetryStorage",
    "RedisLifecycleStorage",
    "RedisOptions",
    "RedisResourceLockStorage",
    "RedisSagaStorage",
    "RedisStore",
]
