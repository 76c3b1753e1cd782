"""What each error of the sqlite3 module means to a caller."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from dir_redis.errors import (
    CorruptRecordError,
    ResourceContentionError,
    StorageConfigurationError,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
)

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_UNFIT = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN)
_FAILING = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection is in the way, so that trying again can help."""
    return _primary_code(error) in _BUSY


def storage_error(path: Path, error: sqlite3.Error, *, committing: bool = False) -> StorageError:
    """Build the error a caller sees instead of the driver's.

    Args:
        path: the file.
        error: the driver's error.
        committing: whether COMMIT failed; a failed write of it may still be found after a crash.
    """
    code = _primary_code(error)
    message = f"{path}: {error}"
    if code in _BUSY:
        return ResourceContentionError(message)
    if code in _UNFIT:
        return StorageConfigurationError(message)
    if code in _FAILING:
        return StorageUnavailableError(message, outcome_unknown=committing)
    if code is None or code == sqlite3.SQLITE_CORRUPT:
        # The one error without a code is text that is no UTF-8.
        return CorruptRecordError(str(path), str(error))
    return StorageRefusedError(message, code=error.sqlite_errorname)


def _primary_code(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
