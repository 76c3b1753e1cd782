"""Flows that failed half-way, and the deterministic menu of what to do (DIR §7)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from dir_core import CompensationAction


class Callbacks:
    """What was asked of the domain; it answers as told."""

    def __init__(self, answer=True):
        self.calls = []
        self.answer = answer

    def revert(self, dfid, partial_state):
        self.calls.append(("revert", dfid, partial_state))
        return self.answer

    def close_all(self, dfid):
        self.calls.append(("close_all", dfid))
        return self.answer

    def alert_human(self, dfid, partial_state):
        self.calls.append(("alert_human", dfid, partial_state))


@pytest.fixture
def callbacks():
    return Callbacks()


@pytest.fixture
def saga(managers, bundle, callbacks):
    return managers.SagaCompensation(
        storage=bundle.saga,
        revert_callback=callbacks.revert,
        close_all_callback=callbacks.close_all,
        alert_human_callback=callbacks.alert_human,
    )


@pytest.fixture
def saga_alone(managers, bundle):
    """One without callbacks."""
    return managers.SagaCompensation(storage=bundle.saga)


def outcome(result):
    return (result.success, result.message)


def test_nothing_is_dirty_at_first(saga):
    assert saga.get_dirty_flows() == []
    assert saga.get_dirty_state("flow") is None


def test_a_dirty_flow_has_its_step_and_its_partial_state(saga):
    saga.mark_dirty("flow", "ship", {"paid": True, "lines": [1, 2]})

    assert saga.get_dirty_flows() == ["flow"]
    assert saga.get_dirty_state("flow") == {
        "failed_step": "ship",
        "partial_state": {"paid": True, "lines": [1, 2]},
    }


def test_a_partial_state_may_hold_what_json_does_not_know(saga):
    saga.mark_dirty("flow", "ship", {"at": datetime(2026, 11, 23, tzinfo=UTC)})

    assert saga.get_dirty_state("flow")["partial_state"] == {"at": "2026-11-23 00:00:00+00:00"}


def test_the_oldest_mark_comes_first(saga):
    for dfid in ("c", "a", "b"):
        saga.mark_dirty(dfid, "ship", {})

    assert saga.get_dirty_flows() == ["c", "a", "b"]


def test_marking_again_replaces_the_mark(saga):
    saga.mark_dirty("flow", "ship", {"a": 1})
    saga.mark_dirty("flow", "bill", {"b": 2})

    assert saga.get_dirty_state("flow") == {"failed_step": "bill", "partial_state": {"b": 2}}


def test_a_reverted_flow_is_clean(saga, callbacks):
    saga.mark_dirty("flow", "ship", {"paid": True})

    assert outcome(saga.execute_compensation("flow", CompensationAction.REVERT)) == (True, "REVERT")
    assert callbacks.calls == [("revert", "flow", {"paid": True})]
    assert saga.get_dirty_flows() == []


def test_a_closed_flow_is_clean(saga, callbacks):
    saga.mark_dirty("flow", "ship", {"paid": True})

    result = saga.execute_compensation("flow", CompensationAction.CLOSE_ALL)

    assert outcome(result) == (True, "CLOSE_ALL")
    assert callbacks.calls == [("close_all", "flow")]
    assert saga.get_dirty_flows() == []


def test_a_human_who_was_alerted_finds_the_flow_still_dirty(saga, callbacks):
    saga.mark_dirty("flow", "ship", {"paid": True})

    result = saga.execute_compensation("flow", CompensationAction.ALERT_HUMAN)

    assert outcome(result) == (True, "ALERT_HUMAN")
    assert callbacks.calls == [("alert_human", "flow", {"paid": True})]
    assert saga.get_dirty_flows() == ["flow"]


def test_doing_nothing_leaves_the_flow_dirty(saga, callbacks):
    saga.mark_dirty("flow", "ship", {})

    assert outcome(saga.execute_compensation("flow", CompensationAction.NOOP)) == (True, "NOOP")
    assert callbacks.calls == []
    assert saga.get_dirty_flows() == ["flow"]


@pytest.mark.parametrize("action", [CompensationAction.REVERT, CompensationAction.CLOSE_ALL])
def test_a_flow_whose_compensation_failed_stays_dirty_and_can_be_tried_again(
    saga, callbacks, action
):
    saga.mark_dirty("flow", "ship", {"paid": True})
    callbacks.answer = False

    assert outcome(saga.execute_compensation("flow", action)) == (False, str(action))
    assert saga.get_dirty_flows() == ["flow"]

    callbacks.answer = True
    assert outcome(saga.execute_compensation("flow", action)) == (True, str(action))
    assert saga.get_dirty_flows() == []
    assert len(callbacks.calls) == 2


def test_a_flow_whose_compensation_raised_stays_dirty_and_can_be_tried_again(managers, bundle):
    calls = []

    def raises_once(dfid, partial_state):
        calls.append((dfid, partial_state))
        if len(calls) == 1:
            raise RuntimeError("the exchange is closed")
        return True

    saga = managers.SagaCompensation(storage=bundle.saga, revert_callback=raises_once)
    saga.mark_dirty("flow", "ship", {})

    with pytest.raises(RuntimeError, match="the exchange is closed"):
        saga.execute_compensation("flow", CompensationAction.REVERT)

    assert saga.get_dirty_flows() == ["flow"]
    assert saga.execute_compensation("flow", CompensationAction.REVERT).success is True
    assert calls == [("flow", {}), ("flow", {})]


@pytest.mark.parametrize("action", list(CompensationAction))
def test_a_clean_flow_is_not_compensated(saga, callbacks, action):
    saga.mark_dirty("other", "ship", {})

    result = saga.execute_compensation("flow", action)

    assert outcome(result) == (False, "Flow not in dirty state")
    assert callbacks.calls == []
    assert saga.get_dirty_flows() == ["other"]


def test_a_flow_is_compensated_once(saga, callbacks):
    saga.mark_dirty("flow", "ship", {})
    saga.execute_compensation("flow", CompensationAction.REVERT)

    again = saga.execute_compensation("flow", CompensationAction.REVERT)

    assert outcome(again) == (False, "Flow not in dirty state")
    assert len(callbacks.calls) == 1


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (CompensationAction.REVERT, "No revert callback"),
        (CompensationAction.CLOSE_ALL, "No close_all callback"),
        (CompensationAction.ALERT_HUMAN, "No alert_human callback"),
        ("SHRUG", "Unknown action: SHRUG"),
    ],
)
def test_what_nobody_can_do_is_not_done(saga_alone, action, message):
    saga_alone.mark_dirty("flow", "ship", {})

    assert outcome(saga_alone.execute_compensation("flow", action)) == (False, message)
    assert saga_alone.get_dirty_flows() == ["flow"]


def test_sagas_on_one_store_know_the_same_flows(saga, saga_alone, callbacks):
    saga_alone.mark_dirty("flow", "ship", {"paid": True})

    assert saga.execute_compensation("flow", CompensationAction.REVERT).success is True
    assert callbacks.calls == [("revert", "flow", {"paid": True})]
    assert saga_alone.get_dirty_flows() == []


def test_a_saga_needs_a_store(managers):
    with pytest.raises(ValueError, match="storage"):
        managers.SagaCompensation()
