"""How often each write is applied, counted by the servers themselves."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any


class Applications:
    """Counts how often writes were applied, by the key that holds the latest one's number.

    Applying a write stores its number, and storing tells whoever listens. A number that is found
    stored tells nothing: it would be stored again by a second application.
    """

    def __init__(self, listeners: list[Any]) -> None:
        self._listeners = listeners

    def since_the_last_time(self) -> Counter[str]:
        """How many there were under each key, those of every write that has returned included."""
        found: Counter[str] = Counter()
        for listener in self._listeners:
            listener.ping()
            while (message := listener.get_message(timeout=5))["type"] != "pong":
                channel = message["channel"].decode()
                if message["type"] == "pmessage" and message["data"] == b"set":
                    found[channel.partition(":")[2]] += 1
        return found


@contextlib.contextmanager
def counted_applications(admins: Iterable[Any], namespace: str = "*") -> Iterator[Applications]:
    """Count applications for the time of a with block.

    Args:
        admins: a client of each server that takes writes.
        namespace: whose; of any by default.
    """
    with contextlib.ExitStack() as listening:
        listeners = []
        for admin in admins:
            admin.config_set("notify-keyspace-events", "K$")
            listening.callback(admin.config_set, "notify-keyspace-events", "")
            listener = listening.enter_context(admin.pubsub())
            listener.psubscribe(f"__keyspace@0__:{{{namespace}:*}}:op:*")
            listeners.append(listener)
        applications = Applications(listeners)
        applications.since_the_last_time()  # the subscriptions' own answers
        yield applications
