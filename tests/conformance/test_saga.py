"""Dirty marks: replaced, oldest first, cleared."""

from __future__ import annotations

import pytest


def test_nothing_is_dirty_at_first(saga):
    assert saga.get_dirty_flows() == []
    assert saga.get_dirty_state("f") is None


def test_mark_and_clear_return_nothing(saga):
    assert saga.mark_dirty("f", "pay", "{}") is None
    assert saga.clear_dirty("f") is None


def test_a_mark_returns_exactly_its_step_and_its_state_parsed(saga):
    saga.mark_dirty("f", "pay", '{"done": ["book"], "n": 9007199254740993}')

    assert saga.get_dirty_state("f") == {
        "failed_step": "pay",
        "partial_state": {"done": ["book"], "n": 9007199254740993},
    }


def test_marking_again_replaces_the_whole_mark(saga):
    saga.mark_dirty("f", "pay", '{"a": 1, "b": 2}')
    saga.mark_dirty("f", "ship", '{"c": 3}')

    assert saga.get_dirty_state("f") == {"failed_step": "ship", "partial_state": {"c": 3}}
    assert saga.get_dirty_flows() == ["f"]


@pytest.mark.parametrize("nothing", ["", None])
def test_an_empty_partial_state_counts_as_an_empty_object(saga, nothing):
    saga.mark_dirty("f", "pay", nothing)

    assert saga.get_dirty_state("f") == {"failed_step": "pay", "partial_state": {}}


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ('{"e": [], "o": {}}', {"e": [], "o": {}}),
        ('{"a": 1, "a": 2}', {"a": 2}),
        ("[]", []),
        ("null", None),
        ('" é\\u0000"', " é\0"),
        ("1e400", float("inf")),
    ],
)
def test_a_partial_state_comes_back_as_json_loads_reads_it(saga, text, parsed):
    saga.mark_dirty("f", "pay", text)

    assert saga.get_dirty_state("f")["partial_state"] == parsed


@pytest.mark.parametrize("step", ["", " ", "é\0\n😀", "None"])
def test_a_failed_step_is_any_string_and_comes_back_exactly(saga, step):
    saga.mark_dirty("f", step, "{}")

    assert saga.get_dirty_state("f")["failed_step"] == step


def test_dirty_flows_are_listed_oldest_mark_first(saga):
    for dfid in ("z", "a", "m", "10", "9"):
        saga.mark_dirty(dfid, "pay", "{}")

    assert saga.get_dirty_flows() == ["z", "a", "m", "10", "9"]


def test_a_flow_marked_again_moves_to_the_end(saga):
    for dfid in ("first", "second", "third"):
        saga.mark_dirty(dfid, "pay", "{}")
    saga.mark_dirty("first", "pay", "{}")

    assert saga.get_dirty_flows() == ["second", "third", "first"]


def test_clearing_removes_a_mark_and_leaves_the_others(saga):
    for dfid in ("first", "second", "third"):
        saga.mark_dirty(dfid, "pay", f'{{"of": "{dfid}"}}')
    saga.clear_dirty("second")

    assert saga.get_dirty_flows() == ["first", "third"]
    assert saga.get_dirty_state("second") is None
    assert saga.get_dirty_state("third")["partial_state"] == {"of": "third"}


def test_clearing_an_unknown_flow_changes_nothing(saga):
    saga.mark_dirty("f", "pay", "{}")
    saga.clear_dirty("ghost")

    assert saga.get_dirty_flows() == ["f"]
    assert saga.get_dirty_state("f") == {"failed_step": "pay", "partial_state": {}}


def test_clearing_twice_is_fine_and_a_new_mark_is_new(saga):
    saga.mark_dirty("first", "pay", '{"old": 1}')
    saga.mark_dirty("second", "pay", "{}")
    saga.clear_dirty("first")
    saga.clear_dirty("first")
    saga.mark_dirty("first", "ship", "{}")

    assert saga.get_dirty_flows() == ["second", "first"]
    assert saga.get_dirty_state("first") == {"failed_step": "ship", "partial_state": {}}


def test_300_marks_are_listed_whole_and_in_order(saga):
    flows = [f"f{n * 7919 % 300}" for n in range(300)]
    for dfid in flows:
        saga.mark_dirty(dfid, "pay", "{}")

    assert saga.get_dirty_flows() == flows


def test_what_is_returned_is_the_callers_own_copy(saga):
    saga.mark_dirty("f", "pay", '{"done": ["book"]}')
    state = saga.get_dirty_state("f")
    state["partial_state"]["done"].append("x")
    state["failed_step"] = "changed"
    saga.get_dirty_flows().clear()

    assert saga.get_dirty_flows() == ["f"]
    assert saga.get_dirty_state("f") == {"failed_step": "pay", "partial_state": {"done": ["book"]}}


def test_concurrent_marks_of_one_flow_never_mix(saga, race):
    def mark(n: int) -> bool:
        whole = []
        for _ in range(10):
            saga.mark_dirty("f", str(n), f'{{"n": {n}}}')
            state = saga.get_dirty_state("f")
            whole.append(state["partial_state"] == {"n": int(state["failed_step"])})
        return all(whole)

    assert race([lambda n=n: mark(n) for n in range(16)]) == [True] * 16
    assert saga.get_dirty_flows() == ["f"]
