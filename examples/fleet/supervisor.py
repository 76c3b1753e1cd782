"""The parent of the fleet's processes: starts them, and replaces the dead. It tells nobody."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import NamedTuple

from examples.fleet.compensator import COMPENSATOR, run_compensator
from examples.fleet.prices import Decision
from examples.fleet.reviewer import REVIEWER, run_reviewer
from examples.fleet.worker import run_worker
from examples.signals import deaf_to_ctrl_c

MAX_FAILURES = 3


class FleetError(Exception):
    """The fleet's processes fail by themselves, again and again."""


class Patience:
    """Puts up with failures while the fleet gets on all the same.

    Args:
        most: with so many failures between two finished flows it ends.
    """

    def __init__(self, most: int = MAX_FAILURES) -> None:
        self._most = most
        self._failures = 0

    def failed(self, what: str) -> None:
        """Count a failure.

        Raises:
            FleetError: it was one too many.
        """
        self._failures += 1
        if self._failures >= self._most:
            raise FleetError(f"{what}; failure {self._failures}")

    def got_on(self) -> None:
        """Forgive what has failed so far: a flow was finished."""
        self._failures = 0


class Address(NamedTuple):
    """Where the processes of a fleet open its store; handed on by a pipe, with any secrets."""

    url: str
    namespace: str


class Supervisor:
    """A fleet's processes. A context manager: leaving it kills them all.

    Args:
        address: where its processes open the store.
        hands: each agent's decisions by agent_id.
        replace: whether to start a killed worker anew, as a deployment would.
        patience: with processes that fail by themselves, which are always started anew.
    """

    def __init__(
        self,
        address: Address,
        hands: Mapping[str, Sequence[Decision]],
        *,
        replace: bool,
        patience: Patience,
    ) -> None:
        self._replace = replace
        self._targets: dict[str, tuple[Callable[..., None], tuple[object, ...]]] = {
            REVIEWER: (run_reviewer, address),
            COMPENSATOR: (run_compensator, address),
            **{agent_id: (run_worker, (*address, agent_id, hands)) for agent_id in hands},
        }
        self._workers = set(hands)
        self._processes: dict[str, BaseProcess] = {}
        self._patience = patience
        # Not fork: hosts share nothing but the store.
        self._context = multiprocessing.get_context("spawn")

    @property
    def working(self) -> set[str]:
        """The agents whose processes are at work; from any thread."""
        return {
            name
            for name, each in self._processes.copy().items()
            if name in self._workers and each.is_alive()
        }

    def start(self) -> None:
        """Start all processes."""
        for name in self._targets:
            self._start(name)

    def tend(self) -> bool:
        """Start anew what has died.

        Returns:
            Whether any worker is left.

        Raises:
            FleetError: they fail without being killed.
        """
        for name, process in list(self._processes.items()):
            if process.exitcode is None:
                continue
            del self._processes[name]
            process.join()
            killed = process.exitcode < 0
            if process.exitcode > 0:  # being killed may happen any number of times
                self._patience.failed(f"{name} ended with exit code {process.exitcode}")
            if name not in self._workers or (process.exitcode and (self._replace or not killed)):
                self._start(name)
        return not self._workers.isdisjoint(self._processes)

    def kill(self, agent_id: str) -> None:
        """Kill an agent's process on the spot (SIGKILL)."""
        self._processes[agent_id].kill()
        self._processes[agent_id].join()

    def signal(self, agent_id: str, signum: signal.Signals) -> bool:
        """Send a signal to an agent's process; whether there is one. From any thread."""
        process = self._processes.get(agent_id)
        if process is not None and process.is_alive() and process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signum)
                return True
        return False

    def stop(self) -> None:
        """Kill every process."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.join()
        self._processes.clear()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _start(self, name: str) -> None:
        target, arguments = self._targets[name]
        process = self._context.Process(target=target, args=arguments, name=name, daemon=True)
        with deaf_to_ctrl_c():
            process.start()
        self._processes[name] = process
