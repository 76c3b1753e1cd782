"""Ledger entries in a dict, which keeps them in order of insertion, each with its link."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Unpack

from dir_redis.arguments import checked
from dir_redis.chain import (
    BEGINNING,
    ChainEnd,
    ChainWalk,
    StoredLink,
    Waypoint,
    next_end,
    parse_anchor,
    report,
)
from dir_redis.fleet_protocols import LedgerChainStorage
from dir_redis.ledger_entries import LedgerRecord, check_same, ledger_entry, ledger_record
from dir_redis.limits import LimitOptions
from dir_redis.memory.storage import MemoryStorage, MemoryStore
from dir_redis.protocols import VerifiedIntent
from dir_redis.records import ChainReport


class _Entry(NamedTuple):
    record: LedgerRecord
    moment: int
    end: ChainEnd


class MemoryDecisionLedgerStorage(MemoryStorage, LedgerChainStorage):
    """The decision ledger of one process (DIR Topology C)."""

    def __init__(self, store: MemoryStore | None = None, **limits: Unpack[LimitOptions]) -> None:
        super().__init__(store, **limits)
        self._entries: dict[str, _Entry] = {}
        self._end = BEGINNING

    @checked
    def append(self, pci: VerifiedIntent, *, agent_id: str, root_dfid: str | None = None) -> None:
        record = ledger_record(pci, agent_id, root_dfid, self._limits)
        with self._lock:
            stored = self._entries.get(record.dfid)
            if stored is not None:
                check_same(stored.record, record)
                return
            moment = self._clock.now()
            self._end = next_end(self._end, record.digest, str(moment))
            self._entries[record.dfid] = _Entry(record, moment, self._end)

    @checked
    def get_by_dfid(self, dfid: str) -> dict[str, Any] | None:
        with self._lock:
            entry = self._entries.get(dfid)
        return None if entry is None else _as_returned(entry)

    def entries_for_dfid(self, dfid: str) -> list[dict[str, Any]]:
        entry = self.get_by_dfid(dfid)
        return [] if entry is None else [entry]

    def all_entries_chronological(self) -> list[dict[str, Any]]:
        with self._lock:
            entries = list(self._entries.values())
        return [_as_returned(entry) for entry in entries]

    def count_entries(self) -> int:
        with self._lock:
            return len(self._entries)

    @checked
    def verify_ledger(self, *, anchor: str | None = None) -> ChainReport:
        [points] = parse_anchor("anchor", anchor, 1)
        with self._lock:
            entries, end = list(self._entries.values()), self._end
        said = Waypoint(end, "the ledger's end")
        walk = ChainWalk(BEGINNING, said, points, "the ledger")
        for position, entry in enumerate(entries, start=1):
            found = StoredLink(
                record=f"entry {position}",
                dfid=entry.record.dfid,
                number=entry.end.number,
                link=entry.end.link,
                digest=entry.record.digest,
                place=str(entry.moment),
            )
            broken_at = walk.step(found)
            if broken_at is not None:
                return report([walk], broken_at)
        return report([walk], walk.finish(said))


def _as_returned(entry: _Entry) -> dict[str, Any]:
    return ledger_entry(entry.record, json.loads(entry.record.intent_payload), entry.moment)
