"""Rejections counted in the store, so that none is lost."""

from __future__ import annotations

import logging

from dir_core.intent_retry import IntentRetryGovernor as CoreIntentRetryGovernor

from dir_redis.fleet_protocols import RetryLimitStorage
from dir_redis.kernel.arguments import number
from dir_redis.kernel.storages import chosen_storage
from dir_redis.memory import MemoryIntentRetryStorage
from dir_redis.sqlite import SqliteIntentRetryStorage

logger = logging.getLogger(__name__)


class IntentRetryGovernor(CoreIntentRetryGovernor):
    """dir-core's retry governor, safe between hosts (DIR §6.2).

    Args:
        max_retries: the number of rejections after which a flow must be aborted, ``inf`` for
            none.
        db_path: a SQLite file of this package; counts without a storage.
        storage: where the counts are kept; with neither, in this process's memory.

    Raises:
        TypeError: the storage lacks an atomic operation, or max_retries is no number.
        ValueError: max_retries is NaN.
    """

    def __init__(
        self,
        max_retries: int = 3,
        db_path: str | None = None,
        *,
        storage: RetryLimitStorage | None = None,
    ) -> None:
        chosen = chosen_storage(
            self, "intent_retry", storage, db_path, SqliteIntentRetryStorage, "increment"
        )
        if chosen is None:
            chosen = MemoryIntentRetryStorage()
        super().__init__(number("max_retries", max_retries), storage=chosen)

    def record_rejection(self, dfid: str) -> int:
        """Count one more rejection of a flow, and return the new count."""
        count = int(self._storage.increment(dfid).count)
        logger.debug("Intent retry: dfid=%s count=%d", dfid, count)
        return count
