"""Requests to humans, the budget that keeps them few, and the decisions (DIR §9)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

import pytest
from dir_core import (
    EscalationOutcome,
    EscalationRequest,
    EscalationSeverity,
    HumanDecision,
    ImpactCategory,
    Policy,
    PolicyProposal,
)

from tests.conftest import BACKENDS, SERVERS

REFILL_SEC = 1
ENOUGH_SEC = 10


@pytest.fixture
def escalation(managers, bundle):
    return managers.EscalationManager(storage=bundle.escalation, max_escalations_per_hour=3)


def proposal(dfid="flow", agent_id="agent", **changes):
    fields = {"policy_kind": "BUY", "params": {"shares": 5}, "confidence": 0.5, **changes}
    return PolicyProposal(dfid=dfid, agent_id=agent_id, **fields)


def request(escalation, dfid="flow", agent_id="agent", **changes):
    arguments = {
        "reason": "LARGE_ORDER",
        "context": {"price": 10.5},
        "proposal": proposal(dfid, agent_id),
        "impact": ImpactCategory.HIGH_IMPACT,
    }
    return escalation.request_escalation(dfid, agent_id, **(arguments | changes))


def pending(escalation):
    return [request["dfid"] for request in escalation.get_pending()]


def test_nothing_is_pending_at_first(escalation):
    assert escalation.get_pending() == []


def test_a_granted_request_is_pending_with_all_that_was_said(escalation):
    assert request(escalation) == EscalationOutcome.GRANTED

    (waiting,) = escalation.get_pending()
    assert {key: waiting[key] for key in ("dfid", "agent_id", "reason", "context", "impact")} == {
        "dfid": "flow",
        "agent_id": "agent",
        "reason": "LARGE_ORDER",
        "context": {"price": 10.5},
        "impact": "HIGH_IMPACT",
    }
    assert waiting["proposal"]["policy_kind"] == "BUY"
    assert waiting["proposal"]["params"] == {"shares": 5}
    assert PolicyProposal.model_validate(waiting["proposal"]).confidence == 0.5


def test_a_context_may_hold_what_json_does_not_know(escalation):
    request(escalation, context={"at": datetime(2026, 11, 23, tzinfo=UTC)})

    (waiting,) = escalation.get_pending()
    assert waiting["context"] == {"at": "2026-11-23 00:00:00+00:00"}


def test_the_oldest_request_comes_first(escalation):
    for number, dfid in enumerate(["c", "a", "b"]):
        request(escalation, dfid, f"agent-{number}")

    assert pending(escalation) == ["c", "a", "b"]


def test_the_budget_of_an_agent_is_exhausted_at_its_limit(escalation):
    outcomes = [request(escalation, f"flow-{number}") for number in range(5)]

    assert outcomes == [EscalationOutcome.GRANTED] * 3 + [EscalationOutcome.BUDGET_EXHAUSTED] * 2
    assert pending(escalation) == ["flow-0", "flow-1", "flow-2"]


def test_each_agent_has_a_budget_of_its_own(escalation):
    for number in range(3):
        request(escalation, f"flow-{number}", "agent-1")

    assert request(escalation, "other", "agent-2") == EscalationOutcome.GRANTED
    assert request(escalation, "more", "agent-1") == EscalationOutcome.BUDGET_EXHAUSTED


def test_a_budget_of_nothing_grants_nothing(managers, bundle):
    escalation = managers.EscalationManager(storage=bundle.escalation, max_escalations_per_hour=0)

    assert request(escalation) == EscalationOutcome.BUDGET_EXHAUSTED
    assert escalation.get_pending() == []


def test_a_decision_gives_no_budget_back(escalation):
    for number in range(3):
        request(escalation, f"flow-{number}")
        escalation.resolve_escalation(f"flow-{number}", HumanDecision.ABORT)

    assert request(escalation, "flow-3") == EscalationOutcome.BUDGET_EXHAUSTED


def test_three_an_hour_are_the_default(managers, bundle):
    escalation = managers.EscalationManager(storage=bundle.escalation)

    assert escalation.max_escalations_per_hour == 3
    assert escalation.refill_interval_sec == 3600


def test_managers_on_one_store_share_the_budgets(managers, bundle, escalation):
    other = managers.EscalationManager(storage=bundle.escalation, max_escalations_per_hour=3)
    request(escalation, "flow-0")
    request(other, "flow-1")
    request(escalation, "flow-2")

    assert request(other, "flow-3") == EscalationOutcome.BUDGET_EXHAUSTED
    assert pending(other) == pending(escalation) == ["flow-0", "flow-1", "flow-2"]


@pytest.mark.parametrize("backend", [BACKENDS[0], *SERVERS[:1]], indirect=True)
def test_the_budget_is_there_again_after_the_window(managers, bundle):
    escalation = managers.EscalationManager(
        storage=bundle.escalation, max_escalations_per_hour=1, refill_interval_sec=REFILL_SEC
    )
    began = time.monotonic()
    assert request(escalation, "flow-0") == EscalationOutcome.GRANTED
    ask = partial(request, escalation, "flow-1")

    while ask() == EscalationOutcome.BUDGET_EXHAUSTED:
        assert time.monotonic() - began < ENOUGH_SEC
        time.sleep(0.02)

    # dir-core's own window begins at a whole second, so it may be almost a second longer.
    assert REFILL_SEC - 0.1 < time.monotonic() - began < ENOUGH_SEC


@pytest.mark.parametrize("decision", [*HumanDecision, "OVERRIDE", "MODIFY", "ABORT"])
def test_a_decided_request_is_not_pending_any_more(escalation, bundle, decision):
    request(escalation, "flow-0")
    request(escalation, "flow-1")

    assert escalation.resolve_escalation("flow-0", decision) is None

    assert pending(escalation) == ["flow-1"]
    decided = bundle.escalation.get_request("flow-0")
    assert decided["status"] == "RESOLVED"
    assert decided["decision"] == str(decision)
    assert decided["proposal"]["params"] == {"shares": 5}


def test_a_modified_proposal_replaces_the_agents(escalation, bundle):
    request(escalation)
    escalation.resolve_escalation(
        "flow", HumanDecision.MODIFY, modified_proposal=proposal(params={"shares": 1})
    )

    decided = bundle.escalation.get_request("flow")
    assert decided["decision"] == "MODIFY"
    assert decided["proposal"]["params"] == {"shares": 1}


def test_the_first_decision_stands(escalation, bundle):
    """dir-core's own memory backend lets a second decision overwrite the first."""
    request(escalation)
    escalation.resolve_escalation("flow", HumanDecision.ABORT)
    escalation.resolve_escalation(
        "flow", HumanDecision.OVERRIDE, modified_proposal=proposal(params={"shares": 99})
    )

    decided = bundle.escalation.get_request("flow")
    assert decided["decision"] == "ABORT"
    assert decided["proposal"]["params"] == {"shares": 5}


