"""Walking through a namespace on Redis."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dir_redis.errors import CorruptRecordError
from dir_redis.migrate.paging import pages
from dir_redis.redis.driver import RedisDriver
from dir_redis.redis.keys import Keys
from dir_redis.redis.replies import as_text
from dir_redis.redis.scanning import scan_keys, scan_members
from dir_redis.redis.steps import Argument, Call, Command, Request, Steps
from dir_redis.redis.store import RedisStore
from dir_redis.verify.redis_flows import RequestFamily, SagaFamily
from dir_redis.verify.redis_keys import KINDS, KeyFamily
from dir_redis.verify.redis_reading import RECORDS_AT_ONCE, WORDS_AT_ONCE, Family, Reader
from dir_redis.verify.redis_records import AgentFamily, DocumentFamily, SmallFamily, StepFamily
from dir_redis.verify.redis_reservations import (
    HolderFamily,
    QueuedFamily,
    ReservationFamily,
    WaiterFamily,
    check_total,
)
from dir_redis.verify.redis_rows import (
    LOGS,
    ListedFamily,
    ListFamily,
    RowFamily,
    check_order,
    dfid_in,
    is_entry_id,
    row_id,
)
from dir_redis.verify.report import Finding

Counted = Callable[[int], None]

# So many rows of a log are read at once.
_ROWS_AT_ONCE = 500
# After so many bytes of reservations no further total is compared in the same call.
_WORK_AT_ONCE = 200_000


class RedisWalk:
    """Looks at every key of a namespace, and at every id in its indexes.

    Each record is read with all that has to agree with it in one call, so what writers do meanwhile
    is never taken for an inconsistency. Of each id 16 bytes are remembered, as one may be found in
    several places.

    Args:
        store: the opened namespace.
        counted: gets the number of records looked at, page by page.
    """

    def __init__(self, store: RedisStore, counted: Counted) -> None:
        self.where = f"{store.where} (namespace {store.keys.namespace!r})"
        self._keys: Keys = store.keys
        self._driver: RedisDriver = store.driver
        self._reader = Reader(store.keys, store.driver)
        self._counted = counted
        self._seen: set[bytes] = set()
        keys = store.keys
        self._key_family = KeyFamily(keys)
        self._reservations = ReservationFamily(keys, self._is_holder)
        agents, sagas, requests = AgentFamily(keys), SagaFamily(keys), RequestFamily(keys)
        steps, documents = StepFamily(keys), DocumentFamily(keys)
        self._small = small = SmallFamily(keys, store.scale.places)
        waiters = WaiterFamily(keys, self._is_queued)
        # By the kind of a key, the family of the id that ends it...
        self._of_id: dict[str, Family] = {
            "agent": agents,
            "saga": sagas,
            "request": requests,
            "idempotency": steps,
            "claim": steps,
        }
        # ... of the key as a whole ...
        self._of_key: dict[str, Family] = {
            **dict.fromkeys(("session", "state"), documents),
            **dict.fromkeys(("meta", "op", "audit_groups", "audit_end", "ledger_end"), small),
            **dict.fromkeys(("sagas_counter", "lock_counter", "lock_capacities"), small),
            **dict.fromkeys(("retry", "budget"), small),
        }
        # ... and of each member or field in it.
        self._of_members: dict[str, Family] = {
            **dict.fromkeys(("agents", "agents_active", "agents_heartbeat"), agents),
            **dict.fromkeys(("sagas_dirty", "sagas_due", "sagas_claimed"), sagas),
            **dict.fromkeys(("sagas_marks", "sagas_claims"), sagas),
            **dict.fromkeys(
                ("requests_pending", "requests_unclaimed", "requests_claimed"), requests
            ),
            **dict.fromkeys(("requests_deadlines", "requests_reviewers"), requests),
            **dict.fromkeys(("requests_terms", "requests_open"), requests),
            **dict.fromkeys(("lock_flows", "lock_leases"), self._reservations),
            **dict.fromkeys(("lock_waiters", "lock_waiting"), waiters),
            "lock_holders": HolderFamily(keys),
            "lock_queue": QueuedFamily(keys),
        }
        self._rows = {log: RowFamily(keys, log) for log in LOGS}
        # Those of them that one call looks for in a list of any length: one in each call.
        self._searched = {log: RowFamily(keys, log, most=0) for log in LOGS}
        # In each long list, the place behind the last row that was found there.
        self._reached: dict[str, int] = {}
        # The orders of all that is of resources, which come last: most in them is known by then.
        self._orders: list[tuple[str, str]] = []
        self._lists = ListFamily(keys)
        self._listed = ListedFamily(keys)

    def findings(self) -> Iterator[Finding]:
        """Walk through the whole namespace.

        Raises:
            StorageError: the server did not answer, or refused.
        """
        routes = self._keys.in_each_partition("meta")
        yield from self._check(self._small, [routes[0]])
        found = scan_keys(self._driver, routes, self._keys.pattern_of_all())
        for page in pages(self._new("key", found), RECORDS_AT_ONCE):
            for key in page:
                if not _is_text(key):
                    yield Finding(repr(key), "unknown key", "is no UTF-8")
            readable = [key for key in page if _is_text(key)]
            amiss = set()
            for finding in self._check(self._key_family, readable):
                amiss.add(finding.key)
                yield finding
            yield from self._behind([key for key in readable if key not in amiss])
        for key, kind in self._orders:
            yield from self._members(key, kind)
        yield from self._totals()

    def _behind(self, keys: list[str]) -> Iterator[Finding]:
        """What is behind some keys of known kinds and the right types."""
        ids: dict[Family, list[str]] = {}
        for key in keys:
            parts = self._keys.parts_of(key)
            assert parts is not None
            _, kind, identifier = parts
            if kind in self._of_key:
                ids.setdefault(self._of_key[kind], []).append(key)
            elif kind in self._of_id:
                ids.setdefault(self._of_id[kind], []).append(identifier or "")
            elif kind in ("lock_holders", "lock_queue"):
                self._orders.append((key, kind))
            elif kind in self._of_members:
                yield from self._members(key, kind)
            elif kind in self._rows:
                yield from self._log(key, kind)
            elif kind.endswith("_flow"):
                ids.setdefault(self._lists, []).append(key)
            elif kind == "lock_totals":
                for resource_id in filter(_is_text, scan_members(self._driver, key)):
                    self._reservations.unlisted.setdefault(resource_id, [])
        for family, some in ids.items():
            yield from self._check(family, self._new(type(family).__name__, some))
        while self._lists.long:
            yield from self._long_list(self._lists.long.pop())

    def _members(self, key: str, kind: str) -> Iterator[Finding]:
        """What is behind the members of an index."""
        family = self._of_members[kind]
        for page in pages(scan_members(self._driver, key), RECORDS_AT_ONCE):
            here = []
            for member in page:
                if not _is_text(member):
                    yield Finding(key, "garbled", f"its member {member!r} is no UTF-8")
                elif KINDS[kind].place == "any" and not key.startswith(self._keys.tag_of(member)):
                    yield Finding(key, "mismatch", f"{member!r} in it belongs to another partition")
                else:
                    here.append(member)
            yield from self._check(family, self._new(type(family).__name__, here))

    def _log(self, key: str, log: str) -> Iterator[Finding]:
        """The entries of a log, each of which has to be in its flow's list."""
        after = "-"
        # Not those that are appended from now on, or a walk beside writers would never end.
        last = [as_text(entry) for entry, _ in self._ask("XREVRANGE", key, "+", "-", "COUNT", 1)]
        while last and (
            entries := self._ask("XRANGE", key, after, last[0], "COUNT", _ROWS_AT_ONCE)
        ):
            rows = [row_id(key, dfid_in(fields), as_text(entry)) for entry, fields in entries]
            yield from self._check(self._rows[log], rows)
            yield from self._far(log)
            after = f"({as_text(entries[-1][0])}"

    def _far(self, log: str) -> Iterator[Finding]:
        """Look for the rows of a page that are far from the heads of their flows' lists.

        Rows are in the same order in their log and in a list, so each page begins where the one
        before has ended; only what is not there is searched in the whole list, one in a call.
        """
        family = self._rows[log]
        of: defaultdict[str, list[str]] = defaultdict(list)
        for row in family.far:
            of[json.loads(row)[1]].append(row)
        family.far = []
        for dfid, rows in of.items():
            flow, first = self._keys.log_of_flow(log, dfid), 0
            while first < len(rows):
                reached = self._reached.get(flow, 0)
                ids = self._ask("LRANGE", flow, reached, reached + _ROWS_AT_ONCE - 1)
                place_of = {as_text(one): place for place, one in enumerate(ids, reached + 1)}
                while first < len(rows) and (place := place_of.get(json.loads(rows[first])[2])):
                    self._reached[flow] = place
                    first += 1
                if first < len(rows):
                    yield from self._search(log, flow, rows[first])
                    first += 1

    def _search(self, log: str, flow: str, row: str) -> Iterator[Finding]:
        """Look for a row in a whole list: it was trimmed, is out of order, or is not there."""
        place = self._ask("LPOS", flow, json.loads(row)[2])
        if place is not None:
            self._reached[flow] = int(place) + 1
        else:
            yield from self._reader.check(self._searched[log], [row])

    def _long_list(self, key: str) -> Iterator[Finding]:
        """The ids in a flow's long list, each of which has to have its entry."""
        parts = self._keys.parts_of(key)
        assert parts is not None
        log, dfid = parts[1].removesuffix("_flow"), parts[2] or ""
        first, before, length = 0, "", int(self._ask("LLEN", key))
        while first < length and (
            ids := self._ask("LRANGE", key, first, min(length, first + _ROWS_AT_ONCE) - 1)
        ):
            # What is trimmed meanwhile makes the next page begin too late, but never out of order.
            yield from check_order(key, before, ids)
            rows = [
                row_id(self._keys.log(log, dfid), dfid, as_text(one))
                for one in ids
                if is_entry_id(one)
            ]
            yield from self._check(self._listed, rows)
            while self._listed.amiss:
                yield from self._reader.check(self._searched[log], [self._listed.amiss.pop(0)])
            first, before = first + len(ids), as_text(ids[-1])

    def _totals(self) -> Iterator[Finding]:
        """The totals, of which all resources are known by now."""
        keys = self._keys
        places = (keys.lock_totals(), keys.lock_holders(), keys.lock_flows())
        for page in pages(self._reservations.unlisted.items(), RECORDS_AT_ONCE):
            unread = page
            while unread:
                words: list[Argument] = [_WORK_AT_ONCE]
                for resource_id, unlisted in unread:
                    words += (resource_id, len(unlisted), *unlisted)
                    if len(words) > WORDS_AT_ONCE:
                        break
                try:
                    replies = self._driver.run(_ask(Call("verify_total", places, tuple(words))))
                except CorruptRecordError as error:  # one of the keys is of another type
                    yield Finding(error.key, "garbled", error.problem)
                    return
                for (resource_id, _), reply in zip(unread, replies, strict=False):
                    try:
                        yield from check_total(keys, resource_id, reply)
                    except CorruptRecordError as error:
                        yield Finding(error.key, "garbled", error.problem)
                self._counted(len(replies))
                unread = unread[len(replies) :]

    def _check(self, family: Family, ids: Iterable[str]) -> Iterator[Finding]:
        for page in pages(ids, RECORDS_AT_ONCE):
            yield from self._reader.check(family, family.records(page))
            self._counted(len(page))

    def _new(self, what: str, found: Iterable[str]) -> Iterator[str]:
        """Those of some ids that were not looked at yet."""
        for one in found:
            digest = _digest(what, one)
            if digest not in self._seen:
                self._seen.add(digest)
                yield one

    def _is_holder(self, member: str) -> None:
        self._seen.add(_digest(HolderFamily.__name__, member))

    def _is_queued(self, member: str) -> None:
        self._seen.add(_digest(QueuedFamily.__name__, member))

    def _ask(self, command: str, key: str, *words: Argument) -> Any:
        return self._driver.run(_ask(Command(command, key, words)))


def _ask(request: Request) -> Steps[Any]:
    return (yield request)


def _digest(what: str, one: str) -> bytes:
    raw = f"{what} {one}".encode(errors="surrogateescape")
    return hashlib.blake2b(raw, digest_size=16).digest()


def _is_text(key: str) -> bool:
    """Whether a scan has found UTF-8."""
    return not any("\ud800" <= one <= "\udfff" for one in key)
