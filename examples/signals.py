"""How Ctrl-C and SIGTERM end a program in good order, with the processes it has started."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

ENDING = (signal.SIGINT, signal.SIGTERM)


class InterruptionError(KeyboardInterrupt):
    """Somebody asked the program to stop.

    No Exception: whoever goes on after errors does not go on after this.

    Attributes:
        signum: with which signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise InterruptionError at the first SIGINT or SIGTERM within a with block.

    Those that follow do nothing: every ``finally`` comes to its end.
    """

    def strike(signum: int, _: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise InterruptionError(signum)

    before = {each: signal.signal(each, strike) for each in ENDING}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def signals_collected() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of being struck by them in the middle of something.

    The first one strikes when the with block is left.
    """
    received: list[int] = []

    def note(signum: int, _: FrameType | None) -> None:
        received.append(signum)

    before = {each: signal.signal(each, note) for each in ENDING}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if received:
            signal.raise_signal(received[0])


@contextmanager
def begun_whole(context: AbstractContextManager[T]) -> Iterator[T]:
    """Enter a context manager undisturbed by signals: half of it would be left behind."""
    with ExitStack() as stack:
        with signals_collected():
            entered = stack.enter_context(context)
        yield entered


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes that are started within a with block never notice Ctrl-C.

    It reaches all processes of the terminal, but stopping them is the parent's affair. What is
    blocked when a process starts stays blocked in it; in the parent it strikes afterwards.
    """
    # Started with the first process otherwise, which unblocks the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
