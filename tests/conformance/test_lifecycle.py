"""The transition log: append-only, in order, per flow and of all flows."""

from __future__ import annotations

import pytest


def steps(rows):
    return [(row["dfid"], row["from_status"], row["to_status"]) for row in rows]


def test_an_empty_log_has_no_transitions(lifecycle):
    assert lifecycle.get_transitions() == []
    assert lifecycle.get_transitions("f") == []


def test_record_transition_returns_nothing(lifecycle):
    assert lifecycle.record_transition("f", "CREATED", "ACTIVE") is None


def test_a_transition_has_exactly_its_five_keys(lifecycle):
    lifecycle.record_transition("f", "CREATED", "ACTIVE")

    keys = {"dfid", "root_dfid", "from_status", "to_status", "created_at"}
    assert [set(row) for row in lifecycle.get_transitions()] == [keys]
    assert [set(row) for row in lifecycle.get_transitions("f")] == [keys]


def test_a_transition_returns_what_was_recorded(lifecycle):
    lifecycle.record_transition("f", "CREATED", "ACTIVE", root_dfid="root")

    (row,) = lifecycle.get_transitions("f")
    del row["created_at"]
    assert row == {
        "dfid": "f",
        "root_dfid": "root",
        "from_status": "CREATED",
        "to_status": "ACTIVE",
    }


@pytest.mark.parametrize("left_out", [{}, {"root_dfid": None}])
def test_the_root_is_the_flow_itself_by_default(lifecycle, left_out):
    lifecycle.record_transition("f", "CREATED", "ACTIVE", **left_out)

    assert lifecycle.get_transitions("f")[0]["root_dfid"] == "f"


def test_created_at_is_utc_in_the_one_form(lifecycle, is_store_time):
    lifecycle.record_transition("f", "CREATED", "ACTIVE")

    assert is_store_time(lifecycle.get_transitions()[0]["created_at"])


@pytest.mark.usefixtures("caller_in_tokyo")
def test_created_at_is_utc_whatever_the_callers_time_zone(lifecycle, is_store_time):
    lifecycle.record_transition("f", "CREATED", "ACTIVE")

    assert is_store_time(lifecycle.get_transitions()[0]["created_at"])


def test_transitions_are_returned_in_order_per_flow_and_of_all(lifecycle):
    lifecycle.record_transition("b", "CREATED", "ACTIVE")
    lifecycle.record_transition("a", "CREATED", "ACTIVE")
    lifecycle.record_transition("b", "ACTIVE", "ABORTED")

    assert steps(lifecycle.get_transitions()) == [
        ("b", "CREATED", "ACTIVE"),
        ("a", "CREATED", "ACTIVE"),
        ("b", "ACTIVE", "ABORTED"),
    ]
    assert steps(lifecycle.get_transitions("b")) == [
        ("b", "CREATED", "ACTIVE"),
        ("b", "ACTIVE", "ABORTED"),
    ]
    assert lifecycle.get_transitions("a") == lifecycle.get_transitions()[1:2]


def test_none_means_all_flows_also_by_name(lifecycle):
    lifecycle.record_transition("a", "CREATED", "ACTIVE")
    lifecycle.record_transition("b", "CREATED", "ACTIVE")

    assert lifecycle.get_transitions(dfid=None) == lifecycle.get_transitions()
    assert steps(lifecycle.get_transitions(dfid="b")) == [("b", "CREATED", "ACTIVE")]


def test_the_same_transition_recorded_twice_is_two_rows(lifecycle):
    lifecycle.record_transition("f", "ACTIVE", "ACTIVE")
    lifecycle.record_transition("f", "ACTIVE", "ACTIVE")

    assert steps(lifecycle.get_transitions("f")) == [("f", "ACTIVE", "ACTIVE")] * 2


def test_a_descendants_transitions_are_its_own_and_not_its_roots(lifecycle):
    lifecycle.record_transition("child", "CREATED", "ACTIVE", root_dfid="root")

    assert lifecycle.get_transitions("root") == []
    assert lifecycle.get_transitions("child")[0]["root_dfid"] == "root"


@pytest.mark.parametrize("status", ["", " ", "é\0\n😀", "None", "MAINTENANCE_MODE"])
def test_any_string_is_a_status_and_comes_back_exactly(lifecycle, status):
    lifecycle.record_transition("f", status, status)

    assert steps(lifecycle.get_transitions("f")) == [("f", status, status)]


def test_a_later_transition_changes_no_earlier_one(lifecycle):
    lifecycle.record_transition("f", "CREATED", "ACTIVE")
    before = lifecycle.get_transitions()
    lifecycle.record_transition("f", "ACTIVE", "ABORTED", root_dfid="root")

    assert lifecycle.get_transitions()[:1] == before
    assert lifecycle.get_transitions("f")[:1] == before


def test_1500_transitions_of_30_flows_are_read_whole_and_in_order(lifecycle):
    for n in range(1500):
        lifecycle.record_transition(f"f{n * 7 % 30}", str(n), str(n + 1))

    rows = lifecycle.get_transitions()
    assert steps(rows) == [(f"f{n * 7 % 30}", str(n), str(n + 1)) for n in range(1500)]
    moments = [row["created_at"] for row in rows]
    assert moments == sorted(moments)
    for flow in range(30):
        own = [row for row in rows if row["dfid"] == f"f{flow}"]
        assert lifecycle.get_transitions(f"f{flow}") == own


def test_what_is_returned_is_the_callers_own_copy(lifecycle):
    lifecycle.record_transition("f", "CREATED", "ACTIVE")
    for rows in (lifecycle.get_transitions(), lifecycle.get_transitions("f")):
        rows[0]["to_status"] = "changed"
        rows.clear()

    assert steps(lifecycle.get_transitions()) == [("f", "CREATED", "ACTIVE")]
    assert steps(lifecycle.get_transitions("f")) == [("f", "CREATED", "ACTIVE")]


def test_concurrent_transitions_are_all_there_each_threads_own_in_order(lifecycle, race):
    def write(n: int) -> None:
        for turn in range(10):
            lifecycle.record_transition(f"f{n % 4}", str(n), str(turn))

    race([lambda n=n: write(n) for n in range(16)])

    rows = lifecycle.get_transitions()
    assert len(rows) == 160
    for n in range(16):
        own = [row["to_status"] for row in rows if row["from_status"] == str(n)]
        assert own == [str(turn) for turn in range(10)]
