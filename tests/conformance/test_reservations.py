"""Reservations with leases: fenced by tokens, ended by time, waited for in order."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from dir_redis import (
    Holder,
    InsufficientCapacityError,
    LeaseLostError,
    LeaseStorage,
    Reservation,
    ResourceContentionError,
    StorageUnavailableError,
)

# Leases: one that is waited out, one in which a busy machine still makes a few calls, one for ever.
SOON = 0.05
BRIEF = 0.6
LONG = 3600.0
PATIENCE_SECONDS = 30.0

ODD_IDS = ("a", "a:b", "1:a", "{a}", "*", "\0", " \n", "😀", "é" * 512, "0 0 1 1 1:a")


def until(condition: Callable[[], object]) -> None:
    """Wait for what must come true by itself."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def locked(locks, resource_id, dfid="nobody"):
    return locks.get_locked_amount(resource_id, exclude_dfid=dfid)


def amounts_held(locks, resource_id):
    return {holder.dfid: holder.amount for holder in locks.holders(resource_id)}


def queue_is_joined(locks, resource_id):
    """Whether somebody waits for a resource that is unlimited; see ``Waiting``."""
    if locks.acquire_batch("passer-by", {resource_id: 1}, 10):
        locks.release("passer-by")
        return False
    return True


class Waiting:
    """Callers that wait, each on a thread of its own.

    Each waits for a door of its own too, an unlimited resource that nobody else wants: while the
    caller waits, and only then, a passer-by cannot acquire it.
    """

    def __init__(self, locks: LeaseStorage, pool: ThreadPoolExecutor) -> None:
        self._locks = locks
        self._pool = pool
        self._numbers = itertools.count()

    def __call__(
        self,
        dfid: str,
        resources: dict[str, object],
        *,
        wait_sec: float = PATIENCE_SECONDS,
        **how: object,
    ) -> Future[Reservation]:
        """Begin to wait, and return once the caller stands in the queue."""
        door = f"door {next(self._numbers)}"
        wanted = {**resources, door: 1}
        future = self._pool.submit(
            self._locks.reserve,
            dfid,
            wanted,
            wait_sec=wait_sec,
            **how,  # type: ignore[arg-type]
        )
        until(lambda: future.done() or queue_is_joined(self._locks, door))
        return future


@pytest.fixture
def waiting(locks) -> Iterator[Waiting]:
    with ThreadPoolExecutor(16) as pool:
        yield Waiting(locks, pool)


def granted(future: Future[Reservation]) -> Reservation:
    return future.result(timeout=PATIENCE_SECONDS)


def test_the_storage_is_a_lease_storage(locks):
    assert isinstance(locks, LeaseStorage)


# Granting


def test_a_reservation_says_what_was_granted(locks):
    reservation = locks.reserve("f", {"seats": 2, "quota": 0.1, "none": 0})

    assert type(reservation) is Reservation
    assert reservation.dfid == "f"
    assert reservation.resources == {
        "seats": Decimal(2),
        "quota": Decimal("0.1"),
        "none": Decimal(0),
    }
    assert {type(amount) for amount in reservation.resources.values()} == {Decimal}
    assert type(reservation.fencing_token) is int
    assert reservation.fencing_token > 0
    assert reservation.expires_at is None
    assert not reservation.lost


def test_what_is_reserved_is_locked_for_others(locks):
    locks.reserve("f", {"seats": 2, "quota": 0.1})

    assert [locked(locks, rid) for rid in ("seats", "quota")] == [2.0, 0.1]
    assert locked(locks, "seats", "f") == 0.0


def test_a_lease_ends_at_an_aware_moment_of_the_stores_clock(locks):
    first = locks.reserve("f", {"seats": 1}, lease_sec=LONG).expires_at
    second = locks.reserve("g", {"seats": 1}, lease_sec=LONG + 1000).expires_at

    assert first.tzinfo is UTC
    assert abs(first - timedelta(seconds=LONG) - datetime.now(UTC)) < timedelta(hours=1)
    assert timedelta(seconds=1000) <= second - first < timedelta(seconds=1000 + PATIENCE_SECONDS)


def test_reserving_a_resource_again_replaces_that_amount_and_keeps_the_others(locks):
    locks.reserve("f", {"a": 5, "b": 3})
    locks.reserve("f", {"a": 2, "c": 1})

    assert [locked(locks, rid) for rid in "abc"] == [2.0, 3.0, 1.0]


def test_reserving_and_acquiring_make_one_reservation(locks):
    locks.acquire_batch("f", {"a": 1}, 1)
    locks.reserve("f", {"b": 2})
    locks.acquire_batch("f", {"c": 3}, 1)
    locks.release("f")

    assert [locked(locks, rid) for rid in "abc"] == [0.0, 0.0, 0.0]


def test_a_zero_amount_lets_go_of_a_held_resource(locks):
    locks.reserve("f", {"a": 5, "b": 3})
    locks.reserve("f", {"a": 0})

    assert locks.holders("a") == []
    assert locked(locks, "b") == 3.0


def test_reserving_only_zeros_is_a_reservation_that_can_be_renewed_and_released(locks):
    reservation = locks.reserve("f", {"a": 0})

    reservation.renew(LONG)
    reservation.release()
    with pytest.raises(LeaseLostError):
        locks.renew("f", reservation.fencing_token, LONG)


