"""What several processes did to one store, recorded so that killing one of them loses nothing.

Each process appends to a file of its own: a line before every call, and a line after its return.
A call without a return is *pending*: its process was killed, or the answer never came, and it may
have happened or not. Moments are nanoseconds of CLOCK_MONOTONIC, which all processes of a machine
share, and which the store's leases are not measured by.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dir_redis import StorageError


@dataclass(frozen=True, slots=True)
class Operation:
    """One call, as its caller saw it.

    Attributes:
        name: what was called.
        arguments: what it was called with, as far as it matters.
        invoked: the moment before the call.
        returned: the moment after its return; None if it is pending.
        result: what it returned, or what the error carries.
        error: the name of the error it raised, or None.
        worker: who called.
    """

    name: str
    arguments: dict[str, Any]
    invoked: int
    returned: int | None = None
    result: Any = None
    error: str | None = None
    worker: str = ""

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    @property
    def pending(self) -> bool:
        return self.returned is None

    @property
    def succeeded(self) -> bool:
        return not self.pending and self.error is None

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        ending = "..."
        if self.returned is not None:
            outcome = f"-> {self.result}" if self.error is None else f"raised {self.error}"
            ending = f"{self.returned / 1e6:.3f} ms] {outcome}"
        return f"{self.worker} {self.name}({arguments}) [{self.invoked / 1e6:.3f} to {ending}"


@dataclass(slots=True)
class History:
    """What a fleet did.

    Attributes:
        operations: all calls, in the order in which they were made.
        killed: by worker, a moment until which it surely lived; only those that were killed.
        paused: how often a worker was stopped for longer than its leases.
    """

    operations: list[Operation]
    killed: dict[str, int] = field(default_factory=dict)
    paused: int = 0

    def named(self, *names: str) -> list[Operation]:
        """The calls of these names."""
        return [operation for operation in self.operations if operation.name in names]

    def by(
        self, key: str | Callable[[Operation], Hashable], *names: str
    ) -> dict[Any, list[Operation]]:
        """The calls of these names by an argument, or by what a function says; None is left out."""
        of = key if callable(key) else lambda operation: operation.arguments.get(key)
        groups: dict[Any, list[Operation]] = {}
        for operation in self.named(*names):
            group = of(operation)
            if group is not None:
                groups.setdefault(group, []).append(operation)
        return groups

    def end_of(self, operation: Operation) -> int | None:
        """Until when a call surely went on; of one whose worker was killed, until then."""
        return self.killed.get(operation.worker) if operation.pending else operation.returned

    def __str__(self) -> str:
        pending = sum(operation.pending for operation in self.operations)
        return (
            f"{len(self.operations)} operations, {pending} of them pending; "
            f"{len(self.killed)} workers killed, {self.paused} paused"
        )


class Call:
    """A call that is being recorded; its maker sets what it returned."""

    result: Any = None


class Recorder:
    """Writes down the calls of one worker.

    Args:
        folder: where the files of all workers are.
        worker: the worker's name, which names its file.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self.worker = worker
        self._numbers = itertools.count()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(folder / f"{worker}.jsonl", flags, 0o600)

    def close(self) -> None:
        os.close(self._file)

    @contextlib.contextmanager
    def __call__(self, name: str, **arguments: Any) -> Iterator[Call]:
        """Record the call made in a with block; errors of the store are recorded and go on."""
        number = next(self._numbers)
        call = Call()
        self._write(number, name, arguments, time.monotonic_ns())
        try:
            yield call
        except StorageError as error:
            if not getattr(error, "outcome_unknown", False):
                self._write(number, time.monotonic_ns(), vars(error), type(error).__name__)
            raise
        self._write(number, time.monotonic_ns(), call.result, None)

    def _write(self, *line: Any) -> None:
        # One write to a file opened for appending: the line is there whole, or not at all.
        os.write(self._file, json.dumps(line, default=str).encode() + b"\n")


def read_operations(folder: Path) -> list[Operation]:
    """All calls that the workers wrote down, in the order in which they were made."""
    operations = []
    for path in folder.glob("*.jsonl"):
        made: dict[int, Operation] = {}
        for line in path.read_text().splitlines():
            number, *rest = json.loads(line)
            if number not in made:
                name, arguments, invoked = rest
                made[number] = Operation(name, arguments, invoked, worker=path.stem)
            else:
                returned, result, error = rest
                made[number] = replace(made[number], returned=returned, result=result, error=error)
        operations += made.values()
    return sorted(operations, key=lambda operation: operation.invoked)
