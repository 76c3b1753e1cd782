"""Reservations: sums without one flow, whole batches or nothing, and release of everything."""

from __future__ import annotations

import random
from collections import defaultdict
from decimal import Decimal

import pytest

from dir_redis import InsufficientCapacityError


def test_nothing_is_locked_at_first(locks):
    assert locks.get_locked_amount("seats", exclude_dfid="f") == 0.0


def test_a_locked_amount_is_a_float(locks):
    locks.acquire_batch("f", {"seats": 3}, 1)

    assert type(locks.get_locked_amount("seats", exclude_dfid="other")) is float
    assert type(locks.get_locked_amount("none", exclude_dfid="other")) is float


def test_acquire_returns_true_and_release_nothing(locks):
    assert locks.acquire_batch("f", {"seats": 1}, 1) is True
    assert locks.release("f") is None


def test_the_locked_amount_sums_over_all_holders_but_the_excluded(locks):
    locks.acquire_batch("f1", {"seats": 1.0}, 1)
    locks.acquire_batch("f2", {"seats": 20.0}, 1)
    locks.acquire_batch("f3", {"seats": 300.0}, 1)

    assert locks.get_locked_amount("seats", exclude_dfid="f1") == 320.0
    assert locks.get_locked_amount("seats", exclude_dfid="f2") == 301.0
    assert locks.get_locked_amount("seats", exclude_dfid="nobody") == 321.0


def test_one_resource_is_not_counted_for_another(locks):
    locks.acquire_batch("f1", {"seats": 1.0, "quota": 2.0}, 1)

    assert locks.get_locked_amount("seats", exclude_dfid="f2") == 1.0
    assert locks.get_locked_amount("quota", exclude_dfid="f2") == 2.0


def test_acquiring_a_resource_again_replaces_that_amount(locks):
    locks.acquire_batch("f", {"seats": 5.0}, 1)
    locks.acquire_batch("f", {"seats": 2.0}, 1)
    assert locks.get_locked_amount("seats", exclude_dfid="other") == 2.0

    locks.acquire_batch("f", {"seats": 7.0}, 1)
    assert locks.get_locked_amount("seats", exclude_dfid="other") == 7.0


def test_acquiring_again_keeps_the_flows_other_resources(locks):
    locks.acquire_batch("f", {"seats": 5.0, "quota": 3.0}, 1)
    locks.acquire_batch("f", {"seats": 2.0, "capital": 1.0}, 1)

    held = [locks.get_locked_amount(rid, "other") for rid in ("seats", "quota", "capital")]
    assert held == [2.0, 3.0, 1.0]


def test_release_frees_all_that_the_flow_holds_and_nothing_of_others(locks):
    locks.acquire_batch("f1", {"seats": 1.0, "quota": 2.0}, 1)
    locks.acquire_batch("f1", {"capital": 3.0}, 1)
    locks.acquire_batch("f2", {"seats": 10.0, "quota": 20.0}, 1)
    locks.release("f1")

    held = [locks.get_locked_amount(rid, "nobody") for rid in ("seats", "quota", "capital")]
    assert held == [10.0, 20.0, 0.0]


def test_releasing_twice_or_an_unknown_flow_changes_nothing(locks):
    locks.acquire_batch("f1", {"seats": 1.0}, 1)
    locks.acquire_batch("f2", {"seats": 10.0}, 1)
    locks.release("f1")
    locks.release("f1")
    locks.release("ghost")

    assert locks.get_locked_amount("seats", exclude_dfid="nobody") == 10.0


def test_a_timeout_of_0_still_tries_once(locks):
    assert locks.acquire_batch("f", {"seats": 1.0}, 0) is True
    assert locks.get_locked_amount("seats", exclude_dfid="other") == 1.0


@pytest.mark.parametrize("timeout_sec", [0.0, 0.001, 1, 2.5, 1e9, 1e300])
def test_a_timeout_is_any_finite_number_of_seconds_from_0(locks, timeout_sec):
    assert locks.acquire_batch("f", {"seats": 1.0}, timeout_sec) is True


def test_a_zero_amount_is_acquired_and_holds_nothing(locks):
    assert locks.acquire_batch("f", {"seats": 0.0, "quota": 0}, 1) is True

    assert locks.get_locked_amount("seats", exclude_dfid="other") == 0.0
    assert locks.get_locked_amount("quota", exclude_dfid="other") == 0.0


def test_acquiring_zero_lets_go_of_a_held_resource_and_keeps_the_others(locks):
    locks.acquire_batch("f", {"seats": 5.0, "quota": 3.0}, 1)
    locks.acquire_batch("f", {"seats": 0.0}, 1)

    assert locks.get_locked_amount("seats", exclude_dfid="other") == 0.0
    assert locks.get_locked_amount("quota", exclude_dfid="other") == 3.0


