"""Dirty marks in a dict, oldest first."""

from __future__ import annotations

import json
from typing import Any

from dir_redis.arguments import checked
from dir_redis.memory.storage import MemoryStorage
from dir_redis.protocols import SagaStorage


class MemorySagaStorage(MemoryStorage, SagaStorage):
    """Flows of one process that wait for compensation (DIR §7)."""

    def __init__(self) -> None:
        super().__init__()
        self._marks: dict[str, tuple[str, str]] = {}

    @checked
    def mark_dirty(self, dfid: str, failed_step: str, partial_state_json: str) -> None:
        with self._lock:
            self._marks.pop(dfid, None)
            self._marks[dfid] = (failed_step, partial_state_json)

    def get_dirty_flows(self) -> list[str]:
        with self._lock:
            return list(self._marks)

    @checked
    def get_dirty_state(self, dfid: str) -> dict[str, Any] | None:
        with self._lock:
            mark = self._marks.get(dfid)
        if mark is None:
            return None
        return {"failed_step": mark[0], "partial_state": json.loads(mark[1])}

    @checked
    def clear_dirty(self, dfid: str) -> None:
        with self._lock:
            self._marks.pop(dfid, None)
