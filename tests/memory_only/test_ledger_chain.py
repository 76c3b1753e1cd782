"""No change of memory's ledger goes unnoticed; on the other backends every byte is tried."""

from __future__ import annotations

from typing import Any

from dir_redis import memory_storage
from tests.conformance.test_decision_ledger import Intent


def test_every_field_of_an_entry_counts() -> None:
    ledger: Any = memory_storage().decision_ledger
    for number in range(1, 5):
        ledger.append(Intent(f"f{number}"), agent_id="a")
    whole = ledger._entries["f3"]
    changes = [
        whole._replace(record=whole.record._replace(**{name: "x"})) for name in whole.record._fields
    ]
    changes += [
        whole._replace(moment=whole.moment + 1),
        whole._replace(end=whole.end._replace(number=4)),
        whole._replace(end=whole.end._replace(link="0" * 64)),
    ]
    assert len(changes) == 10

    for changed in changes:
        ledger._entries["f3"] = changed
        broken_at = ledger.verify_ledger().broken_at
        assert broken_at is not None, changed
        assert (broken_at.number, broken_at.record) == (3, "entry 3")
    del ledger._entries["f3"]
    assert ledger.verify_ledger().broken_at[1:] == (3, None, "missing")
