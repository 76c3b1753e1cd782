"""The ledger in the store, with every release of dir-core."""

from __future__ import annotations

import inspect

import dir_core
import pytest
from dir_core import ProofCarryingIntent

from dir_redis.kernel import DecisionLedger

TAKES_AGENT_ID = "agent_id" in inspect.signature(dir_core.DecisionLedger.append).parameters


def intent(dfid, amount=1):
    return ProofCarryingIntent(
        dfid=dfid, intent_payload={"buy": amount}, context_ref="ctx", evidence_hash="e" * 64
    )


class Entries:
    """A ledger storage that keeps count of what is asked of it."""

    def __init__(self):
        self.entries, self.reads = [], 0

    def append(self, pci, *, agent_id):
        entry = {"dfid": pci.dfid, "intent_payload": pci.intent_payload, "agent_id": agent_id}
        if entry not in self.entries:
            self.entries.append(entry)

    def all_entries_chronological(self):
        self.reads += 1
        return list(self.entries)

    def count_entries(self):
        return len(self.entries)


def test_entries_go_to_the_storage_and_are_counted_without_reading_them():
    storage = Entries()
    ledger = DecisionLedger(storage)
    for dfid in ("f", "g", "f"):
        ledger.append(intent(dfid), agent_id="a")

    assert len(ledger) == 2
    assert storage.reads == 0
    assert ledger.entries() == [
        {"dfid": dfid, "intent_payload": {"buy": 1}, "agent_id": "a"} for dfid in ("f", "g")
    ]
    assert DecisionLedger(storage=storage).entries() == ledger.entries()


def test_with_a_storage_somebody_must_have_decided():
    storage = Entries()

    with pytest.raises(TypeError, match="agent_id"):
        DecisionLedger(storage).append(intent("f"))
    assert storage.entries == []


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
