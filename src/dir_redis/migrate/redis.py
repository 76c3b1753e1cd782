"""A namespace on Redis, read and written beneath its Protocols.

This is no hot path: what has no index is found by looking through all keys of every primary.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from dir_redis.amounts import AmountScale
from dir_redis.errors import CorruptRecordError, NotRepresentableError
from dir_redis.migrate.paging import PAGE, pages
from dir_redis.migrate.records import (
    LOGS,
    Agent,
    Budget,
    Capacity,
    Counter,
    DirtyMark,
    HeldReservation,
    IdempotencyKey,
    Keyed,
    ReaderGroup,
    Record,
    Request,
    Retries,
    Row,
    Session,
    State,
)
from dir_redis.migrate.redis_documents import SessionForm, StateForm
from dir_redis.migrate.redis_form import Form, Found, Whole
from dir_redis.migrate.redis_ids import StoredIds
from dir_redis.migrate.redis_records import (
    AgentForm,
    CapacityForm,
    DirtyMarkForm,
    IdempotencyForm,
    RetriesForm,
)
from dir_redis.migrate.redis_requests import BudgetForm, RequestForm
from dir_redis.migrate.redis_reservations import ReservationForm
from dir_redis.migrate.redis_rows import RowLog
from dir_redis.redis.keys import Keys
from dir_redis.redis.replies import LARGEST_TOKEN, as_text, as_units
from dir_redis.redis.steps import Argument, Call, Command, Steps
from dir_redis.redis.steps import Request as Sent
from dir_redis.redis.store import RedisStore

T = TypeVar("T")
K = TypeVar("K", bound=Keyed)
R = TypeVar("R", bound=Record)

# What one call reads or writes of a partition: a page of records, and not many more bytes.
BYTES_AT_ONCE = 1_000_000

_RESERVATIONS, _SAGAS = "reservations", "sagas"

_FORMS: dict[type[Any], Callable[[Keys, AmountScale], Form[Any]]] = {
    Agent: AgentForm,
    Session: SessionForm,
    State: StateForm,
    IdempotencyKey: IdempotencyForm,
    DirtyMark: DirtyMarkForm,
    Capacity: CapacityForm,
    Retries: RetriesForm,
    Budget: BudgetForm,
    Request: RequestForm,
}


class RedisRawStore:
    """The records of a namespace, see :class:`dir_redis.migrate.records.RawStore`.

    A log takes rows in each partition in the order given; one that is not behind the last entry of
    its partition comes back with a later moment, as on any clock that was set back. The ends of
    sessions, results and claims are kept in whole milliseconds, rounded up. Dirty marks and waiting
    requests have the order of their moments.

    Args:
        store: the opened namespace; it stays the caller's to close.
    """

    def __init__(self, store: RedisStore) -> None:
        self.where = f"{store.where} (namespace {store.keys.namespace!r})"
        self._keys = store.keys
        self._driver = store.driver
        self._ids = StoredIds(store.keys, store.driver)
        self._forms: dict[type[Any], Form[Any]] = {
            kind: form(store.keys, store.scale) for kind, form in _FORMS.items()
        }
        self._reservations = ReservationForm(store.keys, store.scale)
        self._forms[HeldReservation] = self._reservations
        self._logs = {kind: RowLog(store.keys, kind) for kind in LOGS}

    def read(self, kind: type[R]) -> Iterator[R]:
        """Read all records of a kind, each once, in its order.

        Of keys that are found by a scan, 16 bytes each are remembered, since it may find one twice.

        Raises:
            CorruptRecordError: one is not what this package writes.
            StorageError: the server did not answer, or refused.
        """
        if kind in self._logs:
            next_rows = self._logs[cast(type[Row], kind)].reader()
            while rows := self._driver.run(next_rows()):
                yield from cast(list[R], rows)
        elif kind in self._forms:
            form = self._forms[kind]
            for page in pages(self._ids.of(form)):
                yield from self._driver.run(self._load(form, page)).values()
        else:
            yield from cast(Iterable[R], self._few(cast(type[Keyed], kind)).values())

    def find(self, kind: type[K], keys: Sequence[str]) -> Mapping[str, K]:
        """Return those of some records that there are, by key.

        Raises:
            CorruptRecordError: one is not what this package writes.
            StorageError: the server did not answer, or refused.
        """
        if kind in self._forms:
            return self._driver.run(self._load(self._forms[kind], keys))
        few = self._few(cast(type[Keyed], kind))
        return {key: cast(K, few[key]) for key in keys if key in few}

    def put(self, records: Iterable[Record]) -> int:
        """Write records of one kind, which are held in memory until all of them have been checked.

        Returns:
            How many were written; those that are there are not.

        Raises:
            NotRepresentableError: one cannot be kept as it is; nothing was written.
            StorageError: the server did not answer, or refused; some may have been written.
        """
        given = list(records)
        return self._driver.run(self._put(type(given[0]), given)) if given else 0

    def _put(self, kind: type[Record], records: list[Any]) -> Steps[int]:
        if kind in self._logs:
            return (yield from self._logs[kind].append(records))
        first_of_each: dict[str, Any] = {}
        for record in records:
            first_of_each.setdefault(record.key, record)
        records = list(first_of_each.values())
        if kind is HeldReservation:
            return (yield from self._reservations.put(records))
        if kind is Counter:
            yield self._raise(records)
            return len(records)
        if kind is ReaderGroup:
            yield self._register(records)
            return len(records)
        form = self._forms[kind]
        yield from form.prepare(records)
        whole = [Whole(form.signs(record.key), list(form.writes(record))) for record in records]
        return sum(int(as_text(reply)) for reply in (yield list(_calls(whole))))

    def _load(self, form: Form[K], keys: Iterable[str]) -> Steps[dict[str, K]]:
        """Read the records of some ids, in their order, without those that there are not."""
        by_partition: defaultdict[str, list[str]] = defaultdict(list)
        for key in dict.fromkeys(keys):
            by_partition[self._keys.tag_in(form.looks(key)[0].key)].append(key)
        loaded: dict[str, K] = {}
        for ids in by_partition.values():
            unread = ids
            while unread:
                looks = [form.looks(key) for key in unread]
                places: dict[str, int] = {}
                words: list[Argument] = [len(looks[0]), BYTES_AT_ONCE]
                for look in itertools.chain(*looks):
                    number = places.setdefault(look.key, len(places) + 1)
                    words += (look.command, number, look.member)
                now, *found = yield Call("migrate_read", tuple(places), tuple(words))
                count = len(found) // len(looks[0])
                for key, its_looks, part in zip(
                    unread, looks, pages(found, len(looks[0])), strict=False
                ):
                    record = _parsed(form, key, its_looks[0].key, Found(part, int(now)))
                    if record is not None:
                        loaded[key] = record
                unread = unread[count:]
        return {key: loaded[key] for key in keys if key in loaded}

    # Counters and reader groups: few, and in one place each

    def _few(self, kind: type[Keyed]) -> dict[str, Any]:
        if kind is Counter:
            numbers = {
                _RESERVATIONS: self._numbers([self._keys.lock_counter()]),
                _SAGAS: self._numbers(self._keys.in_each_partition("sagas_counter")),
            }
            return {name: Counter(name, max(all_)) for name, all_ in numbers.items() if any(all_)}
        assert kind is ReaderGroup
        keys = self._keys.in_each_partition("audit_groups")
        replies = [self._driver.run(_ask(Command("HKEYS", key))) for key in keys]
        # One that is not in all of them was cut off while it came or went, and is none.
        names = set.intersection(*({as_text(name) for name in reply} for reply in replies))
        return {name: ReaderGroup(name) for name in sorted(names)}

    def _numbers(self, keys: Sequence[str]) -> list[int]:
        return [as_units(key, self._driver.run(_ask(Command("GET", key)))) for key in keys]

    def _raise(self, counters: Sequence[Counter]) -> list[Sent]:
        keys = {
            _RESERVATIONS: [self._keys.lock_counter()],
            _SAGAS: self._keys.in_each_partition("sagas_counter"),
        }
        for counter in counters:
            if counter.name not in keys:
                raise NotRepresentableError(f"counter {counter.name!r}", "there is no such counter")
            if counter.value > LARGEST_TOKEN:
                raise NotRepresentableError(
                    f"counter {counter.name!r}", f"on Redis a token is at most {LARGEST_TOKEN}"
                )
        return [
            Call("migrate_raise", (key,), (counter.value,))
            for counter in counters
            for key in keys[counter.name]
        ]

    def _register(self, groups: Sequence[ReaderGroup]) -> list[Sent]:
        """Let groups be, which have archived nothing here unless they are here already."""
        places = zip(
            self._keys.in_each_partition("audit_groups"),
            self._keys.in_each_partition("audit"),
            strict=True,
        )
        return [
            Call("decision_audit_commit", keys, (group.name, ""))
            for keys in places
            for group in groups
        ]


def _ask(request: Sent) -> Steps[Any]:
    return (yield request)


def _parsed(form: Form[K], key: str, at: str, found: Found) -> K | None:
    try:
        return form.parse(key, found)
    except UnicodeDecodeError as error:
        raise CorruptRecordError(
            at, f"what is kept of {key!r} should be UTF-8 ({error})"
        ) from error


def _calls(records: Sequence[Whole]) -> Iterator[Call]:
    """The calls that write some records: each is written by one call, with others of its slot."""
    batches: defaultdict[str, list[Whole]] = defaultdict(list)
    sizes: defaultdict[str, int] = defaultdict(int)
    for record in records:
        key = record.writes[0].key
        tag = key[: key.index("}")]
        batches[tag].append(record)
        sizes[tag] += sum(len(str(word)) for write in record.writes for word in write.words)
        if len(batches[tag]) >= PAGE or sizes[tag] > BYTES_AT_ONCE:
            yield _call(batches.pop(tag))
            del sizes[tag]
    for batch in batches.values():
        yield _call(batch)


def _call(records: Sequence[Whole]) -> Call:
    places: dict[str, int] = {}

    def number(key: str) -> int:
        return places.setdefault(key, len(places) + 1)

    words: list[Argument] = []
    for looks, writes in records:
        words += (len(looks), len(writes))
        for look in looks:
            words += (look.command, number(look.key), look.member)
        for command, key, arguments in writes:
            words += (len(arguments), command, number(key), *arguments)
    return Call("migrate_write", tuple(places), tuple(words))
