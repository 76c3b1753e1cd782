"""The audit log as a flow log; what is the default is stored as an empty string."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dir_redis.arguments import checked
from dir_redis.audit_events import (
    BEGINNING,
    TRIM_ROWS,
    AuditRecord,
    FoundRow,
    PagedEvents,
    ReadPage,
    check_limits,
    encode_details,
    join_places,
    not_a_cursor,
    parse_cursor,
    records_of,
)
from dir_redis.chain import StoredLink, parse_anchor
from dir_redis.errors import CorruptRecordError
from dir_redis.fleet_protocols import AuditStreamStorage, EventIterator
from dir_redis.log_rows import audit_row
from dir_redis.records import ChainReport
from dir_redis.redis.chained_log import (
    LINK_FIELDS,
    Found,
    readable_fields,
    stored_link,
    verify_chains,
)
from dir_redis.redis.flow_log import (
    Entry,
    FlowReader,
    LogReader,
    append,
    last_place,
    read_all,
    read_flow,
)
from dir_redis.redis.replies import as_json, as_text
from dir_redis.redis.steps import Argument, Call, Command, Steps, operation
from dir_redis.redis.storage import RedisStorage

_LOG = "audit"
_FIELDS = ("dfid", "event", "step_id", "state", "details", "root_dfid", "agent_id", "severity")
_PLACE = re.compile(r"(0|[1-9]\d{0,19})-(0|[1-9]\d{0,19})", re.ASCII)
_LARGEST = 2**64 - 1  # of either part of an id


class RedisDecisionAuditStorage(RedisStorage, AuditStreamStorage):
    """The audit log of a fleet."""

    @operation
    def record(
        self,
        dfid: str,
        event: str,
        *,
        step_id: str = "",
        state: str = "",
        details: dict[str, Any] | None = None,
        root_dfid: str | None = None,
        agent_id: str | None = None,
        severity: str = "INFO",
    ) -> Steps[None]:
        encoded = encode_details(details, self._limits)
        record = AuditRecord(dfid, event, step_id, state, encoded, root_dfid, agent_id, severity)
        if self._store.audit_chain:
            yield self._append_many(self._keys.log(_LOG, dfid), [record])
        else:
            yield append(self._keys, _LOG, dfid, audit_fields(record))

    @operation
    def record_many(self, rows: Iterable[Mapping[str, Any]]) -> Steps[None]:
        by_partition: defaultdict[str, list[AuditRecord]] = defaultdict(list)
        for record in records_of(rows, self._limits):
            by_partition[self._keys.log(_LOG, record.dfid)].append(record)
        for log, records in by_partition.items():
            yield self._append_many(log, records)._replace(part=True)

    @operation
    def events_for_dfid(self, dfid: str) -> Steps[list[dict[str, Any]]]:
        entries = yield from read_flow(self._keys, _LOG, dfid)
        key = self._keys.log(_LOG, dfid)
        return [_row(key, entry) for entry in entries]

    @operation
    def all_events_chronological(self) -> Steps[list[dict[str, Any]]]:
        entries = yield from read_all(self._keys, _LOG)
        return [_row(log, entry) for log, entry in entries]

    @checked
    def iter_events(self, dfid: str | None = None, *, after: str | None = None) -> EventIterator:
        if dfid is None:
            logs = self._keys.in_each_partition(_LOG)

            def pages_after(places: Sequence[str]) -> ReadPage:
                reader = LogReader(logs, places)
                return lambda: self._driver.run(_found(reader.read()))

            return PagedEvents(pages_after, _parser(logs), self._places("after", after or ""))

        place = parse_cursor("after", after or "", of_flow=True)
        if after and not _is_place(place):
            raise not_a_cursor("after", after)

        def pages_of_flow_after(places: Sequence[str]) -> ReadPage:
            reader = FlowReader(self._keys, _LOG, dfid, places[0])
            return lambda: self._driver.run(_found_of_flow(reader.read()))

        parse = _parser([self._keys.log(_LOG, dfid)])
        return PagedEvents(pages_of_flow_after, parse, [place], of_flow=True)

    @operation
    def follow(
        self, *, after: str | None = None, timeout_sec: float | None = None
    ) -> Steps[EventIterator]:
        logs = self._keys.in_each_partition(_LOG)
        if after is None:
            ends = yield [Command("XREVRANGE", log, ("+", "-", "COUNT", 1)) for log in logs]
            places = [last_place(log, page) for log, page in zip(logs, ends, strict=True)]
        else:
            places = self._places("after", after)
        together = len(logs) == 1 or not self._store.is_cluster

        def pages_after(places: Sequence[str]) -> ReadPage:
            reader = LogReader(logs, places)
            return lambda: self._driver.run(_found(reader.follow(timeout_sec, together=together)))

        return PagedEvents(pages_after, _parser(logs), places)

    @operation
    def commit_archived(self, group: str, cursor: str) -> Steps[None]:
        groups = self._keys.in_each_partition("audit_groups")
        logs = self._keys.in_each_partition(_LOG)
        places = self._places("cursor", cursor)
        # Of several partitions all are looked at before the first is written.
        for verb in ("check", "commit") if len(places) > 1 else ("commit",):
            replies = yield [
                Call(f"decision_audit_{verb}", (groups_key, log), (group, place), verb == "commit")
                for groups_key, log, place in zip(groups, logs, places, strict=True)
            ]
            if any(as_text(reply) == "AHEAD" for reply in replies):
                raise not_a_cursor("cursor", cursor)

    @operation
    def get_archived(self, group: str) -> Steps[str | None]:
        keys = self._keys.in_each_partition("audit_groups")
        replies = yield [Command("HGET", key, (group,)) for key in keys]
        places = [as_text(reply) for reply in replies if reply is not None]
        if len(places) < len(keys):
            # Registering it or forgetting it was cut off: a trim may have dropped any row.
            return None
        for key, place in zip(keys, places, strict=True):
            if place and not _is_place(place):
                raise CorruptRecordError(key, f"it should hold entry ids, not {place!r}")
        return join_places(places)

    @operation
    def forget_group(self, group: str) -> Steps[None]:
        keys = self._keys.in_each_partition("audit_groups")
        yield [Command("HDEL", key, (group,), write=True, part=True) for key in keys]

    @operation
    def trim(
        self, *, older_than_sec: float | None = None, max_rows: int | None = None
    ) -> Steps[int]:
        check_limits(older_than_sec, max_rows)
        limits: tuple[Argument, ...] = (
            "" if older_than_sec is None else round(older_than_sec * 1_000_000),
            "" if max_rows is None else max_rows,
            TRIM_ROWS,
        )
        dropped = 0
        for log, groups_key, end_key in zip(
            self._keys.in_each_partition(_LOG),
            self._keys.in_each_partition("audit_groups"),
            self._keys.in_each_partition(f"{_LOG}_end"),
            strict=True,
        ):
            found = TRIM_ROWS
            while found == TRIM_ROWS:
                reply = yield Call("decision_audit_oldest", (log, groups_key), limits)
                found, dfids = int(reply[0]), [as_text(dfid) for dfid in reply[1:]]
                if found:
                    flows = [self._keys.log_of_flow(_LOG, dfid) for dfid in dfids]
                    keys = (log, groups_key, end_key, *flows)
                    page = yield Call("decision_audit_trim", keys, (*limits, *dfids), part=True)
                    dropped += int(page)
        return dropped

    @operation
    def verify_audit(self, *, anchor: str | None = None) -> Steps[ChainReport]:
        anchors = parse_anchor("anchor", anchor, self._keys.partitions)
        return (yield from verify_chains(self._keys, _LOG, anchors, _chained_page, trimmed=True))

    def _append_many(self, log: str, records: list[AuditRecord]) -> Call:
        chained = self._store.audit_chain
        numbers: dict[str, int] = {}
        words: list[Argument] = []
        for record in records:
            words.append(numbers.setdefault(record.dfid, len(numbers) + 1))
            if chained:
                words.append(record.digest)
            words.extend(audit_fields(record))
        flows = (self._keys.log_of_flow(_LOG, dfid) for dfid in numbers)
        arguments = (len(audit_fields(records[0])), *words)
        if chained:
            end_key = self._keys.chain_end(_LOG, records[0].dfid)
            return Call("decision_audit_chain", (log, end_key, *flows), arguments)
        return Call("decision_audit_record_many", (log, *flows), arguments)

    def _places(self, argument: str, cursor: str) -> list[str]:
        """The place in each partition that a cursor of all rows stands for.

        Raises:
            ValueError: it is no cursor of a log in so many partitions.
        """
        if not cursor:
            return [""] * self._keys.partitions
        places = parse_cursor(argument, cursor).split(",")
        if len(places) != self._keys.partitions or not all(map(_is_place, places)):
            raise not_a_cursor(argument, cursor)
        return ["" if place == BEGINNING else place for place in places]


def audit_fields(record: AuditRecord) -> tuple[Argument, ...]:
    """The fields and values of a row; what is the default is an empty string."""
    # Always the same fields in the same order: a stream then stores their names only once.
    return (
        *("dfid", record.dfid, "event", record.event, "step_id", record.step_id),
        *("state", record.state, "details", record.details_json),
        *("root_dfid", record.root_dfid or "", "agent_id", record.agent_id or ""),
        *("severity", record.severity),
    )


def _chained_page(log: str, page: list[Entry]) -> Steps[list[Found]]:
    yield from ()  # it asks the server for nothing more
    return [_stored_link(log, entry) for entry in page]


def _stored_link(log: str, entry: Entry) -> StoredLink | None:
    fields = readable_fields(entry)
    if tuple(fields) == _FIELDS:
        return None
    whole = tuple(fields) == (*_FIELDS, *LINK_FIELDS)
    digest = AuditRecord(*list(fields.values())[:-2]).digest if whole else None
    return stored_link(log, entry, fields, digest)


def _is_place(text: str) -> bool:
    """Whether a text is the id of an entry behind which there can be another."""
    if not _PLACE.fullmatch(text):
        return False
    milliseconds, sequence = map(int, text.split("-"))
    return max(milliseconds, sequence) <= _LARGEST and min(milliseconds, sequence) < _LARGEST


def _found(entries: Steps[list[tuple[int, Entry]]]) -> Steps[list[FoundRow]]:
    return [FoundRow(partition, entry.place, entry) for partition, entry in (yield from entries)]


def _found_of_flow(entries: Steps[list[Entry]]) -> Steps[list[FoundRow]]:
    return [FoundRow(0, entry.place, entry) for entry in (yield from entries)]


def _parser(logs: Sequence[str]) -> Callable[[FoundRow], dict[str, Any]]:
    return lambda found: _row(logs[found.partition], found.stored)


def _row(key: str, entry: Entry) -> dict[str, Any]:
    try:
        fields = entry.fields
        return audit_row(
            dfid=fields["dfid"],
            root_dfid=fields["root_dfid"],
            event=fields["event"],
            moment=entry.moment,
            step_id=fields["step_id"],
            state=fields["state"],
            details=as_json(key, fields["details"]),
            severity=fields["severity"],
        )
    except KeyError as error:
        raise CorruptRecordError(key, f"entry {entry.id} has no field {error}") from error
    except UnicodeDecodeError as error:
        raise CorruptRecordError(key, f"entry {entry.id} should hold UTF-8 ({error})") from error
