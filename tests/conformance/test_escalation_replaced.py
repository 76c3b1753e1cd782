"""A flow that escalates anew: its request gives way for a token, or stays if it is the same."""

from __future__ import annotations

import pytest

from dir_redis import Escalation, EscalationOutcome

GRANTED = EscalationOutcome.GRANTED
REPEATED = EscalationOutcome.REPEATED
BUDGET_EXHAUSTED = EscalationOutcome.BUDGET_EXHAUSTED

ALWAYS = "2000-01-01 00:00:00"
PATIENCE_SEC = 20
ODD_IDS = ["a:b", "{a}", "*", " ", "\0\n", "é😀", "é" * 512]
ASKED = {
    "agent_id": "agent",
    "reason": "unsure",
    "context_json": '{"risk": 1}',
    "proposal_json": '{"buy": 1}',
    "impact": "HIGH",
}


def ask(escalation, dfid, *, limit=9, **changes):
    request = ASKED | {"limit": limit, "window_sec": 3600, "replace": True} | changes
    return escalation.escalate(dfid, **request)


def pending(escalation):
    return [request["dfid"] for request in escalation.get_pending_requests()]


def test_a_flow_without_a_request_escalates_as_ever(escalation):
    assert ask(escalation, "f") == Escalation(GRANTED, 8, 0.0)
    assert escalation.get_request("f")["reason"] == "unsure"


def test_a_waiting_request_asked_again_stays_and_spends_nothing(escalation):
    ask(escalation, "f", deadline_sec=60, default_decision="NO")
    ask(escalation, "g")
    escalation.claim_next("maria", 60)
    before = escalation.get_request("f")

    assert ask(escalation, "f") == Escalation(REPEATED, 7, 0.0)
    assert ask(escalation, "f", deadline_sec=9, default_decision="YES").outcome is REPEATED
    assert escalation.get_request("f") == before
    assert pending(escalation) == ["f", "g"]
    assert escalation.get_window_count("agent", ALWAYS) == 2


@pytest.mark.parametrize("limit", [0, 1])
def test_a_waiting_request_asked_again_needs_no_token(escalation, limit):
    ask(escalation, "f")

    assert ask(escalation, "f", limit=limit).outcome is REPEATED
    assert pending(escalation) == ["f"]


@pytest.mark.parametrize(
    "change",
    [
        {"agent_id": "other"},
        {"reason": "sure"},
        {"context_json": '{"risk": 2}'},
        {"context_json": '{"risk":1}'},
        {"proposal_json": '{"buy": 2}'},
        {"impact": "LOW"},
    ],
    ids=lambda change: next(iter(change.items())),
)
def test_a_waiting_request_gives_way_to_another_for_a_token(escalation, change):
    ask(escalation, "f", deadline_sec=60, default_decision="NO")
    ask(escalation, "g")
    escalation.claim_next("maria", 60)

    assert ask(escalation, "f", **change).outcome is GRANTED
    request = escalation.get_request("f")
    assert (request["agent_id"], request["reason"], request["impact"]) == tuple(
        (ASKED | change)[name] for name in ("agent_id", "reason", "impact")
    )
    assert (request["status"], request["deadline"], request["reviewer"]) == ("PENDING", None, None)
    assert pending(escalation) == ["g", "f"]
    spent = [escalation.get_window_count(agent, ALWAYS) for agent in ("agent", "other")]
    assert spent == ([2, 1] if "agent_id" in change else [3, 0])
    assert [escalation.claim_next("otto", 60)["dfid"] for _ in "gf"] == ["g", "f"]
    assert escalation.claim_next("otto", 60) is None


def by_a_human(escalation):
    ask(escalation, "f")
    assert escalation.resolve("f", "YES", by="maria", reason="hedged", proposal_json="[]")


def by_its_deadline(escalation):
    ask(escalation, "f", deadline_sec=0.01, default_decision="NO")
    assert escalation.wait_for_decision("f", PATIENCE_SEC)["by_default"]


