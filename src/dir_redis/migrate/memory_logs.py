"""The rows of a memory store's logs, as neutral records."""

from __future__ import annotations

from itertools import islice
from typing import Protocol, TypeVar

from dir_redis.audit_events import AuditRecord
from dir_redis.chain import next_end
from dir_redis.clock import parse_moment
from dir_redis.ledger_entries import LedgerRecord
from dir_redis.log_rows import transition_row
from dir_redis.memory import (
    MemoryDecisionAuditStorage,
    MemoryDecisionLedgerStorage,
    MemoryLifecycleStorage,
)
from dir_redis.memory.decision_ledger import _Entry
from dir_redis.migrate.paging import PAGE
from dir_redis.migrate.records import (
    AuditRow,
    LedgerEntry,
    Transition,
)

T = TypeVar("T")


class Log(Protocol[T]):
    """The rows of one log."""

    def page(self, after: int) -> tuple[list[T], int]:
        """Some rows after a number, and the number to go on after."""
        ...

    def append(self, record: T) -> bool:
        """Append a row; return whether it was."""
        ...


class AuditRows:
    def __init__(self, storage: MemoryDecisionAuditStorage) -> None:
        self._storage = storage

    def page(self, after: int) -> tuple[list[AuditRow], int]:
        found = self._storage._rows_after(None, after)
        rows = [AuditRow(row.record.dfid, row.moment, *row.record[1:]) for row in found]
        return rows, found[-1].number if found else after

    def append(self, record: AuditRow) -> bool:
        self._storage.append([AuditRecord(record.dfid, *record[2:])], record.moment_us)
        return True


class LedgerEntries:
    def __init__(self, storage: MemoryDecisionLedgerStorage) -> None:
        self._storage = storage

    def page(self, after: int) -> tuple[list[LedgerEntry], int]:
        found = islice(self._storage._entries.values(), after, after + PAGE)
        rows = [LedgerEntry(entry.record.dfid, entry.moment, *entry.record[1:]) for entry in found]
        return rows, after + len(rows)

    def append(self, record: LedgerEntry) -> bool:
        """Append an entry, chained to the one before it, unless its flow has one."""
        storage = self._storage
        if record.dfid in storage._entries:
            return False
        entry = LedgerRecord(record.dfid, *record[2:])
        storage._end = next_end(storage._end, entry.digest, str(record.moment_us))
        storage._entries[record.dfid] = _Entry(entry, record.moment_us, storage._end)
        return True


class Transitions:
    def __init__(self, storage: MemoryLifecycleStorage) -> None:
        self._storage = storage

    def page(self, after: int) -> tuple[list[Transition], int]:
        found = self._storage._rows[after : after + PAGE]
        rows = [
            Transition(
                row["dfid"],
                parse_moment("created_at", row["created_at"]),
                row["from_status"],
                row["to_status"],
                row["root_dfid"],
            )
            for row in found
        ]
        return rows, after + len(rows)

    def append(self, record: Transition) -> bool:
        row = transition_row(
            dfid=record.dfid,
            root_dfid=record.root_dfid,
            from_status=record.from_status,
            to_status=record.to_status,
            moment=record.moment_us,
        )
        self._storage._rows.append(row)
        self._storage._rows_by_flow[record.dfid].append(row)
        return True
