"""Verified decisions: in the process's memory, and from 0.3 on in a store (DIR Topology C)."""

from __future__ import annotations

import pytest
from dir_core import ProofCarryingIntent

from dir_redis import LedgerConflictError
from tests.dir_core_needed import only_where
from tests.kernel.offers import LEDGER_STORAGE

# 0.3 and later want to be told who decided.
BY = {"agent_id": "agent"} if LEDGER_STORAGE else {}


@pytest.fixture
def ledger(managers):
    return managers.DecisionLedger()


@pytest.fixture
def stored(managers, bundle):
    return managers.DecisionLedger(storage=bundle.decision_ledger)


def intent(dfid="flow", **changes):
    fields = {"intent_payload": {"shares": 5}, "context_ref": "snapshot", "evidence_hash": "e1"}
    return ProofCarryingIntent(dfid=dfid, **(fields | changes))


def test_a_new_ledger_is_empty(ledger):
    assert len(ledger) == 0
    assert ledger.entries() == []


def test_entries_come_in_the_order_of_their_appending(ledger):
    for dfid in ("c", "a", "b"):
        assert ledger.append(intent(dfid), **BY) is None

    assert len(ledger) == 3
    assert [entry["dfid"] for entry in ledger.entries()] == ["c", "a", "b"]


def test_an_entry_has_what_was_decided_and_its_evidence(ledger):
    ledger.append(intent(), **BY)

    (entry,) = ledger.entries()
    assert entry["dfid"] == "flow"
    assert entry["intent_payload"] == {"shares": 5}
    assert entry["evidence_hash"] == "e1"


def test_the_list_of_entries_is_the_callers_own(ledger):
    ledger.append(intent(), **BY)
    ledger.entries().clear()

    assert len(ledger) == 1


@only_where(LEDGER_STORAGE)
def test_a_stored_ledger_has_its_entries_in_order_of_appending(stored):
    assert len(stored) == 0
    for dfid in ("c", "a", "b"):
        assert stored.append(intent(dfid), agent_id="agent") is None

    assert len(stored) == 3
    assert [entry["dfid"] for entry in stored.entries()] == ["c", "a", "b"]


@only_where(LEDGER_STORAGE)
def test_a_stored_entry_has_all_of_the_intent_and_who_decided(stored):
    stored.append(intent(signature="s1"), agent_id="agent")

    (entry,) = stored.entries()
    del entry["committed_at"]
    assert entry == {
        "dfid": "flow",
        "root_dfid": "flow",
        "agent_id": "agent",
        "intent_payload": {"shares": 5},
        "context_ref": "snapshot",
        "evidence_hash": "e1",
        "signature": "s1",
    }


@only_where(LEDGER_STORAGE)
def test_the_same_intent_again_is_one_entry(stored):
    stored.append(intent(), agent_id="agent")
    stored.append(intent(), agent_id="agent")

    assert len(stored) == 1


@only_where(LEDGER_STORAGE)
@pytest.mark.parametrize(
    "changes",
    [{"intent_payload": {"shares": 6}}, {"evidence_hash": "e2"}, {"signature": "s2"}],
    ids=["payload", "evidence", "signature"],
)
def test_another_intent_of_a_flow_is_an_error_and_the_first_stays(stored, changes):
    """dir-core's own backends drop it without a word."""
    stored.append(intent(), agent_id="agent")

    with pytest.raises(LedgerConflictError):
        stored.append(intent(**changes), agent_id="agent")

    (entry,) = stored.entries()
    assert (entry["intent_payload"], entry["evidence_hash"]) == ({"shares": 5}, "e1")
    assert entry["signature"] == ""


@only_where(LEDGER_STORAGE)
def test_stored_entries_are_the_callers_own(stored):
    stored.append(intent(), agent_id="agent")
    stored.entries()[0]["intent_payload"]["shares"] = 99

    assert stored.entries()[0]["intent_payload"] == {"shares": 5}


@only_where(LEDGER_STORAGE)
def test_ledgers_on_one_store_are_one_chain(managers, bundle, stored):
    other = managers.DecisionLedger(storage=bundle.decision_ledger)
    stored.append(intent("flow-1"), agent_id="agent")
    other.append(intent("flow-2"), agent_id="agent")

    assert len(other) == len(stored) == 2
    assert bundle.decision_ledger.verify_ledger().intact is True
