"""What code imports, and what a manager refuses to stand on."""

from __future__ import annotations

import inspect
import sqlite3

import dir_core
import pytest
from dir_core import agent_registry, escalation, idempotency, intent_retry, lifecycle, saga

from dir_redis import (
    MemoryLifecycleStorage,
    StorageBundle,
    StorageConfigurationError,
    kernel,
    memory_storage,
    sqlite_storage,
)

MANAGERS = {
    "AgentRegistry": dir_core.storage.MemoryAgentRegistryStorage,
    "ContextStore": dir_core.storage.MemoryContextStorage,
    "EscalationManager": dir_core.storage.MemoryEscalationStorage,
    "IntentRetryGovernor": dir_core.storage.MemoryIntentRetryStorage,
    "ResourceLockManager": dir_core.storage.MemoryResourceLockStorage,
    "SagaCompensation": dir_core.storage.MemorySagaStorage,
}
MISSING = {
    "AgentRegistry": "register and get_contract_versioned and update_contract",
    "ContextStore": "merge_session and merge_state",
    "EscalationManager": "escalate",
    "IntentRetryGovernor": "increment",
    "ResourceLockManager": "reserve",
    "SagaCompensation": "claim_dirty and renew_dirty and release_dirty",
}
KINDS = {
    "AgentRegistry": "agent_registry",
    "ContextStore": "context",
    "EscalationManager": "escalation",
    "IntentRetryGovernor": "intent_retry",
    "ResourceLockManager": "resource_lock",
    "SagaCompensation": "saga",
}


def made(name: str, **storage):
    """A manager, or the other one, with what it needs beside its storage."""
    more = {"availability_provider": lambda _: 1} if name == "ResourceLockManager" else {}
    return getattr(kernel, name)(**more, **storage)


def test_what_code_imports_beside_the_managers_is_dir_cores_own():
    same = {
        "CompensationResult": saga,
        "EscalationOutcome": escalation,
        "FlowStatus": lifecycle,
        "HandshakeResult": agent_registry,
        "ImpactCategory": escalation,
        "LockResult": dir_core,
        "REASONING_EXHAUSTION": intent_retry,
        "idempotency_key": idempotency,
    }
    if hasattr(agent_registry, "AmendmentResult"):
        same["AmendmentResult"] = agent_registry

    for name, module in same.items():
        assert getattr(kernel, name) is getattr(module, name), name
    assert set(kernel.__all__) == {*same, *MANAGERS} | {
        *("DecisionLedger", "DecisionRuntime", "IdempotencyGuard", "transition"),
    }
    assert sorted(kernel.__all__) == sorted(dir(kernel_namespace()))


def kernel_namespace():
    """What ``from dir_redis.kernel import *`` brings."""
    names: dict[str, object] = {}
    exec("from dir_redis.kernel import *", names)
    names.pop("__builtins__")
    return type("Names", (), {"__dir__": lambda _: list(names)})()


def parameters(function):
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in found]


@pytest.mark.parametrize("name", [*MANAGERS, "DecisionRuntime", "IdempotencyGuard", "transition"])
def test_each_takes_what_dir_cores_takes_and_what_is_more_by_name(name):
    ours, cores = getattr(kernel, name), getattr(dir_core, name)
    pairs = [(ours, cores)]
    if inspect.isclass(cores):
        assert issubclass(ours, cores)
        pairs = [
            (getattr(ours, method), function)
            for method, function in inspect.getmembers(cores, inspect.isfunction)
            if method == "__init__" or not method.startswith("_")
        ]

    for mine, theirs in pairs:
        expected = parameters(theirs)
        names = {name for name, _, _ in expected}
        assert [p for p in parameters(mine) if p[0] in names] == expected, theirs
        more = [kind for name, kind, _ in parameters(mine) if name not in names]
        assert set(more) <= {inspect.Parameter.KEYWORD_ONLY}, theirs


@pytest.mark.parametrize("name", MANAGERS)
def test_a_storage_without_the_operations_is_refused_and_says_which(name):
    with pytest.raises(TypeError) as refused:
        made(name, storage=MANAGERS[name]())

    assert str(refused.value) == (
        f"{name} of dir_redis.kernel needs a storage with {MISSING[name]}, which "
        f"dir_core.storage.memory.{MANAGERS[name].__name__} has not: take a storage "
        f"of a bundle, such as dir_redis.open_storage().{KINDS[name]}, or dir_core's own "
        f"{name} for this one"
    )


@pytest.mark.parametrize("name", MANAGERS)
def test_the_storage_that_is_named_instead_will_do(name):
    made(name, storage=getattr(memory_storage(), KINDS[name]))


