"""The storage a manager stands on: the one handed in, or a file; with all it needs, or refused."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from dir_redis.limits import DEFAULT_LIMITS, Limits


class _Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closable)


def chosen_storage(
    manager: Any,
    kind: str,
    storage: object,
    db_path: str | None,
    open_file: Callable[[str], T],
    *needs: str,
) -> Any:
    """Return the storage handed in, or else open the file; None if there is neither.

    A file that is opened is the manager's: it is closed when the manager is gone.

    Args:
        manager: who will use it; keeps ``db_path`` as an attribute, as dir-core's do.
        kind: which storage of a bundle it is, such as ``saga``.
        storage: the storage handed in, or None.
        db_path: a SQLite file; counts without a storage.
        open_file: opens the file.
        needs: the operations the manager calls beside those of dir-core's Protocol.

    Raises:
        TypeError: the storage lacks an operation.
    """
    if storage is None and db_path is not None:
        manager.db_path = db_path
        opened = open_file(db_path)
        weakref.finalize(manager, opened.close)
        return opened
    if storage is not None:
        require(type(manager).__name__, kind, storage, *needs)
    return storage


def limits_of(storage: object) -> Limits:
    """How long ids and texts may be that a storage takes; the default of one of another maker."""
    limits: Limits = getattr(storage, "_limits", DEFAULT_LIMITS)
    return limits


def require(user: str, kind: str, storage: object, *needs: str) -> None:
    """Refuse a storage that has only what dir-core's Protocol asks for, or less.

    Args:
        user: the name of what uses it, in dir-core as here.
        kind: which storage of a bundle it is, such as ``saga``.
        storage: the storage.
        needs: the operations it must have.

    Raises:
        TypeError: names those that are missing.
    """
    missing = [name for name in needs if not callable(getattr(storage, name, None))]
    if missing:
        raise TypeError(
            f"{user} of dir_redis.kernel needs a storage with {' and '.join(missing)}, which "
            f"{type(storage).__module__}.{type(storage).__name__} has not: take a storage "
            f"of a bundle, such as dir_redis.open_storage().{kind}, or dir_core's own "
            f"{user} for this one"
        )
