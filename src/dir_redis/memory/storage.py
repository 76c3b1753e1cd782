"""What all memory storages have: one lock, one clock, and no schema to make."""

from __future__ import annotations

import threading
from typing import Unpack

from dir_redis.clock import MonotonicClock
from dir_redis.limits import LimitOptions, Limits


class MemoryStore:
    """What the storages of one memory bundle share, so that one step can span several of them.

    Attributes:
        lock: held by whoever reads or changes anything; the same thread may take it again.
        changed: notified after every change that somebody may wait for.
        clock: the store's own.
        limits: its size limits.
    """

    def __init__(self, **limits: Unpack[LimitOptions]) -> None:
        self.limits = Limits(**limits)
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.clock = MonotonicClock()


class MemoryStorage:
    """A storage whose whole state is this object.

    Args:
        store: what it shares with others of a bundle; a storage that stands alone has its own.
        limits: the size limits of one that stands alone.
    """

    def __init__(self, store: MemoryStore | None = None, **limits: Unpack[LimitOptions]) -> None:
        self._store = MemoryStore(**limits) if store is None else store
        self._limits = self._store.limits
        self._lock = self._store.lock
        self._clock = self._store.clock

    def init_schema(self) -> None:
        """Do nothing: memory needs no schema."""
