"""The status a flow really has: transitions from it, and the one step that ends a flow."""

from __future__ import annotations

import itertools
import pickle
import time

import pytest

from dir_redis import FlowStatusStorage, LeaseLostError, TransitionConflictError
from dir_redis.transitions import DEFAULT_TRANSITIONS

ODD_STATUSES = ["", " ", "é\0\n😀", "None", "CONFLICT", "two words", "=ACTIVE"]


def steps(rows):
    return [(row["from_status"], row["to_status"]) for row in rows]


def bring_to(lifecycle, dfid, status):
    lifecycle.record_transition(dfid, "?", status)


def test_the_storage_has_the_protocol(lifecycle):
    assert isinstance(lifecycle, FlowStatusStorage)


# Transitions


def test_a_flow_without_transitions_has_no_status_and_counts_as_created(lifecycle):
    assert lifecycle.current_status("f") is None

    assert lifecycle.transition("f", "CREATED", "ACTIVE") is None

    assert lifecycle.current_status("f") == "ACTIVE"
    assert lifecycle.current_status("g") is None
    assert steps(lifecycle.get_transitions("f")) == [("CREATED", "ACTIVE")]


def test_a_transition_is_a_row_like_any_other(lifecycle, is_store_time):
    lifecycle.transition("f", "CREATED", "ACTIVE", root_dfid="root")
    lifecycle.transition("f", "ACTIVE", "VALIDATING")

    first, second = lifecycle.get_transitions("f")
    assert (first["dfid"], first["root_dfid"]) == ("f", "root")
    assert (second["dfid"], second["root_dfid"]) == ("f", "f")
    assert is_store_time(first["created_at"])
    assert lifecycle.get_transitions() == [first, second]


def test_the_status_is_that_of_the_latest_transition_however_it_was_recorded(lifecycle):
    lifecycle.record_transition("f", "CREATED", "ACTIVE")
    lifecycle.transition("f", "ACTIVE", "VALIDATING")
    lifecycle.record_transition("f", "whatever", "ACCEPTED")

    assert lifecycle.current_status("f") == "ACCEPTED"
    lifecycle.transition("f", "ACCEPTED", "EXECUTING")


def test_a_flow_elsewhere_gets_no_transition_and_the_error_says_where_it_is(lifecycle):
    lifecycle.transition("f", "CREATED", "ACTIVE")

    with pytest.raises(TransitionConflictError, match=r"flow 'f' is ACTIVE, not CREATED") as caught:
        lifecycle.transition("f", "CREATED", "ABORTED")

    assert (caught.value.dfid, caught.value.expected, caught.value.actual) == (
        *("f", "CREATED", "ACTIVE"),
    )
    assert pickle.loads(pickle.dumps(caught.value)).actual == "ACTIVE"
    assert steps(lifecycle.get_transitions("f")) == [("CREATED", "ACTIVE")]


def test_a_flow_that_has_no_status_yet_is_nowhere_else(lifecycle):
    with pytest.raises(TransitionConflictError, match="flow 'f' has no status yet") as caught:
        lifecycle.transition("f", "ACTIVE", "CLOSED")

    assert caught.value.actual is None
    assert lifecycle.get_transitions() == []


@pytest.mark.parametrize("status", ODD_STATUSES)
def test_any_string_is_a_status_and_is_told_exactly(lifecycle, status):
    lifecycle.transition("f", "CREATED", status, allowed=None)

    assert lifecycle.current_status("f") == status
    with pytest.raises(TransitionConflictError) as caught:
        lifecycle.transition("f", "elsewhere", "ACTIVE", allowed=None)
    assert caught.value.actual == status
    lifecycle.transition("f", status, "ACTIVE", allowed=None)
    assert steps(lifecycle.get_transitions("f")) == [("CREATED", status), (status, "ACTIVE")]


@pytest.mark.parametrize(
    ("expected", "to"),
    [("CREATED", "EXECUTING"), ("CLOSED", "ACTIVE"), ("ABORTED", "ABORTED"), ("mine", "ACTIVE")],
)
def test_a_transition_that_the_table_does_not_have_is_refused_wherever_the_flow_is(
    lifecycle, expected, to
):
    with pytest.raises(ValueError, match=f"to is '{to}', and after '{expected}'"):
        lifecycle.transition("f", expected, to)

    assert lifecycle.get_transitions() == []


def test_the_callers_own_table_counts_and_none_allows_everything(lifecycle):
    mine = {"CREATED": ["mine"], "mine": ("CREATED",)}
    lifecycle.transition("f", "CREATED", "mine", allowed=mine)
    with pytest.raises(ValueError, match="after 'mine' the table of allowed transitions has CREA"):
        lifecycle.transition("f", "mine", "mine", allowed=mine)
    lifecycle.transition("f", "mine", "anything", allowed=None)

    assert lifecycle.current_status("f") == "anything"


