"""The ledger in the store, with every release of dir-core."""

from __future__ import annotations

import inspect

import dir_core
import pytest
from dir_core import ProofCarryingIntent

from dir_redis import LedgerConflictError
from dir_redis.kernel import DecisionLedger

TAKES_AGENT_ID = "agent_id" in inspect.signature(dir_core.DecisionLedger.append).parameters


def intent(dfid, amount=1):
    return ProofCarryingIntent(
        dfid=dfid, intent_payload={"buy": amount}, context_ref="ctx", evidence_hash="e" * 64
    )


def test_entries_are_the_stores_with_every_release(bundle):
    ledger = DecisionLedger(bundle.decision_ledger)
    for dfid in ("f", "g", "f"):
        ledger.append(intent(dfid), agent_id="a")

    assert len(ledger) == 2
    assert {(e["dfid"], e["agent_id"], e["intent_payload"]["buy"]) for e in ledger.entries()} == {
        ("f", "a", 1),
        ("g", "a", 1),
    }
    assert DecisionLedger(storage=bundle.decision_ledger).entries() == ledger.entries()
    assert bundle.decision_ledger.verify_ledger().intact


def test_a_flow_is_decided_once(bundle):
    ledger = DecisionLedger(bundle.decision_ledger)
    ledger.append(intent("f"), agent_id="a")
    with pytest.raises(LedgerConflictError) as refused:
        ledger.append(intent("f", amount=2), agent_id="a")

    assert (refused.value.dfid, refused.value.differing) == ("f", ("intent_payload",))
    assert [entry["intent_payload"] for entry in ledger.entries()] == [{"buy": 1}]


def test_of_8_hosts_that_decide_one_flow_one_does_and_equal_ones_agree(bundle, race):
    def decide(amount):
        try:
            DecisionLedger(bundle.decision_ledger).append(intent("f", amount), agent_id="a")
        except LedgerConflictError:
            return None
        return amount

    stood = set(race([lambda n=n: decide(n % 4) for n in range(8)])) - {None}

    (entry,) = DecisionLedger(bundle.decision_ledger).entries()
    assert stood == {entry["intent_payload"]["buy"]}
    assert bundle.decision_ledger.verify_ledger().intact


def test_the_length_reads_no_entry(bundle, monkeypatch):
    ledger = DecisionLedger(bundle.decision_ledger)
    ledger.append(intent("f"), agent_id="a")
    reading = lambda _: pytest.fail("all entries were read")  # noqa: E731
    monkeypatch.setattr(type(bundle.decision_ledger), "all_entries_chronological", reading)

    ledger.append(intent("g"), agent_id="a")
    assert len(ledger) == 2


def test_with_a_storage_somebody_must_have_decided(bundle):
    ledger = DecisionLedger(bundle.decision_ledger)

    with pytest.raises(TypeError, match="agent_id"):
        ledger.append(intent("f"))
    assert len(ledger) == 0


def test_without_a_storage_it_is_dir_cores_list_of_this_process():
    ours, cores = DecisionLedger(), dir_core.DecisionLedger()
    named = {"agent_id": "a"} if TAKES_AGENT_ID else {}
    for dfid in ("f", "g", "f"):
        cores.append(intent(dfid), **named)
        ours.append(intent(dfid), agent_id="a")

    assert ours.entries() == cores.entries()
    assert len(ours) == len(cores) == 3
    ours.entries().clear()
    assert len(ours) == 3


def test_without_a_storage_the_agent_may_be_left_out_where_dir_core_knows_none():
    ledger = DecisionLedger()
    if TAKES_AGENT_ID:
        with pytest.raises(TypeError, match="agent_id"):
            ledger.append(intent("f"))
    else:
        ledger.append(intent("f"))
    assert len(ledger) == (0 if TAKES_AGENT_ID else 1)