def test_a_negative_zero_is_zero(locks):
    locks.acquire_batch("f", {"seats": -0.0}, 1)

    assert str(locks.get_locked_amount("seats", exclude_dfid="other")) == "0.0"


def test_an_empty_batch_succeeds_and_changes_nothing(locks):
    locks.acquire_batch("f", {"seats": 5.0}, 1)

    assert locks.acquire_batch("f", {}, 1) is True
    assert locks.acquire_batch("new", {}, 0) is True
    assert locks.get_locked_amount("seats", exclude_dfid="other") == 5.0


def test_an_undeclared_resource_is_unlimited(locks):
    for n in range(10):
        assert locks.acquire_batch(f"f{n}", {"seats": 1e9}, 1) is True

    assert locks.get_locked_amount("seats", exclude_dfid="nobody") == 1e10


def test_a_batch_in_which_one_resource_is_short_reserves_nothing(locks):
    locks.acquire_batch("f", {"a": 1.0}, 1)
    locks.set_capacity("m", 5)

    with pytest.raises(InsufficientCapacityError):
        locks.acquire_batch("f", {"a": 2.0, "m": 6.0, "z": 3.0}, 1)
    assert [locks.get_locked_amount(rid, "other") for rid in "amz"] == [1.0, 0.0, 0.0]


def test_a_batch_in_which_one_amount_is_bad_reserves_nothing(locks):
    locks.acquire_batch("f", {"a": 1.0}, 1)

    with pytest.raises(ValueError, match="'m'"):
        locks.acquire_batch("f", {"a": 2.0, "m": -1.0, "z": 3.0}, 1)
    assert [locks.get_locked_amount(rid, "other") for rid in "amz"] == [1.0, 0.0, 0.0]


def test_the_order_of_a_batch_does_not_matter(locks):
    locks.acquire_batch("f", {"z": 1.0, "a": 2.0, "m": 3.0}, 1)

    assert [locks.get_locked_amount(rid, "other") for rid in "amz"] == [2.0, 3.0, 1.0]


def test_changing_the_batch_afterwards_changes_nothing_and_it_is_left_as_it_was(locks):
    batch = {"z": 1.0, "a": 2.0}
    capacities = {"z": 5.0}
    locks.acquire_batch("f", batch, 1, capacities=capacities)
    assert (list(batch.items()), capacities) == ([("z", 1.0), ("a", 2.0)], {"z": 5.0})

    batch["z"] = 9.0
    assert locks.get_locked_amount("z", exclude_dfid="other") == 1.0


def test_a_batch_of_3000_resources_is_reserved_and_released_whole(locks):
    batch = {f"r{n}": float(n) for n in range(3000)}
    assert locks.acquire_batch("f", batch, 30) is True

    for n in (0, 1, 1499, 2999):
        assert locks.get_locked_amount(f"r{n}", exclude_dfid="other") == float(n)
    locks.release("f")
    for n in (0, 1, 1499, 2999):
        assert locks.get_locked_amount(f"r{n}", exclude_dfid="other") == 0.0


def test_a_batch_of_3000_resources_of_which_the_last_is_short_reserves_nothing(locks):
    batch = {f"r{n:04}": 1.0 for n in range(3000)}

    with pytest.raises(InsufficientCapacityError) as caught:
        locks.acquire_batch("f", batch, 30, capacities={**dict.fromkeys(batch, 1), "r2999": 0.5})
    assert caught.value.resource_id == "r2999"
    for rid in ("r0000", "r1500", "r2998", "r2999"):
        assert locks.get_locked_amount(rid, exclude_dfid="other") == 0.0


def test_2000_random_acquires_and_releases_agree_with_exact_sums_and_leave_exactly_0(locks):
    dice = random.Random(20261123)
    flows = [f"f{n}" for n in range(6)]
    resources = [f"r{n}" for n in range(5)]
    held: defaultdict[str, dict[str, Decimal]] = defaultdict(dict)

    for turn in range(2000):
        dfid = dice.choice(flows)
        if dice.random() < 0.2:
            locks.release(dfid)
            held.pop(dfid, None)
        else:
            batch = {
                rid: dice.choice([round(dice.uniform(0, 1000), 8), 0.1, 0.2, 1e-8, 0.0, 7])
                for rid in dice.sample(resources, dice.randint(1, 3))
            }
            assert locks.acquire_batch(dfid, batch, 30) is True
            held[dfid].update({rid: Decimal(repr(amount)) for rid, amount in batch.items()})
        if turn % 100 == 0:
            for rid in resources:
                total = sum((holding.get(rid, Decimal(0)) for holding in held.values()), Decimal(0))
                assert locks.get_locked_amount(rid, exclude_dfid="nobody") == float(total)

    for dfid in flows:
        locks.release(dfid)
    left = [str(locks.get_locked_amount(rid, exclude_dfid="nobody")) for rid in resources]
    assert left == ["0.0"] * 5
