"""The Lua scripts: finding them, putting each together with what it uses, and its digest."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from dir_redis.errors import StorageConfigurationError

_USES = re.compile(r"^-- Uses: (?P<names>[a-z0-9, ]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server gets it.

    Attributes:
        name: the file's stem.
        source: its text behind that of the shared pieces its header says it uses.
        sha: the digest EVALSHA calls it by.
        once: whether it is a write, applied at most once per operation number.
    """

    name: str
    source: str
    sha: str
    once: bool


@functools.cache
def script(name: str) -> Script:
    """Return a script by its file's stem."""
    folder = _folder()
    body = (folder / f"{name}.lua").read_text(encoding="utf-8")
    match = _USES.search(body)
    shared = match["names"].split(", ") if match else []
    pieces = [(folder / "shared" / f"{piece}.lua").read_text(encoding="utf-8") for piece in shared]
    source = "\n".join([*pieces, body])
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, sha, "once" in shared)


@functools.cache
def _folder() -> Traversable:
    """The packaged scripts, or those of the checkout an editable install points to."""
    package = resources.files("dir_redis")
    for folder in (package / "lua", Path(__file__).parents[3] / "lua"):
        if (folder / "command_once.lua").is_file():
            return folder
    raise StorageConfigurationError(
        "dir_redis is installed without its Lua scripts; reinstall the package"
    )
