"""A step runs once over all hosts."""

from __future__ import annotations

import threading
from datetime import datetime

import dir_core
import pytest

from dir_redis import LeaseLostError, StepInProgressError
from dir_redis.kernel import IdempotencyGuard, idempotency_key

PATIENCE_SEC = 20


@pytest.fixture
def guard(bundle):
    return IdempotencyGuard(bundle.idempotency)


def test_a_step_runs_once_and_everybody_gets_the_round_trip_of_its_result(guard):
    runs = []

    def step(symbol, shares):
        runs.append((symbol, shares))
        return {"filled": (shares, 2), "at": datetime(2026, 1, 1)}

    results = [
        guard.run("f", "order", {"symbol": "ACME", "shares": 3}, step),
        guard.run("f", "order", {"shares": 3, "symbol": "ACME"}, step),
    ]

    assert results == [{"filled": [3, 2], "at": "2026-01-01 00:00:00"}] * 2
    assert runs == [("ACME", 3)]


@pytest.mark.parametrize("result", [None, 0, "", [], {}, "text", 1.5, [1, None]])
def test_every_json_value_is_a_result(guard, result):
    runs = []

    def step():
        runs.append(1)
        return result

    assert [guard.run("f", "s", {}, step) for _ in range(3)] == [result] * 3
    assert runs == [1]


def test_another_flow_step_or_argument_is_another_step(guard):
    steps = [("f", "s", {"n": 1}), ("g", "s", {"n": 1}), ("f", "t", {"n": 1}), ("f", "s", {"n": 2})]

    for number, (dfid, step_id, params) in enumerate(steps):
        assert guard.run(dfid, step_id, params, lambda n, number=number: [n, number]) == [
            params["n"],
            number,
        ]


def test_a_step_that_raises_is_not_done(guard):
    def fail():
        raise ZeroDivisionError("the broker is away")

    with pytest.raises(ZeroDivisionError, match="the broker is away"):
        guard.run("f", "s", {}, fail)
    assert guard.run("f", "s", {}, lambda: "done") == "done"


def test_what_dir_cores_own_guard_has_done_is_not_done_again_nor_the_other_way_round(bundle):
    ours = IdempotencyGuard(bundle.idempotency)
    cores = dir_core.IdempotencyGuard(bundle.idempotency)
    cores.run("f", "s", {"n": 1}, lambda n: {"done": n})
    ours.run("g", "s", {"n": 1}, lambda n: {"done": n})

    assert ours.run("f", "s", {"n": 1}, lambda n: {"again": n}) == {"done": 1}
    assert cores.run("g", "s", {"n": 1}, lambda n: {"again": n}) == {"done": 1}


def test_a_dead_hosts_step_is_taken_over_after_its_lease(bundle, guard):
    key = idempotency_key("f", "s", {})
    bundle.idempotency.claim(key, lease_sec=0.05, owner="dead")

    assert guard.run("f", "s", {}, lambda: "done") == "done"


def test_a_step_outlives_its_lease_while_its_host_lives(bundle, race):
    first = IdempotencyGuard(bundle.idempotency, lease_sec=0.15)
    began, runs = threading.Event(), []

    def slow():
        runs.append(1)
        began.set()
        threading.Event().wait(0.5)  # more than three leases
        return "slow"

    def second():
        assert began.wait(PATIENCE_SEC)
        return IdempotencyGuard(bundle.idempotency).run("f", "s", {}, slow)

    assert race([lambda: first.run("f", "s", {}, slow), second]) == ["slow", "slow"]
    assert runs == [1]


def test_whoever_waits_long_enough_without_a_result_is_told(bundle):
    key = idempotency_key("f", "s", {})
    bundle.idempotency.claim(key, lease_sec=60, owner="a slow host")

    with pytest.raises(StepInProgressError, match="a slow host"):
        IdempotencyGuard(bundle.idempotency, wait_sec=0.01).run("f", "s", {}, lambda: 1)


def test_the_late_result_of_a_step_that_was_taken_over_is_refused(bundle):
    key = idempotency_key("f", "s", {})

    def while_another_host_takes_over():
        bundle.idempotency.set(key, {"by": "another"})
        return {"by": "me"}

    guard = IdempotencyGuard(bundle.idempotency)
    with pytest.raises(LeaseLostError):
        guard.run("f", "s", {}, while_another_host_takes_over)
    assert guard.run("f", "s", {}, lambda: {"by": "me"}) == {"by": "another"}


def test_a_result_may_be_kept_for_a_while_only(bundle):
    guard = IdempotencyGuard(bundle.idempotency, ttl_sec=0.05)
    key = idempotency_key("f", "s", {})
    guard.run("f", "s", {}, lambda: {"n": 1})
    for _ in range(PATIENCE_SEC * 100):
        if bundle.idempotency.get(key) is None:
            break
        threading.Event().wait(0.01)

    assert guard.run("f", "s", {}, lambda: {"n": 2}) == {"n": 2}


@pytest.mark.parametrize(
    ("option", "error"),
    [({"lease_sec": 0}, ValueError), ({"wait_sec": -1}, ValueError), ({"ttl_sec": "1"}, TypeError)],
)
def test_a_bad_option_is_refused_at_once(bundle, option, error):
    with pytest.raises(error, match=next(iter(option))):
        IdempotencyGuard(bundle.idempotency, **option)


def test_16_hosts_run_each_of_several_steps_once(bundle, race):
    runs = []

    def work():
        mine = IdempotencyGuard(bundle.idempotency)
        return [
            mine.run("f", f"s{n}", {"n": n}, lambda n: runs.append(n) or {"n": n}) for n in range(5)
        ]

    assert race([work] * 16) == [[{"n": n} for n in range(5)]] * 16
    assert sorted(runs) == list(range(5))
