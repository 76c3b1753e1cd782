"""Transitions in ``flow_transitions``, whose ids are their order."""

from __future__ import annotations

from typing import Any

from dir_redis.arguments import checked
from dir_redis.log_rows import transition_row
from dir_redis.protocols import LifecycleStorage
from dir_redis.sqlite.columns import moment_column, read_moment
from dir_redis.sqlite.storage import SqliteStorage


class SqliteLifecycleStorage(SqliteStorage, LifecycleStorage):
    """The transition log in a SQLite file (DIR §4.3)."""

    @checked
    def record_transition(
        self, dfid: str, from_status: str, to_status: str, *, root_dfid: str | None = None
    ) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                """
                INSERT INTO flow_transitions (dfid, root_dfid, from_status, to_status, created_at)
                VALUES (?, ?, ?, ?, ?)
                """,
                (
                    dfid,
                    root_dfid or dfid,
                    from_status,
                    to_status,
                    moment_column(self._database.clock.now()),
                ),
            )

    @checked
    def get_transitions(self, dfid: str | None = None) -> list[dict[str, Any]]:
        select = "SELECT id, dfid, root_dfid, from_status, to_status, created_at"
        rows = (
            self._database.read(f"{select} FROM flow_transitions ORDER BY id")
            if dfid is None
            else self._database.read(
                f"{select} FROM flow_transitions WHERE dfid = ? ORDER BY id", dfid
            )
        )
        return [
            transition_row(
                dfid=flow,
                root_dfid=root_dfid,
                from_status=from_status,
                to_status=to_status,
                moment=read_moment("flow_transitions", row_id, created_at),
            )
            for row_id, flow, root_dfid, from_status, to_status, created_at in rows
        ]
