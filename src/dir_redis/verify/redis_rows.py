"""What must hold of the logs: each entry is in its flow's list, and each id there has its entry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dir_redis.redis.keys import Keys
from dir_redis.redis.replies import as_fields, as_text
from dir_redis.verify.redis_reading import Family, Look, check_json
from dir_redis.verify.report import Finding

LOGS = ("audit", "ledger", "transitions")
# What an entry has, and which of that is JSON.
_FIELDS = {
    "audit": ("dfid", "event", "step_id", "state", "details", "root_dfid", "agent_id", "severity"),
    "ledger": (
        *("dfid", "root_dfid", "agent_id", "intent_payload", "context_ref", "evidence_hash"),
        *("signature", "number", "link"),
    ),
    "transitions": ("dfid", "from", "to", "root_dfid"),
}
_JSON = {"audit": "details", "ledger": "intent_payload"}
# An entry of no readable flow, and what has no id, stand for this.
_NO_FLOW = ""
# A list of so many ids is read as a whole.
_SHORT = 100


def row_id(log: str, dfid: str, entry: str) -> str:
    """A row as one id: its log's key, its flow, its entry."""
    return json.dumps([log, dfid, entry])


def dfid_in(fields: Any) -> str:
    """The flow of an entry; empty if it has none that can be read."""
    try:
        return as_fields(fields).get("dfid", _NO_FLOW)
    except UnicodeDecodeError:
        return _NO_FLOW


class RowFamily(Family):
    """The rows of one log, each searched among the first of its flow's list.

    Args:
        keys: the namespace's keys.
        log: ``"audit"``, ``"ledger"`` or ``"transitions"``.
        most: among how many; 0 for the whole list, which takes longer the longer it is.

    Attributes:
        far: the rows that were not among them, though the list is longer.
    """

    def __init__(self, keys: Keys, log: str, *, most: int = _SHORT) -> None:
        super().__init__(keys)
        self._log = log
        self._most = most
        self.far: list[str] = []

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        log, dfid, entry = json.loads(record_id)
        looks = [Look("XRANGE", log, (entry, entry))]
        # A flow of another partition has no list that one call could look at as well.
        if dfid and self.keys.log(self._log, dfid) == log:
            flow = self.keys.log_of_flow(self._log, dfid)
            looks += [Look("LPOS", flow, (entry, "MAXLEN", self._most)), Look("LLEN", flow)]
        return looks

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        log, dfid, entry = json.loads(record_id)
        entries = found[0]
        if len(found) == 1:
            if entries:
                problem = f"its entry {entry} has no dfid, or one of another partition: {dfid!r}"
                yield Finding(log, "mismatch", problem)
            return
        flow, place, length = self.keys.log_of_flow(self._log, dfid), found[1], int(found[2])
        if not entries:
            if place is not None:
                problem = f"has {entry}, which is no entry of {log}"
                yield Finding(flow, "orphan", problem)
            return
        fields = as_fields(entries[0][1])
        if fields.get("dfid") != dfid:
            if place is not None:
                problem = f"has {entry}, which is of {fields.get('dfid')!r}"
                yield Finding(flow, "mismatch", problem)
            return
        if place is None and 0 < self._most < length:
            self.far.append(record_id)
        elif place is None:
            yield Finding(flow, "missing", f"has no {entry}, which is in {self._log}")
        if not self._most:
            return  # it was looked at before
        missing = [name for name in _FIELDS[self._log] if name not in fields]
        if missing:
            yield Finding(log, "garbled", f"its entry {entry} has no {', '.join(missing)}")
        elif self._log in _JSON:
            name = _JSON[self._log]
            check_json(log, f"the {name} of its entry {entry}", fields[name])


class ListedFamily(Family):
    """The ids of a long list, each of which has to have its entry; a record's id is a row's.

    Attributes:
        amiss: the rows that have to be searched in the list as well.
    """

    def __init__(self, keys: Keys) -> None:
        super().__init__(keys)
        self.amiss: list[str] = []

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        log, _, entry = json.loads(record_id)
        return [Look("XRANGE", log, (entry, entry))]

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        _, dfid, _ = json.loads(record_id)
        if not found[0] or dfid_in(found[0][0][1]) != dfid:
            self.amiss.append(record_id)
        yield from ()


class ListFamily(Family):
    """The flows' lists that are short, each with all its entries; a record's id is the list's key.

    Attributes:
        long: the lists that were met and are too long for that.
    """

    def __init__(self, keys: Keys) -> None:
        super().__init__(keys)
        self.long: list[str] = []

    def looks(self, record_id: str, found: list[Any] | None) -> list[Look]:
        looks = [Look("LLEN", record_id), Look("LRANGE", record_id, (0, _SHORT - 1))]
        if found is None or int(found[0]) > _SHORT:
            return looks
        log, _ = self._log_and_flow(record_id)
        entries = (as_text(one) for one in found[1] if is_entry_id(one))
        return looks + [Look("XRANGE", log, (entry, entry)) for entry in entries]

    def check(self, record_id: str, found: list[Any], now_us: int) -> Iterator[Finding]:
        if int(found[0]) > _SHORT:
            self.long.append(record_id)
            return
        log, dfid = self._log_and_flow(record_id)
        yield from check_order(record_id, "", found[1])
        if log == self.keys.log("ledger", dfid) and len(found[1]) > 1:
            problem = f"has {len(found[1])} entries, and a flow has one"
            yield Finding(record_id, "mismatch", problem)
        ids = [as_text(one) for one in found[1] if is_entry_id(one)]
        for entry, entries in zip(ids, found[2:], strict=True):
            owner = dfid_in(entries[0][1]) if entries else None
            if owner is None:
                yield Finding(record_id, "orphan", f"has {entry}, which is no entry of {log}")
            elif owner != dfid:
                yield Finding(record_id, "mismatch", f"has {entry}, which is of {owner!r}")

    def _log_and_flow(self, key: str) -> tuple[str, str]:
        parts = self.keys.parts_of(key)
        assert parts is not None
        dfid = parts[2] or _NO_FLOW
        return self.keys.log(parts[1].removesuffix("_flow"), dfid), dfid


def check_order(flow: str, before: str, ids: list[Any]) -> Iterator[Finding]:
    """Check that the ids of a part of a flow's list rise.

    Args:
        flow: the list's key.
        before: the last id before them; empty for none.
        ids: the ids.
    """
    last = _order(before)
    for one in ids:
        place = _order(as_text(one))
        if place is None:
            yield Finding(flow, "garbled", f"has {as_text(one)!r}, which is no entry id")
            continue
        if last is not None and place <= last:
            where = "twice" if place == last else "behind a later one"
            yield Finding(flow, "mismatch", f"has {as_text(one)} {where}")
        last = place


def is_entry_id(one: Any) -> bool:
    """Whether what a list holds is an entry id."""
    return _order(as_text(one)) is not None


def _order(entry: str) -> tuple[int, int] | None:
    milliseconds, _, sequence = entry.partition("-")
    if not (milliseconds.isdigit() and sequence.isdigit()):
        return None
    return int(milliseconds), int(sequence)
