"""Making a database file for somebody's own tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from os import PathLike
from pathlib import Path

from dir_redis.errors import StorageConfigurationError
from dir_redis.sqlite.driver_errors import storage_error


def ensure_db(
    path: str | PathLike[str],
    create_tables: Callable[[sqlite3.Connection], None] | None = None,
) -> Path:
    """Make a database file with its parent folders, unless it is there already.

    Args:
        path: the file.
        create_tables: called with an open connection, to make tables; what it did is committed,
            and rolled back if it raises.

    Returns:
        The resolved path.

    Raises:
        StorageConfigurationError: the file cannot be made or opened.
    """
    resolved = Path(path).resolve()
    try:
        resolved.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(resolved)
    except OSError as error:
        raise StorageConfigurationError(f"{resolved}: {error}") from error
    except sqlite3.Error as error:
        raise storage_error(resolved, error) from error
    with closing(connection):
        if create_tables is not None:
            create_tables(connection)
        connection.commit()
    return resolved
