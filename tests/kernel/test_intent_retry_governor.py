"""Rejections of a flow are counted until it must be given up (DIR §6.2)."""

from __future__ import annotations

import pytest


@pytest.fixture
def governor(managers, bundle):
    return managers.IntentRetryGovernor(max_retries=3, storage=bundle.intent_retry)


def test_a_flow_without_rejections_goes_on(governor):
    assert governor.should_abort("flow") is False


def test_each_rejection_returns_the_new_count(governor):
    assert [governor.record_rejection("flow") for _ in range(5)] == [1, 2, 3, 4, 5]


def test_a_flow_is_given_up_at_the_maximum(governor):
    aborts = []
    for _ in range(4):
        governor.record_rejection("flow")
        aborts.append(governor.should_abort("flow"))

    assert aborts == [False, False, True, True]


def test_three_rejections_are_the_default(managers, bundle):
    governor = managers.IntentRetryGovernor(storage=bundle.intent_retry)
    governor.record_rejection("flow")
    governor.record_rejection("flow")
    assert governor.should_abort("flow") is False

    governor.record_rejection("flow")
    assert governor.should_abort("flow") is True
    assert governor.max_retries == 3


def test_a_maximum_of_0_gives_up_at_once(managers, bundle):
    governor = managers.IntentRetryGovernor(max_retries=0, storage=bundle.intent_retry)

    assert governor.should_abort("flow") is True


def test_flows_are_counted_apart(governor):
    for _ in range(3):
        governor.record_rejection("flow-1")
    governor.record_rejection("flow-2")

    assert governor.should_abort("flow-1") is True
    assert governor.should_abort("flow-2") is False


def test_a_reset_flow_begins_anew(governor):
    for _ in range(3):
        governor.record_rejection("flow")
    governor.record_rejection("other")

    governor.reset("flow")

    assert governor.should_abort("flow") is False
    assert governor.record_rejection("flow") == 1
    assert governor.record_rejection("other") == 2


def test_a_flow_without_rejections_can_be_reset(governor):
    governor.reset("flow")

    assert governor.record_rejection("flow") == 1


def test_governors_on_one_store_count_together_each_with_its_own_maximum(
    managers, bundle, governor
):
    strict = managers.IntentRetryGovernor(max_retries=2, storage=bundle.intent_retry)

    assert governor.record_rejection("flow") == 1
    assert strict.record_rejection("flow") == 2
    assert governor.should_abort("flow") is False
    assert strict.should_abort("flow") is True


def test_the_store_has_the_count(governor, bundle):
    governor.record_rejection("flow")
    governor.record_rejection("flow")

    assert bundle.intent_retry.get_count("flow") == 2
