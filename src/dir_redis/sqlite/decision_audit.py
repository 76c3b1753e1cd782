"""Audit rows in ``decision_audit_events``, whose ids are the order of insertion."""

from __future__ import annotations

from typing import Any

from dir_redis.arguments import checked
from dir_redis.clock import format_moment
from dir_redis.json_codec import encode_object
from dir_redis.log_rows import audit_row
from dir_redis.protocols import DecisionAuditStorage
from dir_redis.sqlite.columns import parse_object, read_moment
from dir_redis.sqlite.storage import SqliteStorage

_TABLE = "decision_audit_events"
_SELECT = (
    "SELECT id, dfid, root_dfid, event, timestamp, step_id, state, detail_json, severity "
    f"FROM {_TABLE}"
)


class SqliteDecisionAuditStorage(SqliteStorage, DecisionAuditStorage):
    """The audit log in a SQLite file."""

    @checked
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
    ) -> None:
        detail_json = encode_object("details", {} if details is None else details)
        with self._database.transaction() as connection:
            timestamp = format_moment(self._database.clock.now())
            connection.execute(
                f"""
                INSERT INTO {_TABLE} (dfid, root_dfid, agent_id, event, timestamp, step_id,
                                      state, detail_json, severity)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
                (
                    dfid,
                    root_dfid or dfid,
                    agent_id,
                    event,
                    timestamp,
                    step_id,
                    state,
                    detail_json,
                    severity,
                ),
            )

    @checked
    def events_for_dfid(self, dfid: str) -> list[dict[str, Any]]:
        return self._rows(self._database.read(f"{_SELECT} WHERE dfid = ? ORDER BY id", dfid))

    def all_events_chronological(self) -> list[dict[str, Any]]:
        return self._rows(self._database.read(f"{_SELECT} ORDER BY id"))

    def _rows(self, records: list[Any]) -> list[dict[str, Any]]:
        return [
            audit_row(
                dfid=dfid,
                root_dfid=root_dfid,
                event=event,
                moment=read_moment(_TABLE, row_id, timestamp),
                step_id=step_id,
                state=state,
                details=parse_object(_TABLE, row_id, detail_json),
                severity=severity,
            )
            for (
                row_id,
                dfid,
                root_dfid,
                event,
                timestamp,
                step_id,
                state,
                detail_json,
                severity,
            ) in records
        ]
