"""What must hold of a store in memory, of which only its own process could break anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from dir_redis.bundle import StorageBundle
from dir_redis.memory import (
    MemoryDecisionAuditStorage,
    MemoryEscalationStorage,
    MemoryResourceLockStorage,
)
from dir_redis.verify.report import Finding


def memory_findings(bundle: StorageBundle, counted: Callable[[int], None]) -> Iterator[Finding]:
    """Compare what is kept twice, each kind at one moment."""
    locks, audit, escalation = bundle.resource_lock, bundle.decision_audit, bundle.escalation
    assert isinstance(locks, MemoryResourceLockStorage)
    assert isinstance(audit, MemoryDecisionAuditStorage)
    assert isinstance(escalation, MemoryEscalationStorage)
    with locks._lock:
        findings = [*_reservations(locks), *_rows(audit), *_requests(escalation)]
        counted(len(locks._flows) + len(audit._rows) + len(escalation._pending))
    yield from findings


def _reservations(locks: MemoryResourceLockStorage) -> Iterator[Finding]:
    held: Counter[str] = Counter()
    for dfid, flow in locks._flows.items():
        held.update(flow.held)
        for resource_id in flow.held:
            if dfid not in locks._holders.get(resource_id, ()):
                yield Finding(f"holders of {resource_id!r}", "missing", f"have no {dfid!r}")
        if flow.until is not None and (flow.until, dfid) not in locks._leases:
            yield Finding("leases", "missing", f"have no {dfid!r}, which has one")
        if flow.token is not None and flow.token > locks._last_number:
            yield Finding("tokens", "mismatch", f"{dfid!r} has one that was not given yet")
    for resource_id, dfids in locks._holders.items():
        for dfid in dfids:
            if dfid not in locks._flows or resource_id not in locks._flows[dfid].held:
                yield Finding(f"holders of {resource_id!r}", "orphan", f"have {dfid!r}")
    for resource_id in held.keys() | locks._totals.keys():
        stated, sum_ = locks._totals.get(resource_id, 0), held[resource_id]
        if stated != sum_:
            problem = f"says {stated} units, and {sum_} are held"
            yield Finding(f"total of {resource_id!r}", "mismatch", problem)


def _rows(audit: MemoryDecisionAuditStorage) -> Iterator[Finding]:
    of_flows = {id(row) for rows in audit._rows_by_flow.values() for row in rows}
    for row in audit._rows:
        if id(row) not in of_flows:
            yield Finding(f"rows of {row.record.dfid!r}", "missing", f"have no row {row.number}")
    if len(of_flows) > len(audit._rows):
        yield Finding(
            "audit", "missing", f"{len(of_flows)} rows are of flows, {len(audit._rows)} here"
        )
    for rows in (audit._rows, *audit._rows_by_flow.values()):
        numbers = [row.number for row in rows]
        if numbers != sorted(set(numbers)):
            yield Finding("audit", "mismatch", "its rows are out of order")


def _requests(escalation: MemoryEscalationStorage) -> Iterator[Finding]:
    for dfid in escalation._pending.keys() & escalation._resolved.keys():
        yield Finding(f"request of {dfid!r}", "mismatch", "is both open and decided")
    deadlines = set(escalation._deadlines)
    for dfid, request in escalation._pending.items():
        if request.deadline_us is not None and (request.deadline_us, dfid) not in deadlines:
            yield Finding("deadlines", "missing", f"have no {dfid!r}, which has one")
