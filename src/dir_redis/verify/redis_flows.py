"""What must hold of dirty flows and of requests to humans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dir_redis.errors import CorruptRecordError
from dir_redis.redis.replies import as_optional_text, as_text
from dir_redis.verify.redis_reading import (
    Family,
    Look,
    check_json,
    fields_of,
    listed,
    number_in,
    score_of,
)
from dir_redis.verify.report import Finding

_CLAIM = re.compile(r"(\d+) (\d+) .*", re.ASCII | re.DOTALL)
_TERMS = re.compile(r"(\d+) (\d+) .*", re.ASCII | re.DOTALL)
_ASKED = {"agent_id": str, "reason": str, "impact": str, "context": object, "proposal": object}


class SagaFamily(Family):
    """Dirty flows: marks, claims, and the orders of those who wait."""

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        keys = self.keys
        return [
            Look("ZSCORE", keys.sagas_dirty(record_id), (record_id,)),
            Look("ZSCORE", keys.sagas_due(record_id), (record_id,)),
            Look("ZSCORE", keys.sagas_claimed(record_id), (record_id,)),
            Look("HGET", keys.sagas_marks(record_id), (record_id,)),
            Look("HGET", keys.sagas_claims(record_id), (record_id,)),
            Look("HGETALL", keys.saga(record_id)),
            Look("GET", keys.sagas_counter(record_id)),
        ]

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        keys = self.keys
        dirty, due, claimed = map(score_of, found[:3])
        mark, claim, old = as_optional_text(found[3]), as_optional_text(found[4]), found[5]
        at_marks, at_claims = keys.sagas_marks(record_id), keys.sagas_claims(record_id)
        if dirty is None:
            for key, part in (
                (keys.sagas_due(record_id), due),
                (keys.sagas_claimed(record_id), claimed),
                (at_marks, mark),
                (at_claims, claim),
                (keys.saga(record_id), old or None),
            ):
                if part is not None:
                    yield Finding(key, "orphan", f"has {record_id!r}, which is not dirty")
            if mark is not None or old:
                at_dirty = keys.sagas_dirty(record_id)
                yield Finding(at_dirty, "missing", f"{record_id!r} is not in it, but has a mark")
            return
        if mark is None and not old:
            yield Finding(at_marks, "missing", f"has no {record_id!r}, which is dirty")
        if mark is not None:
            said = check_json(at_marks, f"the mark of {record_id!r}", mark)
            if not isinstance(said, dict) or not said.keys() >= {"failed_step", "partial_state"}:
                raise CorruptRecordError(at_marks, f"the mark of {record_id!r} lacks a part")
            if old:
                problem = "has a mark, and there is a newer one"
                yield Finding(keys.saga(record_id), "orphan", problem)
        until = 0
        if claim is not None:
            parts = _CLAIM.fullmatch(claim)
            if parts is None:
                raise CorruptRecordError(at_claims, f"that of {record_id!r} is no claim")
            until = int(parts[2])
            counter = keys.sagas_counter(record_id)
            if int(parts[1]) > number_in(counter, "what it holds", found[6] or 0):
                problem = f"{record_id!r} has the epoch {parts[1]}, which was not given yet"
                yield Finding(counter, "mismatch", problem)
        if claimed is not None:
            if until == 0:
                yield Finding(at_claims, "missing", f"has no live claim of {record_id!r}")
            else:
                why = f"its claim says its lease ends at {until}"
                yield from listed(keys.sagas_claimed(record_id), record_id, claimed, until, why)
            yield from listed(keys.sagas_due(record_id), record_id, due, None, "it is claimed")
        elif due is None:
            problem = f"{record_id!r} is in neither order: nobody would ever compensate it"
            yield Finding(keys.sagas_due(record_id), "missing", problem)
        elif due != (until or dirty):
            why = f"it waits since {until or dirty}"
            yield from listed(keys.sagas_due(record_id), record_id, due, until or dirty, why)


class RequestFamily(Family):
    """Requests to humans: open ones with their orders, decided ones."""

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        keys, words = self.keys, (record_id,)
        return [
            Look("HGET", keys.requests_open(), words),
            Look("HGET", keys.requests_terms(), words),
            Look("HGET", keys.requests_reviewers(), words),
            Look("ZSCORE", keys.requests_pending(), words),
            Look("ZSCORE", keys.requests_unclaimed(), words),
            Look("ZSCORE", keys.requests_claimed(), words),
            Look("ZSCORE", keys.requests_deadlines(), words),
            Look("HGETALL", keys.request(record_id)),
        ]

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        keys = self.keys
        asked, terms, reviewer = map(as_optional_text, found[:3])
        pending, unclaimed, claimed, deadline = map(score_of, found[3:7])
        decided = fields_of(found[7])
        if decided:
            yield from _check_decided(keys.request(record_id), decided)
        places = (
            (keys.requests_pending(), pending),
            (keys.requests_unclaimed(), unclaimed),
            (keys.requests_claimed(), claimed),
            (keys.requests_deadlines(), deadline),
            (keys.requests_reviewers(), reviewer),
        )
        if asked is None:
            for key, part in (*places, (keys.requests_terms(), terms)):
                if part is not None:
                    yield Finding(key, "orphan", f"has {record_id!r}, of which no request is open")
            if pending is not None or terms is not None:
                problem = f"has no {record_id!r}, which is queued"
                yield Finding(keys.requests_open(), "missing", problem)
            return
        if decided:
            problem = "is decided, but the same flow has an open request"
            yield Finding(keys.request(record_id), "mismatch", problem)
        _check_asked(keys.requests_open(), record_id, asked)
        moments = None
        if terms is not None:
            moments = _TERMS.fullmatch(terms)
            if moments is None:
                raise CorruptRecordError(
                    keys.requests_terms(), f"those of {record_id!r} are no terms"
                )
        if pending is None and moments is not None and int(moments[2]) <= now_us:
            for key, part in places:
                if part is not None:
                    yield Finding(key, "orphan", f"has {record_id!r}, whose deadline has passed")
            return
        yield from self._check_queued(record_id, moments, found)

    def _check_queued(
        self, record_id: str, moments: re.Match[str] | None, found: list[Any]
    ) -> Iterator[Finding]:
        keys, has_reviewer = self.keys, found[2] is not None
        pending, unclaimed, claimed, deadline = map(score_of, found[3:7])
        requested = int(moments[1]) if moments else pending
        if pending is None:
            problem = f"{record_id!r} is not in it, but is open"
            yield Finding(keys.requests_pending(), "missing", problem)
        else:
            why = "its terms say when it was made"
            yield from listed(keys.requests_pending(), record_id, pending, requested, why)
        why = "its terms give it a deadline" if moments else "it has no terms"
        wanted = int(moments[2]) if moments else None
        yield from listed(keys.requests_deadlines(), record_id, deadline, wanted, why)
        if claimed is not None:
            why = "a reviewer has it"
            yield from listed(keys.requests_unclaimed(), record_id, unclaimed, None, why)
            if not has_reviewer:
                problem = f"has no {record_id!r}, which is claimed"
                yield Finding(keys.requests_reviewers(), "missing", problem)
        else:
            if pending is not None or unclaimed is None:
                why = "no reviewer has it"
                place = pending if pending is not None else requested
                if place is not None:
                    at = keys.requests_unclaimed()
                    yield from listed(at, record_id, unclaimed, place, why)
            if has_reviewer:
                problem = f"has {record_id!r}, which nobody has claimed"
                yield Finding(keys.requests_reviewers(), "orphan", problem)


def _check_asked(key: str, dfid: str, text: str) -> None:
    asked = check_json(key, f"the request of {dfid!r}", text)
    if not isinstance(asked, dict) or not asked.keys() >= _ASKED.keys():
        raise CorruptRecordError(key, f"the request of {dfid!r} lacks a part")
    for name, kind in _ASKED.items():
        if not isinstance(asked[name], kind):
            raise CorruptRecordError(key, f"the {name} of {dfid!r} should be a text")


def _check_decided(key: str, fields: dict[str, str]) -> Iterator[Finding]:
    for name in ("request", "decision", "requested_us"):
        if name not in fields:
            raise CorruptRecordError(key, f"has no {name}")
    if fields.get("status") != "RESOLVED":
        raise CorruptRecordError(key, "its status should be RESOLVED")
    _check_asked(key, as_text(key), fields["request"])
    for name in fields.keys() & {"requested_us", "resolved_us", "deadline_us"}:
        number_in(key, f"its {name}", fields[name])
    if not fields.keys() & {"resolved_at", "resolved_us"}:
        raise CorruptRecordError(key, "does not say when it was decided")
    yield from ()
