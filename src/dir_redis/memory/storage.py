"""What all memory storages have: one lock, one clock, and no schema to make."""

from __future__ import annotations

import threading

from dir_redis.clock import MonotonicClock


class MemoryStorage:
    """A storage whose whole state is this object."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clock = MonotonicClock()

    def init_schema(self) -> None:
        """Do nothing: memory needs no schema."""
