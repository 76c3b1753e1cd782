"""Rejection counts per flow."""

from __future__ import annotations

import pytest


def test_an_unseen_flow_has_a_count_of_0(retries):
    assert retries.get_count("f") == 0


def test_set_count_and_delete_return_nothing(retries):
    assert retries.set_count("f", 1) is None
    assert retries.delete("f") is None


@pytest.mark.parametrize("count", [0, 1, 7, 2**31, 2**53 + 1, 2**63 - 1])
def test_a_count_comes_back_exactly_as_an_int(retries, count):
    retries.set_count("f", count)

    assert retries.get_count("f") == count
    assert type(retries.get_count("f")) is int


def test_set_count_replaces_and_does_not_add(retries):
    retries.set_count("f", 5)
    retries.set_count("f", 2)

    assert retries.get_count("f") == 2


def test_reading_a_count_does_not_change_it(retries):
    retries.set_count("f", 3)

    assert [retries.get_count("f") for _ in range(3)] == [3, 3, 3]


def test_a_deleted_count_is_0_again(retries):
    retries.set_count("f", 5)
    retries.delete("f")

    assert retries.get_count("f") == 0


def test_deleting_an_unknown_flow_changes_nothing(retries):
    retries.set_count("f", 5)
    retries.delete("ghost")

    assert retries.get_count("f") == 5
    assert retries.get_count("ghost") == 0


def test_counts_of_different_flows_stay_apart(retries):
    retries.set_count("f1", 1)
    retries.set_count("f2", 2)
    retries.delete("f1")

    assert [retries.get_count("f1"), retries.get_count("f2")] == [0, 2]


def test_concurrent_sets_leave_one_of_the_counts_set(retries, race):
    def write(n: int) -> None:
        retries.set_count("f", n)
        retries.set_count(f"own-{n}", n)

    race([lambda n=n: write(n) for n in range(1, 17)])

    assert retries.get_count("f") in range(1, 17)
    assert [retries.get_count(f"own-{n}") for n in range(1, 17)] == list(range(1, 17))
