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
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dir_redis import (
    FingerprintMismatchError,
    InsufficientCapacityError,
    LeaseLostError,
    LedgerConflictError,
    ResourceContentionError,
    SessionSupersededError,
    StepInProgressError,
    StorageBundle,
    TransitionConflictError,
    VersionConflictError,
    memory_storage,
)
from tests.conftest import wanted
from tests.hostile.conftest import Open
from tests.hostile.round_trips import ROUND_TRIPS
from tests.hostile.values import HostileError, LyingDict, Make, hostile, usual
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
CALLS_AT_ONCE = 10

DOCUMENTED = (
    FingerprintMismatchError,
    InsufficientCapacityError,
    LeaseLostError,
    LedgerConflictError,
    ResourceContentionError,
    SessionSupersededError,
    StepInProgressError,
    TransitionConflictError,
    VersionConflictError,
)
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


def calls() -> st.SearchStrategy[tuple[str, dict[str, Make]]]:
    """One call: a method, and what makes its arguments; half of all calls have a hostile one."""
    return st.one_of(*(_calls_of(method, signature) for method, signature in METHODS.items()))


def _calls_of(
    method: str, signature: inspect.Signature
) -> st.SearchStrategy[tuple[str, dict[str, Make]]]:
    parameters = list(signature.parameters.values())[1:]
    waits = {"wait_sec", "timeout_sec"}
    required = [p.name for p in parameters if p.default is p.empty or p.name in waits]
    optional = [p.name for p in parameters if p.name not in required]
    usual_of = {p.name: st.sampled_from(usual(p.name)) for p in parameters}
    hostile_of = {p.name: st.sampled_from(hostile(p.name)) for p in parameters}

    def with_one_hostile(name: str) -> st.SearchStrategy[dict[str, Make]]:
        return st.fixed_dictionaries(
            {n: hostile_of[n] if n == name else usual_of[n] for n in {*required, name}},
            optional={n: usual_of[n] for n in optional if n != name},
        )

    arguments = st.one_of(
        st.fixed_dictionaries(
            {n: usual_of[n] for n in required}, optional={n: usual_of[n] for n in optional}
        ),
        *(with_one_hostile(p.name) for p in parameters),
    )
    return st.tuples(st.just(method), arguments)


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
    if method in ROUND_TRIPS and not any(map(_lies, arguments.values())):
        assert ROUND_TRIPS[method](bundle, arguments, result), (method, arguments)
    return "worked"


def _lies(value: object) -> bool:
    """Whether a value is something else at every look."""
    return isinstance(value, LyingDict) or (
        isinstance(value, list) and any(isinstance(item, LyingDict) for item in value)
    )


def witnesses(bundle: StorageBundle) -> list[Any]:
    """What the store has under an id that no call names, but for what trimming takes."""
    return [
        bundle.agent_registry.get_agent("witness"),
        bundle.context.get_session("witness"),
        bundle.context.get_state("witness"),
        bundle.idempotency.get("witness"),
        bundle.saga.get_dirty_state("witness"),
        bundle.resource_lock.get_capacity("witness"),
        bundle.resource_lock.holders("witness"),
        bundle.intent_retry.get_count("witness"),
        {**(bundle.escalation.get_request("witness") or {}), "reviewer": 0, "reviewer_until": 0},
        bundle.lifecycle.get_transitions("witness"),
        bundle.decision_ledger.get_by_dfid("witness"),
    ]


def leave_witnesses(bundle: StorageBundle) -> list[Any]:
    w = "witness"
    bundle.agent_registry.upsert_agent(w, '{"w": 1}', 7, "ACTIVE", "1", "token")
    bundle.context.set_session(w, '{"w": 1}')
    bundle.context.set_state(w, '{"w": 2}')
    bundle.idempotency.set(w, {"w": 1})
    bundle.saga.mark_dirty(w, "step", '{"w": 1}')
    bundle.resource_lock.set_capacity(w, 9)
    bundle.resource_lock.acquire_batch(w, {w: 2}, 0)
    bundle.intent_retry.set_count(w, 5)
    bundle.escalation.insert_request(w, w, "why", '{"w": 1}', "{}", "HIGH")
    bundle.lifecycle.record_transition(w, "A", "B")
    bundle.decision_ledger.append(usual("pci")[0]().__class__(**_intent_of(w)), agent_id=w)
    return witnesses(bundle)


def _intent_of(dfid: str) -> dict[str, Any]:
    return {**vars(usual("pci")[0]()), "dfid": dfid}


@pytest.mark.parametrize("backend", wanted(list(CALLS)), indirect=True)
@pytest.mark.timeout(300)
def test_every_call_works_and_comes_back_or_is_refused(backend: str, open_same: Open) -> None:
    bundle = open_same(max_document_bytes=2**16)
    before = leave_witnesses(bundle)
    ended: Counter[str] = Counter()

    @settings(
        max_examples=CALLS[backend] // CALLS_AT_ONCE,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(calls(), min_size=CALLS_AT_ONCE, max_size=CALLS_AT_ONCE))
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
            p.name: usual(p.name)[0]
            for p in parameters
            if p.default is p.empty or p.name in ("wait_sec", "timeout_sec")
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
