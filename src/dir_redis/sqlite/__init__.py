"""The storages in one SQLite file, for the processes of one machine."""

from dir_redis.sqlite.agent_registry import SqliteAgentRegistryStorage
from dir_redis.sqlite.context import SqliteContextStorage
from dir_redis.sqlite.decision_audit import SqliteDecisionAuditStorage
from dir_redis.sqlite.decision_ledger import SqliteDecisionLedgerStorage
from dir_redis.sqlite.ensure_db import ensure_db
from dir_redis.sqlite.escalation import SqliteEscalationStorage
from dir_redis.sqlite.idempotency import SqliteIdempotencyStorage
from dir_redis.sqlite.intent_retry import SqliteIntentRetryStorage
from dir_redis.sqlite.lifecycle import SqliteLifecycleStorage
from dir_redis.sqlite.resource_lock import SqliteResourceLockStorage
from dir_redis.sqlite.saga import SqliteSagaStorage

__all__ = [
    "SqliteAgentRegistryStorage",
    "SqliteContextStorage",
    "SqliteDecisionAuditStorage",
    "SqliteDecisionLedgerStorage",
    "SqliteEscalationStorage",
    "SqliteIdempotencyStorage",
    "SqliteIntentRetryStorage",
    "SqliteLifecycleStorage",
    "SqliteResourceLockStorage",
    "SqliteSagaStorage",
    "ensure_db",
]
