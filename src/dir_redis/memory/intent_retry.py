"""Rejection counts by dfid."""

from __future__ import annotations

from typing import Unpack

from dir_redis.arguments import INT64_MAX, checked
from dir_redis.fleet_protocols import RetryLimitStorage
from dir_redis.limits import LimitOptions
from dir_redis.memory.storage import MemoryStorage, MemoryStore
from dir_redis.records import RetryCount


class MemoryIntentRetryStorage(MemoryStorage, RetryLimitStorage):
    """Rejection counts of one process (DIR §6.2)."""

    def __init__(self, store: MemoryStore | None = None, **limits: Unpack[LimitOptions]) -> None:
        super().__init__(store, **limits)
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

    @checked
    def increment(self, dfid: str, limit: int | None = None) -> RetryCount:
        with self._lock:
            count = min(self._counts.get(dfid, 0) + 1, INT64_MAX)
            self._counts[dfid] = count
        return RetryCount.of(count, limit)
