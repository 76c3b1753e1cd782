"""Closing connections before a fork.

A child that inherits SQLite's state believes it holds file locks that the kernel gave only to
its parent, even on a connection it opens itself: the parent could then delete the write-ahead
log that the child is writing. So nothing is left to inherit; both open again when they need to.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol
from weakref import WeakSet


class Pausable(Protocol):
    """Something with a connection that must not be open during a fork."""

    def pause(self) -> None:
        """Close the connection and let nobody open it until resume."""
        ...

    def resume(self) -> None:
        """Let it be opened again."""
        ...


_watched: WeakSet[Pausable] = WeakSet()
_paused: list[Pausable] = []
_one_at_a_time = threading.Lock()


def watch(pausable: Pausable) -> None:
    """Pause it around every fork for as long as it exists."""
    with _one_at_a_time:
        _watched.add(pausable)


def _before() -> None:
    _one_at_a_time.acquire()
    for pausable in list(_watched):
        pausable.pause()
        _paused.append(pausable)


def _after() -> None:
    while _paused:
        _paused.pop().resume()
    _one_at_a_time.release()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
