"""Looking at the fleet while it runs, from outside: all that is known comes from the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dir_redis import Holder, StorageBundle
from examples.fleet.compensator import COMPENSATOR
from examples.fleet.desk import agent_of, log_of
from examples.fleet.grammar import Event
from examples.fleet.plan import CAPITAL, Plan

SAMPLES_LOG = "fleet:samples"
SAMPLED = "USE_SAMPLED"
KILLED = "WORKER_KILLED"
FREED = "RESERVATION_OF_KILLED_ENDED"


@dataclass(slots=True)
class Lookout:
    """Follows the audit log and the reservations.

    Attributes:
        store: the fleet's store.
        plan: the run's.
        owners: the name of the process that leads each flow that has begun and not ended.
        holders: who held capital at the latest look.
    """

    store: StorageBundle
    plan: Plan
    owners: dict[str, str] = field(default_factory=dict)
    holders: list[Holder] = field(default_factory=list)
    _cursor: str | None = None
    _ended: set[str] = field(default_factory=set)
    _not_working: set[str] = field(default_factory=lambda: {COMPENSATOR})
    _bereaved: dict[tuple[str, int | None], tuple[str, dict[str, Any]]] = field(
        default_factory=dict
    )

    @property
    def finished(self) -> int:
        """How many flows have ended."""
        return len(self._ended)

    @property
    def used(self) -> float:
        """The capital in use at the latest look, US dollars."""
        return float(sum(holder.amount for holder in self.holders))

    def look(self) -> None:
        """Read what was written since the last look, and who holds what now."""
        rows = self.store.decision_audit.iter_events(after=self._cursor)
        for row in rows:
            self._read(row)
        self._cursor = rows.cursor
        self.holders = self.store.resource_lock.holders(CAPITAL)
        used = {
            each: str(sum(holder.amount for holder in self.store.resource_lock.holders(each)))
            for each in self.plan.limits
            if each != CAPITAL
        }
        used[CAPITAL] = str(sum(holder.amount for holder in self.holders))
        self.store.decision_audit.record(SAMPLES_LOG, SAMPLED, details={"used": used})
        self._see_what_came_free()

    def holdings(self) -> dict[str, list[Holder]]:
        """By living process: the reservations of the flows it leads, as of the latest look."""
        found: dict[str, list[Holder]] = {}
        for holder in self.holders:
            name = self.owners.get(holder.dfid)
            if name is not None and name not in self._not_working:
                found.setdefault(name, []).append(holder)
        return found

    def note_kill(self, name: str) -> dict[str, Any]:
        """Record that a process was killed, and what it held.

        Returns:
            What was recorded.
        """
        self.look()
        held = self.holdings().get(name, [])
        self._not_working.add(name)
        details: dict[str, Any] = {
            "agent": agent_of(name),
            "name": name,
            "flows": sorted(dfid for dfid, owner in self.owners.items() if owner == name),
            "reservations": {
                holder.dfid: {
                    "amount": str(holder.amount),
                    "fencing_token": holder.fencing_token,
                }
                for holder in held
            },
        }
        log = log_of(agent_of(name))
        for dfid, reservation in details["reservations"].items():
            freed = {"flow": dfid, **reservation}
            self._bereaved[dfid, reservation["fencing_token"]] = (log, freed)
        # Last, for it may fail and be written all the same.
        self.store.decision_audit.record(log, KILLED, details=details, severity="WARNING")
        return details

    def _read(self, row: Mapping[str, Any]) -> None:
        dfid = row["dfid"]
        if row["event"] == Event.CLAIMED and dfid not in self._ended:
            self.owners[dfid] = row["details"]["owner"]
        elif row["event"] == Event.FAILED:
            self.owners[dfid] = COMPENSATOR
        elif row["event"] == Event.CLOSED:
            self.owners.pop(dfid, None)
            self._ended.add(dfid)

    def _see_what_came_free(self) -> None:
        there = {(holder.dfid, holder.fencing_token) for holder in self.holders}
        for each in [each for each in self._bereaved if each not in there]:
            log, details = self._bereaved[each]
            self.store.decision_audit.record(log, FREED, details=details)
            del self._bereaved[each]