def test_a_request_for_nothing_is_a_value_error(locks):
    with pytest.raises(ValueError, match=r"^resources must name at least one resource$"):
        locks.reserve("f", {})


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), -1, True, "1", None, 1e300])
def test_a_bad_amount_is_a_value_error_and_nothing_is_reserved(locks, amount):
    with pytest.raises(ValueError, match="'m'"):
        locks.reserve("f", {"a": 1, "m": amount, "z": 1})

    assert [locked(locks, rid) for rid in "amz"] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"lease_sec": 0}, ValueError),
        ({"lease_sec": 0.0009}, ValueError),
        ({"lease_sec": float("inf")}, ValueError),
        ({"lease_sec": "1"}, TypeError),
        ({"lease_sec": True}, TypeError),
        ({"wait_sec": -1}, ValueError),
        ({"wait_sec": float("nan")}, ValueError),
        ({"wait_sec": None}, TypeError),
        ({"capacities": {"other": 1}}, ValueError),
        ({"capacities": []}, TypeError),
    ],
)
def test_a_bad_argument_reserves_nothing(locks, how, error):
    with pytest.raises(error, match=next(iter(how))):
        locks.reserve("f", {"seats": 1}, **how)

    assert locked(locks, "seats") == 0.0


def test_a_total_beyond_64_bits_is_a_value_error(locks):
    locks.reserve("f", {"a": 1, "seats": 9e10})

    with pytest.raises(ValueError, match=r"'seats'.*exceeds"):
        locks.reserve("g", {"a": 1, "seats": 9e10}, wait_sec=60)
    assert locked(locks, "a") == 1.0


def test_odd_ids_do_not_meet(locks):
    for number, identifier in enumerate(ODD_IDS, start=1):
        locks.reserve(identifier, {identifier: number, "all": 1}, lease_sec=LONG)

    for number, identifier in enumerate(ODD_IDS, start=1):
        assert amounts_held(locks, identifier) == {identifier: number}
    assert amounts_held(locks, "all") == dict.fromkeys(ODD_IDS, 1)


def test_a_request_for_3000_resources_is_granted_and_released_whole(locks):
    wanted = {f"r{n}": n for n in range(3000)}
    with locks.reserve("f", wanted, lease_sec=LONG) as reservation:
        assert reservation.resources == wanted
        assert [locked(locks, f"r{n}") for n in (0, 1, 2999)] == [0.0, 1.0, 2999.0]
        reservation.settle({f"r{n}": 1 for n in range(1, 3000)})
        assert [locked(locks, f"r{n}") for n in (0, 1, 2999)] == [0.0, 1.0, 1.0]
    assert [locked(locks, f"r{n}") for n in (0, 1, 2999)] == [0.0, 0.0, 0.0]


# Capacity


def test_a_request_without_room_reserves_nothing_and_says_what_there_is(locks):
    locks.set_capacity("seats", 10)
    locks.reserve("f", {"seats": 0.1})

    with pytest.raises(InsufficientCapacityError) as caught:
        locks.reserve("g", {"a": 1, "seats": 9.95})
    error = caught.value
    assert (error.resource_id, error.requested) == ("seats", Decimal("9.95"))
    assert error.available == Decimal("9.9")
    assert [locked(locks, rid) for rid in ("a", "seats")] == [0.0, 0.1]


def test_a_capacity_may_be_filled_exactly(locks):
    locks.set_capacity("seats", 0.3)

    locks.reserve("f", {"seats": 0.1})
    locks.reserve("g", {"seats": 0.2})
    with pytest.raises(InsufficientCapacityError):
        locks.reserve("h", {"seats": Decimal("0.00000001")})


@pytest.mark.parametrize(("declared", "brought"), [(5, 8), (8, 5)])
def test_of_a_declared_and_a_brought_capacity_the_lower_counts(locks, declared, brought):
    locks.set_capacity("seats", declared)

    with pytest.raises(InsufficientCapacityError) as caught:
        locks.reserve("f", {"seats": 6}, capacities={"seats": brought})
    assert caught.value.available == 5
    locks.reserve("f", {"seats": 5}, capacities={"seats": brought})


def test_what_the_flow_holds_itself_leaves_room_for_its_replacement(locks):
    locks.set_capacity("seats", 10)
    locks.reserve("f", {"seats": 8})

    locks.reserve("f", {"seats": 10})
    assert locked(locks, "seats") == 10.0


def test_more_than_the_capacity_is_refused_at_once_however_long_one_would_wait(locks):
    locks.set_capacity("b", 5)
    started = time.monotonic()

    with pytest.raises(InsufficientCapacityError) as caught:
        locks.reserve("f", {"a": 1, "b": 6}, wait_sec=600)
    assert caught.value.resource_id == "b"
    with pytest.raises(InsufficientCapacityError):
        locks.reserve("f", {"a": 3}, wait_sec=600, capacities={"a": 2})
    assert time.monotonic() - started < PATIENCE_SECONDS


def test_a_hopeless_request_names_the_first_resource_that_does_not_fit(locks):
    locks.set_capacity("a", 5)
    locks.set_capacity("b", 5)
    locks.reserve("f", {"a": 5})

    with pytest.raises(InsufficientCapacityError) as caught:
        locks.reserve("g", {"a": 1, "b": 6}, wait_sec=600)
    assert caught.value.resource_id == "a"


def test_a_reservation_ignores_what_was_told_and_forgets_it(locks, on_another_thread):
    locked(locks, "seats", "f")
    on_another_thread(lambda: locks.acquire_batch("g", {"seats": 5}, 1))

    locks.reserve("f", {"seats": 1})
    assert locks.acquire_batch("f", {"seats": 2}, 1) is True


# Tokens


def test_tokens_rise_over_all_flows_and_resources(locks):
    tokens = []
    for turn in range(5):
        for dfid in ("f", "g"):
            tokens.append(locks.reserve(dfid, {f"r{turn}": 1}).fencing_token)
        locks.release("f")

    assert tokens == sorted(set(tokens))


