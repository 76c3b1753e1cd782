"""Tokens in ``escalation_budget``; requests in ``escalation_requests``, in order of rowid."""

from __future__ import annotations

from typing import Any

from dir_redis.arguments import checked
from dir_redis.clock import parse_moment
from dir_redis.protocols import EscalationStorage
from dir_redis.sqlite.columns import lower_bound, moment_column, parse_document
from dir_redis.sqlite.storage import SqliteStorage


class SqliteEscalationStorage(SqliteStorage, EscalationStorage):
    """Escalations in a SQLite file (DIR §9)."""

    @checked
    def get_window_count(self, agent_id: str, since_str: str) -> int:
        since = lower_bound(parse_moment("since_str", since_str))
        rows = self._database.read(
            "SELECT COUNT(*) FROM escalation_budget WHERE agent_id = ? AND created_at >= ?",
            agent_id,
            since,
        )
        return int(rows[0][0])

    @checked
    def record_budget_token(self, agent_id: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO escalation_budget (agent_id, created_at) VALUES (?, ?)",
                (agent_id, moment_column(self._database.clock.now())),
            )

    @checked
    def insert_request(
        self,
        dfid: str,
        agent_id: str,
        reason: str,
        context_json: str,
        proposal_json: str,
        impact: str,
    ) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                """
                INSERT OR REPLACE INTO escalation_requests
                    (dfid, agent_id, reason, context_json, proposal_json, impact, status)
                VALUES (?, ?, ?, ?, ?, ?, 'PENDING')
                """,
                (dfid, agent_id, reason, context_json, proposal_json, impact),
            )

    @checked
    def resolve_request(
        self, dfid: str, resolved_at: str, decision: str, proposal_json: str | None
    ) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                """
                UPDATE escalation_requests
                SET status = 'RESOLVED', resolved_at = ?, human_decision = ?,
                    proposal_json = COALESCE(?, proposal_json)
                WHERE dfid = ? AND status = 'PENDING'
                """,
                (resolved_at, decision, proposal_json, dfid),
            )

    def get_pending_requests(self) -> list[dict[str, Any]]:
        rows = self._database.read(
            """
            SELECT dfid, agent_id, reason, context_json, proposal_json, impact
            FROM escalation_requests WHERE status = 'PENDING' ORDER BY rowid
            """
        )
        return [
            {
                "dfid": dfid,
                "agent_id": agent_id,
                "reason": reason,
                "context": parse_document("escalation_requests", dfid, context_json),
                "proposal": parse_document("escalation_requests", dfid, proposal_json),
                "impact": impact,
            }
            for dfid, agent_id, reason, context_json, proposal_json, impact in rows
        ]
