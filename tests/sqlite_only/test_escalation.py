"""Escalations in files of dir-core 0.1.0, between processes, and by a clock that goes back."""

from __future__ import annotations

import pytest

from dir_redis import EscalationOutcome, sqlite_storage

ASKED = ("", "", "", "")


def ask(store, dfid, agent_id="a", **changes):
    request = {"limit": 1000, "window_sec": 3600} | changes
    return store.escalation.escalate(dfid, agent_id, *ASKED, **request)


def test_requests_of_dir_core_join_the_queue(old_file, raw):
    raw(
        "INSERT INTO escalation_requests (dfid, agent_id, reason, proposal_json, created_at) "
        "VALUES ('old', 'zeta', 'why', '{\"p\": 2}', '2026-01-01 10:00:00')"
    )
    with sqlite_storage(old_file) as store:
        ask(store, "new")
        claimed = store.escalation.claim_next("maria", 60)
        assert (claimed["dfid"], claimed["reason"], claimed["deadline"]) == ("old", "why", None)
        assert claimed["requested_at"] == "2026-01-01T10:00:00.000000Z"
        assert ask(store, "old").outcome is EscalationOutcome.REPEATED
        assert store.escalation.resolve("old", "APPROVE", by="maria")

    [decided] = raw("SELECT status, human_decision, resolved_at FROM escalation_requests "
                    "WHERE dfid = 'old'")  # fmt: skip
    assert decided[:2] == ("RESOLVED", "APPROVE")
    assert decided[2].endswith("Z")


def test_decisions_of_dir_core_are_there(old_file, raw):
    raw(
        "INSERT INTO escalation_requests (dfid, agent_id, status, resolved_at, human_decision) "
        "VALUES ('f', 'a', 'RESOLVED', '2026-01-01 10:00:00', 'APPROVED'), "
        "('g', 'a', 'RESOLVED', NULL, NULL)"
    )
    with sqlite_storage(old_file) as store:
        request = store.escalation.wait_for_decision("f", 0)
        assert (request["decision"], request["resolved_at"]) == ("APPROVED", "2026-01-01 10:00:00")
        assert (request["decided_by"], request["by_default"]) == (None, False)
        assert store.escalation.get_request("g")["status"] == "RESOLVED"
        assert store.escalation.resolve("g", "NO") is False


def test_tokens_of_dir_core_count_in_the_window(old_file, raw):
    raw("INSERT INTO escalation_budget (agent_id) VALUES ('a')")  # now, in whole seconds
    with sqlite_storage(old_file) as store:
        refused = ask(store, "f", limit=1)
        assert refused.outcome is EscalationOutcome.BUDGET_EXHAUSTED
        assert 3590 < refused.retry_after_sec <= 3600
        assert ask(store, "f", limit=2).outcome is EscalationOutcome.GRANTED


def test_tokens_older_than_any_window_are_forgotten_by_the_hundred(store, raw):
    for _ in range(150):
        raw("INSERT INTO escalation_budget (agent_id, created_at) "
            "VALUES ('a', '2020-01-01 10:00:00')")  # fmt: skip
    count = "SELECT COUNT(*) FROM escalation_budget"

    assert ask(store, "e", limit=0).outcome is EscalationOutcome.BUDGET_EXHAUSTED
    assert raw(count) == [(150,)]
    ask(store, "f")
    assert raw(count) == [(51,)]
    ask(store, "g")
    assert raw(count) == [(2,)]


@pytest.mark.parametrize("tell", ["get_request", "wait_for_decision", "escalate", "claim_next"])
def test_a_default_decision_stands_though_the_clock_goes_back(store, raw, tell):
    ask(store, "f", deadline_sec=3600, default_decision="NO")
    raw("UPDATE escalation_requests SET deadline_us = 1000000")
    {
        "get_request": lambda: store.escalation.get_request("f"),
        "wait_for_decision": lambda: store.escalation.wait_for_decision("f", 0),
        "escalate": lambda: ask(store, "g"),
        "claim_next": lambda: store.escalation.claim_next("maria", 60),
    }[tell]()
    raw("UPDATE escalation_requests SET deadline_us = 4102444800000000 WHERE dfid = 'f'")

    assert store.escalation.resolve("f", "YES") is False
    request = store.escalation.get_request("f")
    assert (request["decision"], request["by_default"]) == ("NO", True)
    assert request["resolved_at"] == "1970-01-01T00:00:01.000000Z"


def test_processes_never_spend_more_than_the_budget_nor_review_the_same(store, at_once):
    outputs = at_once(
        "with sqlite_storage(path) as store:\n"
        "    for turn in range(10):\n"
        "        asked = (f'f{turn}', 'a', '', '', '', '')\n"
        "        answer = store.escalation.escalate(*asked, limit=3, window_sec=3600)\n"
        "        print(answer.outcome)\n"
        "    while request := store.escalation.claim_next(str(number), 60):\n"
        "        print('claimed', request['dfid'])\n",
        processes=3,
    )
    lines = [line for output in outputs for line in output.splitlines()]
    claimed = [line.split()[1] for line in lines if line.startswith("claimed")]

    assert lines.count("GRANTED") == 3
    pending = [request["dfid"] for request in store.escalation.get_pending_requests()]
    assert sorted(claimed) == sorted(pending)
    assert len(pending) == 3


def test_who_waits_is_told_of_another_processes_decision(store, at_once):
    ask(store, "f")
    waited, _ = at_once(
        "with sqlite_storage(path) as store:\n"
        "    if number == 0:\n"
        "        print(store.escalation.wait_for_decision('f', 60)['decided_by'])\n"
        "    else:\n"
        "        store.escalation.resolve('f', 'YES', by='maria')\n",
        processes=2,
    )
    assert waited == "maria\n"
