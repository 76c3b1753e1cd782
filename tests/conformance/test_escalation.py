"""Requests to humans: pending oldest first, replaced, and decided once."""

from __future__ import annotations

import pytest


def insert(escalation, dfid, **changes):
    request = {
        "agent_id": "agent",
        "reason": "unsure",
        "context_json": "{}",
        "proposal_json": "{}",
        "impact": "HIGH",
    }
    escalation.insert_request(dfid, **(request | changes))


def pending(escalation):
    return [request["dfid"] for request in escalation.get_pending_requests()]


def test_nothing_is_pending_at_first(escalation):
    assert escalation.get_pending_requests() == []


def test_insert_and_resolve_return_nothing(escalation):
    assert escalation.insert_request("f", "a", "why", "{}", "{}", "LOW") is None
    assert escalation.resolve_request("f", "2026-11-23T16:00:00Z", "APPROVED", None) is None


def test_a_pending_request_has_exactly_its_six_keys_with_context_and_proposal_parsed(escalation):
    escalation.insert_request("f", "a", "unsure", '{"risk": 0.5}', '{"buy": [1, null]}', "HIGH")

    assert escalation.get_pending_requests() == [
        {
            "dfid": "f",
            "agent_id": "a",
            "reason": "unsure",
            "context": {"risk": 0.5},
            "proposal": {"buy": [1, None]},
            "impact": "HIGH",
        }
    ]


@pytest.mark.parametrize("nothing", ["", None])
def test_empty_documents_count_as_empty_objects(escalation, nothing):
    insert(escalation, "f", context_json=nothing, proposal_json=nothing)

    (request,) = escalation.get_pending_requests()
    assert (request["context"], request["proposal"]) == ({}, {})


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ('{"n": 9007199254740993, "e": [], "o": {}}', {"n": 9007199254740993, "e": [], "o": {}}),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ("[]", []),
        ("null", None),
        ('"é\\u0000"', "é\0"),
        ("1e400", float("inf")),
    ],
)
def test_documents_come_back_as_json_loads_reads_them(escalation, text, parsed):
    insert(escalation, "f", context_json=text, proposal_json=text)

    (request,) = escalation.get_pending_requests()
    assert (request["context"], request["proposal"]) == (parsed, parsed)


@pytest.mark.parametrize("text", ["", " ", "é\0\n😀", "None", "PENDING"])
def test_reason_and_impact_are_any_string_and_come_back_exactly(escalation, text):
    insert(escalation, "f", reason=text, impact=text)

    (request,) = escalation.get_pending_requests()
    assert (request["reason"], request["impact"]) == (text, text)


def test_pending_requests_are_listed_oldest_first(escalation):
    for dfid in ("z", "a", "m", "10", "9"):
        insert(escalation, dfid)

    assert pending(escalation) == ["z", "a", "m", "10", "9"]


def test_300_pending_requests_are_listed_whole_and_in_order(escalation):
    flows = [f"f{n * 7919 % 300}" for n in range(300)]
    for dfid in flows:
        insert(escalation, dfid, reason=dfid)

    requests = escalation.get_pending_requests()
    assert [request["dfid"] for request in requests] == flows
    assert [request["reason"] for request in requests] == flows


def test_a_second_request_of_a_flow_replaces_the_first_whole_and_moves_to_the_end(escalation):
    escalation.insert_request("f", "a1", "r1", '{"c": 1}', '{"p": 1}', "LOW")
    insert(escalation, "g")
    escalation.insert_request("f", "a2", "r2", '{"d": 2}', '{"q": 2}', "HIGH")

    assert pending(escalation) == ["g", "f"]
    assert escalation.get_pending_requests()[1] == {
        "dfid": "f",
        "agent_id": "a2",
        "reason": "r2",
        "context": {"d": 2},
        "proposal": {"q": 2},
        "impact": "HIGH",
    }


def test_one_agent_may_have_requests_of_many_flows(escalation):
    insert(escalation, "f1", agent_id="a")
    insert(escalation, "f2", agent_id="a")

    assert pending(escalation) == ["f1", "f2"]


def test_a_resolved_request_is_no_longer_pending_and_the_others_are(escalation):
    for dfid in ("f1", "f2", "f3"):
        insert(escalation, dfid)
    escalation.resolve_request("f2", "2026-11-23T16:00:00Z", "APPROVED", None)

    assert pending(escalation) == ["f1", "f3"]


