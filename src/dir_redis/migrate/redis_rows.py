"""Reading the logs' rows on Redis, and appending copied ones with their own moments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

from dir_redis.audit_events import AuditRecord
from dir_redis.chain import next_end, stored_end
from dir_redis.clock import format_moment
from dir_redis.errors import CorruptRecordError, NotRepresentableError, ResourceContentionError
from dir_redis.ledger_entries import LedgerRecord
from dir_redis.migrate.paging import pages
from dir_redis.migrate.records import AuditRow, LedgerEntry, Row, Transition
from dir_redis.redis.decision_audit import audit_fields
from dir_redis.redis.decision_ledger import ledger_fields
from dir_redis.redis.flow_log import Entry, LogReader
from dir_redis.redis.keys import Keys
from dir_redis.redis.lifecycle import transition_fields
from dir_redis.redis.replies import as_optional_text, as_text
from dir_redis.redis.steps import Argument, Call, Command, Steps

# Rows of all partitions are written in turns of so many, so that they grow together.
_ROWS_AT_ONCE = 1000
_BYTES_AT_ONCE = 1_000_000
# A ledger that others append to as well may have grown meanwhile; so often it is looked at anew.
_ATTEMPTS = 100

_Id = tuple[int, int]


class _Log(NamedTuple):
    """A log: its name in keys, and what a row of it holds."""

    name: str
    fields_of: Callable[[Any], tuple[Argument, ...]]
    row_of: Callable[[dict[str, str], int], Row]


class _Placed(NamedTuple):
    """A row with its stored fields and the entry id that it is to have."""

    row: Row
    fields: tuple[Argument, ...]
    id: _Id


class RowLog:
    """One log in all partitions.

    Args:
        keys: the namespace's keys.
        kind: the kind of its rows.
    """

    def __init__(self, keys: Keys, kind: type[Row]) -> None:
        self._keys = keys
        self._log = _LOGS[kind]
        # The moment and the id of the last row that was appended here, whatever the partition.
        self._last: tuple[int, _Id] = (0, (0, 0))

    def reader(self) -> Callable[[], Steps[list[Row]]]:
        """Return what reads the next rows, merged in order of their entry ids; none at the end."""
        logs = self._keys.in_each_partition(self._log.name)
        reader = LogReader(logs, [""] * len(logs))

        def next_rows() -> Steps[list[Row]]:
            page = yield from reader.read()
            return [self._parse(logs[partition], entry) for partition, entry in page]

        return next_rows

    def append(self, rows: Sequence[Row]) -> Steps[int]:
        """Append rows, in each partition in their order; of the ledger those of flows without one.

        Returns:
            How many were appended.

        Raises:
            NotRepresentableError: one of them cannot be, and none is.
        """
        yield from self._check_moments(rows)
        if self._log.name == "ledger":
            rows = yield from self._without_known(rows)
        appended = 0
        last = self._last[1] if rows and rows[0].moment_us >= self._last[0] else (0, 0)
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            by_partition: defaultdict[str, list[_Placed]] = defaultdict(list)
            for row in rows[first : first + _ROWS_AT_ONCE]:
                last = _id_after(last, row.moment_us)
                by_partition[self._keys.log(self._log.name, row.dfid)].append(
                    _Placed(row, self._log.fields_of(row), last)
                )
                self._last = (row.moment_us, last)
            for log, placed in by_partition.items():
                for batch in _batches(placed):
                    if self._log.name == "ledger":
                        appended += yield from self._append_entries(log, batch)
                    else:
                        yield self._append_call(log, batch)
                        appended += len(batch)
        return appended

    def _parse(self, log: str, entry: Entry) -> Row:
        try:
            return self._log.row_of(entry.fields, entry.moment)
        except KeyError as error:
            raise CorruptRecordError(log, f"entry {entry.place} has no field {error}") from error
        except UnicodeDecodeError as error:
            problem = f"entry {entry.place} should hold UTF-8 ({error})"
            raise CorruptRecordError(log, problem) from error

    def _check_moments(self, rows: Sequence[Row]) -> Steps[None]:
        """Refuse rows of the future, behind which all later ones would have to go."""
        logs = {self._keys.log(self._log.name, row.dfid) for row in rows}
        now: dict[str, int] = {}
        for log in logs:
            reply = yield Call("migrate_read", (log,), (1, 0, "XLEN", 1, ""))
            now[log] = int(reply[0])
        for row in rows:
            if row.moment_us < 1:
                raise self._unfit(row, "its moment is not after the beginning of 1970")
            if row.moment_us > now[self._keys.log(self._log.name, row.dfid)]:
                problem = "it is of the future by this server's clock, and would push later rows on"
                raise self._unfit(row, problem)

    def _append_call(self, log: str, batch: Sequence[_Placed]) -> Call:
        numbers: dict[str, int] = {}
        words: list[Argument] = []
        for row, fields, place in batch:
            words.append(numbers.setdefault(row.dfid, len(numbers) + 1))
            words += (_as_text(place), *fields)
        flows = (self._keys.log_of_flow(self._log.name, dfid) for dfid in numbers)
        return Call("migrate_rows", (log, *flows), (len(batch[0].fields), *words))

    def _without_known(self, rows: Sequence[Row]) -> Steps[list[Row]]:
        """The first entry of each flow that has none yet: what a flow has is never replaced."""
        first_of_each: dict[str, Row] = {}
        for row in rows:
            first_of_each.setdefault(row.dfid, row)
        by_partition: defaultdict[str, list[str]] = defaultdict(list)
        for dfid in first_of_each:
            by_partition[self._keys.log("ledger", dfid)].append(dfid)
        for dfids in by_partition.values():
            for page in pages(dfids, _ROWS_AT_ONCE):
                keys = tuple(self._keys.log_of_flow("ledger", dfid) for dfid in page)
                index = yield Call("flow_log_index", keys, (1,))
                for dfid, ids in zip(page, index, strict=True):
                    if ids:
                        del first_of_each[dfid]
        return list(first_of_each.values())

    def _append_entries(self, log: str, batch: Sequence[_Placed]) -> Steps[int]:
        """Append entries to a partition's ledger, chained to its last one as it is now."""
        end_key = self._keys.chain_end("ledger", batch[0].row.dfid)
        for _ in range(_ATTEMPTS):
            if not batch:
                return 0
            number, link = yield Command("HMGET", end_key, ("number", "link"))
            newest = yield Command("XREVRANGE", log, ("+", "-", "COUNT", 1))
            end = stored_end(end_key, as_optional_text(number), as_optional_text(link))
            last = _as_id(newest[0][0]) if newest else (0, 0)
            words: list[Argument] = [end.number, end.link, len(batch[0].fields) + 4]
            flows = []
            for row, fields, place in batch:
                last = max(place, (last[0], last[1] + 1))
                end = next_end(end, _ledger_record(cast(LedgerEntry, row)).digest, _as_text(last))
                words += (_as_text(last), *fields, "number", end.number, "link", end.link)
                flows.append(self._keys.log_of_flow("ledger", row.dfid))
            keys = (log, end_key, *flows)
            if as_text((yield Call("migrate_ledger", keys, tuple(words)))) == "DONE":
                return len(batch)
            rows = yield from self._without_known([placed.row for placed in batch])
            new = {row.dfid for row in rows}
            batch = [placed for placed in batch if placed.row.dfid in new]
        raise ResourceContentionError(f"{log} was appended to by others all the time: try again")

    def _unfit(self, row: Row, problem: str) -> NotRepresentableError:
        moment = format_moment(max(row.moment_us, 0))
        return NotRepresentableError(f"{_NAMES[type(row)]} of {row.dfid!r} at {moment}", problem)


