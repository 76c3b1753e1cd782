"""Verified decisions, appended in the process's memory: the ledger of every release."""

from __future__ import annotations

import pytest
from dir_core import ProofCarryingIntent

from tests.kernel.offers import LEDGER_STORAGE

# 0.3 and later want to be told who decided.
BY = {"agent_id": "agent"} if LEDGER_STORAGE else {}


@pytest.fixture
def ledger(managers):
    return managers.DecisionLedger()


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
