"""What a run consists of, kept in the store for the checks after it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from dir_redis import StorageBundle
from examples.fleet.prices import Decision, symbol_of

CAPITAL = "capital"
CAPITAL_LIMIT = 100_000.0
SYMBOL_LIMIT = 40_000.0
DECISIONS_PER_TOKEN = 7
DELIVERED_TWICE_EVERY = 9

_PLAN_ID = "fleet:plan"


@dataclass(frozen=True, slots=True)
class Plan:
    """A run.

    Attributes:
        decisions: the dfids of all flows.
        agents: the agent_ids.
        limits: capacities by resource_id, US dollars.
        escalation_budget: how many escalations each agent may make.
        lease_sec: how long what a process holds outlives it.
    """

    decisions: list[str]
    agents: list[str]
    limits: dict[str, float]
    escalation_budget: int
    lease_sec: float

    @property
    def symbols(self) -> list[str]:
        """The symbols that are decided about."""
        return sorted({symbol_of(dfid) for dfid in self.decisions})

    def store(self, store: StorageBundle) -> None:
        """Write the plan, and declare its limits as capacities."""
        store.context.set_state(_PLAN_ID, json.dumps(asdict(self)))
        for resource_id, limit in self.limits.items():
            store.resource_lock.set_capacity(resource_id, limit)

    @classmethod
    def load(cls, store: StorageBundle) -> Plan:
        """Read the plan of the run that the store holds.

        Raises:
            LookupError: it holds none.
        """
        stored = store.context.get_state(_PLAN_ID)
        if stored is None:
            raise LookupError("the store holds no fleet's run")
        return cls(**json.loads(stored))


def make_plan(decisions: Sequence[Decision], *, workers: int, lease_sec: float) -> Plan:
    """Plan a run of a number of workers, one agent each."""
    symbols = sorted({decision.symbol for decision in decisions})
    return Plan(
        decisions=[decision.dfid for decision in decisions],
        agents=[f"agent-{number:02}" for number in range(1, workers + 1)],
        limits={CAPITAL: CAPITAL_LIMIT, **{symbol_limit(each): SYMBOL_LIMIT for each in symbols}},
        escalation_budget=max(1, len(decisions) // workers // DECISIONS_PER_TOKEN),
        lease_sec=lease_sec,
    )


def flow_key(dfid: str) -> str:
    """The idempotency key of a flow, which is claimed by whoever leads it."""
    return f"flow:{dfid}"


def book_of(symbol: str) -> str:
    """Where the fleet keeps its book of a symbol: by flow, the shares bought or sold."""
    return f"book:{symbol}"


def symbol_limit(symbol: str) -> str:
    """The resource_id of a symbol's limit."""
    return f"symbol:{symbol}"


def deliveries(decisions: Sequence[Decision], *, workers: int) -> list[list[Decision]]:
    """Deal the decisions out; each ninth goes to two workers, as a broker may deliver twice.

    Returns:
        For each worker its decisions in order.
    """
    dealt: list[list[Decision]] = [[] for _ in range(workers)]
    for index, decision in enumerate(decisions):
        dealt[index % workers].append(decision)
        if workers > 1 and index % DELIVERED_TWICE_EVERY == 0:
            dealt[(index + 1) % workers].append(decision)
    return dealt
