"""The audit log and the idempotency cache behind one handle (DIR §7)."""

from __future__ import annotations

import dir_core
import pytest

import dir_redis
from tests.dir_core_needed import only_where
from tests.kernel.offers import AGENT_OF_A_SESSION


@pytest.fixture(params=[dir_core.AuditStore, dir_redis.AuditStore], ids=["unmodified", "ours"])
def audit(request, bundle):
    return request.param(bundle.decision_audit, bundle.idempotency)


def test_a_row_has_all_that_was_said(audit):
    audit.record("flow", "ORDER_SENT", step_id="buy", state="EXECUTING", details={"shares": 5})

    (row,) = audit.events_for_dfid("flow")
    assert {key: row[key] for key in ("dfid", "event", "step_id", "state", "details")} == {
        "dfid": "flow",
        "event": "ORDER_SENT",
        "step_id": "buy",
        "state": "EXECUTING",
        "details": {"shares": 5},
    }


def test_a_row_needs_only_a_flow_and_an_event(audit):
    audit.record("flow", "SEEN")

    (row,) = audit.events_for_dfid("flow")
    assert (row["step_id"], row["state"], row["details"]) == ("", "", {})


@only_where(AGENT_OF_A_SESSION)
def test_a_row_can_name_its_root_its_agent_and_its_severity(audit):
    audit.record("flow", "SEEN", root_dfid="parent", agent_id="agent", severity="ERROR")
    audit.record("flow", "SEEN", severity="LOUD")

    rows = audit.events_for_dfid("flow")
    assert [(row["root_dfid"], row["severity"]) for row in rows] == [
        ("parent", "ERROR"),
        ("flow", "INFO"),
    ]


def test_rows_come_in_order_of_a_flow_and_of_all(audit):
    for number in range(3):
        audit.record("flow-1", f"A{number}")
        audit.record("flow-2", f"B{number}")

    of_flow = [row["event"] for row in audit.events_for_dfid("flow-1")]
    of_all = [row["event"] for row in audit.all_events_chronological()]
    assert of_flow == ["A0", "A1", "A2"]
    assert of_all == ["A0", "B0", "A1", "B1", "A2", "B2"]


def test_a_flow_without_rows_has_none(audit):
    assert audit.events_for_dfid("flow") == []
    assert audit.all_events_chronological() == []


def test_rows_are_the_callers_own(audit):
    audit.record("flow", "SEEN", details={"list": [1]})

    audit.events_for_dfid("flow")[0]["details"]["list"].append(2)

    assert audit.events_for_dfid("flow")[0]["details"] == {"list": [1]}


def test_a_result_is_saved_with_its_flow_and_the_callers_dict_is_left_alone(audit):
    result = {"order": 7}
    audit.save_idempotent_result("key", "flow", result)

    assert audit.get_idempotent_result("key") == {"order": 7, "_dfid": "flow"}
    assert result == {"order": 7}


def test_a_result_never_saved_is_none(audit):
    assert audit.get_idempotent_result("key") is None


def test_a_result_saved_by_hand_is_what_a_guard_finds(audit, bundle):
    key = dir_core.idempotency_key("flow", "buy", {})
    audit.save_idempotent_result(key, "flow", {"order": 7})

    guard = dir_core.IdempotencyGuard(bundle.idempotency)
    assert guard.run("flow", "buy", {}, lambda: {"order": 8}) == {"order": 7, "_dfid": "flow"}


def test_closing_leaves_the_store_open(audit, bundle):
    audit.close()

    bundle.decision_audit.record("flow", "SEEN")
    assert len(audit.events_for_dfid("flow")) == 1
