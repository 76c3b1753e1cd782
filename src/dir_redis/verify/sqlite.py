"""What must hold of a SQLite file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from dir_redis.sqlite.database import SqliteDatabase
from dir_redis.verify.report import Finding, Trouble

_ROWS_AT_ONCE = 500

# Tables with JSON texts: the column that names a row, and the columns that hold them.
_DOCUMENTS = (
    ("agent_registry", "agent_id", ("contract",)),
    ("context_session", "dfid", ("data",)),
    ("context_state", "agent_id", ("data",)),
    ("idempotency_cache", "key", ("result",)),
    ("decision_audit_events", "id", ("detail_json",)),
    ("saga_dirty_state", "dfid", ("partial_state_json",)),
    ("escalation_requests", "dfid", ("context_json", "proposal_json")),
    ("decision_ledger_entries", "id", ("intent_payload",)),
)

# What no row may be like: the table, the column that names a row, what is wrong, and when.
_NUMBER = "COALESCE((SELECT value FROM dir_redis_meta WHERE name = 'reservation_number'), 0)"
_WRONG: tuple[tuple[str, str, Trouble, str, str], ...] = (
    (
        *("resource_locks", "dfid || ' ' || resource_id", "garbled"),
        "should hold whole units above 0",
        "units IS NULL OR typeof(units) != 'integer' OR units <= 0",
    ),
    (
        *("reservation_leases", "dfid", "mismatch", "has a token that was not given yet"),
        f"token > {_NUMBER}",
    ),
    (
        *("reservation_queue", "resource_id || ' ' || ticket", "mismatch"),
        "is a ticket that was not given yet",
        f"ticket > {_NUMBER}",
    ),
    (
        *("idempotency_claims", "key", "garbled", "has an owner without a token or an end"),
        "owner IS NOT NULL AND (token IS NULL OR until_us = 0)",
    ),
    (
        *("idempotency_claims", "key", "mismatch", "is held by an owner, though it is completed"),
        "owner IS NOT NULL AND completed",
    ),
    (
        *("saga_dirty_state", "dfid", "mismatch", "has an owner without an epoch"),
        "owner IS NOT NULL AND epoch = 0",
    ),
    (
        *("escalation_requests", "dfid", "garbled", "is neither PENDING nor RESOLVED"),
        "status NOT IN ('PENDING', 'RESOLVED')",
    ),
    (
        *(
            "escalation_requests",
            "dfid",
            "mismatch",
            "is decided without a decision, or the reverse",
        ),
        "(status = 'RESOLVED') != (human_decision IS NOT NULL)",
    ),
    (
        *(
            "escalation_requests",
            "dfid",
            "mismatch",
            "has a deadline without a default, or the reverse",
        ),
        "(deadline_us IS NULL) != (default_decision IS NULL)",
    ),
)

_TOTALS = """
    SELECT resource_id, SUM(stated), SUM(held) FROM (
        SELECT resource_id, units AS stated, 0 AS held FROM resource_totals
        UNION ALL SELECT resource_id, 0, COALESCE(units, 0) FROM resource_locks)
    GROUP BY resource_id HAVING SUM(stated) != SUM(held)
"""


def sqlite_findings(database: SqliteDatabase, counted: Callable[[int], None]) -> Iterator[Finding]:
    """Ask SQLite itself, then compare the tables; each question sees one moment.

    Raises:
        StorageError: the file cannot be read.
    """
    for (problem,) in database.read("PRAGMA integrity_check(100)"):
        if problem != "ok":
            yield Finding(str(database.path), "garbled", str(problem))
    for resource_id, stated, held in database.read(_TOTALS):
        problem = f"says {stated} units, and {held} are held"
        yield Finding(f"resource_totals {resource_id!r}", "mismatch", problem)
    for table, name, kind, problem, when in _WRONG:
        for (row,) in database.read(f"SELECT {name} FROM {table} WHERE {when}"):
            yield Finding(f"{table} {row!r}", kind, problem)
    for table, name, columns in _DOCUMENTS:
        yield from _documents(database, table, name, columns, counted)


def _documents(
    database: SqliteDatabase,
    table: str,
    name: str,
    columns: tuple[str, ...],
    counted: Callable[[int], None],
) -> Iterator[Finding]:
    texts = ", ".join(f"CAST({column} AS TEXT)" for column in columns)
    page = (
        f"SELECT rowid, {name}, {texts} FROM {table} WHERE rowid > ? ORDER BY rowid "
        f"LIMIT {_ROWS_AT_ONCE}"
    )
    last = -(2**63)
    while rows := database.read(page, last):
        for _, row, *values in rows:
            for column, text in zip(columns, values, strict=True):
                try:
                    json.loads(text)
                except (ValueError, TypeError, RecursionError) as error:
                    problem = f"its {column} should hold JSON ({error})"
                    yield Finding(f"{table} {row!r}", "garbled", problem)
        counted(len(rows))
        last = rows[-1][0]
