"""An agent's state in the store: what it is about to do, and what it has done."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

from dir_redis import StorageBundle
from examples.fleet.grammar import Event
from examples.fleet.trail import Trail


@dataclass(slots=True)
class Book:
    """An agent's claims, positions and count; each change is one write of the whole.

    A claim is written before the flow's order is taken, and goes in the same write that books the
    flow's result: as long as it is there, the result is not booked.

    Attributes:
        agent_id: the agent.
        claims: holders by dfid, of flows that the agent has or may be about to have.
        positions: shares by symbol, negative when sold short.
        finished: how many flows the agent ended.
    """

    agent_id: str
    claims: dict[str, str] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    finished: int = 0

    @classmethod
    def load(cls, store: StorageBundle, agent_id: str) -> Book:
        """Read an agent's book; an unknown agent's is empty."""
        stored = store.context.get_state(agent_id)
        return cls(agent_id) if stored is None else cls(agent_id, **json.loads(stored))

    def claim(self, store: StorageBundle, dfid: str, holder: str) -> None:
        """Write that a holder is about to take a flow's order."""
        self.claims[dfid] = holder
        self._save(store)

    def drop(self, store: StorageBundle, dfid: str) -> None:
        """Forget a claim that came to nothing."""
        self.claims.pop(dfid, None)
        self._save(store)

    def settle(self, store: StorageBundle, trail: Trail) -> None:
        """Book a finished flow of the agent, and forget its claim."""
        self.finished += 1
        if Event.EXECUTED in trail:
            done = trail.details(Event.EXECUTED)
            positions = Counter(self.positions)
            positions[done["symbol"]] += done["change"]
            self.positions = dict(positions)
        self.drop(store, trail.dfid)

    def _save(self, store: StorageBundle) -> None:
        document = {
            "claims": self.claims,
            "positions": self.positions,
            "finished": self.finished,
        }
        store.context.set_state(self.agent_id, json.dumps(document))
