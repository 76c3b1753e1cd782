"""The transition log as a flow log."""

from __future__ import annotations

from typing import Any

from dir_redis.errors import CorruptRecordError
from dir_redis.log_rows import transition_row
from dir_redis.protocols import LifecycleStorage
from dir_redis.redis.flow_log import Entry, append, read_all, read_flow
from dir_redis.redis.steps import Steps, operation
from dir_redis.redis.storage import RedisStorage

_LOG = "transitions"


class RedisLifecycleStorage(RedisStorage, LifecycleStorage):
    """The transition log of a fleet (DIR §4.3)."""

    @operation
    def record_transition(
        self, dfid: str, from_status: str, to_status: str, *, root_dfid: str | None = None
    ) -> Steps[None]:
        yield append(
            self._keys,
            _LOG,
            dfid,
            ("dfid", dfid, "from", from_status, "to", to_status, "root_dfid", root_dfid or ""),
        )

    @operation
    def get_transitions(self, dfid: str | None = None) -> Steps[list[dict[str, Any]]]:
        if dfid is None:
            entries = yield from read_all(self._keys, _LOG)
        else:
            entries = yield from read_flow(self._keys, _LOG, dfid)
        return [_row(entry) for entry in entries]


def _row(entry: Entry) -> dict[str, Any]:
    fields = entry.fields
    try:
        return transition_row(
            dfid=fields["dfid"],
            root_dfid=fields["root_dfid"],
            from_status=fields["from"],
            to_status=fields["to"],
            moment=entry.moment,
        )
    except KeyError as error:
        raise CorruptRecordError(_LOG, f"entry {entry.id} has no field {error}") from error