def test_tokens_rise_when_the_last_one_ran_out(locks):
    first = locks.reserve("f", {"seats": 1}, lease_sec=SOON).fencing_token
    until(lambda: locks.holders("seats") == [])

    assert locks.reserve("f", {"seats": 1}).fencing_token > first


def test_a_second_reserve_of_a_flow_supersedes_the_first(locks):
    first = locks.reserve("f", {"seats": 1}, lease_sec=LONG)
    second = locks.reserve("f", {"seats": 1}, lease_sec=LONG)

    for refused in (
        lambda: first.renew(),
        lambda: first.settle({"seats": 0}),
        lambda: first.release(),
    ):
        with pytest.raises(LeaseLostError):
            refused()
    assert locked(locks, "seats") == 1.0
    second.renew()
    second.release()
    assert locked(locks, "seats") == 0.0


def test_a_request_that_is_refused_leaves_the_earlier_token_good(locks):
    locks.set_capacity("seats", 5)
    reservation = locks.reserve("f", {"seats": 1})

    with pytest.raises(InsufficientCapacityError):
        locks.reserve("f", {"seats": 6})
    reservation.release()


def test_acquiring_keeps_token_and_lease(locks):
    reservation = locks.reserve("f", {"a": 1}, lease_sec=LONG)
    locks.acquire_batch("f", {"a": 2, "b": 3}, 1)

    (holder,) = locks.holders("b")
    assert (holder.fencing_token, holder.until) == (
        reservation.fencing_token,
        reservation.expires_at,
    )
    reservation.release()
    assert [locked(locks, rid) for rid in "ab"] == [0.0, 0.0]


@pytest.mark.parametrize("wrong", [0, -1, 1, 2**63 - 1])
def test_no_other_token_is_good(locks, wrong):
    reservation = locks.reserve("f", {"seats": 2}, lease_sec=LONG)

    for refused in (
        lambda: locks.renew("f", wrong, LONG),
        lambda: locks.settle("f", {"seats": 1}, fencing_token=wrong),
        lambda: locks.release("f", fencing_token=wrong),
    ):
        with pytest.raises(LeaseLostError) as caught:
            refused()
        assert (caught.value.record, caught.value.token) == ("reservation of 'f'", wrong)
    (holder,) = locks.holders("seats")
    assert (holder.amount, holder.until) == (2, reservation.expires_at)


@pytest.mark.parametrize("token", [0, 1])
def test_what_was_only_acquired_has_no_token(locks, token):
    locks.acquire_batch("f", {"seats": 2}, 1)

    for refused in (
        lambda: locks.renew("f", token, LONG),
        lambda: locks.settle("f", {"seats": 1}, fencing_token=token),
        lambda: locks.release("f", fencing_token=token),
        lambda: locks.release("unknown", fencing_token=token),
    ):
        with pytest.raises(LeaseLostError):
            refused()
    assert locked(locks, "seats") == 2.0


def test_a_token_of_one_flow_is_not_good_for_another(locks):
    locks.reserve("f", {"seats": 1})
    token = locks.reserve("g", {"seats": 1}).fencing_token

    with pytest.raises(LeaseLostError):
        locks.release("f", fencing_token=token)
    assert locked(locks, "seats") == 2.0


# Leases


def test_a_lease_that_ran_out_is_gone_for_readers(locks):
    locks.reserve("f", {"a": 1}, lease_sec=SOON)
    locks.reserve("g", {"b": 1}, lease_sec=SOON)

    until(lambda: locked(locks, "a") == 0.0)
    until(lambda: locks.holders("b") == [])


def test_a_lease_that_ran_out_is_gone_once_for_the_flow_that_had_it(locks):
    locks.reserve("f", {"seats": 1}, lease_sec=SOON)
    locks.reserve("g", {"seats": 5})

    until(lambda: amounts_held(locks, "seats") == {"g": 5})
    assert locked(locks, "seats", "f") == 5.0
    assert locked(locks, "seats", "g") == 0.0


def test_a_lease_covers_all_that_the_flow_holds(locks):
    locks.acquire_batch("f", {"a": 1}, 1)
    locks.reserve("f", {"b": 1}, lease_sec=BRIEF)
    locks.acquire_batch("f", {"c": 1}, 1)
    locks.reserve("g", {"a": 1, "b": 1, "c": 1})

    until(lambda: locked(locks, "b") == 1.0)
    assert [locked(locks, rid) for rid in "abc"] == [1.0, 1.0, 1.0]


def test_a_lease_that_ran_out_makes_room(locks):
    locks.set_capacity("a", 1)
    locks.set_capacity("b", 1)
    locks.reserve("f", {"a": 1, "b": 1}, lease_sec=SOON)
    until(lambda: locks.holders("a") == [])

    assert locks.acquire_batch("g", {"a": 1}, 1) is True
    locks.reserve("h", {"b": 1})


def test_hundreds_of_leases_that_ran_out_make_room_at_once(locks):
    locks.set_capacity("seats", 250)
    for number in range(250):
        last = locks.reserve(f"f{number}", {"seats": 1, "quota": 1}, lease_sec=2 * SOON)
    until(lambda: datetime.now(UTC) > last.expires_at)

    until(lambda: locked(locks, "quota") == 0.0)
    assert locks.holders("quota") == []
    locks.reserve("g", {"seats": 250})
    assert amounts_held(locks, "seats") == {"g": 250}


