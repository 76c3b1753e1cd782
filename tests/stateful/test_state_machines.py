"""Random calls on a store and on memory, side by side: the same answers, the same errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from dir_redis import StorageBundle, StorageError, memory_storage

TIMESTAMPS = {"timestamp", "created_at"}

SETTINGS = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

IDS = ("a", "b", "a:b", "{a}", "*", "\0", "😀", "é" * 512)
BAD_IDS = ("", "x" * 1025, "\ud800", None, 7)
WORDS = ("", "ACTIVE", "SUSPENDED", " é\0\n😀", "\ud800", None, 7)
DOCUMENTS = ("{}", "", None, ' {"b": [1.0, null], "a": 1e400} ', "[]", "null", "{", '"\ud800"', 7)

ids = st.sampled_from(IDS * 4 + BAD_IDS)
maybe_ids = st.none() | ids
words = st.sampled_from(WORDS)
documents = st.sampled_from(DOCUMENTS)
json_dicts = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
        max_leaves=4,
    ),
    max_size=3,
)


def without_timestamps(value: Any) -> Any:
    if isinstance(value, list):
        return [without_timestamps(item) for item in value]
    if isinstance(value, dict) and value.keys() & TIMESTAMPS:
        return {key: item for key, item in value.items() if key not in TIMESTAMPS}
    return value


def outcome(method: Callable[..., Any], arguments: Sequence[Any], named: dict[str, Any]) -> Any:
    """What a call returns, or what it raises and what the error carries."""
    try:
        returned = without_timestamps(method(*arguments, **named))
    except (StorageError, TypeError, ValueError) as error:
        return "raised", type(error), getattr(error, "__dict__", {}), str(error)
    return "returned", type(returned), returned


class TwinMachine(RuleBasedStateMachine):
    """A store and its twin in memory; every call goes to both."""

    field: ClassVar[str]
    open_store: ClassVar[Callable[[], StorageBundle]]

    @initialize()
    def open_both(self) -> None:
        self.subject = getattr(type(self).open_store(), self.field)
        self.twin = getattr(memory_storage(), self.field)

    def both(self, method: str, *arguments: Any, **named: Any) -> None:
        expected = outcome(getattr(self.twin, method), arguments, named)
        assert outcome(getattr(self.subject, method), arguments, named) == expected

    def both_for_each(self, method: str, identifiers: Iterable[str], *more: Any) -> None:
        for identifier in identifiers:
            self.both(method, identifier, *more)


class AgentRegistryMachine(TwinMachine):
    field = "agent_registry"

    @rule(
        agent_id=ids,
        contract=documents,
        priority=st.sampled_from([0, -1, 2**63 - 1, 2**63, True, 1.0]),
        status=words,
        version=words,
        token=words,
    )
    def upsert_any(self, agent_id, contract, priority, status, version, token):
        self.both("upsert_agent", agent_id, contract, priority, status, version, token)

    @rule(agent_id=st.sampled_from(IDS), status=st.sampled_from(["ACTIVE", "RETIRED"]))
    def upsert(self, agent_id, status):
        self.both("upsert_agent", agent_id, '{"max": 1}', 1, status, None, "token")

    @rule(agent_id=ids, status=words, reason=words)
    def update_status(self, agent_id, status, reason):
        self.both("update_status", agent_id, status, reason)

    @rule(agent_id=ids)
    def read(self, agent_id):
        self.both("get_agent", agent_id)
        self.both("get_status", agent_id)

    @invariant()
    def list_active(self):
        self.both("list_active_agents")

    def teardown(self):
        self.both_for_each("get_agent", IDS)
        self.both_for_each("get_status", IDS)


class ContextMachine(TwinMachine):
    field = "context"

    @rule(dfid=ids, data=documents, agent_id=maybe_ids)
    def set_session(self, dfid, data, agent_id):
        self.both("set_session", dfid, data, agent_id=agent_id)

    @rule(agent_id=ids, data=documents)
    def set_state(self, agent_id, data):
        self.both("set_state", agent_id, data)

    @rule(identifier=ids)
    def read(self, identifier):
        self.both("get_session", identifier)
        self.both("get_state", identifier)

    def teardown(self):
        self.both_for_each("get_session", IDS)
        self.both_for_each("get_state", IDS)


class IdempotencyMachine(TwinMachine):
    field = "idempotency"

    @rule(key=ids, result=json_dicts)
    def set_result(self, key, result):
        self.both("set", key, result)

    @rule(
        key=st.sampled_from(IDS),
        result=st.sampled_from([None, [], "{}", {b"k": 1}, {1: 1, "a": 2}, {2: (1,), 1: IDS}]),
    )
    def set_odd_result(self, key, result):
        self.both("set", key, result)

    @rule(key=ids)
    def read(self, key):
        self.both("get", key)

    def teardown(self):
        self.both_for_each("get", IDS)


class DecisionAuditMachine(TwinMachine):
    field = "decision_audit"

    @rule(
        dfid=ids,
        event=words,
        step_id=words,
        state=words,
        details=st.none() | json_dicts | st.sampled_from([[1], "{}", {b"k": 1}]),
        root_dfid=maybe_ids,
        agent_id=maybe_ids,
        severity=st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "error", None]),
    )
    def record_any(self, dfid, event, **named):
        self.both("record", dfid, event, **named)

    @rule(dfid=st.sampled_from(IDS), event=st.text(max_size=5), details=json_dicts)
    def record(self, dfid, event, details):
        self.both("record", dfid, event, details=details)

    @rule(dfid=ids)
    def read(self, dfid):
        self.both("events_for_dfid", dfid)

    @rule()
    def read_all(self):
        self.both("all_events_chronological")

    def teardown(self):
        self.both("all_events_chronological")
        self.both_for_each("events_for_dfid", IDS)


class SagaMachine(TwinMachine):
    field = "saga"

    @rule(dfid=ids, step=words, state=documents)
    def mark_any(self, dfid, step, state):
        self.both("mark_dirty", dfid, step, state)

    @rule(dfid=st.sampled_from(IDS), step=st.sampled_from(["pay", "ship"]))
    def mark(self, dfid, step):
        self.both("mark_dirty", dfid, step, '{"done": []}')

    @rule(dfid=ids)
    def clear(self, dfid):
        self.both("clear_dirty", dfid)

    @rule(dfid=ids)
    def read(self, dfid):
        self.both("get_dirty_state", dfid)

    @invariant()
    def list_flows(self):
        self.both("get_dirty_flows")

    def teardown(self):
        self.both_for_each("get_dirty_state", IDS)


RESOURCES = ("a", "b", "a:b", "{a}")
EXACT_AMOUNTS = (0, 1, 2, 0.1, 0.2, 0.3, 5, Decimal("0.00000001"), Decimal("90071992.54740993"))
ODD_AMOUNTS = (
    *(1e-9, 5e-9, 1.5e-8, 1 / 3, -0.0, 1e300, float("nan"), float("inf"), -1e-9, -1),
    *(Decimal("92233720368.54775807"), Decimal("92233720368.54775808"), True, "1", None),
)
amounts = st.sampled_from(EXACT_AMOUNTS * 3 + ODD_AMOUNTS)
batches = st.dictionaries(st.sampled_from(RESOURCES), st.sampled_from(EXACT_AMOUNTS), max_size=3)


class ResourceLockMachine(TwinMachine):
    """One thread stands for many hosts: what was told is kept per flow."""

    field = "resource_lock"

    @rule(dfid=st.sampled_from(IDS), resources=batches)
    def acquire(self, dfid, resources):
        self.both("acquire_batch", dfid, resources, 10)

    @rule(dfid=st.sampled_from(IDS), resources=batches)
    def look_and_acquire(self, dfid, resources):
        for rid in sorted(resources):
            self.both("get_locked_amount", rid, dfid)
        self.both("acquire_batch", dfid, resources, 10)

    @rule(
        dfid=ids,
        resources=st.dictionaries(ids, amounts, max_size=3) | st.sampled_from([None, [], 7]),
        timeout=st.sampled_from([10, 0, 0.5, -1, float("inf"), None, True]),
        capacities=st.none() | st.dictionaries(ids, amounts, max_size=1),
    )
    def acquire_any(self, dfid, resources, timeout, capacities):
        self.both("acquire_batch", dfid, resources, timeout, capacities=capacities)

    @rule(dfid=st.sampled_from(IDS), resources=batches, data=st.data())
    def acquire_within(self, dfid, resources, data):
        capacities = {rid: data.draw(st.sampled_from(EXACT_AMOUNTS)) for rid in resources}
        self.both("acquire_batch", dfid, resources, 10, capacities=capacities)

    @rule(dfid=ids)
    def release(self, dfid):
        self.both("release", dfid)

    @rule(rid=st.sampled_from(RESOURCES), capacity=st.none() | amounts)
    def set_capacity(self, rid, capacity):
        self.both("set_capacity", rid, capacity)

    @rule(rid=ids)
    def get_capacity(self, rid):
        self.both("get_capacity", rid)

    @rule(rid=ids, dfid=ids)
    def look(self, rid, dfid):
        self.both("get_locked_amount", rid, dfid)

    @invariant()
    def totals(self):
        self.both_for_each("get_locked_amount", RESOURCES, "nobody")

    def teardown(self):
        self.both_for_each("get_capacity", IDS)
        self.both_for_each("get_locked_amount", IDS, "nobody")
        self.both_for_each("release", IDS)
        self.both_for_each("get_locked_amount", IDS, "nobody")
        for rid in IDS:
            assert self.subject.get_locked_amount(rid, "nobody") == 0.0


class IntentRetryMachine(TwinMachine):
    field = "intent_retry"

    @rule(dfid=ids, count=st.sampled_from([0, 1, 2, 2**53 + 1, 2**63 - 1, 2**63, -1, True, "1"]))
    def set_count(self, dfid, count):
        self.both("set_count", dfid, count)

    @rule(dfid=ids)
    def delete(self, dfid):
        self.both("delete", dfid)

    @rule(dfid=ids)
    def read(self, dfid):
        self.both("get_count", dfid)

    def teardown(self):
        self.both_for_each("get_count", IDS)


SINCE = (
    *("2000-01-01 00:00:00", "2999-01-01T00:00:00Z", "2000-01-01T00:00:00.5+02:00"),
    *("0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "", "now", "2026-02-30 00:00:00", None),
)


class EscalationMachine(TwinMachine):
    field = "escalation"

    @rule(agent_id=ids)
    def spend(self, agent_id):
        self.both("record_budget_token", agent_id)

    @rule(agent_id=ids, since=st.sampled_from(SINCE))
    def count(self, agent_id, since):
        self.both("get_window_count", agent_id, since)

    @rule(dfid=ids, agent_id=ids, reason=words, context=documents, proposal=documents, impact=words)
    def insert_any(self, dfid, agent_id, reason, context, proposal, impact):
        self.both("insert_request", dfid, agent_id, reason, context, proposal, impact)

    @rule(dfid=st.sampled_from(IDS), agent_id=st.sampled_from(IDS))
    def insert(self, dfid, agent_id):
        self.both("insert_request", dfid, agent_id, "unsure", '{"risk": 1}', '{"buy": 1}', "LOW")

    @rule(dfid=ids, resolved_at=words, decision=words, proposal=documents)
    def resolve_any(self, dfid, resolved_at, decision, proposal):
        self.both("resolve_request", dfid, resolved_at, decision, proposal)

    @rule(dfid=st.sampled_from(IDS))
    def resolve(self, dfid):
        self.both("resolve_request", dfid, "2026-11-23T16:00:00Z", "APPROVED", None)

    @invariant()
    def list_pending(self):
        self.both("get_pending_requests")

    def teardown(self):
        self.both_for_each("get_window_count", IDS, "2000-01-01 00:00:00")


class LifecycleMachine(TwinMachine):
    field = "lifecycle"

    @rule(dfid=ids, from_status=words, to_status=words, root_dfid=maybe_ids)
    def record_any(self, dfid, from_status, to_status, root_dfid):
        self.both("record_transition", dfid, from_status, to_status, root_dfid=root_dfid)

    @rule(dfid=st.sampled_from(IDS), to_status=st.sampled_from(["ACTIVE", "CLOSED"]))
    def record(self, dfid, to_status):
        self.both("record_transition", dfid, "CREATED", to_status)

    @rule(dfid=maybe_ids)
    def read(self, dfid):
        self.both("get_transitions", dfid)

    def teardown(self):
        self.both("get_transitions")
        self.both_for_each("get_transitions", IDS)


@pytest.mark.parametrize("machine", TwinMachine.__subclasses__(), ids=lambda m: m.field)
def test_random_calls_give_the_specified_answers(machine, fresh_bundle_factory):
    bound = type(machine.__name__, (machine,), {"open_store": staticmethod(fresh_bundle_factory)})

    run_state_machine_as_test(bound, settings=SETTINGS)
