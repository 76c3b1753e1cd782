"""The unmodified manager is safe: an acquire is refused if others grew since it was told."""

from __future__ import annotations

import asyncio

import pytest

from dir_redis import InsufficientCapacityError


def test_an_acquire_is_refused_if_others_grew_since_they_were_read(locks):
    assert locks.get_locked_amount("seats", exclude_dfid="f") == 0.0
    locks.acquire_batch("other", {"seats": 1}, 1)

    assert locks.acquire_batch("f", {"seats": 5}, 1) is False
    assert locks.get_locked_amount("seats", exclude_dfid="nobody") == 1.0


def test_a_refused_batch_reserves_nothing_and_keeps_what_was_held(locks):
    locks.acquire_batch("f", {"a": 1, "b": 1}, 1)
    locks.get_locked_amount("b", exclude_dfid="f")
    locks.acquire_batch("other", {"b": 10}, 1)

    assert locks.acquire_batch("f", {"a": 2, "b": 2, "c": 2}, 1) is False
    assert [locks.get_locked_amount(rid, "other") for rid in "abc"] == [1.0, 1.0, 0.0]


def test_an_acquire_is_refused_if_any_of_its_resources_grew(locks):
    for rid in "abc":
        locks.get_locked_amount(rid, exclude_dfid="f")
    locks.acquire_batch("other", {"c": 0.00000001}, 1)

    assert locks.acquire_batch("f", {"a": 1, "b": 1, "c": 1}, 1) is False


def test_an_acquire_is_admitted_if_nothing_changed(locks):
    locks.acquire_batch("other", {"seats": 1}, 1)
    locks.get_locked_amount("seats", exclude_dfid="f")

    assert locks.acquire_batch("f", {"seats": 5}, 1) is True


def test_an_acquire_is_admitted_if_others_shrank(locks):
    locks.acquire_batch("other", {"seats": 5}, 1)
    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.acquire_batch("other", {"seats": 4}, 1)
    assert locks.acquire_batch("f", {"seats": 1}, 1) is True

    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.release("other")
    assert locks.acquire_batch("f", {"seats": 2}, 1) is True


def test_it_is_the_sum_of_the_others_that_counts(locks):
    locks.acquire_batch("other1", {"seats": 5}, 1)
    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.release("other1")
    locks.acquire_batch("other2", {"seats": 5}, 1)

    assert locks.acquire_batch("f", {"seats": 1}, 1) is True


def test_what_the_flow_holds_itself_is_not_counted_as_growth(locks):
    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.acquire_batch("f", {"seats": 5}, 1)
    locks.get_locked_amount("seats", exclude_dfid="f")

    assert locks.acquire_batch("f", {"seats": 9}, 1) is True


def test_reading_again_brings_the_caller_up_to_date(locks):
    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.acquire_batch("other", {"seats": 1}, 1)
    locks.get_locked_amount("seats", exclude_dfid="f")

    assert locks.acquire_batch("f", {"seats": 5}, 1) is True


def test_what_was_told_is_forgotten_after_one_refused_acquire(locks):
    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.acquire_batch("other", {"seats": 1}, 1)
    assert locks.acquire_batch("f", {"seats": 5}, 1) is False

    assert locks.acquire_batch("f", {"seats": 5}, 1) is True


def test_what_was_told_is_forgotten_after_one_successful_acquire(locks):
    locks.get_locked_amount("seats", exclude_dfid="f")
    assert locks.acquire_batch("f", {"seats": 5}, 1) is True
    locks.acquire_batch("other", {"seats": 1}, 1)

    assert locks.acquire_batch("f", {"seats": 6}, 1) is True


def test_what_was_told_is_forgotten_after_an_acquire_of_another_resource(locks):
    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.acquire_batch("f", {"quota": 1}, 1)
    locks.acquire_batch("other", {"seats": 1}, 1)

    assert locks.acquire_batch("f", {"seats": 5}, 1) is True


def test_what_was_told_is_forgotten_after_an_acquire_that_found_too_little(locks):
    locks.get_locked_amount("seats", exclude_dfid="f")
    with pytest.raises(InsufficientCapacityError):
        locks.acquire_batch("f", {"seats": 5}, 1, capacities={"seats": 4})
    locks.acquire_batch("other", {"seats": 1}, 1)

    assert locks.acquire_batch("f", {"seats": 5}, 1) is True


def test_what_was_told_is_forgotten_after_a_release(locks):
    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.acquire_batch("other", {"seats": 1}, 1)
    locks.release("f")

    assert locks.acquire_batch("f", {"seats": 5}, 1) is True


