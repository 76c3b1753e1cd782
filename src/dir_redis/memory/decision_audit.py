"""Audit rows in a list, and each flow's rows in a list of its own."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from typing import Any

from dir_redis.arguments import checked
from dir_redis.json_codec import encode_object
from dir_redis.log_rows import audit_row
from dir_redis.memory.storage import MemoryStorage
from dir_redis.protocols import DecisionAuditStorage


class MemoryDecisionAuditStorage(MemoryStorage, DecisionAuditStorage):
    """The audit log of one process."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[dict[str, Any]] = []
        self._rows_by_flow: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

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
        stored_details = json.loads(encode_object("details", {} if details is None else details))
        with self._lock:
            row = audit_row(
                dfid=dfid,
                root_dfid=root_dfid,
                event=event,
                moment=self._clock.now(),
                step_id=step_id,
                state=state,
                details=stored_details,
                severity=severity,
            )
            self._rows.append(row)
            self._rows_by_flow[dfid].append(row)

    @checked
    def events_for_dfid(self, dfid: str) -> list[dict[str, Any]]:
        with self._lock:
            return copy.deepcopy(self._rows_by_flow.get(dfid, []))

    def all_events_chronological(self) -> list[dict[str, Any]]:
        with self._lock:
            return copy.deepcopy(self._rows)