def test_an_own_lease_that_ran_out_leaves_nothing_behind(locks):
    locks.reserve("f", {"a": 5, "b": 5}, lease_sec=SOON)
    until(lambda: locks.holders("a") == [])
    locks.acquire_batch("f", {"a": 1}, 1)

    (holder,) = locks.holders("a")
    assert (holder.amount, holder.until, holder.fencing_token) == (1, None, None)
    assert locks.holders("b") == []


def test_after_the_lease_the_token_is_good_for_nothing(locks):
    reservation = locks.reserve("f", {"seats": 1}, lease_sec=SOON)
    until(lambda: locks.holders("seats") == [])
    locks.acquire_batch("f", {"seats": 2}, 1)

    for refused in (
        lambda: reservation.renew(LONG),
        lambda: reservation.settle({"seats": 0}),
        lambda: reservation.release(),
    ):
        with pytest.raises(LeaseLostError) as caught:
            refused()
        assert caught.value.token == reservation.fencing_token
    assert locked(locks, "seats") == 2.0


def test_the_latest_reserve_decides_about_the_lease(locks):
    locks.reserve("f", {"a": 1}, lease_sec=BRIEF)
    endless = locks.reserve("f", {"b": 1})
    locks.reserve("g", {"a": 1})
    last = locks.reserve("g", {"b": 1}, lease_sec=BRIEF)
    assert endless.expires_at is None

    until(lambda: last.dfid not in amounts_held(locks, "a"))
    assert amounts_held(locks, "a") == {"f": 1}
    assert amounts_held(locks, "b") == {"f": 1}
    endless.release()


def test_renewing_lets_the_lease_run_anew(locks):
    reservation = locks.reserve("f", {"seats": 1}, lease_sec=1)
    before = reservation.expires_at
    renewed = locks.renew("f", reservation.fencing_token, LONG)

    assert renewed.tzinfo is UTC
    assert renewed - before > timedelta(seconds=LONG - 2)
    (holder,) = locks.holders("seats")
    assert holder.until == renewed


def test_renewing_may_shorten_a_lease(locks):
    reservation = locks.reserve("f", {"seats": 1}, lease_sec=LONG)
    locks.renew("f", reservation.fencing_token, SOON)

    until(lambda: locks.holders("seats") == [])


def test_renewing_gives_a_reservation_without_lease_one(locks):
    reservation = locks.reserve("f", {"seats": 1})
    locks.renew("f", reservation.fencing_token, SOON)

    until(lambda: locks.holders("seats") == [])


def test_a_renewed_lease_outlives_its_first_end(locks):
    reservation = locks.reserve("f", {"seats": 1}, lease_sec=BRIEF)
    locks.renew("f", reservation.fencing_token, LONG)
    other = locks.reserve("g", {"quota": 1}, lease_sec=BRIEF)

    until(lambda: other.dfid not in amounts_held(locks, "quota"))
    assert amounts_held(locks, "seats") == {"f": 1}


def test_renewing_what_was_released_or_never_reserved_is_refused(locks):
    reservation = locks.reserve("f", {"seats": 1}, lease_sec=LONG)
    reservation.release()

    for dfid in ("f", "unknown"):
        with pytest.raises(LeaseLostError):
            locks.renew(dfid, reservation.fencing_token, LONG)


# Settling


def test_settling_keeps_what_was_used_and_gives_the_rest_back(locks):
    reservation = locks.reserve("f", {"a": 5, "b": 5, "c": 5}, lease_sec=LONG)
    assert locks.settle("f", {"a": 2.5, "b": 0}, fencing_token=reservation.fencing_token) is None

    assert [locked(locks, rid) for rid in "abc"] == [2.5, 0.0, 5.0]
    (holder,) = locks.holders("a")
    assert (holder.until, holder.fencing_token) == (
        reservation.expires_at,
        reservation.fencing_token,
    )


def test_settling_makes_room(locks):
    locks.set_capacity("seats", 5)
    locks.reserve("f", {"seats": 5}).settle({"seats": 3})

    locks.reserve("g", {"seats": 2})
    with pytest.raises(InsufficientCapacityError):
        locks.reserve("h", {"seats": 1})


def test_settling_without_a_token_settles_whatever_the_flow_holds(locks):
    locks.acquire_batch("f", {"a": 5}, 1)
    locks.reserve("g", {"a": 5})
    locks.settle("f", {"a": 1})
    locks.settle("g", {"a": 2})

    assert amounts_held(locks, "a") == {"f": 1, "g": 2}


def test_more_than_is_held_cannot_be_kept_and_nothing_changes(locks):
    locks.reserve("f", {"a": 5, "b": 1.5, "c": 1})

    with pytest.raises(ValueError, match="'b'") as caught:
        locks.settle("f", {"c": 9, "b": 1.75, "a": 1})
    assert str(caught.value) == "the amount of 'b' to keep exceeds what the flow holds: 1.50000000"
    assert [locked(locks, rid) for rid in "abc"] == [5.0, 1.5, 1.0]


def test_of_a_resource_that_is_not_held_nothing_can_be_kept(locks):
    with pytest.raises(ValueError, match=r"the amount of 'a' to keep exceeds .*: 0"):
        locks.settle("unknown", {"a": 1})
    locks.settle("unknown", {"a": 0})
    locks.settle("unknown", {})

    assert locks.holders("a") == []


def test_all_that_is_held_can_be_kept(locks):
    locks.reserve("f", {"a": Decimal("0.00000001")})
    locks.settle("f", {"a": 1e-8})

    assert amounts_held(locks, "a") == {"f": Decimal("0.00000001")}


def test_a_wrong_token_counts_before_an_amount_that_is_too_large(locks):
    token = locks.reserve("f", {"a": 1}).fencing_token

    with pytest.raises(LeaseLostError):
        locks.settle("f", {"a": 2}, fencing_token=token + 1)


