"""The audit log as a flow log; what is the default is stored as an empty string."""

from __future__ import annotations

from typing import Any

from dir_redis.errors import CorruptRecordError
from dir_redis.json_codec import encode_object
from dir_redis.log_rows import audit_row
from dir_redis.protocols import DecisionAuditStorage
from dir_redis.redis.flow_log import Entry, append, read_all, read_flow
from dir_redis.redis.replies import as_json
from dir_redis.redis.steps import Steps, operation
from dir_redis.redis.storage import RedisStorage

_LOG = "audit"


class RedisDecisionAuditStorage(RedisStorage, DecisionAuditStorage):
    """The audit log of a fleet."""

    @operation
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
    ) -> Steps[None]:
        # Always the same fields in the same order: a stream then stores their names only once.
        yield append(
            self._keys,
            _LOG,
            dfid,
            ("dfid", dfid, "event", event, "step_id", step_id, "state", state)
            + ("details", encode_object("details", {} if details is None else details))
            + ("root_dfid", root_dfid or "", "agent_id", agent_id or "", "severity", severity),
        )

    @operation
    def events_for_dfid(self, dfid: str) -> Steps[list[dict[str, Any]]]:
        entries = yield from read_flow(self._keys, _LOG, dfid)
        key = self._keys.log(_LOG, dfid)
        return [_row(key, entry) for entry in entries]

    @operation
    def all_events_chronological(self) -> Steps[list[dict[str, Any]]]:
        entries = yield from read_all(self._keys, _LOG)
        return [_row(_LOG, entry) for entry in entries]


def _row(key: str, entry: Entry) -> dict[str, Any]:
    fields = entry.fields
    try:
        return audit_row(
            dfid=fields["dfid"],
            root_dfid=fields["root_dfid"],
            event=fields["event"],
            moment=entry.moment,
            step_id=fields["step_id"],
            state=fields["state"],
            details=as_json(key, fields["details"]),
            severity=fields["severity"],
        )
    except KeyError as error:
        raise CorruptRecordError(key, f"entry {entry.id} has no field {error}") from error
