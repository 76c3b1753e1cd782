"""Hostile values for every argument of dir-core's managers as this package has them.

As test_fuzz.py asks of the storages: each call works and comes back, or is refused with nothing
written. A manager may have read before it refuses.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import types
import warnings
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dir_redis import StorageBundle, StorageError, memory_storage
from dir_redis.arguments import READS
from tests.conftest import wanted
from tests.dir_core_needed import need_dir_core
from tests.hostile.calls import (
    DOCUMENTED,
    WAITS,
    leave_witnesses,
    lies,
    same_calls_each_time,
    witnesses,
)
from tests.hostile.conftest import Open
from tests.hostile.round_trips import amount, encoded, plain
from tests.hostile.values import OBJECTS, HostileError, LyingStr, Make

need_dir_core()

from dir_redis import kernel  # noqa: E402
from tests.hostile.kernel_values import hostile, usual  # noqa: E402

CALLS = {"memory": 2000, "sqlite": 1000, "valkey": 2000, "redis62": 1000}

# What `dir_redis.kernel` hands on as it is.
CORES_OWN = {
    "REASONING_EXHAUSTION": "a constant",
    "AmendmentResult": "what a method returns",
    "CompensationResult": "what a method returns",
    "HandshakeResult": "what a method returns",
    "EscalationOutcome": "an enum",
    "FlowStatus": "an enum",
    "ImpactCategory": "an enum",
    "LockResult": "an enum",
    "idempotency_key": "dir-core's function, which sends nothing",
}
# Where a store is, is no argument of a call: test_what_a_manager_is_made_with_is_taken_or_refused.
PLACES = ("storage", "db_path")

# The context of a proposal is recorded before it is judged, as in dir-core.
RECORDED_FIRST = {"DecisionRuntime.evaluate_proposal": "merge_session"}


def _arguments_of(function: Any) -> inspect.Signature:
    signature = inspect.signature(function)
    taken = [p for p in signature.parameters.values() if p.name not in ("self", *PLACES)]
    return signature.replace(parameters=taken)


def methods_of_the_kernel() -> dict[str, inspect.Signature]:
    """Every public method with arguments of the managers, and the functions, by name."""
    methods = {}
    for name in kernel.__all__:
        thing = getattr(kernel, name)
        if name in CORES_OWN:
            continue
        if not inspect.isclass(thing):
            methods[name] = _arguments_of(thing)
            continue
        for method, function in inspect.getmembers(thing, inspect.isfunction):
            if not method.startswith("_") and _arguments_of(function).parameters:
                methods[f"{name}.{method}"] = _arguments_of(function)
    return methods


METHODS = methods_of_the_kernel()
_MEMORY = memory_storage()
MANAGERS = sorted({method.partition(".")[0] for method in METHODS})


class Watched:
    """A storage that notes which of its writes were done."""

    def __init__(self, storage: object, written: list[str]) -> None:
        self._storage = storage
        self._written = written

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)
        if name in READS or not callable(method):
            return method

        def noting(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            self._written.append(name)
            return result

        return noting


class Kernel:
    """All managers on one store.

    Attributes:
        bundle: the store, for a look at what is there.
        written: which writes were done.
    """

    def __init__(self, bundle: StorageBundle) -> None:
        self.bundle = bundle
        self.written: list[str] = []
        stores: Any = types.SimpleNamespace(
            **{
                field.name: Watched(getattr(bundle, field.name), self.written)
                for field in dataclasses.fields(bundle)
                if not field.kw_only
            }
        )
        self._lifecycle = stores.lifecycle
        self._managers = {
            "AgentRegistry": kernel.AgentRegistry(storage=stores.agent_registry),
            "ContextStore": kernel.ContextStore(storage=stores.context),
            "DecisionLedger": kernel.DecisionLedger(storage=stores.decision_ledger),
            "DecisionRuntime": kernel.DecisionRuntime(stores, max_escalations_per_hour=10**9),
            "EscalationManager": kernel.EscalationManager(
                storage=stores.escalation, max_escalations_per_hour=10**9
            ),
            "IdempotencyGuard": kernel.IdempotencyGuard(stores.idempotency, wait_sec=0),
            "IntentRetryGovernor": kernel.IntentRetryGovernor(10**9, storage=stores.intent_retry),
            "ResourceLockManager": kernel.ResourceLockManager(
                None, lambda _resource_id: 10**6, storage=stores.resource_lock
            ),
            "SagaCompensation": kernel.SagaCompensation(
                None,
                lambda _dfid, _state: True,
                lambda _dfid: False,
                lambda _dfid, _state: None,
                storage=stores.saga,
            ),
        }

    def do(self, method: str, arguments: dict[str, Any]) -> Any:
        with warnings.catch_warnings():
            # register_agent is deprecated; pydantic tells of fields that nobody checked.
            warnings.simplefilter("ignore")
            if method == "transition":
                return kernel.transition(**arguments, storage=self._lifecycle)
            manager, _, name = method.partition(".")
            return getattr(self._managers[manager], name)(**arguments)


def prepare(on: Kernel, method: str) -> None:
    """Leave what a method needs to have something to do."""
    if method.endswith("apply_parameter_amendment"):
        on.do(
            "AgentRegistry.register_projection",
            {"projection": usual("projection")[0](), "agent_version": "1.0.0"},
        )
    elif method == "SagaCompensation.execute_compensation":
        on.bundle.saga.mark_dirty("f", "step", "{}")


def call(on: Kernel, method: str, made: dict[str, Make]) -> str:
    """Make a call and judge it; return how it ended."""
    arguments = {argument: make() for argument, make in made.items()}
    on.written.clear()
    try:
        result = on.do(method, arguments)
    except DOCUMENTED:
        assert not on.written, method
        return "refused by the store"
    except (ValueError, TypeError, HostileError) as error:
        refused = error
    else:
        refused = None
    if refused is not None and on.written:
        assert set(on.written) == {RECORDED_FIRST.get(method)}, (method, refused, on.written)
        return "recorded, then refused"
    if refused is not None:
        return "refused"
    if method in ROUND_TRIPS and not any(map(lies, arguments.values())):
        assert ROUND_TRIPS[method](on.bundle, arguments, result), (method, arguments)
    if method == "ResourceLockManager.reserve":
        result.release()
    return "worked"


# What a call that succeeded must have left behind

Check = Callable[[StorageBundle, dict[str, Any], Any], bool]


def _text(value: Any) -> str:
    """JSON text of what dir-core's encoding makes of a value."""
    return encoded(json.loads(json.dumps(value, default=str)))


