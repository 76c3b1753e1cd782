"""A process's managers, made of one store: the only place where the two kernels differ."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dir_redis import StorageBundle
from examples.kernel.broker import Broker
from examples.kernel.plan import CAPITAL, MAX_REJECTIONS, Plan, agent_of, contract_of

OURS, UNMODIFIED = "ours", "unmodified"
# The one import: `from dir_redis.kernel import DecisionRuntime, ...` or `from dir_core import ...`.
KERNELS = {OURS: "dir_redis.kernel", UNMODIFIED: "dir_core"}
VERSION = "1.0.0"
# And a demo of seconds does not wait half a minute for the dead.
LEASES = {OURS: {"lease_sec": 2.5}, UNMODIFIED: {}}


class Desk:
    """What a process works with; threads may share it.

    Args:
        store: the fleet's store.
        plan: the run's.
        name: the process.
    """

    def __init__(self, store: StorageBundle, plan: Plan, name: str) -> None:
        self.store, self.plan, self.name = store, plan, name
        # dir-core is not typed, so neither is what comes of it.
        kernel: Any = import_module(KERNELS[plan.kernel])
        leases = LEASES[plan.kernel]
        self.kernel = kernel
        self.runtime = kernel.DecisionRuntime(
            store, max_escalations_per_hour=plan.escalation_budget
        )
        self.guard = kernel.IdempotencyGuard(store.idempotency, **leases)
        self.locks = kernel.ResourceLockManager(
            storage=store.resource_lock,
            availability_provider={CAPITAL: plan.capital}.__getitem__,
        )
        self.governor = kernel.IntentRetryGovernor(MAX_REJECTIONS, storage=store.intent_retry)
        self.ledger = kernel.DecisionLedger(store.decision_ledger)
        self.saga = kernel.SagaCompensation(storage=store.saga, **leases)
        self.broker = Broker(self.runtime.audit, name)

    def register_agents(self) -> None:
        """Shake hands for every agent, as each process does when it starts."""
        for symbol in self.plan.symbols:
            result = self.runtime.register_agent(agent_of(symbol), contract_of(symbol), VERSION)
            if not result.accepted:
                raise PermissionError(f"{agent_of(symbol)} was not accepted: {result.reason}")

    def note(self, dfid: str, event: str, **details: Any) -> None:
        """Append an audit row that says which process it was."""
        self.runtime.audit.record(dfid, event, details={**details, "worker": self.name})
