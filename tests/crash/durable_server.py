"""A server that keeps all it has answered: on one port and folder, killed and started again."""

from __future__ import annotations

from pathlib import Path

from dir_redis.embedded import ServerProcess, valkey_binary
from tests.servers import free_ports


class DurableServer:
    """A Valkey server whose every write is on the disk before it is answered.

    Args:
        folder: its own; made if it is missing.
        directives: further ones of its command line.

    Attributes:
        url: where it answers.
        process: None while it does not run.
    """

    def __init__(self, folder: Path, *directives: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        self.folder = folder
        self.url = f"redis://127.0.0.1:{self.port}"
        self._arguments = [
            *("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)),
            *("--appendonly", "yes", "--appendfsync", "always", *directives),
        ]
        self.process: ServerProcess | None = None

    def start(self) -> None:
        """Start it, on whatever its folder holds."""
        # A file at its limit is to be an error, as a full disk is, and not the signal it is else.
        command = ["-c", 'trap "" XFSZ; exec "$@"', "sh", str(valkey_binary()), *self._arguments]
        self.process = ServerProcess(Path("/bin/sh"), command, url=self.url, folder=self.folder)

    def kill(self) -> None:
        """Kill it (SIGKILL), if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process = None

    def log_file(self) -> Path:
        """The append-only file that grows."""
        (path,) = self.folder.glob("appendonlydir/*.incr.aof")
        return path