def _registered(bundle: StorageBundle, given: dict[str, Any], result: Any) -> bool:
    if result is not None and not result.accepted:
        return True
    agent = bundle.agent_registry.get_agent(plain(given["agent_id"])) or {}
    return encoded(agent["contract"]) == _text(given["contract"])


def _merged(stored: str | None, updates: Any) -> bool:
    members = json.loads(stored or "")
    return all(
        encoded(members[key]) == encoded(value)
        for key, value in json.loads(json.dumps(dict(updates))).items()
    )


def _asked(bundle: StorageBundle, given: dict[str, Any], result: Any) -> bool:
    request = bundle.escalation.get_request(plain(given["dfid"])) or {}
    return (
        result is kernel.EscalationOutcome.GRANTED
        and request["agent_id"] == plain(given["agent_id"])
        and request["reason"] == plain(given["reason"])
        and encoded(request["context"]) == _text(given["context"])
    )


def _held(bundle: StorageBundle, given: dict[str, Any], result: Any) -> bool:
    return result is not kernel.LockResult.ACQUIRED or all(
        {holder.dfid: holder.amount for holder in bundle.resource_lock.holders(plain(rid))}.get(
            plain(given["dfid"]), Decimal(0)
        )
        == amount(value)
        for rid, value in dict(given["resources"]).items()
    )


def _dirty(bundle: StorageBundle, given: dict[str, Any], _: Any) -> bool:
    state = bundle.saga.get_dirty_state(plain(given["dfid"])) or {}
    return state["failed_step"] == plain(given["failed_step"]) and encoded(
        state["partial_state"]
    ) == _text(given["partial_state"])


