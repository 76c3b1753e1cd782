"""The budget of escalations, over all hosts."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime

import dir_core
import pytest
from dir_core import EscalationRequest, PolicyProposal

from dir_redis.kernel import EscalationManager, EscalationOutcome, ImpactCategory

GRANTED = EscalationOutcome.GRANTED
BUDGET_EXHAUSTED = EscalationOutcome.BUDGET_EXHAUSTED
ALWAYS = "2000-01-01 00:00:00"
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def escalations(bundle):
    return EscalationManager(storage=bundle.escalation)


def proposal(dfid, shares=1):
    return PolicyProposal(
        dfid=dfid, agent_id="a", policy_kind="buy", params={"shares": shares}, created_at=AT
    )


def ask(manager, dfid, agent_id="a", reason="unsure", **changes):
    asked = {"context": {"risk": 0.5}, "proposal": proposal(dfid)}
    asked |= {"impact": ImpactCategory.HIGH_IMPACT}
    return manager.request_escalation(dfid, agent_id, reason, **(asked | changes))


def test_a_granted_request_waits_in_full(escalations, bundle):
    assert ask(escalations, "f", context={"at": AT}) is GRANTED
    (request,) = escalations.get_pending()

    assert request["proposal"] == proposal("f").model_dump(mode="json")
    del request["proposal"]
    assert request == {
        "dfid": "f",
        "agent_id": "a",
        "reason": "unsure",
        "context": {"at": "2026-01-01 00:00:00+00:00"},
        "impact": "HIGH_IMPACT",
    }
    assert bundle.escalation.get_window_count("a", ALWAYS) == 1


def test_a_spent_budget_is_refused_and_stores_nothing(escalations, caplog):
    outcomes = [ask(escalations, f"f{n}") for n in range(5)]

    assert outcomes == [GRANTED] * 3 + [BUDGET_EXHAUSTED] * 2
    assert [request["dfid"] for request in escalations.get_pending()] == ["f0", "f1", "f2"]
    assert "Escalation budget exhausted: agent_id=a limit=3" in caplog.text
    assert ask(escalations, "g", "b") is GRANTED


def test_a_repeat_of_a_waiting_request_is_granted_and_spends_nothing(escalations, bundle):
    outcomes = [ask(escalations, "f") for _ in range(9)]

    assert outcomes == [GRANTED] * 9
    assert bundle.escalation.get_window_count("a", ALWAYS) == 1
    assert len(escalations.get_pending()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "sure"},
        {"context": {}},
        {"proposal": proposal("f", 2)},
        {"impact": ImpactCategory.LOW_IMPACT},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_request_of_the_flow_takes_its_place_for_a_token(escalations, bundle, change):
    ask(escalations, "f")

    assert ask(escalations, "f", **change) is GRANTED
    assert bundle.escalation.get_window_count("a", ALWAYS) == 2
    (request,) = escalations.get_pending()
    assert (request["reason"] == "sure") == ("reason" in change)


def test_a_decided_request_is_asked_again_for_a_token(escalations, bundle):
    ask(escalations, "f")
    escalations.resolve_escalation("f", "ABORT")

    assert ask(escalations, "f") is GRANTED
    assert bundle.escalation.get_request("f")["status"] == "PENDING"
    assert bundle.escalation.get_window_count("a", ALWAYS) == 2


def test_without_a_token_the_decision_that_there_is_stays(bundle):
    escalations = EscalationManager(storage=bundle.escalation, max_escalations_per_hour=1)
    ask(escalations, "f")
    escalations.resolve_escalation("f", "OVERRIDE")

    assert ask(escalations, "f") is BUDGET_EXHAUSTED
    assert bundle.escalation.get_request("f")["decision"] == "OVERRIDE"


def test_the_first_decision_stands(escalations, bundle):
    ask(escalations, "f")
    escalations.resolve_escalation("f", "MODIFY", proposal("f", 5))
    escalations.resolve_escalation("f", "ABORT")

    request = bundle.escalation.get_request("f")
    assert (request["decision"], request["proposal"]["params"]) == ("MODIFY", {"shares": 5})
    assert escalations.get_pending() == []
    with pytest.raises(ValueError, match="MAYBE"):
        escalations.resolve_escalation("f", "MAYBE")


@pytest.mark.parametrize(
    ("severity", "impact"), [("CRITICAL", "HIGH_IMPACT"), ("LOW", "LOW_IMPACT")]
)
def test_a_request_from_dir_cores_model_spends_the_same_budget(bundle, severity, impact):
    escalations = EscalationManager(storage=bundle.escalation, max_escalations_per_hour=1)

    def asked(dfid):
        return EscalationRequest(
            dfid=dfid, from_agent_id="a", trigger="limit", context={"n": 1}, severity=severity
        )

    assert escalations.request_from_model(asked("f")) is GRANTED
    assert escalations.request_from_model(asked("g")) is BUDGET_EXHAUSTED
    (request,) = escalations.get_pending()
    assert (request["dfid"], request["reason"], request["impact"]) == ("f", "limit", impact)


@pytest.mark.parametrize(
    ("limit", "granted"), [(-1, 0), (0, 0), (0.5, 1), (2.0, 2), (2.5, 3), (math.inf, 5)]
)
def test_a_limit_may_be_any_number_as_in_dir_core(bundle, limit, granted):
    cores = dir_core.storage.MemoryEscalationStorage()
    for manager in (
        EscalationManager(storage=bundle.escalation, max_escalations_per_hour=limit),
        dir_core.EscalationManager(storage=cores, max_escalations_per_hour=limit),
    ):
        outcomes = [ask(manager, f"f{n}") for n in range(5)]
        assert outcomes == [GRANTED] * granted + [BUDGET_EXHAUSTED] * (5 - granted)


@pytest.mark.parametrize("window_sec", [0, -1, 30 * 86_400 + 1])
def test_a_window_of_nothing_or_of_more_than_30_days_is_refused(bundle, window_sec):
    escalations = EscalationManager(storage=bundle.escalation, refill_interval_sec=window_sec)
    with pytest.raises(ValueError, match="window_sec"):
        ask(escalations, "f")
    assert escalations.get_pending() == []


def test_8_hosts_never_spend_more_than_the_budget(bundle, race):
    def work(host):
        mine = EscalationManager(storage=bundle.escalation, max_escalations_per_hour=5)
        return [(f"{host}.{n}", ask(mine, f"{host}.{n}")) for n in range(4)]

    told = dict(itertools.chain(*race([lambda host=host: work(host) for host in range(8)])))

    granted = {dfid for dfid, outcome in told.items() if outcome is GRANTED}
    assert len(granted) == 5
    pending = EscalationManager(storage=bundle.escalation).get_pending()
    assert {request["dfid"] for request in pending} == granted
    assert bundle.escalation.get_window_count("a", ALWAYS) == 5


def test_8_hosts_that_ask_the_same_spend_one_token(bundle, race):
    managers = [EscalationManager(storage=bundle.escalation) for _ in range(8)]

    assert race([lambda mine=mine: ask(mine, "f") for mine in managers]) == [GRANTED] * 8
    assert bundle.escalation.get_window_count("a", ALWAYS) == 1
