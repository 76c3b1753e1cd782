"""Tokens in ``escalation_budget``; requests in ``escalation_requests``, in order of rowid."""

from __future__ import annotations

import re
import sqlite3
import time
from typing import Any

from dir_redis.arguments import checked
from dir_redis.clock import MOMENTS, format_moment, parse_moment
from dir_redis.errors import CorruptRecordError
from dir_redis.escalations import (
    FORGOTTEN_AT_ONCE,
    MAX_WINDOW_US,
    check_terms,
    escalation,
    full_request,
    microseconds,
    pending_request,
)
from dir_redis.fleet_protocols import EscalationQueueStorage
from dir_redis.records import Escalation, EscalationOutcome
from dir_redis.sqlite.columns import (
    lower_bound,
    moment_column,
    parse_document,
    read_columns,
    read_moment,
)
from dir_redis.sqlite.database import FIRST_PAUSE_SEC, LONGEST_PAUSE_SEC
from dir_redis.sqlite.storage import SqliteStorage

_TABLE = "escalation_requests"
_COLUMNS = (
    *("dfid", "agent_id", "reason", "context_json", "proposal_json", "impact", "status"),
    *("deadline_us", "default_decision", "reviewer", "reviewer_until_us", "human_decision"),
    *("decided_by", "decision_reason", "by_default", "resolved_at"),
)
_ASKED = ", ".join(_COLUMNS[:6])
_IN_FULL = (
    f"SELECT {', '.join(_COLUMNS[:-1])}, CAST(resolved_at AS TEXT), CAST(created_at AS TEXT) "
    f"FROM {_TABLE}"
)
# Not what is spoilt, which would keep everybody's requests from being decided.
_OVERDUE = (
    f"status = 'PENDING' AND deadline_us BETWEEN {MOMENTS[0]} AND ? "
    "AND typeof(deadline_us) = 'integer'"
)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)


