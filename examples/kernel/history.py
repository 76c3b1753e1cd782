"""What the store says of a whole run, read once for the checks and the tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dir_redis import StorageBundle
from examples.kernel.broker import account_of
from examples.kernel.plan import Plan

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class History:
    """The logs of a run.

    Attributes:
        plan: what was to be done.
        rows: all audit rows, in order.
        by_flow: the audit rows by dfid.
        moves: the transitions by dfid.
        entries: the ledger's entries by dfid.
    """

    plan: Plan
    rows: list[Row]
    by_flow: dict[str, list[Row]]
    moves: dict[str, list[Row]]
    entries: dict[str, Row]

    @classmethod
    def read(cls, store: StorageBundle) -> History:
        """Read a run from the store that holds it."""
        rows = list(store.decision_audit.iter_events())
        by_flow: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_flow[row["dfid"]].append(row)
        moves: defaultdict[str, list[Row]] = defaultdict(list)
        for row in store.lifecycle.get_transitions():
            moves[row["dfid"]].append(row)
        entries = {each["dfid"]: each for each in store.decision_ledger.all_entries_chronological()}
        return cls(Plan.load(store), rows, dict(by_flow), dict(moves), entries)

    def of(self, *events: str) -> Iterator[Row]:
        """All rows of some events, in order."""
        return (row for row in self.rows if row["event"] in events)

    def at_broker(self, dfid: str, event: str) -> list[Row]:
        """What the broker did for a flow."""
        rows = self.by_flow.get(account_of(dfid), [])
        return [row["details"] for row in rows if row["event"] == event]

    def outcome(self, dfid: str) -> str | None:
        """How a flow ended, by its first row that says so."""
        ends = [row for row in self.by_flow.get(dfid, []) if row["event"] == "FLOW_ENDED"]
        return ends[0]["details"]["outcome"] if ends else None

    def seconds(self) -> float:
        """From the first transition to the last."""
        moments = [
            datetime.fromisoformat(row["created_at"])
            for rows in self.moves.values()
            for row in rows
        ]
        return (max(moments) - min(moments)).total_seconds()