def _moved(bundle: StorageBundle, given: dict[str, Any], _: Any) -> bool:
    row = bundle.lifecycle.get_transitions(plain(given["dfid"]))[-1]
    return bool(row["to_status"] == plain(given["to_status"]))


ROUND_TRIPS: dict[str, Check] = {
    "AgentRegistry.handshake": _registered,
    "AgentRegistry.register_agent": _registered,
    "DecisionRuntime.register_agent": _registered,
    "ContextStore.update_session": lambda b, given, _: _merged(
        b.context.get_session(plain(given["dfid"])), given["updates"]
    ),
    "ContextStore.update_state": lambda b, given, _: _merged(
        b.context.get_state(plain(given["agent_id"])), given["updates"]
    ),
    "DecisionLedger.append": lambda b, given, _: (
        encoded((b.decision_ledger.get_by_dfid(plain(given["pci"].dfid)) or {})["intent_payload"])
        == encoded(dict(given["pci"].intent_payload))
    ),
    "EscalationManager.request_escalation": _asked,
    "IntentRetryGovernor.record_rejection": lambda b, given, count: (
        b.intent_retry.get_count(plain(given["dfid"])) == count
    ),
    "ResourceLockManager.acquire": _held,
    "SagaCompensation.mark_dirty": _dirty,
    "transition": _moved,
}


@pytest.mark.parametrize("backend", wanted(list(CALLS)), indirect=True)
@pytest.mark.timeout(300)
def test_every_call_works_and_comes_back_or_is_refused(backend: str, open_same: Open) -> None:
    bundle = open_same(max_document_bytes=2**16)
    before = leave_witnesses(bundle)
    on = Kernel(bundle)
    ended: Counter[str] = Counter()

    @same_calls_each_time(CALLS[backend], METHODS, usual, hostile)
    def many(made: list[tuple[str, dict[str, Make]]]) -> None:
        for method, arguments in made:
            prepare(on, method)
            ended[call(on, method, arguments)] += 1
        assert witnesses(bundle) == before

    many()

    assert ended.total() >= CALLS[backend]
    assert ended["worked"] > CALLS[backend] / 5
    assert ended["refused"] > CALLS[backend] / 5


@pytest.mark.parametrize("manager", MANAGERS)
@pytest.mark.timeout(300)
def test_every_hostile_value_of_every_argument_is_taken_or_refused(manager: str) -> None:
    bundle = memory_storage(max_document_bytes=2**16)
    before = leave_witnesses(bundle)
    on = Kernel(bundle)
    for method, signature in METHODS.items():
        if method.partition(".")[0] != manager:
            continue
        parameters = list(signature.parameters.values())
        given = {
            p.name: usual(p.name)[0] for p in parameters if p.default is p.empty or p.name in WAITS
        }
        for parameter in parameters:
            for make in hostile(parameter.name):
                prepare(on, method)
                call(on, method, {**given, parameter.name: make})
            assert witnesses(bundle) == before, (method, parameter.name)


# What is judged is looked at before anything is recorded

NO_RUNTIME_ARGUMENTS = {
    "proposal": [None, 7, {}, usual("projection")[0]()],
    "raw_web_context": [None, 7, "a", [1]],
    "dim_context": [7, "a", [1]],
    "allowed_agents": ["a", b"a", 7, [7], [None]],
    "contract": [7, "a", [1], [("a", 1)]],
    "retry_governor": [7, "a", {}, object()],
    "custom_validators": [7, [7], "a", ["a"]],
    "now": [7, "2026-01-01", 0.0],
}


@pytest.mark.parametrize("argument", NO_RUNTIME_ARGUMENTS)
def test_a_proposal_is_refused_before_its_context_is_recorded(argument: str) -> None:
    on = Kernel(memory_storage())
    given = {"proposal": usual("proposal")[0](), "raw_web_context": {"price": 1}}
    for value in NO_RUNTIME_ARGUMENTS[argument]:
        with pytest.raises((TypeError, ValueError)):
            on.do("DecisionRuntime.evaluate_proposal", {**given, argument: value})
        assert on.written == []