@pytest.mark.parametrize("decided", [by_a_human, by_its_deadline])
@pytest.mark.parametrize("change", [{}, {"reason": "sure"}], ids=["the same", "another"])
def test_a_decided_request_gives_way_for_a_token(escalation, decided, change):
    decided(escalation)

    assert ask(escalation, "f", **change) == Escalation(GRANTED, 7, 0.0)
    request = escalation.get_request("f")
    assert (request["status"], request["decision"], request["decided_by"]) == (
        "PENDING",
        None,
        None,
    )
    assert (request["proposal"], request["by_default"], request["deadline"]) == (
        {"buy": 1},
        False,
        None,
    )
    assert escalation.wait_for_decision("f", 0.01) is None
    assert escalation.resolve("f", "LATER")
    request = escalation.get_request("f")
    assert (request["decision"], request["decided_by"], request["decision_reason"]) == (
        "LATER",
        None,
        None,
    )
    assert (request["proposal"], request["by_default"]) == ({"buy": 1}, False)


def test_a_request_that_nobody_saw_decided_by_its_deadline_gives_way(escalation):
    ask(escalation, "f", deadline_sec=0.01, default_decision="NO")
    ask(escalation, "later", deadline_sec=0.02, default_decision="NO")
    assert escalation.wait_for_decision("later", PATIENCE_SEC)["by_default"]

    assert ask(escalation, "f").outcome is GRANTED
    assert escalation.get_request("f")["status"] == "PENDING"


@pytest.mark.parametrize("decided", [True, False])
def test_without_a_token_the_request_that_there_is_stays(escalation, decided):
    ask(escalation, "f", limit=1, deadline_sec=60, default_decision="NO")
    if decided:
        escalation.resolve("f", "YES", by="maria")
    before = escalation.get_request("f")

    answer = ask(escalation, "f", limit=1, reason="sure")
    assert (answer.outcome, answer.remaining) == (BUDGET_EXHAUSTED, 0)
    assert 0 < answer.retry_after_sec <= 3600
    assert escalation.get_request("f") == before


def test_a_request_put_without_a_budget_is_the_same_too(escalation):
    escalation.insert_request("f", **ASKED)

    assert ask(escalation, "f") == Escalation(REPEATED, 9, 0.0)


def test_the_new_request_may_have_a_deadline_of_its_own(escalation):
    ask(escalation, "f", deadline_sec=60, default_decision="OLD")
    ask(escalation, "f", reason="sure", deadline_sec=0.01, default_decision="NEW")

    decided = escalation.wait_for_decision("f", PATIENCE_SEC)
    assert (decided["decision"], decided["reason"]) == ("NEW", "sure")


@pytest.mark.parametrize("dfid", ODD_IDS)
def test_odd_ids_are_replaced_and_repeated(escalation, dfid):
    outcomes = [
        ask(escalation, dfid, reason=reason, impact=dfid, deadline_sec=60, default_decision=dfid)
        for reason in ("", dfid, dfid)
    ]

    assert [answer.outcome for answer in outcomes] == [GRANTED, GRANTED, REPEATED]
    assert escalation.get_request(dfid)["reason"] == dfid
    assert pending(escalation) == [dfid]


def test_16_callers_with_the_same_request_spend_one_token(escalation, race):
    ask(escalation, "f", reason="the one before")

    outcomes = race([lambda: ask(escalation, "f").outcome] * 16)

    assert sorted(outcomes) == [GRANTED] + [REPEATED] * 15
    assert escalation.get_window_count("agent", ALWAYS) == 2


def test_16_callers_with_different_requests_never_spend_more_than_the_budget(escalation, race):
    answers = race(
        [lambda n=n: (str(n), ask(escalation, "f", limit=5, reason=str(n))) for n in range(16)]
    )

    granted = {reason for reason, answer in answers if answer.outcome is GRANTED}
    assert len(granted) == 5
    assert {answer.outcome for _, answer in answers} == {GRANTED, BUDGET_EXHAUSTED}
    assert escalation.get_window_count("agent", ALWAYS) == 5
    assert escalation.get_request("f")["reason"] in granted
    assert pending(escalation) == ["f"]


def test_deciding_and_replacing_at_once_is_one_after_the_other(escalation, race):
    """The old request was decided and then replaced, or the new one was decided."""
    for n in range(20):
        ask(escalation, f"f{n}", limit=99)

        def decide(n=n):
            return escalation.resolve(f"f{n}", "YES")

        def replace(n=n):
            return ask(escalation, f"f{n}", limit=99, reason="sure").outcome

        decided, outcome = race([decide, replace])

        request = escalation.get_request(f"f{n}")
        assert (decided, outcome, request["reason"]) == (True, GRANTED, "sure")
        assert request["decision"] in (None, "YES")
        assert (f"f{n}" in pending(escalation)) == (request["decision"] is None)
