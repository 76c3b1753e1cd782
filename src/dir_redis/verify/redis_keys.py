"""Every kind of key: its type, whether it ends by itself, and where it may lie (docs/keys.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from dir_redis.redis.replies import as_text
from dir_redis.verify.redis_reading import Family, Look
from dir_redis.verify.report import Finding

Place = Literal["of its id", "first", "any"]


class Kind(NamedTuple):
    """One kind of key.

    Attributes:
        type: its type, as TYPE calls it.
        has_id: whether an id follows the kind.
        ends: whether it has a time to live: True always, False never, None now and then.
        place: the partition it lies in: that of its id, the first, or any.
    """

    type: str
    has_id: bool = False
    ends: bool | None = False
    place: Place = "any"


KINDS = {
    "meta": Kind("hash", place="first"),
    "op": Kind("string", has_id=True, ends=True),
    **dict.fromkeys(("agent", "state"), Kind("hash", has_id=True, place="of its id")),
    "session": Kind("hash", has_id=True, ends=None, place="of its id"),
    **dict.fromkeys(("agents", "agents_active", "agents_heartbeat"), Kind("zset")),
    "idempotency": Kind("string", has_id=True, ends=None, place="of its id"),
    "claim": Kind("hash", has_id=True, ends=None, place="of its id"),
    "claim_ended": Kind("stream", has_id=True, ends=True, place="of its id"),
    **dict.fromkeys(("audit", "ledger", "transitions"), Kind("stream")),
    **dict.fromkeys(
        ("audit_flow", "ledger_flow", "transitions_flow"),
        Kind("list", has_id=True, place="of its id"),
    ),
    **dict.fromkeys(("audit_end", "ledger_end", "audit_groups"), Kind("hash")),
    **dict.fromkeys(("sagas_dirty", "sagas_due", "sagas_claimed"), Kind("zset")),
    **dict.fromkeys(("sagas_marks", "sagas_claims"), Kind("hash")),
    "sagas_counter": Kind("string"),
    "saga": Kind("hash", has_id=True, place="of its id"),
    **dict.fromkeys(
        ("lock_totals", "lock_capacities", "lock_flows", "lock_waiters"),
        Kind("hash", place="first"),
    ),
    **dict.fromkeys(
        ("lock_leases", "lock_holders", "lock_queue", "lock_waiting"), Kind("zset", place="first")
    ),
    "lock_counter": Kind("string", place="first"),
    "lock_wake": Kind("list", has_id=True, ends=True, place="first"),
    "retry": Kind("string", has_id=True, place="of its id"),
    "budget": Kind("zset", has_id=True, place="first"),
    **dict.fromkeys(
        ("requests_pending", "requests_unclaimed", "requests_claimed", "requests_deadlines"),
        Kind("zset", place="first"),
    ),
    **dict.fromkeys(
        ("requests_reviewers", "requests_terms", "requests_open"), Kind("hash", place="first")
    ),
    "request": Kind("hash", has_id=True, place="first"),
    "decided": Kind("stream", has_id=True, ends=True, place="first"),
}


class KeyFamily(Family):
    """The keys themselves; a record's id is its key."""

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        return [Look("TYPE", record_id), Look("PTTL", record_id)]

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        type_, left_ms = as_text(found[0]), int(found[1])
        if type_ == "none":
            return  # it went since it was found
        parts = self.keys.parts_of(record_id)
        kind = None if parts is None else KINDS.get(parts[1])
        if parts is None or kind is None or kind.has_id != (parts[2] is not None):
            yield Finding(record_id, "unknown key", "is none that this package writes")
            return
        partition, name, identifier = parts
        if partition >= self.keys.partitions:
            problem = f"lies in partition {partition}, and there are {self.keys.partitions}"
            yield Finding(record_id, "mismatch", problem)
        elif kind.place != "any":
            home = self.keys.tag_of(identifier or "") if kind.place == "of its id" else None
            if self.keys.tag_in(record_id) != (home or self.keys.tag_in(self.keys.locks()[0])):
                problem = f"lies in partition {partition}, where nobody looks for it"
                yield Finding(record_id, "mismatch", problem)
        if type_ != kind.type:
            yield Finding(record_id, "mismatch", f"is a {type_}, not a {kind.type}")
        elif kind.ends is True and left_ms == -1:
            yield Finding(record_id, "no ttl", "should end by itself")
        elif kind.ends is False and left_ms != -1:
            yield Finding(record_id, "mismatch", f"{name} should stay, and goes in {left_ms} ms")