def test_an_acquire_or_release_of_another_flow_forgets_nothing(locks):
    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.acquire_batch("other", {"seats": 1}, 1)
    locks.release("another")

    assert locks.acquire_batch("f", {"seats": 5}, 1) is False


def test_what_was_told_for_one_flow_does_not_hold_back_another(locks):
    locks.get_locked_amount("seats", exclude_dfid="f1")
    locks.acquire_batch("other", {"seats": 1}, 1)

    assert locks.acquire_batch("f2", {"seats": 5}, 1) is True


def test_a_resource_that_was_not_read_is_not_checked(locks):
    locks.get_locked_amount("a", exclude_dfid="f")
    locks.acquire_batch("other", {"b": 1}, 1)

    assert locks.acquire_batch("f", {"a": 5, "b": 5}, 1) is True


def test_a_resource_that_was_read_but_is_not_acquired_is_not_checked(locks):
    locks.get_locked_amount("a", exclude_dfid="f")
    locks.get_locked_amount("b", exclude_dfid="f")
    locks.acquire_batch("other", {"b": 1}, 1)

    assert locks.acquire_batch("f", {"a": 5}, 1) is True


def test_stale_wins_over_insufficient(locks):
    locks.set_capacity("seats", 5)
    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.acquire_batch("other", {"seats": 5}, 1)

    assert locks.acquire_batch("f", {"seats": 5}, 1) is False
    with pytest.raises(InsufficientCapacityError):
        locks.acquire_batch("f", {"seats": 5}, 1)


def test_stale_in_one_resource_wins_over_insufficient_in_an_earlier_one(locks):
    locks.get_locked_amount("z", exclude_dfid="f")
    locks.acquire_batch("other", {"z": 1}, 1)

    assert locks.acquire_batch("f", {"a": 5, "z": 1}, 1, capacities={"a": 1}) is False


def test_what_another_thread_was_told_does_not_hold_back_this_one(locks, on_another_thread):
    on_another_thread(lambda: locks.get_locked_amount("seats", exclude_dfid="f"))
    locks.acquire_batch("other", {"seats": 1}, 1)

    assert locks.acquire_batch("f", {"seats": 5}, 1) is True


def test_what_this_thread_was_told_does_not_hold_back_another(locks, on_another_thread):
    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.acquire_batch("other", {"seats": 1}, 1)

    assert on_another_thread(lambda: locks.acquire_batch("f", {"seats": 5}, 1)) is True


@pytest.mark.parametrize("end", ["acquire", "release"])
def test_another_threads_acquire_or_release_forgets_nothing(locks, on_another_thread, end):
    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.acquire_batch("other", {"seats": 1}, 1)
    if end == "acquire":
        on_another_thread(lambda: locks.acquire_batch("f", {"seats": 5}, 1))
    else:
        on_another_thread(lambda: locks.release("f"))

    assert locks.acquire_batch("f", {"seats": 5}, 1) is False


def test_growth_that_came_from_another_thread_is_noticed(locks, on_another_thread):
    locks.get_locked_amount("seats", exclude_dfid="f")
    on_another_thread(lambda: locks.acquire_batch("other", {"seats": 1}, 1))

    assert locks.acquire_batch("f", {"seats": 5}, 1) is False


def test_what_one_task_was_told_does_not_hold_back_another_of_the_same_thread(locks):
    async def read() -> None:
        locks.get_locked_amount("seats", exclude_dfid="f")

    async def acquire() -> bool:
        return locks.acquire_batch("f", {"seats": 5}, 1)

    async def scene() -> bool:
        await asyncio.create_task(read())
        locks.acquire_batch("other", {"seats": 1}, 1)
        return await asyncio.create_task(acquire())

    assert asyncio.run(scene()) is True


def test_what_a_task_was_told_holds_it_back_across_its_awaits(locks):
    async def manager(told: asyncio.Event, grown: asyncio.Event) -> bool:
        locks.get_locked_amount("seats", exclude_dfid="f")
        told.set()
        await grown.wait()
        return locks.acquire_batch("f", {"seats": 5}, 1)

    async def scene() -> bool:
        told, grown = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(manager(told, grown))
        await told.wait()
        locks.acquire_batch("other", {"seats": 1}, 1)
        grown.set()
        return await task

    assert asyncio.run(scene()) is False


def test_what_the_thread_was_told_outside_a_task_does_not_hold_back_a_task(locks):
    async def acquire() -> bool:
        return locks.acquire_batch("f", {"seats": 5}, 1)

    locks.get_locked_amount("seats", exclude_dfid="f")
    locks.acquire_batch("other", {"seats": 1}, 1)

    assert asyncio.run(acquire()) is True
    assert locks.acquire_batch("f", {"seats": 5}, 1) is False
