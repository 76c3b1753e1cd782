"""Hostile values for every argument of every method: each call works and comes back, or is refused.

A refusal is a ValueError or TypeError before anything is sent, or one of the errors that the method
documents; an error that the caller's own object raises goes on to the caller, with nothing sent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dir_redis import StorageBundle, memory_storage
from tests.conftest import wanted
from tests.hostile.calls import (
    DOCUMENTED,
    WAITS,
    leave_witnesses,
    lies,
    same_calls_each_time,
    witnesses,
)
from tests.hostile.conftest import Open
from tests.hostile.round_trips import ROUND_TRIPS
from tests.hostile.values import HostileError, Make, hostile, usual
from tests.redis_only.conftest import commands_sent

# How many random calls on each backend. In memory, where a call costs least, every argument gets
# every hostile value besides: some 45,000 calls.
CALLS = {
    "memory": 2000,
    "sqlite": 3000,
    "fakeredis": 2000,
    "valkey": 4000,
    "redis62": 2000,
}

# What only the store can know is wrong is refused there, with nothing written.
REFUSED_BY_THE_STORE = (
    "merging needs an object",
    "with what others hold, the total exceeds",
    "exceeds what the flow holds",
    "is no cursor of this store",
    "is behind",
    "the count of",
)


def methods_of_a_bundle() -> dict[str, inspect.Signature]:
    """Every public method with arguments of the ten Protocols, by its field and name."""
    kinds = typing.get_type_hints(StorageBundle, localns={"ServerReport": object})
    return {
        f"{field.name}.{name}": inspect.signature(method, eval_str=True)
        for field in dataclasses.fields(StorageBundle)
        if not field.kw_only
        for name, method in inspect.getmembers(kinds[field.name], inspect.isfunction)
        if not name.startswith("_") and len(inspect.signature(method).parameters) > 1
    }


METHODS = methods_of_a_bundle()


@contextlib.contextmanager
def what_is_sent(bundle: StorageBundle, backend: str) -> Iterator[Callable[[], int]]:
    """How many commands were sent within a with block; on SQLite, how many rows were changed."""
    if backend == "memory":
        yield lambda: 0
    elif backend == "sqlite":
        database: Any = bundle.context._database  # type: ignore[attr-defined]
        before = database._connected().total_changes
        yield lambda: database._connected().total_changes - before
    else:
        with contextlib.ExitStack() as watched:
            sent = watched.enter_context(commands_sent(bundle))
            yield lambda: len(sent)


def call(bundle: StorageBundle, backend: str, method: str, made: dict[str, Make]) -> str:
    """Make a call and judge it; return how it ended."""
    field, name = method.split(".")
    arguments = {argument: make() for argument, make in made.items()}
    with what_is_sent(bundle, backend) as count:
        try:
            result = getattr(getattr(bundle, field), name)(**arguments)
            if name in ("iter_events", "follow"):
                list(result)
            elif name == "reserve":
                result.release()
        except DOCUMENTED:
            return "refused by the store"
        except (ValueError, TypeError, HostileError) as error:
            refused = error
        else:
            refused = None
        sent = count()
    if refused is not None:
        if any(words in str(refused) for words in REFUSED_BY_THE_STORE):
            return "refused by the store"
        if name == "run_once" and sent:
            return "failed in the step"  # its claim was given back
        assert sent == 0, (method, refused)
        return "refused unsent"
    if method in ROUND_TRIPS and not any(map(lies, arguments.values())):
        assert ROUND_TRIPS[method](bundle, arguments, result), (method, arguments)
    return "worked"


@pytest.mark.parametrize("backend", wanted(list(CALLS)), indirect=True)
@pytest.mark.timeout(300)
def test_every_call_works_and_comes_back_or_is_refused(backend: str, open_same: Open) -> None:
    bundle = open_same(max_document_bytes=2**16)
    before = leave_witnesses(bundle)
    ended: Counter[str] = Counter()

    @same_calls_each_time(CALLS[backend], METHODS, usual, hostile)
    def many(made: list[tuple[str, dict[str, Make]]]) -> None:
        for method, arguments in made:
            ended[call(bundle, backend, method, arguments)] += 1
        assert witnesses(bundle) == before

    many()

    assert ended.total() >= CALLS[backend]
    assert ended["worked"] > CALLS[backend] / 5
    assert ended["refused unsent"] > CALLS[backend] / 5


@pytest.mark.parametrize("field", sorted({method.partition(".")[0] for method in METHODS}))
def test_every_hostile_value_of_every_argument_is_taken_or_refused(field: str) -> None:
    bundle = memory_storage(max_document_bytes=2**16)
    before = leave_witnesses(bundle)
    for method, signature in METHODS.items():
        parameters = list(signature.parameters.values())[1:]
        given = {
            p.name: usual(p.name)[0] for p in parameters if p.default is p.empty or p.name in WAITS
        }
        for parameter in parameters if method.startswith(f"{field}.") else ():
            for make in hostile(parameter.name):
                call(bundle, "memory", method, {**given, parameter.name: make})
            assert witnesses(bundle) == before, (method, parameter.name)


def test_every_method_and_argument_is_among_the_calls() -> None:
    assert len(METHODS) > 60
    assert set(ROUND_TRIPS) <= set(METHODS)
    for signature in METHODS.values():
        for argument in list(signature.parameters)[1:]:
            assert usual(argument)
            assert len(hostile(argument)) > 100
