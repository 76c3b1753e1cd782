"""Escalations in one step: budget and request together, a queue, deadlines, one decision."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from dir_redis import Escalation, EscalationOutcome

GRANTED = EscalationOutcome.GRANTED
REPEATED = EscalationOutcome.REPEATED
BUDGET_EXHAUSTED = EscalationOutcome.BUDGET_EXHAUSTED

ALWAYS = "2000-01-01 00:00:00"
PATIENCE_SEC = 20
ODD_IDS = ["a:b", "{a}", "*", " ", "\0\n", "é😀", "é" * 512]


def ask(escalation, dfid, agent_id="agent", **changes):
    request = {
        "reason": "unsure",
        "context_json": "{}",
        "proposal_json": "{}",
        "impact": "HIGH",
        "limit": 1000,
        "window_sec": 3600,
    }
    return escalation.escalate(dfid, agent_id, **(request | changes))


def pending(escalation):
    return [request["dfid"] for request in escalation.get_pending_requests()]


def eventually(call, wanted):
    """Call until the result is as wanted, and return it."""
    until = time.monotonic() + PATIENCE_SEC
    while True:
        result = call()
        if wanted(result):
            return result
        assert time.monotonic() < until, f"still {result!r}"
        time.sleep(0.002)


def overdue(escalation, dfid, agent_id="agent", decision="REJECT"):
    """Ask with a deadline, and return the request once that has passed."""
    ask(escalation, dfid, agent_id, deadline_sec=0.01, default_decision=decision)
    return escalation.wait_for_decision(dfid, PATIENCE_SEC)


def moment(text):
    return datetime.fromisoformat(text)


# Budget and request together


def test_a_granted_escalation_spends_a_token_and_puts_its_request(escalation):
    answer = escalation.escalate(
        "f", "a", "why", '{"risk": 0.5}', '{"buy": [1]}', "LOW", limit=3, window_sec=60
    )

    assert answer == Escalation(GRANTED, 2, 0.0)
    assert type(answer.remaining) is int
    assert type(answer.retry_after_sec) is float
    assert escalation.get_window_count("a", ALWAYS) == 1
    assert escalation.get_pending_requests() == [
        {
            "dfid": "f",
            "agent_id": "a",
            "reason": "why",
            "context": {"risk": 0.5},
            "proposal": {"buy": [1]},
            "impact": "LOW",
        }
    ]


def test_a_spent_budget_stores_nothing_and_says_how_long_until_it_has_a_token(escalation):
    granted = ask(escalation, "f", limit=1, window_sec=60)
    refused = ask(escalation, "g", limit=1, window_sec=60)

    assert (granted.outcome, granted.remaining) == (GRANTED, 0)
    assert (refused.outcome, refused.remaining) == (BUDGET_EXHAUSTED, 0)
    assert 0 < refused.retry_after_sec < granted.retry_after_sec <= 60
    assert pending(escalation) == ["f"]
    assert escalation.get_request("g") is None
    assert escalation.get_window_count("agent", ALWAYS) == 1


def test_the_wait_is_until_as_many_tokens_have_left_as_must(escalation):
    spent = []  # between which two moments of this process each token was spent
    for dfid in ("f1", "f2", "f3"):
        begun = time.monotonic()
        ask(escalation, dfid, window_sec=60)
        spent.append((begun, time.monotonic()))
        time.sleep(0.05)  # longer than a call takes, to tell the tokens apart

    for limit, (begun, ended) in zip((3, 2, 1), spent, strict=True):
        asked = time.monotonic()
        answer = ask(escalation, "g", limit=limit, window_sec=60)
        answered = time.monotonic()
        assert answer.outcome is BUDGET_EXHAUSTED
        assert begun + 59.99 <= answered + answer.retry_after_sec  # the clocks may differ
        assert asked + answer.retry_after_sec <= ended + 60.01
    assert ask(escalation, "f1", limit=4, window_sec=60) == Escalation(REPEATED, 1, 0.0)


def test_a_limit_of_0_grants_nothing_and_waits_the_whole_window(escalation):
    assert ask(escalation, "f", limit=0, window_sec=12.5) == Escalation(BUDGET_EXHAUSTED, 0, 12.5)
    escalation.record_budget_token("agent")
    assert ask(escalation, "f", limit=0, window_sec=12.5) == Escalation(BUDGET_EXHAUSTED, 0, 12.5)
    assert pending(escalation) == []


def test_the_window_slides(escalation):
    begun = time.monotonic()
    ask(escalation, "f", limit=1, window_sec=0.3)
    asked = time.monotonic()
    refused = ask(escalation, "g", limit=1, window_sec=0.3)
    assert refused.outcome is BUDGET_EXHAUSTED

    eventually(
        lambda: ask(escalation, "g", limit=1, window_sec=0.3),
        lambda answer: answer.outcome is GRANTED,
    )
    assert time.monotonic() - begun >= 0.3
    assert refused.retry_after_sec <= time.monotonic() - asked
    assert pending(escalation) == ["f", "g"]
    assert escalation.get_window_count("agent", ALWAYS) == 2


def test_budgets_are_per_agent(escalation):
    assert ask(escalation, "f", "a", limit=1).outcome is GRANTED
    assert ask(escalation, "g", "b", limit=1).outcome is GRANTED
    assert ask(escalation, "h", "a", limit=1).outcome is BUDGET_EXHAUSTED


def test_tokens_recorded_one_by_one_count(escalation):
    escalation.record_budget_token("agent")

    assert ask(escalation, "f", limit=1).outcome is BUDGET_EXHAUSTED
    assert ask(escalation, "f", limit=2).outcome is GRANTED


def test_a_repeat_changes_and_spends_nothing(escalation):
    ask(escalation, "f", limit=2)
    before = escalation.get_request("f")
    repeat = ask(escalation, "f", limit=2, reason="other", deadline_sec=9, default_decision="NO")

    assert repeat == Escalation(REPEATED, 1, 0.0)
    assert escalation.get_request("f") == before
    assert escalation.get_window_count("agent", ALWAYS) == 1


def test_a_repeat_is_one_also_when_the_budget_is_spent_or_anothers(escalation):
    ask(escalation, "f", "a", limit=1)

    assert ask(escalation, "f", "a", limit=1).outcome is REPEATED
    assert ask(escalation, "f", "a", limit=1).remaining == 0
    assert ask(escalation, "f", "b", limit=1) == Escalation(REPEATED, 1, 0.0)


def decided_by_a_human(escalation):
    ask(escalation, "f")
    escalation.resolve("f", "APPROVE")


def put_without_a_budget(escalation):
    escalation.insert_request("f", "agent", "", "", "", "")


@pytest.mark.parametrize(
    "known", [decided_by_a_human, lambda e: overdue(e, "f"), put_without_a_budget]
)
def test_a_flow_with_any_request_does_not_escalate_again(escalation, known):
    known(escalation)
    before = escalation.get_request("f")
    spent = escalation.get_window_count("agent", ALWAYS)

    assert ask(escalation, "f").outcome is REPEATED
    assert escalation.get_request("f") == before
    assert escalation.get_window_count("agent", ALWAYS) == spent


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"deadline_sec": 1}, "deadline_sec needs default_decision"),
        ({"default_decision": "NO"}, "default_decision needs deadline_sec"),
        ({"window_sec": 30 * 86_400 + 1}, "window_sec must be at most 2592000 s"),
        ({"window_sec": 0}, "window_sec"),
        ({"deadline_sec": 0, "default_decision": "NO"}, "deadline_sec"),
        ({"limit": -1}, "limit"),
        ({"context_json": "{"}, "context_json"),
        ({"agent_id": ""}, "agent_id"),
    ],
)
def test_what_makes_no_sense_is_refused_with_nothing_stored(escalation, changes, problem):
    with pytest.raises(ValueError, match=problem):
        ask(escalation, "f", **changes)

    assert escalation.get_request("f") is None
    assert escalation.get_window_count("agent", ALWAYS) == 0


def test_the_longest_window_the_longest_wait_and_the_largest_limit(escalation):
    answer = ask(
        escalation,
        "f",
        limit=2**63 - 1,
        window_sec=30 * 86_400,
        deadline_sec=10 * 366 * 86_400,
        default_decision="",
    )

    assert answer == Escalation(GRANTED, 2**63 - 2, 0.0)
    assert escalation.get_request("f")["default_decision"] == ""


def test_16_callers_never_spend_more_than_the_budget(escalation, race):
    answers = race([lambda n=n: ask(escalation, f"f{n}", limit=3) for n in range(16)])

    outcomes = [answer.outcome for answer in answers]
    assert (outcomes.count(GRANTED), outcomes.count(BUDGET_EXHAUSTED)) == (3, 13)
    assert len(pending(escalation)) == 3
    assert escalation.get_window_count("agent", ALWAYS) == 3
    assert sorted(answer.remaining for answer in answers)[-3:] == [0, 1, 2]


def test_16_callers_escalate_one_flow_once(escalation, race):
    answers = race([lambda: ask(escalation, "f") for _ in range(16)])

    outcomes = [answer.outcome for answer in answers]
    assert (outcomes.count(GRANTED), outcomes.count(REPEATED)) == (1, 15)
    assert escalation.get_window_count("agent", ALWAYS) == 1


# All that is known of a request


def test_a_waiting_request_in_full(escalation, is_store_time):
    escalation.escalate(
        "f", "a", "why", '{"c": 1}', '{"p": 2}', "LOW", limit=9, window_sec=60,
        deadline_sec=3600, default_decision="REJECT",
    )  # fmt: skip

    request = escalation.get_request("f")
    requested_at, deadline = request.pop("requested_at"), request.pop("deadline")
    assert is_store_time(requested_at)
    assert abs((moment(deadline) - moment(requested_at)).total_seconds() - 3600) < 0.5
    assert request == {
        "dfid": "f",
        "agent_id": "a",
        "reason": "why",
        "context": {"c": 1},
        "proposal": {"p": 2},
        "impact": "LOW",
        "status": "PENDING",
        "default_decision": "REJECT",
        "reviewer": None,
        "reviewer_until": None,
        "decision": None,
        "resolved_at": None,
        "decided_by": None,
        "decision_reason": None,
        "by_default": False,
    }


def test_a_decided_request_in_full(escalation, is_store_time):
    ask(escalation, "f", proposal_json='{"p": 2}', deadline_sec=3600, default_decision="REJECT")
    before = escalation.get_request("f")
    assert escalation.resolve("f", "MODIFY", by="maria", reason="too much", proposal_json="[1]")

    request = escalation.get_request("f")
    assert is_store_time(request["resolved_at"])
    assert request == before | {
        "status": "RESOLVED",
        "proposal": [1],
        "decision": "MODIFY",
        "resolved_at": request["resolved_at"],
        "decided_by": "maria",
        "decision_reason": "too much",
    }


def test_a_request_decided_by_its_deadline_in_full(escalation):
    ask(escalation, "f", deadline_sec=0.5, default_decision="REJECT")
    before = escalation.get_request("f")
    request = escalation.wait_for_decision("f", PATIENCE_SEC)

    assert request == before | {
        "status": "RESOLVED",
        "decision": "REJECT",
        "resolved_at": before["deadline"],
        "by_default": True,
    }
    assert escalation.get_request("f") == request


def test_a_request_put_and_decided_without_a_queue_in_full(escalation, is_store_time):
    escalation.insert_request("f", "a", "why", "", "", "LOW")
    waiting = escalation.get_request("f")
    assert (waiting["status"], waiting["deadline"]) == ("PENDING", None)
    assert is_store_time(waiting["requested_at"])

    escalation.resolve_request("f", "yesterday", "APPROVED", '{"p": 2}')
    assert escalation.get_request("f") == waiting | {
        "status": "RESOLVED",
        "proposal": {"p": 2},
        "decision": "APPROVED",
        "resolved_at": "yesterday",
    }


@pytest.mark.parametrize(
    "text", ["", "1.50", " 2026 ", "+1e5", "0x1F", "é\0\n😀", "2026-11-23 16:00:00", "nan"]
)
def test_words_come_back_exactly(escalation, text):
    ask(escalation, "f", reason=text, impact=text, deadline_sec=60, default_decision=text)
    escalation.claim_next("maria", 60)
    assert escalation.resolve("f", text, by=text, reason=text)
    decided = escalation.get_request("f")
    escalation.insert_request("g", "a", "", "", "", "")
    escalation.resolve_request("g", text, text, None)

    names = ("reason", "impact", "default_decision", "decision", "decided_by", "decision_reason")
    assert [decided[name] for name in names] == [text] * 6
    assert escalation.get_request("g")["resolved_at"] == text
    assert escalation.get_request("g")["decision"] == text


@pytest.mark.parametrize("text", ["", "0 1 2", "é\0\n😀"])
def test_the_words_of_a_default_decision_come_back_exactly(escalation, text):
    assert overdue(escalation, "f", decision=text)["decision"] == text


@pytest.mark.parametrize("dfid", ODD_IDS)
def test_ids_and_documents_come_back_exactly(escalation, dfid):
    document = ' {"é😀": [1.0, null],\n "a": "\\u0000"} '
    ask(
        escalation,
        dfid,
        dfid,
        context_json=document,
        proposal_json=document,
        deadline_sec=60,
        default_decision="é😀",
    )
    claimed = escalation.claim_next(dfid, 60)

    assert claimed == escalation.get_request(dfid)
    assert (claimed["dfid"], claimed["agent_id"], claimed["reviewer"]) == (dfid, dfid, dfid)
    assert claimed["context"] == claimed["proposal"] == {"é😀": [1.0, None], "a": "\0"}
    assert escalation.resolve(dfid, "APPROVE")
    assert escalation.wait_for_decision(dfid, 0)["decision"] == "APPROVE"


def test_an_unknown_flow_has_no_request(escalation):
    assert escalation.get_request("f") is None


def test_what_is_returned_is_the_callers_own_copy(escalation):
    ask(escalation, "f", context_json='{"c": [1]}')
    escalation.claim_next("maria", 60)["context"]["c"].append(2)
    escalation.get_request("f")["context"]["c"].append(3)

    assert escalation.get_request("f")["context"] == {"c": [1]}


def test_a_replaced_request_keeps_nothing_of_the_old_one(escalation):
    ask(escalation, "f", deadline_sec=60, default_decision="REJECT")
    ask(escalation, "g")
    escalation.claim_next("maria", 60)
    escalation.insert_request("f", "a", "new", "", "", "LOW")

    request = escalation.get_request("f")
    assert (request["deadline"], request["default_decision"]) == (None, None)
    assert (request["reviewer"], request["reason"]) == (None, "new")
    assert pending(escalation) == ["g", "f"]
    assert [escalation.claim_next("otto", 60)["dfid"] for _ in "gf"] == ["g", "f"]


@pytest.mark.parametrize("decide", [lambda e: e.resolve("f", "NO", by="maria"), None])
def test_a_request_in_place_of_a_decided_one_is_pending(escalation, decide):
    if decide:
        ask(escalation, "f")
        decide(escalation)
    else:
        overdue(escalation, "f")
    escalation.insert_request("f", "a", "new", "", "", "LOW")

    request = escalation.get_request("f")
    assert (request["status"], request["decision"], request["by_default"]) == (
        "PENDING",
        None,
        False,
    )
    assert escalation.wait_for_decision("f", 0.01) is None
    assert escalation.resolve("f", "YES")


# The queue


def test_reviewers_get_the_oldest_first_and_each_another(escalation):
    for dfid in ("z", "a", "m"):
        ask(escalation, dfid)
    escalation.insert_request("k", "a", "", "", "", "")

    assert [escalation.claim_next(f"r{n}", 60)["dfid"] for n in range(4)] == ["z", "a", "m", "k"]
    assert escalation.claim_next("r0", 60) is None
    assert pending(escalation) == ["z", "a", "m", "k"]


def test_an_empty_queue_has_nothing_to_claim(escalation):
    assert escalation.claim_next("maria", 60) is None


def test_a_claim_is_the_request_in_full_and_others_see_who_has_it(escalation, is_store_time):
    ask(escalation, "f", deadline_sec=3600, default_decision="NO")
    before = escalation.get_request("f")
    claimed = escalation.claim_next("maria", 60)

    assert claimed == before | {"reviewer": "maria", "reviewer_until": claimed["reviewer_until"]}
    assert is_store_time(claimed["reviewer_until"])
    assert escalation.get_request("f") == claimed


def test_a_dead_reviewers_request_comes_back_in_its_place(escalation):
    for dfid in ("f", "g"):
        ask(escalation, dfid)
    assert escalation.claim_next("dead", 0.05)["dfid"] == "f"
    request = eventually(lambda: escalation.get_request("f"), lambda found: not found["reviewer"])
    assert request["reviewer_until"] is None

    assert escalation.claim_next("maria", 60)["dfid"] == "f"
    assert escalation.claim_next("maria", 60)["dfid"] == "g"
    assert escalation.get_request("f")["reviewer"] == "maria"


def test_no_request_is_claimed_again_before_its_lease_is_over(escalation):
    begun = time.monotonic()
    ask(escalation, "f")
    escalation.claim_next("maria", 0.1)

    again = eventually(lambda: escalation.claim_next("otto", 60), lambda found: found is not None)
    assert time.monotonic() - begun >= 0.1
    assert again["reviewer"] == "otto"


def test_8_reviewers_at_once_never_have_the_same_request(escalation, race):
    for number in range(20):
        ask(escalation, f"f{number}")

    def claim_all(reviewer):
        mine = []
        while (request := escalation.claim_next(reviewer, 60)) is not None:
            mine.append(request["dfid"])
        return mine

    claimed = race([lambda n=n: claim_all(f"r{n}") for n in range(8)])
    assert sorted(dfid for mine in claimed for dfid in mine) == sorted(f"f{n}" for n in range(20))


def test_a_decided_request_is_not_claimed(escalation):
    for dfid in ("f", "g", "h"):
        ask(escalation, dfid)
    escalation.resolve("f", "YES")
    escalation.resolve_request("g", "now", "YES", None)

    assert escalation.claim_next("maria", 60)["dfid"] == "h"
    assert escalation.claim_next("maria", 60) is None


def test_a_request_decided_while_it_was_claimed_does_not_come_back(escalation):
    ask(escalation, "f")
    escalation.claim_next("maria", 0.02)
    assert escalation.resolve("f", "YES", by="otto")
    ask(escalation, "g")
    escalation.claim_next("maria", 0.02)

    again = eventually(lambda: escalation.claim_next("maria", 60), lambda found: found is not None)
    assert again["dfid"] == "g"
    assert escalation.get_request("f")["reviewer"] is None


# Decisions


def test_the_first_decision_stands_and_the_loser_is_told(escalation):
    ask(escalation, "f")

    assert escalation.resolve("f", "APPROVE", by="maria") is True
    decided = escalation.get_request("f")
    assert escalation.resolve("f", "REJECT", by="otto", reason="no", proposal_json="[]") is False
    escalation.resolve_request("f", "now", "REJECT", "[]")
    assert escalation.get_request("f") == decided


def test_an_unknown_flow_cannot_be_decided(escalation):
    assert escalation.resolve("ghost", "APPROVE") is False
    assert escalation.get_request("ghost") is None


@pytest.mark.parametrize(
    ("given", "kept"), [(None, {"p": 1}), ("", {}), ("null", None), ('{"q": 2}', {"q": 2})]
)
def test_a_decision_replaces_the_proposal_or_keeps_it(escalation, given, kept):
    ask(escalation, "f", proposal_json='{"p": 1}')
    escalation.resolve("f", "MODIFY", proposal_json=given)

    assert escalation.get_request("f")["proposal"] == kept


def test_deciding_needs_no_lease(escalation):
    ask(escalation, "f")
    escalation.claim_next("maria", 60)

    assert escalation.resolve("f", "APPROVE", by="otto") is True
    assert escalation.get_request("f")["decided_by"] == "otto"


def test_of_16_deciders_one_is_told_that_it_stands(escalation, race):
    ask(escalation, "f")

    told = race([lambda n=n: escalation.resolve("f", f"D{n}", by=f"r{n}") for n in range(16)])
    assert told.count(True) == 1
    request = escalation.get_request("f")
    winner = told.index(True)
    assert (request["decision"], request["decided_by"]) == (f"D{winner}", f"r{winner}")


# Deadlines


def test_a_deadline_decides_without_anybody(escalation):
    ask(escalation, "f", deadline_sec=0.05, default_decision="REJECT")
    ask(escalation, "g", deadline_sec=3600, default_decision="REJECT")
    eventually(lambda: pending(escalation), lambda flows: flows == ["g"])

    assert escalation.claim_next("maria", 60)["dfid"] == "g"
    assert escalation.claim_next("maria", 60) is None
    request = escalation.get_request("f")
    assert (request["status"], request["decision"], request["by_default"]) == (
        "RESOLVED",
        "REJECT",
        True,
    )


@pytest.mark.parametrize(
    "look",
    [
        lambda e: e.get_request("f"),
        lambda e: e.claim_next("maria", 60),
        lambda e: ask(e, "other"),
        lambda e: e.resolve("f", "APPROVE"),
        lambda e: e.get_pending_requests(),
    ],
)
def test_after_a_deadline_the_human_is_too_late_whoever_came_first(escalation, look):
    ask(escalation, "f", deadline_sec=0.02, default_decision="REJECT")
    eventually(lambda: pending(escalation), lambda flows: flows == [])
    look(escalation)

    assert escalation.resolve("f", "APPROVE", by="maria", proposal_json="[]") is False
    escalation.resolve_request("f", "now", "APPROVE", "[]")
    request = escalation.get_request("f")
    assert (request["decision"], request["decided_by"]) == ("REJECT", None)
    assert (request["resolved_at"], request["proposal"]) == (request["deadline"], {})


def test_a_human_before_the_deadline_stands(escalation):
    ask(escalation, "f", deadline_sec=0.5, default_decision="REJECT")
    assert escalation.resolve("f", "APPROVE", by="maria")
    ask(escalation, "g", deadline_sec=0.5, default_decision="REJECT")
    escalation.wait_for_decision("g", PATIENCE_SEC)  # so f's deadline has passed as well

    request = escalation.get_request("f")
    assert (request["decision"], request["by_default"]) == ("APPROVE", False)
    assert request["resolved_at"] < request["deadline"]


def test_a_deadline_ends_a_reviewers_lease(escalation):
    ask(escalation, "f", deadline_sec=0.1, default_decision="REJECT")
    escalation.claim_next("maria", 60)

    request = escalation.wait_for_decision("f", PATIENCE_SEC)
    assert (request["decision"], request["reviewer"]) == ("REJECT", None)
    assert escalation.claim_next("otto", 60) is None


def test_150_passed_deadlines_hide_no_request_that_waits(escalation):
    for number in range(150):
        ask(escalation, f"f{number}", deadline_sec=2, default_decision="REJECT")
    escalation.insert_request("waiting", "a", "", "", "", "")
    eventually(lambda: pending(escalation), lambda flows: flows == ["waiting"])

    assert escalation.claim_next("maria", 60)["dfid"] == "waiting"
    assert escalation.claim_next("maria", 60) is None
    requests = [escalation.get_request(f"f{number}") for number in range(150)]
    assert all(request["by_default"] for request in requests)
    assert not escalation.resolve("f7", "APPROVE")


# Waiting


def test_a_decided_request_needs_no_waiting(escalation):
    ask(escalation, "f")
    escalation.resolve("f", "APPROVE")

    assert escalation.wait_for_decision("f", 0) == escalation.get_request("f")
    assert escalation.wait_for_decision("f", PATIENCE_SEC) == escalation.get_request("f")


def test_a_flow_without_a_request_is_not_waited_for(escalation):
    begun = time.monotonic()
    assert escalation.wait_for_decision("ghost", PATIENCE_SEC) is None
    assert time.monotonic() - begun < PATIENCE_SEC / 2


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_waiting_ends_in_time_without_a_decision(escalation, timeout):
    ask(escalation, "f", deadline_sec=3600, default_decision="REJECT")
    begun = time.monotonic()

    assert escalation.wait_for_decision("f", timeout) is None
    assert timeout <= time.monotonic() - begun < timeout + 2


def test_waiting_ends_with_the_deadline(escalation):
    ask(escalation, "f", deadline_sec=0.1, default_decision="REJECT")
    begun = time.monotonic()

    assert escalation.wait_for_decision("f", PATIENCE_SEC)["decision"] == "REJECT"
    assert time.monotonic() - begun < 0.9


@pytest.mark.parametrize(
    "decide",
    [
        lambda e: e.resolve("f", "APPROVE", by="maria"),
        lambda e: e.resolve_request("f", "now", "APPROVE", None),
    ],
)
def test_a_decision_wakes_all_who_wait_for_it(escalation, race, decide):
    ask(escalation, "f")
    decided_at = []

    def wait():
        return escalation.wait_for_decision("f", PATIENCE_SEC), time.monotonic()

    def decide_later():
        time.sleep(0.1)  # so that the others wait by now
        decided_at.append(time.monotonic())
        decide(escalation)

    *woken, _ = race([wait, wait, wait, decide_later])
    for request, woken_at in woken:
        assert request["decision"] == "APPROVE"
        assert woken_at - decided_at[0] < 0.5


def test_a_decision_of_the_request_before_wakes_nobody(escalation):
    ask(escalation, "f")
    escalation.resolve("f", "APPROVE")
    escalation.insert_request("f", "a", "", "", "", "")
    begun = time.monotonic()

    assert escalation.wait_for_decision("f", 0.05) is None
    assert time.monotonic() - begun >= 0.05
