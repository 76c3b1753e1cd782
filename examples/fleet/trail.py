"""One flow's trail in the store: its transitions and audit rows, read once and then appended to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dir_redis import StorageBundle, TransitionConflictError
from examples.fleet.grammar import FINAL, Event, Status

# Each names who wrote a row by a number that is larger for whoever came later: the flow's claim for
# workers, the epoch of its dirty mark for compensators.
FENCES = ("token", "epoch")


class Trail:
    """What happened in a flow so far, and the way to go on.

    Each step is skipped if the trail shows it done, so that whoever takes a flow over goes the same
    way as the one before.

    Args:
        store: where the trail is.
        dfid: the flow.
        agent_id: who appends.
        fence: goes into each row: ``token`` or ``epoch``, and its number.
        check: called before each write; raises if the flow is not the caller's any more.
    """

    def __init__(
        self,
        store: StorageBundle,
        dfid: str,
        agent_id: str,
        *,
        fence: Mapping[str, int],
        check: Callable[[], None],
    ) -> None:
        self.dfid = dfid
        self.agent_id = agent_id
        self._store = store
        self._fence = fence
        self._check = check
        # The status first: the rows that lead to it were there before it.
        statuses = [str(row["to_status"]) for row in store.lifecycle.get_transitions(dfid)]
        self._details: dict[str, dict[str, Any]] = {
            row["event"]: row["details"]
            for row in without_late_rows(store.decision_audit.events_for_dfid(dfid))
        }
        self.status = statuses[-1] if statuses else Status.CREATED
        self._been = set(statuses)

    @property
    def finished(self) -> bool:
        """Whether the flow has ended."""
        return self.status in FINAL

    def __contains__(self, event: Event) -> bool:
        return event in self._details

    def details(self, event: Event) -> dict[str, Any]:
        """The details of the latest row of an event."""
        return self._details[event]

    def note(self, event: Event, **details: Any) -> None:
        """Append an audit row."""
        self.note_all({event: details})

    def note_all(self, rows: Mapping[Event, dict[str, Any]]) -> None:
        """Append several audit rows in one step."""
        self._check()
        for event, details in rows.items():
            details |= {"agent": self.agent_id, **self._fence}
            self._details[event] = details
        self._store.decision_audit.record_many(
            {
                "dfid": self.dfid,
                "event": event,
                "step_id": event.lower(),
                "state": self.status,
                "details": details,
                "agent_id": self.agent_id,
                "severity": "WARNING" if event == Event.FAILED else "INFO",
            }
            for event, details in rows.items()
        )

    def move(self, status: Status) -> None:
        """Append a transition, unless the flow has come that far already.

        Raises:
            TransitionConflictError: somebody else leads the flow.
        """
        if status in self._been:
            return
        self._check()
        try:
            self._store.lifecycle.transition(self.dfid, self.status, status)
        except TransitionConflictError as error:
            # A process that had lost the flow a moment before sent its last step late.
            if error.actual != status:
                raise
        self.status = status
        self._been.add(status)

    def close(self, status: Status, **details: Any) -> None:
        """End the flow: its transition and its row, its count, its reservation and its session."""
        self._check()
        self._store.lifecycle.close_flow(
            self.dfid,
            status,
            expected=self.status,
            event=Event.CLOSED,
            details={**details, "agent": self.agent_id, **self._fence},
            agent_id=self.agent_id,
            session_ttl_sec=3600,
        )
        self.status = status


def without_late_rows(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the rows of processes that had lost their flow when the row arrived.

    The log takes a row from anybody; that a larger token was there first shows the row as late. The
    final row always counts, since it is one step with the transition, which has its own check.
    """
    newest: dict[tuple[str, str], int] = {}
    kept = []
    for row in rows:
        late = False
        for fence in FENCES:
            number = row["details"].get(fence)
            if number is None:
                continue
            seen = newest.get((row["dfid"], fence), number)
            newest[row["dfid"], fence] = max(seen, number)
            late = number < seen and row["event"] != Event.CLOSED
        if not late:
            kept.append(row)
    return kept
