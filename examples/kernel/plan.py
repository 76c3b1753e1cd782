"""What a run consists of: agents, contracts, limits; kept in the store for the checks after it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dir_redis import StorageBundle
from examples.fleet.prices import Decision
from examples.fleet.strategy import Order, propose

CAPITAL = "capital"
CAPITAL_LIMIT = 70_000.0
CONTRACT_LIMITS = {"AAPL": 25_000.0, "AMZN": 25_000.0, "GOOG": 15_000.0, "MSFT": 25_000.0}
CONTRACT_LIMIT = 15_000.0
MAX_REJECTIONS = 3
PROPOSALS_PER_ESCALATION = 5
DELIVERED_TWICE_EVERY = 8

_PLAN_ID = "demo:plan"


@dataclass(frozen=True, slots=True)
class Plan:
    """A run.

    Attributes:
        flows: the dfids of all flows.
        symbols: what is traded, by one agent each.
        workers: the names of the processes; any of them acts for any agent.
        capital: US dollars that all of them share.
        escalation_budget: how many escalations each agent has.
        kernel: whose managers are used.
    """

    flows: list[str]
    symbols: list[str]
    workers: list[str]
    capital: float
    escalation_budget: int
    kernel: str

    def save(self, store: StorageBundle) -> None:
        """Write the plan."""
        store.context.set_state(_PLAN_ID, json.dumps(asdict(self)))

    @classmethod
    def load(cls, store: StorageBundle) -> Plan:
        """Read the plan of the run that the store holds."""
        return cls(**json.loads(store.context.get_state(_PLAN_ID) or "{}"))


def make_plan(todo: Sequence[Decision], *, workers: int, kernel: str) -> Plan:
    """Plan a run of a number of worker processes."""
    symbols = sorted({each.symbol for each in todo})
    return Plan(
        flows=[each.dfid for each in todo],
        symbols=symbols,
        workers=[f"worker-{number}" for number in range(1, workers + 1)],
        capital=CAPITAL_LIMIT,
        escalation_budget=max(1, len(todo) // len(symbols) // PROPOSALS_PER_ESCALATION),
        kernel=kernel,
    )


def worth_proposing(decisions: Sequence[Decision]) -> list[Decision]:
    """Leave out the months in which an agent proposes nothing."""
    return [each for each in decisions if propose(each.prices) is not None]


def order_for(decision: Decision) -> Order:
    """What the agent would like to do."""
    order = propose(decision.prices)
    assert order is not None, decision.dfid
    return order


def agent_of(symbol: str) -> str:
    """The agent that trades a symbol."""
    return f"trader-{symbol}"


def book_of(symbol: str) -> str:
    """Where the fleet keeps its book of a symbol: by flow, the shares bought or sold."""
    return f"book:{symbol}"


def contract_of(symbol: str) -> dict[str, Any]:
    """What an agent may do, as dir-core's validation reads it."""
    return {
        "subject": {"agent_id": agent_of(symbol), "role": "EXECUTOR"},
        "mission": {"statement": f"follow the trend of {symbol}"},
        "authority": {
            "allowed_policy_types": ["BUY", "SELL"],
            "resource_scope": {"instruments": [symbol]},
            "limits": {"max_order_size_usd": CONTRACT_LIMITS.get(symbol, CONTRACT_LIMIT)},
        },
    }


def deliveries(todo: Sequence[Decision], *, workers: int) -> list[list[Decision]]:
    """Deal the decisions out; each eighth goes to two workers at once, as queues may deliver twice.

    Returns:
        For each worker its decisions in order: its own, and after them everybody else's, the
        latest first, in case their worker is dead.
    """
    own: list[list[Decision]] = [[] for _ in range(workers)]
    for index, decision in enumerate(todo):
        own[index % workers].append(decision)
        if index % DELIVERED_TWICE_EVERY == 0:
            own[(index + 1) % workers].append(decision)
    return [hand + [each for each in reversed(todo) if each not in hand] for hand in own]
