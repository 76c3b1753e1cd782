"""What is to be said of a dir-core file's records, gathered while they are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from dir_redis.errors import StorageError
from dir_redis.migrate.report import Listed

T = TypeVar("T")


@dataclass
class Noted:
    """Of one kind: records, as reports call them, and the reason.

    A record is read several times, and noted once.
    """

    not_represented: dict[str, str] = field(default_factory=dict)
    adjusted: dict[str, str] = field(default_factory=dict)


class Notes:
    """What is noted, by kind."""

    def __init__(self) -> None:
        self.of: defaultdict[type, Noted] = defaultdict(Noted)
        self._left_out: dict[str, str] = {}

    def lost(self, kind: type, key: object, reason: str) -> None:
        """Note a record that no store can hold."""
        self.of[kind].not_represented[f"{kind.__name__} {key!r}"] = reason

    def adjusted(self, kind: type, key: object, reason: str) -> None:
        """Note a record that is read otherwise than it is written there."""
        adjusted = self.of[kind].adjusted
        record = f"{kind.__name__} {key!r}"
        if reason not in adjusted.get(record, ""):
            adjusted[record] = "; ".join(filter(None, (adjusted.get(record), reason)))

    def leave_out(self, record: str, reason: str) -> None:
        """Note what is no record here."""
        self._left_out[record] = reason

    def left_out(self) -> list[Listed]:
        """All that is no record here."""
        return [Listed(record, reason) for record, reason in self._left_out.items()]

    def make(self, kind: type, key: object, build: Callable[[], T]) -> T | None:
        """Build a record; if that fails, note why and return None."""
        try:
            return build()
        except (TypeError, ValueError, StorageError) as error:
            self.lost(kind, key, str(error))
            return None
