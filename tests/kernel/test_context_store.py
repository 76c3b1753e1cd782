"""Sessions of flows and states of agents, merged and compiled (DIR §8)."""

from __future__ import annotations

import pytest

from tests.dir_core_needed import only_where
from tests.kernel.offers import AGENT_OF_A_SESSION


@pytest.fixture
def context(managers, bundle):
    return managers.ContextStore(storage=bundle.context)


def test_what_was_never_written_is_empty(context):
    assert context.get_session("flow") == {}
    assert context.get_state("agent") == {}


def test_updates_are_merged_into_a_session_by_their_top_level_keys(context):
    context.update_session("flow", {"price": 10, "quote": {"bid": 9, "ask": 11}})
    context.update_session("flow", {"price": 12, "quote": {"bid": 10}, "seen": True})

    assert context.get_session("flow") == {"price": 12, "quote": {"bid": 10}, "seen": True}


def test_updates_are_merged_into_a_state_by_their_top_level_keys(context):
    context.update_state("agent", {"position": 1, "limits": [1, 2]})
    context.update_state("agent", {"position": None, "limits": []})
    context.update_state("agent", {"trust": 0.25})

    assert context.get_state("agent") == {"position": None, "limits": [], "trust": 0.25}


def test_an_empty_update_changes_nothing(context):
    context.update_session("flow", {"a": 1})
    context.update_session("flow", {})
    context.update_state("agent", {})

    assert context.get_session("flow") == {"a": 1}
    assert context.get_state("agent") == {}


def test_a_session_and_a_state_of_one_id_stay_apart(context):
    context.update_session("same", {"of": "flow"})
    context.update_state("same", {"of": "agent"})

    assert context.get_session("same") == {"of": "flow"}
    assert context.get_state("same") == {"of": "agent"}


def test_flows_and_agents_stay_apart(context):
    context.update_session("flow-1", {"a": 1})
    context.update_session("flow-2", {"a": 2})
    context.update_state("agent-1", {"a": 3})
    context.update_state("agent-2", {"a": 4})

    assert context.get_session("flow-1") == {"a": 1}
    assert context.get_session("flow-2") == {"a": 2}
    assert context.get_state("agent-1") == {"a": 3}
    assert context.get_state("agent-2") == {"a": 4}


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1.5, 10**20, "", "é\0\n😀", [], [[1], {"a": []}], {}, {"ü": {"": None}}],
)
def test_any_json_value_comes_back(context, value):
    context.update_session("flow", {"before": 1})
    context.update_session("flow", {"value": value})
    context.update_state("agent", {"value": value})

    assert context.get_session("flow") == {"before": 1, "value": value}
    assert context.get_state("agent") == {"value": value}


def test_what_was_read_is_the_callers_own(context):
    context.update_session("flow", {"list": [1]})

    context.get_session("flow")["list"].append(2)

    assert context.get_session("flow") == {"list": [1]}


def test_what_was_written_is_not_the_callers_any_more(context):
    updates = {"list": [1]}
    context.update_session("flow", updates)
    updates["list"].append(2)

    assert context.get_session("flow") == {"list": [1]}


@only_where(AGENT_OF_A_SESSION)
def test_a_session_can_name_its_agent(context):
    context.update_session("flow", {"a": 1}, agent_id="agent")
    context.update_session("flow", {"b": 2})

    assert context.get_session("flow") == {"a": 1, "b": 2}
    assert context.get_state("agent") == {}


def test_a_working_context_has_all_layers(context):
    context.update_session("flow", {"price": 10})
    context.update_state("agent", {"position": 3})

    assert context.compile_working_context("agent", "flow") == {
        "meta": {"agent_id": "agent", "dfid": "flow", "source": "ContextStore"},
        "session": {"price": 10},
        "state": {"position": 3},
        "memory": {},
        "artifacts": {},
    }


def test_a_working_context_of_nothing_is_empty(context):
    compiled = context.compile_working_context("agent", "flow")

    assert compiled["session"] == {}
    assert compiled["state"] == {}


def test_a_working_context_is_frozen_when_it_is_compiled(context):
    context.update_session("flow", {"price": 10})
    compiled = context.compile_working_context("agent", "flow")

    context.update_session("flow", {"price": 11})
    compiled["state"]["position"] = 1

    assert compiled["session"] == {"price": 10}
    assert context.get_state("agent") == {}


def test_context_stores_on_one_store_see_the_same(managers, bundle, context):
    context.update_session("flow", {"a": 1})
    other = managers.ContextStore(storage=bundle.context)
    other.update_session("flow", {"b": 2})

    assert context.get_session("flow") == {"a": 1, "b": 2}


def test_a_context_store_needs_a_store(managers):
    with pytest.raises(ValueError, match="storage"):
        managers.ContextStore()
