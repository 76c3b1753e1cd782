"""Operations as steps: what to ask the server and what to make of the answer, without sending.

A method of a Redis storage is a generator. It yields a :class:`Command` or :class:`Call` (or a
list of them, one per partition), receives the reply, and returns the method's result. The driver
behind :func:`operation` does the sending; a driver for asyncio can run the same generators.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

from dir_redis.arguments import checked

T = TypeVar("T")
P = ParamSpec("P")
Argument = str | int


class Command(NamedTuple):
    """One command on one key.

    Attributes:
        name: the command, such as ``HGET``.
        key: its key.
        arguments: what follows the key.
        write: whether it changes anything; a write is applied at most once.
        part: as of a :class:`Call`.
    """

    name: str
    key: str
    arguments: tuple[Argument, ...] = ()
    write: bool = False
    part: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """Its key, as a Call has its keys."""
        return (self.key,)


class Call(NamedTuple):
    """One call of a Lua script.

    Attributes:
        script: the stem of its file in ``lua/``.
        keys: its KEYS, without the operation session of a write.
        arguments: its ARGV, without the operation number of a write.
        part: whether it is one of several writes of an operation, so that what comes after it
            cannot fail as if nothing had been done.
    """

    script: str
    keys: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()
    part: bool = False


class WaitForItem(NamedTuple):
    """Wait until a list has an item, and take it (BLPOP).

    The driver may end the wait sooner, so that whoever waits can see to other things.

    Attributes:
        key: the list.
        seconds: how long at most; above 0.
    """

    key: str
    seconds: float

    @property
    def keys(self) -> tuple[str, ...]:
        """Its key, as a Call has its keys."""
        return (self.key,)

    def command(self, seconds: float) -> tuple[Argument, ...]:
        """The words that wait so long."""
        # Redis 6.2 cuts 0.001 down to 0 milliseconds, which to it is for ever.
        return ("BLPOP", self.key, f"{max(seconds, 0.002):.3f}")


class WaitForEntries(NamedTuple):
    """Wait until one of some streams has an entry after a given one (XREAD BLOCK).

    The driver may end the wait sooner, so that whoever waits can see to other things.

    Attributes:
        keys: the streams; on a cluster all in one slot.
        after: for each stream the id of the entry before.
        seconds: how long at most; above 0.
        most: how many entries of each stream to return at most.
    """

    keys: tuple[str, ...]
    after: tuple[str, ...]
    seconds: float
    most: int = 1

    def command(self, seconds: float) -> tuple[Argument, ...]:
        """The words that wait so long."""
        milliseconds = max(1, round(seconds * 1000))
        return (
            *("XREAD", "COUNT", self.most, "BLOCK", milliseconds, "STREAMS"),
            *self.keys,
            *self.after,
        )


Wait = WaitForItem | WaitForEntries
Request = Command | Call | Wait
Steps = Generator[Request | list[Request], Any, T]


class Driver(Protocol):
    """Whatever runs steps to their end."""

    def run(self, steps: Steps[T]) -> T:
        """Send what the steps yield, give them the replies, and return their result."""
        ...


class Driven(Protocol):
    """A storage whose operations are run by its driver."""

    @property
    def _driver(self) -> Driver: ...


S = TypeVar("S", bound=Driven)


def operation(
    method: Callable[Concatenate[S, P], Steps[T]],
) -> Callable[Concatenate[S, P], T]:
    """Turn a method of steps into one that checks its arguments, runs them and returns."""
    steps = checked(method)

    @functools.wraps(method)
    def running(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._driver.run(steps(self, *args, **kwargs))

    return running


def ordered_members(keys: list[str]) -> list[Request]:
    """Ask for all members of one sorted set per partition; the scores only where they merge."""
    scores = ("WITHSCORES",) if len(keys) > 1 else ()
    return [Command("ZRANGE", key, (0, -1, *scores)) for key in keys]