def test_the_others_refuse_such_storages_too():
    with pytest.raises(TypeError, match=r"run_once, .*open_storage\(\)\.idempotency, "):
        kernel.IdempotencyGuard(dir_core.storage.MemoryIdempotencyStorage())
    with pytest.raises(TypeError, match=r"transition of dir_redis\.kernel needs .*\.lifecycle, "):
        kernel.transition(
            "f",
            kernel.FlowStatus.CREATED,
            kernel.FlowStatus.ACTIVE,
            storage=dir_core.storage.MemoryLifecycleStorage(),
        )
    with pytest.raises(
        TypeError, match=r"append and all_entries_.* and count_entries.*\.decision_ledger, "
    ):
        kernel.DecisionLedger(object())
    with pytest.raises(TypeError, match=r"AgentRegistry of dir_redis\.kernel needs"):
        kernel.DecisionRuntime(dir_core.memory_storage())


def test_a_refused_transition_touches_no_count():
    governor = kernel.IntentRetryGovernor()
    governor.record_rejection("f")
    with pytest.raises(TypeError):
        kernel.transition(
            *("f", kernel.FlowStatus.CREATED, kernel.FlowStatus.ABORTED, governor),
            storage=dir_core.storage.MemoryLifecycleStorage(),
        )

    assert governor.record_rejection("f") == 2


@pytest.mark.parametrize("name", [name for name in MANAGERS if name != "IntentRetryGovernor"])
def test_neither_a_file_nor_a_storage_is_dir_cores_value_error(name):
    more = {"availability_provider": lambda _: 1} if name == "ResourceLockManager" else {}
    with pytest.raises(ValueError, match="'db_path'") as cores:
        getattr(dir_core, name)(**more)

    with pytest.raises(ValueError, match="'db_path'") as ours:
        made(name)

    assert str(ours.value) == str(cores.value)


def test_a_lock_manager_without_a_provider_is_dir_cores_value_error_and_opens_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"^availability_provider is required\.$"):
        kernel.ResourceLockManager(str(tmp_path / "store.db"))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", MANAGERS)
def test_a_path_opens_this_packages_file(name, tmp_path):
    path = str(tmp_path / "folder" / "store.db")
    manager = made(name, db_path=path)

    assert manager.db_path == path
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM dir_redis_meta").fetchone()[0] >= 1
    connection.close()


def test_managers_on_one_path_share_what_is_in_it(tmp_path):
    path = str(tmp_path / "store.db")
    for _ in range(2):
        kernel.IntentRetryGovernor(db_path=path).record_rejection("f")
    kernel.ContextStore(path).update_session("f", {"price": 1})

    with sqlite_storage(path) as store:
        assert store.intent_retry.get_count("f") == 2
        assert store.context.get_session("f") == '{"price": 1}'


def test_a_managers_file_is_closed_when_the_manager_is_gone(tmp_path):
    governor = kernel.IntentRetryGovernor(db_path=str(tmp_path / "store.db"))
    governor.record_rejection("f")
    storage = governor._storage
    assert storage.get_count("f") == 1
    del governor

    with pytest.raises(Exception, match="was closed"):
        storage.get_count("f")


def test_a_storage_counts_and_not_the_path(tmp_path):
    store = memory_storage()
    kernel.ContextStore(str(tmp_path / "store.db"), storage=store.context).update_state("a", {})

    assert store.context.get_state("a") == "{}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    "root_dfid" not in inspect.signature(dir_core.transition).parameters,
    reason="the files of dir-core 0.1 are taken as they are",
)
def test_a_file_of_a_newer_dir_core_is_refused_with_what_to_do(tmp_path):
    path = str(tmp_path / "core.db")
    dir_core.sqlite_storage(path)

    with pytest.raises(StorageConfigurationError, match="dir-core"):
        kernel.ContextStore(path)


def test_a_storage_of_ones_own_will_do_if_it_has_the_operations(bundle: StorageBundle):
    class Counting:
        """Three methods, and not a line of this package."""

        def __init__(self):
            self.counts = {}

        def get_count(self, dfid):
            return self.counts.get(dfid, 0)

        def increment(self, dfid):
            self.counts[dfid] = self.get_count(dfid) + 1
            return bundle.intent_retry.increment(dfid)

        def delete(self, dfid):
            self.counts.pop(dfid, None)

    governor = kernel.IntentRetryGovernor(storage=Counting())
    assert governor.record_rejection("f") == 1
    governor.reset("f")
    assert not governor.should_abort("f")


def test_a_bundle_made_by_hand_of_several_stores_will_do(bundle: StorageBundle):
    runtime = kernel.DecisionRuntime(
        StorageBundle(
            *(bundle.agent_registry, memory_storage().context, bundle.idempotency),
            *(bundle.decision_audit, bundle.saga, bundle.resource_lock, bundle.intent_retry),
            *(bundle.escalation, MemoryLifecycleStorage()),
        )
    )
    assert runtime.register_agent("a", {}, "1.0").accepted
