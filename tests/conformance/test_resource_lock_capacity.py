"""Capacities: declared or brought along, checked in the step that reserves."""

from __future__ import annotations

from decimal import Decimal

import pytest

from dir_redis import InsufficientCapacityError, StorageError


def refusal(locks, dfid, resources, **how):
    with pytest.raises(InsufficientCapacityError) as caught:
        locks.acquire_batch(dfid, resources, 1, **how)
    return caught.value


def test_an_undeclared_resource_has_no_capacity(locks):
    assert locks.get_capacity("seats") is None


def test_set_capacity_returns_nothing(locks):
    assert locks.set_capacity("seats", 1) is None


@pytest.mark.parametrize(
    ("given", "returned"),
    [(100, "100"), (0.3, "0.3"), (Decimal("0.10000001"), "0.10000001"), (0, "0"), (0.0, "0")],
)
def test_a_declared_capacity_is_returned_as_an_exact_decimal(locks, given, returned):
    locks.set_capacity("seats", given)

    assert locks.get_capacity("seats") == Decimal(returned)
    assert type(locks.get_capacity("seats")) is Decimal
    assert locks.get_capacity("other") is None


def test_a_capacity_can_be_changed_and_removed(locks):
    locks.set_capacity("seats", 5)
    locks.set_capacity("seats", 7.5)
    assert locks.get_capacity("seats") == Decimal("7.5")

    locks.set_capacity("seats", None)
    assert locks.get_capacity("seats") is None


def test_removing_an_undeclared_capacity_is_fine(locks):
    locks.set_capacity("seats", None)

    assert locks.get_capacity("seats") is None


def test_a_batch_may_fill_a_capacity_exactly_and_not_exceed_it(locks):
    locks.set_capacity("seats", 10)

    assert locks.acquire_batch("f1", {"seats": 4}, 1) is True
    assert locks.acquire_batch("f2", {"seats": 6}, 1) is True
    refusal(locks, "f3", {"seats": 0.00000001})


def test_insufficient_capacity_carries_what_was_asked_and_what_is_left_exactly(locks):
    locks.set_capacity("seats", 10)
    locks.acquire_batch("f1", {"seats": 0.1}, 1)
    error = refusal(locks, "f2", {"seats": 9.95})

    assert isinstance(error, StorageError)
    assert error.resource_id == "seats"
    assert (error.requested, error.available) == (Decimal("9.95"), Decimal("9.9"))
    assert (type(error.requested), type(error.available)) == (Decimal, Decimal)
    assert "seats" in str(error)


def test_the_first_short_resource_in_sorted_order_is_named(locks):
    for rid in ("c", "b", "a"):
        locks.set_capacity(rid, 1)

    assert refusal(locks, "f", {"c": 2, "a": 1, "b": 3}).resource_id == "b"


def test_sorted_order_is_the_order_of_code_points(locks):
    for rid in ("\uffff", "\U0001f600", "Z", "a"):
        locks.set_capacity(rid, 1)

    assert refusal(locks, "f", {"\U0001f600": 2, "\uffff": 2}).resource_id == "\uffff"
    assert refusal(locks, "f", {"a": 2, "Z": 2}).resource_id == "Z"


def test_what_the_flow_holds_itself_leaves_room_for_its_replacement(locks):
    locks.set_capacity("seats", 10)
    locks.acquire_batch("f", {"seats": 8}, 1)

    assert locks.acquire_batch("f", {"seats": 10}, 1) is True
    error = refusal(locks, "f", {"seats": 11})
    assert error.available == Decimal(10)
    assert locks.get_locked_amount("seats", exclude_dfid="other") == 10.0


def test_release_gives_the_room_back(locks):
    locks.set_capacity("seats", 10)
    locks.acquire_batch("f1", {"seats": 10}, 1)
    refusal(locks, "f2", {"seats": 1})
    locks.release("f1")

    assert locks.acquire_batch("f2", {"seats": 10}, 1) is True


