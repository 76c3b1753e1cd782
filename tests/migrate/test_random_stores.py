"""Stores that were filled at random: copied, and copied back, they answer the same."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dir_redis import StorageBundle, StorageError, memory_storage, open_storage, sqlite_storage
from dir_redis.migrate import copy_store
from tests.migrate.conftest import SERVER
from tests.migrate.full_store import AGENTS, FLOWS, KEYS, RESOURCES, Intent, answers

Operation = Callable[[StorageBundle], object]

flows, agents = st.sampled_from(FLOWS), st.sampled_from(AGENTS)
keys, resources = st.sampled_from(KEYS), st.sampled_from(RESOURCES)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
objects = st.dictionaries(texts, st.none() | st.integers(-9, 9) | st.lists(texts, max_size=2))
documents = st.sampled_from(['{"a":1}', "{}", ' { "b" : 2, "a" : 1.50 } ', "[1]", "-1.0", '"x"'])
amounts = st.decimals(0, 100, places=8)
leases = st.none() | st.just(1000.0)


def build(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Operation]:
    """An operation by its storage and method, such as ``context.set_session``."""
    storage, method = name.split(".")
    return st.fixed_dictionaries(arguments).map(
        lambda chosen: lambda store: getattr(getattr(store, storage), method)(**chosen)
    )


def run_step(key: str, fingerprint: str | None, end: str, ttl_sec: float | None) -> Operation:
    def run(store: StorageBundle) -> None:
        steps = store.idempotency
        claim = steps.claim(key, fingerprint=fingerprint, lease_sec=1000, owner="o")
        if claim.state == "NEW" and end == "complete":
            steps.complete(claim, {"done": key}, ttl_sec=ttl_sec)
        elif claim.state == "NEW" and end == "abandon":
            steps.abandon(claim)

    return run


def reserve(dfid: str, wanted: dict[str, Any], lease_sec: float | None, keep: bool) -> Operation:
    def run(store: StorageBundle) -> None:
        reservation = store.resource_lock.reserve(dfid, wanted, lease_sec=lease_sec)
        if not keep:
            reservation.settle(dict.fromkeys(wanted, 0))

    return run


operations = st.one_of(
    build(
        "agent_registry.upsert_agent",
        agent_id=agents,
        contract_json=documents,
        priority=st.integers(-3, 3),
        status=st.sampled_from(["ACTIVE", "RETIRED"]),
        agent_version=st.none() | texts,
        session_token=st.none() | texts,
    ),
    build(
        "agent_registry.register",
        agent_id=agents,
        contract_json=documents,
        priority=st.just(1),
        ttl_sec=leases,
    ),
    build(
        "agent_registry.update_status",
        agent_id=agents,
        status=texts,
        suspension_reason=st.none() | texts,
    ),
    build("context.set_session", dfid=flows, data_json=documents, agent_id=st.none() | agents),
    build("context.merge_session", dfid=flows, updates=objects, agent_id=st.none() | agents),
    build("context.set_state", agent_id=agents, data_json=documents),
    build("context.merge_state", agent_id=agents, updates=objects),
    build("idempotency.set", key=keys, result=objects),
    st.builds(
        run_step,
        keys,
        st.sampled_from([None, "p", "q"]),
        st.sampled_from(["complete", "abandon", "go on"]),
        leases,
    ),
    build("saga.mark_dirty", dfid=flows, failed_step=texts, partial_state_json=documents),
    build("saga.claim_dirty", owner=st.sampled_from(["h1", "h2"]), lease_sec=st.just(1000)),
    build("saga.clear_dirty", dfid=flows),
    build("resource_lock.set_capacity", resource_id=resources, capacity=st.none() | amounts),
    build(
        "resource_lock.acquire_batch",
        dfid=flows,
        resources=st.dictionaries(resources, amounts),
        timeout_sec=st.just(0),
    ),
    st.builds(
        reserve, flows, st.dictionaries(resources, amounts, min_size=1), leases, st.booleans()
    ),
    build("intent_retry.set_count", dfid=flows, count=st.integers(0, 5)),
    build("escalation.record_budget_token", agent_id=agents),
    build(
        "escalation.escalate",
        **dict.fromkeys(("dfid",), flows),
        agent_id=agents,
        reason=texts,
        context_json=documents,
        proposal_json=documents,
        impact=texts,
        limit=st.just(9),
        window_sec=st.just(1000),
    ),
    build(
        "escalation.claim_next", reviewer=st.sampled_from(["anna", "bob"]), lease_sec=st.just(900)
    ),
    build(
        "escalation.resolve",
        dfid=flows,
        decision=texts,
        by=st.none() | texts,
        reason=st.none() | texts,
        proposal_json=st.none() | documents,
    ),
    build(
        "lifecycle.record_transition",
        dfid=flows,
        from_status=texts,
        to_status=texts,
        root_dfid=st.none() | flows,
    ),
    build("lifecycle.close_flow", dfid=flows, status=st.just("CLOSED"), session_ttl_sec=leases),
    build(
        "decision_audit.record",
        dfid=flows,
        event=texts,
        details=objects,
        root_dfid=st.none() | flows,
        agent_id=st.none() | agents,
        severity=st.sampled_from(["INFO", "ERROR", "no such"]),
    ),
    st.builds(
        lambda dfid, payload: (
            lambda store: store.decision_ledger.append(Intent(dfid, payload), agent_id="a")
        ),
        flows,
        objects,
    ),
)


@pytest.mark.parametrize("backend", ["sqlite", SERVER])
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(operations, max_size=40))
def test_a_random_store_answers_the_same_after_a_copy_and_a_copy_back(
    backend: str, steps: list[Operation], servers: Any, tmp_path: Any
) -> None:
    source, back = memory_storage(), memory_storage()
    for step in steps:
        with contextlib.suppress(StorageError, ValueError):
            step(source)
    name = uuid.uuid4().hex
    middle = (
        sqlite_storage(tmp_path / f"{name}.db")
        if backend == "sqlite"
        else open_storage(servers.url(backend), namespace=name)
    )

    with middle:
        there, here = copy_store(source, middle), copy_store(middle, back)
        assert there.complete, str(there)
        assert here.complete, str(here)
        expected = answers(source)
        assert answers(middle) == expected
        assert answers(back) == expected
        assert copy_store(back, middle).copied == 0
