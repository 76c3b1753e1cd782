"""Reading and writing what flows hold on Redis; a total per resource goes with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from dir_redis.arguments import INT64_MAX
from dir_redis.errors import CorruptRecordError, NotRepresentableError
from dir_redis.migrate.exact import exact_units
from dir_redis.migrate.records import Held, HeldReservation
from dir_redis.migrate.redis_form import Form, Found, Look
from dir_redis.redis.replies import as_text, as_units
from dir_redis.redis.steps import Argument, Call, Command, Steps

# A call takes reservations until they have so many resources together, but at least one.
_RESOURCES_AT_ONCE = 1000

_HEAD = re.compile(rb"(\d+) (\d+)")
_PART = re.compile(rb" (\d+) (\d+) (\d+):")


class ReservationForm(Form[HeldReservation]):
    """Reservations; one whose lease is over is none, though nobody has released it yet."""

    hashed = "lock_flows"

    def looks(self, key: str) -> tuple[Look, ...]:
        return (Look("HGET", self._keys.lock_flows(), key),)

    def parse(self, key: str, found: Found) -> HeldReservation | None:
        if found.parts[0] is None:
            return None
        token, until_us, held = self._parts(key, found.parts[0])
        if until_us is not None and until_us <= found.now_us:
            return None
        amounts = [Held(rid, self._scale.to_decimal(units), since) for rid, units, since in held]
        return HeldReservation(key, tuple(sorted(amounts)), token, until_us)

    def put(self, records: Sequence[HeldReservation]) -> Steps[int]:
        """Write reservations of flows that hold nothing, whatever the capacities.

        Returns:
            How many were written.

        Raises:
            NotRepresentableError: an amount or a total of one is not to be kept; none is written.
        """
        in_units = [self._in_units(record) for record in records]
        yield from self._check_totals(records, in_units)
        written = 0
        for batch in _batches(records, in_units):
            reply = yield Call("migrate_reservations", self._keys.locks(), (INT64_MAX, *batch))
            verdict, _, rest = as_text(reply).partition(" ")
            if verdict == "OVERFLOW":  # by what others have reserved since
                raise _too_large(rest)
            written += int(rest)
        return written

    def _parts(self, key: str, stored: Any) -> tuple[int, int | None, list[tuple[str, int, int]]]:
        """Token, end of the lease, and per resource its id, the units, and since when."""
        text = stored if isinstance(stored, bytes) else stored.encode()
        head = _HEAD.match(text)
        position = head.end() if head else 0
        held = []
        while head and position < len(text):
            part = _PART.match(text, position)
            position = part.end() + int(part[3]) if part else len(text) + 1
            if part is None or position > len(text):
                head = None
            else:
                held.append((text[part.end() : position].decode(), int(part[1]), int(part[2])))
        if head is None:
            at = self._keys.lock_flows()
            raise CorruptRecordError(at, f"that of {key!r} is no reservation")
        return int(head[1]), int(head[2]) or None, held

    def _in_units(self, record: HeldReservation) -> dict[str, int]:
        what = _name(record.dfid)
        units = {
            held.resource_id: exact_units(self._scale, what, held.resource_id, held.amount)
            for held in record.held
        }
        return {rid: amount for rid, amount in units.items() if amount}

    def _check_totals(
        self, records: Sequence[HeldReservation], in_units: Sequence[dict[str, int]]
    ) -> Steps[None]:
        """Refuse what would make a total too large, before anything is written."""
        totals: dict[str, int] = {}
        rids = sorted({rid for units in in_units for rid in units})
        for first in range(0, len(rids), _RESOURCES_AT_ONCE):
            page = tuple(rids[first : first + _RESOURCES_AT_ONCE])
            key = self._keys.lock_totals()
            replies = yield Command("HMGET", key, page)
            totals |= {rid: as_units(key, reply) for rid, reply in zip(page, replies, strict=True)}
        for first in range(0, len(records), _RESOURCES_AT_ONCE):
            dfids = tuple(record.dfid for record in records[first : first + _RESOURCES_AT_ONCE])
            replies = yield Command("HMGET", self._keys.lock_flows(), dfids)
            for dfid, reply in zip(dfids, replies, strict=True):
                for rid, units, _ in [] if reply is None else self._parts(dfid, reply)[2]:
                    totals[rid] = totals.get(rid, 0) - units
        for record, amounts in zip(records, in_units, strict=True):
            for rid, amount in amounts.items():
                totals[rid] += amount
                if totals[rid] > INT64_MAX:
                    raise _too_large(record.dfid)


def _batches(
    records: Sequence[HeldReservation], in_units: Sequence[dict[str, int]]
) -> Iterator[list[Argument]]:
    """The arguments of one call after the other."""
    words: list[Argument] = []
    resources = 0
    for record, amounts in zip(records, in_units, strict=True):
        if words and resources + len(amounts) > _RESOURCES_AT_ONCE:
            yield words
            words, resources = [], 0
        words += (record.dfid, record.token, record.until_us or 0, len(amounts))
        for held in record.held:
            if held.resource_id in amounts:
                words += (held.resource_id, amounts[held.resource_id], held.since_us)
        resources += len(amounts) + 1
    if words:
        yield words


def _name(dfid: str) -> str:
    return f"reservation of {dfid!r}"


def _too_large(dfid: str) -> NotRepresentableError:
    problem = "with it, the total of a resource would exceed what 64 bits hold"
    return NotRepresentableError(_name(dfid), problem)
