"""Several processes at once on one store, each as a host with managers of its own."""

from __future__ import annotations

import contextlib
import importlib
import logging
import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

from dir_redis import StorageBundle, open_storage

# A process forked from a fresh one starts in milliseconds, and inherits no thread or connection.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, "dir_core", "dir_redis.kernel"])
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


def run_hosts(work: Work, url: str, namespace: str, modules: Sequence[str]) -> list[Any]:
    """Have hosts work at once, each with the managers of one module; what each returned."""
    barrier = CONTEXT.Barrier(len(modules), timeout=TIMEOUT_SEC)
    with contextlib.ExitStack() as running:
        answers = [
            running.enter_context(_host(work, url, namespace, module, number, barrier))
            for number, module in enumerate(modules)
        ]
        return [_answer(each) for each in answers]


@contextlib.contextmanager
def _host(work: Work, url: str, namespace: str, *of_host: Any) -> Iterator[Connection]:
    answers, to_answer = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run, args=(to_answer, work, url, namespace, *of_host))
    process.start()
    to_answer.close()
    try:
        yield answers
    finally:
        answers.close()
        process.join(1)
        process.kill()
        process.join()


def _answer(answers: Connection) -> Any:
    assert answers.poll(TIMEOUT_SEC), f"a host did not answer within {TIMEOUT_SEC} s"
    answer, error = answers.recv()
    assert error is None, error
    return answer


def _run(
    to_answer: Connection,
    work: Work,
    url: str,
    namespace: str,
    module: str,
    number: int,
    barrier: Barrier,
) -> None:
    answer, error = None, None
    logging.disable()  # dir-core warns of every exhausted budget
    try:
        with open_storage(url, namespace=namespace) as bundle:
            answer = work(Host(importlib.import_module(module), bundle, number, barrier.wait))
    except BaseException:
        barrier.abort()
        error = traceback.format_exc()
    to_answer.send((answer, error))
