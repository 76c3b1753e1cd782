"""What the flows of one process share."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from dir_redis import StorageBundle
from examples.fleet.broker import Broker
from examples.fleet.leases import Keeper
from examples.fleet.plan import Plan

NOT_NEEDED = "DELIVERY_NOT_NEEDED"


@dataclass(slots=True)
class Desk:
    """An agent's desk.

    Attributes:
        store: the fleet's store.
        plan: the run's.
        agent_id: the agent.
        name: names this process; the next one of the same agent has another.
        keeper: renews what the flows hold.
        broker: where orders are placed.
        random: varies how long orders take, nothing else.
    """

    store: StorageBundle
    plan: Plan
    agent_id: str
    name: str
    keeper: Keeper
    broker: Broker
    random: Random = field(default_factory=Random)

    def note_not_needed(self, dfid: str, owner: str | None) -> None:
        """Record that a delivery found its flow taken; in the agent's own log."""
        details = {"flow": dfid, "owner": owner}
        self.store.decision_audit.record(log_of(self.agent_id), NOT_NEEDED, details=details)


def log_of(agent_id: str) -> str:
    """The dfid under which is logged what concerns an agent and no flow."""
    return f"fleet:log:{agent_id}"


def agent_of(name: str) -> str:
    """The agent that a process of this name is."""
    return name.partition("#")[0]
