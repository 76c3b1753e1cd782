"""A store whose every call a test may make, refuse, delay or die at."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from dir_redis import StorageBundle


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the demos catches it."""


@dataclass(frozen=True)
class Call:
    """A call of a storage, not made yet."""

    name: str
    arguments: tuple[Any, ...]
    make: Callable[[], Any]


Hook = Callable[[Call], Any]


class Intercepted:
    """A storage whose calls a hook makes, or does not."""

    def __init__(self, storage: object, hook: Hook) -> None:
        self._storage = storage
        self._hook = hook

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)

        def call(*arguments: Any, **options: Any) -> Any:
            return self._hook(Call(name, arguments, lambda: method(*arguments, **options)))

        return call


def intercepted(store: StorageBundle, hook: Hook) -> Any:
    names = [field.name for field in fields(StorageBundle)][:9]
    storages: dict[str, Any] = {name: Intercepted(getattr(store, name), hook) for name in names}
    return replace(store, **storages)


def killed_at(number: int) -> Hook:
    """A hook that kills before the call of that number is made."""
    numbers = itertools.count()

    def hook(call: Call) -> Any:
        if next(numbers) == number:
            raise Killed
        return call.make()

    return hook
