"""Rejection counts by dfid."""

from __future__ import annotations

from dir_redis.arguments import checked
from dir_redis.memory.storage import MemoryStorage
from dir_redis.protocols import IntentRetryStorage


class MemoryIntentRetryStorage(MemoryStorage, IntentRetryStorage):
    """Rejection counts of one process (DIR §6.2)."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, int] = {}

    @checked
    def get_count(self, dfid: str) -> int:
        with self._lock:
            return self._counts.get(dfid, 0)

    @checked
    def set_count(self, dfid: str, count: int) -> None:
        with self._lock:
            self._counts[dfid] = count

    @checked
    def delete(self, dfid: str) -> None:
        with self._lock:
            self._counts.pop(dfid, None)
