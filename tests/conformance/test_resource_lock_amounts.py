"""Amounts are exact to 8 decimal places, whatever type they come in."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from dir_redis import InsufficientCapacityError

LARGEST = Decimal("92233720368.54775807")
ONE_MORE = Decimal("92233720368.54775808")
SMALLEST = Decimal("0.00000001")


def test_a_tenth_and_two_tenths_fill_a_capacity_of_three_tenths(locks):
    locks.set_capacity("seats", 0.3)

    assert locks.acquire_batch("f1", {"seats": 0.1}, 1) is True
    assert locks.acquire_batch("f2", {"seats": 0.2}, 1) is True
    assert locks.get_locked_amount("seats", exclude_dfid="nobody") == 0.3
    with pytest.raises(InsufficientCapacityError):
        locks.acquire_batch("f3", {"seats": SMALLEST}, 1)


def test_ten_tenths_are_exactly_one_and_their_release_leaves_exactly_0(locks):
    for n in range(10):
        locks.acquire_batch(f"f{n}", {"seats": 0.1}, 1)
    assert locks.get_locked_amount("seats", exclude_dfid="nobody") == 1.0

    for n in range(10):
        locks.release(f"f{n}")
    assert locks.get_locked_amount("seats", exclude_dfid="nobody") == 0.0


@pytest.mark.parametrize(
    ("amount", "kept"),
    [
        (Decimal("0.000000005"), "0"),
        (Decimal("0.0000000050000000001"), "0.00000001"),
        (Decimal("0.000000015"), "0.00000002"),
        (Decimal("0.000000025"), "0.00000002"),
        (Decimal("0.0000000249999"), "0.00000002"),
        (Decimal("1e-400"), "0"),
        (5e-9, "0"),
        (1.5e-8, "0.00000002"),
        (2.5e-8, "0.00000002"),
        (5e-324, "0"),
        (0.1, "0.1"),
        (1 / 3, "0.33333333"),
        (2 / 3, "0.66666667"),
        (123456789.123456789, "123456789.12345679"),
        (Decimal("1.10"), "1.1"),
        (Decimal("12E+3"), "12000"),
        (7, "7"),
        (Fraction(1, 4), "0.25"),
    ],
)
def test_more_than_8_places_are_rounded_half_even(locks, amount, kept):
    locks.set_capacity("seats", amount)
    assert locks.get_capacity("seats") == Decimal(kept)

    locks.acquire_batch("f", {"quota": amount}, 1)
    assert locks.get_locked_amount("quota", exclude_dfid="other") == float(kept)


def test_a_rounded_amount_is_what_a_refusal_reports(locks):
    locks.set_capacity("seats", 0)

    with pytest.raises(InsufficientCapacityError) as caught:
        locks.acquire_batch("f", {"seats": Decimal("0.000000015")}, 1)
    assert caught.value.requested == Decimal("0.00000002")


def test_what_rounds_to_0_is_admitted_where_there_is_no_room(locks):
    locks.set_capacity("seats", 0)

    assert locks.acquire_batch("f", {"seats": Decimal("0.000000005")}, 1) is True
    assert locks.get_locked_amount("seats", exclude_dfid="other") == 0.0


def test_the_largest_amount_that_64_bits_hold_is_kept_exactly(locks):
    locks.set_capacity("seats", LARGEST)
    assert locks.get_capacity("seats") == LARGEST

    assert locks.acquire_batch("f1", {"seats": LARGEST}, 1) is True
    assert locks.get_locked_amount("seats", exclude_dfid="other") == float(LARGEST)
    with pytest.raises(InsufficientCapacityError) as caught:
        locks.acquire_batch("f2", {"seats": SMALLEST}, 1)
    assert caught.value.available == 0
    assert locks.acquire_batch("f1", {"seats": LARGEST - SMALLEST}, 1) is True
    assert locks.acquire_batch("f2", {"seats": SMALLEST}, 1) is True


@pytest.mark.parametrize("amount", [ONE_MORE, 92233720369, 1e11, Decimal("1e400")])
def test_one_unit_more_than_64_bits_hold_is_a_value_error_naming_the_resource(locks, amount):
    with pytest.raises(ValueError, match="seats"):
        locks.acquire_batch("f", {"seats": amount}, 1)
    with pytest.raises(ValueError, match="seats"):
        locks.set_capacity("seats", amount)
    with pytest.raises(ValueError, match="seats"):
        locks.acquire_batch("f", {"seats": 1}, 1, capacities={"seats": amount})

    assert locks.get_locked_amount("seats", exclude_dfid="other") == 0.0
    assert locks.get_capacity("seats") is None


def test_the_largest_amount_rounds_before_it_is_compared(locks):
    locks.set_capacity("seats", LARGEST + Decimal("0.000000004"))

    assert locks.get_capacity("seats") == LARGEST
    with pytest.raises(ValueError, match="seats"):
        locks.set_capacity("seats", LARGEST + Decimal("0.000000005"))


def test_sums_above_2_to_the_53_units_are_compared_exactly(locks):
    full = Decimal("90071992.54740993")  # 2**53 + 1 units
    locks.set_capacity("seats", full)
    locks.acquire_batch("f1", {"seats": full - SMALLEST - SMALLEST}, 1)

    assert locks.acquire_batch("f2", {"seats": SMALLEST}, 1) is True
    assert locks.acquire_batch("f3", {"seats": SMALLEST}, 1) is True
    with pytest.raises(InsufficientCapacityError) as caught:
        locks.acquire_batch("f4", {"seats": SMALLEST}, 1)
    assert (caught.value.requested, caught.value.available) == (SMALLEST, 0)


def test_a_growth_by_one_unit_above_2_to_the_53_is_noticed(locks):
    locks.acquire_batch("f1", {"seats": Decimal("90071992.54740992")}, 1)  # 2**53 units
    locks.get_locked_amount("seats", exclude_dfid="f2")
    locks.acquire_batch("f1", {"seats": Decimal("90071992.54740993")}, 1)

    assert locks.acquire_batch("f2", {"seats": 1}, 1) is False


def test_a_large_holding_and_a_small_one_are_told_apart_after_release(locks):
    locks.acquire_batch("big", {"seats": Decimal("92233720368.5")}, 1)
    locks.acquire_batch("small", {"seats": SMALLEST}, 1)
    locks.release("big")

    assert locks.get_locked_amount("seats", exclude_dfid="other") == 1e-8


def test_a_locked_amount_is_the_float_nearest_to_the_exact_sum(locks):
    locks.acquire_batch("f1", {"seats": Decimal("90000000000.00000001")}, 1)
    locks.acquire_batch("f2", {"seats": Decimal("0.12345678")}, 1)

    assert locks.get_locked_amount("seats", "nobody") == float("90000000000.12345679")


def test_a_total_beyond_64_bits_is_a_value_error_naming_the_resource(locks):
    locks.acquire_batch("f1", {"seats": LARGEST}, 1)

    with pytest.raises(ValueError, match="seats"):
        locks.acquire_batch("f2", {"quota": 1, "seats": SMALLEST}, 1)
    assert locks.get_locked_amount("seats", exclude_dfid="f1") == 0.0
    assert locks.get_locked_amount("quota", exclude_dfid="f1") == 0.0
    assert locks.acquire_batch("f1", {"seats": LARGEST}, 1) is True


@pytest.mark.parametrize(
    "amount",
    [
        float("nan"),
        float("inf"),
        float("-inf"),
        -1,
        -1e-9,
        Decimal("-0.000000001"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        True,
        False,
        "1",
        b"1",
        None,
        [1],
        1j,
    ],
    ids=repr,
)
def test_what_is_no_amount_is_a_value_error_naming_the_resource(locks, amount):
    locks.acquire_batch("f", {"seats": 2}, 1)

    with pytest.raises(ValueError, match="seats"):
        locks.acquire_batch("f", {"quota": 1, "seats": amount}, 1)
    with pytest.raises(ValueError, match="seats"):
        locks.acquire_batch("f", {"seats": 1}, 1, capacities={"seats": amount})
    assert locks.get_locked_amount("seats", exclude_dfid="other") == 2.0
    assert locks.get_locked_amount("quota", exclude_dfid="other") == 0.0
