"""Results by key, kept as the JSON text that other backends store."""

from __future__ import annotations

import json
from typing import Any

from dir_redis.arguments import checked
from dir_redis.json_codec import encode_object
from dir_redis.memory.storage import MemoryStorage
from dir_redis.protocols import IdempotencyStorage


class MemoryIdempotencyStorage(MemoryStorage, IdempotencyStorage):
    """Idempotency results of one process (DIR §7)."""

    def __init__(self) -> None:
        super().__init__()
        self._results: dict[str, str] = {}

    @checked
    def get(self, key: str) -> dict[str, Any] | None:
        with self._lock:
            encoded = self._results.get(key)
        return None if encoded is None else json.loads(encoded)

    @checked
    def set(self, key: str, result: dict[str, Any]) -> None:
        encoded = encode_object("result", result)
        with self._lock:
            self._results[key] = encoded
