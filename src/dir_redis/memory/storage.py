"""What all memory storages have: one lock, one clock, and no schema to make."""

from __future__ import annotations

import threading

from dir_redis.clock import MonotonicClock


class MemoryStore:
    """What the storages of one memory bundle share, so that one step can span several of them.

    Attributes:
        lock: held by whoever reads or changes anything; the same thread may take it again.
        changed: notified after every change that somebody may wait for.
        clock: the store's own.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.clock = MonotonicClock()


class MemoryStorage:
    """A storage whose whole state is this object.

    Args:
        store: what it shares with others of a bundle; a storage that stands alone has its own.
    """

    def __init__(self, store: MemoryStore | None = None) -> None:
        self._store = MemoryStore() if store is None else store
        self._lock = self._store.lock
        self._clock = self._store.clock

    def init_schema(self) -> None:
        """Do nothing: memory needs no schema."""