def test_one_agents_id_lets_in_no_agent_whose_id_is_a_part_of_it() -> None:
    on = Kernel(memory_storage())
    proposal = usual("proposal")[0]()  # agent a's

    with pytest.raises(TypeError, match="allowed_agents must be a list"):
        on.do(
            "DecisionRuntime.evaluate_proposal",
            {"proposal": proposal, "raw_web_context": {}, "allowed_agents": "trader"},
        )


@pytest.mark.parametrize("field", [{"dfid": "x" * 1025}, {"actor_id": None}, {"dfid": None}])
def test_an_amendment_whose_row_would_be_refused_changes_no_contract(field: dict[str, Any]) -> None:
    on = Kernel(memory_storage())
    prepare(on, "DecisionRuntime.apply_parameter_amendment")
    amendment = usual("amendment")[0]().model_copy(update=field)
    on.written.clear()

    with pytest.raises(ValueError, match=next(iter(field))):
        on.do("DecisionRuntime.apply_parameter_amendment", {"amendment": amendment})
    assert on.written == []


def test_compensating_no_flow_takes_nobody_elses() -> None:
    on = Kernel(memory_storage())
    on.do(
        "SagaCompensation.mark_dirty", {"dfid": "f", "failed_step": "s", "partial_state": {"a": 1}}
    )

    with pytest.raises(TypeError, match="dfid must be a str"):
        on.do("SagaCompensation.execute_compensation", {"dfid": None, "action": "REVERT"})
    assert on.bundle.saga.get_dirty_flows() == ["f"]


def test_a_contract_that_is_no_object_is_refused() -> None:
    """What reads it later takes it apart by its names."""
    registry = kernel.AgentRegistry(storage=memory_storage().agent_registry)
    for contract in ([1], "{}", 7, None):
        with pytest.raises(TypeError, match="contract must be a dict"):
            registry.handshake("a", contract, "1.0.0")
    assert registry.list_agents() == []


def test_a_step_of_no_flow_is_not_the_step_of_a_flow_that_is_called_so() -> None:
    guard = kernel.IdempotencyGuard(memory_storage().idempotency)
    guard.run("None", "7", {}, lambda: "theirs")

    for dfid, step_id in ((None, "7"), ("None", 7)):
        with pytest.raises(TypeError, match="must be a str"):
            guard.run(dfid, step_id, {}, lambda: "mine")
    assert guard.run(LyingStr("f"), "s", {}, lambda: 1) == guard.run("f", "s", {}, lambda: 2) == 1


@pytest.mark.parametrize(
    ("params", "func"), [({}, None), ({}, 7), ([1], print), ({1: 1}, print), ("a", print)]
)
def test_what_cannot_be_run_is_refused_before_it_is_claimed(params: Any, func: Any) -> None:
    claimed: list[object] = []
    backend: Any = types.SimpleNamespace(run_once=lambda *given, **_more: claimed.append(given))

    with pytest.raises(TypeError):
        kernel.IdempotencyGuard(backend).run("f", "s", params, func)
    assert claimed == []


def test_nobody_is_asked_how_much_there_is_of_a_letter() -> None:
    asked: list[str] = []
    locks = kernel.ResourceLockManager(
        None, lambda resource_id: asked.append(resource_id) or 1, storage=_MEMORY.resource_lock
    )
    for reserve in (locks.acquire, locks.reserve):
        with pytest.raises(TypeError, match="resources must be a dict"):
            reserve("f", "capital", 0)
    assert asked == []


def test_a_transition_whose_count_cannot_be_reset_is_not_made() -> None:
    bundle = memory_storage()

    with pytest.raises(TypeError, match="retry_governor must be a IntentRetryGovernor"):
        kernel.transition("f", "CREATED", "CLOSED", object(), storage=bundle.lifecycle)
    assert bundle.lifecycle.get_transitions("f") == []