@pytest.mark.parametrize("used", [{"a": -1}, {"a": float("nan")}, {"": 1}])
def test_a_bad_amount_settles_nothing(locks, used):
    locks.reserve("f", {"a": 1})

    with pytest.raises(ValueError):  # noqa: PT011 (many messages; test_arguments knows them)
        locks.settle("f", used)
    assert locked(locks, "a") == 1.0


def test_what_is_no_dict_cannot_be_settled(locks):
    with pytest.raises(TypeError, match=r"^used must be a dict"):
        locks.settle("f", [("a", 1)])


def test_a_reservation_settled_to_nothing_lasts_until_it_is_released(locks):
    reservation = locks.reserve("f", {"a": 1, "b": 1}, lease_sec=LONG)
    reservation.settle({"a": 0, "b": 0})

    reservation.renew()
    locks.acquire_batch("f", {"c": 1}, 1)
    (holder,) = locks.holders("c")
    assert holder.fencing_token == reservation.fencing_token
    reservation.release()
    assert locked(locks, "c") == 0.0


# Releasing


def test_releasing_with_the_token_frees_everything(locks):
    reservation = locks.reserve("f", {"a": 1, "b": 1})
    locks.acquire_batch("f", {"c": 1}, 1)
    locks.reserve("g", {"a": 10})
    assert locks.release("f", fencing_token=reservation.fencing_token) is None

    assert [locked(locks, rid) for rid in "abc"] == [10.0, 0.0, 0.0]
    with pytest.raises(LeaseLostError):
        locks.release("f", fencing_token=reservation.fencing_token)


def test_releasing_without_a_token_releases_whatever_the_flow_holds(locks):
    reservation = locks.reserve("f", {"a": 1}, lease_sec=LONG)
    locks.release("f")
    locks.release("f")
    locks.release("unknown")

    assert locks.holders("a") == []
    with pytest.raises(LeaseLostError):
        reservation.renew()


def test_after_a_release_nothing_of_the_lease_remains(locks):
    locks.reserve("f", {"a": 1}, lease_sec=SOON)
    locks.release("f")
    locks.acquire_batch("f", {"a": 2}, 1)
    other = locks.reserve("g", {"b": 1}, lease_sec=2 * SOON)

    until(lambda: other.dfid not in amounts_held(locks, "b"))
    (holder,) = locks.holders("a")
    assert (holder.amount, holder.until, holder.fencing_token) == (2, None, None)


def test_closing_a_flow_releases_its_reservation_for_good(bundle, locks, waiting):
    locks.set_capacity("seats", 1)
    reservation = locks.reserve("f", {"seats": 1})
    waiter = waiting("g", {"seats": 1})
    bundle.lifecycle.close_flow("f", "CLOSED")

    granted(waiter)
    with pytest.raises(LeaseLostError):
        reservation.renew(LONG)


# Holders


def test_holders_are_who_holds_how_much_since_when_and_until_when(locks):
    locks.acquire_batch("f", {"seats": 1.5}, 1)
    leased = locks.reserve("g", {"seats": 2, "quota": 1}, lease_sec=LONG)
    endless = locks.reserve("h", {"seats": 3})
    locks.reserve("i", {"quota": 1, "seats": 0})

    first, second, third = locks.holders("seats")
    assert type(first) is Holder
    assert first == ("f", Decimal("1.5"), first.since, None, None)
    assert second == ("g", 2, second.since, leased.expires_at, leased.fencing_token)
    assert third == ("h", 3, third.since, None, endless.fencing_token)
    assert first.since < second.since < third.since
    assert abs(first.since - datetime.now(UTC)) < timedelta(hours=1)
    assert {moment.tzinfo for moment in (first.since, second.until)} == {UTC}
    assert type(first.amount) is Decimal


def test_nobody_holds_what_nobody_reserved(locks):
    assert locks.holders("seats") == []


def test_since_stays_while_an_amount_changes(locks):
    locks.reserve("f", {"a": 1, "b": 1})
    locks.reserve("g", {"a": 1})
    since = {rid: locks.holders(rid)[0].since for rid in "ab"}
    locks.reserve("f", {"a": 2}, lease_sec=LONG)
    locks.acquire_batch("f", {"a": 3, "c": 1}, 1)
    locks.settle("f", {"a": 1})

    first, second = locks.holders("a")
    assert (first.dfid, first.since, second.dfid) == ("f", since["a"], "g")
    assert locks.holders("b")[0].since == since["b"]
    assert locks.holders("c")[0].since > since["a"]


def test_since_begins_anew_after_nothing_was_held(locks):
    locks.reserve("f", {"a": 1})
    locks.reserve("g", {"a": 1})
    locks.reserve("f", {"a": 0})
    locks.reserve("f", {"a": 1})

    assert [holder.dfid for holder in locks.holders("a")] == ["g", "f"]


# Waiting


def test_without_waiting_a_request_is_refused_at_once_and_stands_in_no_queue(locks):
    locks.set_capacity("seats", 5)
    locks.reserve("f", {"seats": 3})

    with pytest.raises(InsufficientCapacityError):
        locks.reserve("g", {"seats": 4})
    locks.reserve("h", {"seats": 2})


def test_a_wait_that_is_over_is_refused_and_leaves_the_queue(locks):
    locks.set_capacity("seats", 5)
    locks.reserve("f", {"seats": 3})
    started = time.monotonic()

    with pytest.raises(InsufficientCapacityError) as caught:
        locks.reserve("g", {"seats": 4}, wait_sec=0.1)
    assert 0.1 <= time.monotonic() - started < PATIENCE_SECONDS
    assert (caught.value.requested, caught.value.available) == (4, 2)
    locks.reserve("h", {"seats": 2})


