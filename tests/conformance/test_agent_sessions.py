"""Registrations that respect a suspension, sessions that prove they live, versioned contracts."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from dir_redis import (
    AgentSession,
    AgentSessionStorage,
    SessionSupersededError,
    VersionConflictError,
    VersionedDocument,
)

THREADS = 8
PATIENCE_SEC = 10
OVER_SOON = 0.01
ODD_TEXTS = ["SUSPENDED", "", " ", "active", "ACTIVE ", "12 ACTIVE", "=", "a=b", "é😀\0\n ", "KEPT"]


def wait_until_stale(agents: AgentSessionStorage, *agent_ids: str) -> None:
    """Wait until these agents, and no other, are stale; in this order."""
    deadline = time.monotonic() + PATIENCE_SEC
    while agents.list_stale_agents() != list(agent_ids):
        assert time.monotonic() < deadline, agents.list_stale_agents()
        time.sleep(0.002)


# Registering


def test_registering_a_new_agent_makes_it_active(agents):
    session = agents.register("a", '{"max": 1}', 7, "1.2")

    assert type(session) is AgentSession
    assert (session.agent_id, session.status, session.suspension_reason) == ("a", "ACTIVE", None)
    assert agents.get_agent("a") == {
        "agent_id": "a",
        "contract": {"max": 1},
        "priority": 7,
        "status": "ACTIVE",
        "agent_version": "1.2",
        "session_token": session.session_token,
    }
    assert agents.get_status("a") == ("ACTIVE", None)
    assert agents.list_active_agents() == ["a"]


def test_each_registration_has_a_token_of_its_own_that_nobody_can_guess(agents):
    tokens = [agents.register(f"a{n % 2}", "{}", 1).session_token for n in range(20)]

    assert len(set(tokens)) == 20
    assert all(len(token) >= 20 for token in tokens)


def test_registering_again_replaces_contract_priority_version_and_session(agents):
    first = agents.register("a", '{"old": 1}', 1, "1")
    second = agents.register("a", '{"new": 2}', -5)

    assert agents.get_agent("a") == {
        "agent_id": "a",
        "contract": {"new": 2},
        "priority": -5,
        "status": "ACTIVE",
        "agent_version": None,
        "session_token": second.session_token,
    }
    assert first.session_token != second.session_token


@pytest.mark.parametrize("nothing", ["", None])
def test_an_empty_contract_counts_as_an_empty_object(agents, nothing):
    agents.register("a", nothing, 1)

    assert agents.get_agent("a")["contract"] == {}
    assert agents.get_contract_versioned("a") == ("{}", 1)


@pytest.mark.parametrize("reason", [None, *ODD_TEXTS])
def test_a_status_other_than_active_is_kept_with_its_reason(agents, reason):
    for status in ODD_TEXTS:
        agents.register("a", '{"old": 1}', 1)
        agents.update_status("a", status, reason)

        session = agents.register("a", '{"new": 2}', 2)

        assert session[2:] == (status, reason)
        assert agents.get_status("a") == (status, reason)
        assert agents.list_active_agents() == []
        record = agents.get_agent("a")
        assert (record["contract"], record["priority"]) == ({"new": 2}, 2)
        assert record["session_token"] == session.session_token


@pytest.mark.parametrize("status", ["SUSPENDED", "ACTIVE", ""])
def test_told_to_a_registration_makes_active_and_removes_the_reason(agents, status):
    agents.register("a", "{}", 1)
    agents.register("b", "{}", 1)
    agents.update_status("a", status, "too fast")

    session = agents.register("a", "{}", 1, keep_suspended=False)

    assert session[2:] == ("ACTIVE", None)
    assert agents.get_status("a") == ("ACTIVE", None)
    assert agents.list_active_agents() == ["a", "b"]


def test_the_reason_of_an_active_agent_is_removed(agents):
    agents.register("a", "{}", 1)
    agents.update_status("a", "ACTIVE", "was too fast")

    assert agents.register("a", "{}", 1).suspension_reason is None
    assert agents.get_status("a") == ("ACTIVE", None)


def test_an_upsert_and_a_registration_know_each_other(agents):
    agents.upsert_agent("a", '{"by": "upsert"}', 1, "DEGRADED", "1", "t")
    assert agents.register("a", '{"by": "register"}', 2).status == "DEGRADED"

    agents.upsert_agent("a", '{"by": "upsert"}', 3, "ACTIVE", None, None)
    assert agents.register("a", "{}", 4).status == "ACTIVE"


def test_registrations_list_agents_in_order_of_the_first(agents):
    for agent_id in ("zoe", "adam", "mia"):
        agents.register(agent_id, "{}", 1)
    agents.upsert_agent("bob", "{}", 1, "ACTIVE", None, None)
    agents.register("zoe", "{}", 1)
    agents.update_status("adam", "SUSPENDED", None)
    assert agents.list_active_agents() == ["zoe", "mia", "bob"]

    agents.register("adam", "{}", 1, keep_suspended=False)
    assert agents.list_active_agents() == ["zoe", "adam", "mia", "bob"]


def test_a_suspension_is_never_undone_by_registrations_that_race_with_it(agents, race):
    """Whoever registers reads no status first, so that none can be overwritten unseen."""
    agents.register("a", "{}", 1)

    def register() -> list[str]:
        return [agents.register("a", "{}", 1).status for _ in range(20)]

    def suspend() -> list[str]:
        agents.update_status("a", "SUSPENDED", "why")
        return []

    seen = race([register, register, register, suspend])

    assert agents.get_status("a") == ("SUSPENDED", "why")
    assert agents.list_active_agents() == []
    for statuses in seen:
        assert statuses == sorted(statuses)  # once SUSPENDED, always so


def test_of_racing_registrations_one_session_is_the_latest(agents, race):
    sessions = race([lambda n=n: agents.register("a", "{}", n, str(n)) for n in range(THREADS)])

    record = agents.get_agent("a")
    assert record["session_token"] == sessions[record["priority"]].session_token
    assert record["agent_version"] == str(record["priority"])
    for session in sessions:
        if session.session_token == record["session_token"]:
            agents.heartbeat("a", session.session_token, 60)
        else:
            with pytest.raises(SessionSupersededError):
                agents.heartbeat("a", session.session_token, 60)
    assert agents.get_contract_versioned("a").version == THREADS


# Heartbeats


def test_a_heartbeat_returns_when_the_agent_counts_as_stale(agents):
    token = agents.register("a", "{}", 1).session_token
    before = datetime.now(UTC)
    stale_at = agents.heartbeat("a", token, 3600.5)

    assert stale_at.tzinfo is UTC
    assert abs(stale_at - before - timedelta(seconds=3600.5)) < timedelta(seconds=PATIENCE_SEC)
    assert agents.heartbeat("a", token, 60) < stale_at
    assert agents.list_stale_agents() == []


def test_an_agent_without_heartbeat_or_ttl_is_never_stale(agents):
    agents.register("a", "{}", 1)
    agents.upsert_agent("b", "{}", 1, "ACTIVE", None, "t")
    agents.register("c", "{}", 1, ttl_sec=OVER_SOON)

    wait_until_stale(agents, "c")


def test_stale_agents_are_listed_the_longest_over_first(agents):
    for agent_id in ("z", "a", "living", "m"):
        agents.register(agent_id, "{}", 1)
    for agent_id, ttl_sec in (("m", 0.001), ("living", 60), ("z", 0.002), ("a", 0.003)):
        agents.register(agent_id, "{}", 1, ttl_sec=ttl_sec)

    wait_until_stale(agents, "m", "z", "a")


def test_a_stale_agent_lives_again_by_a_heartbeat_of_its_session(agents):
    token = agents.register("a", "{}", 1, ttl_sec=OVER_SOON).session_token
    wait_until_stale(agents, "a")

    agents.heartbeat("a", token, 60)
    assert agents.list_stale_agents() == []

    agents.heartbeat("a", token, OVER_SOON)
    wait_until_stale(agents, "a")


def test_registering_anew_with_a_ttl_or_without_ends_staleness(agents):
    for ttl_sec in (60, None):
        agents.register("a", "{}", 1, ttl_sec=OVER_SOON)
        wait_until_stale(agents, "a")

        agents.register("a", "{}", 1, ttl_sec=ttl_sec)

        assert agents.list_stale_agents() == []


def test_a_registration_without_ttl_waits_for_its_first_heartbeat(agents):
    agents.register("a", "{}", 1, ttl_sec=OVER_SOON)
    token = agents.register("a", "{}", 1).session_token
    agents.register("b", "{}", 1, ttl_sec=OVER_SOON)
    wait_until_stale(agents, "b")

    agents.heartbeat("a", token, OVER_SOON)
    wait_until_stale(agents, "b", "a")


def test_a_heartbeat_of_a_superseded_session_is_refused_and_changes_nothing(agents):
    first = agents.register("a", "{}", 1)
    agents.register("a", "{}", 1, ttl_sec=OVER_SOON)

    with pytest.raises(SessionSupersededError) as caught:
        agents.heartbeat("a", first.session_token, 3600)

    assert caught.value.agent_id == "a"
    wait_until_stale(agents, "a")


@pytest.mark.parametrize("token", ["", "guess", "é\0"])
def test_a_token_that_is_not_the_stored_one_is_refused(agents, token):
    agents.register("a", "{}", 1)
    agents.upsert_agent("without", "{}", 1, "ACTIVE", None, None)

    for agent_id in ("a", "without", "ghost"):
        with pytest.raises(SessionSupersededError):
            agents.heartbeat(agent_id, token, 60)

    assert agents.get_agent("ghost") is None


def test_an_empty_token_proves_nothing_even_if_it_is_the_stored_one(agents):
    agents.upsert_agent("a", "{}", 1, "ACTIVE", None, "")

    with pytest.raises(SessionSupersededError):
        agents.heartbeat("a", "", 60)


def test_the_token_of_another_agent_is_refused(agents):
    token = agents.register("a", "{}", 1).session_token
    agents.register("b", "{}", 1)

    with pytest.raises(SessionSupersededError):
        agents.heartbeat("b", token, 60)


@pytest.mark.parametrize("token", [None, "another"])
def test_an_upsert_with_another_token_supersedes_and_forgets_the_heartbeat(agents, token):
    session = agents.register("a", "{}", 1, ttl_sec=OVER_SOON)
    agents.upsert_agent("a", "{}", 1, "ACTIVE", None, token)
    agents.register("b", "{}", 1, ttl_sec=OVER_SOON)

    wait_until_stale(agents, "b")
    with pytest.raises(SessionSupersededError):
        agents.heartbeat("a", session.session_token, 60)


def test_an_upsert_with_the_same_token_leaves_session_and_heartbeat(agents):
    session = agents.register("a", "{}", 1, ttl_sec=OVER_SOON)
    agents.upsert_agent("a", "{}", 1, "ACTIVE", None, session.session_token)

    wait_until_stale(agents, "a")
    agents.heartbeat("a", session.session_token, 60)
    assert agents.list_stale_agents() == []


@pytest.mark.parametrize("status", ["SUSPENDED", "RETIRED", ""])
def test_an_agent_of_any_status_may_live_and_be_stale(agents, status):
    token = agents.register("a", "{}", 1).session_token
    agents.update_status("a", status, "why")
    agents.heartbeat("a", token, OVER_SOON)

    wait_until_stale(agents, "a")
    assert agents.get_status("a") == (status, "why")


def test_stale_agents_of_odd_ids_are_listed(agents):
    odd = ["a:b", "a", "{x}", "*", "\0", "é\n", " ", "😀", "0", "x" * 1024]
    for agent_id in odd:
        agents.register(agent_id, "{}", 1, ttl_sec=0.001)

    deadline = time.monotonic() + PATIENCE_SEC
    while sorted(agents.list_stale_agents()) != sorted(odd):
        assert time.monotonic() < deadline


# Contracts


def test_an_unknown_agent_has_no_contract(agents):
    found = agents.get_contract_versioned("ghost")

    assert found == (None, 0)
    assert type(found) is VersionedDocument


@pytest.mark.parametrize("text", [' {"b" : 1.50,\n"a":[]} ', "[1]", "1.50", "null", '{"é": 1e400}'])
def test_a_contract_comes_back_to_the_byte(agents, text):
    agents.register("a", text, 1)
    assert agents.get_contract_versioned("a") == (text, 1)

    agents.upsert_agent("b", text, 1, "ACTIVE", None, None)
    assert agents.get_contract_versioned("b") == (text, 1)

    agents.update_contract("b", "{}", 1)
    assert agents.update_contract("b", text, 2) == 3
    assert agents.get_contract_versioned("b") == (text, 3)


def test_the_version_counts_registrations_and_contract_updates_alone(agents):
    token = agents.register("a", "{}", 1).session_token
    agents.update_status("a", "SUSPENDED", "why")
    agents.heartbeat("a", token, 60)
    assert agents.get_contract_versioned("a").version == 1

    agents.upsert_agent("a", "{}", 1, "ACTIVE", None, None)
    assert agents.get_contract_versioned("a").version == 2
    agents.register("a", "{}", 1)
    assert agents.get_contract_versioned("a").version == 3
    assert agents.update_contract("a", "{}", 3) == 4
    assert agents.get_contract_versioned("a").version == 4


def test_an_update_replaces_the_contract_and_nothing_else(agents):
    session = agents.register("a", '{"old": 1}', 5, "1.2", ttl_sec=OVER_SOON)
    agents.update_status("a", "SUSPENDED", "why")

    agents.update_contract("a", '{"new": 2}', 1)

    assert agents.get_agent("a") == {
        "agent_id": "a",
        "contract": {"new": 2},
        "priority": 5,
        "status": "SUSPENDED",
        "agent_version": "1.2",
        "session_token": session.session_token,
    }
    assert agents.get_status("a") == ("SUSPENDED", "why")
    wait_until_stale(agents, "a")
    agents.heartbeat("a", session.session_token, 60)


@pytest.mark.parametrize("nothing", ["", None])
def test_an_update_to_nothing_is_one_to_an_empty_object(agents, nothing):
    agents.register("a", "[1]", 1)
    agents.update_contract("a", nothing, 1)

    assert agents.get_contract_versioned("a") == ("{}", 2)


@pytest.mark.parametrize("expected", [0, 1, 3, 2**62])
def test_an_update_of_another_version_is_a_conflict_and_stores_nothing(agents, expected):
    agents.register("a", "[1]", 1)
    agents.register("a", "[2]", 1)

    with pytest.raises(VersionConflictError) as caught:
        agents.update_contract("a", "[3]", expected)

    error = caught.value
    assert (error.record, error.expected, error.found) == ("contract of 'a'", expected, 2)
    assert agents.get_contract_versioned("a") == ("[2]", 2)


@pytest.mark.parametrize("expected", [0, 1])
def test_an_update_of_an_unknown_agent_is_a_conflict_and_makes_none(agents, expected):
    with pytest.raises(VersionConflictError) as caught:
        agents.update_contract("ghost", "{}", expected)

    assert (caught.value.expected, caught.value.found) == (expected, 0)
    assert str(caught.value) == f"there is no contract of 'ghost'; version {expected} was expected"
    assert agents.get_agent("ghost") is None
    assert agents.get_contract_versioned("ghost") == (None, 0)
    assert agents.list_active_agents() == []


def test_updates_of_many_threads_are_all_counted(agents, race):
    rounds = 10
    agents.register("a", '{"n": 0}', 1)

    def count() -> None:
        for _ in range(rounds):
            while True:
                contract, version = agents.get_contract_versioned("a")
                counted = json.dumps({"n": json.loads(contract)["n"] + 1})
                try:
                    assert agents.update_contract("a", counted, version) == version + 1
                    break
                except VersionConflictError as error:
                    conflicts.append((error.expected, error.found))

    conflicts: list[tuple[int, int]] = []
    race([count] * THREADS)

    assert all(expected < found for expected, found in conflicts)

    total = THREADS * rounds
    assert agents.get_contract_versioned("a") == (json.dumps({"n": total}), total + 1)
