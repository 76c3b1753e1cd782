"""One server process behind a door of the fault proxy: killed, paused, resumed, restarted."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
from pathlib import Path
from typing import Any

from dir_redis.embedded import ServerProcess
from dir_redis.redis.connection import connect
from tests.fault_proxy import FaultProxy

HOST = "127.0.0.1"
ADMIN_TIMEOUT_SEC = 2.0
REPAIR_TIMEOUT_SEC = 15.0


# By lasting_ports: nobody may listen there yet.
_given: set[int] = set()


def lasting_ports(count: int) -> list[int]:
    """Free ports that stay free while nobody listens on them: none that the kernel hands out."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind((HOST, port))
            if port not in _given:
                _given.add(port)
                found.append(port)
    return found


class Node:
    """A server that clients and other servers reach through the proxy alone.

    Args:
        binary: the server's executable.
        arguments: its command line, without its port.
        folder: its own folder, made here.
        proxy: gets a door before it.
        port: its own port, for those who look at it past the proxy.
        source: the loopback address it connects from, by which the proxy knows it.

    Attributes:
        door: the proxy's port that leads to it.
    """

    def __init__(
        self, binary: Path, folder: Path, proxy: FaultProxy, port: int, source: str
    ) -> None:
        self.port = port
        self.source = source
        (door,) = lasting_ports(1)
        self.door = proxy.open(port, door)
        self.admin: Any = connect(
            f"redis://127.0.0.1:{port}", attempt_timeout_sec=ADMIN_TIMEOUT_SEC
        ).client
        self._binary = binary
        self._folder = folder
        self._proxy = proxy
        self._process: ServerProcess | None = None
        folder.mkdir(parents=True)

    def start(self, *arguments: str) -> None:
        """Start the process; clients can connect again."""
        self._process = ServerProcess(
            self._binary, arguments, url=f"redis://127.0.0.1:{self.port}", folder=self._folder
        )
        self._proxy.accept_connections(self.door)

    @property
    def runs(self) -> bool:
        """Whether it was started and not killed since."""
        return self._process is not None

    def kill(self) -> None:
        """Kill it (SIGKILL); connections are refused from now on, as by a host without it."""
        assert self._process is not None
        self._proxy.refuse_connections(self.door)
        self._process.kill()
        self._process = None

    def pause(self) -> None:
        """Stop it where it is (SIGSTOP): connections are taken and nothing is answered."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it, whatever state it is in."""
        self.admin.close()
        if self._process is not None:
            self._process.kill()
            self._process = None

    def info(self, section: str) -> dict[str, Any]:
        found: dict[str, Any] = self.admin.info(section)
        return found
