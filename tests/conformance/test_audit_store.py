"""AuditStore: two storages behind one small object."""

from __future__ import annotations

import inspect

import pytest

from dir_redis import AuditStore, DecisionAuditStorage


@pytest.fixture
def store(audit, idempotency):
    return AuditStore(audit, idempotency)


def test_it_is_built_from_a_decision_audit_and_an_idempotency_storage_also_by_name(
    audit, idempotency
):
    store = AuditStore(decision_audit=audit, idempotency=idempotency)
    store.record("f", "e")

    assert len(store.events_for_dfid("f")) == 1


def test_it_has_slots_and_takes_no_other_attribute(store):
    assert not hasattr(store, "__dict__")
    with pytest.raises(AttributeError):
        store.note = 1


def test_record_takes_the_same_arguments_as_the_storages():
    assert (
        inspect.signature(AuditStore.record).parameters
        == inspect.signature(DecisionAuditStorage.record).parameters
    )


def test_record_passes_every_argument_on(store, audit):
    store.record(
        "f",
        "e",
        step_id="s",
        state="ACTIVE",
        details={"n": 1},
        root_dfid="root",
        agent_id="a",
        severity="ERROR",
    )

    (row,) = audit.events_for_dfid("f")
    del row["timestamp"], row["created_at"]
    assert row == {
        "dfid": "f",
        "root_dfid": "root",
        "event": "e",
        "event_type": "e",
        "step_id": "s",
        "state": "ACTIVE",
        "details": {"n": 1},
        "severity": "ERROR",
    }


def test_record_has_the_storages_defaults(store, audit):
    store.record("f", "e")

    (row,) = audit.events_for_dfid("f")
    assert [row["step_id"], row["state"], row["details"]] == ["", "", {}]
    assert [row["root_dfid"], row["severity"]] == ["f", "INFO"]


def test_rows_are_those_of_the_storage(store, audit):
    audit.record("f1", "directly")
    store.record("f2", "through the store")

    assert store.all_events_chronological() == audit.all_events_chronological()
    assert [row["event"] for row in store.all_events_chronological()] == [
        "directly",
        "through the store",
    ]
    assert store.events_for_dfid("f2") == audit.events_for_dfid("f2")
    assert store.events_for_dfid("ghost") == []


def test_a_result_that_was_never_saved_is_none(store):
    assert store.get_idempotent_result("k") is None


def test_a_saved_result_has_its_flow_added(store, idempotency):
    store.save_idempotent_result("k", "f", {"paid": 10})

    assert store.get_idempotent_result("k") == {"paid": 10, "_dfid": "f"}
    assert idempotency.get("k") == {"paid": 10, "_dfid": "f"}


def test_saving_leaves_the_callers_dict_untouched(store):
    result = {"paid": 10}
    store.save_idempotent_result("k", "f", result)

    assert result == {"paid": 10}


def test_a_flow_named_in_the_result_gives_way_to_the_one_that_saves_it(store):
    store.save_idempotent_result("k", "f", {"_dfid": "other"})

    assert store.get_idempotent_result("k") == {"_dfid": "f"}


def test_saving_again_replaces_the_result(store):
    store.save_idempotent_result("k", "f1", {"a": 1})
    store.save_idempotent_result("k", "f2", {"b": 2})

    assert store.get_idempotent_result("k") == {"b": 2, "_dfid": "f2"}


def test_a_result_set_directly_is_returned_as_it_is(store, idempotency):
    idempotency.set("k", {"a": 1})

    assert store.get_idempotent_result("k") == {"a": 1}


def test_saving_a_result_records_no_row(store):
    store.save_idempotent_result("k", "f", {"a": 1})

    assert store.all_events_chronological() == []


def test_a_bad_key_or_result_is_refused(store):
    with pytest.raises(ValueError, match="key"):
        store.save_idempotent_result("", "f", {"a": 1})
    with pytest.raises(ValueError, match="key"):
        store.get_idempotent_result("")
    with pytest.raises(TypeError):
        store.save_idempotent_result("k", "f", [1])

    assert store.get_idempotent_result("k") is None


def test_close_may_be_called_again_and_leaves_the_storages_open(store, audit, idempotency):
    store.close()
    store.close()
    audit.record("f", "e")
    idempotency.set("k", {"a": 1})

    assert len(audit.events_for_dfid("f")) == 1
    assert idempotency.get("k") == {"a": 1}


@pytest.mark.parametrize("dfid", ["", 7, None, "x" * 1025])
def test_a_bad_dfid_of_a_saved_result_is_refused_with_nothing_stored(bundle, dfid):
    store = AuditStore(bundle.decision_audit, bundle.idempotency)

    with pytest.raises((TypeError, ValueError), match="dfid"):
        store.save_idempotent_result("k", dfid, {})

    assert store.get_idempotent_result("k") is None


@pytest.mark.parametrize("result", [None, [], "x", 1])
def test_a_saved_result_that_is_no_dict_is_refused(bundle, result):
    store = AuditStore(bundle.decision_audit, bundle.idempotency)

    with pytest.raises(TypeError, match="result"):
        store.save_idempotent_result("k", "f", result)


@pytest.mark.parametrize("details", [[], "", 0, False, "x"])
def test_details_that_are_no_dict_are_refused_also_when_they_are_empty(bundle, details):
    with pytest.raises(TypeError, match="details"):
        bundle.decision_audit.record("f", "E", details=details)

    assert bundle.decision_audit.events_for_dfid("f") == []