def test_room_is_not_waited_for(locks):
    locks.set_capacity("seats", 5)

    assert locks.reserve("f", {"seats": 5}, wait_sec=1e300).resources == {"seats": 5}


ENDS_OF_A_HOLD = {
    "release": lambda locks: locks.release("f"),
    "settle": lambda locks: locks.settle("f", {"seats": 1}),
    "acquire less": lambda locks: locks.acquire_batch("f", {"seats": 1}, 10),
    "reserve less": lambda locks: locks.reserve("f", {"seats": 1}),
    "raise capacity": lambda locks: locks.set_capacity("seats", 20),
    "remove capacity": lambda locks: locks.set_capacity("seats", None),
    "shorten lease": lambda locks: locks.renew("f", locks.holders("seats")[0].fencing_token, SOON),
}


@pytest.mark.parametrize("end", ENDS_OF_A_HOLD.values(), ids=ENDS_OF_A_HOLD.keys())
def test_whatever_makes_room_wakes_who_waits(locks, waiting, end):
    locks.set_capacity("seats", 10)
    locks.reserve("f", {"seats": 10})
    waiter = waiting("g", {"seats": 9}, lease_sec=LONG)
    assert not waiter.done()
    end(locks)

    assert granted(waiter).resources["seats"] == 9
    assert amounts_held(locks, "seats")["g"] == 9


def test_the_end_of_a_lease_wakes_who_waits(locks, waiting):
    locks.set_capacity("seats", 10)
    ended = locks.reserve("f", {"seats": 10}, lease_sec=0.3).expires_at
    waiter = waiting("g", {"seats": 9})

    granted(waiter)
    (holder,) = locks.holders("seats")
    assert holder.dfid == "g"
    assert timedelta(0) <= holder.since - ended < timedelta(seconds=0.5)


def test_the_lease_of_a_waiter_runs_from_the_grant(locks, waiting):
    locks.set_capacity("seats", 1)
    locks.reserve("f", {"seats": 1})
    waiter = waiting("g", {"seats": 1}, lease_sec=LONG)
    queued_at = locks.reserve("other", {"other": 1}, lease_sec=LONG).expires_at
    locks.release("f")

    reservation = granted(waiter)
    assert reservation.expires_at > queued_at
    assert locks.holders("seats")[0].until == reservation.expires_at


def test_those_who_wait_are_served_in_the_order_they_came(locks, waiting):
    locks.set_capacity("seats", 1)
    holder = locks.reserve("f", {"seats": 1})
    waiters = [waiting(f"w{number}", {"seats": 1}) for number in range(5)]

    tokens = [holder.fencing_token]
    for waiter in waiters:
        holder.release()
        holder = granted(waiter)
        tokens.append(holder.fencing_token)
        assert [other.done() for other in waiters].count(False) == 6 - len(tokens)
    assert tokens == sorted(tokens)


def test_who_waits_is_woken_rather_than_looking_again_now_and_then(locks, waiting):
    locks.set_capacity("seats", 1)
    holder = locks.reserve("f", {"seats": 1})
    seconds = []
    for turn in range(10):
        waiter = waiting(f"w{turn}", {"seats": 1})
        released = time.monotonic()
        holder.release()
        holder = granted(waiter)
        seconds.append(time.monotonic() - released)

    assert sorted(seconds)[5] < 0.5


def test_one_release_serves_all_that_fit(locks, waiting):
    locks.set_capacity("seats", 4)
    holder = locks.reserve("f", {"seats": 4})
    waiters = [waiting(f"w{number}", {"seats": 1}) for number in range(4)]
    holder.release()

    assert [granted(waiter).resources["seats"] for waiter in waiters] == [1] * 4


def test_nobody_overtakes_a_large_request_that_waits(locks, waiting):
    locks.set_capacity("seats", 10)
    holder = locks.reserve("f", {"seats": 6})
    large = waiting("large", {"seats": 9})

    with pytest.raises(ResourceContentionError, match="'seats'"):
        locks.reserve("small", {"a": 1, "seats": 1})
    assert locks.acquire_batch("small", {"a": 1, "seats": 1}, 10) is False
    assert locks.acquire_batch("small", {"seats": 11}, 10) is False
    with pytest.raises(InsufficientCapacityError):
        locks.reserve("medium", {"seats": 5})
    assert locked(locks, "a") == 0.0
    small = waiting("small", {"seats": 1})
    assert not large.done()
    holder.release()

    granted(large)
    granted(small)
    assert amounts_held(locks, "seats") == {"large": 9, "small": 1}


def test_a_small_request_whose_time_is_over_behind_a_large_one_is_told_why(locks, waiting):
    locks.set_capacity("seats", 10)
    holder = locks.reserve("f", {"seats": 6})
    large = waiting("large", {"seats": 9})

    with pytest.raises(ResourceContentionError):
        locks.reserve("small", {"seats": 1}, wait_sec=0.1)
    holder.release()
    granted(large).release()
    locks.reserve("small", {"seats": 1})


def test_who_waits_for_other_resources_is_overtaken(locks, waiting):
    locks.set_capacity("a", 1)
    locks.reserve("f", {"a": 1})
    waiter = waiting("g", {"a": 1, "b": 1})

    with pytest.raises(ResourceContentionError, match="'b'"):
        locks.reserve("h", {"b": 1, "c": 1})
    assert locks.acquire_batch("h", {"c": 1}, 10) is True
    locks.reserve("h", {"c": 2})
    locks.release("f")
    granted(waiter)


