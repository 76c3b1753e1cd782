"""verify_store in memory: what is kept twice is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dir_redis import memory_storage, verify_store
from tests.migrate.full_store import fill

DAMAGES: dict[str, tuple[Callable[[Any], object], str, str]] = {
    "a total too high": (
        lambda b: b.resource_lock._totals.update(capital=1),
        *("total of 'capital'", "mismatch"),
    ),
    "a holder that is not listed": (
        lambda b: b.resource_lock._holders["capital"].discard("flow-2"),
        *("holders of 'capital'", "missing"),
    ),
    "a holder of nothing": (
        lambda b: b.resource_lock._holders["capital"].add("ghost"),
        *("holders of 'capital'", "orphan"),
    ),
    "a lease that never ends": (lambda b: b.resource_lock._leases.clear(), "leases", "missing"),
    "a token not given yet": (
        lambda b: setattr(b.resource_lock, "_last_number", 1),
        *("tokens", "mismatch"),
    ),
    "rows out of order": (lambda b: b.decision_audit._rows.reverse(), "audit", "mismatch"),
    "a row of no flow": (
        lambda b: b.decision_audit._rows_by_flow["z"].pop(),
        *("rows of 'z'", "missing"),
    ),
    "a row that only its flow has": (lambda b: b.decision_audit._rows.pop(), "audit", "missing"),
    "a deadline that is gone": (
        lambda b: b.escalation._deadlines.clear(),
        *("deadlines", "missing"),
    ),
    "a request both open and decided": (
        lambda b: b.escalation._resolved.update(b.escalation._pending),
        *("request of 'flow-1'", "mismatch"),
    ),
    "a ledger entry is gone": (
        lambda b: b.decision_ledger._entries.pop("z"),
        *("the ledger, before entry 1", "missing"),
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_named(name: str) -> None:
    damage, record, kind = DAMAGES[name]
    bundle = memory_storage(audit_chain=True)
    fill(bundle)
    assert verify_store(bundle).findings == ()

    damage(bundle)

    found = {(finding.key, finding.kind) for finding in verify_store(bundle).findings}
    assert (record, kind) in found
