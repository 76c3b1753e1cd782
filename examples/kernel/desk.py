"""A process's managers, made of one store: the only place where the two kernels differ."""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass
class Desk:
    """What a process works with; threads may share it.

    Attributes:
        store: the fleet's store.
        plan: the run's.
        name: the process.
    """

    store: StorageBundle
    plan: Plan
    name: str
    runtime: Any = field(init=False)
    guard: Any = field(init=False)
    locks: Any = field(init=False)
    governor: Any = field(init=False)
    ledger: Any = field(init=False)
    saga: Any = field(init=False)
    broker: Broker = field(init=False)
    kernel: Any = field(init=False)

    def __post_init__(self) -> None:
        store, kernel = self.store, import_module(KERNELS[self.plan.kernel])
        self.kernel = kernel
        self.runtime = kernel.DecisionRuntime(
            store, max_escalations_per_hour=self.plan.escalation_budget
        )
        self.guard = kernel.IdempotencyGuard(store.idempotency, **LEASES[self.plan.kernel])
        self.locks = kernel.ResourceLockManager(
            storage=store.resource_lock,
            availability_provider={CAPITAL: self.plan.capital}.__getitem__,
        )
        self.governor = kernel.IntentRetryGovernor(MAX_REJECTIONS, storage=store.intent_retry)
        self.ledger = kernel.DecisionLedger(store.decision_ledger)
        self.saga = kernel.SagaCompensation(storage=store.saga, **LEASES[self.plan.kernel])
        self.broker = Broker(self.runtime.audit, self.name)

    def register_agents(self) -> None:
        """Shake hands for every agent, as each process does when it starts."""
        for symbol in self.plan.symbols:
            result = self.runtime.register_agent(agent_of(symbol), contract_of(symbol), VERSION)
            if not result.accepted:
                raise PermissionError(f"{agent_of(symbol)} was not accepted: {result.reason}")

    def note(self, dfid: str, event: str, **details: Any) -> None:
        """Append an audit row that says which process it was."""
        self.runtime.audit.record(dfid, event, details={**details, "worker": self.name})
