"""Budgets and requests of a SQLite store, as neutral records."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from dir_redis.clock import format_moment
from dir_redis.documents import EMPTY_OBJECT
from dir_redis.migrate.exact import decided_us
from dir_redis.migrate.records import (
    Budget,
    Request,
)
from dir_redis.migrate.sqlite_records import replace
from dir_redis.migrate.tables import FIRST_KEY, FIRST_ROW, Read, among, in_order
from dir_redis.sqlite.columns import moment_column, read_column, read_columns, read_moment
from dir_redis.sqlite.escalation import exactly


class Budgets:
    keys = """
        SELECT DISTINCT agent_id, agent_id FROM escalation_budget
        WHERE agent_id > ? ORDER BY agent_id LIMIT ?
    """
    beginning = FIRST_KEY

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, Budget]:
        spent: defaultdict[str, list[int]] = defaultdict(list)
        for agent_id, created_at in read(
            f"SELECT agent_id, created_at FROM escalation_budget WHERE agent_id {among(keys)}",
            *keys,
        ):
            read_column("escalation_budget", agent_id, "agent_id", agent_id)
            spent[agent_id].append(read_moment("escalation_budget", agent_id, created_at))
        return {agent_id: Budget(agent_id, tuple(sorted(all_))) for agent_id, all_ in spent.items()}

    def put(self, connection: sqlite3.Connection, record: Budget) -> None:
        connection.executemany(
            "INSERT INTO escalation_budget (agent_id, created_at) VALUES (?, ?)",
            [(record.agent_id, moment_column(spent_us)) for spent_us in record.spent_us],
        )


_REQUEST = (
    *("dfid", "agent_id", "reason", "context_json", "proposal_json", "impact", "deadline_us"),
    *("default_decision", "reviewer", "reviewer_until_us", "status", "human_decision"),
    *("resolved_at", "decided_by", "decision_reason", "by_default"),
)


class Requests:
    keys = in_order("escalation_requests", "dfid")
    beginning = FIRST_ROW

    def find(self, read: Read, keys: Sequence[str], now: int) -> dict[str, Request]:
        rows = read(
            f"""
            SELECT dfid, agent_id, reason, context_json, proposal_json, impact,
                deadline_us, default_decision, reviewer, reviewer_until_us, status, human_decision,
                CAST(resolved_at AS TEXT), decided_by, decision_reason, by_default,
                CAST(created_at AS TEXT)
            FROM escalation_requests WHERE dfid {among(keys)}
            """,
            *keys,
        )
        return {row[0]: self._request(row, now) for row in rows}

    @staticmethod
    def _request(row: Any, now: int) -> Request:
        *columns, created_at = row
        columns = read_columns("escalation_requests", row[0], _REQUEST, columns)
        dfid, agent_id, reason, context_json, proposal_json, impact, deadline_us = columns[:7]
        default_decision, reviewer, until_us, status, decision, resolved_at = columns[7:13]
        decided_by, decision_reason, by_default = columns[13:]
        pending = status == "PENDING"
        resolved_us = decided_us(resolved_at)
        request = Request(
            *(dfid, agent_id, reason, context_json or EMPTY_OBJECT, proposal_json or EMPTY_OBJECT),
            *(impact, read_moment("escalation_requests", dfid, created_at), deadline_us),
            *(default_decision, reviewer, until_us, "PENDING" if pending else "RESOLVED"),
            None if pending else decision or "",
            resolved_at if resolved_us is None else None,
            resolved_us,
            decided_by,
            decision_reason,
            bool(by_default),
        )
        if pending and deadline_us is not None and deadline_us <= now:
            return request._replace(
                status="RESOLVED",
                decision=default_decision,
                resolved_us=deadline_us,
                by_default=True,
            )
        return request

    def put(self, connection: sqlite3.Connection, record: Request) -> None:
        resolved_at = record.resolved_at
        if resolved_at is None and record.resolved_us is not None:
            resolved_at = format_moment(record.resolved_us)
        replace(
            connection,
            "escalation_requests",
            "dfid, agent_id, reason, context_json, proposal_json, impact, created_at, deadline_us,"
            " default_decision, reviewer, reviewer_until_us, status, human_decision, resolved_at,"
            " decided_by, decision_reason, by_default",
            (
                *(*record[:6], moment_column(record.requested_us), *record[7:13]),
                None if resolved_at is None else exactly(resolved_at),
                *record[15:],
            ),
        )
