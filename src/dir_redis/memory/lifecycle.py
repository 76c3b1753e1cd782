"""Transitions in a list, and each flow's in a list of its own."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Unpack

from dir_redis.arguments import checked
from dir_redis.audit_events import AuditRecord, encode_details
from dir_redis.errors import TransitionConflictError
from dir_redis.fleet_protocols import FlowStatusStorage
from dir_redis.limits import LimitOptions
from dir_redis.log_rows import transition_row
from dir_redis.memory.context import MemoryContextStorage
from dir_redis.memory.decision_audit import MemoryDecisionAuditStorage
from dir_redis.memory.intent_retry import MemoryIntentRetryStorage
from dir_redis.memory.resource_lock import MemoryResourceLockStorage
from dir_redis.memory.storage import MemoryStorage, MemoryStore
from dir_redis.transitions import (
    DEFAULT_TRANSITIONS,
    INITIAL_STATUS,
    Transitions,
    check_transition,
)


class MemoryLifecycleStorage(MemoryStorage, FlowStatusStorage):
    """The transition log of one process (DIR §4.3).

    Args:
        store: what it shares with the others of a bundle.
        context: the storage whose sessions ``close_flow`` lets end; this and the next three may
            be left out, and then have nothing to be closed.
        decision_audit: the storage it records its row in.
        resource_lock: the storage it releases reservations in.
        intent_retry: the storage it resets counts in.
        limits: the size limits of one that stands alone.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        context: MemoryContextStorage | None = None,
        decision_audit: MemoryDecisionAuditStorage | None = None,
        resource_lock: MemoryResourceLockStorage | None = None,
        intent_retry: MemoryIntentRetryStorage | None = None,
        **limits: Unpack[LimitOptions],
    ) -> None:
        super().__init__(store, **limits)
        self._context = context
        self._decision_audit = decision_audit
        self._resource_lock = resource_lock
        self._intent_retry = intent_retry
        self._rows: list[dict[str, Any]] = []
        self._rows_by_flow: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    @checked
    def record_transition(
        self, dfid: str, from_status: str, to_status: str, *, root_dfid: str | None = None
    ) -> None:
        with self._lock:
            self._append(dfid, from_status, to_status, root_dfid)

    @checked
    def get_transitions(self, dfid: str | None = None) -> list[dict[str, Any]]:
        with self._lock:
            rows = self._rows if dfid is None else self._rows_by_flow.get(dfid, [])
            return [dict(row) for row in rows]

    @checked
    def transition(
        self,
        dfid: str,
        expected: str,
        to: str,
        *,
        allowed: Transitions | None = DEFAULT_TRANSITIONS,
        root_dfid: str | None = None,
    ) -> None:
        check_transition(allowed, expected, to)
        with self._lock:
            status = self._status(dfid)
            if (INITIAL_STATUS if status is None else status) != expected:
                raise TransitionConflictError(dfid, expected, status)
            self._append(dfid, expected, to, root_dfid)

    @checked
    def current_status(self, dfid: str) -> str | None:
        with self._lock:
            return self._status(dfid)

    @checked
    def close_flow(
        self,
        dfid: str,
        status: str,
        *,
        expected: str | None = None,
        event: str = "FLOW_CLOSED",
        details: dict[str, Any] | None = None,
        agent_id: str | None = None,
        root_dfid: str | None = None,
        session_ttl_sec: float | None = 86_400.0,
    ) -> bool:
        encoded = encode_details(details, self._limits)
        row = AuditRecord(dfid, event, "", status, encoded, root_dfid, agent_id, "INFO")
        with self._lock:
            latest = self._status(dfid)
            has = INITIAL_STATUS if latest is None else latest
            closing = has != status
            if closing and expected is not None and has != expected:
                raise TransitionConflictError(dfid, expected, latest)
            if closing:
                self._append(dfid, has, status, root_dfid)
                if self._decision_audit is not None:
                    self._decision_audit.append([row])
            if self._intent_retry is not None:
                self._intent_retry.delete(dfid)
            if self._context is not None:
                self._context.expire_session(dfid, session_ttl_sec, again=closing)
            if self._resource_lock is not None:
                self._resource_lock.release_flow(dfid)
            return closing

    def _status(self, dfid: str) -> str | None:
        rows = self._rows_by_flow.get(dfid)
        return rows[-1]["to_status"] if rows else None

    def _append(self, dfid: str, from_status: str, to_status: str, root_dfid: str | None) -> None:
        row = transition_row(
            dfid=dfid,
            root_dfid=root_dfid,
            from_status=from_status,
            to_status=to_status,
            moment=self._clock.now(),
        )
        self._rows.append(row)
        self._rows_by_flow[dfid].append(row)
