"""Public names, and the bundle that holds one storage per Protocol."""

from __future__ import annotations

import dataclasses
import time

import pytest

import dir_redis
from dir_redis import StorageBundle, memory_storage

PROTOCOL_OF_FIELD = {
    "agent_registry": "AgentRegistryStorage",
    "context": "ContextStorage",
    "idempotency": "IdempotencyStorage",
    "decision_audit": "DecisionAuditStorage",
    "saga": "SagaStorage",
    "resource_lock": "ResourceLockStorage",
    "intent_retry": "IntentRetryStorage",
    "escalation": "EscalationStorage",
    "lifecycle": "LifecycleStorage",
}
FIELDS = list(PROTOCOL_OF_FIELD)
PROTOCOLS = list(PROTOCOL_OF_FIELD.values())
BACKEND_CLASSES = [
    f"{prefix}{protocol}" for prefix in ("Memory", "Sqlite", "Redis") for protocol in PROTOCOLS
]
FACTORIES = [
    "memory_storage",
    "sqlite_storage",
    "redis_storage",
    "embedded_storage",
    "open_storage",
]
ERRORS = ["StorageError", "ResourceContentionError", "InsufficientCapacityError"]


@pytest.mark.parametrize(
    "name",
    [
        *PROTOCOLS,
        *BACKEND_CLASSES,
        *FACTORIES,
        *ERRORS,
        "AuditStore",
        "StorageBundle",
        "dumps_json_dict",
        "ensure_db",
    ],
)
def test_every_public_name_is_importable_from_the_package(name):
    assert getattr(dir_redis, name).__name__ == name


def test_all_errors_have_one_root():
    assert issubclass(dir_redis.StorageError, Exception)
    assert issubclass(dir_redis.ResourceContentionError, dir_redis.StorageError)
    assert issubclass(dir_redis.InsufficientCapacityError, dir_redis.StorageError)


def test_the_first_nine_fields_of_a_bundle_are_the_nine_storages_in_order():
    assert dataclasses.is_dataclass(StorageBundle)
    assert [field.name for field in dataclasses.fields(StorageBundle)][:9] == FIELDS


def test_a_bundle_is_built_from_nine_storages_in_order_or_by_name(bundle):
    storages = {field: getattr(bundle, field) for field in FIELDS}

    for built in (StorageBundle(*storages.values()), StorageBundle(**storages)):
        assert [getattr(built, field) for field in FIELDS] == list(storages.values())


@pytest.mark.parametrize("field", FIELDS)
def test_every_storage_is_an_instance_of_its_protocol(bundle, field):
    storage = getattr(bundle, field)

    assert isinstance(storage, getattr(dir_redis, PROTOCOL_OF_FIELD[field]))
    assert type(storage).__name__.endswith(PROTOCOL_OF_FIELD[field])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_protocols_can_be_checked_at_run_time_and_an_object_is_no_instance(protocol):
    assert not isinstance(object(), getattr(dir_redis, protocol))


def test_reservations_of_every_backend_know_capacities(bundle):
    assert isinstance(bundle.resource_lock, dir_redis.CapacityStorage)


@pytest.mark.parametrize("field", FIELDS)
def test_init_schema_may_be_called_any_number_of_times(bundle, field):
    for _ in range(3):
        assert getattr(bundle, field).init_schema() is None


def test_init_schema_by_many_at_once_keeps_what_is_stored(bundle, race):
    bundle.context.set_session("f", '{"kept": 1}')
    bundle.decision_audit.record("f", "kept")
    bundle.resource_lock.set_capacity("seats", 1)

    def init_all():
        for field in FIELDS:
            getattr(bundle, field).init_schema()

    race([init_all] * 16)

    assert bundle.context.get_session("f") == '{"kept": 1}'
    assert len(bundle.decision_audit.events_for_dfid("f")) == 1
    assert bundle.resource_lock.get_capacity("seats") == 1


def test_a_bundle_is_a_context_manager_that_closes_once_what_it_opened(bundle):
    closed = []
    storages = [getattr(bundle, field) for field in FIELDS]
    built = StorageBundle(*storages, on_close=lambda: closed.append("closed"))

    with built as entered:
        assert entered is built
        assert closed == []
    assert closed == ["closed"]
    built.close()
    assert closed == ["closed"]


def test_leaving_a_bundle_by_an_error_closes_it_and_passes_the_error_on(bundle):
    closed = []
    storages = [getattr(bundle, field) for field in FIELDS]

    def fail():
        with StorageBundle(*storages, on_close=lambda: closed.append("closed")):
            raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        fail()
    assert closed == ["closed"]


def test_an_opened_bundle_may_be_closed_again_and_again(bundle):
    with bundle:
        bundle.context.set_session("f", "{}")
    bundle.close()
    bundle.close()