@pytest.mark.parametrize("table", [7, "CREATED", [("CREATED", "ACTIVE")]])
def test_what_is_no_table_is_refused(lifecycle, table):
    with pytest.raises(TypeError, match="allowed must be a dict of statuses"):
        lifecycle.transition("f", "CREATED", "ACTIVE", allowed=table)

    assert lifecycle.get_transitions() == []


def test_the_default_table_ends_where_dir_core_resets_the_retries():
    ends = {status for status, following in DEFAULT_TRANSITIONS.items() if not following}

    assert ends == {"CLOSED", "ABORTED"}
    assert set().union(*DEFAULT_TRANSITIONS.values()) <= set(DEFAULT_TRANSITIONS)


def test_the_default_table_has_the_flow_of_dir_core(lifecycle):
    ways = [
        ("CREATED", "ACTIVE", "VALIDATING", "ACCEPTED", "EXECUTING", "CLOSED"),
        ("CREATED", "ACTIVE", "VALIDATING", "ABORTED"),
        ("CREATED", "ACTIVE", "VALIDATING", "ESCALATED", "EXECUTING", "CLOSED"),
        ("CREATED", "ACTIVE", "VALIDATING", "ACCEPTED", "EXECUTING", "PARTIAL_SUCCESS_DIRTY")
        + ("ESCALATED", "ABORTED"),
    ]
    for number, way in enumerate(ways):
        for expected, to in itertools.pairwise(way):
            lifecycle.transition(f"f{number}", expected, to)
        assert lifecycle.current_status(f"f{number}") == way[-1]


def test_of_many_that_leave_one_status_one_does(lifecycle, race):
    """Eight hosts believe a flow to be theirs."""

    def move(number):
        try:
            lifecycle.transition("f", "CREATED", f"taken by {number}", allowed=None)
        except TransitionConflictError as conflict:
            return conflict.actual
        return f"taken by {number}"

    told = race([lambda n=n: move(n) for n in range(8)])

    assert len(set(told)) == 1
    assert steps(lifecycle.get_transitions("f")) == [("CREATED", told[0])]


def test_of_many_that_move_a_flow_on_every_step_is_made_once(lifecycle, race):
    def move_all(_):
        won = 0
        for number in range(20):
            before = "CREATED" if number == 0 else str(number)
            try:
                lifecycle.transition("f", before, str(number + 1), allowed=None)
                won += 1
            except TransitionConflictError:
                pass
        return won

    won = race([lambda n=n: move_all(n) for n in range(6)])

    rows = steps(lifecycle.get_transitions("f"))
    assert sum(won) == len(rows)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(rows))


# Closing


@pytest.fixture
def open_flow(bundle):
    """A flow with all that closing ends."""
    bundle.lifecycle.record_transition("f", "ACTIVE", "EXECUTING")
    bundle.context.set_session("f", '{"a":  1}')
    bundle.intent_retry.set_count("f", 3)
    bundle.resource_lock.set_capacity("seats", 5)
    bundle.resource_lock.acquire_batch("f", {"seats": 5, "calls": 0.5}, 0)
    return bundle


def assert_all_is_closed(bundle, dfid="f"):
    assert bundle.intent_retry.get_count(dfid) == 0
    assert bundle.resource_lock.get_locked_amount("seats", "nobody") == 0
    assert bundle.resource_lock.get_locked_amount("calls", "nobody") == 0


def test_closing_ends_all_that_a_flow_has(open_flow, is_store_time):
    open_flow.decision_audit.record("f", "BEFORE")
    closed = open_flow.lifecycle.close_flow(
        "f", "CLOSED", details={"b": 1, "a": None}, agent_id="a", root_dfid="root"
    )

    assert closed is True
    assert_all_is_closed(open_flow)
    assert open_flow.lifecycle.current_status("f") == "CLOSED"
    transition = open_flow.lifecycle.get_transitions("f")[-1]
    assert steps([transition]) == [("EXECUTING", "CLOSED")]
    assert transition["root_dfid"] == "root"
    before, row = open_flow.decision_audit.events_for_dfid("f")
    assert before["event"] == "BEFORE"
    assert is_store_time(row.pop("timestamp"))
    assert is_store_time(row.pop("created_at"))
    assert row == {
        "dfid": "f",
        "root_dfid": "root",
        "event": "FLOW_CLOSED",
        "event_type": "FLOW_CLOSED",
        "step_id": "",
        "state": "CLOSED",
        "details": {"b": 1, "a": None},
        "severity": "INFO",
    }
    assert open_flow.context.get_session("f") == '{"a":  1}'  # kept for a day