@pytest.mark.parametrize("proposal", [None, "", '{"buy": 1}'])
def test_a_decision_may_bring_a_proposal_or_not(escalation, proposal):
    insert(escalation, "f")
    escalation.resolve_request("f", "2026-11-23T16:00:00Z", "MODIFIED", proposal)

    assert escalation.get_pending_requests() == []


@pytest.mark.parametrize("text", ["", "yesterday", "é\0\n😀", "2026-11-23 16:00:00"])
def test_the_moment_and_the_words_of_a_decision_are_any_string(escalation, text):
    insert(escalation, "f")
    escalation.resolve_request("f", text, text, None)

    assert escalation.get_pending_requests() == []


def test_resolving_again_changes_nothing(escalation):
    insert(escalation, "f")
    escalation.resolve_request("f", "2026-11-23T16:00:00Z", "APPROVED", None)
    escalation.resolve_request("f", "2026-11-23T17:00:00Z", "REJECTED", '{"other": 1}')
    escalation.resolve_request("f", "2026-11-23T18:00:00Z", "PENDING", None)

    assert escalation.get_pending_requests() == []


def test_a_new_request_of_a_resolved_flow_is_pending_and_takes_nothing_from_the_old(escalation):
    insert(escalation, "f", reason="old")
    insert(escalation, "g")
    escalation.resolve_request("f", "2026-11-23T16:00:00Z", "MODIFIED", '{"human": 1}')
    insert(escalation, "f", reason="new", proposal_json='{"agent": 2}')

    assert pending(escalation) == ["g", "f"]
    request = escalation.get_pending_requests()[1]
    assert (request["reason"], request["proposal"]) == ("new", {"agent": 2})


def test_a_new_request_of_a_resolved_flow_can_be_resolved_again(escalation):
    insert(escalation, "f")
    escalation.resolve_request("f", "2026-11-23T16:00:00Z", "APPROVED", None)
    insert(escalation, "f")
    escalation.resolve_request("f", "2026-11-23T17:00:00Z", "REJECTED", None)

    assert escalation.get_pending_requests() == []


def test_resolving_an_unknown_flow_changes_nothing(escalation):
    insert(escalation, "f")
    before = escalation.get_pending_requests()
    escalation.resolve_request("ghost", "2026-11-23T16:00:00Z", "APPROVED", '{"x": 1}')

    assert escalation.get_pending_requests() == before
    insert(escalation, "ghost")
    assert pending(escalation) == ["f", "ghost"]


def test_requests_spend_no_tokens_and_tokens_make_no_requests(escalation):
    insert(escalation, "f", agent_id="a")
    escalation.record_budget_token("b")

    assert escalation.get_window_count("a", "2000-01-01 00:00:00") == 0
    assert pending(escalation) == ["f"]


def test_what_is_returned_is_the_callers_own_copy(escalation):
    insert(escalation, "f", context_json='{"risks": ["a"]}', proposal_json='{"steps": ["x"]}')
    requests = escalation.get_pending_requests()
    requests[0]["context"]["risks"].append("b")
    requests[0]["proposal"]["steps"].clear()
    requests[0]["reason"] = "changed"
    requests.clear()

    (request,) = escalation.get_pending_requests()
    assert request["context"] == {"risks": ["a"]}
    assert request["proposal"] == {"steps": ["x"]}
    assert request["reason"] == "unsure"


def test_concurrent_requests_of_one_flow_never_mix(escalation, race):
    def write(n):
        whole = []
        for _ in range(10):
            document = f'{{"n": {n}}}'
            escalation.insert_request("f", str(n), str(n), document, document, str(n))
            for request in escalation.get_pending_requests():
                parts = {request["agent_id"], request["reason"], request["impact"]}
                parts |= {str(request["context"]["n"]), str(request["proposal"]["n"])}
                whole.append(len(parts) == 1)
        return all(whole)

    assert race([lambda n=n: write(n) for n in range(16)]) == [True] * 16
    assert pending(escalation) == ["f"]


def test_a_request_that_many_resolve_at_once_is_resolved_for_good(escalation, race):
    insert(escalation, "f")
    insert(escalation, "g")
    race(
        [
            lambda n=n: escalation.resolve_request("f", str(n), f"decision {n}", None)
            for n in range(16)
        ]
    )

    assert pending(escalation) == ["g"]
