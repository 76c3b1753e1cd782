"""Client processes that are started, killed, paused and stopped by whoever tests."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.crash.client import PATIENCE_SEC, run_client

# A process forked from a fresh one starts in milliseconds, and inherits no thread or connection.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.crash.client"])


class Clients:
    """The client processes of one test.

    Args:
        url: the store.
        namespace: its namespace.
        folder: where their journals lie.
        seed: of their choices.
        seconds: how long each works at most.
    """

    def __init__(
        self, url: str, namespace: str, folder: Path, *, seed: int, seconds: float = 600
    ) -> None:
        self._arguments = (url, namespace)
        self._folder, self._seed, self._seconds = folder, seed, seconds
        self._started = 0
        self.running: list[ForkServerProcess] = []

    def start(self, count: int = 1) -> None:
        """Start some more."""
        for _ in range(count):
            name = f"c{self._started:03}"
            self._started += 1
            arguments = (*self._arguments, name, self._folder, self._seed, self._seconds)
            process = CONTEXT.Process(target=run_client, args=arguments, name=name)
            process.start()
            self.running.append(process)

    def kill(self, place: int) -> None:
        """Kill one on the spot (SIGKILL)."""
        process = self.running.pop(place)
        process.kill()
        process.join()

    def signal(self, place: int, number: signal.Signals) -> None:
        """Pause one (SIGSTOP), or let it go on (SIGCONT)."""
        pid = self.running[place].pid
        assert pid is not None
        os.kill(pid, number)

    def finish(self) -> None:
        """Let each end what it is doing, and fail if one has seen anything wrong."""
        (self._folder / "stop").touch()
        for process in self.running:
            process.join(PATIENCE_SEC + 30)
        codes = {process.name: process.exitcode for process in self.running}
        self.check()
        assert set(codes.values()) <= {0}, f"exit codes, None if it hangs: {codes}"

    def check(self) -> None:
        """Fail if one has seen anything wrong so far."""
        errors = [path.read_text() for path in sorted(self._folder.glob("*.error"))]
        assert not errors, errors[0]

    def close(self) -> None:
        """End those that still run."""
        for process in self.running:
            process.kill()
            process.join()
