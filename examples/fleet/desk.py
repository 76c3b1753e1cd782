"""What an agent's process works with, and its own log."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from dir_redis import StorageBundle
from examples.fleet.book import Book

DUPLICATE = "DUPLICATE_DELIVERY"
PROCESS_LOST = "PROCESS_LOST"


@dataclass(slots=True)
class Desk:
    """What the flows of one process share.

    Attributes:
        store: the fleet's store.
        agent_id: the agent.
        session_token: names this process; the next one of the same agent has another.
        escalation_budget: escalations the agent may make per hour.
        book: the agent's state.
        random: varies how long orders take, nothing else.
    """

    store: StorageBundle
    agent_id: str
    session_token: str
    escalation_budget: int
    book: Book
    random: Random = field(default_factory=Random)

    def note_duplicate(self, dfid: str, how: str) -> None:
        """Record that a delivery came to nothing; in a log of one's own, for the flow's is not."""
        self.store.decision_audit.record(
            log_of(self.agent_id), DUPLICATE, details={"flow": dfid, "how": how}
        )


def log_of(agent_id: str) -> str:
    """The dfid under which an agent's process logs what belongs to no flow of its own."""
    return f"fleet:log:{agent_id}"
