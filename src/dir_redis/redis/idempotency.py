"""Results as strings of JSON, one key each."""

from __future__ import annotations

from typing import Any

from dir_redis.json_codec import encode_object
from dir_redis.protocols import IdempotencyStorage
from dir_redis.redis.replies import as_json
from dir_redis.redis.steps import Command, Steps, operation
from dir_redis.redis.storage import RedisStorage


class RedisIdempotencyStorage(RedisStorage, IdempotencyStorage):
    """Idempotency results of a fleet (DIR §7)."""

    @operation
    def get(self, key: str) -> Steps[dict[str, Any] | None]:
        stored_at = self._keys.idempotency(key)
        reply = yield Command("GET", stored_at)
        return None if reply is None else as_json(stored_at, reply)

    @operation
    def set(self, key: str, result: dict[str, Any]) -> Steps[None]:
        encoded = encode_object("result", result)
        yield Command("SET", self._keys.idempotency(key), (encoded,), write=True)
