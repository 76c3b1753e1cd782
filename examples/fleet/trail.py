"""One flow's trail in the store: its transitions and audit rows, read once and then appended to."""

from __future__ import annotations

from typing import Any

from dir_redis import StorageBundle
from examples.fleet.grammar import FINAL, Event, Status


class Trail:
    """What happened in a flow so far. Only who holds the flow's order may append.

    Args:
        store: where the trail is.
        dfid: the flow.
        agent_id: the agent that appends, or on whose behalf.
    """

    def __init__(self, store: StorageBundle, dfid: str, agent_id: str) -> None:
        self.dfid = dfid
        self.agent_id = agent_id
        self._store = store
        self._details: dict[str, dict[str, Any]] = {
            row["event"]: row["details"] for row in store.decision_audit.events_for_dfid(dfid)
        }
        self.status = status_of(store, dfid)

    @property
    def begun(self) -> bool:
        """Whether anything was written yet."""
        return bool(self._details)

    @property
    def finished(self) -> bool:
        """Whether the flow has ended; then its trail is whole, for the end is written last."""
        return self.status in FINAL

    def __contains__(self, event: Event) -> bool:
        return event in self._details

    def details(self, event: Event) -> dict[str, Any]:
        """The details of the latest row of an event."""
        return self._details[event]

    def note(self, event: Event, **details: Any) -> None:
        """Append an audit row."""
        details["agent"] = self.agent_id
        self._store.decision_audit.record(
            self.dfid,
            event,
            step_id=event.lower(),
            state=self.status,
            details=details,
            agent_id=self.agent_id,
            severity="WARNING" if event in (Event.FAILED, Event.LOST) else "INFO",
        )
        self._details[event] = details

    def move(self, status: Status) -> None:
        """Append a transition."""
        self._store.lifecycle.record_transition(self.dfid, self.status, status)
        self.status = status


def status_of(store: StorageBundle, dfid: str) -> str:
    """The status of a flow; CREATED if it has none yet."""
    transitions = store.lifecycle.get_transitions(dfid)
    return str(transitions[-1]["to_status"]) if transitions else Status.CREATED
