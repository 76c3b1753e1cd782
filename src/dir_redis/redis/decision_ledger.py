"""The ledger as a flow log of one entry per flow, chained in the script that appends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dir_redis.chain import StoredLink, parse_anchor
from dir_redis.errors import CorruptRecordError, LedgerConflictError
from dir_redis.fleet_protocols import LedgerChainStorage
from dir_redis.ledger_entries import LedgerRecord, ledger_entry, ledger_record
from dir_redis.protocols import VerifiedIntent
from dir_redis.records import ChainBreak, ChainReport
from dir_redis.redis.chained_log import (
    LINK_FIELDS,
    Found,
    readable_fields,
    stored_link,
    verify_chains,
)
from dir_redis.redis.flow_log import Entry, read_all, read_flow
from dir_redis.redis.replies import as_json, as_text
from dir_redis.redis.steps import Argument, Call, Command, Steps, operation
from dir_redis.redis.storage import RedisStorage

_LOG = "ledger"


class RedisDecisionLedgerStorage(RedisStorage, LedgerChainStorage):
    """The decision ledger of a fleet (DIR Topology C)."""

    @operation
    def append(
        self, pci: VerifiedIntent, *, agent_id: str, root_dfid: str | None = None
    ) -> Steps[None]:
        record = ledger_record(pci, agent_id, root_dfid, self._limits)
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
        entries = yield from read_all(self._keys, _LOG)
        return [_as_returned(log, entry) for log, entry in entries]

    @operation
    def count_entries(self) -> Steps[int]:
        replies = yield [Command("XLEN", log) for log in self._keys.in_each_partition(_LOG)]
        return sum(map(int, replies))

    @operation
    def verify_ledger(self, *, anchor: str | None = None) -> Steps[ChainReport]:
        anchors = parse_anchor("anchor", anchor, self._keys.partitions)
        find_links = self._find_links
        return (yield from verify_chains(self._keys, _LOG, anchors, find_links, trimmed=False))

    def _of_flow(self, dfid: str) -> Steps[list[dict[str, Any]]]:
        entries = yield from read_flow(self._keys, _LOG, dfid)
        returned = [_as_returned(self._keys.log(_LOG, dfid), entry) for entry in entries]
        if any(entry["dfid"] != dfid for entry in returned):
            raise CorruptRecordError(
                self._keys.log_of_flow(_LOG, dfid), "it leads to another flow's entry"
            )
        return returned

    def _find_links(self, log: str, page: list[Entry]) -> Steps[list[Found]]:
        """Make links of a page of entries; see also that every flow finds its entry."""
        links = [_stored_link(log, entry) for entry in page]
        # A dfid that was changed may belong into another slot; its link will say so.
        flows = {
            entry.place: self._keys.log_of_flow(_LOG, link.dfid)
            for link, entry in zip(links, page, strict=True)
            if link.dfid is not None and self._keys.log(_LOG, link.dfid) == log
        }
        index = []
        if flows:
            index = yield Call("flow_log_index", tuple(flows.values()), (2,))
        ids_by_place = dict(zip(flows, index, strict=True))
        found: list[Found] = []
        for link, entry in zip(links, page, strict=True):
            found.append(link)
            ids = ids_by_place.get(entry.place, [])
            if [as_text(one) for one in ids] != [entry.place]:
                problem = f"it should lead to entry {entry.place} and nowhere else"
                number = link.number if isinstance(link.number, int) else 0
                record = flows.get(entry.place, log)
                found.append(ChainBreak(record, number, link.dfid, problem))
        return found


def ledger_fields(record: LedgerRecord) -> tuple[Argument, ...]:
    """The fields and values of an entry."""
    fields: Sequence[tuple[str, str]] = list(record._asdict().items())
    return tuple(word for field in fields for word in field)


def _stored_link(log: str, entry: Entry) -> StoredLink:
    fields = readable_fields(entry)
    whole = tuple(fields) == (*LedgerRecord._fields, *LINK_FIELDS)
    digest = LedgerRecord(*list(fields.values())[:-2]).digest if whole else None
    return stored_link(log, entry, fields, digest)


def _as_returned(key: str, entry: Entry) -> dict[str, Any]:
    try:
        fields = entry.fields
        record = LedgerRecord(*(fields[name] for name in LedgerRecord._fields))
        return ledger_entry(record, as_json(key, record.intent_payload), entry.moment)
    except KeyError as error:
        raise CorruptRecordError(key, f"entry {entry.id} has no field {error}") from error
    except UnicodeDecodeError as error:
        raise CorruptRecordError(key, f"entry {entry.id} should hold UTF-8 ({error})") from error