class SqliteEscalationStorage(SqliteStorage, EscalationQueueStorage):
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
            _spend(connection, agent_id, self._database.clock.now())

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
            asked = (dfid, agent_id, reason, context_json, proposal_json, impact)
            _insert(connection, asked, self._database.clock.now())

    @checked
    def resolve_request(
        self, dfid: str, resolved_at: str, decision: str, proposal_json: str | None
    ) -> None:
        with self._database.transaction() as connection:
            _meet_deadlines(connection, self._database.clock.now())
            _decide(connection, dfid, decision, exactly(resolved_at), proposal_json)

    def get_pending_requests(self) -> list[dict[str, Any]]:
        rows = self._database.read(
            f"""
            SELECT {_ASKED} FROM escalation_requests
            WHERE status = 'PENDING' AND (deadline_us IS NULL OR deadline_us > ?) ORDER BY rowid
            """,
            self._database.clock.now(),
        )
        return [_asked(row) for row in rows]

    @checked
    def escalate(
        self,
        dfid: str,
        agent_id: str,
        reason: str,
        context_json: str,
        proposal_json: str,
        impact: str,
        *,
        limit: int,
        window_sec: float,
        deadline_sec: float | None = None,
        default_decision: str | None = None,
        replace: bool = False,
    ) -> Escalation:
        check_terms(window_sec, deadline_sec, default_decision)
        window_us = microseconds(window_sec)
        with self._database.transaction() as connection:
            now = self._database.clock.now()
            _meet_deadlines(connection, now)
            asked = (dfid, agent_id, reason, context_json, proposal_json, impact)
            known = connection.execute(
                f"SELECT status = 'PENDING', {_ASKED} FROM escalation_requests WHERE dfid = ?",
                (dfid,),
            ).fetchone()
            (spent,) = connection.execute(
                "SELECT COUNT(*) FROM escalation_budget WHERE agent_id = ? AND created_at >= ?",
                (agent_id, lower_bound(now - window_us + 1)),
            ).fetchone()
            if known == (1, *asked) if replace else known:
                outcome = EscalationOutcome.REPEATED
            elif spent >= limit:
                outcome = EscalationOutcome.BUDGET_EXHAUSTED
            else:
                outcome = EscalationOutcome.GRANTED
                _forget_tokens(connection, agent_id, now - MAX_WINDOW_US)
                _spend(connection, agent_id, now)
                spent += 1
                deadline_us = None if deadline_sec is None else now + microseconds(deadline_sec)
                _insert(connection, asked, now, deadline_us, default_decision)
            if spent < limit:
                wait_us = 0
            elif limit == 0:
                wait_us = window_us
            else:
                wait_us = _newest_token(connection, agent_id, limit) + window_us - now
            return escalation(outcome, limit, spent, wait_us)

    @checked
    def claim_next(self, reviewer: str, lease_sec: float) -> dict[str, Any] | None:
        with self._database.transaction() as connection:
            now = self._database.clock.now()
            _meet_deadlines(connection, now)
            oldest = connection.execute(
                """
                SELECT rowid FROM escalation_requests
                WHERE status = 'PENDING' AND reviewer_until_us <= ? ORDER BY rowid LIMIT 1
                """,
                (now,),
            ).fetchone()
            if oldest is None:
                return None
            connection.execute(
                "UPDATE escalation_requests SET reviewer = ?, reviewer_until_us = ? "
                "WHERE rowid = ?",
                (reviewer, now + microseconds(lease_sec), *oldest),
            )
            row = connection.execute(f"{_IN_FULL} WHERE rowid = ?", oldest).fetchone()
        # A spoilt request is found here, with its claim standing: so it keeps no others back.
        return _in_full(row, now)

    @checked
    def resolve(
        self,
        dfid: str,
        decision: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        proposal_json: str | None = None,
    ) -> bool:
        with self._database.transaction() as connection:
            now = self._database.clock.now()
            _meet_deadlines(connection, now)
            return _decide(
                connection, dfid, decision, format_moment(now), proposal_json, by, reason
            )

    @checked
    def get_request(self, dfid: str) -> dict[str, Any] | None:
        return self._look(dfid)

    @checked
    def wait_for_decision(self, dfid: str, timeout_sec: float) -> dict[str, Any] | None:
        until = time.monotonic() + timeout_sec
        pause = FIRST_PAUSE_SEC
        while True:
            request = self._look(dfid)
            if request is None or request["status"] == "RESOLVED":
                return request
            left = until - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(pause, left))
            pause = min(pause * 2, LONGEST_PAUSE_SEC)

    def _look(self, dfid: str) -> dict[str, Any] | None:
        """Read a request; if its deadline has passed, write that down before it is told."""
        select = f"{_IN_FULL} WHERE dfid = ?"
        rows = self._database.read(select, dfid)
        now = self._database.clock.now()
        if rows and _is_overdue(rows[0], now):
            with self._database.transaction() as connection:
                _meet_deadlines(connection, now)
                rows = connection.execute(select, (dfid,)).fetchall()
        return _in_full(rows[0], now) if rows else None


def _spend(connection: sqlite3.Connection, agent_id: str, now: int) -> None:
    connection.execute(
        "INSERT INTO escalation_budget (agent_id, created_at) VALUES (?, ?)",
        (agent_id, moment_column(now)),
    )


def _forget_tokens(connection: sqlite3.Connection, agent_id: str, until: int) -> None:
    """Drop some of an agent's tokens that are too old for any window."""
    connection.execute(
        """
        DELETE FROM escalation_budget WHERE id IN (
            SELECT id FROM escalation_budget WHERE agent_id = ? AND created_at < ?
            ORDER BY created_at LIMIT ?)
        """,
        (agent_id, lower_bound(until + 1), FORGOTTEN_AT_ONCE),
    )


def _newest_token(connection: sqlite3.Connection, agent_id: str, place: int) -> int:
    """When an agent spent its newest token, its second newest, ...: the one that has to leave."""
    ((spent_at,),) = connection.execute(
        """
        SELECT created_at FROM escalation_budget WHERE agent_id = ?
        ORDER BY created_at DESC LIMIT 1 OFFSET ?
        """,
        (agent_id, place - 1),
    ).fetchall()
    return read_moment("escalation_budget", agent_id, spent_at)


