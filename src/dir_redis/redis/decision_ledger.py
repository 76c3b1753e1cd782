"""The ledger as a flow log of one entry per flow, chained in the script that appends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dir_redis.chain import (
    BEGINNING,
    ChainWalk,
    SaidEnd,
    StoredLink,
    Waypoint,
    parse_anchor,
    report,
    stored_end,
)
from dir_redis.errors import CorruptRecordError, LedgerConflictError
from dir_redis.fleet_protocols import LedgerChainStorage
from dir_redis.ledger_entries import LedgerRecord, ledger_entry, ledger_record
from dir_redis.protocols import VerifiedIntent
from dir_redis.records import ChainBreak, ChainReport
from dir_redis.redis.flow_log import Entry, LogReader, read_all, read_flow
from dir_redis.redis.replies import as_json, as_optional_text, as_text
from dir_redis.redis.steps import Argument, Call, Command, Steps, operation
from dir_redis.redis.storage import RedisStorage

_LOG = "ledger"
_STORED = (*LedgerRecord._fields, "number", "link")
_PAGE_ROWS = 500


class RedisDecisionLedgerStorage(RedisStorage, LedgerChainStorage):
    """The decision ledger of a fleet (DIR Topology C)."""

    @operation
    def append(
        self, pci: VerifiedIntent, *, agent_id: str, root_dfid: str | None = None
    ) -> Steps[None]:
        record = ledger_record(pci, agent_id, root_dfid)
        keys = (
            self._keys.log(_LOG, record.dfid),
            self._keys.log_of_flow(_LOG, record.dfid),
            self._keys.chain_end(_LOG, record.dfid),
        )
        reply = yield Call("decision_ledger_append", keys, (record.digest, *ledger_fields(record)))
        verdict, *differing = as_text(reply).split(" ")
        if verdict == "DIFFERS":
            raise LedgerConflictError(record.dfid, tuple(sorted(differing)))

    @operation
    def get_by_dfid(self, dfid: str) -> Steps[dict[str, Any] | None]:
        entries = yield from self._of_flow(dfid)
        return entries[0] if entries else None

    @operation
    def entries_for_dfid(self, dfid: str) -> Steps[list[dict[str, Any]]]:
        return (yield from self._of_flow(dfid))

    @operation
    def all_entries_chronological(self) -> Steps[list[dict[str, Any]]]:
        return [_as_returned(_LOG, entry) for entry in (yield from read_all(self._keys, _LOG))]

    @operation
    def count_entries(self) -> Steps[int]:
        replies = yield [Command("XLEN", log) for log in self._keys.in_each_partition(_LOG)]
        return sum(map(int, replies))

    @operation
    def verify_ledger(self, *, anchor: str | None = None) -> Steps[ChainReport]:
        anchors = parse_anchor("anchor", anchor, self._keys.partitions)
        logs = self._keys.in_each_partition(_LOG)
        ends = self._keys.in_each_partition(f"{_LOG}_end")
        walks: list[ChainWalk] = []
        for log, end_key, points in zip(logs, ends, anchors, strict=True):
            walk = ChainWalk(BEGINNING, (yield from _said_end(end_key)), points, log)
            walks.append(walk)
            broken_at = yield from self._walk(walk, log)
            broken_at = broken_at or walk.finish((yield from _said_end(end_key)))
            if broken_at is not None:
                return report(walks, broken_at, 0)
        return report(walks, None, 0)

    def _of_flow(self, dfid: str) -> Steps[list[dict[str, Any]]]:
        entries = yield from read_flow(self._keys, _LOG, dfid)
        returned = [_as_returned(self._keys.log(_LOG, dfid), entry) for entry in entries]
        if any(entry["dfid"] != dfid for entry in returned):
            raise CorruptRecordError(
                self._keys.log_of_flow(_LOG, dfid), "it leads to another flow's entry"
            )
        return returned

    def _walk(self, walk: ChainWalk, log: str) -> Steps[ChainBreak | None]:
        """Walk one partition's chain; see also that every flow finds its entry."""
        reader = LogReader([log], [""], page_rows=_PAGE_ROWS)
        while page := [entry for _, entry in (yield from reader.read())]:
            links = [_stored_link(log, entry) for entry in page]
            flows = [self._keys.log_of_flow(_LOG, link.dfid or "") for link in links]
            index = yield Call("flow_log_index", tuple(flows), (2,))
            for link, flow, entry, ids in zip(links, flows, page, index, strict=True):
                broken_at = walk.step(link)
                if broken_at is not None:
                    return broken_at
                if [as_text(one) for one in ids] != [entry.place]:
                    problem = f"it should lead to entry {entry.place} and nowhere else"
                    return ChainBreak(flow, walk.end.number, link.dfid, problem)
        return None


def ledger_fields(record: LedgerRecord) -> tuple[Argument, ...]:
    """The fields and values of an entry."""
    fields: Sequence[tuple[str, str]] = list(record._asdict().items())
    return tuple(word for field in fields for word in field)


def _said_end(end_key: str) -> Steps[SaidEnd]:
    """Ask where a chain ends."""
    reply = yield Command("HMGET", end_key, ("number", "link"))
    try:
        number, link = map(as_optional_text, reply)
        return Waypoint(stored_end(end_key, number, link), end_key)
    except CorruptRecordError as error:
        return error
    except UnicodeDecodeError as error:
        return CorruptRecordError(end_key, f"it should hold UTF-8 ({error})")


def _stored_link(log: str, entry: Entry) -> StoredLink:
    record = f"{log} {entry.place}"
    try:
        fields = entry.fields
    except UnicodeDecodeError:
        return StoredLink(record, None, None, None, None, entry.place)
    number = fields.get("number", "")
    whole = tuple(fields) == _STORED
    return StoredLink(
        record=record,
        dfid=fields.get("dfid"),
        # Only as it was written: int() would also take " 7" and "07".
        number=int(number) if number.isdecimal() and str(int(number)) == number else None,
        link=fields.get("link"),
        digest=LedgerRecord(*list(fields.values())[:-2]).digest if whole else None,
        place=entry.place,
    )


def _as_returned(key: str, entry: Entry) -> dict[str, Any]:
    try:
        fields = entry.fields
        record = LedgerRecord(*(fields[name] for name in LedgerRecord._fields))
        return ledger_entry(record, as_json(key, record.intent_payload), entry.moment)
    except KeyError as error:
        raise CorruptRecordError(key, f"entry {entry.id} has no field {error}") from error
    except UnicodeDecodeError as error:
        raise CorruptRecordError(key, f"entry {entry.id} should hold UTF-8 ({error})") from error
