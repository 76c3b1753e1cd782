"""Agents: replaced records, a suspension reason that survives, and the order of the active."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dir_redis import AgentRegistryStorage


def upsert(agents: AgentRegistryStorage, agent_id: str, **changes: Any) -> None:
    record = {
        "contract_json": "{}",
        "priority": 1,
        "status": "ACTIVE",
        "agent_version": None,
        "session_token": None,
    }
    agents.upsert_agent(agent_id, **(record | changes))


def test_an_unknown_agent_has_no_record_and_no_status(agents):
    assert agents.get_agent("ghost") is None
    assert agents.get_status("ghost") is None


def test_an_empty_registry_lists_nobody(agents):
    assert agents.list_active_agents() == []


def test_get_agent_returns_exactly_its_six_keys_with_the_contract_parsed(agents):
    agents.upsert_agent("a", '{"max": [1, 2.5, null]}', 7, "ACTIVE", "1.2", "token")

    assert agents.get_agent("a") == {
        "agent_id": "a",
        "contract": {"max": [1, 2.5, None]},
        "priority": 7,
        "status": "ACTIVE",
        "agent_version": "1.2",
        "session_token": "token",
    }


def test_upsert_returns_nothing(agents):
    assert agents.upsert_agent("a", "{}", 1, "ACTIVE", None, None) is None


def test_upsert_replaces_every_field(agents):
    agents.upsert_agent("a", '{"old": 1, "kept": 2}', 1, "ACTIVE", "1", "t1")
    agents.upsert_agent("a", '{"new": 3}', 2, "DEGRADED", None, None)

    assert agents.get_agent("a") == {
        "agent_id": "a",
        "contract": {"new": 3},
        "priority": 2,
        "status": "DEGRADED",
        "agent_version": None,
        "session_token": None,
    }


def test_upsert_replaces_one_agent_and_leaves_the_others(agents):
    upsert(agents, "a", priority=1)
    upsert(agents, "b", priority=2)
    upsert(agents, "a", priority=3)

    assert agents.get_agent("b")["priority"] == 2


@pytest.mark.parametrize("nothing", ["", None])
def test_an_empty_contract_counts_as_an_empty_object(agents, nothing):
    upsert(agents, "a", contract_json=nothing)

    assert agents.get_agent("a")["contract"] == {}


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ('{"n": 9007199254740993}', {"n": 9007199254740993}),
        ('{"n": 12345678901234567890123}', {"n": 12345678901234567890123}),
        ('{"n": 1e400}', {"n": float("inf")}),
        ('{"n": 1.0, "m": 1}', {"n": 1.0, "m": 1}),
        ('{"e": [], "o": {}}', {"e": [], "o": {}}),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('{"s": "é\\u0000\\n\\ud83d\\ude00"}', {"s": "é\0\n😀"}),
        ('  {"a" : null }\n', {"a": None}),
        ("[1, 2]", [1, 2]),
        ("null", None),
    ],
)
def test_a_contract_comes_back_as_json_loads_reads_it(agents, text, parsed):
    upsert(agents, "a", contract_json=text)

    assert agents.get_agent("a")["contract"] == parsed


def test_whole_and_fractional_numbers_of_a_contract_keep_their_type(agents):
    upsert(agents, "a", contract_json='{"whole": 1, "fraction": 1.0}')

    contract = agents.get_agent("a")["contract"]
    assert [type(contract["whole"]), type(contract["fraction"])] == [int, float]


@pytest.mark.parametrize("priority", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)])
def test_a_priority_is_any_64_bit_int_and_comes_back_exactly(agents, priority):
    upsert(agents, "a", priority=priority)

    assert agents.get_agent("a")["priority"] == priority


@pytest.mark.parametrize(
    "status", ["SUSPENDED", "DEGRADED", "ESCALATION_ONLY", "RETIRED", "", " ", "active", "é\0\n"]
)
def test_any_string_is_a_status_and_only_the_exact_active_is_listed(agents, status):
    upsert(agents, "a", status=status)

    assert agents.get_agent("a")["status"] == status
    assert agents.get_status("a") == (status, None)
    assert agents.list_active_agents() == []


@pytest.mark.parametrize("value", [None, "", "None", "null", " v\0\n😀"])
def test_version_and_token_come_back_exactly_and_none_is_not_empty(agents, value):
    upsert(agents, "a", agent_version=value, session_token=value)

    record = agents.get_agent("a")
    assert record["agent_version"] == value
    assert record["session_token"] == value


def test_update_status_of_a_known_agent_is_true_and_sets_both(agents):
    upsert(agents, "a")

    assert agents.update_status("a", "SUSPENDED", "too fast") is True
    assert agents.get_status("a") == ("SUSPENDED", "too fast")


def test_update_status_leaves_the_rest_of_the_record(agents):
    agents.upsert_agent("a", '{"x": 1}', 5, "ACTIVE", "1", "t")
    agents.update_status("a", "SUSPENDED", "too fast")

    assert agents.get_agent("a") == {
        "agent_id": "a",
        "contract": {"x": 1},
        "priority": 5,
        "status": "SUSPENDED",
        "agent_version": "1",
        "session_token": "t",
    }


def test_update_status_of_an_unknown_agent_is_false_and_stores_nothing(agents):
    assert agents.update_status("ghost", "ACTIVE", "why") is False

    assert agents.get_agent("ghost") is None
    assert agents.get_status("ghost") is None
    assert agents.list_active_agents() == []


def test_a_reason_for_an_unknown_agent_is_not_there_when_it_registers(agents):
    agents.update_status("a", "SUSPENDED", "too early")
    upsert(agents, "a")

    assert agents.get_status("a") == ("ACTIVE", None)


def test_none_removes_a_stored_suspension_reason(agents):
    upsert(agents, "a")
    agents.update_status("a", "SUSPENDED", "too fast")
    agents.update_status("a", "SUSPENDED", None)

    assert agents.get_status("a") == ("SUSPENDED", None)


@pytest.mark.parametrize("reason", ["", "None", " r\0\n😀"])
def test_a_suspension_reason_comes_back_exactly_and_empty_is_not_none(agents, reason):
    upsert(agents, "a")
    agents.update_status("a", "SUSPENDED", reason)

    assert agents.get_status("a") == ("SUSPENDED", reason)


@pytest.mark.parametrize("reason", ["too fast", ""])
def test_a_stored_suspension_reason_survives_an_upsert(agents, reason):
    upsert(agents, "a")
    agents.update_status("a", "SUSPENDED", reason)
    upsert(agents, "a", status="ACTIVE")

    assert agents.get_status("a") == ("ACTIVE", reason)


def test_get_status_is_a_tuple(agents):
    upsert(agents, "a")

    assert type(agents.get_status("a")) is tuple


def test_active_agents_are_listed_in_order_of_first_registration(agents):
    for agent_id in ("zoe", "adam", "mia", "10", "9"):
        upsert(agents, agent_id)

    assert agents.list_active_agents() == ["zoe", "adam", "mia", "10", "9"]


def test_another_upsert_does_not_move_an_agent_in_the_list(agents):
    for agent_id in ("first", "second", "third"):
        upsert(agents, agent_id)
    upsert(agents, "first", priority=9)

    assert agents.list_active_agents() == ["first", "second", "third"]


def test_a_reactivated_agent_returns_to_its_old_place(agents):
    for agent_id in ("first", "second", "third"):
        upsert(agents, agent_id)
    agents.update_status("first", "SUSPENDED", "why")
    assert agents.list_active_agents() == ["second", "third"]

    agents.update_status("first", "ACTIVE", None)
    assert agents.list_active_agents() == ["first", "second", "third"]


def test_an_agent_that_is_reactivated_by_an_upsert_returns_to_its_old_place(agents):
    for agent_id in ("first", "second"):
        upsert(agents, agent_id)
    upsert(agents, "first", status="RETIRED")
    assert agents.list_active_agents() == ["second"]

    upsert(agents, "first", status="ACTIVE")
    assert agents.list_active_agents() == ["first", "second"]


def test_an_agent_counts_from_its_registration_even_if_it_became_active_later(agents):
    upsert(agents, "first", status="DEGRADED")
    upsert(agents, "second")
    agents.update_status("first", "ACTIVE", None)

    assert agents.list_active_agents() == ["first", "second"]


def test_300_agents_are_listed_whole_and_in_order(agents):
    names = [f"agent-{n * 7919 % 300}" for n in range(300)]
    for name in names:
        upsert(agents, name)

    assert agents.list_active_agents() == names


def test_what_is_returned_is_the_callers_own_copy(agents):
    upsert(agents, "a", contract_json='{"limits": {"x": [1]}}')
    record = agents.get_agent("a")
    record["contract"]["limits"]["x"].append(2)
    record["priority"] = 99
    agents.list_active_agents().clear()

    assert agents.get_agent("a")["contract"] == {"limits": {"x": [1]}}
    assert agents.get_agent("a")["priority"] == 1
    assert agents.list_active_agents() == ["a"]


def test_concurrent_upserts_of_one_agent_never_mix(agents, race):
    upsert(agents, "a", contract_json='{"n": 0}', priority=0, agent_version="0")
    finished = threading.Event()

    def write(n: int) -> set[bool]:
        for _ in range(10):
            upsert(agents, "a", contract_json=f'{{"n": {n}}}', priority=n, agent_version=str(n))
        finished.set()
        return set()

    def read() -> set[bool]:
        whole = set()
        while not (finished.is_set() and whole):
            record = agents.get_agent("a")
            whole.add(record["contract"]["n"] == record["priority"] == int(record["agent_version"]))
        return whole

    seen = race([read, read, *(lambda n=n: write(n) for n in range(14))])

    assert set().union(*seen) == {True}
    assert agents.list_active_agents() == ["a"]