def test_who_asks_for_no_more_than_it_holds_passes_those_who_wait(locks, waiting):
    locks.set_capacity("seats", 10)
    locks.reserve("f", {"seats": 6, "quota": 1})
    waiter = waiting("g", {"seats": 9, "quota": 1})

    assert locks.reserve("f", {"seats": 6}, lease_sec=LONG).resources == {"seats": 6}
    assert locks.acquire_batch("f", {"seats": 6, "quota": 1}, 10) is True
    assert locks.acquire_batch("f", {"seats": 5}, 10) is True
    assert locks.acquire_batch("h", {}, 10) is True
    with pytest.raises(ResourceContentionError):
        locks.reserve("f", {"seats": 5.5})
    with pytest.raises(ResourceContentionError):
        locks.reserve("f", {"seats": 4, "quota": 1.5})
    assert locks.acquire_batch("f", {"seats": 4, "quota": 1.5}, 10) is False
    assert not waiter.done()
    locks.reserve("f", {"seats": 1})
    granted(waiter)


def test_who_gives_up_lets_the_next_in_line_go(locks, waiting):
    locks.set_capacity("seats", 10)
    locks.reserve("f", {"seats": 6})
    large = waiting("large", {"seats": 9}, wait_sec=1)
    small = waiting("small", {"seats": 1})
    assert not small.done()

    granted(small)
    with pytest.raises(InsufficientCapacityError):
        granted(large)


def test_who_is_interrupted_leaves_the_queue(locks):
    class InterruptedInTestError(Exception):
        pass

    def interrupt(_number, _frame):
        raise InterruptedInTestError

    locks.set_capacity("seats", 1)
    locks.reserve("f", {"seats": 1})
    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ThreadPoolExecutor(1) as pool:

            def interrupt_once_queued():
                until(lambda: queue_is_joined(locks, "door"))
                signal.pthread_kill(main, signal.SIGUSR1)

            interrupted = pool.submit(interrupt_once_queued)
            with pytest.raises(InterruptedInTestError):
                locks.reserve("g", {"seats": 1, "door": 1}, wait_sec=60)
            interrupted.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    locks.reserve("h", {"door": 1})
    locks.release("f")
    locks.reserve("h", {"seats": 1})


def test_a_capacity_that_becomes_too_small_ends_the_wait(locks, waiting):
    locks.set_capacity("seats", 10)
    locks.reserve("f", {"seats": 6})
    waiter = waiting("g", {"seats": 9})
    locks.set_capacity("seats", 8)

    with pytest.raises(InsufficientCapacityError) as caught:
        granted(waiter)
    assert caught.value.available == 2
    locks.reserve("h", {"seats": 2})


def test_a_capacity_brought_counts_while_waiting(locks, waiting):
    locks.reserve("f", {"seats": 6})
    waiter = waiting("g", {"seats": 5}, capacities={"seats": 10})
    assert not waiter.done()
    locks.settle("f", {"seats": 5})

    granted(waiter)
    assert locked(locks, "seats") == 10.0


def test_a_flow_may_wait_twice_and_is_served_twice(locks, waiting):
    locks.set_capacity("seats", 1)
    locks.reserve("f", {"seats": 1})
    first = waiting("g", {"seats": 1})
    second = waiting("g", {"seats": 1})
    locks.release("f")

    assert granted(first).fencing_token < granted(second).fencing_token
    assert locked(locks, "seats") == 1.0
    granted(second).release()
    with pytest.raises(LeaseLostError):
        granted(first).release()


def test_a_flow_may_wait_for_more_while_it_holds(locks, waiting):
    locks.set_capacity("seats", 10)
    locks.reserve("f", {"seats": 5})
    earlier = locks.reserve("g", {"seats": 5})
    waiter = waiting("g", {"seats": 7})
    assert amounts_held(locks, "seats")["g"] == 5
    earlier.renew(LONG)
    locks.release("f")

    granted(waiter)
    assert amounts_held(locks, "seats") == {"g": 7}


def test_sixteen_threads_that_wait_are_all_served_and_never_exceed_the_capacity(locks, race):
    locks.set_capacity("seats", 3)

    def worker(number):
        tokens, most = [], 0.0
        for turn in range(4):
            wanted = {"seats": 1 + (number + turn) % 3}
            with locks.reserve(f"f{number}", wanted, lease_sec=LONG, wait_sec=100) as reservation:
                most = max(most, locked(locks, "seats"))
                tokens.append(reservation.fencing_token)
        return tokens, most

    outcomes = race([lambda number=number: worker(number) for number in range(16)])
    assert max(most for _, most in outcomes) <= 3.0
    assert all(tokens == sorted(tokens) for tokens, _ in outcomes)
    assert len({token for tokens, _ in outcomes for token in tokens}) == 64
    assert locked(locks, "seats") == 0.0


# What the holder has in its hand


def test_a_with_block_releases_at_its_end(locks):
    with locks.reserve("f", {"seats": 1}) as reservation:
        assert locked(locks, "seats") == 1.0
    assert locked(locks, "seats") == 0.0
    reservation.release()


def test_a_with_block_that_fails_releases_and_lets_the_error_go_on(locks):
    with pytest.raises(ZeroDivisionError), locks.reserve("f", {"seats": 1}):
        raise ZeroDivisionError
    assert locked(locks, "seats") == 0.0


def test_a_detached_reservation_is_left_to_others(locks):
    with locks.reserve("f", {"seats": 1}, lease_sec=LONG).keep_alive() as reservation:
        reservation.detach()
    reservation.release()

    assert [holder.dfid for holder in locks.holders("seats")] == ["f"]