def test_closing_touches_no_other_flow(open_flow):
    open_flow.lifecycle.record_transition("g", "CREATED", "ACTIVE")
    open_flow.intent_retry.set_count("g", 2)
    open_flow.context.set_session("g", "{}")
    open_flow.resource_lock.acquire_batch("g", {"calls": 1}, 0)
    open_flow.saga.mark_dirty("f", "pay", "{}")

    open_flow.lifecycle.close_flow("f", "CLOSED", session_ttl_sec=0.001)

    assert open_flow.lifecycle.current_status("g") == "ACTIVE"
    assert open_flow.intent_retry.get_count("g") == 2
    assert open_flow.context.get_session("g") == "{}"
    assert open_flow.resource_lock.get_locked_amount("calls", "nobody") == 1
    assert open_flow.decision_audit.events_for_dfid("g") == []
    assert open_flow.saga.get_dirty_flows() == ["f"]


def test_what_a_closed_flow_held_is_free_for_others(open_flow):
    open_flow.lifecycle.close_flow("f", "ABORTED")

    assert open_flow.resource_lock.acquire_batch("g", {"seats": 5}, 0)


def test_a_flow_of_which_nothing_is_known_can_be_closed(bundle):
    assert bundle.lifecycle.close_flow("f", "ABORTED") is True

    assert steps(bundle.lifecycle.get_transitions("f")) == [("CREATED", "ABORTED")]
    assert len(bundle.decision_audit.events_for_dfid("f")) == 1
    assert bundle.context.get_session("f") is None
    assert bundle.intent_retry.get_count("f") == 0


def test_event_and_status_are_the_callers(open_flow):
    open_flow.lifecycle.close_flow("f", "é\0 done", event="mine\n")

    (row,) = open_flow.decision_audit.events_for_dfid("f")
    assert (row["event"], row["state"], row["root_dfid"]) == ("mine\n", "é\0 done", "f")
    assert open_flow.lifecycle.current_status("f") == "é\0 done"


def test_closing_again_writes_nothing_and_finishes_what_is_missing(open_flow):
    """As after a cut between the two steps of a store in partitions."""
    open_flow.lifecycle.close_flow("f", "CLOSED")
    open_flow.resource_lock.acquire_batch("f", {"seats": 1}, 0)
    open_flow.intent_retry.set_count("f", 1)
    transitions = open_flow.lifecycle.get_transitions("f")
    rows = open_flow.decision_audit.all_events_chronological()

    for expected in (None, "EXECUTING", "never"):
        assert open_flow.lifecycle.close_flow("f", "CLOSED", expected=expected) is False

    assert_all_is_closed(open_flow)
    assert open_flow.lifecycle.get_transitions("f") == transitions
    assert open_flow.decision_audit.all_events_chronological() == rows


def test_closing_from_the_expected_status(open_flow):
    assert open_flow.lifecycle.close_flow("f", "CLOSED", expected="EXECUTING") is True
    assert open_flow.lifecycle.close_flow("new", "ABORTED", expected="CREATED") is True


@pytest.mark.parametrize("actual", ["EXECUTING", *ODD_STATUSES])
def test_closing_from_another_status_changes_nothing(open_flow, actual):
    bring_to(open_flow.lifecycle, "f", actual)
    transitions = open_flow.lifecycle.get_transitions("f")

    with pytest.raises(TransitionConflictError) as caught:
        open_flow.lifecycle.close_flow("f", "CLOSED", expected="ACTIVE", session_ttl_sec=0.001)

    assert (caught.value.dfid, caught.value.expected, caught.value.actual) == (
        *("f", "ACTIVE", actual),
    )
    assert open_flow.lifecycle.get_transitions("f") == transitions
    assert open_flow.decision_audit.all_events_chronological() == []
    assert open_flow.intent_retry.get_count("f") == 3
    assert open_flow.resource_lock.get_locked_amount("seats", "nobody") == 5
    assert not session_is_gone(open_flow.context, "f", 0.02)


def test_closing_an_unknown_flow_from_another_status_is_a_conflict(bundle):
    with pytest.raises(TransitionConflictError) as caught:
        bundle.lifecycle.close_flow("f", "CLOSED", expected="EXECUTING")

    assert caught.value.actual is None
    assert bundle.lifecycle.get_transitions() == []
    assert bundle.decision_audit.all_events_chronological() == []


def test_a_status_that_the_default_table_has_not_may_end_a_flow_from_anywhere(open_flow):
    assert open_flow.lifecycle.close_flow("f", "GONE") is True
    assert open_flow.lifecycle.close_flow("f", "CLOSED") is True

    rows = open_flow.lifecycle.get_transitions("f")
    assert steps(rows)[-2:] == [("EXECUTING", "GONE"), ("GONE", "CLOSED")]


