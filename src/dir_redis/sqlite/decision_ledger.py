"""The ledger in ``decision_ledger_entries``, whose ids are the numbers in its chain."""

from __future__ import annotations

import sqlite3
from typing import Any

from dir_redis.arguments import checked
from dir_redis.chain import BEGINNING, ChainWalk, StoredLink, next_end, parse_anchor, report
from dir_redis.errors import CorruptRecordError
from dir_redis.fleet_protocols import LedgerChainStorage
from dir_redis.ledger_entries import LedgerRecord, check_same, ledger_entry, ledger_record
from dir_redis.protocols import VerifiedIntent
from dir_redis.records import ChainBreak, ChainReport
from dir_redis.sqlite.chain_ends import read_chain_end, rows_of, said_end, write_chain_end
from dir_redis.sqlite.columns import (
    as_bytes,
    moment_column,
    parse_object,
    read_columns,
    read_moment,
    text_of,
)
from dir_redis.sqlite.storage import SqliteStorage

_CHAIN = "ledger"
_TABLE = "decision_ledger_entries"
_FIELDS = ", ".join(LedgerRecord._fields)
_SELECT = f"SELECT {_FIELDS}, id, committed_at, link FROM {_TABLE}"
# As bytes, so that text which is no UTF-8 any more is found and named like any other change.
_AS_BYTES = as_bytes(*LedgerRecord._fields, "committed_at", "link")
_PAGE = f"""
    SELECT {_AS_BYTES}, id, (
        SELECT id FROM {_TABLE} AS found
        INDEXED BY sqlite_autoindex_{_TABLE}_1 WHERE found.dfid = entry.dfid)
    FROM {_TABLE} AS entry NOT INDEXED WHERE id > ? ORDER BY id LIMIT 2000
"""


class SqliteDecisionLedgerStorage(SqliteStorage, LedgerChainStorage):
    """The decision ledger in a SQLite file (DIR Topology C)."""

    @checked
    def append(self, pci: VerifiedIntent, *, agent_id: str, root_dfid: str | None = None) -> None:
        record = ledger_record(pci, agent_id, root_dfid, self._limits)
        with self._database.transaction() as connection:
            append_entry(connection, record, self._database.clock.now())

    @checked
    def get_by_dfid(self, dfid: str) -> dict[str, Any] | None:
        rows = self._database.read(f"{_SELECT} WHERE dfid = ?", dfid)
        return _entry(rows[0]) if rows else None

    def entries_for_dfid(self, dfid: str) -> list[dict[str, Any]]:
        entry = self.get_by_dfid(dfid)
        return [] if entry is None else [entry]

    def all_entries_chronological(self) -> list[dict[str, Any]]:
        return [_entry(row) for row in self._database.read(f"{_SELECT} ORDER BY id")]

    def count_entries(self) -> int:
        ((count,),) = self._database.read(f"SELECT COUNT(*) FROM {_TABLE}")
        return int(count)

    @checked
    def verify_ledger(self, *, anchor: str | None = None) -> ChainReport:
        [points] = parse_anchor("anchor", anchor, 1)
        walk = ChainWalk(BEGINNING, said_end(self._database.read, _CHAIN), points, _TABLE)
        after = -(2**63)
        while rows := self._database.read(_PAGE, after):
            for *row, row_id, found_id in rows:
                link = _stored_link(row, row_id)
                broken_at = walk.step(link)
                if broken_at is None and found_id != row_id:
                    problem = f"its index does not lead from {link.dfid!r} to it"
                    broken_at = ChainBreak(link.record, row_id, link.dfid, problem)
                if broken_at is not None:
                    return report([walk], broken_at)
            after = rows[-1][-2]
        return report([walk], walk.finish(said_end(self._database.read, _CHAIN)))


def append_entry(connection: sqlite3.Connection, record: LedgerRecord, moment: int) -> None:
    """Append an entry and its link, in the caller's transaction; the same once more is fine.

    Raises:
        LedgerConflictError: the flow has an entry that differs.
    """
    stored = connection.execute(f"{_SELECT} WHERE dfid = ?", (record.dfid,)).fetchone()
    if stored is not None:
        check_same(_record(stored), record)
        return
    committed_at = moment_column(moment)
    end = read_chain_end(rows_of(connection), _CHAIN)
    if end == BEGINNING and connection.execute(f"SELECT 1 FROM {_TABLE} LIMIT 1").fetchone():
        raise CorruptRecordError("chain_ends 'ledger'", "it is gone, and there are entries")
    end = next_end(end, record.digest, committed_at)
    marks = ", ".join("?" * (len(record) + 3))
    connection.execute(
        f"INSERT INTO {_TABLE} ({_FIELDS}, id, committed_at, link) VALUES ({marks})",
        (*record, end.number, committed_at, end.link),
    )
    write_chain_end(connection, _CHAIN, end)


def _stored_link(columns: list[Any], row_id: int) -> StoredLink:
    texts = [text_of(column) for column in columns]
    *fields, committed_at, link = texts
    return StoredLink(
        record=f"{_TABLE} {row_id}",
        dfid=fields[0],
        number=row_id,
        link=link,
        digest=None if None in texts else LedgerRecord(*map(str, fields)).digest,
        place=str(committed_at),
    )


def _record(row: Any) -> LedgerRecord:
    *fields, row_id, _, _ = row
    return LedgerRecord(*read_columns(_TABLE, row_id, LedgerRecord._fields, fields))


def _entry(row: Any) -> dict[str, Any]:
    *_, row_id, committed_at, _ = row
    record = _record(row)
    payload = parse_object(_TABLE, row_id, record.intent_payload)
    return ledger_entry(record, payload, read_moment(_TABLE, row_id, committed_at))
