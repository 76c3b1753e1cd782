"""Runs steps against a server: sends, retries within a deadline, and applies a write once."""

from __future__ import annotations

import copy
import itertools
import logging
import math
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakSet

from redis.exceptions import NoScriptError

from dir_redis.durability import IN_MEMORY, Durability
from dir_redis.errors import (
    CorruptRecordError,
    StorageError,
    StorageUnavailableError,
    UnconfirmedWriteError,
)
from dir_redis.redis.connection import Connection
from dir_redis.redis.faults import DRIVER_ERRORS, wait_error
from dir_redis.redis.keys import Keys
from dir_redis.redis.retries import until_answered
from dir_redis.redis.scripts import script
from dir_redis.redis.steps import (
    Argument,
    Call,
    Command,
    Request,
    Steps,
    Wait,
    WaitForEntries,
    WaitForItem,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Longer than any operation may go on being retried, so that a repeat is always recognised.
SESSION_KEPT_MS = 600_000
_RECOGNISED_SEC = 540.0
MAX_TIMEOUT_SEC = 300.0
# Where no blocking command can be had, a waiter looks again this often.
_POLL_SEC = 0.05


class _Session:
    """A series of writes sent one after the other, each with the next number."""

    __slots__ = ("name", "numbers")

    def __init__(self) -> None:
        self.name = secrets.token_urlsafe(12)
        self.numbers = itertools.count(1)


def _since_boot() -> float:
    """Seconds, by a clock that goes on while the machine is suspended, where there is one."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@dataclass(frozen=True, slots=True)
class _Sent:
    """Under which number a write was sent, and when first, seconds since boot."""

    session: _Session
    number: int
    at: float

    @property
    def recognised_until(self) -> float:
        """Until when a repeat may be sent, so that it is certain to be recognised."""
        return self.at + _RECOGNISED_SEC


@dataclass(slots=True)
class _Run:
    """An operation under way, or cut off: then its steps wait where they are.

    Attributes:
        steps: the operation.
        request: what it asked for last, when it was cut off.
        replies: which replies it has of that, if that is a list.
        sent: under which number the write was sent whose outcome is unknown.
        parts_done: how many of its several writes are applied.
        unconfirmed: how many had a write in time, for each of which that were too few.
        deadline: until when what it asks for now may be tried again, by the monotonic clock.
        process: whose it is; a forked child has its parent's by copy.
    """

    steps: Steps[Any]
    request: Request | list[Request] | None = None
    replies: list[Any] = field(default_factory=list)
    sent: _Sent | None = None
    parts_done: int = 0
    unconfirmed: list[int] = field(default_factory=list)
    deadline: float = 0.0
    process: int = field(default_factory=os.getpid)


class _Sessions:
    """The sessions that are free; one is lent to each write while it is under way."""

    def __init__(self) -> None:
        self._free: list[_Session] = []
        _all_sessions.add(self)

    def borrow(self) -> _Session:
        try:
            return self._free.pop()
        except IndexError:
            return _Session()

    def give_back(self, session: _Session) -> None:
        self._free.append(session)

    def forget(self) -> None:
        self._free.clear()


_all_sessions: WeakSet[_Sessions] = WeakSet()


def _forget_sessions_of_parent() -> None:
    """Keep a forked child from going on with its parent's numbers."""
    for sessions in list(_all_sessions):
        sessions.forget()


os.register_at_fork(after_in_child=_forget_sessions_of_parent)


class RedisDriver:
    """Sends what steps ask for to one server, Sentinel service or cluster.

    Args:
        connection: where to send.
        timeout_sec: how long one operation may take in all, further attempts included; one that
            is under way is not cut off. Each page of a long log, and each look of one who waits,
            has the time anew.
    """

    def __init__(self, connection: Connection, *, timeout_sec: float) -> None:
        self._connection = connection
        self._execute_command: Callable[..., Any] = connection.execute_command
        self._timeout_sec = timeout_sec
        self._durability = IN_MEMORY
        self._sessions = _Sessions()
        # Waits leave a quarter of a limited pool, and at least one, to whoever is to wake them.
        most = connection.most_connections
        self._waits = None if most is None else threading.Semaphore(most * 3 // 4)
        self._closed = threading.Event()

    def close(self) -> None:
        """Send nothing any more; further calls do nothing."""
        self._closed.set()

    def with_durability(self, durability: Durability) -> RedisDriver:
        """Return a driver that has writes confirmed so, and shares all else with this one."""
        other = copy.copy(self)
        other._durability = durability
        return other

    def run(self, steps: Steps[T]) -> T:
        """Send what the steps yield, give them the replies, and return their result.

        Raises:
            StorageError: whatever went wrong, in terms of the store.
        """
        result: T = self._go_on(_Run(steps))
        return result

    def _go_on(self, run: _Run) -> Any:
        result = self._run_to_end(run)
        if run.unconfirmed:
            raise UnconfirmedWriteError(self._durability.text, min(run.unconfirmed), result)
        return result

    def _run_to_end(self, run: _Run) -> Any:
        request = run.request
        try:
            if request is None:
                request = next(run.steps)
            while True:
                try:
                    reply = self._reply_to(request, run)
                except StorageError as error:
                    half_written = isinstance(error, StorageUnavailableError) and error.half_written
                    if (run.sent is not None or run.parts_done) and not half_written:
                        run.request = request
                        repeatable = self._repeatable(run, error)
                        raise repeatable from (error.__cause__ if repeatable is error else error)
                    run.replies = []
                    request = run.steps.throw(error)
                except BaseException as error:
                    run.replies = []
                    request = run.steps.throw(error)
                else:
                    request = run.steps.send(reply)
        except StopIteration as done:
            return done.value
        except UnicodeDecodeError as error:
            requests = request if isinstance(request, list) else [request]
            keys = {key for one in requests if one is not None for key in one.keys}
            raise CorruptRecordError(
                " or ".join(sorted(keys)), f"it should hold UTF-8 ({error})"
            ) from error

    def _reply_to(self, request: Request | list[Request], run: _Run) -> Any:
        run.deadline = time.monotonic() + self._timeout_sec
        if not isinstance(request, list):
            return self._send(request, run)
        while len(run.replies) < len(request):
            run.replies.append(self._send(request[len(run.replies)], run))
        replies, run.replies = run.replies, []
        return replies

    def _repeatable(self, run: _Run, error: StorageError) -> StorageUnavailableError:
        """The error of an operation that may be done in part, with the way to go on."""
        if run.sent is None or not isinstance(error, StorageUnavailableError):
            done = "one of its writes is" if run.parts_done == 1 else "some of its writes are"
            error = StorageUnavailableError(f"{done} applied; then: {error}", outcome_unknown=True)

        def go_on() -> Any:
            if run.process != os.getpid():
                raise StorageError(f"this is for the process to repeat that met it: {error}")
            if run.sent is not None and _since_boot() >= run.sent.recognised_until:
                raise StorageError(
                    f"it is too late to repeat this: the store has forgotten its number ({error})"
                )
            return self._go_on(run)

        return error.repeatable(go_on)

    def _send(self, request: Request, run: _Run) -> Any:
        if isinstance(request, WaitForItem | WaitForEntries):
            return self._wait(request)
        if isinstance(request, Command):
            if not request.write:
                return self._attempt(
                    (request.name, request.key, *request.arguments),
                    request.name,
                    (request.key,),
                    run.deadline,
                )
            words = (request.name, *request.arguments)
            request = Call("command_once", (request.key,), words, request.part)
        called = script(request.script)
        if not called.once:
            return self._attempt(
                ("EVALSHA", called.sha, len(request.keys), *request.keys, *request.arguments),
                called.name,
                request.keys,
                run.deadline,
            )
        sent, is_repeat = run.sent, run.sent is not None
        if sent is None:
            session = self._sessions.borrow()
            sent = _Sent(session, next(session.numbers), _since_boot())
        keys = (*request.keys, Keys.operation(request.keys[0], sent.session.name))
        arguments = (*request.arguments, sent.number, SESSION_KEPT_MS)
        try:
            reply = self._attempt(
                ("EVALSHA", called.sha, len(keys), *keys, *arguments),
                called.name,
                keys,
                run.deadline,
                write=True,
                # Whatever becomes of a repeat says nothing about the attempts before it.
                maybe_applied=is_repeat,
                latest=sent.recognised_until,
            )
        except StorageUnavailableError as error:
            run.sent = sent if error.outcome_unknown and not error.half_written else None
            raise
        except BaseException:
            run.sent = None
            raise
        run.sent = None
        run.parts_done += request.part
        # Not after an error: a request that got lost may still arrive and must find its number.
        self._sessions.give_back(sent.session)
        if self._durability is not IN_MEMORY:
            reply, count = reply
            if count < max(self._durability.replicas, int(self._durability.disk)):
                run.unconfirmed.append(count)
                if self._connection.fails_over:
                    self._connection.ask_anew()  # its replicas may have left it for another
        return reply

    def _wait(self, request: Wait) -> Any:
        """Wait once; None stands for "look again", whatever ended the wait.

        A wait is never repeated here: whoever waits has to show that it is alive, and its next
        look is retried like any other operation.
        """
        self._check_open()
        seconds = min(request.seconds, self._connection.longest_wait_sec)
        if self._waits is not None and not self._waits.acquire(blocking=False):
            time.sleep(min(seconds, _POLL_SEC))
            return None
        try:
            return self._unless_closed(self._execute_command, request.command(seconds), write=False)
        except DRIVER_ERRORS as error:
            failed = error
        finally:
            if self._waits is not None:
                self._waits.release()
        explained = wait_error(
            failed,
            operation=str(request.command(seconds)[0]),
            keys=request.keys,
            where=self._connection.where,
        )
        if explained is not None:
            raise explained from failed
        time.sleep(min(seconds, _POLL_SEC))
        return None

    def _attempt(
        self,
        command: tuple[Argument, ...],
        operation: str,
        keys: tuple[str, ...],
        deadline: float,
        *,
        write: bool = False,
        maybe_applied: bool = False,
        latest: float = math.inf,
    ) -> Any:
        self._check_open()
        failed: Exception | None = None
        execute = self._execute_command
        if write and self._durability is not IN_MEMORY:
            execute = self._execute_confirmed
        try:
            return self._unless_closed(execute, command, write=write)
        except NoScriptError:
            command = _with_source(command, operation)
        except DRIVER_ERRORS as error:
            failed = error

        def send() -> Any:
            self._check_open(write=write)
            # The process may have stood still since the last attempt.
            if _since_boot() >= latest:
                raise StorageUnavailableError(
                    f"it is too late to try {operation} again: the store has forgotten its number; "
                    "it may or may not have been applied",
                    outcome_unknown=True,
                )
            try:
                return self._unless_closed(execute, command, write=write)
            except NoScriptError:
                source = _with_source(command, operation)
                return self._unless_closed(execute, source, write=write)

        return until_answered(
            send,
            operation=operation,
            keys=keys,
            where=self._connection.where,
            deadline=deadline,
            fails_over=self._connection.fails_over,
            single_attempt=self._connection.single_attempt,
            write=write,
            maybe_applied=maybe_applied,
            failed=failed,
            ask_anew=self._connection.ask_anew,
        )

    def _unless_closed(
        self, execute: Callable[..., Any], command: tuple[Argument, ...], *, write: bool
    ) -> Any:
        """Send, and make nothing of what a client raises that is closed in the middle of a call."""
        try:
            return execute(*command)
        except (TypeError, ValueError, AttributeError, RuntimeError):
            self._check_open(write=write)
            raise

    def _check_open(self, *, write: bool = False) -> None:
        """Refuse to send once the store is closed; of a write an earlier attempt may be applied."""
        if self._closed.is_set():
            message = f"the store at {self._connection.where} was closed"
            raise (
                StorageUnavailableError(f"{message} meanwhile", outcome_unknown=True)
                if write
                else StorageError(message)
            )

    def _execute_confirmed(self, *command: Argument) -> tuple[Any, int]:
        """Send a write; return its reply, and how many replicas or disks have it by now."""
        wait_ms = round(self._connection.longest_confirmation_sec * 1000)
        confirm: tuple[Argument, ...] = (
            ("WAITAOF", 1, 0, wait_ms)
            if self._durability.disk
            else ("WAIT", self._durability.replicas, wait_ms)
        )
        reply, confirmed = self._connection.execute_confirmed(command, str(command[3]), confirm)
        if isinstance(confirmed, Exception):
            logger.warning("%s did not confirm a write: %s", self._connection.where, confirmed)
            return reply, 0
        return reply, int(confirmed[0] if self._durability.disk else confirmed)


def _with_source(command: tuple[Argument, ...], operation: str) -> tuple[Argument, ...]:
    """An EVALSHA for a server that is new, restarted, failed over or was told to forget scripts."""
    if command[0] != "EVALSHA":  # the answer to somebody else's, on a ready client
        return command
    return ("EVAL", script(operation).source, *command[2:])