@pytest.mark.parametrize(
    "details", [[1], "{}", {b"bytes": 1}, {(1, 2): 1}], ids=lambda value: type(value).__name__
)
def test_details_that_cannot_be_stored_change_nothing(open_flow, details):
    with pytest.raises(TypeError, match="details"):
        open_flow.lifecycle.close_flow("f", "CLOSED", details=details)

    assert open_flow.lifecycle.current_status("f") == "EXECUTING"
    assert open_flow.intent_retry.get_count("f") == 3


def test_of_many_that_close_a_flow_one_does(open_flow, race):
    close = open_flow.lifecycle.close_flow

    told = race([lambda n=n: close("f", "CLOSED", details={"by": n}) for n in range(8)])

    assert sorted(told) == [False] * 7 + [True]
    assert steps(open_flow.lifecycle.get_transitions("f"))[1:] == [("EXECUTING", "CLOSED")]
    (row,) = open_flow.decision_audit.events_for_dfid("f")
    assert row["details"] == {"by": told.index(True)}
    assert_all_is_closed(open_flow)


def test_a_follower_of_the_audit_log_sees_a_flow_closed(open_flow, race):
    followed = open_flow.decision_audit.follow(timeout_sec=20)

    _, row = race([lambda: open_flow.lifecycle.close_flow("f", "CLOSED"), lambda: next(followed)])

    assert (row["event"], row["state"]) == ("FLOW_CLOSED", "CLOSED")


def test_a_reservation_that_waited_gets_what_a_closed_flow_held(open_flow, race):
    def wait():
        with open_flow.resource_lock.reserve("g", {"seats": 5}, wait_sec=20) as reservation:
            return reservation.dfid

    def close():
        # Closed while the other waits, or before: it gets its room either way.
        time.sleep(0.05)
        return open_flow.lifecycle.close_flow("f", "CLOSED")

    assert race([wait, close]) == ["g", True]


def test_closing_releases_whoever_holds_it_and_the_holder_is_told(open_flow):
    reservation = open_flow.resource_lock.reserve("f", {"seats": 5}, lease_sec=60)
    open_flow.lifecycle.close_flow("f", "CLOSED")

    with pytest.raises(LeaseLostError):
        reservation.renew()
    assert_all_is_closed(open_flow)


# The session of a closed flow


def session_is_gone(context, dfid, within_sec):
    """Whether a session ends in time; looked at until it does."""
    deadline = time.monotonic() + within_sec
    while context.get_session(dfid) is not None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.005)
    return True


def test_a_session_is_gone_after_its_time_and_not_before(open_flow):
    began = time.monotonic()
    open_flow.lifecycle.close_flow("f", "CLOSED", session_ttl_sec=0.2)

    if time.monotonic() - began < 0.1:
        assert open_flow.context.get_session("f") is not None
    assert session_is_gone(open_flow.context, "f", 10)


def test_without_a_time_a_session_stays(open_flow):
    open_flow.lifecycle.close_flow("f", "CLOSED", session_ttl_sec=None)

    assert not session_is_gone(open_flow.context, "f", 0.05)


def test_closing_again_gives_no_session_more_time(open_flow):
    open_flow.lifecycle.close_flow("f", "CLOSED", session_ttl_sec=0.2)
    open_flow.lifecycle.close_flow("f", "CLOSED", session_ttl_sec=3600)
    open_flow.lifecycle.close_flow("f", "CLOSED", session_ttl_sec=None)

    assert session_is_gone(open_flow.context, "f", 10)


def test_closing_again_gives_a_session_that_had_no_end_its_time(open_flow):
    open_flow.lifecycle.close_flow("f", "CLOSED", session_ttl_sec=None)
    open_flow.lifecycle.close_flow("f", "CLOSED", session_ttl_sec=0.02)

    assert session_is_gone(open_flow.context, "f", 10)


def test_ending_a_closed_flow_in_another_status_sets_its_sessions_time_anew(open_flow):
    open_flow.lifecycle.close_flow("f", "MAINTENANCE_MODE", session_ttl_sec=0.3)
    open_flow.lifecycle.close_flow("f", "CLOSED", session_ttl_sec=None)

    assert not session_is_gone(open_flow.context, "f", 0.5)


@pytest.mark.parametrize("ttl", [0, -1, 0.0001, float("inf"), float("nan"), "1", True])
def test_an_impossible_time_is_refused_and_nothing_is_closed(open_flow, ttl):
    with pytest.raises((TypeError, ValueError), match="session_ttl_sec"):
        open_flow.lifecycle.close_flow("f", "CLOSED", session_ttl_sec=ttl)

    assert open_flow.lifecycle.current_status("f") == "EXECUTING"
