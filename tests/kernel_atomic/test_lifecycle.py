"""A transition is appended only from the status the flow really has."""

from __future__ import annotations

import itertools

import pytest

from dir_redis import (
    StorageError,
    StorageUnavailableError,
    TransitionConflictError,
    sqlite_storage,
)
from dir_redis.kernel import FlowStatus, IntentRetryGovernor, transition

CREATED, ACTIVE, ABORTED, CLOSED = (
    FlowStatus.CREATED,
    FlowStatus.ACTIVE,
    FlowStatus.ABORTED,
    FlowStatus.CLOSED,
)


def statuses(storage, dfid="f"):
    return [(row["from_status"], row["to_status"]) for row in storage.get_transitions(dfid)]


def rejected(storage, times=2):
    governor = IntentRetryGovernor(storage=storage)
    for _ in range(times):
        governor.record_rejection("f")
    return governor


def test_a_flow_goes_from_where_it_is(bundle):
    transition("f", CREATED, ACTIVE, storage=bundle.lifecycle)
    transition("f", ACTIVE, CLOSED, storage=bundle.lifecycle, root_dfid="root")

    assert statuses(bundle.lifecycle) == [("CREATED", "ACTIVE"), ("ACTIVE", "CLOSED")]
    assert [row["root_dfid"] for row in bundle.lifecycle.get_transitions("f")] == ["f", "root"]
    assert bundle.lifecycle.current_status("f") == "CLOSED"


@pytest.mark.parametrize("begun", [False, True])
def test_a_flow_does_not_go_from_where_it_is_not(bundle, begun):
    if begun:
        transition("f", CREATED, ACTIVE, storage=bundle.lifecycle)
    before = statuses(bundle.lifecycle)

    with pytest.raises(TransitionConflictError) as refused:
        transition("f", FlowStatus.EXECUTING, CLOSED, storage=bundle.lifecycle)
    assert (refused.value.expected, refused.value.actual) == (
        "EXECUTING",
        "ACTIVE" if begun else None,
    )
    assert statuses(bundle.lifecycle) == before


def test_any_status_may_follow_any_as_in_dir_core(bundle):
    order = [CREATED, CLOSED, CREATED, *FlowStatus, *reversed(FlowStatus)]
    for before, after in itertools.pairwise(order):
        transition("f", before, after, storage=bundle.lifecycle)

    assert len(statuses(bundle.lifecycle)) == len(order) - 1


@pytest.mark.parametrize("end", [CLOSED, ABORTED])
def test_the_end_of_a_flow_resets_its_count(bundle, end):
    governor = rejected(bundle.intent_retry)
    transition("f", CREATED, ACTIVE, governor, storage=bundle.lifecycle)
    assert bundle.intent_retry.get_count("f") == 2
    transition("f", ACTIVE, end, governor, storage=bundle.lifecycle)

    assert bundle.intent_retry.get_count("f") == 0


def test_an_end_that_does_not_come_resets_nothing(bundle):
    governor = rejected(bundle.intent_retry)
    with pytest.raises(TransitionConflictError):
        transition("f", ACTIVE, CLOSED, governor, storage=bundle.lifecycle)

    class Unreachable:
        def transition(self, *_, **__):
            raise StorageError("away")

    with pytest.raises(StorageError, match="away"):
        transition("f", CREATED, CLOSED, governor, storage=Unreachable())
    assert bundle.intent_retry.get_count("f") == 2


@pytest.mark.parametrize("end", [CLOSED, ABORTED])
def test_a_reset_that_failed_is_made_up_for_by_the_same_call_again(bundle, end):
    governor = rejected(bundle.intent_retry)

    class Away:
        def reset(self, _dfid):
            raise StorageError("away")

    with pytest.raises(StorageError, match="away"):
        transition("f", CREATED, end, Away(), storage=bundle.lifecycle)
    with pytest.raises(StorageError, match="away"):
        transition("f", CREATED, end, Away(), storage=bundle.lifecycle)
    assert bundle.intent_retry.get_count("f") == 2
    with pytest.raises(TransitionConflictError) as refused:
        transition("f", CREATED, end, governor, storage=bundle.lifecycle)

    assert refused.value.actual == end
    assert bundle.intent_retry.get_count("f") == 0
    assert statuses(bundle.lifecycle) == [("CREATED", end)]


def test_so_is_one_of_a_transition_whose_answer_got_lost(bundle):
    governor = rejected(bundle.intent_retry)

    class Unanswering:
        def transition(self, *given, **named):
            bundle.lifecycle.transition(*given, **named)
            raise StorageUnavailableError("no answer", outcome_unknown=True)

    with pytest.raises(StorageUnavailableError):
        transition("f", CREATED, CLOSED, governor, storage=Unanswering())
    assert bundle.intent_retry.get_count("f") == 2
    with pytest.raises(TransitionConflictError):
        transition("f", CREATED, CLOSED, governor, storage=bundle.lifecycle)

    assert bundle.intent_retry.get_count("f") == 0


@pytest.mark.parametrize(
    ("actual", "wanted"),
    [(ACTIVE, ACTIVE), (ACTIVE, CLOSED), (CLOSED, ABORTED), (CLOSED, ACTIVE)],
)
def test_a_conflict_in_which_the_flow_did_not_end_so_resets_nothing(bundle, actual, wanted):
    transition("f", CREATED, actual, storage=bundle.lifecycle)
    governor = rejected(bundle.intent_retry)
    with pytest.raises(TransitionConflictError):
        transition("f", CREATED, wanted, governor, storage=bundle.lifecycle)

    assert bundle.intent_retry.get_count("f") == 2


def test_of_8_hosts_that_move_a_flow_one_does(bundle, race):
    def move():
        try:
            transition("f", CREATED, ACTIVE, storage=bundle.lifecycle)
        except TransitionConflictError as refused:
            return refused.actual
        return "moved"

    assert sorted(race([move] * 8)) == ["ACTIVE"] * 7 + ["moved"]
    assert statuses(bundle.lifecycle) == [("CREATED", "ACTIVE")]


def test_without_a_store_nothing_is_stored_or_checked():
    governor = IntentRetryGovernor()
    governor.record_rejection("f")
    transition("f", FlowStatus.EXECUTING, CLOSED, governor)

    assert governor.record_rejection("f") == 1


def test_a_path_is_this_packages_file(tmp_path):
    path = str(tmp_path / "store.db")
    transition("f", CREATED, ACTIVE, None, path)

    with pytest.raises(TransitionConflictError):
        transition("f", CREATED, ACTIVE, db_path=path)
    with sqlite_storage(path) as store:
        assert statuses(store.lifecycle) == [("CREATED", "ACTIVE")]
