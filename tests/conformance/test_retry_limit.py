"""Rejections counted in the store: none lost, and the limit said in the same step."""

from __future__ import annotations

import pytest

from dir_redis import RetryCount, RetryLimitStorage

LARGEST = 2**63 - 1


def test_every_backend_counts(retries):
    assert isinstance(retries, RetryLimitStorage)


def test_the_first_rejection_is_1_and_each_is_one_more(retries):
    assert [retries.increment("f") for _ in range(3)] == [
        RetryCount(1, False),
        RetryCount(2, False),
        RetryCount(3, False),
    ]
    assert retries.get_count("f") == 3


def test_a_count_is_a_named_pair_of_an_int_and_a_bool(retries):
    counted = retries.increment("f", 1)

    assert (counted.count, counted.exhausted) == (1, True)
    assert [type(part) for part in counted] == [int, bool]


@pytest.mark.parametrize(
    ("limit", "exhausted"),
    [
        (None, [False, False, False]),
        (0, [True, True, True]),
        (1, [True, True, True]),
        (2, [False, True, True]),
        (3, [False, False, True]),
        (LARGEST, [False, False, False]),
    ],
)
def test_it_is_exhausted_from_the_limit_on(retries, limit, exhausted):
    assert [retries.increment("f", limit).exhausted for _ in range(3)] == exhausted


def test_it_goes_on_from_a_count_that_was_set_and_anew_after_delete(retries):
    retries.set_count("f", 7)
    assert retries.increment("f") == (8, False)

    retries.delete("f")
    assert retries.increment("f") == (1, False)

    retries.set_count("f", 0)
    assert retries.increment("f") == (1, False)


@pytest.mark.parametrize("count", [2**53, 2**53 + 1, LARGEST - 1])
def test_large_counts_are_exact(retries, count):
    retries.set_count("f", count)

    assert retries.increment("f", count + 1) == (count + 1, True)
    assert retries.get_count("f") == count + 1


def test_the_largest_count_stays(retries):
    retries.set_count("f", LARGEST)

    assert [retries.increment("f"), retries.increment("f", LARGEST)] == [
        (LARGEST, False),
        (LARGEST, True),
    ]
    assert retries.get_count("f") == LARGEST


@pytest.mark.parametrize("dfid", ["a:b", "{a}", "*", " ", "\0\n", "é😀", "é" * 512])
def test_flows_with_odd_ids_are_counted_apart(retries, dfid):
    retries.increment("f")
    retries.increment(dfid)

    assert [retries.increment(dfid).count, retries.get_count("f")] == [2, 1]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("",), ValueError),
        ((None,), TypeError),
        (("f", -1), ValueError),
        (("f", True), TypeError),
        (("f", "3"), TypeError),
        (("f", 2**63), ValueError),
    ],
)
def test_a_bad_argument_is_refused_and_nothing_is_counted(retries, arguments, error):
    with pytest.raises(error, match="dfid" if len(arguments) == 1 else "limit"):
        retries.increment(*arguments)

    assert retries.get_count("f") == 0


def test_no_count_of_many_threads_is_lost_or_given_twice(retries, race):
    counts = race([lambda: [retries.increment("f", 100) for _ in range(25)]] * 8)

    flat = sorted(counted for one in counts for counted in one)
    assert flat == [(n, n >= 100) for n in range(1, 201)]
    assert retries.get_count("f") == 200
