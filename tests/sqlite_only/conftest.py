"""Files of other makers, raw connections to a file, and processes that start at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dir_redis import StorageBundle, sqlite_storage

PROCESS_SECONDS = 120

# The tables of dir-core 0.1.0, as its files have them.
TABLES_OF_0_1_0 = """
CREATE TABLE agent_registry (agent_id TEXT PRIMARY KEY, contract JSON NOT NULL DEFAULT '{}',
    priority INTEGER NOT NULL DEFAULT 0, status TEXT NOT NULL DEFAULT 'ACTIVE',
    agent_version TEXT, session_token TEXT, suspension_reason TEXT,
    registered_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE context_session (dfid TEXT PRIMARY KEY, data JSON NOT NULL DEFAULT '{}',
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE context_state (agent_id TEXT PRIMARY KEY, data JSON NOT NULL DEFAULT '{}',
    version INTEGER NOT NULL DEFAULT 1, updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE idempotency_cache (key TEXT PRIMARY KEY, result JSON NOT NULL DEFAULT '{}',
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE saga_dirty_state (dfid TEXT PRIMARY KEY, failed_step TEXT NOT NULL DEFAULT '',
    partial_state_json TEXT NOT NULL DEFAULT '{}',
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE resource_locks (dfid TEXT NOT NULL, resource_id TEXT NOT NULL,
    amount REAL NOT NULL DEFAULT 0, acquired_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (dfid, resource_id));
CREATE TABLE intent_retry (dfid TEXT PRIMARY KEY, rejection_count INTEGER NOT NULL DEFAULT 0,
    updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE escalation_budget (id INTEGER PRIMARY KEY AUTOINCREMENT, agent_id TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE escalation_requests (dfid TEXT PRIMARY KEY, agent_id TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '', context_json TEXT NOT NULL DEFAULT '{}',
    proposal_json TEXT NOT NULL DEFAULT '{}', impact TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL DEFAULT 'PENDING', created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    resolved_at TIMESTAMP, human_decision TEXT);
CREATE TABLE flow_transitions (id INTEGER PRIMARY KEY AUTOINCREMENT, dfid TEXT NOT NULL,
    from_status TEXT, to_status TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE decision_audit_events (id INTEGER PRIMARY KEY AUTOINCREMENT, dfid TEXT NOT NULL,
    event TEXT NOT NULL, timestamp TEXT NOT NULL, step_id TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL DEFAULT '', detail_json JSON NOT NULL DEFAULT '{}');
CREATE INDEX idx_decision_audit_events_dfid ON decision_audit_events (dfid);
"""

Starter = Callable[..., list[str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Iterator[StorageBundle]:
    with sqlite_storage(path) as opened:
        yield opened


@pytest.fixture
def raw(path: Path) -> Iterator[Callable[..., list[Any]]]:
    """Run a statement as another program would, on a connection of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # As SQLite is built by default; some distributions build it the other way.
        connection.execute("PRAGMA recursive_triggers = OFF")
        yield lambda sql, *parameters: connection.execute(sql, parameters).fetchall()


@pytest.fixture
def old_file(path: Path) -> Path:
    """An empty file of dir-core 0.1.0."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES_OF_0_1_0)
    return path


@pytest.fixture
def at_once(path: Path) -> Starter:
    """Run Python code in several processes that start it at the same moment.

    The code finds the file as ``path`` and its number as ``number``; what each prints comes back.
    """

    def start(code: str, processes: int) -> list[str]:
        prologue = (
            "import sys; from dir_redis import *; path, number = sys.argv[1], int(sys.argv[2])\n"
            "print('ready', flush=True); sys.stdin.readline()\n"
        )
        running = [
            subprocess.Popen(
                [sys.executable, "-c", prologue + code, str(path), str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(processes)
        ]
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        outputs = [process.communicate(timeout=PROCESS_SECONDS)[0] for process in running]
        assert [process.returncode for process in running] == [0] * processes
        return outputs

    return start
