"""What the store says of a whole run, read once for the checks, the tables and the chart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from dir_redis import StorageBundle
from examples.fleet.grammar import Event
from examples.fleet.plan import Plan
from examples.fleet.sampling import SAMPLED, SAMPLES_LOG

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a resource was in use from a moment on."""

    moment: datetime
    amount: Decimal


@dataclass(frozen=True, slots=True)
class History:
    """The logs of a run.

    Attributes:
        plan: what was to be done.
        rows: all audit rows, in order.
        flow_rows: the audit rows by dfid.
        flow_transitions: the transitions by dfid.
    """

    plan: Plan
    rows: list[Row]
    flow_rows: dict[str, list[Row]]
    flow_transitions: dict[str, list[Row]]

    @classmethod
    def read(cls, store: StorageBundle) -> History:
        """Read a run from the store that holds it."""
        rows = store.decision_audit.all_events_chronological()
        return cls(
            Plan.load(store), rows, _by_flow(rows), _by_flow(store.lifecycle.get_transitions())
        )

    def of(self, event: str) -> Iterator[Row]:
        """The audit rows of an event, in order."""
        return (row for row in self.rows if row["event"] == event)

    def sampled_use(self, resource_id: str) -> list[Use]:
        """What was seen reserved of a resource, each time it was looked at."""
        return [
            Use(moment_of(row), Decimal(str(row["details"]["used"][resource_id])))
            for row in self.flow_rows.get(SAMPLES_LOG, [])
            if row["event"] == SAMPLED
        ]

    def logged_use(self, resource_id: str) -> list[Use]:
        """What the flows' own rows say is reserved of a resource, after each change.

        A flow records RESERVED after it has reserved and RELEASING before it releases, so the
        time between the rows lies within the time it really held the amount: at every row, the
        sum is at most what was really reserved. (On a cluster with several partitions the order
        of different flows' rows is that of the nodes' clocks, so there it is as good as they are.)
        """
        held: dict[str, Decimal] = {}
        total = Decimal()
        curve = []
        for row in self.rows:
            if row["event"] == Event.RESERVED:
                amount = Decimal(str(row["details"]["amounts"].get(resource_id, 0)))
                held[row["dfid"]] = amount
                total += amount
            elif row["event"] == Event.RELEASING:
                total -= held.pop(row["dfid"], Decimal())
            else:
                continue
            curve.append(Use(moment_of(row), total))
        return curve


def moment_of(row: Row) -> datetime:
    """When a row was written, by the store's clock."""
    return datetime.fromisoformat(row["created_at"])


def _by_flow(rows: list[Row]) -> dict[str, list[Row]]:
    flows: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        flows[row["dfid"]].append(row)
    return dict(flows)
