"""When two records are the same to every caller of a store, and what differs if not.

Backends keep some things that nobody can see, and each keeps others: they are evened out first.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple

from dir_redis.clock import format_moment
from dir_redis.documents import members_of
from dir_redis.migrate.records import (
    AuditRow,
    Counter,
    DirtyMark,
    IdempotencyKey,
    Keyed,
    LedgerEntry,
    Record,
    Request,
    Session,
    State,
    Transition,
)

# A server ends what has a TTL at a whole millisecond; one whose clock runs on within a script, as a
# pretended server's does, somewhat later.
_TTL_STEP_US = 1_000
_TTL_SLACK_US = 1_000_000
_TTLS = {"expires_us", "result_until_us", "forget_us"}
# What may stand around JSON. Documents that are returned parsed may lose it.
_BLANK = " \t\n\r"
# The moment by which a backend may order records of a kind, and so have to move it.
_ORDERED_BY: dict[type, str] = {
    DirtyMark: "marked_us",
    Request: "requested_us",
    AuditRow: "moment_us",
    Transition: "moment_us",
    LedgerEntry: "moment_us",
}


class Verdict(Enum):
    """How a record of the target compares with the source's."""

    SAME = "same"
    MOVED = "moved"
    DIFFERENT = "different"


class Comparison(NamedTuple):
    """A verdict, and the reason if it is not that they are the same."""

    verdict: Verdict
    reason: str


SAME = Comparison(Verdict.SAME, "")


def compare(source: Record, target: Record, now: int) -> Comparison:
    """Compare two records of one kind and key.

    Args:
        source: the record as it should be.
        target: the record as it is.
        now: the time, microseconds.
    """
    if isinstance(source, Counter) and isinstance(target, Counter):
        if target.value >= source.value:
            return SAME
        return Comparison(Verdict.DIFFERENT, f"{target.value}, less than {source.value}")
    wanted, found = visible(source, now), visible(target, now)
    order = _ORDERED_BY.get(type(source))
    moved = ""
    pairs: Iterable[tuple[str, Any, Any]] = zip(wanted._fields, wanted, found, strict=True)
    for name, value, other in pairs:
        if value == other:
            continue
        if name in _TTLS and value and other and abs(value - other) < _TTL_SLACK_US:
            if abs(value - other) >= _TTL_STEP_US:
                moved = f"{name} is {abs(value - other)} µs off"
            continue
        if name == order and other > value:
            moved = f"{name} is {other - value} µs later, to keep the order"
            continue
        return Comparison(
            Verdict.DIFFERENT,
            f"{name} is {_short(other)} in the target, {_short(value)} in the source",
        )
    return Comparison(Verdict.MOVED, moved) if moved else SAME


def visible(record: Record, now: int) -> Record:
    """A record without what no caller can see any more."""
    if isinstance(record, Session | State):
        if record.base_keys is not None and record.base_keys >= len(members_of(record.data_json)):
            return record._replace(base_keys=None)
    elif isinstance(record, IdempotencyKey):
        if record.completed and record.result_json is None:
            return record._replace(fingerprint=None)
    elif isinstance(record, DirtyMark):
        record = record._replace(partial_state_json=record.partial_state_json.strip(_BLANK))
        if record.owner is None:  # then it is due since it was marked
            return record._replace(due_us=0, epoch=0)
    elif isinstance(record, Request):
        if record.resolved_at is None and record.resolved_us is not None:
            record = record._replace(resolved_at=format_moment(record.resolved_us))
        record = record._replace(
            context_json=record.context_json.strip(_BLANK),
            proposal_json=record.proposal_json.strip(_BLANK),
            resolved_us=None,
        )
        if record.decision is not None or record.reviewer_until_us <= now:
            return record._replace(reviewer=None, reviewer_until_us=0)
    elif isinstance(record, AuditRow | Transition):
        return record._replace(root_dfid=record.root_dfid or record.dfid)
    return record


def name_of(record: Keyed) -> str:
    """A keyed record as reports call it, such as ``session 'flow-1'``."""
    return f"{type(record).__name__} {record.key!r}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
