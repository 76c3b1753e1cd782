"""Processes that take a benchmark's orders."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection


@contextmanager
def processes(count: int, work: Callable[..., None], *given: object) -> Iterator[list[Connection]]:
    """Start processes for the time of a with block, each at the other end of a connection.

    Args:
        count: how many.
        work: what each runs, with its end of the connection and `given`: it sends something once
            it is ready, then takes orders; None ends it.
        given: picklable.
    """
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe() for _ in range(count)]
    workers = [context.Process(target=work, args=(theirs, *given)) for _, theirs in ends]
    for worker, (_, theirs) in zip(workers, ends, strict=True):
        worker.start()
        theirs.close()  # so that recv() from one that has died is an EOFError, and waits for nobody
    try:
        for ours, _ in ends:
            ours.recv()
        yield [ours for ours, _ in ends]
    finally:
        for ours, _ in ends:
            with suppress(BrokenPipeError):
                ours.send(None)
        for worker in workers:
            worker.join()
