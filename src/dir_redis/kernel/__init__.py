"""dir-core's managers on atomic operations: a drop-in for hosts that share one store.

The same names, signatures, return values and enums as in ``dir_core``, so that one import changes::

    from dir_redis.kernel import ContextStore, IdempotencyGuard, ResourceLockManager

What dir-core's own managers read, decide and write in three steps, these have the store decide in
one: nothing is lost or doubled between hosts. They work with dir-core 0.1.0 to 0.4.0, on any
storage of this package, and beside hosts that run dir-core's own managers on the same store.
"""

try:
    import dir_core as _dir_core  # noqa: F401  (asked for first, to say what is missing)
except ModuleNotFoundError as error:
    if error.name != "dir_core":
        raise
    raise ImportError(
        "dir_redis.kernel stands on dir-core, which is not installed: "
        "pip install 'dir-redis[dir-core]' (it needs Python 3.12 or newer)"
    ) from error

from dir_core import agent_registry as _agent_registry
from dir_core.agent_registry import HandshakeResult
from dir_core.escalation import EscalationOutcome, ImpactCategory
from dir_core.idempotency import idempotency_key
from dir_core.intent_retry import REASONING_EXHAUSTION
from dir_core.lifecycle import FlowStatus
from dir_core.resource_lock import LockResult
from dir_core.saga import CompensationResult

from dir_redis.kernel.agent_registry import AgentRegistry
from dir_redis.kernel.context import ContextStore
from dir_redis.kernel.decision_ledger import DecisionLedger
from dir_redis.kernel.escalation import EscalationManager
from dir_redis.kernel.idempotency import IdempotencyGuard
from dir_redis.kernel.intent_retry import IntentRetryGovernor
from dir_redis.kernel.lifecycle import transition
from dir_redis.kernel.resource_lock import ResourceLockManager
from dir_redis.kernel.runtime import DecisionRuntime
from dir_redis.kernel.saga import SagaCompensation

__all__ = [
    "REASONING_EXHAUSTION",
    "AgentRegistry",
    "CompensationResult",
    "ContextStore",
    "DecisionLedger",
    "DecisionRuntime",
    "EscalationManager",
    "EscalationOutcome",
    "FlowStatus",
    "HandshakeResult",
    "IdempotencyGuard",
    "ImpactCategory",
    "IntentRetryGovernor",
    "LockResult",
    "ResourceLockManager",
    "SagaCompensation",
    "idempotency_key",
    "transition",
]

if hasattr(_agent_registry, "AmendmentResult"):  # since dir-core 0.4.0
    AmendmentResult = _agent_registry.AmendmentResult
    __all__ += ["AmendmentResult"]
