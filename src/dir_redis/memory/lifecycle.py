"""Transitions in a list, and each flow's in a list of its own."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from dir_redis.arguments import checked
from dir_redis.log_rows import transition_row
from dir_redis.memory.storage import MemoryStorage
from dir_redis.protocols import LifecycleStorage


class MemoryLifecycleStorage(MemoryStorage, LifecycleStorage):
    """The transition log of one process (DIR §4.3)."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[dict[str, Any]] = []
        self._rows_by_flow: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    @checked
    def record_transition(
        self, dfid: str, from_status: str, to_status: str, *, root_dfid: str | None = None
    ) -> None:
        with self._lock:
            row = transition_row(
                dfid=dfid,
                root_dfid=root_dfid,
                from_status=from_status,
                to_status=to_status,
                moment=self._clock.now(),
            )
            self._rows.append(row)
            self._rows_by_flow[dfid].append(row)

    @checked
    def get_transitions(self, dfid: str | None = None) -> list[dict[str, Any]]:
        with self._lock:
            rows = self._rows if dfid is None else self._rows_by_flow.get(dfid, [])
            return [dict(row) for row in rows]
