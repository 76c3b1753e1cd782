"""The audit log: append-only, in order, each row of one shape."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

ROW_KEYS = {
    "dfid",
    "root_dfid",
    "event",
    "event_type",
    "timestamp",
    "created_at",
    "step_id",
    "state",
    "details",
    "severity",
}


def test_an_empty_log_has_no_rows(audit):
    assert audit.events_for_dfid("f") == []
    assert audit.all_events_chronological() == []


def test_record_returns_nothing(audit):
    assert audit.record("f", "started") is None


def test_a_row_has_exactly_its_ten_keys(audit):
    audit.record("f", "started", agent_id="a")

    assert [set(row) for row in audit.events_for_dfid("f")] == [ROW_KEYS]
    assert [set(row) for row in audit.all_events_chronological()] == [ROW_KEYS]


def test_a_row_returns_what_was_recorded(audit):
    audit.record(
        "f",
        "proposed",
        step_id="s1",
        state="VALIDATING",
        details={"x": [1, None]},
        root_dfid="root",
        agent_id="a",
        severity="ERROR",
    )

    (row,) = audit.events_for_dfid("f")
    del row["timestamp"], row["created_at"]
    assert row == {
        "dfid": "f",
        "root_dfid": "root",
        "event": "proposed",
        "event_type": "proposed",
        "step_id": "s1",
        "state": "VALIDATING",
        "details": {"x": [1, None]},
        "severity": "ERROR",
    }


def test_what_is_left_out_has_its_default_and_the_root_is_the_flow_itself(audit):
    audit.record("f", "started")

    (row,) = audit.events_for_dfid("f")
    del row["timestamp"], row["created_at"]
    assert row == {
        "dfid": "f",
        "root_dfid": "f",
        "event": "started",
        "event_type": "started",
        "step_id": "",
        "state": "",
        "details": {},
        "severity": "INFO",
    }


def test_both_reads_return_the_same_rows(audit):
    audit.record("f", "a", details={"n": 1})
    audit.record("f", "b", root_dfid="r", severity="DEBUG")

    assert audit.events_for_dfid("f") == audit.all_events_chronological()


def test_a_timestamp_is_utc_in_the_one_form_and_created_at_repeats_it(audit, is_store_time):
    audit.record("f", "started")

    (row,) = audit.events_for_dfid("f")
    assert is_store_time(row["timestamp"])
    assert row["created_at"] == row["timestamp"]


@pytest.mark.usefixtures("caller_in_tokyo")
def test_a_timestamp_is_utc_whatever_the_callers_time_zone(audit, is_store_time):
    audit.record("f", "started")

    assert is_store_time(audit.events_for_dfid("f")[0]["timestamp"])


@pytest.mark.parametrize("severity", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
def test_the_five_severities_are_kept(audit, severity):
    audit.record("f", "e", severity=severity)

    assert audit.events_for_dfid("f")[0]["severity"] == severity


@pytest.mark.parametrize(
    "severity", ["", "info", "Error", "WARN", "FATAL", " ERROR", "ERROR\n", None, 40, "\ud800"]
)
def test_any_other_severity_becomes_info(audit, severity):
    audit.record("f", "e", severity=severity)

    assert audit.events_for_dfid("f")[0]["severity"] == "INFO"


@pytest.mark.parametrize("text", ["", " ", "é\0\n😀", "None", "0", "x" * 5000])
def test_event_step_and_state_are_any_string_and_come_back_exactly(audit, text):
    audit.record("f", text, step_id=text, state=text)

    (row,) = audit.events_for_dfid("f")
    assert [row["event"], row["event_type"], row["step_id"], row["state"]] == [text] * 4


@pytest.mark.parametrize("details", [None, {}])
def test_no_details_are_an_empty_dict(audit, details):
    audit.record("f", "e", details=details)

    assert audit.events_for_dfid("f")[0]["details"] == {}


@pytest.mark.parametrize(
    ("details", "returned"),
    [
        (
            {"at": datetime(2026, 1, 2, tzinfo=UTC), "id": UUID(int=1)},
            {
                "at": "2026-01-02 00:00:00+00:00",
                "id": "00000000-0000-0000-0000-000000000001",
            },
        ),
        ({1: (2, 3)}, {"1": [2, 3]}),
        ({"n": 2**70, "x": 0.1, "none": None}, {"n": 2**70, "x": 0.1, "none": None}),
        ({"empty": [], "object": {}}, {"empty": [], "object": {}}),
        ({"é\0": "😀\n"}, {"é\0": "😀\n"}),
    ],
)
def test_details_come_back_as_their_json_round_trip(audit, details, returned):
    audit.record("f", "e", details=details)

    assert audit.events_for_dfid("f")[0]["details"] == returned


def test_details_come_back_with_sorted_keys_since_that_is_the_stored_encoding(audit):
    audit.record("f", "e", details={"b": 1, "a": {"d": 1, "c": 2}})

    details = audit.events_for_dfid("f")[0]["details"]
    assert list(details) == ["a", "b"]
    assert list(details["a"]) == ["c", "d"]


def test_rows_are_returned_in_order_of_insertion(audit):
    for n, dfid in enumerate(["b", "a", "b", "c", "a"]):
        audit.record(dfid, str(n))

    assert [row["event"] for row in audit.all_events_chronological()] == ["0", "1", "2", "3", "4"]
    assert [row["event"] for row in audit.events_for_dfid("b")] == ["0", "2"]
    assert [row["event"] for row in audit.events_for_dfid("a")] == ["1", "4"]


def test_the_same_row_recorded_twice_is_two_rows(audit):
    audit.record("f", "e", details={"n": 1})
    audit.record("f", "e", details={"n": 1})

    assert [row["event"] for row in audit.events_for_dfid("f")] == ["e", "e"]


def test_a_descendants_rows_are_its_own_and_not_its_roots(audit):
    audit.record("child", "e", root_dfid="root")

    assert audit.events_for_dfid("root") == []
    assert [row["root_dfid"] for row in audit.events_for_dfid("child")] == ["root"]


def test_a_later_row_changes_no_earlier_one(audit):
    audit.record("f", "first", state="A", details={"n": 1})
    before = audit.all_events_chronological()
    audit.record("f", "first", state="B", details={"n": 2}, severity="ERROR", root_dfid="r")

    assert audit.all_events_chronological()[:1] == before
    assert audit.events_for_dfid("f")[:1] == before


def test_changing_what_was_returned_changes_nothing_stored(audit):
    audit.record("f", "e", details={"steps": ["a"]})
    for rows in (audit.events_for_dfid("f"), audit.all_events_chronological()):
        rows[0]["details"]["steps"].append("b")
        rows[0]["event"] = "changed"
        rows.clear()

    for rows in (audit.events_for_dfid("f"), audit.all_events_chronological()):
        assert [(row["event"], row["details"]) for row in rows] == [("e", {"steps": ["a"]})]


def test_changing_what_was_passed_in_changes_nothing_stored(audit):
    details = {"steps": ["a"]}
    audit.record("f", "e", details=details)
    details["steps"].append("b")

    assert audit.events_for_dfid("f")[0]["details"] == {"steps": ["a"]}


def test_3000_rows_of_30_flows_are_read_whole_and_in_order(audit):
    for n in range(3000):
        audit.record(f"f{n * 7 % 30}", "e", details={"n": n})

    rows = audit.all_events_chronological()
    assert [row["details"]["n"] for row in rows] == list(range(3000))
    assert [row["dfid"] for row in rows] == [f"f{n * 7 % 30}" for n in range(3000)]
    timestamps = [row["timestamp"] for row in rows]
    assert timestamps == sorted(timestamps)
    for flow in range(30):
        expected = [n for n in range(3000) if n * 7 % 30 == flow]
        own = audit.events_for_dfid(f"f{flow}")
        assert [row["details"]["n"] for row in own] == expected


def test_2500_rows_of_one_flow_are_read_whole_and_in_order(audit):
    audit.record("other", "first")
    for n in range(2500):
        audit.record("f", str(n))
    audit.record("other", "last")

    rows = audit.events_for_dfid("f")
    assert [row["event"] for row in rows] == [str(n) for n in range(2500)]
    timestamps = [row["timestamp"] for row in rows]
    assert timestamps == sorted(timestamps)


def test_concurrent_records_are_all_there_each_threads_own_in_order(audit, race):
    def write(n: int) -> None:
        for turn in range(20):
            audit.record(f"f{n % 4}", f"{n}", step_id=f"{turn}", details={"n": n, "turn": turn})

    race([lambda n=n: write(n) for n in range(16)])

    rows = audit.all_events_chronological()
    assert len(rows) == 320
    for n in range(16):
        own = [row for row in rows if row["event"] == str(n)]
        assert [row["details"] for row in own] == [{"n": n, "turn": turn} for turn in range(20)]
        assert [row["step_id"] for row in own] == [str(turn) for turn in range(20)]
    for flow in ("f0", "f1", "f2", "f3"):
        assert audit.events_for_dfid(flow) == [row for row in rows if row["dfid"] == flow]


@pytest.mark.parametrize("depth", [100, 500, 700, 900, 950, 980, 5_000])
def test_nested_details_are_refused_or_read_back(bundle, depth):
    details = {}
    for _ in range(depth):
        details = {"in": details}

    refused = refusal_of(lambda: bundle.decision_audit.record("f", "E", details=details))

    rows = bundle.decision_audit.events_for_dfid("f")
    assert rows == bundle.decision_audit.all_events_chronological()
    if depth <= 700:
        assert refused is None
    if refused is None:
        assert rows[0]["details"] == details
    else:
        assert "details" in refused
        assert rows == []


@pytest.mark.parametrize("depth", [100, 500, 700, 900, 950, 980, 5_000])
def test_a_nested_request_never_spoils_the_list_of_requests(bundle, depth):
    document = "[" * depth + "]" * depth

    refused = refusal_of(
        lambda: bundle.escalation.insert_request("f", "a", "r", document, "{}", "i")
    )

    assert len(bundle.escalation.get_pending_requests()) == (refused is None)
    assert refused is None or "context_json" in refused


def refusal_of(call):
    """The message of the ValueError that a call raises, or None."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return None
