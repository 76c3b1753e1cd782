"""Rejection counts as strings, one key each."""

from __future__ import annotations

from dir_redis.arguments import INT64_MAX
from dir_redis.errors import CorruptRecordError
from dir_redis.fleet_protocols import RetryLimitStorage
from dir_redis.records import RetryCount
from dir_redis.redis.steps import Call, Command, Steps, operation
from dir_redis.redis.storage import RedisStorage


class RedisIntentRetryStorage(RedisStorage, RetryLimitStorage):
    """Rejection counts of a fleet (DIR §6.2)."""

    @operation
    def get_count(self, dfid: str) -> Steps[int]:
        key = self._keys.retry(dfid)
        reply = yield Command("GET", key)
        try:
            return int(reply or 0)
        except ValueError as error:
            raise CorruptRecordError(key, "it should hold an integer") from error

    @operation
    def set_count(self, dfid: str, count: int) -> Steps[None]:
        yield Command("SET", self._keys.retry(dfid), (count,), write=True)

    @operation
    def delete(self, dfid: str) -> Steps[None]:
        yield Command("DEL", self._keys.retry(dfid), write=True)

    @operation
    def increment(self, dfid: str, limit: int | None = None) -> Steps[RetryCount]:
        reply = yield Call("intent_retry_increment", (self._keys.retry(dfid),), (INT64_MAX,))
        return RetryCount.of(int(reply), limit)
