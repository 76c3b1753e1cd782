"""Eight processes at once on one store, each as a host with managers of its own."""

from __future__ import annotations

import contextlib
import importlib
import logging
import multiprocessing
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

from dir_redis import StorageBundle, open_storage

# Forked from a fresh process, they inherit no thread or connection.
CONTEXT = multiprocessing.get_context("forkserver")
HOSTS = 8
TIMEOUT_SEC = 60

UNMODIFIED = "dir_core"
KERNEL = "dir_redis.kernel"


@dataclass(frozen=True, slots=True)
class Host:
    """What a host works with.

    Attributes:
        managers: the module its managers come from.
        bundle: the store.
        number: its place among the hosts, from 0.
        together: waits until all hosts have called it as often.
    """

    managers: Any
    bundle: StorageBundle
    number: int
    together: Callable[[], object]


Work = Callable[[Host], Any]


class Hosts:
    """The processes; they are started once and go from race to race."""

    def __init__(self) -> None:
        self._running = contextlib.ExitStack()
        self._lines: list[Connection] = []

    def run(self, work: Work, url: str, namespace: str, modules: Sequence[str]) -> list[Any]:
        """Have all work at once, each with the managers of one module; what each returned."""
        if not self._lines:
            barrier = CONTEXT.Barrier(HOSTS, timeout=TIMEOUT_SEC)
            self._lines = [
                self._running.enter_context(_process(number, barrier)) for number in range(HOSTS)
            ]
        try:
            for line, module in zip(self._lines, modules, strict=True):
                line.send((work, url, namespace, module))
            return _answers(self._lines)
        except BaseException:
            self.close()  # the next race has new ones
            raise

    def close(self) -> None:
        self._lines = []
        self._running.close()


@contextlib.contextmanager
def _process(number: int, barrier: Barrier) -> Iterator[Connection]:
    line, other_end = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_serve, args=(other_end, number, barrier), daemon=True)
    process.start()
    other_end.close()
    try:
        yield line
    finally:
        line.close()
        process.kill()
        process.join()


def _answers(lines: list[Connection]) -> list[Any]:
    answers, errors = [], []
    for line in lines:
        assert line.poll(TIMEOUT_SEC), f"a host did not answer within {TIMEOUT_SEC} s"
        answer, error = line.recv()
        answers.append(answer)
        errors += [error] if error else []
    # What the others say is only that they waited for the one that failed.
    first = min(
        errors, key=lambda error: threading.BrokenBarrierError.__name__ in error, default=""
    )
    assert not errors, first
    return answers


def _serve(line: Connection, number: int, barrier: Barrier) -> None:
    logging.disable()  # dir-core warns of every exhausted budget
    while (task := _next_task(line)) is not None:
        work, url, namespace, module = task
        answer, error = None, None
        try:
            with open_storage(url, namespace=namespace) as bundle:
                answer = work(Host(importlib.import_module(module), bundle, number, barrier.wait))
        except Exception:
            barrier.abort()
            error = traceback.format_exc()
        line.send((answer, error))


def _next_task(line: Connection) -> tuple[Work, str, str, str] | None:
    try:
        task: tuple[Work, str, str, str] = line.recv()
    except EOFError:  # nobody is there any more
        return None
    return task
