"""Escalations: a budget of tokens per agent and window, and requests that humans decide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

LONG_AGO = "2000-01-01 00:00:00"
FAR_AHEAD = "2999-12-31 23:59:59"


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


@pytest.fixture
def moment_between_two_tokens(escalation, audit):
    """The agent spends a token, a moment passes, and it spends another."""
    escalation.record_budget_token("agent")
    audit.record("clock", "tick")
    (first,) = audit.events_for_dfid("clock")
    while True:
        audit.record("clock", "tick")
        moment = audit.events_for_dfid("clock")[-1]["timestamp"]
        if moment > first["timestamp"]:
            break
    escalation.record_budget_token("agent")
    return datetime.fromisoformat(moment)


def test_an_agent_without_tokens_has_a_count_of_0(escalation):
    assert escalation.get_window_count("agent", LONG_AGO) == 0


def test_record_budget_token_returns_nothing(escalation):
    assert escalation.record_budget_token("agent") is None


def test_every_token_counts(escalation):
    for _ in range(50):
        escalation.record_budget_token("agent")

    assert escalation.get_window_count("agent", LONG_AGO) == 50
    assert type(escalation.get_window_count("agent", LONG_AGO)) is int


def test_tokens_before_the_window_do_not_count(escalation):
    escalation.record_budget_token("agent")

    assert escalation.get_window_count("agent", FAR_AHEAD) == 0


def test_tokens_are_not_shared_between_agents(escalation):
    escalation.record_budget_token("a")
    escalation.record_budget_token("a")
    escalation.record_budget_token("b")

    assert escalation.get_window_count("a", LONG_AGO) == 2
    assert escalation.get_window_count("b", LONG_AGO) == 1
    assert escalation.get_window_count("c", LONG_AGO) == 0


def test_counting_spends_nothing(escalation):
    escalation.record_budget_token("agent")

    assert [escalation.get_window_count("agent", LONG_AGO) for _ in range(3)] == [1, 1, 1]
    assert escalation.get_window_count("agent", FAR_AHEAD) == 0
    assert escalation.get_window_count("agent", LONG_AGO) == 1


def test_tokens_recorded_at_once_all_count(escalation, race):
    def spend():
        for _ in range(10):
            escalation.record_budget_token("agent")

    race([spend] * 16)

    assert escalation.get_window_count("agent", LONG_AGO) == 160


@pytest.mark.parametrize(
    "form",
    [
        lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}",
        lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%f}",
        lambda moment: f"{moment:%Y-%m-%d %H:%M:%S.%f}",
        lambda moment: f"{moment:%Y-%m-%d %H:%M:%S.%f}Z",
        lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%f}+00:00",
        lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%f}-00:00",
        lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%f}000",
        lambda moment: moment.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(),
        lambda moment: moment.astimezone(timezone(timedelta(hours=-8))).isoformat(" "),
        lambda moment: f"{moment.astimezone(timezone(timedelta(hours=2))):%Y-%m-%dT%H:%M:%S.%f}+02",
        lambda moment: (
            f"{moment.astimezone(timezone(timedelta(hours=-2))):%Y-%m-%dT%H:%M:%S.%f%z}"
        ),
    ],
)
def test_every_form_of_a_moment_separates_the_tokens_before_it_from_those_after(
    escalation, moment_between_two_tokens, form
):
    since = form(moment_between_two_tokens)

    assert escalation.get_window_count("agent", since) == 1


@pytest.mark.usefixtures("caller_in_tokyo")
def test_a_moment_without_a_zone_is_utc_whatever_the_callers_time_zone(
    escalation, moment_between_two_tokens
):
    assert moment_between_two_tokens.tzinfo is not None
    since = f"{moment_between_two_tokens:%Y-%m-%d %H:%M:%S.%f}"

    assert escalation.get_window_count("agent", since) == 1


@pytest.mark.parametrize(("seconds", "count"), [(-60, 2), (60, 0)])
def test_a_window_of_whole_seconds_counts_what_lies_in_it(
    escalation, moment_between_two_tokens, seconds, count
):
    since = moment_between_two_tokens + timedelta(seconds=seconds)

    assert escalation.get_window_count("agent", f"{since:%Y-%m-%d %H:%M:%S}") == count


def test_a_token_counts_at_its_very_moment_and_not_a_nanosecond_later(escalation):
    escalation.record_budget_token("agent")
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def at(microseconds, finer=""):
        return f"{epoch + timedelta(microseconds=microseconds):%Y-%m-%dT%H:%M:%S.%f}{finer}"

    counts, counts_not = 0, 2**55
    while counts_not - counts > 1:
        middle = (counts + counts_not) // 2
        if escalation.get_window_count("agent", at(middle)):
            counts = middle
        else:
            counts_not = middle

    assert escalation.get_window_count("agent", at(counts, "000")) == 1
    assert escalation.get_window_count("agent", at(counts, "001")) == 0


@pytest.mark.parametrize(
    "since",
    [
        "0001-01-01 00:00:00",
        "1970-01-01T00:00:00Z",
        "1969-12-31 23:59:59.999999",
        "2024-02-29 12:00:00",
        "2000-01-01T00:00:00.5",
        "2000-01-01T00:00:00.123456789Z",
        "0001-01-01 00:00:00+14:00",
    ],
)
def test_a_moment_long_ago_counts_everything(escalation, since):
    escalation.record_budget_token("agent")

    assert escalation.get_window_count("agent", since) == 1


@pytest.mark.parametrize("since", ["9999-12-31 23:59:59.999999", "9999-12-31T23:59:59-14:00"])
def test_a_moment_far_ahead_counts_nothing(escalation, since):
    escalation.record_budget_token("agent")

    assert escalation.get_window_count("agent", since) == 0


@pytest.mark.parametrize(
    "since",
    [
        "",
        " ",
        "now",
        "0",
        "-inf",
        "+",
        "1763913600",
        "2026-11-23",
        "16:00:00",
        "2026-11-23 16:00",
        "2026-11-23  16:00:00",
        " 2026-11-23 16:00:00",
        "2026-11-23 16:00:00 ",
        "2026-11-23 16:00:00\n",
        "2026-11-23 16:00:00\0",
        "2026-11-23_16:00:00",
        "2026/11/23 16:00:00",
        "23.11.2026 16:00:00",
        "2026-11-23 16:00:00 PM",
        "2026-11-23T16:00:00 UTC",
        "2026-11-23T16:00:00.Z",
        "2026-11-23T16:00:00ZZ",
        "2026-11-23T16:00:00+1",
        "2026-11-23T16:00:00+24:00",
        "2026-11-23T16:00:00+02:60",
        "2026-13-01 00:00:00",
        "2026-02-29 00:00:00",
        "2026-11-31 00:00:00",
        "2026-11-23 25:00:00",
        "2026-11-23 16:60:00",
        "2026-11-23 16:00:61",
        "0000-01-01 00:00:00",
        "10000-01-01 00:00:00",
        "２０２６-11-23 16:00:00",  # noqa: RUF001
        "\ud800",
    ],
)
def test_what_is_no_moment_is_a_value_error(escalation, since):
    with pytest.raises(ValueError, match="since_str"):
        escalation.get_window_count("agent", since)


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

    assert escalation.get_window_count("a", LONG_AGO) == 0
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
