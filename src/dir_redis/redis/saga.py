"""Dirty marks as hashes, and a sorted set that keeps them oldest first."""

from __future__ import annotations

from typing import Any

from dir_redis.errors import CorruptRecordError
from dir_redis.protocols import SagaStorage
from dir_redis.redis.replies import as_json, as_ordered, as_text
from dir_redis.redis.steps import Call, Command, Steps, operation, ordered_members
from dir_redis.redis.storage import RedisStorage


class RedisSagaStorage(RedisStorage, SagaStorage):
    """Flows of a fleet that wait for compensation (DIR §7)."""

    @operation
    def mark_dirty(self, dfid: str, failed_step: str, partial_state_json: str) -> Steps[None]:
        keys = (self._keys.saga(dfid), self._keys.sagas_dirty(dfid))
        yield Call("saga_mark", keys, (dfid, failed_step, partial_state_json))

    @operation
    def get_dirty_flows(self) -> Steps[list[str]]:
        keys = self._keys.in_each_partition("sagas_dirty")
        return as_ordered((yield ordered_members(keys)))

    @operation
    def get_dirty_state(self, dfid: str) -> Steps[dict[str, Any] | None]:
        key = self._keys.saga(dfid)
        failed_step, partial_state = yield Command("HMGET", key, ("failed_step", "partial_state"))
        if failed_step is None and partial_state is None:
            return None
        if failed_step is None:
            raise CorruptRecordError(key, "it has no failed step")
        return {"failed_step": as_text(failed_step), "partial_state": as_json(key, partial_state)}

    @operation
    def clear_dirty(self, dfid: str) -> Steps[None]:
        yield Call("saga_clear", (self._keys.saga(dfid), self._keys.sagas_dirty(dfid)), (dfid,))