def test_an_intent_without_a_flow_is_not_in_the_list_of_a_process() -> None:
    ledger = kernel.DecisionLedger()
    for pci in (None, types.SimpleNamespace(dfid="f"), usual("proposal")[0]()):
        with pytest.raises(TypeError):
            ledger.append(pci, agent_id="a")
    assert len(ledger) == 0


# What a manager is made with

MAKERS: dict[str, dict[str, Any]] = {
    "AgentRegistry": {"storage": _MEMORY.agent_registry},
    "ContextStore": {"storage": _MEMORY.context},
    "DecisionLedger": {},
    "DecisionRuntime": {"storage_bundle": _MEMORY},
    "EscalationManager": {"storage": _MEMORY.escalation},
    "IdempotencyGuard": {"backend": _MEMORY.idempotency},
    "IntentRetryGovernor": {"storage": _MEMORY.intent_retry},
    "ResourceLockManager": {
        "availability_provider": lambda _: 1,
        "storage": _MEMORY.resource_lock,
    },
    "SagaCompensation": {"storage": _MEMORY.saga},
}
FIRST_CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "AgentRegistry": ("handshake", {"agent_id": "a", "contract": {}, "agent_version": "1.0.0"}),
    "ContextStore": ("update_session", {"dfid": "f", "updates": {"a": 1}}),
    "DecisionLedger": ("entries", {}),
    "DecisionRuntime": (
        "evaluate_proposal",
        {"proposal": usual("proposal")[0](), "raw_web_context": {}},
    ),
    "EscalationManager": (
        "request_escalation",
        {
            **{"dfid": "f", "agent_id": "a", "reason": "r", "context": {}, "impact": "LOW_IMPACT"},
            "proposal": usual("proposal")[0](),
        },
    ),
    "IdempotencyGuard": (
        "run",
        {"dfid": "f", "step_id": "s", "params": {}, "func": lambda: 1},
    ),
    "IntentRetryGovernor": ("should_abort", {"dfid": "f"}),
    "ResourceLockManager": ("acquire", {"dfid": "f", "resources": {"r": 1}, "timeout_sec": 0}),
    "SagaCompensation": ("execute_compensation", {"dfid": "f", "action": "REVERT"}),
}
OPTIONS = [
    (name, option)
    for name in MAKERS
    for option in inspect.signature(getattr(kernel, name)).parameters
    # All open their file in the same place.
    if option != "db_path" or name == "ContextStore"
]


@pytest.mark.parametrize(("manager", "option"), OPTIONS)
def test_what_a_manager_is_made_with_is_taken_or_refused(
    manager: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused when it is made or, with nothing done, at its first call."""
    monkeypatch.chdir(tmp_path)
    given = {name: value for name, value in MAKERS[manager].items() if name != option}
    if option == "db_path":
        given.pop("storage")
    method, arguments = FIRST_CALLS[manager]
    for make in hostile("context"):
        try:
            made = getattr(kernel, manager)(**given, **{option: make()})
            if manager == "SagaCompensation":
                made.mark_dirty("f", "step", {})
            getattr(made, method)(**arguments)
        except (ValueError, TypeError, StorageError, HostileError):
            continue


def test_a_transition_in_a_hostile_place_is_made_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in PLACES:
        for make in OBJECTS:
            with contextlib.suppress(ValueError, TypeError, StorageError, HostileError):
                kernel.transition("f", "CREATED", "ACTIVE", **{place: make()})


# Nothing is left out


def test_every_method_and_argument_of_the_kernel_is_among_the_calls() -> None:
    managers = {name for name in kernel.__all__ if name not in CORES_OWN}

    assert managers == {*MAKERS, "transition"} == set(MANAGERS)
    assert len(METHODS) > 30
    assert set(ROUND_TRIPS) <= set(METHODS)
    for name in CORES_OWN:
        module = getattr(getattr(kernel, name), "__module__", "dir_core")
        assert module.partition(".")[0] == "dir_core", name
    for signature in METHODS.values():
        for argument in signature.parameters:
            assert usual(argument)
            assert len(hostile(argument)) > 100
