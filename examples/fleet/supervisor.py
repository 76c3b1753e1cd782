"""The parent of the fleet's processes: starts them, replaces the dead, leaves nothing behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import NamedTuple

from dir_redis import StorageBundle, StorageError
from examples.fleet.prices import Decision
from examples.fleet.recovery import recover
from examples.fleet.reviewer import run_reviewer
from examples.fleet.worker import run_worker

MAX_FAILURES = 3


class FleetError(Exception):
    """The fleet's processes fail by themselves, again and again."""


class Address(NamedTuple):
    """Where the processes of a fleet open its store; handed on by a pipe, with any secrets."""

    url: str
    namespace: str


class Supervisor:
    """A fleet's processes. A context manager: leaving it stops them all.

    Args:
        store: the fleet's store.
        address: where its processes open it.
        deliveries: each agent's decisions by agent_id.
    """

    def __init__(
        self,
        store: StorageBundle,
        address: Address,
        deliveries: Mapping[str, Sequence[Decision]],
    ) -> None:
        self._store = store
        self._address = address
        self._deliveries = deliveries
        self._workers: dict[str, BaseProcess] = {}
        self._reviewer: BaseProcess | None = None
        self._failures = 0
        # Not fork: hosts share nothing but the store.
        self._context = multiprocessing.get_context("spawn")

    @property
    def working(self) -> list[str]:
        """The agents whose processes are at work."""
        return [agent_id for agent_id, process in self._workers.items() if process.is_alive()]

    def start(self) -> None:
        """Start all processes."""
        self._start_reviewer()
        for agent_id in self._deliveries:
            self._start_worker(agent_id)

    def tend(self) -> bool:
        """Replace the processes that died, after finishing what they left in the store.

        Returns:
            Whether there is work left.

        Raises:
            FleetError: they fail without being killed.
        """
        for agent_id, process in list(self._workers.items()):
            if process.exitcode is None:
                continue
            process.join()
            del self._workers[agent_id]
            if process.exitcode != 0:
                self._count_failure(agent_id, process.exitcode)
                recover(self._store, agent_id, cause=_cause(process.exitcode))
                self._start_worker(agent_id)
        if self._reviewer is not None and self._reviewer.exitcode is not None:
            self._count_failure("the reviewer", self._reviewer.exitcode)
            self._start_reviewer()
        return bool(self._workers)

    def kill(self, agent_id: str) -> None:
        """Kill an agent's process on the spot (SIGKILL)."""
        self._workers[agent_id].kill()

    def stop(self) -> None:
        """Kill every process, and finish what the workers were at."""
        processes = [*self._workers.values(), *([self._reviewer] if self._reviewer else [])]
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        # A store that is gone cannot be tidied, and says so in the error that brought us here.
        with contextlib.suppress(StorageError):
            for agent_id, process in self._workers.items():
                if process.exitcode != 0:
                    recover(self._store, agent_id, cause="stopped with the fleet")
        self._workers.clear()
        self._reviewer = None

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _start_worker(self, agent_id: str) -> None:
        arguments = (*self._address, agent_id, self._deliveries[agent_id])
        self._workers[agent_id] = self._started(run_worker, arguments, agent_id)

    def _start_reviewer(self) -> None:
        self._reviewer = self._started(run_reviewer, self._address, "reviewer")

    def _started(
        self, target: Callable[..., None], arguments: tuple[object, ...], name: str
    ) -> BaseProcess:
        process = self._context.Process(target=target, args=arguments, name=name, daemon=True)
        # Ctrl-C reaches all processes of the terminal, but stopping them is the parent's affair:
        # what is ignored when a process starts stays ignored in it.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        return process

    def _count_failure(self, who: str, exitcode: int) -> None:
        """Being killed may happen any number of times; failing by itself is a fault of ours."""
        if exitcode < 0:
            return
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            raise FleetError(f"{who} ended with exit code {exitcode}; failure {self._failures}")


def _cause(exitcode: int) -> str:
    if exitcode < 0:
        return f"process killed by {signal.Signals(-exitcode).name}"
    return f"process ended with exit code {exitcode}"
