"""Idempotency results: the JSON round trip of what was set, in one encoding."""

from __future__ import annotations

import enum
import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from dir_redis import dumps_json_dict

MOMENT = datetime(2026, 11, 23, 16, 0, 0, 123456, tzinfo=UTC)
UUID_1 = UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize("result", [[1, {"a": None}], "done", 7, 1.5, True])
def test_any_json_value_is_a_result(idempotency, result):
    """dir-core's guard hands over whatever the step returned, when the step was run already."""
    idempotency.set("k", result)

    assert idempotency.get("k") == result


def test_an_unknown_key_has_no_result(idempotency):
    assert idempotency.get("k") is None


def test_set_returns_nothing(idempotency):
    assert idempotency.set("k", {}) is None


def test_a_result_is_returned_under_its_key_alone(idempotency):
    idempotency.set("k", {"paid": 10})

    assert idempotency.get("k") == {"paid": 10}
    assert idempotency.get("other") is None


def test_an_empty_result_is_a_result(idempotency):
    idempotency.set("k", {})

    assert idempotency.get("k") == {}


def test_set_replaces_the_whole_result(idempotency):
    idempotency.set("k", {"a": 1, "b": 2})
    idempotency.set("k", {"c": 3})

    assert idempotency.get("k") == {"c": 3}


@pytest.mark.parametrize(
    ("result", "returned"),
    [
        ({"at": MOMENT}, {"at": "2026-11-23 16:00:00.123456+00:00"}),
        ({"id": UUID_1}, {"id": "12345678-1234-5678-1234-567812345678"}),
        ({"amount": Decimal("1.10")}, {"amount": "1.10"}),
        ({"pair": (1, (2, 3))}, {"pair": [1, [2, 3]]}),
        ({1: "a", 2: {3: "b"}}, {"1": "a", "2": {"3": "b"}}),
        ({True: 1}, {"true": 1}),
        ({None: 1}, {"null": 1}),
        ({"nothing": None, "list": [None]}, {"nothing": None, "list": [None]}),
        ({"flags": [True, False]}, {"flags": [True, False]}),
        ({"n": 2**70, "m": -(2**63)}, {"n": 2**70, "m": -(2**63)}),
        ({"x": 0.1, "y": 1e-300, "z": 1.0}, {"x": 0.1, "y": 1e-300, "z": 1.0}),
        ({"inf": float("inf")}, {"inf": float("inf")}),
        ({"s": "é\0\n😀\u2028", "é": ""}, {"s": "é\0\n😀\u2028", "é": ""}),
        ({"empty": [], "object": {}}, {"empty": [], "object": {}}),
        ({"": 0}, {"": 0}),
        ({"lone": "\ud800"}, {"lone": "\ud800"}),
    ],
)
def test_get_returns_the_json_round_trip(idempotency, result, returned):
    idempotency.set("k", result)

    assert idempotency.get("k") == returned
    assert idempotency.get("k") == json.loads(dumps_json_dict(result))


def test_nan_makes_the_round_trip_too(idempotency):
    idempotency.set("k", {"n": float("nan")})

    value = idempotency.get("k")["n"]
    assert value != value


def test_numbers_keep_their_type(idempotency):
    idempotency.set("k", {"whole": 1, "fraction": 1.0, "flag": True})

    assert [type(v) for v in idempotency.get("k").values()] == [bool, float, int]


def test_keys_come_back_sorted_at_every_depth_since_that_is_the_stored_encoding(idempotency):
    idempotency.set("k", {"b": 1, "a": {"d": 1, "c": 2}})

    assert list(idempotency.get("k")) == ["a", "b"]
    assert list(idempotency.get("k")["a"]) == ["c", "d"]


def test_changing_what_was_returned_changes_nothing_stored(idempotency):
    idempotency.set("k", {"steps": ["a"]})
    returned = idempotency.get("k")
    returned["steps"].append("b")
    returned["more"] = 1

    assert idempotency.get("k") == {"steps": ["a"]}


def test_changing_what_was_passed_in_changes_nothing_stored(idempotency):
    result = {"steps": ["a"]}
    idempotency.set("k", result)
    result["steps"].append("b")
    result["more"] = 1

    assert idempotency.get("k") == {"steps": ["a"]}


def test_what_was_passed_in_is_left_as_it_was(idempotency):
    result = {"b": (1, 2), "at": MOMENT}
    idempotency.set("k", result)

    assert result == {"b": (1, 2), "at": MOMENT}
    assert list(result) == ["b", "at"]


def test_a_result_that_is_refused_leaves_the_stored_one(idempotency):
    idempotency.set("k", {"a": 1})

    with pytest.raises(TypeError, match="result"):
        idempotency.set("k", {b"bytes": 1})
    assert idempotency.get("k") == {"a": 1}


def test_concurrent_sets_of_one_key_never_mix(idempotency, race):
    def write(n: int) -> bool:
        whole = []
        for _ in range(10):
            idempotency.set("k", {"a": n, "z": n})
            seen = idempotency.get("k")
            whole.append(seen["a"] == seen["z"])
        return all(whole)

    assert race([lambda n=n: write(n) for n in range(16)]) == [True] * 16


def test_dumps_json_dict_sorts_keys_unless_told_not_to():
    assert dumps_json_dict({"b": 1, "a": {"d": 2, "c": 3}}) == '{"a": {"c": 3, "d": 2}, "b": 1}'
    assert dumps_json_dict({"b": 1, "a": 2}, sort_keys=False) == '{"b": 1, "a": 2}'


def test_dumps_json_dict_turns_what_json_does_not_know_into_strings():
    assert dumps_json_dict({"at": MOMENT, "id": UUID_1}) == (
        '{"at": "2026-11-23 16:00:00.123456+00:00", "id": "12345678-1234-5678-1234-567812345678"}'
    )


def test_dumps_json_dict_is_what_json_dumps_gives():
    data = {"é": ["\n", None, 1e400, {"x": enum.Enum}], "a": (1, 2)}

    assert dumps_json_dict(data) == json.dumps(data, sort_keys=True, default=str)


def test_dumps_json_dict_takes_sort_keys_by_name_only():
    with pytest.raises(TypeError):
        dumps_json_dict({}, False)
