"""What all memory storages have: one lock, one clock, and no schema to make."""

from __future__ import annotations

import threading
from typing import Unpack

from dir_redis.clock import MonotonicClock
from dir_redis.errors import StorageError
from dir_redis.limits import LimitOptions, Limits


class MemoryStore:
    """What the storages of one memory bundle share, so that one step can span several of them.

    Attributes:
        lock: held by whoever reads or changes anything; the same thread may take it again.
        changed: notified after every change that somebody may wait for.
        appended: notified after every row of the audit log.
        clock: the store's own.
        limits: its size limits.
    """

    def __init__(self, **limits: Unpack[LimitOptions]) -> None:
        self.limits = Limits(**limits)
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.appended = threading.Condition(self.lock)
        self.clock = MonotonicClock()
        self._closed = False

    def close(self) -> None:
        """Refuse all further use, also by those who wait; further calls do nothing."""
        with self.lock:
            self._closed = True
            self.changed.notify_all()
            self.appended.notify_all()

    def check_open(self) -> None:
        """Refuse to go on with a store that was closed.

        Raises:
            StorageError: it was.
        """
        if self._closed:
            raise StorageError("memory:// was closed")

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        """Wait, with the lock given away meanwhile, until a condition is notified or time is over.

        Raises:
            StorageError: the store was closed meanwhile.
        """
        condition.wait(min(seconds, threading.TIMEOUT_MAX))
        self.check_open()


class MemoryStorage:
    """A storage whose whole state is this object.

    Args:
        store: what it shares with others of a bundle; a storage that stands alone has its own.
        limits: the size limits of one that stands alone.
    """

    def __init__(self, store: MemoryStore | None = None, **limits: Unpack[LimitOptions]) -> None:
        self._store = MemoryStore(**limits) if store is None else store
        self._limits = self._store.limits
        self._clock = self._store.clock

    @property
    def _lock(self) -> threading.RLock:
        """The store's lock, which every use of it begins with."""
        self._store.check_open()
        return self._store.lock

    def init_schema(self) -> None:
        """Do nothing: memory needs no schema."""
