"""The tables of a store's file: those of dir-core 0.1.0, and what later arguments added.

A column declared JSON or TIMESTAMP has numeric affinity in SQLite; see ``columns.py``. Where a
record has a place in an order, its rowid is that place: an upsert keeps it, INSERT OR REPLACE
moves it to the end, and VACUUM, which renumbers, keeps the sequence.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from dir_redis.errors import StorageConfigurationError

SCHEMA_VERSION = 3

_TABLES = (
    """CREATE TABLE IF NOT EXISTS agent_registry (
        agent_id TEXT PRIMARY KEY,
        contract JSON NOT NULL DEFAULT '{}',
        priority INTEGER NOT NULL DEFAULT 0,
        status TEXT NOT NULL DEFAULT 'ACTIVE',
        agent_version TEXT,
        session_token TEXT,
        suspension_reason TEXT,
        registered_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)""",
    """CREATE TABLE IF NOT EXISTS context_session (
        dfid TEXT PRIMARY KEY,
        data JSON NOT NULL DEFAULT '{}',
        updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)""",
    """CREATE TABLE IF NOT EXISTS context_state (
        agent_id TEXT PRIMARY KEY,
        data JSON NOT NULL DEFAULT '{}',
        version INTEGER NOT NULL DEFAULT 1,
        updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)""",
    """CREATE TABLE IF NOT EXISTS idempotency_cache (
        key TEXT PRIMARY KEY,
        result JSON NOT NULL DEFAULT '{}',
        created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)""",
    """CREATE TABLE IF NOT EXISTS decision_audit_events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        dfid TEXT NOT NULL,
        event TEXT NOT NULL,
        timestamp TEXT NOT NULL,
        step_id TEXT NOT NULL DEFAULT '',
        state TEXT NOT NULL DEFAULT '',
        detail_json JSON NOT NULL DEFAULT '{}')""",
    """CREATE TABLE IF NOT EXISTS saga_dirty_state (
        dfid TEXT PRIMARY KEY,
        failed_step TEXT NOT NULL DEFAULT '',
        partial_state_json TEXT NOT NULL DEFAULT '{}',
        created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)""",
    """CREATE TABLE IF NOT EXISTS resource_locks (
        dfid TEXT NOT NULL,
        resource_id TEXT NOT NULL,
        amount REAL NOT NULL DEFAULT 0,
        acquired_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (dfid, resource_id))""",
    """CREATE TABLE IF NOT EXISTS intent_retry (
        dfid TEXT PRIMARY KEY,
        rejection_count INTEGER NOT NULL DEFAULT 0,
        updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)""",
    """CREATE TABLE IF NOT EXISTS escalation_budget (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        agent_id TEXT NOT NULL,
        created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)""",
    """CREATE TABLE IF NOT EXISTS escalation_requests (
        dfid TEXT PRIMARY KEY,
        agent_id TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        context_json TEXT NOT NULL DEFAULT '{}',
        proposal_json TEXT NOT NULL DEFAULT '{}',
        impact TEXT NOT NULL DEFAULT '',
        status TEXT NOT NULL DEFAULT 'PENDING',
        created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
        resolved_at TIMESTAMP,
        human_decision TEXT)""",
    """CREATE TABLE IF NOT EXISTS flow_transitions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        dfid TEXT NOT NULL,
        from_status TEXT,
        to_status TEXT NOT NULL,
        created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)""",
)

# Made by this package alone: what the fleet-safe operations keep.
_FLEET_TABLES: tuple[str, ...] = (
    """CREATE TABLE IF NOT EXISTS idempotency_claims (
        key TEXT PRIMARY KEY,
        token INTEGER,
        owner TEXT,
        until_us INTEGER NOT NULL DEFAULT 0,
        fingerprint TEXT,
        completed INTEGER NOT NULL DEFAULT 0,
        forget_us INTEGER) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS audit_groups (
        name TEXT PRIMARY KEY,
        archived INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS reservation_leases (
        dfid TEXT PRIMARY KEY,
        token INTEGER NOT NULL,
        until_us INTEGER) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS reservation_queue (
        resource_id TEXT NOT NULL,
        ticket INTEGER NOT NULL,
        dead_at_us INTEGER NOT NULL,
        PRIMARY KEY (resource_id, ticket)) WITHOUT ROWID""",
    # Declared TEXT throughout, so that every column keeps what is put into it to the byte.
    """CREATE TABLE IF NOT EXISTS decision_ledger_entries (
        id INTEGER PRIMARY KEY,
        dfid TEXT NOT NULL UNIQUE,
        root_dfid TEXT NOT NULL,
        agent_id TEXT NOT NULL,
        intent_payload TEXT NOT NULL,
        context_ref TEXT NOT NULL,
        evidence_hash TEXT NOT NULL,
        signature TEXT NOT NULL,
        committed_at TEXT NOT NULL,
        link TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS chain_ends (
        chain TEXT PRIMARY KEY,
        number INTEGER NOT NULL,
        link TEXT NOT NULL,
        trimmed_number INTEGER NOT NULL,
        trimmed_link TEXT NOT NULL) WITHOUT ROWID""",
)

_ADDED_COLUMNS = (
    ("context_session", "agent_id TEXT"),
    ("context_session", "version INTEGER NOT NULL DEFAULT 1"),
    ("context_session", "base_keys INTEGER"),
    ("context_session", "expires_us INTEGER"),
    ("context_state", "base_keys INTEGER"),
    ("agent_registry", "contract_version INTEGER NOT NULL DEFAULT 1"),
    ("agent_registry", "heartbeat_until INTEGER"),
    ("idempotency_cache", "expires_us INTEGER"),
    ("saga_dirty_state", "marked_us INTEGER NOT NULL DEFAULT 0"),
    ("saga_dirty_state", "due_us INTEGER NOT NULL DEFAULT 0"),
    ("saga_dirty_state", "epoch INTEGER NOT NULL DEFAULT 0"),
    ("saga_dirty_state", "owner TEXT"),
    ("decision_audit_events", "root_dfid TEXT"),
    ("decision_audit_events", "agent_id TEXT"),
    ("decision_audit_events", "severity TEXT NOT NULL DEFAULT 'INFO'"),
    ("decision_audit_events", "chain_number INTEGER"),
    ("decision_audit_events", "chain_link TEXT"),
    ("flow_transitions", "root_dfid TEXT"),
    ("resource_locks", "since_us INTEGER"),
    ("escalation_requests", "deadline_us INTEGER"),
    ("escalation_requests", "default_decision TEXT"),
    ("escalation_requests", "reviewer TEXT"),
    ("escalation_requests", "reviewer_until_us INTEGER NOT NULL DEFAULT 0"),
    ("escalation_requests", "decided_by TEXT"),
    ("escalation_requests", "decision_reason TEXT"),
    ("escalation_requests", "by_default INTEGER NOT NULL DEFAULT 0"),
)

_INDEXES = (
    "idx_agent_registry_heartbeat ON agent_registry (heartbeat_until) "
    "WHERE heartbeat_until IS NOT NULL",
    "idx_context_session_expires ON context_session (expires_us) WHERE expires_us IS NOT NULL",
    "idx_resource_locks_resource ON resource_locks (resource_id)",
    "idx_reservation_leases_until ON reservation_leases (until_us) WHERE until_us IS NOT NULL",
    "idx_reservation_queue_ticket ON reservation_queue (ticket)",
    "idx_reservation_queue_dead_at ON reservation_queue (dead_at_us)",
    "idx_idempotency_cache_expires ON idempotency_cache (expires_us) WHERE expires_us IS NOT NULL",
    "idx_idempotency_claims_forget ON idempotency_claims (forget_us) WHERE forget_us IS NOT NULL",
    "idx_saga_dirty_state_due ON saga_dirty_state (due_us)",
    "idx_decision_audit_events_dfid ON decision_audit_events (dfid)",
    "idx_flow_transitions_dfid ON flow_transitions (dfid)",
    "idx_escalation_budget_window ON escalation_budget (agent_id, created_at)",
    "idx_escalation_requests_pending ON escalation_requests (status) WHERE status = 'PENDING'",
    "idx_escalation_requests_deadlines ON escalation_requests (deadline_us) "
    "WHERE status = 'PENDING'",
)


def make_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Make what is missing of the tables, columns and indexes, in the caller's transaction.

    Raises:
        StorageConfigurationError: the file has tables of these names in another shape.
    """
    _refuse_other_shapes(connection, path)
    for statement in (*_TABLES, *_FLEET_TABLES):
        connection.execute(statement)
    for table, column in _ADDED_COLUMNS:
        add_column(connection, table, column)
    for index in _INDEXES:
        connection.execute(f"CREATE INDEX IF NOT EXISTS {index}")


def add_column(connection: sqlite3.Connection, table: str, column: str) -> None:
    """Add a column, given as name and type, to a table that may have it already."""
    if column.split()[0] not in _columns(connection, table):
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")


def _refuse_other_shapes(connection: sqlite3.Connection, path: Path) -> None:
    existing = _table_names(connection)
    with closing(sqlite3.connect(":memory:")) as model:
        for statement in _TABLES:
            model.execute(statement)
        for table in sorted(_table_names(model) & existing):
            missing = _columns(model, table) - _columns(connection, table)
            if missing:
                origin, instead = (
                    (
                        "is a file of dir-core 0.2 or later",
                        "copy it to another store by dir_redis.migrate.copy_store",
                    )
                    if existing & {"decision_flows", "flow_context"}
                    else (
                        "was made neither by dir-core 0.1 nor by this package",
                        "take another file",
                    )
                )
                raise StorageConfigurationError(
                    f"{path} {origin} (its table {table} has no column {min(missing)}) and cannot "
                    f"be opened: {instead}"
                )


def _table_names(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name for (name,) in rows}


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    rows = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return {name for (name,) in rows}
