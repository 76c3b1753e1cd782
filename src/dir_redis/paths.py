"""Paths of files and folders that a store is asked to keep its data in."""

from __future__ import annotations

import os
import re
from os import PathLike
from pathlib import Path

from dir_redis.errors import StorageConfigurationError

# One slash: that is all that pathlib leaves of several.
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)


def local_path(argument: str, path: str | PathLike[str]) -> Path:
    """Return a path as an absolute one.

    Args:
        argument: the argument's name, for the errors.
        path: what was given for it.

    Raises:
        TypeError: it is no path, or one in bytes.
        StorageConfigurationError: it is a URL, or no file can have that name.
    """
    text = os.fspath(path) if isinstance(path, str | PathLike) else path
    if not isinstance(text, str):
        raise TypeError(f"{argument} must be a path, not {type(path).__name__}")
    url = _URL.match(text)
    if url is not None:  # not in full: there may be a password in it
        raise StorageConfigurationError(
            f"{argument} must be a path, not a {url[1]}:// URL, which open_storage takes; "
            "a relative path of that name begins with ./"
        )
    try:
        os.fsencode(text)
        return Path(text).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise unusable(argument, text, error) from error


def unusable(argument: str, path: str | Path, error: Exception) -> StorageConfigurationError:
    """The error for a path that the system does not take."""
    return StorageConfigurationError(
        f"{argument} {str(path)!r} cannot be used ({error}): take another that can be written to"
    )