def test_closing_a_bundle_built_by_hand_leaves_its_storages_open(bundle):
    by_hand = StorageBundle(*[getattr(bundle, field) for field in FIELDS])
    assert by_hand.url is None

    by_hand.close()
    bundle.saga.mark_dirty("f", "pay", "{}")
    assert by_hand.saga.get_dirty_flows() == ["f"]


@pytest.mark.parametrize("own_fields", [FIELDS[::2], FIELDS[1::2]])
def test_backends_can_be_mixed_by_building_a_bundle_by_hand(bundle, own_fields):
    with memory_storage() as memory:
        mixed = StorageBundle(
            **{field: getattr(bundle if field in own_fields else memory, field) for field in FIELDS}
        )
        mixed.agent_registry.upsert_agent("a", "{}", 1, "ACTIVE", None, None)
        mixed.context.set_session("f", "{}")
        mixed.idempotency.set("k", {"a": 1})
        mixed.decision_audit.record("f", "e")
        mixed.saga.mark_dirty("f", "pay", "{}")
        mixed.resource_lock.acquire_batch("f", {"seats": 1}, 1)
        mixed.intent_retry.set_count("f", 3)
        mixed.escalation.insert_request("f", "a", "why", "{}", "{}", "LOW")
        mixed.lifecycle.record_transition("f", "CREATED", "ACTIVE")

        assert mixed.agent_registry.list_active_agents() == ["a"]
        assert mixed.context.get_session("f") == "{}"
        assert mixed.idempotency.get("k") == {"a": 1}
        assert len(mixed.decision_audit.all_events_chronological()) == 1
        assert mixed.saga.get_dirty_flows() == ["f"]
        assert mixed.resource_lock.get_locked_amount("seats", exclude_dfid="other") == 1.0
        assert mixed.intent_retry.get_count("f") == 3
        assert len(mixed.escalation.get_pending_requests()) == 1
        assert len(mixed.lifecycle.get_transitions()) == 1


def test_two_stores_share_nothing(bundle):
    with memory_storage() as other:
        other.context.set_session("f", "{}")
        other.resource_lock.set_capacity("seats", 1)

        assert bundle.context.get_session("f") is None
        assert bundle.resource_lock.get_capacity("seats") is None


def test_a_bundle_tells_all_the_storages_it_has(bundle):
    by_hand = StorageBundle(*[getattr(bundle, field) for field in FIELDS])

    assert bundle.storages == [getattr(bundle, name) for name in (*FIELDS, "decision_ledger")]
    assert by_hand.storages == bundle.storages[:9]


USES = {
    "agent_registry": lambda b: b.agent_registry.list_active_agents(),
    "context": lambda b: b.context.get_session("f"),
    "idempotency": lambda b: b.idempotency.get("k"),
    "decision_audit": lambda b: b.decision_audit.record("f", "EVENT"),
    "saga": lambda b: b.saga.get_dirty_flows(),
    "resource_lock": lambda b: b.resource_lock.acquire_batch("f", {"r": 1}, 0),
    "intent_retry": lambda b: b.intent_retry.increment("f"),
    "escalation": lambda b: b.escalation.get_pending_requests(),
    "lifecycle": lambda b: b.lifecycle.current_status("f"),
    "decision_ledger": lambda b: b.decision_ledger.count_entries(),
}


@pytest.mark.parametrize("field", USES)
def test_a_store_that_was_closed_is_of_no_use_and_says_so(bundle, field):
    bundle.close()
    bundle.close()

    with pytest.raises(dir_redis.StorageError, match="was closed"):
        USES[field](bundle)


@pytest.mark.parametrize(
    "wait",
    [
        lambda b: next(b.decision_audit.follow(timeout_sec=60)),
        lambda b: b.escalation.wait_for_decision("f", 60),
        lambda b: b.idempotency.wait("k", 60),
        lambda b: b.resource_lock.reserve("other", {"r": 1}, wait_sec=60, capacities={"r": 1}),
    ],
    ids=["follow", "wait_for_decision", "wait", "reserve"],
)
def test_who_waits_is_told_that_the_store_was_closed(bundle, wait, race):
    bundle.escalation.insert_request("f", "agent", "reason", "{}", "{}", "impact")
    bundle.idempotency.claim("k", lease_sec=600, owner="me")
    bundle.resource_lock.acquire_batch("f", {"r": 1}, 0)

    def close():
        time.sleep(0.2)  # the other call has begun to wait by then; if not, it is told all the same
        bundle.close()

    def waits():
        with pytest.raises(dir_redis.StorageError, match="was closed"):
            wait(bundle)

    begun = time.monotonic()
    race([waits, close])
    assert time.monotonic() - begun < 30
