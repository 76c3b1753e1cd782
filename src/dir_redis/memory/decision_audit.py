"""Audit rows in a list, and each flow's rows in a list of its own."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from dir_redis.arguments import checked
from dir_redis.json_codec import encode_object
from dir_redis.log_rows import audit_row
from dir_redis.memory.storage import MemoryStorage
from dir_redis.protocols import DecisionAuditStorage

# A row without its details, and those as JSON.
_Row = tuple[dict[str, Any], str]


class MemoryDecisionAuditStorage(MemoryStorage, DecisionAuditStorage):
    """The audit log of one process."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[_Row] = []
        self._rows_by_flow: defaultdict[str, list[_Row]] = defaultdict(list)

    @checked
    def record(
        self,
        dfid: str,
        event: str,
        *,
        step_id: str = "",
        state: str = "",
        details: dict[str, Any] | None = None,
        root_dfid: str | None = None,
        agent_id: str | None = None,
        severity: str = "INFO",
    ) -> None:
        encoded = encode_object("details", {} if details is None else details)
        with self._lock:
            row = audit_row(
                dfid=dfid,
                root_dfid=root_dfid,
                event=event,
                moment=self._clock.now(),
                step_id=step_id,
                state=state,
                details={},
                severity=severity,
            )
            self._rows.append((row, encoded))
            self._rows_by_flow[dfid].append((row, encoded))

    @checked
    def events_for_dfid(self, dfid: str) -> list[dict[str, Any]]:
        with self._lock:
            rows = list(self._rows_by_flow.get(dfid, ()))
        return _copies(rows)

    def all_events_chronological(self) -> list[dict[str, Any]]:
        with self._lock:
            rows = list(self._rows)
        return _copies(rows)


def _copies(rows: list[_Row]) -> list[dict[str, Any]]:
    return [{**row, "details": json.loads(encoded)} for row, encoded in rows]