def test_a_flow_may_be_closed_within_the_block_of_its_reservation(bundle):
    with bundle.resource_lock.reserve("f", {"seats": 1}, lease_sec=LONG) as reservation:
        bundle.lifecycle.close_flow("f", "CLOSED")
        reservation.detach()

    assert bundle.resource_lock.holders("seats") == []


def test_leaving_a_with_block_whose_reservation_was_lost_raises(locks):
    with pytest.raises(LeaseLostError), locks.reserve("f", {"seats": 1}):  # noqa: PT012
        locks.release("f")
        locks.reserve("f", {"seats": 5})
    assert locked(locks, "seats") == 5.0


def test_an_error_of_the_block_is_not_hidden_by_the_loss(locks):
    with pytest.raises(ZeroDivisionError), locks.reserve("f", {"seats": 1}):  # noqa: PT012
        locks.release("f")
        raise ZeroDivisionError


def test_a_reservation_renews_as_long_as_before(locks):
    reservation = locks.reserve("f", {"seats": 1}, lease_sec=LONG)
    before = reservation.expires_at

    assert before < reservation.renew() < before + timedelta(seconds=PATIENCE_SECONDS)
    assert reservation.renew(2 * LONG) > before + timedelta(seconds=LONG)
    assert reservation.renew() > before + timedelta(seconds=LONG)
    assert reservation.expires_at == locks.holders("seats")[0].until


def test_a_reservation_without_lease_needs_a_length_to_be_renewed(locks):
    reservation = locks.reserve("f", {"seats": 1})

    with pytest.raises(ValueError, match="lease_sec"):
        reservation.renew()
    with pytest.raises(ValueError, match="lease_sec"):
        reservation.keep_alive()
    with pytest.raises(ValueError, match="lease_sec"):
        reservation.renew(0)
    assert reservation.renew(LONG) == locks.holders("seats")[0].until


def test_a_reservation_kept_alive_outlives_its_lease(locks):
    lost = []
    lease_sec = 0.9
    with locks.reserve("f", {"seats": 1}, lease_sec=lease_sec) as reservation:
        end = reservation.expires_at
        assert reservation.keep_alive(on_lost=lambda: lost.append(1)) is reservation
        until(lambda: locks.holders("seats")[0].until > end + timedelta(seconds=lease_sec))
        assert not reservation.lost
    assert lost == []
    assert locks.holders("seats") == []


def test_the_owner_is_told_when_the_reservation_it_keeps_alive_is_lost(locks):
    told = threading.Event()
    calls = []

    def on_lost():
        calls.append(threading.get_ident())
        told.set()

    reservation = locks.reserve("f", {"seats": 1}, lease_sec=BRIEF).keep_alive(on_lost=on_lost)
    newer = locks.reserve("f", {"seats": 2}, lease_sec=LONG)

    assert told.wait(PATIENCE_SECONDS)
    assert reservation.lost
    with pytest.raises(LeaseLostError):
        reservation.release()
    assert len(calls) == 1
    assert calls[0] != threading.get_ident()
    newer.release()


def test_a_reservation_can_be_settled_by_its_holder(locks):
    with locks.reserve("f", {"a": 5, "b": 5}) as reservation:
        reservation.settle({"a": 2})
        assert [locked(locks, rid) for rid in "ab"] == [2.0, 5.0]


def test_a_reservation_shows_what_it_is(locks):
    reservation = locks.reserve("f", {"a": 5})

    assert repr(reservation) == (
        f"Reservation(dfid='f', resources={{'a': {reservation.resources['a']!r}}}, "
        f"fencing_token={reservation.fencing_token}, expires_at=None)"
    )


def test_what_was_told_is_forgotten_by_an_acquire_or_release_not_by_the_end_of_the_flow(bundle):
    locks = bundle.resource_lock
    assert locks.get_locked_amount("seats", "f") == 0.0
    bundle.lifecycle.close_flow("f", "CLOSED")
    locks.acquire_batch("g", {"seats": 1}, 1)

    assert locks.acquire_batch("f", {"seats": 1}, 1) is False


def test_a_wait_may_be_as_long_as_a_float_can_say(locks):
    assert locks.reserve("f", {"seats": 1}, wait_sec=1e303).resources == {"seats": 1}


def test_a_release_of_unknown_outcome_may_be_called_again(locks, monkeypatch):
    reservation = locks.reserve("f", {"seats": 1})
    release = locks.release

    def release_and_lose_the_reply(*arguments, **named):
        release(*arguments, **named)
        raise StorageUnavailableError("no reply", outcome_unknown=True)

    monkeypatch.setattr(locks, "release", release_and_lose_the_reply)
    with pytest.raises(StorageUnavailableError):
        reservation.release()
    monkeypatch.undo()

    reservation.release()
    assert locks.holders("seats") == []


def test_a_release_that_fails_does_not_hide_the_error_of_the_block(locks, monkeypatch):
    def unavailable(*_, **__):
        raise StorageUnavailableError("no answer", outcome_unknown=False)

    def fail_in_the_block():
        with locks.reserve("f", {"seats": 1}):
            monkeypatch.setattr(locks, "release", unavailable)
            raise KeyError("of the block")

    with pytest.raises(KeyError, match="of the block"):
        fail_in_the_block()


def test_a_forked_child_that_leaves_the_block_releases_nothing(locks):
    with locks.reserve("f", {"seats": 1}, lease_sec=LONG) as reservation:
        reservation._pid += 1  # as a child sees it
    assert [holder.dfid for holder in locks.holders("seats")] == ["f"]
