"""Contracts as projections, and a human's changes to their parameters (0.4 and later)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from dir_core import (
    ContractParameterAmendment,
    ContractReleaseRef,
    InvariantSpec,
    PolicyProposal,
    RuntimeContractProjection,
    ValidationVerdict,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RELEASE = ContractReleaseRef(contract_id="orders", contract_version="3.1.0")


@pytest.fixture
def runtime(managers, bundle):
    return managers.DecisionRuntime(bundle)


@pytest.fixture
def registry(runtime):
    return runtime.registry


def projection(agent_id="agent", **changes):
    limit = {
        "id": "ORDER_SIZE",
        "type": "range",
        "field": "params.order_value",
        "max": 100.0,
        "reason_code": "ORDER_TOO_LARGE",
        "runtime_amendable": True,
        "min_floor": 10.0,
        "max_ceiling": 200.0,
    }
    fixed = {"id": "KIND", "type": "set", "field": "policy_kind", "allowed": ["BUY", "SELL"]}
    return RuntimeContractProjection(
        agent_id=agent_id,
        release=RELEASE,
        invariants=[InvariantSpec(**(limit | changes)), InvariantSpec(**fixed)],
    )


def amendment(patch, invariant_id="ORDER_SIZE", agent_id="agent", **changes):
    return ContractParameterAmendment(
        agent_id=agent_id,
        base_release=RELEASE,
        invariant_id=invariant_id,
        patch=patch,
        actor_id="risk-desk",
        **changes,
    )


def evaluate(runtime, value, now=None):
    order = PolicyProposal(
        dfid="flow", agent_id="agent", policy_kind="BUY", params={"order_value": value}
    )
    verdict, reason = runtime.evaluate_proposal(order, {}, now=now)
    return (verdict.value, str(reason))


def rows(bundle):
    return bundle.decision_audit.all_events_chronological()


PASSED = ("ACCEPT", "VALIDATION_PASSED")
TOO_LARGE = ("REJECT", "ORDER_TOO_LARGE")


def test_a_projection_is_registered_and_comes_back(runtime, registry):
    result = runtime.register_projection(projection(), "1.0.0", priority=3)

    assert result.accepted is True
    assert registry.get_agent_priority("agent") == 3
    registered = registry.get_agent_projection("agent")
    assert registered.release == RELEASE
    assert [invariant.id for invariant in registered.invariants] == ["ORDER_SIZE", "KIND"]
    assert registered.parameter_amendments == []


def test_a_projection_without_an_agent_is_not_registered(runtime, registry):
    result = runtime.register_projection(projection(agent_id=""), "1.0.0")

    assert (result.accepted, result.reason) == (False, "MISSING_AGENT_ID")
    assert registry.list_agents() == []


def test_a_projection_of_another_version_is_not_registered(runtime, registry):
    result = runtime.register_projection(projection(), "2.0.0")

    assert (result.accepted, result.reason) == (False, "VERSION_MISMATCH")
    assert registry.get_agent_projection("agent") is None


def test_a_plain_contract_is_projected(runtime, registry):
    contract = {"permissions": {"allowed_policy_types": ["BUY"], "max_order_size": 50}}
    runtime.register_agent("agent", contract, "1.0.0")

    projected = registry.get_agent_projection("agent")
    assert projected.allowed_policy_types == ["BUY"]
    assert [invariant.id for invariant in projected.invariants] == [
        "INV_ALLOWED_POLICY_TYPES",
        "INV_LIMIT_MAX_ORDER_SIZE",
    ]
    assert registry.get_agent_contract("agent") == contract


def test_an_amendment_counts_from_then_on(runtime):
    runtime.register_projection(projection(), "1.0.0")
    assert evaluate(runtime, 60) == PASSED

    result = runtime.apply_parameter_amendment(amendment({"max": 50}))

    assert (result.accepted, result.reason) == (True, None)
    assert evaluate(runtime, 60) == TOO_LARGE
    assert evaluate(runtime, 50) == PASSED


def test_an_amended_contract_keeps_what_was_signed_beside_what_was_patched(runtime, registry):
    runtime.register_projection(projection(), "1.0.0")

    result = runtime.apply_parameter_amendment(amendment({"max": 50}))

    stored = registry.get_agent_projection("agent")
    assert stored == result.projection
    assert stored.invariants[0].max == 100.0
    (kept,) = stored.parameter_amendments
    assert (kept.patch, kept.actor_id, kept.base_release) == ({"max": 50}, "risk-desk", RELEASE)


def test_the_latest_of_several_amendments_counts(runtime, registry):
    runtime.register_projection(projection(), "1.0.0")
    for value in (50, 150, 75):
        assert runtime.apply_parameter_amendment(amendment({"max": value})).accepted is True

    patches = [one.patch for one in registry.get_agent_projection("agent").parameter_amendments]
    assert patches == [{"max": 50}, {"max": 150}, {"max": 75}]
    assert evaluate(runtime, 75) == PASSED
    assert evaluate(runtime, 76) == TOO_LARGE


def test_an_amendment_leaves_the_agents_priority_version_and_session(runtime, bundle):
    runtime.register_projection(projection(), "1.2.0", priority=6)
    before = bundle.agent_registry.get_agent("agent")

    runtime.apply_parameter_amendment(amendment({"max": 50}))

    after = bundle.agent_registry.get_agent("agent")
    assert after["priority"] == 6
    assert after["agent_version"] == "1.2.0"
    assert after["session_token"] == before["session_token"]


def test_a_plain_contract_can_be_amended_too(runtime):
    contract = {"permissions": {"max_order_size": 100}}
    runtime.register_agent("agent", contract, "1.0.0")

    runtime.apply_parameter_amendment(amendment({"max": 50}, "INV_LIMIT_MAX_ORDER_SIZE"))

    assert evaluate(runtime, 60) == ("REJECT", "CONTRACT_LIMIT_EXCEEDED")
    assert evaluate(runtime, 40) == PASSED


@pytest.mark.parametrize(
    ("until", "verdict"), [(timedelta(seconds=1), TOO_LARGE), (timedelta(0), PASSED)]
)
def test_an_amendment_ends_at_its_own_time(runtime, until, verdict):
    runtime.register_projection(projection(), "1.0.0")
    runtime.apply_parameter_amendment(amendment({"max": 50}, expires_at=NOON + until))

    assert evaluate(runtime, 60, now=NOON) == verdict


def test_an_amendment_ends_after_the_time_its_invariant_gives_it(runtime, registry):
    runtime.register_projection(projection(amend_ttl_seconds=60), "1.0.0")
    runtime.apply_parameter_amendment(amendment({"max": 50}, created_at=NOON))

    (kept,) = registry.get_agent_projection("agent").parameter_amendments
    assert kept.expires_at == NOON + timedelta(seconds=60)
    assert evaluate(runtime, 60, now=NOON + timedelta(seconds=59)) == TOO_LARGE
    assert evaluate(runtime, 60, now=NOON + timedelta(seconds=60)) == PASSED


@pytest.mark.parametrize(
    ("patch", "invariant_id", "reason"),
    [
        ({"max": 201}, "ORDER_SIZE", "PATCH_EXCEEDS_MAX_CEILING"),
        ({"max": 9}, "ORDER_SIZE", "PATCH_BELOW_MIN_FLOOR"),
        ({"min": 9}, "ORDER_SIZE", "PATCH_BELOW_MIN_FLOOR"),
        ({"min": 201}, "ORDER_SIZE", "PATCH_EXCEEDS_MAX_CEILING"),
        ({}, "ORDER_SIZE", "EMPTY_PATCH"),
        ({"field": "x"}, "ORDER_SIZE", "DISALLOWED_PATCH_KEYS: ['field']"),
        ({"drift_envelope_pct": -1}, "ORDER_SIZE", "DRIFT_ENVELOPE_NEGATIVE"),
        ({"allowed": ["BUY"]}, "KIND", "INVARIANT_NOT_AMENDABLE"),
        ({"max": 50}, "NOWHERE", "INVARIANT_NOT_FOUND"),
    ],
)
def test_a_patch_beyond_its_bounds_is_refused_and_changes_nothing(
    runtime, registry, bundle, patch, invariant_id, reason
):
    runtime.register_projection(projection(), "1.0.0")

    result = runtime.apply_parameter_amendment(amendment(patch, invariant_id))

    assert (result.accepted, result.reason, result.projection) == (False, reason, None)
    assert registry.get_agent_projection("agent").parameter_amendments == []
    assert rows(bundle) == []


def test_an_unknown_agent_is_not_amended(runtime, registry, bundle):
    result = runtime.apply_parameter_amendment(amendment({"max": 50}))

    assert (result.accepted, result.reason) == (False, "AGENT_NOT_FOUND")
    assert registry.get_agent_contract("agent") is None
    assert rows(bundle) == []


@pytest.mark.parametrize(("dfid", "of"), [("flow", "flow"), ("", "agent")])
def test_an_amendment_leaves_a_row(runtime, bundle, dfid, of):
    runtime.register_projection(projection(), "1.0.0")

    runtime.apply_parameter_amendment(amendment({"max": 50}, dfid=dfid))

    (row,) = rows(bundle)
    assert row["dfid"] == of
    assert row["event"] == "CONTRACT_PARAMETER_AMENDED"
    assert row["details"] == {
        "agent_id": "agent",
        "invariant_id": "ORDER_SIZE",
        "patch": {"max": 50},
        "actor_id": "risk-desk",
        "base_release": RELEASE.model_dump(mode="json"),
        "impact_category": "HIGH_IMPACT",
    }


def test_the_row_of_an_amendment_can_be_left_out(runtime, bundle):
    runtime.register_projection(projection(), "1.0.0")

    result = runtime.apply_parameter_amendment(amendment({"max": 50}), record_audit=False)

    assert result.accepted is True
    assert rows(bundle) == []


def test_a_registry_amends_without_a_row(runtime, registry, bundle):
    runtime.register_projection(projection(), "1.0.0")

    assert registry.apply_parameter_amendment(amendment({"max": 50})).accepted is True
    assert evaluate(runtime, 60)[0] == ValidationVerdict.REJECT
    assert [row["event"] for row in rows(bundle)] == ["PROPOSAL_REJECT"]


def test_a_new_registration_ends_the_amendments(runtime):
    runtime.register_projection(projection(), "1.0.0")
    runtime.apply_parameter_amendment(amendment({"max": 50}))
    runtime.register_projection(projection(), "1.0.0")

    assert evaluate(runtime, 60) == PASSED