def test_what_is_no_decision_is_refused(escalation):
    request(escalation)

    with pytest.raises(ValueError, match="PERHAPS"):
        escalation.resolve_escalation("flow", "PERHAPS")

    assert pending(escalation) == ["flow"]


def test_a_decision_on_an_unknown_flow_changes_nothing(escalation):
    request(escalation)
    escalation.resolve_escalation("other", HumanDecision.ABORT)

    assert pending(escalation) == ["flow"]


@pytest.mark.parametrize(
    ("severity", "impact"),
    [
        (EscalationSeverity.LOW, "LOW_IMPACT"),
        (EscalationSeverity.MEDIUM, "LOW_IMPACT"),
        (EscalationSeverity.HIGH, "HIGH_IMPACT"),
        (EscalationSeverity.CRITICAL, "HIGH_IMPACT"),
    ],
)
def test_a_request_model_becomes_a_request(escalation, severity, impact):
    outcome = escalation.request_from_model(
        EscalationRequest(
            dfid="flow",
            from_agent_id="agent",
            trigger="authority_breach",
            context={"a": 1},
            severity=severity,
        )
    )

    assert outcome == EscalationOutcome.GRANTED
    (waiting,) = escalation.get_pending()
    assert waiting["agent_id"] == "agent"
    assert waiting["reason"] == "authority_breach"
    assert waiting["context"] == {"a": 1}
    assert waiting["impact"] == impact
    assert waiting["proposal"]["policy_kind"] == "escalation"
    assert waiting["proposal"]["params"] == {"trigger": "authority_breach"}


def test_a_request_model_with_a_policy_proposes_what_the_policy_recommends(escalation):
    policy = Policy(
        dfid="flow",
        agent_id="agent",
        proposed_action="SELL",
        justification="the price fell",
        confidence=0.25,
    )
    escalation.request_from_model(
        EscalationRequest(
            dfid="flow", from_agent_id="agent", trigger="unsure", original_policy=policy
        )
    )

    (waiting,) = escalation.get_pending()
    assert waiting["proposal"]["policy_kind"] == "SELL"
    assert waiting["proposal"]["justification"] == "the price fell"
    assert waiting["proposal"]["confidence"] == 0.25
    assert waiting["proposal"]["params"] == {}


def test_a_request_model_spends_the_agents_budget(escalation):
    def ask(dfid):
        return escalation.request_from_model(
            EscalationRequest(dfid=dfid, from_agent_id="agent", trigger="unsure")
        )

    assert [ask(f"flow-{number}") for number in range(4)] == [
        EscalationOutcome.GRANTED,
        EscalationOutcome.GRANTED,
        EscalationOutcome.GRANTED,
        EscalationOutcome.BUDGET_EXHAUSTED,
    ]


def test_a_manager_needs_a_store(managers):
    with pytest.raises(ValueError, match="storage"):
        managers.EscalationManager()
