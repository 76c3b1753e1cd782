"""The decision ledger: one verified decision per flow, never replaced, chained by hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from dir_redis import (
    DecisionLedgerStorage,
    LedgerChainStorage,
    LedgerConflictError,
    StorageBundle,
    StorageError,
)
from tests.conformance.conftest import Race


@dataclass
class Intent:
    """What a proof-carrying intent has, whoever made it."""

    dfid: Any
    intent_payload: Any = field(default_factory=dict)
    context_ref: Any = "ctx"
    evidence_hash: Any = "e1"
    signature: Any = "s1"


@pytest.fixture
def ledger(bundle: StorageBundle) -> LedgerChainStorage:
    return bundle.decision_ledger


def test_the_ledger_has_its_protocols(ledger):
    assert isinstance(ledger, DecisionLedgerStorage)
    assert isinstance(ledger, LedgerChainStorage)
    ledger.init_schema()
    assert ledger.all_entries_chronological() == []
    assert ledger.get_by_dfid("f") is None
    assert ledger.entries_for_dfid("f") == []
    assert ledger.count_entries() == 0


def test_an_entry_has_the_intent_its_agent_its_root_and_the_moment(ledger, is_store_time):
    intent = Intent("f", {"b": [1, None], "a": "é"}, "ctx", "e1", "s1")

    assert ledger.append(intent, agent_id="a", root_dfid="root") is None

    entry = ledger.get_by_dfid("f")
    assert is_store_time(entry.pop("committed_at"))
    assert entry == {
        "dfid": "f",
        "root_dfid": "root",
        "agent_id": "a",
        "intent_payload": {"a": "é", "b": [1, None]},
        "context_ref": "ctx",
        "evidence_hash": "e1",
        "signature": "s1",
    }


def test_the_root_is_the_flow_itself_and_no_signature_is_an_empty_one(ledger):
    ledger.append(Intent("f", signature=None), agent_id="a")

    assert ledger.get_by_dfid("f")["root_dfid"] == "f"
    assert ledger.get_by_dfid("f")["signature"] == ""


def test_values_that_json_does_not_know_become_strings(ledger):
    ledger.append(Intent("f", {"at": datetime(2026, 1, 2)}), agent_id="a")

    assert ledger.get_by_dfid("f")["intent_payload"] == {"at": "2026-01-02 00:00:00"}


def test_entries_come_back_in_the_order_of_insertion(ledger):
    flows = [f"f{n}" for n in (3, 1, 2, 5, 4)]
    for dfid in flows:
        ledger.append(Intent(dfid), agent_id="a")

    entries = ledger.all_entries_chronological()
    assert [entry["dfid"] for entry in entries] == flows
    assert [entry["committed_at"] for entry in entries] == sorted(
        entry["committed_at"] for entry in entries
    )
    assert ledger.count_entries() == 5
    assert ledger.entries_for_dfid("f1") == [entries[1]]


def test_the_same_entry_once_more_changes_nothing(ledger):
    ledger.append(Intent("f", {"b": 1, "a": 2}), agent_id="a")
    before = ledger.all_entries_chronological()

    ledger.append(Intent("f", {"a": 2, "b": 1}), agent_id="a", root_dfid="f")

    assert ledger.all_entries_chronological() == before
    assert ledger.verify_ledger().verified == 1


@pytest.mark.parametrize(
    ("other", "agent_id", "root_dfid", "differing"),
    [
        (Intent("f", {"a": 2}), "a", None, ("intent_payload",)),
        (Intent("f", {"a": 1}, context_ref="c2"), "a", None, ("context_ref",)),
        (Intent("f", {"a": 1}, evidence_hash="e2"), "a", None, ("evidence_hash",)),
        (Intent("f", {"a": 1}, signature=None), "a", None, ("signature",)),
        (Intent("f", {"a": 1}), "b", "g", ("agent_id", "root_dfid")),
    ],
)
def test_a_second_different_entry_of_a_flow_is_an_error(
    ledger, other, agent_id, root_dfid, differing
):
    ledger.append(Intent("f", {"a": 1}), agent_id="a")
    before = ledger.all_entries_chronological()

    with pytest.raises(LedgerConflictError, match="'f' has a ledger entry that differs") as caught:
        ledger.append(other, agent_id=agent_id, root_dfid=root_dfid)

    assert isinstance(caught.value, StorageError)
    assert (caught.value.dfid, caught.value.differing) == ("f", differing)
    assert ledger.all_entries_chronological() == before
    assert ledger.verify_ledger().intact


@pytest.mark.parametrize(
    ("intent", "error", "named"),
    [
        (object(), TypeError, "object has no dfid"),
        (Intent(1), TypeError, "pci.dfid must be a str"),
        (Intent(""), ValueError, "pci.dfid must not be empty"),
        (Intent("x" * 1025), ValueError, "pci.dfid is 1025 bytes long"),
        (Intent("f", []), TypeError, "pci.intent_payload must be a dict"),
        (Intent("f", {(): 1}), TypeError, "pci.intent_payload cannot be stored as JSON"),
        (Intent("f", context_ref=None), TypeError, "pci.context_ref must be a str"),
        (Intent("f", evidence_hash=b""), TypeError, "pci.evidence_hash must be a str"),
        (Intent("f", signature="\ud800"), ValueError, "pci.signature holds a lone surrogate"),
    ],
)
def test_a_bad_intent_is_refused_by_name_and_nothing_is_stored(ledger, intent, error, named):
    with pytest.raises(error, match=named):
        ledger.append(intent, agent_id="a")

    assert ledger.count_entries() == 0
    with pytest.raises(ValueError, match="agent_id must not be empty"):
        ledger.append(Intent("f"), agent_id="")


def test_what_is_returned_is_the_callers_own(ledger):
    payload = {"a": [1]}
    ledger.append(Intent("f", payload), agent_id="a")
    payload["a"].append(2)
    ledger.get_by_dfid("f")["intent_payload"]["a"].append(3)

    assert ledger.get_by_dfid("f")["intent_payload"] == {"a": [1]}


def test_ids_of_any_characters_never_meet(ledger):
    ids = ["a:b", "a", "b", "{f}", "*", "?[a]", "é", "\x00", "a\nb", " "]
    for dfid in ids:
        ledger.append(Intent(dfid, {"of": dfid}), agent_id=dfid)

    assert [ledger.get_by_dfid(dfid)["intent_payload"] for dfid in ids] == [
        {"of": dfid} for dfid in ids
    ]
    assert ledger.verify_ledger().verified == len(ids)


def test_an_untouched_ledger_is_intact(ledger):
    empty = ledger.verify_ledger()
    for n in range(20):
        ledger.append(Intent(f"f{n}", {"n": n}), agent_id="a")
    full = ledger.verify_ledger()

    assert (empty.verified, empty.unchained, empty.intact, empty.broken_at) == (0, 0, True, None)
    assert (full.verified, full.unchained, full.intact, full.broken_at) == (20, 0, True, None)


def test_a_chain_that_grew_still_passes_through_its_earlier_anchors(ledger):
    anchors = [ledger.verify_ledger().anchor]
    for n in range(10):
        ledger.append(Intent(f"f{n}"), agent_id="a")
        anchors.append(ledger.verify_ledger(anchor=anchors[-1]).anchor)

    assert len(set(anchors)) == 11
    assert all(ledger.verify_ledger(anchor=anchor).intact for anchor in anchors)


def test_a_ledger_written_anew_does_not_pass_through_the_anchor(
    fresh_bundle_factory: Callable[[], StorageBundle],
):
    ours, forged = fresh_bundle_factory().decision_ledger, fresh_bundle_factory().decision_ledger
    for n in range(10):
        ours.append(Intent(f"f{n}", {"shares": 1}), agent_id="a")
        forged.append(Intent(f"f{n}", {"shares": 2}), agent_id="a")
    anchor = ours.verify_ledger().anchor

    report = forged.verify_ledger(anchor=anchor)

    assert forged.verify_ledger().intact
    assert not report.intact
    assert report.broken_at.record == "the anchor"


def test_a_ledger_cut_short_does_not_reach_the_anchor(
    fresh_bundle_factory: Callable[[], StorageBundle],
):
    ours, shorter = fresh_bundle_factory().decision_ledger, fresh_bundle_factory().decision_ledger
    ours.append(Intent("f"), agent_id="a")

    report = shorter.verify_ledger(anchor=ours.verify_ledger().anchor)

    assert not report.intact
    assert report.broken_at.problem == "missing"
    assert report.broken_at.number == 1


@pytest.mark.parametrize("anchor", ["", "x", "1:ab", "0:" + "0" * 63, "-1:" + "0" * 64, "," * 9])
def test_what_is_no_anchor_is_refused(ledger, anchor):
    with pytest.raises(ValueError, match="anchor is no anchor of this store"):
        ledger.verify_ledger(anchor=anchor)


def test_of_racing_entries_of_a_flow_one_stands_and_the_chain_has_no_fork(ledger, race: Race):
    def decide(number: int) -> list[bool]:
        won = []
        for flow in range(5):
            try:
                ledger.append(Intent(f"f{flow}", {"by": number}), agent_id="a")
                won.append(True)
            except LedgerConflictError:
                won.append(False)
        return won

    results = race([lambda number=number: decide(number) for number in range(6)])

    winners = [[r[flow] for r in results].index(True) for flow in range(5)]
    assert [sum(r[flow] for r in results) for flow in range(5)] == [1] * 5
    assert [ledger.get_by_dfid(f"f{flow}")["intent_payload"] for flow in range(5)] == [
        {"by": winner} for winner in winners
    ]
    assert ledger.verify_ledger().verified == 5
    assert ledger.verify_ledger().intact


def test_verifying_while_others_append_finds_nothing_broken(ledger, race: Race):
    def append(number: int) -> None:
        for n in range(20):
            ledger.append(Intent(f"{number}-{n}"), agent_id="a")

    reports = race(
        [lambda: append(1), lambda: append(2), lambda: [ledger.verify_ledger() for _ in range(10)]]
    )[2]

    assert all(report.intact for report in reports)
    assert ledger.verify_ledger().verified == 40


def test_a_payload_comes_back_as_its_json_round_trip(ledger):
    payload = {"float": 0.1, "big": 2**70, "nested": {"list": [True, {"x": "\u2028"}]}}
    ledger.append(Intent("f", payload), agent_id="a")

    assert ledger.get_by_dfid("f")["intent_payload"] == json.loads(json.dumps(payload))
