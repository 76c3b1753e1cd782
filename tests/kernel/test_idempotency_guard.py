"""A step that ran is not run again; its result is remembered (DIR §7)."""

from __future__ import annotations

import pytest
from dir_core import idempotency_key


@pytest.fixture
def guard(managers, bundle):
    return managers.IdempotencyGuard(bundle.idempotency)


class Step:
    """Counts how often it ran; returns what it was called with."""

    def __init__(self):
        self.runs = 0

    def __call__(self, **params):
        self.runs += 1
        return {"run": self.runs, **params}


def test_a_step_runs_once_and_its_result_is_remembered(guard):
    step = Step()

    results = [guard.run("flow", "pay", {"amount": 5, "to": "x"}, step) for _ in range(3)]

    assert step.runs == 1
    assert results == [{"run": 1, "amount": 5, "to": "x"}] * 3


def test_a_step_without_parameters_runs_once(guard):
    step = Step()

    assert guard.run("flow", "pay", {}, step) == {"run": 1}
    assert guard.run("flow", "pay", {}, step) == {"run": 1}


@pytest.mark.parametrize(
    ("dfid", "step_id", "params"),
    [
        ("flow-2", "pay", {"amount": 5}),
        ("flow", "ship", {"amount": 5}),
        ("flow", "pay", {"amount": 6}),
        ("flow", "pay", {"amount": "5"}),
        ("flow", "pay", {"amount": 5, "to": None}),
        ("flow", "pay", {}),
    ],
)
def test_another_flow_step_or_parameter_is_another_run(guard, dfid, step_id, params):
    step = Step()
    guard.run("flow", "pay", {"amount": 5}, step)
    guard.run(dfid, step_id, params, step)

    assert step.runs == 2


def test_the_order_of_the_parameters_does_not_matter(guard):
    step = Step()
    guard.run("flow", "pay", {"amount": 5, "to": "x"}, step)
    guard.run("flow", "pay", {"to": "x", "amount": 5}, step)

    assert step.runs == 1


def test_a_step_that_fails_is_not_remembered(guard):
    calls = []

    def fails_once():
        calls.append("run")
        if len(calls) == 1:
            raise RuntimeError("the exchange is closed")
        return {"done": True}

    with pytest.raises(RuntimeError, match="the exchange is closed"):
        guard.run("flow", "pay", {}, fails_once)

    assert guard.run("flow", "pay", {}, fails_once) == {"done": True}
    assert guard.run("flow", "pay", {}, fails_once) == {"done": True}
    assert calls == ["run", "run"]


@pytest.mark.parametrize("result", [{}, {"ok": False}, {"n": None}, {"deep": [{"é": [1.5]}]}])
def test_any_result_counts_as_one(guard, result):
    runs = []

    def step():
        runs.append(1)
        return result

    assert guard.run("flow", "pay", {}, step) == result
    assert guard.run("flow", "pay", {}, step) == result
    assert runs == [1]


def test_a_remembered_result_is_the_callers_own(guard):
    """dir-core's own memory backend hands out what it stores."""
    guard.run("flow", "pay", {}, lambda: {"lines": [1]})

    guard.run("flow", "pay", {}, Step())["lines"].append(2)

    assert guard.run("flow", "pay", {}, Step()) == {"lines": [1]}


def test_guards_on_one_store_know_each_others_results(managers, bundle, guard):
    guard.run("flow", "pay", {"amount": 5}, lambda amount: {"paid": amount})

    other = managers.IdempotencyGuard(bundle.idempotency)
    step = Step()
    assert other.run("flow", "pay", {"amount": 5}, step) == {"paid": 5}
    assert step.runs == 0


def test_a_result_lies_under_the_kernels_key(guard, bundle):
    guard.run("flow", "pay", {"amount": 5}, lambda amount: {"paid": amount})

    key = idempotency_key("flow", "pay", {"amount": 5})
    assert bundle.idempotency.get(key) == {"paid": 5}
    assert len(key) == 64


def test_a_result_under_the_kernels_key_is_found(guard, bundle):
    key = idempotency_key("flow", "pay", {"amount": 5})
    bundle.idempotency.set(key, {"paid": 5})
    step = Step()

    assert guard.run("flow", "pay", {"amount": 5}, step) == {"paid": 5}
    assert step.runs == 0
