"""What dir-core's files hold that no storage here keeps, listed by table and column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from dir_redis.migrate.dir_core_records import KERNEL_AGENT
from dir_redis.migrate.dir_core_tables import STANDING_REQUEST
from dir_redis.migrate.report import Listed
from dir_redis.migrate.tables import Read

_TIME_OF_WRITING = "nothing returns it, and no order depends on it"
_NOT_WRITTEN = "dir-core's own code never writes it, and nothing here returns it"

# By table, the columns that records are made of.
_KEPT = {
    "agent_registry": "agent_id contract priority status agent_version session_token"
    " suspension_reason",
    "context_session": "dfid data",
    "context_state": "agent_id data version",
    "flow_context": "dfid data version",
    "agent_state": "agent_id data version",
    "idempotency_cache": "key idempotency_key result expires_at",
    "saga_dirty_state": "dfid failed_step partial_state_json created_at",
    "resource_locks": "resource_id dfid amount acquired_at",
    "intent_retry": "dfid rejection_count",
    "escalation_budget": "id agent_id created_at",
    "escalation_requests": "id dfid agent_id reason context_json proposal_json impact status"
    " human_decision created_at resolved_at",
    "flow_transitions": "id dfid root_dfid from_status to_status created_at",
    "decision_ledger_entries": "id dfid root_dfid agent_id intent_payload context_ref"
    " evidence_hash signature committed_at",
    "decision_audit_events": "id dfid root_dfid event event_type timestamp created_at severity"
    " step_id state detail_json",
    "decision_flows": "dfid root_dfid dfid_parent agent_id flow_type flow_version status"
    " created_by_type created_by_id priority started_at completed_at created_at updated_at",
    "decision_feedback_trajectory": "id agent_id dfid status reason score source created_at",
    "sqlite_sequence": "name seq",
}


class _Column(NamedTuple):
    """Why a column is left out, and of which rows that is said."""

    reason: str
    condition: str = "{column} IS NOT NULL"


_LEFT_OUT = {
    ("agent_registry", "registered_at"): _Column(_TIME_OF_WRITING),
    ("idempotency_cache", "request_hash"): _Column(
        "the hash of the result, not of a request, so no fingerprint of a payload"
    ),
    ("idempotency_cache", "created_at"): _Column(_TIME_OF_WRITING),
    ("resource_locks", "expires_at"): _Column(
        "dir-core goes on counting what is past it, so it is no lease: held until released"
    ),
    ("intent_retry", "max_retries"): _Column("the limit is an argument of increment()"),
    ("intent_retry", "retry_policy"): _Column("nothing here waits between retries"),
    ("intent_retry", "next_retry_at"): _Column(_NOT_WRITTEN),
    ("intent_retry", "backoff_until"): _Column(_NOT_WRITTEN),
    ("escalation_requests", "root_dfid"): _Column(
        "a request is found by its own dfid", "{column} IS NOT dfid"
    ),
    ("flow_transitions", "correlation_id"): _Column(_NOT_WRITTEN),
    ("flow_transitions", "causation_id"): _Column(_NOT_WRITTEN),
    ("decision_audit_events", "correlation_id"): _Column(_NOT_WRITTEN),
    ("decision_audit_events", "causation_id"): _Column(_NOT_WRITTEN),
}


def left_out(read: Read) -> Iterator[Listed]:
    """List all that is left out of a file.

    Args:
        read: runs a SELECT on it.
    """
    names = [name for (name,) in read("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in names:
        if table in _KEPT:
            yield from _columns(read, table)
        else:
            yield from _counted(
                read, _quoted(table), "TRUE", table, "no table of dir-core 0.1 to 0.4"
            )
    if "decision_flows" in names:
        yield from _flows(read)
    if "decision_feedback_trajectory" in names:
        for row_id, agent_id, dfid, status in read(
            "SELECT id, agent_id, dfid, status FROM decision_feedback_trajectory ORDER BY id"
        ):
            yield Listed(
                f"decision_feedback_trajectory {row_id}",
                f"no storage keeps feedback ({status} for {agent_id!r} in {dfid!r})",
            )
    if "flow_context" in names:
        for row_id, dfid, status in read(
            f"""
            SELECT id, dfid, status FROM escalation_requests AS request
            WHERE NOT ({STANDING_REQUEST}) ORDER BY id
            """
        ):
            reason = "cancelled" if status == "CANCELLED" else f"a later one of {dfid!r} stands"
            yield Listed(f"escalation_requests {row_id}", f"{reason} ({status} for {dfid!r})")


def _columns(read: Read, table: str) -> Iterator[Listed]:
    kept = _KEPT[table].split()
    for (column,) in read("SELECT name FROM pragma_table_info(?)", table):
        if column in kept:
            continue
        known = _LEFT_OUT.get((table, column))
        if known is None:
            known = _Column(
                _TIME_OF_WRITING if column == "updated_at" else "no column of dir-core 0.1 to 0.4"
            )
        condition = known.condition.format(column=_quoted(column))
        yield from _counted(read, table, condition, f"{table}.{column}", known.reason)


def _counted(read: Read, table: str, condition: str, record: str, reason: str) -> Iterator[Listed]:
    ((rows,),) = read(f"SELECT COUNT(*) FROM {table} WHERE {condition}")
    if rows:
        yield Listed(record, f"{reason} ({rows} {'row' if rows == 1 else 'rows'})")


def _flows(read: Read) -> Iterator[Listed]:
    """Flows, of which dir-core itself makes only rows for its foreign keys."""
    invented = """dfid_parent IS NULL AND root_dfid = dfid AND flow_type = 'DEFAULT'
        AND flow_version = '1.0' AND status = 'CREATED' AND created_by_type IS NULL
        AND created_by_id IS NULL AND priority = 0 AND started_at IS NULL AND completed_at IS NULL
    """
    yield from _counted(
        *(read, "decision_flows", invented, "decision_flows"),
        "made by dir-core for its foreign keys; a flow's status here is its last transition's",
    )
    yield from _counted(
        read,
        "decision_flows",
        f"agent_id <> '{KERNEL_AGENT}' AND dfid NOT IN (SELECT dfid FROM flow_context)",
        "decision_flows.agent_id",
        "whose flow it is, is kept with its session, and these have none",
    )
    rows: list[Any] = read(
        f"""
        SELECT dfid, status, root_dfid, dfid_parent, flow_type, flow_version, priority,
            created_by_type, created_by_id, started_at, completed_at
        FROM decision_flows WHERE NOT ({invented}) ORDER BY rowid
        """
    )
    names = "status root_dfid dfid_parent flow_type flow_version priority created_by_type"
    for dfid, *values in rows:
        said = ", ".join(
            f"{name} {value!r}"
            for name, value in zip(
                f"{names} created_by_id started_at completed_at".split(), values, strict=True
            )
            if value is not None
        )
        yield Listed(f"decision_flows {dfid!r}", f"no storage keeps flows beside their log: {said}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
