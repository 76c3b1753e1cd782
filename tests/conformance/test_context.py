"""Sessions and states: text that comes back to the byte, and that never mixes."""

from __future__ import annotations

import pytest

EXACT_TEXTS = [
    "{}",
    ' {\t"b" : 1 ,\r\n "a":2 } ',
    '{"b": 1, "a": 2}',
    '{"a": 1, "a": 2}',
    '{"n": 123456789012345678901234567890}',
    '{"n": 1e400, "m": -1E+2, "z": -0.0, "t": 1.10}',
    '{"n": NaN, "p": Infinity, "q": -Infinity}',
    '{"é": "\u00e9 e\u0301 😀 \u2028"}',
    '{"e": "\\u00e9\\ud83d\\ude00\\ud800\\u0000"}',
    '{"empty": [], "object": {}, "text": ""}',
    "[1, 2]",
    '"text"',
    "null",
    "0",
]


def test_an_unknown_flow_has_no_session_and_an_unknown_agent_no_state(context):
    assert context.get_session("f") is None
    assert context.get_state("a") is None


def test_set_session_and_set_state_return_nothing(context):
    assert context.set_session("f", "{}") is None
    assert context.set_state("a", "{}") is None


@pytest.mark.parametrize("text", EXACT_TEXTS)
def test_a_session_comes_back_to_the_byte(context, text):
    context.set_session("f", text)

    assert context.get_session("f") == text


@pytest.mark.parametrize("text", EXACT_TEXTS)
def test_a_state_comes_back_to_the_byte(context, text):
    context.set_state("a", text)

    assert context.get_state("a") == text


def test_a_megabyte_comes_back_to_the_byte(context):
    text = '{"long": "' + "é😀 x" * 100_000 + '"}'
    context.set_session("f", text)
    context.set_state("a", text)

    assert context.get_session("f") == text
    assert context.get_state("a") == text


def test_a_session_is_replaced_whole(context):
    context.set_session("f", '{"a": 1, "b": 2}')
    context.set_session("f", '{"c": 3}')

    assert context.get_session("f") == '{"c": 3}'


def test_a_state_is_replaced_whole(context):
    context.set_state("a", '{"a": 1, "b": 2}')
    context.set_state("a", '{"c": 3}')

    assert context.get_state("a") == '{"c": 3}'


def test_session_and_state_of_the_same_id_never_mix(context):
    context.set_session("same", '{"is": "session"}')
    assert context.get_state("same") is None

    context.set_state("same", '{"is": "state"}')
    assert context.get_session("same") == '{"is": "session"}'
    assert context.get_state("same") == '{"is": "state"}'


def test_sessions_of_different_flows_and_states_of_different_agents_stay_apart(context):
    context.set_session("f1", "1")
    context.set_session("f2", "2")
    context.set_state("a1", "3")
    context.set_state("a2", "4")

    assert [context.get_session("f1"), context.get_session("f2")] == ["1", "2"]
    assert [context.get_state("a1"), context.get_state("a2")] == ["3", "4"]


def test_a_session_may_name_its_agent(context):
    context.set_session("f", '{"a": 1}', agent_id="agent")

    assert context.get_session("f") == '{"a": 1}'


@pytest.mark.parametrize("agent_id", [None, "agent", "f"])
def test_naming_the_agent_of_a_session_is_no_state_of_that_agent(context, agent_id):
    context.set_state("other", '{"kept": 1}')
    context.set_session("f", '{"a": 1}', agent_id=agent_id)

    assert context.get_state("agent") is None
    assert context.get_state("f") is None
    assert context.get_state("other") == '{"kept": 1}'


def test_a_later_session_without_an_agent_replaces_the_text_all_the_same(context):
    context.set_session("f", '{"a": 1}', agent_id="agent")
    context.set_session("f", '{"a": 2}')

    assert context.get_session("f") == '{"a": 2}'


def test_concurrent_sets_never_mix(context, race):
    texts = [f'{{"n": "{n}{"x" * 20_000}{n}"}}' for n in range(16)]

    def write(text: str) -> bool:
        whole = []
        for _ in range(5):
            context.set_session("f", text)
            context.set_state("f", text)
            whole += [context.get_session("f") in texts, context.get_state("f") in texts]
        return all(whole)

    assert race([lambda text=text: write(text) for text in texts]) == [True] * 16
