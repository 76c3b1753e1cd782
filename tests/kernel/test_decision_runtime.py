"""Proposals evaluated by the facade: verdicts, reasons, rows, sessions and counts (DIR §6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dir_core
import pytest
from dir_core import (
    DimReasonCode,
    EscalationOutcome,
    ImpactCategory,
    PolicyProposal,
    ValidationVerdict,
)

from tests.dir_core_needed import only_where
from tests.kernel.offers import INVARIANTS, STATUS_GATE

ACCEPTED = (ValidationVerdict.ACCEPT, DimReasonCode.VALIDATION_PASSED)
EXHAUSTED = (ValidationVerdict.REJECT, DimReasonCode.REASONING_EXHAUSTION)
EXPIRED = (ValidationVerdict.REJECT, DimReasonCode.TTL_EXPIRED)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def runtime(managers, bundle):
    return managers.DecisionRuntime(bundle)


@pytest.fixture
def governor(managers, bundle):
    return managers.IntentRetryGovernor(max_retries=2, storage=bundle.intent_retry)


def proposal(**changes):
    fields = {"dfid": "flow", "agent_id": "agent", "policy_kind": "BUY", "params": {"shares": 5}}
    return PolicyProposal(**(fields | changes))


def rejected(reason):
    return (ValidationVerdict.REJECT, reason)


def rows(bundle):
    return bundle.decision_audit.all_events_chronological()


class Validator:
    """A custom validator that answers as told and remembers what it was shown."""

    def __init__(self, answer=None):
        self.answer = answer
        self.seen = []

    def __call__(self, proposal, context, contract):
        self.seen.append((proposal, context, contract))
        return self.answer


# Acceptance


def test_a_proposal_that_nothing_speaks_against_is_accepted(runtime):
    assert runtime.evaluate_proposal(proposal(), {"price": 10}) == ACCEPTED


def test_an_accepted_proposal_leaves_one_row(runtime, bundle):
    runtime.evaluate_proposal(proposal(confidence=0.75), {})

    (row,) = rows(bundle)
    assert row["dfid"] == row["root_dfid"] == "flow"
    assert row["event"] == "PROPOSAL_ACCEPT"
    assert row["severity"] == "INFO"
    assert row["details"] == {
        "agent_id": "agent",
        "policy_kind": "BUY",
        "reason": "VALIDATION_PASSED",
        "verdict": "ACCEPT",
        "confidence": 0.75,
    }


def test_what_the_agent_saw_is_merged_into_the_session(runtime):
    runtime.context_store.update_session("flow", {"price": 9, "seen": 1})
    runtime.evaluate_proposal(proposal(), {"price": 10, "quote": {"bid": 9}})

    assert runtime.context_store.get_session("flow") == {
        "price": 10,
        "seen": 1,
        "quote": {"bid": 9},
    }


def test_a_runtime_leaves_the_callers_dicts_alone(runtime):
    seen, context = {"price": 10}, {"state": {}}
    runtime.evaluate_proposal(proposal(), seen, dim_context=context)

    assert seen == {"price": 10}
    assert context == {"state": {}}


# Rejection


def test_a_rejected_proposal_leaves_one_row_and_its_session(runtime, bundle):
    verdict = runtime.evaluate_proposal(
        proposal(), {"price": 10}, custom_validators=[Validator("too dear")]
    )

    assert verdict == rejected("Custom validation failed: too dear")
    (row,) = rows(bundle)
    assert row["event"] == "PROPOSAL_REJECT"
    assert row["details"] == {
        "agent_id": "agent",
        "policy_kind": "BUY",
        "reason": "Custom validation failed: too dear",
        "verdict": "REJECT",
        "confidence": 1.0,
    }
    assert runtime.context_store.get_session("flow") == {"price": 10}


def test_a_proposal_of_no_kind_is_rejected(runtime):
    assert runtime.evaluate_proposal(proposal(policy_kind=""), {}) == rejected(
        "Missing policy_kind"
    )


def test_a_proposal_without_a_flow_is_an_error(runtime, bundle):
    """No store of this package keeps records under an empty id, so it is not a verdict."""
    with pytest.raises(ValueError, match="dfid"):
        runtime.evaluate_proposal(proposal(dfid=""), {})

    assert rows(bundle) == []


def test_a_proposal_without_an_agent_is_an_error_unless_the_kernel_judges_it(
    managers, runtime, bundle, governor
):
    def evaluate():
        return runtime.evaluate_proposal(
            proposal(agent_id=""), {"price": 10}, retry_governor=governor
        )

    if managers is dir_core:  # it stores the agent first
        with pytest.raises(ValueError, match="agent_id"):
            evaluate()
        assert rows(bundle) == []
        return

    assert evaluate() == rejected("Missing agent_id")
    (row,) = rows(bundle)
    assert (row["event"], row["details"]["reason"]) == ("PROPOSAL_REJECT", "Missing agent_id")
    assert runtime.context_store.get_session("flow") == {"price": 10}
    assert bundle.intent_retry.get_count("flow") == 1


@pytest.mark.parametrize(
    ("late_by", "verdict"),
    [
        (timedelta(0), ACCEPTED),
        (timedelta(microseconds=1), EXPIRED),
        (timedelta(microseconds=-1), ACCEPTED),
    ],
)
def test_a_proposal_is_valid_up_to_its_deadline(runtime, late_by, verdict):
    decided = runtime.evaluate_proposal(proposal(valid_until=NOON), {}, now=NOON + late_by)

    assert decided == verdict


@pytest.mark.parametrize(("age_sec", "verdict"), [(30, ACCEPTED), (30.001, EXPIRED)])
def test_a_proposal_is_valid_for_its_window(runtime, age_sec, verdict):
    windowed = proposal(created_at=NOON, execution_constraints={"validity_window_sec": 30})

    decided = runtime.evaluate_proposal(windowed, {}, now=NOON + timedelta(seconds=age_sec))

    assert decided == verdict


def test_a_deadline_counts_before_a_window(runtime):
    both = proposal(
        created_at=NOON, valid_until=NOON, execution_constraints={"validity_window_sec": 3600}
    )

    assert runtime.evaluate_proposal(both, {}, now=NOON + timedelta(seconds=1)) == EXPIRED


def test_without_a_given_time_it_is_now(runtime):
    soon = datetime.now(UTC) + timedelta(hours=1)
    past = datetime.now(UTC) - timedelta(seconds=1)

    assert runtime.evaluate_proposal(proposal(valid_until=soon), {}) == ACCEPTED
    assert runtime.evaluate_proposal(proposal(valid_until=past), {}) == EXPIRED


def test_only_the_allowed_agents_may_propose(runtime):
    allowed = ["agent", "other"]

    assert runtime.evaluate_proposal(proposal(), {}, allowed_agents=allowed) == ACCEPTED
    stranger = proposal(agent_id="stranger")
    assert runtime.evaluate_proposal(stranger, {}, allowed_agents=allowed) == rejected(
        "Agent 'stranger' not authorized (RBAC)"
    )
    assert runtime.evaluate_proposal(proposal(), {}, allowed_agents=[]) == rejected(
        "Agent 'agent' not authorized (RBAC)"
    )


# Contracts


def unauthorized(kind, allowed):
    if INVARIANTS:
        return rejected("UNAUTHORIZED_POLICY_TYPE")
    return rejected(f"Policy '{kind}' is not in allowed_policy_types: {allowed}")


def test_the_registered_contract_binds_its_agent(runtime):
    runtime.register_agent("agent", {"allowed_policy_types": ["BUY", "HOLD"]}, "1.0.0")

    assert runtime.evaluate_proposal(proposal(), {}) == ACCEPTED
    assert runtime.evaluate_proposal(proposal(policy_kind="SELL"), {}) == unauthorized(
        "SELL", ["BUY", "HOLD"]
    )


def test_permissions_may_lie_in_a_part_of_the_contract(runtime):
    contract = {"permissions": {"allowed_policy_types": ["BUY"]}}
    runtime.register_agent("agent", contract, "1.0.0")

    assert runtime.evaluate_proposal(proposal(), {}) == ACCEPTED
    assert runtime.evaluate_proposal(proposal(policy_kind="SELL"), {}) == unauthorized(
        "SELL", ["BUY"]
    )


def test_a_given_contract_takes_the_place_of_the_registered_one(runtime):
    runtime.register_agent("agent", {"allowed_policy_types": ["BUY"]}, "1.0.0")
    given = {"allowed_policy_types": ["SELL"]}

    assert runtime.evaluate_proposal(proposal(policy_kind="SELL"), {}, contract=given) == ACCEPTED
    assert runtime.evaluate_proposal(proposal(), {}, contract=given) == unauthorized(
        "BUY", ["SELL"]
    )


def test_the_registered_contract_can_be_left_out(runtime):
    runtime.register_agent("agent", {"allowed_policy_types": ["BUY"]}, "1.0.0")

    assert (
        runtime.evaluate_proposal(proposal(policy_kind="SELL"), {}, use_registry_contract=False)
        == ACCEPTED
    )


@pytest.mark.parametrize(("confidence", "accepted"), [(0.8, True), (0.79, False)])
def test_a_contract_can_demand_confidence(runtime, confidence, accepted):
    contract = {"safety_rules": {"min_confidence_threshold": 0.8}}
    decided = runtime.evaluate_proposal(proposal(confidence=confidence), {}, contract=contract)

    expected = rejected("Proposal confidence (0.79) is below threshold (0.8)")
    assert decided == (ACCEPTED if accepted else expected)


@only_where(INVARIANTS)
def test_every_broken_invariant_is_named_in_the_row(runtime, bundle):
    runtime.register_agent(
        "agent",
        {"authority": {"allowed_policy_types": ["HOLD"], "limits": {"max_order_size": 100}}},
        "1.0.0",
    )

    decided = runtime.evaluate_proposal(proposal(params={"order_value": 101}), {})

    assert decided == rejected("UNAUTHORIZED_POLICY_TYPE;CONTRACT_LIMIT_EXCEEDED")
    (row,) = rows(bundle)
    assert row["details"]["failed_invariant_id"] == "INV_ALLOWED_POLICY_TYPES"
    assert row["details"]["failures"] == [
        {"invariant_id": "INV_ALLOWED_POLICY_TYPES", "reason": "UNAUTHORIZED_POLICY_TYPE"},
        {"invariant_id": "INV_LIMIT_MAX_ORDER_SIZE", "reason": "CONTRACT_LIMIT_EXCEEDED"},
    ]
    assert row["details"]["reason_codes"] == [
        "UNAUTHORIZED_POLICY_TYPE",
        "CONTRACT_LIMIT_EXCEEDED",
    ]


@only_where(INVARIANTS)
def test_a_price_is_compared_with_the_agents_state(runtime):
    runtime.register_agent("agent", {"execution_conditions": {"max_price_slippage": 5}}, "1.0.0")
    runtime.context_store.update_state("agent", {"price": 100})

    near = proposal(params={"reference_price": 104})
    far = proposal(params={"reference_price": 106})
    assert runtime.evaluate_proposal(near, {}) == ACCEPTED
    assert runtime.evaluate_proposal(far, {}) == rejected("STALE_PRICE_CONTEXT")


# Context


def test_a_risky_agent_does_not_deploy(runtime):
    deploy = proposal(policy_kind="deploy_to_production")
    runtime.context_store.update_state("agent", {"risk_score": 0.8})
    assert runtime.evaluate_proposal(deploy, {}) == ACCEPTED

    runtime.context_store.update_state("agent", {"risk_score": 0.9})
    assert runtime.evaluate_proposal(deploy, {}) == rejected(
        "Risk score 0.9 too high for deployment"
    )


def test_a_validator_is_shown_the_proposal_its_whole_context_and_the_contract(runtime):
    contract = {"schema": {"type": "object"}, "role": "EXECUTOR"}
    runtime.context_store.update_session("flow", {"step": 1})
    runtime.context_store.update_state("agent", {"position": 3})
    proposed, validator = proposal(), Validator()

    runtime.evaluate_proposal(
        proposed, {"price": 10}, contract=contract, custom_validators=[validator]
    )

    ((shown, context, shown_contract),) = validator.seen
    assert shown == proposed
    assert shown_contract == contract
    assert context == {
        "meta": {"agent_id": "agent", "dfid": "flow", "source": "ContextStore"},
        "session": {"step": 1, "price": 10},
        "state": {"position": 3},
        "web": {"price": 10},
        "memory": {},
        "artifacts": {},
    }


def test_a_registered_schema_is_in_the_context(runtime):
    runtime.register_agent("agent", {"schema": {"type": "object"}}, "1.0.0")
    validator = Validator()

    runtime.evaluate_proposal(proposal(), {}, custom_validators=[validator])

    ((_, context, _),) = validator.seen
    assert context["meta"]["schema"] == {"type": "object"}


def test_validators_are_asked_in_order_up_to_the_first_that_objects(runtime):
    validators = [Validator(), Validator("no"), Validator("never asked")]

    decided = runtime.evaluate_proposal(proposal(), {}, custom_validators=validators)

    assert decided == rejected("Custom validation failed: no")
    assert [len(validator.seen) for validator in validators] == [1, 1, 0]


def test_a_given_context_takes_the_place_of_the_compiled_one(runtime):
    runtime.context_store.update_state("agent", {"risk_score": 0.9})
    validator = Validator()

    decided = runtime.evaluate_proposal(
        proposal(policy_kind="deploy_to_production"),
        {"price": 10},
        dim_context={"state": {"risk_score": 0.1}, "meta": {"dfid": "of the caller"}},
        custom_validators=[validator],
    )

    assert decided == ACCEPTED
    ((_, context, _),) = validator.seen
    assert context["state"] == {"risk_score": 0.1}
    assert context["meta"] == {"dfid": "of the caller", "agent_id": "agent"}
    assert runtime.context_store.get_session("flow") == {"price": 10}


# Retries


def test_rejections_are_counted_until_the_flow_is_exhausted(runtime, bundle, governor):
    def evaluate(validator):
        return runtime.evaluate_proposal(
            proposal(), {}, retry_governor=governor, custom_validators=[validator]
        )

    assert evaluate(Validator("no")) == rejected("Custom validation failed: no")
    assert evaluate(Validator("no")) == rejected("Custom validation failed: no")
    never_asked = Validator()
    assert evaluate(never_asked) == EXHAUSTED
    assert never_asked.seen == []
    assert bundle.intent_retry.get_count("flow") == 2
    reasons = [row["details"]["reason"] for row in rows(bundle)]
    assert reasons == ["Custom validation failed: no"] * 2 + ["REASONING_EXHAUSTION"]


def test_acceptances_are_not_counted(runtime, bundle, governor):
    for _ in range(3):
        assert runtime.evaluate_proposal(proposal(), {}, retry_governor=governor) == ACCEPTED

    assert bundle.intent_retry.get_count("flow") == 0


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"policy_kind": ""}, {}),
        ({"valid_until": NOON}, {"now": NOON + timedelta(seconds=1)}),
        ({}, {"allowed_agents": []}),
        ({"policy_kind": "SELL"}, {"contract": {"allowed_policy_types": ["BUY"]}}),
        (
            {"confidence": 0.1},
            {"contract": {"safety_rules": {"min_confidence_threshold": 0.8}}},
        ),
        (
            {"policy_kind": "deploy_to_production"},
            {"dim_context": {"state": {"risk_score": 0.9}}},
        ),
        ({}, {"custom_validators": [Validator("no")]}),
    ],
    ids=["kind", "deadline", "agents", "contract", "confidence", "risk", "validator"],
)
def test_every_kind_of_rejection_is_counted_once(runtime, bundle, governor, changes, options):
    verdict, _ = runtime.evaluate_proposal(
        proposal(**changes), {}, retry_governor=governor, **options
    )

    assert verdict == ValidationVerdict.REJECT
    assert bundle.intent_retry.get_count("flow") == 1


# Rows


def test_rows_can_be_left_out(runtime, bundle):
    runtime.evaluate_proposal(proposal(), {}, record_audit=False)
    runtime.evaluate_proposal(proposal(policy_kind=""), {}, record_audit=False)

    assert rows(bundle) == []


def test_every_evaluation_leaves_a_row(runtime, bundle):
    runtime.evaluate_proposal(proposal(), {})
    runtime.evaluate_proposal(proposal(policy_kind=""), {})
    runtime.evaluate_proposal(proposal(dfid="other"), {})

    assert [(row["dfid"], row["event"]) for row in rows(bundle)] == [
        ("flow", "PROPOSAL_ACCEPT"),
        ("flow", "PROPOSAL_REJECT"),
        ("other", "PROPOSAL_ACCEPT"),
    ]


# Statuses


@only_where(STATUS_GATE)
@pytest.mark.parametrize(
    ("status", "verdict", "reason"),
    [
        ("SUSPENDED", "REJECT", "AGENT_SUSPENDED"),
        ("RETIRED", "REJECT", "AGENT_RETIRED"),
        ("DEGRADED", "REJECT", "AGENT_DEGRADED"),
        ("ESCALATION_ONLY", "ESCALATE", "AGENT_ESCALATION_ONLY"),
    ],
)
def test_an_agent_that_is_not_active_does_not_get_as_far_as_being_validated(
    runtime, bundle, governor, status, verdict, reason
):
    runtime.register_agent("agent", {}, "1.0.0")
    runtime.registry.set_agent_status("agent", status, "DRIFT")
    validator = Validator("no")

    decided = runtime.evaluate_proposal(
        proposal(), {"price": 10}, retry_governor=governor, custom_validators=[validator]
    )

    assert decided == (verdict, reason)
    assert validator.seen == []
    assert rows(bundle) == []
    assert runtime.context_store.get_session("flow") == {}
    assert bundle.intent_retry.get_count("flow") == 0


@only_where(STATUS_GATE)
def test_an_agent_that_is_active_again_is_validated_again(runtime):
    runtime.register_agent("agent", {}, "1.0.0")
    runtime.registry.set_agent_status("agent", "SUSPENDED")
    runtime.registry.set_agent_status("agent", "ACTIVE")

    assert runtime.evaluate_proposal(proposal(), {}) == ACCEPTED


def test_an_agent_needs_no_registration_to_propose(runtime):
    assert runtime.evaluate_proposal(proposal(agent_id="unknown"), {}) == ACCEPTED


# The facade


def test_registering_is_a_handshake(runtime):
    result = runtime.register_agent("agent", {"role": "EXECUTOR"}, "1.0.0", priority=5)

    assert result.accepted is True
    assert runtime.registry.get_agent_contract("agent") == {"role": "EXECUTOR"}
    assert runtime.registry.get_agent_priority("agent") == 5
    assert runtime.register_agent("agent", {}, "2.0.0").reason == "VERSION_MISMATCH"


def test_the_supported_versions_are_the_callers_choice(managers, bundle):
    runtime = managers.DecisionRuntime(bundle, supported_versions="2.x")

    assert runtime.register_agent("agent", {}, "1.0.0").accepted is False
    assert runtime.register_agent("agent", {}, "2.0.0").accepted is True


def test_the_escalation_budget_is_the_callers_choice(managers, bundle):
    runtime = managers.DecisionRuntime(
        bundle, max_escalations_per_hour=1, escalation_refill_interval_sec=60
    )

    def escalate(dfid):
        return runtime.escalation.request_escalation(
            dfid, "agent", "LARGE", {}, proposal(dfid=dfid), ImpactCategory.LOW_IMPACT
        )

    assert escalate("flow-1") == EscalationOutcome.GRANTED
    assert escalate("flow-2") == EscalationOutcome.BUDGET_EXHAUSTED
    assert runtime.escalation.refill_interval_sec == 60


def test_the_audit_handle_keeps_rows_and_results(runtime, bundle):
    runtime.audit.record("flow", "ORDER_SENT", details={"shares": 5})
    runtime.audit.save_idempotent_result("key", "flow", {"order": 7})

    assert [row["event"] for row in rows(bundle)] == ["ORDER_SENT"]
    assert runtime.audit.get_idempotent_result("key") == {"order": 7, "_dfid": "flow"}


def test_runtimes_on_one_store_are_one(managers, bundle, runtime):
    runtime.register_agent("agent", {"allowed_policy_types": ["HOLD"]}, "1.0.0")
    runtime.evaluate_proposal(proposal(policy_kind="HOLD"), {"a": 1})

    other = managers.DecisionRuntime(bundle)
    assert other.evaluate_proposal(proposal(), {"b": 2})[0] == ValidationVerdict.REJECT
    assert other.context_store.get_session("flow") == {"a": 1, "b": 2}
    assert [row["event"] for row in other.audit.events_for_dfid("flow")] == [
        "PROPOSAL_ACCEPT",
        "PROPOSAL_REJECT",
    ]
