"""The transition log as a flow log."""

from __future__ import annotations

import math
from typing import Any

from dir_redis.audit_events import AuditRecord, encode_details
from dir_redis.errors import CorruptRecordError, TransitionConflictError
from dir_redis.fleet_protocols import FlowStatusStorage
from dir_redis.log_rows import transition_row
from dir_redis.redis.decision_audit import audit_fields
from dir_redis.redis.flow_log import Entry, append, read_all, read_flow
from dir_redis.redis.replies import as_optional_text, as_text
from dir_redis.redis.steps import Argument, Call, Steps, operation
from dir_redis.redis.storage import RedisStorage
from dir_redis.transitions import (
    DEFAULT_TRANSITIONS,
    Transitions,
    check_transition,
)

_LOG = "transitions"


class RedisLifecycleStorage(RedisStorage, FlowStatusStorage):
    """The transition log of a fleet (DIR §4.3)."""

    @operation
    def record_transition(
        self, dfid: str, from_status: str, to_status: str, *, root_dfid: str | None = None
    ) -> Steps[None]:
        yield append(
            self._keys, _LOG, dfid, transition_fields(dfid, from_status, to_status, root_dfid)
        )

    @operation
    def get_transitions(self, dfid: str | None = None) -> Steps[list[dict[str, Any]]]:
        if dfid is None:
            entries = yield from read_all(self._keys, _LOG)
            return [_row(log, entry) for log, entry in entries]
        log = self._keys.log(_LOG, dfid)
        return [_row(log, entry) for entry in (yield from read_flow(self._keys, _LOG, dfid))]

    @operation
    def transition(
        self,
        dfid: str,
        expected: str,
        to: str,
        *,
        allowed: Transitions | None = DEFAULT_TRANSITIONS,
        root_dfid: str | None = None,
    ) -> Steps[None]:
        check_transition(allowed, expected, to)
        fields = transition_fields(dfid, expected, to, root_dfid)
        reply = yield Call("lifecycle_transition", self._log_keys(dfid), (expected, *fields))
        _raise_conflict(dfid, expected, as_text(reply))

    @operation
    def current_status(self, dfid: str) -> Steps[str | None]:
        return as_optional_text((yield Call("lifecycle_status", self._log_keys(dfid))))

    @operation
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
    ) -> Steps[bool]:
        encoded = encode_details(details, self._limits)
        row = AuditRecord(dfid, event, "", status, encoded, root_dfid, agent_id, "INFO")
        keys = (
            *self._log_keys(dfid),
            self._keys.log("audit", dfid),
            self._keys.log_of_flow("audit", dfid),
            self._keys.retry(dfid),
            self._keys.session(dfid),
            self._keys.chain_end("audit", dfid),
        )
        arguments: tuple[Argument, ...] = (
            status,
            "" if expected is None else f"={expected}",
            "" if session_ttl_sec is None else math.ceil(session_ttl_sec * 1000),
            dfid,
            root_dfid or "",
            row.digest if self._store.audit_chain else "",
            *audit_fields(row),
        )
        locks = self._keys.locks()
        if self._keys.beside_reservations(dfid):
            reply = as_text((yield Call("lifecycle_close_all", (*keys, *locks), arguments)))
            _raise_conflict(dfid, expected, reply)
            return reply == "CLOSED"
        # In this order: what is cut off here is found to be closed already, and finished.
        reply = as_text((yield Call("lifecycle_close", keys, arguments, part=True)))
        _raise_conflict(dfid, expected, reply)
        released = "AGAIN"
        while released == "AGAIN":
            released = as_text((yield Call("resource_lock_release", locks, (dfid, ""))))
        return reply == "CLOSED"

    def _log_keys(self, dfid: str) -> tuple[str, str]:
        return self._keys.log(_LOG, dfid), self._keys.log_of_flow(_LOG, dfid)


def transition_fields(
    dfid: str, from_status: str, to_status: str, root_dfid: str | None
) -> tuple[Argument, ...]:
    return ("dfid", dfid, "from", from_status, "to", to_status, "root_dfid", root_dfid or "")


def _raise_conflict(dfid: str, expected: str | None, reply: str) -> None:
    """Raise what a reply says, if it says that a flow is elsewhere."""
    verdict, space, status = reply.partition(" ")
    if verdict == "CONFLICT":
        raise TransitionConflictError(dfid, expected or "", status if space else None)


def _row(key: str, entry: Entry) -> dict[str, Any]:
    try:
        fields = entry.fields
        return transition_row(
            dfid=fields["dfid"],
            root_dfid=fields["root_dfid"],
            from_status=fields["from"],
            to_status=fields["to"],
            moment=entry.moment,
        )
    except KeyError as error:
        raise CorruptRecordError(key, f"entry {entry.id} has no field {error}") from error
    except UnicodeDecodeError as error:
        raise CorruptRecordError(key, f"entry {entry.id} should hold UTF-8 ({error})") from error