def _insert(
    connection: sqlite3.Connection,
    asked: tuple[str, ...],
    now: int,
    deadline_us: int | None = None,
    default_decision: str | None = None,
) -> None:
    connection.execute(
        f"""
        INSERT OR REPLACE INTO escalation_requests
            ({_ASKED}, status, created_at, deadline_us, default_decision)
        VALUES (?, ?, ?, ?, ?, ?, 'PENDING', ?, ?, ?)
        """,
        (*asked, moment_column(now), deadline_us, default_decision),
    )


def _decide(
    connection: sqlite3.Connection,
    dfid: str,
    decision: str,
    resolved_at: str | bytes,
    proposal_json: str | None,
    by: str | None = None,
    reason: str | None = None,
) -> bool:
    decided = connection.execute(
        """
        UPDATE escalation_requests
        SET status = 'RESOLVED', resolved_at = ?, human_decision = ?, decided_by = ?,
            decision_reason = ?, proposal_json = COALESCE(?, proposal_json)
        WHERE dfid = ? AND status = 'PENDING'
        """,
        (resolved_at, decision, by, reason, proposal_json, dfid),
    )
    return decided.rowcount == 1


def _meet_deadlines(connection: sqlite3.Connection, now: int) -> None:
    """Let every deadline that has passed decide its request."""
    overdue = connection.execute(
        f"SELECT rowid, deadline_us FROM {_TABLE} WHERE {_OVERDUE}", (now,)
    ).fetchall()
    connection.executemany(
        """
        UPDATE escalation_requests
        SET status = 'RESOLVED', human_decision = default_decision, by_default = 1, resolved_at = ?
        WHERE rowid = ?
        """,
        [(format_moment(deadline_us), rowid) for rowid, deadline_us in overdue],
    )


def exactly(text: str) -> str | bytes:
    """The form in which a TIMESTAMP column, whose affinity is numeric, keeps any text."""
    return text.encode() if _NUMBER.fullmatch(text) else text


def _asked(row: tuple[Any, ...]) -> dict[str, Any]:
    dfid, agent_id, reason, context_json, proposal_json, impact = read_columns(
        _TABLE, row[0], _COLUMNS[:6], row
    )
    return pending_request(
        dfid,
        agent_id,
        reason,
        parse_document(_TABLE, dfid, context_json),
        parse_document(_TABLE, dfid, proposal_json),
        impact,
    )


def _is_overdue(row: tuple[Any, ...], now: int) -> bool:
    status, deadline_us = read_columns(_TABLE, row[0], _COLUMNS[6:8], row[6:8])
    return status == "PENDING" and deadline_us is not None and deadline_us <= now


def _in_full(row: tuple[Any, ...], now: int) -> dict[str, Any]:
    *columns, requested_at = row
    status, deadline_us, default_decision, reviewer, until_us, *decided = read_columns(
        _TABLE, row[0], _COLUMNS[6:], columns[6:]
    )
    decision, decided_by, reason, by_default, resolved_at = decided
    if status not in ("PENDING", "RESOLVED"):
        raise CorruptRecordError(f"{_TABLE} {row[0]!r}", f"its status is {status!r}")
    pending = status == "PENDING"
    leased = pending and until_us > now
    return full_request(
        _asked(row[:6]),
        requested_us=read_moment(_TABLE, row[0], requested_at),
        deadline_us=deadline_us,
        default_decision=default_decision,
        reviewer=reviewer if leased else None,
        reviewer_until_us=until_us if leased else None,
        # dir-core 0.1.0 may have left a resolved request without a decision.
        decision=None if pending else decision or "",
        resolved_at=resolved_at,
        decided_by=decided_by,
        decision_reason=reason,
        by_default=bool(by_default),
    )
