"""Neutral records of the rows of dir-core's tables.

Whatever a store here would refuse as an argument is refused here, and noted with the reason.
"""

from __future__ import annotations

import json
from typing import Any

from dir_redis.arguments import count, identifier, integer, json_document, json_text, severity, text
from dir_redis.clock import parse_moment
from dir_redis.documents import EMPTY_OBJECT
from dir_redis.migrate.dir_core_notes import Notes
from dir_redis.migrate.exact import decided_us
from dir_redis.migrate.records import (
    Agent,
    AuditRow,
    DirtyMark,
    IdempotencyKey,
    Keyed,
    LedgerEntry,
    Request,
    Retries,
    Session,
    State,
    Transition,
)

KERNEL_AGENT = "__dir_kernel__"


def agent(notes: Notes, row: Any) -> Agent | None:
    agent_id, contract, priority, status, agent_version, session_token, reason = row
    if row == (KERNEL_AGENT, EMPTY_OBJECT, 0, "ACTIVE", None, None, None):
        notes.leave_out(
            f"agent_registry {KERNEL_AGENT!r}",
            "no agent: dir-core makes the row for its foreign keys",
        )
        return None
    return Agent(
        agent_id,
        json_document("contract", contract),
        1,
        integer("priority", priority),
        text("status", status),
        _optional("agent_version", agent_version),
        _optional("session_token", session_token),
        _optional("suspension_reason", reason),
        None,
    )


def session(notes: Notes, row: Any) -> Session:
    dfid, data, version, agent_id = row
    owner = None if agent_id is None else identifier("agent_id", agent_id)
    document = _document(notes, Session, dfid, data)
    return Session(dfid, document, None, count("version", version), owner, None)


def state(notes: Notes, row: Any) -> State:
    agent_id, data, version = row
    document = _document(notes, State, agent_id, data)
    return State(agent_id, document, None, count("version", version))


def _document(notes: Notes, kind: type[Keyed], key: str, data: object) -> str:
    if data == "":
        notes.adjusted(kind, key, "empty text, which is no JSON, became {}")
        return EMPTY_OBJECT
    # The column's affinity is numeric: what reads as a number is one.
    return json_text("data", repr(data) if isinstance(data, int | float) else data)


def result(_: Notes, row: Any) -> IdempotencyKey:
    key, result, expires_at = row
    until_us = None if expires_at is None else parse_moment("expires_at", expires_at)
    encoded = json_text("result", result)
    return IdempotencyKey(key, encoded, until_us, None, None, 0, None, False, None)


def mark(_: Notes, row: Any) -> DirtyMark:
    dfid, failed_step, partial_state_json, created_at = row
    marked_us = parse_moment("created_at", created_at)
    partial_state = json_document("partial_state_json", partial_state_json)
    return DirtyMark(
        dfid, text("failed_step", failed_step), partial_state, marked_us, marked_us, 0, None
    )


def retries(_: Notes, row: Any) -> Retries:
    return Retries(row[0], count("rejection_count", row[1]))


# What each status says the human decided, where that is not written down.
_DECIDED = {"RESOLVED": "", "APPROVED": "APPROVED", "REJECTED": "REJECTED"}


def request(notes: Notes, row: Any) -> Request:
    dfid, agent_id, reason, context_json, proposal_json, impact, created_at = row[:7]
    status, human_decision, resolved_at = row[7:]
    if status != "PENDING" and status not in _DECIDED:
        raise ValueError(f"nobody knows the status {status!r}")
    decision = None
    if status == "PENDING":
        resolved_at = None
    elif human_decision is None:
        decision = _DECIDED[status]
        notes.adjusted(
            Request, dfid, f"what was decided is not said; its status gives {decision!r}"
        )
    else:
        decision = text("human_decision", human_decision)
        if status != "RESOLVED" and (status == "REJECTED") != (decision.upper() == "ABORT"):
            notes.adjusted(Request, dfid, f"{decision!r} is kept, but not that it is {status}")
    requested_us = parse_moment("created_at", created_at)
    resolved_us = decided_us(resolved_at)
    if decision is not None and resolved_at is None:
        resolved_us = requested_us
        notes.adjusted(Request, dfid, "when it was decided is not said; when it was asked is taken")
    return Request(
        dfid,
        identifier("agent_id", agent_id),
        text("reason", reason),
        json_document("context_json", context_json),
        json_document("proposal_json", proposal_json),
        text("impact", impact),
        requested_us,
        *(None, None, None, 0),
        "PENDING" if decision is None else "RESOLVED",
        decision,
        None if resolved_us is not None else _optional("resolved_at", resolved_at),
        resolved_us,
        *(None, None, False),
    )


def transition(notes: Notes, row: Any) -> Transition:
    row_id, dfid, created_at, from_status, to_status, root_dfid = row
    if from_status is None:
        notes.adjusted(Transition, row_id, "from_status, which is NULL, became ''")
    return Transition(
        identifier("dfid", dfid),
        parse_moment("created_at", created_at),
        text("from_status", from_status or ""),
        text("to_status", to_status),
        None if root_dfid is None else identifier("root_dfid", root_dfid),
    )


def audit_row(_: Notes, row: Any) -> AuditRow:
    dfid, moment, event, step_id, state, detail_json, root_dfid, level = row[1:]
    return AuditRow(
        identifier("dfid", dfid),
        parse_moment("the moment", moment),
        text("event", event),
        text("step_id", step_id),
        text("state", state),
        json_document("detail_json", detail_json),
        None if root_dfid is None else identifier("root_dfid", root_dfid),
        None,
        severity("severity", level),
    )


def ledger_entry(_: Notes, row: Any) -> LedgerEntry:
    dfid, committed_at, root_dfid, agent_id, payload, context_ref, evidence_hash, signature = row[
        1:
    ]
    if not isinstance(json.loads(json_text("intent_payload", payload)), dict):
        raise ValueError("intent_payload is JSON, but no object")
    return LedgerEntry(
        identifier("dfid", dfid),
        parse_moment("committed_at", committed_at),
        identifier("root_dfid", root_dfid),
        identifier("agent_id", agent_id),
        payload,
        text("context_ref", context_ref),
        text("evidence_hash", evidence_hash),
        text("signature", signature),
    )


def _optional(argument: str, value: object) -> str | None:
    return None if value is None else text(argument, value)