def _id_after(last: _Id, moment_us: int) -> _Id:
    """The entry id that a row gets for its moment, behind the one before it."""
    milliseconds, microseconds = divmod(moment_us, 1000)
    return max((milliseconds, microseconds * 1000), (last[0], last[1] + 1))


def _as_text(place: _Id) -> str:
    return f"{place[0]}-{place[1]}"


def _as_id(reply: Any) -> _Id:
    milliseconds, sequence = as_text(reply).split("-")
    return int(milliseconds), int(sequence)


def _batches(placed: Sequence[_Placed]) -> Iterator[list[_Placed]]:
    """Rows of a partition in parts that one call takes."""
    batch: list[_Placed] = []
    size = 0
    for row in placed:
        batch.append(row)
        size += sum(len(str(word)) for word in row.fields)
        if size > _BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _audit_fields(row: AuditRow) -> tuple[Argument, ...]:
    return audit_fields(
        AuditRecord(
            *(row.dfid, row.event, row.step_id, row.state, row.details_json),
            *(row.root_dfid, row.agent_id, row.severity),
        )
    )


def _audit_row(fields: dict[str, str], moment_us: int) -> AuditRow:
    return AuditRow(
        *(fields["dfid"], moment_us, fields["event"], fields["step_id"], fields["state"]),
        *(fields["details"], fields["root_dfid"] or None, fields["agent_id"] or None),
        fields["severity"],
    )


def _transition(fields: dict[str, str], moment_us: int) -> Transition:
    root_dfid = fields["root_dfid"] or None
    return Transition(fields["dfid"], moment_us, fields["from"], fields["to"], root_dfid)


def _ledger_entry(fields: dict[str, str], moment_us: int) -> LedgerEntry:
    dfid, *others = (fields[name] for name in LedgerRecord._fields)
    return LedgerEntry(dfid, moment_us, *others)


def _ledger_record(row: LedgerEntry) -> LedgerRecord:
    return LedgerRecord(row.dfid, *row[2:])


_LOGS: dict[type[Row], _Log] = {
    AuditRow: _Log("audit", _audit_fields, _audit_row),
    Transition: _Log(
        "transitions",
        lambda row: transition_fields(row.dfid, row.from_status, row.to_status, row.root_dfid),
        _transition,
    ),
    LedgerEntry: _Log("ledger", lambda row: ledger_fields(_ledger_record(row)), _ledger_entry),
}

_NAMES: dict[type[Row], str] = {
    AuditRow: "audit row",
    Transition: "transition",
    LedgerEntry: "ledger entry",
}
