"""Status changes of flows, and the retries that end with them (DIR §4.3)."""

from __future__ import annotations

import itertools

import pytest
from dir_core import FlowStatus

from tests.dir_core_needed import only_where
from tests.kernel.offers import ROOT_OF_A_TRANSITION

TO_THE_END = [
    FlowStatus.CREATED,
    FlowStatus.ACTIVE,
    FlowStatus.VALIDATING,
    FlowStatus.ACCEPTED,
    FlowStatus.EXECUTING,
    FlowStatus.CLOSED,
]
ABORTED = [*TO_THE_END[:3], FlowStatus.ABORTED]
ESCALATED = [*TO_THE_END[:3], FlowStatus.ESCALATED]


@pytest.fixture
def governor(managers, bundle):
    return managers.IntentRetryGovernor(storage=bundle.intent_retry)


def walk(managers, bundle, dfid, statuses, **options):
    for before, after in itertools.pairwise(statuses):
        managers.transition(dfid, before, after, storage=bundle.lifecycle, **options)


def steps(bundle, dfid):
    rows = bundle.lifecycle.get_transitions(dfid)
    return [(row["from_status"], row["to_status"]) for row in rows]


def test_a_transition_returns_nothing_and_is_recorded(managers, bundle):
    result = managers.transition(
        "flow", FlowStatus.CREATED, FlowStatus.ACTIVE, storage=bundle.lifecycle
    )

    assert result is None
    (row,) = bundle.lifecycle.get_transitions("flow")
    assert (row["from_status"], row["to_status"]) == ("CREATED", "ACTIVE")
    assert row["dfid"] == row["root_dfid"] == "flow"


def test_a_flow_is_recorded_to_its_end(managers, bundle):
    walk(managers, bundle, "flow", TO_THE_END)

    assert steps(bundle, "flow") == [
        ("CREATED", "ACTIVE"),
        ("ACTIVE", "VALIDATING"),
        ("VALIDATING", "ACCEPTED"),
        ("ACCEPTED", "EXECUTING"),
        ("EXECUTING", "CLOSED"),
    ]


def test_flows_are_recorded_apart(managers, bundle):
    walk(managers, bundle, "flow-1", ABORTED)
    walk(managers, bundle, "flow-2", ESCALATED)

    assert steps(bundle, "flow-1")[-1] == ("VALIDATING", "ABORTED")
    assert steps(bundle, "flow-2")[-1] == ("VALIDATING", "ESCALATED")


@only_where(ROOT_OF_A_TRANSITION)
def test_a_transition_can_name_the_root_flow(managers, bundle):
    walk(managers, bundle, "child", TO_THE_END[:3], root_dfid="parent")

    roots = [row["root_dfid"] for row in bundle.lifecycle.get_transitions("child")]
    assert roots == ["parent", "parent"]


@pytest.mark.parametrize("statuses", [TO_THE_END, ABORTED])
def test_an_ended_flow_has_its_rejections_forgotten(managers, bundle, governor, statuses):
    governor.record_rejection("flow")
    governor.record_rejection("other")

    walk(managers, bundle, "flow", statuses, retry_governor=governor)

    assert governor.record_rejection("flow") == 1
    assert governor.record_rejection("other") == 2


@pytest.mark.parametrize("statuses", [TO_THE_END[:-1], ESCALATED])
def test_a_flow_that_goes_on_keeps_its_rejections(managers, bundle, governor, statuses):
    governor.record_rejection("flow")

    walk(managers, bundle, "flow", statuses, retry_governor=governor)

    assert governor.record_rejection("flow") == 2


def test_without_a_store_only_the_rejections_are_forgotten(managers, bundle, governor):
    governor.record_rejection("flow")

    managers.transition("flow", FlowStatus.EXECUTING, FlowStatus.CLOSED, governor)

    assert governor.record_rejection("flow") == 1
    assert bundle.lifecycle.get_transitions("flow") == []


def test_a_store_takes_precedence_over_a_file(managers, bundle, tmp_path):
    file = tmp_path / "flows.db"
    managers.transition(
        "flow",
        FlowStatus.CREATED,
        FlowStatus.ACTIVE,
        db_path=str(file),
        storage=bundle.lifecycle,
    )

    assert steps(bundle, "flow") == [("CREATED", "ACTIVE")]
    assert not file.exists()
