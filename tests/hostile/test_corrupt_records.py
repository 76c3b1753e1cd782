"""Every kind of key spoilt in every way: whatever meets it says so, with the key's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dir_redis import CorruptRecordError, NamespaceMismatchError, StorageBundle, open_storage
from dir_redis.migrate.ends import raw_store
from dir_redis.migrate.records import KEYED, LOGS
from dir_redis.redis.connection import connect
from dir_redis.verify import verify_store
from tests.hostile.test_fuzz import DOCUMENTED
from tests.redis_only.conftest import commands_sent
from tests.redis_only.test_costs import READS
from tests.redis_only.test_once import INTENT, WRITES
from tests.servers import keys_of

RECORDS: list[Any] = [*KEYED, *LOGS]


def _read_all(kind: Any, bundle: StorageBundle) -> Any:
    """What a copy of a store reads of it."""
    return list(raw_store(bundle)[0].read(kind))


ANOTHER = SimpleNamespace(**{**vars(INTENT), "dfid": "another"})
OPERATIONS: dict[str, Callable[[StorageBundle], Any]] = {
    **READS,  # first, for the others may write over what is spoilt
    **{f"copy of {kind.__name__}": partial(_read_all, kind) for kind in RECORDS},
    "verify_store": verify_store,
    **WRITES,
    "init_schema": lambda b: b.context.init_schema(),
    "append of another flow": lambda b: b.decision_ledger.append(ANOTHER, agent_id="a"),
    "verify_ledger": lambda b: b.decision_ledger.verify_ledger(),
    "verify_audit": lambda b: b.decision_audit.verify_audit(),
    "trim": lambda b: b.decision_audit.trim(max_rows=1),
    "get_request decided": lambda b: b.escalation.get_request("d"),
    "get_locked_amount of another": lambda b: b.resource_lock.get_locked_amount("r", "x"),
    "release g": lambda b: b.resource_lock.release("g"),
    "get_dirty_state old": lambda b: b.saga.get_dirty_state("old"),
}

Spoil = Callable[[Any, bytes], None]
GARBAGE = [b"\xff\xfe", b"garbage", b"", b"-1", b"1.5", b"nan", b"9" * 20, b"{", b"[1]"]
HUGE = b"%d" % 2**62  # an integer, and as microseconds no moment
SCORES = ("inf", "-inf", "-1", "1.5", "1e300", HUGE)

# Lists of what has a record elsewhere: who finds none there names the record's key.
RECORD_OF = {
    "requests_pending": "requests_open",
    "requests_unclaimed": "requests_open",
    "sagas_due": "saga:",
    "sagas_claimed": "saga:",
    "sagas_marks": "saga:",
}
# What the client finds wrong in a reply, when all is written: the status that a registration
# replies with, and what of a claimed flow or request is spoilt, whose claim stands so that it keeps
# no others back.
REPLIES_AFTER_WRITING = {
    ("agent", "register"),
    ("sagas_due", "claim_dirty"),
    ("sagas_claimed", "claim_dirty"),
    ("requests_unclaimed", "claim_next"),
    ("requests_claimed", "claim_next"),
}


def spoilings(raw: Any, key: bytes) -> Iterator[tuple[str, Spoil]]:
    """The ways to spoil a key, by what it holds."""
    kind = raw.type(key).decode()
    if kind == "string":
        cut = raw.get(key)[:-1] or b"{"
        for value in (*GARBAGE, HUGE, cut):
            yield f"set to {value!r}", lambda r, k, v=value: r.set(k, v)
    elif kind == "hash":
        for field, stored in raw.hgetall(key).items():
            for value in (*GARBAGE, HUGE, stored[:-1], stored + b" 1"):
                yield f"{field!r} = {value!r}", lambda r, k, f=field, v=value: r.hset(k, f, v)
            if raw.hlen(key) > 1:
                yield f"without {field!r}", lambda r, k, f=field: r.hdel(k, f)
    elif kind == "stream":
        ((entry, fields),) = raw.xrevrange(key, count=1)
        for field in fields:
            for value in (b"\xff", b"garbage", b"{"):
                spoilt = {**fields, field: value}
                yield f"{field!r} = {value!r}", _entry(entry, spoilt)
            less = {name: value for name, value in fields.items() if name != field}
            yield f"without {field!r}", _entry(entry, less or {b"x": b"y"})
    elif kind == "list":
        for value in (b"\xff", b"garbage", b"1-1"):
            yield f"an item {value!r}", lambda r, k, v=value: r.rpush(k, v)
    elif kind == "zset":
        for member in (b"\xff", b"garbage", b"9:r"):
            yield f"a member {member!r}", lambda r, k, m=member: r.zadd(k, {m: 0})
        for member in raw.zrange(key, 0, -1):
            for score in SCORES:
                yield f"{member!r} at {score!r}", lambda r, k, m=member, s=score: r.zadd(k, {m: s})
    yield "another type", lambda r, k: (r.delete(k), r.xadd(k, {b"a": b"b"}))
    if kind == "stream":
        yield "another type", lambda r, k: (r.delete(k), r.set(k, b"garbage"))


def _entry(entry: bytes, fields: dict[bytes, bytes]) -> Spoil:
    def spoil(raw: Any, key: bytes) -> None:
        # The same entry again, with other fields: the rest of the stream is read and written anew.
        rows = raw.xrange(key)
        raw.delete(key)
        for row, stored in rows:
            raw.xadd(key, fields if row == entry else stored, id=row)

    return spoil


def fill(bundle: StorageBundle) -> None:
    """Leave a record of every kind."""
    for write in WRITES.values():
        write(bundle)
    bundle.saga.mark_dirty("f", "s", "{}")
    bundle.saga.claim_dirty("me", 600, "f")
    bundle.saga.mark_dirty("waiting", "s", "{}")
    bundle.resource_lock.acquire_batch("f", {"r": 1}, 0)
    bundle.resource_lock.reserve("g", {"r": 1, "s": 2}, lease_sec=600)
    bundle.context.merge_session("f", {"a": 1})
    for dfid in ("f", "c"):
        bundle.intent_retry.set_count(dfid, 1)
    bundle.escalation.insert_request("f", "a", "", "", "", "")
    bundle.escalation.insert_request("d", "a", "", "", "", "")
    bundle.escalation.resolve("d", "YES", by="me", reason="so", proposal_json="{}")
    bundle.idempotency.claim("running", lease_sec=600, owner="me", fingerprint="p")
    bundle.decision_audit.record_many([{"dfid": "f", "event": "E", "details": {"a": 1}}] * 2)
    bundle.decision_audit.commit_archived("g", "")


def kind_of(key: bytes) -> str:
    return key.decode().split("}:", 1)[1].partition(":")[0]


# They are there while somebody waits or for a moment: test_reservations.py spoils those of waiters.
SHORT_LIVED = {"op", "lock_queue", "lock_waiters", "lock_waiting", "lock_wake", "claim_ended"}


def kinds_in_the_docs() -> set[str]:
    docs = (Path(__file__).parents[2] / "docs" / "keys.md").read_text()
    return set(re.findall(r"^\| `\{ns:[0p]\}:(\w+)", docs, re.MULTILINE))


def touched_by_operation(bundle: StorageBundle, reset: Callable[[], None]) -> dict[str, set[bytes]]:
    touched = {}
    for name, operation in OPERATIONS.items():
        with commands_sent(bundle) as sent:
            operation(bundle)
        keys = set()
        for command in sent:
            words = command[3 : 3 + command[2]] if command[0].startswith("EVAL") else command[1:]
            keys |= {str(word).encode() for word in words if "}:" in str(word)}
        touched[name] = keys
        reset()
    return touched


@pytest.mark.parametrize("real_server", ["valkey", "redis62"], indirect=True)
@pytest.mark.timeout(240)
def test_whatever_meets_a_spoilt_key_works_or_names_it(server_url: str, namespace: str) -> None:
    wrong: list[str] = []
    met: set[str] = set()
    with (
        open_storage(server_url, namespace=namespace, audit_chain=True, timeout_sec=2) as bundle,
        connect(server_url, attempt_timeout_sec=5).client as raw,
    ):
        fill(bundle)
        of_an_old_version = bundle.saga._keys.saga("old")  # type: ignore[attr-defined]
        raw.hset(of_an_old_version, mapping={"failed_step": "s", "partial_state": "{}"})
        keys = sorted(key for key in keys_of(raw, namespace) if b"}:op:" not in key)
        assert kinds_in_the_docs() - {kind_of(key) for key in keys} == SHORT_LIVED
        dumped = {key: raw.dump(key) for key in keys}

        def reset() -> None:
            there = [key for key in keys_of(raw, namespace) if b"}:op:" not in key]
            with raw.pipeline(transaction=False) as pipeline:
                pipeline.delete(*there)
                for key, value in dumped.items():
                    pipeline.restore(key, 0, value)
                pipeline.execute()

        touched = touched_by_operation(bundle, reset)
        for key in keys:
            for how, spoil in list(spoilings(raw, key)):
                for name in [name for name in OPERATIONS if key in touched[name]]:
                    spoil(raw, key)
                    before = raw.dump(key)
                    caught = error_of(OPERATIONS[name], bundle)
                    if isinstance(caught, CorruptRecordError):
                        met.add(kind_of(key))
                    if not is_explained(caught, key, name, changed=raw.dump(key) != before):
                        wrong.append(f"{key!r} {how}: {name}: {type(caught).__name__}: {caught}")
                    reset()
    assert wrong == []
    assert {kind_of(key) for key in keys} - met == {"decided"}  # it only wakes; nobody reads it


@pytest.mark.parametrize("spoilt", [2**53 - 1, 2**53, 2**53 + 1, 10**17, "1e3"])
@pytest.mark.parametrize("counter", ["lock_counter", "sagas_counter", "claim:k"])
def test_a_token_that_could_not_rise_is_not_given(
    server_url: str, namespace: str, counter: str, spoilt: int | str
) -> None:
    """To Lua 2**53 + 1 is 2**53: two would have the same token."""
    with (
        open_storage(server_url, namespace=namespace) as bundle,
        connect(server_url, attempt_timeout_sec=5).client as raw,
    ):
        locks, saga, steps = bundle.resource_lock, bundle.saga, bundle.idempotency
        locks.reserve("ended", {"r": 1}, lease_sec=0.001)
        saga.mark_dirty("f", "s", "{}")
        key = f"{{{namespace}:0}}:{counter}"
        if counter == "claim:k":
            steps.abandon(steps.claim("k", lease_sec=60, owner="me"))
            raw.hset(key, "token", spoilt)
        else:
            raw.set(key, spoilt)
        before = {key: raw.dump(key) for key in keys_of(raw, namespace)}

        with pytest.raises(CorruptRecordError) as caught:
            {
                "lock_counter": lambda: locks.reserve("f", {"r": 1}, lease_sec=60),
                "sagas_counter": lambda: saga.claim_dirty("me", 60),
                "claim:k": lambda: steps.claim("k", lease_sec=60, owner="me"),
            }[counter]()

        assert caught.value.key == key
        assert {key: raw.dump(key) for key in keys_of(raw, namespace)} == before


def test_the_largest_token_is_given(server_url: str, namespace: str) -> None:
    largest = 2**53 - 1
    with (
        open_storage(server_url, namespace=namespace) as bundle,
        connect(server_url, attempt_timeout_sec=5).client as raw,
    ):
        raw.set(f"{{{namespace}:0}}:lock_counter", largest - 1)

        assert bundle.resource_lock.reserve("f", {"r": 1}).fencing_token == largest
        assert verify_store(bundle).findings == ()


def error_of(operation: Callable[[StorageBundle], Any], bundle: StorageBundle) -> Exception | None:
    try:
        operation(bundle)
    except Exception as error:
        return error
    return None


def is_explained(caught: Exception | None, key: bytes, name: str, *, changed: bool) -> bool:
    """Whether an operation that met a spoilt key worked, or says what is wrong and did nothing."""
    if isinstance(caught, CorruptRecordError):
        if name.startswith("copy of"):
            return True  # which reads what belongs together at once, and names one of the keys
        kind = kind_of(key)
        named = key.decode() in caught.key or RECORD_OF.get(kind, key.decode()) in caught.key
        return named and (not changed or (kind, name) in REPLIES_AFTER_WRITING)
    if isinstance(caught, ValueError):
        return "merging needs an object" in str(caught)  # JSON, but not what merging needs
    return caught is None or isinstance(caught, (*DOCUMENTED, NamespaceMismatchError))