def test_a_capacity_of_0_admits_nothing_but_0(locks):
    locks.set_capacity("seats", 0)

    refusal(locks, "f", {"seats": 0.00000001})
    assert locks.acquire_batch("f", {"seats": 0}, 1) is True


def test_a_lowered_capacity_leaves_what_is_held_and_the_rest_is_negative(locks):
    locks.acquire_batch("f1", {"seats": 10}, 1)
    locks.set_capacity("seats", 4)
    error = refusal(locks, "f2", {"seats": 1})

    assert (error.requested, error.available) == (Decimal(1), Decimal(-6))
    assert locks.get_locked_amount("seats", exclude_dfid="f2") == 10.0


def test_a_raised_or_removed_capacity_admits_more(locks):
    locks.set_capacity("seats", 1)
    refusal(locks, "f", {"seats": 2})
    locks.set_capacity("seats", 2)
    assert locks.acquire_batch("f", {"seats": 2}, 1) is True

    locks.set_capacity("seats", None)
    assert locks.acquire_batch("f", {"seats": 1000}, 1) is True


def test_release_of_all_holders_leaves_the_declared_capacity(locks):
    locks.set_capacity("seats", 5)
    locks.acquire_batch("f", {"seats": 5}, 1)
    locks.release("f")

    assert locks.get_capacity("seats") == Decimal(5)


def test_a_capacity_brought_with_the_call_is_checked(locks):
    locks.acquire_batch("f1", {"seats": 3}, 1)

    assert locks.acquire_batch("f2", {"seats": 2}, 1, capacities={"seats": 5}) is True
    error = refusal(locks, "f3", {"seats": 0.5}, capacities={"seats": Decimal("5.25")})
    assert (error.requested, error.available) == (Decimal("0.5"), Decimal("0.25"))


def test_a_capacity_brought_with_the_call_counts_for_that_call_alone(locks):
    locks.acquire_batch("f1", {"seats": 3}, 1, capacities={"seats": 3})

    assert locks.get_capacity("seats") is None
    assert locks.acquire_batch("f2", {"seats": 100}, 1) is True


@pytest.mark.parametrize(("declared", "brought"), [(5, 8), (8, 5)])
def test_of_a_declared_and_a_brought_capacity_the_lower_counts(locks, declared, brought):
    locks.set_capacity("seats", declared)

    assert refusal(locks, "f", {"seats": 6}, capacities={"seats": brought}).available == Decimal(5)
    assert locks.acquire_batch("f", {"seats": 5}, 1, capacities={"seats": brought}) is True
    assert locks.get_capacity("seats") == Decimal(declared)


def test_capacities_may_cover_part_of_the_batch_or_nothing(locks):
    assert locks.acquire_batch("f", {"a": 9, "b": 9}, 1, capacities={"a": 9}) is True
    assert locks.acquire_batch("f", {"a": 9, "b": 9}, 1, capacities={}) is True
    assert locks.acquire_batch("f", {"a": 9, "b": 9}, 1, capacities=None) is True


def test_a_capacity_for_a_resource_not_in_the_batch_is_a_value_error(locks):
    with pytest.raises(ValueError, match="seat5"):
        locks.acquire_batch("f", {"seats": 1}, 1, capacities={"seats": 1, "seat5": 1})
    with pytest.raises(ValueError, match="seat5"):
        locks.acquire_batch("f", {}, 1, capacities={"seat5": 1})
    assert locks.get_locked_amount("seats", exclude_dfid="other") == 0.0


def test_a_short_resource_frees_nothing_that_was_held(locks):
    locks.acquire_batch("f", {"a": 1, "b": 1}, 1)
    locks.set_capacity("b", 1)
    refusal(locks, "f", {"a": 0, "b": 2})

    assert [locks.get_locked_amount(rid, "other") for rid in "ab"] == [1.0, 1.0]
