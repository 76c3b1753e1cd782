"""Contexts that many hosts change: merges that lose nothing, versions, and sessions that end."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from dir_redis import ContextMergeStorage, StorageBundle, VersionConflictError, VersionedDocument

THREADS = 8
ROUNDS = 50
PATIENCE_SEC = 10


class Kind:
    """Sessions or states, which have the same operations under other names."""

    def __init__(self, context: ContextMergeStorage, name: str) -> None:
        self.name = name
        self.get: Callable[..., Any] = getattr(context, f"get_{name}")
        self.set: Callable[..., Any] = getattr(context, f"set_{name}")
        self.merge: Callable[..., Any] = getattr(context, f"merge_{name}")
        self.versioned: Callable[..., Any] = getattr(context, f"get_{name}_versioned")


@pytest.fixture(params=["session", "state"])
def kind(context: ContextMergeStorage, request: pytest.FixtureRequest) -> Kind:
    return Kind(context, request.param)


def test_what_is_not_there_has_version_0(kind):
    found = kind.versioned("x")

    assert found == (None, 0)
    assert type(found) is VersionedDocument


def test_each_write_counts_the_version_up_by_one(kind):
    kind.set("x", "{}")
    assert kind.versioned("x").version == 1
    kind.set("x", "{}")
    assert kind.versioned("x").version == 2
    assert kind.merge("x", {"a": 1}) == 3
    assert kind.merge("x", {"a": 1}) == 4
    kind.set("x", "[]")
    assert kind.versioned("x") == ("[]", 5)


def test_reading_counts_nothing(kind):
    kind.set("x", "{}")
    kind.get("x")
    kind.versioned("x")

    assert kind.versioned("x").version == 1


def test_versions_of_sessions_and_states_and_of_other_ids_keep_apart(context):
    context.set_session("x", "{}")
    context.merge_session("x", {"a": 1})
    context.merge_state("x", {"b": 2})

    assert context.get_session_versioned("x") == ('{"a": 1}', 2)
    assert context.get_state_versioned("x") == ('{"b": 2}', 1)
    assert context.get_session_versioned("y") == (None, 0)


def test_the_versioned_text_is_the_text_to_the_byte(kind):
    text = ' {\t"b" : 1.10 ,\r\n "a":[ ] } '
    kind.set("x", text)

    assert kind.versioned("x") == (text, 1)
    assert kind.get("x") == text


def test_a_merge_sets_top_level_keys_and_leaves_the_others(kind):
    kind.set("x", '{"kept": {"deep": [1, 2]}, "replaced": {"old": 1}}')
    kind.merge("x", {"replaced": {"new": 2}, "added": None})

    assert json.loads(kind.get("x")) == {
        "kept": {"deep": [1, 2]},
        "replaced": {"new": 2},
        "added": None,
    }


def test_a_merge_into_nothing_makes_an_object(kind):
    assert kind.merge("x", {"a": 1}) == 1

    assert kind.get("x") == '{"a": 1}'


def test_the_keys_of_the_text_that_was_set_come_first_and_new_ones_sorted(kind):
    kind.set("x", '{"z": 1, "b": 2}')
    kind.merge("x", {"y": 3, "é": 4, "b": 5})
    kind.merge("x", {"a": 6, "z": 7, "Z": 8})

    assert kind.get("x") == '{"z": 7, "b": 5, "Z": 8, "a": 6, "y": 3, "\\u00e9": 4}'


def test_merges_in_any_order_give_the_same_text(kind):
    updates = [{"b": 1}, {"a": 2}, {"d": 3, "c": 4}]
    for name, order in (("x", updates), ("y", updates[::-1])):
        kind.set(name, '{"m": 0}')
        for update in order:
            kind.merge(name, update)

    assert kind.get("x") == kind.get("y") == '{"m": 0, "a": 2, "b": 1, "c": 4, "d": 3}'


def test_a_merge_leaves_the_text_of_other_values_to_the_byte(kind):
    kind.set(
        "x", '{"f": 1.10, "n": 123456789012345678901234567890, "e": [ ], "x": 1e400, "old": 1}'
    )
    kind.merge("x", {"old": 2})

    assert kind.get("x") == (
        '{"f": 1.10, "n": 123456789012345678901234567890, "e": [ ], "x": 1e400, "old": 2}'
    )


@pytest.mark.parametrize(
    ("text", "merged"),
    [
        ("{}", '{"new": 1}'),
        (" \t\r\n{ \n} ", '{"new": 1}'),
        ('{"a": 1, "a": 2}', '{"a": 2, "new": 1}'),
        ('{"n": NaN, "i": -Infinity}', '{"n": NaN, "i": -Infinity, "new": 1}'),
        ('{"": {"}": "{\\"]"}}', '{"": {"}": "{\\"]"}, "new": 1}'),
        ('{"\\ud800": "\\u0000\\ud83d\\ude00"}', '{"\\ud800": "\\u0000\\ud83d\\ude00", "new": 1}'),
        ('{"é": "😀"}', '{"\\u00e9": "😀", "new": 1}'),
        ('{"new" :0}', '{"new": 1}'),
    ],
)
def test_a_merge_reads_any_object(kind, text, merged):
    kind.set("x", text)
    kind.merge("x", {"new": 1})

    assert kind.get("x") == merged


@pytest.mark.parametrize(
    "key", ["", " ", "+", "+a", "data", "version", "agent_id", "a\0b", "\n", "😀", '"', "\\", "-1"]
)
def test_a_key_is_any_text(kind, key):
    kind.merge("x", {key: "merged"})
    kind.merge("x", {"other": 1})

    assert json.loads(kind.get("x")) == {key: "merged", "other": 1}
    kind.set("x", "{}")
    assert kind.get("x") == "{}"


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        (True, True),
        (2**100, 2**100),
        (0.1, 0.1),
        ("é\0😀", "é\0😀"),
        ([], []),
        ({}, {}),
        ((1, 2), [1, 2]),
        ({"b": 1, "a": {"x": [None]}}, {"b": 1, "a": {"x": [None]}}),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01 00:00:00+00:00"),
        (UUID(int=0), "00000000-0000-0000-0000-000000000000"),
    ],
)
def test_a_value_is_encoded_like_audit_details(kind, value, stored):
    kind.merge("x", {"key": value})

    assert json.loads(kind.get("x")) == {"key": stored}


def test_a_merge_of_nothing_is_a_write_that_leaves_the_text_as_it_is(kind):
    kind.set("x", ' {"b":1} ')

    assert kind.merge("x", {}) == 2
    assert kind.versioned("x") == (' {"b":1} ', 2)
    assert kind.merge("new", {}) == 1
    assert kind.versioned("new") == ("{}", 1)


def test_a_set_replaces_all_that_was_merged(kind):
    kind.merge("x", {"a": 1})
    kind.set("x", '{"b":2}')
    assert kind.get("x") == '{"b":2}'

    kind.merge("x", {"c": 3})
    assert kind.get("x") == '{"b": 2, "c": 3}'


def test_the_callers_updates_stay_as_they_are_and_are_not_shared(kind):
    updates = {"a": [1]}
    kind.merge("x", updates)
    updates["a"].append(2)

    assert kind.get("x") == '{"a": [1]}'
    assert updates == {"a": [1, 2]}


def test_ten_thousand_keys_are_merged_at_once(kind):
    updates = {f"key {n:05}": n for n in range(10_000)}
    kind.set("x", '{"first": 0}')
    kind.merge("x", updates)

    assert json.loads(kind.get("x")) == {"first": 0, **updates}
    kind.set("x", "{}")
    assert kind.get("x") == "{}"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[1, 2]", "array"),
        (' "text"', "string"),
        ("true", "boolean"),
        ("false", "boolean"),
        ("null", "null"),
        ("-1.50", "number"),
        ("0", "number"),
        ("NaN", "number"),
        ("Infinity", "number"),
    ],
)
@pytest.mark.parametrize("updates", [{"a": 1}, {}])
def test_what_is_no_object_takes_no_merge(kind, text, what, updates):
    kind.set("x", text)

    with pytest.raises(ValueError, match=f"{kind.name} of 'x' holds a JSON {what}; merging needs"):
        kind.merge("x", updates)

    assert kind.versioned("x") == (text, 1)


@pytest.mark.parametrize("updates", [None, [], "{}", 7, [("a", 1)], {1}])
def test_updates_are_a_dict(kind, updates):
    with pytest.raises(TypeError, match="updates must be a dict"):
        kind.merge("x", updates)

    assert kind.versioned("x") == (None, 0)


@pytest.mark.parametrize("key", [1, None, True, b"a", (1,)])
def test_keys_of_updates_are_strings(kind, key):
    with pytest.raises(TypeError, match="a key of updates must be a str"):
        kind.merge("x", {"good": 1, key: 1})

    assert kind.versioned("x") == (None, 0)


def test_a_lone_surrogate_in_a_key_is_refused_and_in_a_value_is_escaped(kind):
    with pytest.raises(ValueError, match="lone surrogate"):
        kind.merge("x", {"\ud800": 1})
    assert kind.versioned("x") == (None, 0)

    kind.merge("x", {"a": "\ud800"})
    assert kind.get("x") == '{"a": "\\ud800"}'


def test_what_json_cannot_hold_is_refused_and_nothing_stored(kind):
    endless: dict[str, Any] = {}
    endless["self"] = endless
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    kind.set("x", "{}")

    with pytest.raises(ValueError, match="updates"):
        kind.merge("x", {"good": 1, "bad": endless})
    with pytest.raises(ValueError, match="updates"):
        kind.merge("x", {"good": 1, "bad": deep})
    with pytest.raises(TypeError, match="updates"):
        kind.merge("x", {"good": 1, "bad": {(1, 2): 1}})

    assert kind.versioned("x") == ("{}", 1)


def test_the_expected_version_lets_a_set_pass(kind):
    kind.set("x", '{"n": 1}', expected_version=0)
    kind.set("x", '{"n": 2}', expected_version=1)
    kind.merge("x", {"m": 0})
    kind.set("x", '{"n": 3}', expected_version=3)

    assert kind.versioned("x") == ('{"n": 3}', 4)


@pytest.mark.parametrize("expected", [0, 1, 3, 2**62])
def test_another_version_is_a_conflict_that_says_what_there_is(kind, expected):
    kind.set("x", '{"n": 1}')
    kind.merge("x", {"m": 2})

    with pytest.raises(VersionConflictError) as caught:
        kind.set("x", "{}", expected_version=expected)

    error = caught.value
    assert (error.record, error.expected, error.found) == (f"{kind.name} of 'x'", expected, 2)
    assert kind.versioned("x") == ('{"n": 1, "m": 2}', 2)


def test_a_version_of_what_is_not_there_is_a_conflict_and_makes_nothing(kind):
    with pytest.raises(VersionConflictError) as caught:
        kind.set("x", "{}", expected_version=1)

    assert (caught.value.expected, caught.value.found) == (1, 0)
    assert kind.versioned("x") == (None, 0)
    kind.set("x", "{}", expected_version=0)
    assert kind.versioned("x") == ("{}", 1)


def test_a_merge_may_name_the_sessions_agent_which_is_no_state_of_that_agent(context):
    assert context.merge_session("f", {"a": 1}, agent_id="agent") == 1
    assert context.merge_session("f", {"b": 2}) == 2
    assert context.merge_session("f", {}, agent_id="other") == 3

    assert context.get_session("f") == '{"a": 1, "b": 2}'
    assert context.get_state("agent") is None


def test_no_merge_of_many_threads_is_lost(kind, race):
    kind.set("x", '{"before": 0}')

    def merge(number: int) -> list[int]:
        return [kind.merge("x", {f"{number}:{n}": n, "last": number}) for n in range(ROUNDS)]

    versions = race([lambda n=n: merge(n) for n in range(THREADS)])

    document, version = kind.versioned("x")
    merged = json.loads(document)
    last = merged.pop("last")
    assert last in range(THREADS)
    assert merged == {
        "before": 0,
        **{f"{number}:{n}": n for number in range(THREADS) for n in range(ROUNDS)},
    }
    assert version == 1 + THREADS * ROUNDS
    assert sorted(itertools.chain(*versions)) == list(range(2, version + 1))


def test_a_counter_of_many_threads_is_exact_by_versions(kind, race):
    rounds = 10

    def count() -> None:
        for _ in range(rounds):
            while True:
                document, version = kind.versioned("x")
                counter = json.loads(document)["n"] if document else 0
                try:
                    kind.set("x", json.dumps({"n": counter + 1}), expected_version=version)
                    break
                except VersionConflictError as error:
                    conflicts.append((error.expected, error.found))

    conflicts: list[tuple[int, int]] = []
    race([count] * THREADS)

    assert all(expected < found for expected, found in conflicts)

    assert kind.versioned("x") == (json.dumps({"n": THREADS * rounds}), THREADS * rounds)


def test_a_reader_sees_each_merge_whole(kind, race):
    def write(number: int) -> set[bool]:
        for _ in range(ROUNDS):
            kind.merge("x", {"a": number, "b": number})
        return {True}

    def read() -> set[bool]:
        seen = set()
        for _ in range(ROUNDS):
            document = json.loads(kind.get("x") or '{"a": 0, "b": 0}')
            seen.add(document["a"] == document["b"])
        return seen

    writers = [lambda n=n: write(n) for n in range(4)]
    assert set().union(*race([*writers, read, read])) == {True}


# Sessions that end: closing a flow gives its session a time to live


def close(bundle: StorageBundle, ttl_sec: float | None, dfid: str = "f") -> None:
    bundle.lifecycle.close_flow(dfid, "CLOSED", session_ttl_sec=ttl_sec)


def wait_until_gone(context: ContextMergeStorage, dfid: str = "f") -> None:
    deadline = time.monotonic() + PATIENCE_SEC
    while context.get_session(dfid) is not None:
        assert time.monotonic() < deadline, "the session should have ended"
        time.sleep(0.002)


def test_a_session_of_a_closed_flow_is_there_until_it_ends(bundle, context):
    context.set_session("f", '{"a": 1}')
    close(bundle, 60)
    assert context.get_session_versioned("f") == ('{"a": 1}', 1)

    context.set_session("g", '{"a": 1}')
    close(bundle, 0.02, "g")
    wait_until_gone(context, "g")
    assert context.get_session_versioned("g") == (None, 0)


def test_a_session_that_ended_begins_anew_with_version_1(bundle, context):
    for again in (
        lambda: context.set_session("f", '{"b": 2}', expected_version=0),
        lambda: context.set_session("f", '{"b": 2}'),
        lambda: context.merge_session("f", {"b": 2}),
    ):
        context.set_session("f", '{"a": 1}')
        context.merge_session("f", {"c": 1})
        bundle.lifecycle.record_transition("f", "CREATED", "ACTIVE")
        close(bundle, 0.01)
        wait_until_gone(context)

        again()

        assert context.get_session_versioned("f") == ('{"b": 2}', 1)


def test_the_version_of_a_session_that_ended_is_a_conflict(bundle, context):
    context.set_session("f", "{}")
    close(bundle, 0.01)
    wait_until_gone(context)

    with pytest.raises(VersionConflictError) as caught:
        context.set_session("f", "{}", expected_version=1)
    assert caught.value.found == 0
    assert context.get_session("f") is None


@pytest.mark.parametrize("write", ["set", "merge", "merge nothing"])
def test_writing_to_a_session_that_was_to_end_keeps_it(bundle, context, write):
    context.set_session("f", '{"a": 1}')
    close(bundle, 60)
    if write == "set":
        context.set_session("f", '{"a": 1}')
    else:
        context.merge_session("f", {"a": 1} if write == "merge" else {})
    assert context.get_session_versioned("f") == ('{"a": 1}', 2)

    close(bundle, 0.01)  # of a flow closed before, this counts only for a session that is kept

    wait_until_gone(context)


def test_a_refused_write_does_not_keep_a_session_that_was_to_end(bundle, context):
    context.set_session("f", "[]")
    close(bundle, 0.05)

    with pytest.raises(VersionConflictError):
        context.set_session("f", "{}", expected_version=7)
    with pytest.raises(ValueError, match="merging needs an object"):
        context.merge_session("f", {"a": 1})

    wait_until_gone(context)


def test_the_state_of_the_same_id_never_ends(bundle, context):
    context.set_session("f", "{}")
    context.set_state("f", "{}")
    close(bundle, 0.01)
    wait_until_gone(context)

    assert context.get_state_versioned("f") == ("{}", 1)
