"""Sessions in ``context_session`` by dfid, states in ``context_state`` by agent_id.

The column ``data`` holds the whole document, for dir-core reads it too; ``base_keys`` says how many
of its members are those of the text that was set (NULL: all), which decides their order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from dir_redis.arguments import checked
from dir_redis.documents import (
    EMPTY_OBJECT,
    check_object,
    check_version,
    encode_updates,
    members_of,
    merge,
    session_of,
    state_of,
)
from dir_redis.fleet_protocols import ContextMergeStorage
from dir_redis.records import VersionedDocument
from dir_redis.sqlite.columns import json_column, parse_document, read_columns
from dir_redis.sqlite.storage import SqliteStorage

# Its data, version and base_keys; of no record, version 0.
_Stored = tuple[str, int, int | None]
_NONE: _Stored = (EMPTY_OBJECT, 0, None)
_COLUMNS = ("data", "version", "base_keys")

_SESSION = "SELECT CAST(data AS TEXT), version, base_keys FROM context_session WHERE dfid = ?"
_STATE = "SELECT CAST(data AS TEXT), version, base_keys FROM context_state WHERE agent_id = ?"


class SqliteContextStorage(SqliteStorage, ContextMergeStorage):
    """Session context and agent state in a SQLite file (DIR §8)."""

    @checked
    def get_session(self, dfid: str) -> str | None:
        return self._read_session(dfid).data_json

    @checked
    def set_session(
        self,
        dfid: str,
        data_json: str,
        *,
        agent_id: str | None = None,
        expected_version: int | None = None,
    ) -> None:
        with self._database.transaction() as connection:
            self._forget_ended(connection)
            if expected_version is not None:
                _, version, _ = _find(connection, _SESSION, "context_session", dfid)
                check_version(session_of(dfid), expected_version, version)
            _write_session(connection, dfid, data_json, None, agent_id)

    @checked
    def get_state(self, agent_id: str) -> str | None:
        return self._read_state(agent_id).data_json

    @checked
    def set_state(
        self, agent_id: str, data_json: str, *, expected_version: int | None = None
    ) -> None:
        with self._database.transaction() as connection:
            if expected_version is not None:
                _, version, _ = _find(connection, _STATE, "context_state", agent_id)
                check_version(state_of(agent_id), expected_version, version)
            _write_state(connection, agent_id, data_json, None)

    @checked
    def merge_session(
        self, dfid: str, updates: Mapping[str, Any], *, agent_id: str | None = None
    ) -> int:
        encoded = encode_updates(updates, self._limits)
        with self._database.transaction() as connection:
            self._forget_ended(connection)
            stored = _find(connection, _SESSION, "context_session", dfid)
            data, base_keys = _merged(stored, encoded, session_of(dfid), ("context_session", dfid))
            _write_session(connection, dfid, data, base_keys, agent_id)
            return stored[1] + 1

    @checked
    def merge_state(self, agent_id: str, updates: Mapping[str, Any]) -> int:
        encoded = encode_updates(updates, self._limits)
        with self._database.transaction() as connection:
            stored = _find(connection, _STATE, "context_state", agent_id)
            data, base_keys = _merged(
                stored, encoded, state_of(agent_id), ("context_state", agent_id)
            )
            _write_state(connection, agent_id, data, base_keys)
            return stored[1] + 1

    @checked
    def get_session_versioned(self, dfid: str) -> VersionedDocument:
        return self._read_session(dfid)

    @checked
    def get_state_versioned(self, agent_id: str) -> VersionedDocument:
        return self._read_state(agent_id)

    def _read_session(self, dfid: str) -> VersionedDocument:
        rows = self._database.read(
            f"{_SESSION} AND (expires_us IS NULL OR expires_us > ?)",
            *(dfid, self._database.clock.now()),
        )
        return _versioned("context_session", dfid, rows)

    def _read_state(self, agent_id: str) -> VersionedDocument:
        return _versioned("context_state", agent_id, self._database.read(_STATE, agent_id))

    def _forget_ended(self, connection: sqlite3.Connection) -> None:
        """Delete the sessions that have ended; each write does, since nobody may ask for them."""
        connection.execute(
            "DELETE FROM context_session WHERE expires_us <= ?", (self._database.clock.now(),)
        )


def _versioned(table: str, identifier: str, rows: list[Any]) -> VersionedDocument:
    if not rows:
        return VersionedDocument(None, 0)
    data, version, _ = _stored(table, identifier, rows[0])
    return VersionedDocument(data, version)


def _find(connection: sqlite3.Connection, select: str, table: str, identifier: str) -> _Stored:
    row = connection.execute(select, (identifier,)).fetchone()
    return _NONE if row is None else _stored(table, identifier, row)


def _stored(table: str, identifier: str, row: Any) -> _Stored:
    data, version, base_keys = read_columns(table, identifier, _COLUMNS, row)
    return data, version, base_keys


def _merged(
    stored: _Stored, updates: dict[str, str], record: str, row: tuple[str, str]
) -> tuple[str, int | None]:
    """What ``data`` and ``base_keys`` become.

    Raises:
        ValueError: the document is JSON, but no object.
        CorruptRecordError: it is no JSON.
    """
    data, _, base_keys = stored
    data = data or EMPTY_OBJECT  # dir-core 0.1.0 may have left it empty
    try:
        members = members_of(data)
    except (ValueError, RecursionError):
        parse_document(*row, data)
        check_object(record, data)
        raise
    if not updates:
        return data, base_keys
    if base_keys is None:
        base_keys = len(members)
    return merge(members, updates, base_keys), base_keys


def _write_session(
    connection: sqlite3.Connection,
    dfid: str,
    data: str,
    base_keys: int | None,
    agent_id: str | None,
) -> None:
    connection.execute(
        """
        INSERT INTO context_session (dfid, data, base_keys, agent_id) VALUES (?, ?, ?, ?)
        ON CONFLICT (dfid) DO UPDATE SET
            data = excluded.data,
            base_keys = excluded.base_keys,
            agent_id = COALESCE(excluded.agent_id, agent_id),
            expires_us = NULL,
            version = version + 1,
            updated_at = CURRENT_TIMESTAMP
        """,
        (dfid, json_column(data), base_keys, agent_id),
    )


def _write_state(
    connection: sqlite3.Connection, agent_id: str, data: str, base_keys: int | None
) -> None:
    connection.execute(
        """
        INSERT INTO context_state (agent_id, data, base_keys) VALUES (?, ?, ?)
        ON CONFLICT (agent_id) DO UPDATE SET
            data = excluded.data,
            base_keys = excluded.base_keys,
            version = version + 1,
            updated_at = CURRENT_TIMESTAMP
        """,
        (agent_id, json_column(data), base_keys),
    )
