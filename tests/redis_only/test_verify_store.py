"""verify_store on Redis: a store that works is clean, and each damage is named with its key."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dir_redis import (
    Finding,
    StorageBundle,
    StorageConfigurationError,
    StorageError,
    embedded_storage,
    memory_storage,
    open_storage,
    verify_store,
)
from dir_redis.redis.connection import Client, connect
from dir_redis.redis.keys import Keys
from dir_redis.redis.steps import Call
from dir_redis.verify import redis_reading, redis_reservations
from dir_redis.verify.redis import RedisWalk
from dir_redis.verify.redis_keys import KINDS
from dir_redis.verify.redis_reading import Look
from dir_redis.verify.redis_reservations import parse_flow
from tests.conftest import SERVERS
from tests.migrate.full_store import fill
from tests.redis_only.test_once import WRITES
from tests.servers import keys_of

SINGLE_SERVERS = [name for name in SERVERS if name != "cluster"]
TAG = "{%s:0}:"

# Beyond every moment and every token.
HUGE = 10**15


def use_everything(bundle: StorageBundle) -> None:
    """Fill a store by every write there is."""
    fill(bundle)
    for write in WRITES.values():
        write(bundle)
    waiting = threading.Thread(target=_wait_for_room, args=(bundle,), daemon=True)
    bundle.resource_lock.set_capacity("full", 1)
    bundle.resource_lock.reserve("holder", {"full": 1})
    waiting.start()
    waiting.join(0.3)


def _wait_for_room(bundle: StorageBundle) -> None:
    try:
        bundle.resource_lock.reserve("waiter", {"full": 1, "other": 2}, wait_sec=20)
    except StorageError:
        return


def test_a_store_that_uses_everything_is_clean(
    redis_url: str, redis_backend: str, namespace: str
) -> None:
    partitions = 5 if redis_backend == "cluster" else 3
    with open_storage(
        redis_url, namespace=namespace, partitions=partitions, audit_chain=True
    ) as bundle:
        use_everything(bundle)

        report = verify_store(bundle)

    assert report.findings == ()
    assert report.clean
    assert report.checked > 200


def test_every_kind_of_key_is_used_there(server_url: str, raw_server: Client) -> None:
    with open_storage(server_url, namespace="kinds-of-keys", audit_chain=True) as bundle:
        use_everything(bundle)
        keys = Keys("kinds-of-keys", 1)
        used = {keys.parts_of(key.decode()) for key in keys_of(raw_server, "kinds-of-keys")}

    # A wake-up is there for a moment; a mark of the first schema is written by nobody any more.
    assert {parts[1] for parts in used if parts} >= KINDS.keys() - {"lock_wake", "saga"}


@pytest.fixture
def raw_server(server_url: str) -> Iterator[Client]:
    client = connect(server_url, attempt_timeout_sec=5).client
    yield client
    for key in keys_of(client, "kinds-of-keys"):
        client.delete(key)
    client.close()


Damage = Callable[[Any, str], object]

# What is done to the store, behind the namespace's tag; and the key, kind and words of one finding.
DAMAGES: dict[str, tuple[Damage, str, str, str]] = {
    "an agent's record is gone": (
        lambda r, t: r.delete(f"{t}agent:zeta"),
        *("agent:zeta", "missing", "an order of the agents has it"),
    ),
    "an agent has no place": (
        lambda r, t: r.zrem(f"{t}agents", "zeta"),
        *("agents", "missing", "'zeta' is not in it"),
    ),
    "an agent nobody registered": (
        lambda r, t: r.zadd(f"{t}agents", {"ghost": 5}),
        *("agents", "orphan", "'ghost' is in it"),
    ),
    "an active agent is not listed": (
        lambda r, t: r.zrem(f"{t}agents_active", "zeta"),
        *("agents_active", "missing", "'zeta' is not in it"),
    ),
    "a suspended agent is listed": (
        lambda r, t: r.zadd(f"{t}agents_active", {"suspended": 5}),
        *("agents_active", "orphan", "'SUSPENDED'"),
    ),
    "an active agent is out of order": (
        lambda r, t: r.zadd(f"{t}agents_active", {"zeta": 5}),
        *("agents_active", "mismatch", "'zeta' is at 5"),
    ),
    "a heartbeat of nobody": (
        lambda r, t: r.zadd(f"{t}agents_heartbeat", {"ghost": 5}),
        *("agents_heartbeat", "orphan", "'ghost'"),
    ),
    "a heartbeat without a session": (
        lambda r, t: r.hdel(f"{t}agent:suspended", "session_token"),
        *("agents_heartbeat", "orphan", "has no session"),
    ),
    "a contract that is no JSON": (
        lambda r, t: r.hset(f"{t}agent:zeta", "contract", "{"),
        *("agent:zeta", "garbled", "its contract"),
    ),
    "an agent without a status": (
        lambda r, t: r.hdel(f"{t}agent:suspended", "status"),
        *("agent:suspended", "garbled", "has no status"),
    ),
    "a session that is no JSON": (
        lambda r, t: r.hset(f"{t}session:z", "data", "nope"),
        *("session:z", "garbled", ""),
    ),
    "a merged key that is no JSON": (
        lambda r, t: r.hset(f"{t}session:z", "+c", "nope"),
        *("session:z", "garbled", ""),
    ),
    "a state without a version": (
        lambda r, t: r.hdel(f"{t}state:zeta", "version"),
        *("state:zeta", "garbled", "its version"),
    ),
    "a state that ends": (
        lambda r, t: r.expire(f"{t}state:zeta", 999),
        *("state:zeta", "mismatch", "state should stay"),
    ),
    "a result that is no JSON": (
        lambda r, t: r.set(f"{t}idempotency:set", "{"),
        *("idempotency:set", "garbled", "the result"),
    ),
    "a claim without an end": (
        lambda r, t: r.hdel(f"{t}claim:running", "until"),
        *("claim:running", "garbled", "has a token, an owner and an end"),
    ),
    "a claim held beside its result": (
        lambda r, t: r.set(f"{t}idempotency:running", "1"),
        *("claim:running", "mismatch", "is held by an owner"),
    ),
    "a claim that stays": (
        lambda r, t: r.persist(f"{t}claim:running"),
        *("claim:running", "no ttl", "should end by itself"),
    ),
    "a fingerprint that goes first": (
        lambda r, t: r.expire(f"{t}claim:bound", 999),
        *("claim:bound", "mismatch", "goes before its result"),
    ),
    "a wake-up that stays": (
        lambda r, t: r.persist(f"{t}claim_ended:done"),
        *("claim_ended:done", "no ttl", "should end by itself"),
    ),
    "an operation session that stays": (
        lambda r, t: r.set(f"{t}op:mine", "1 OK"),
        *("op:mine", "no ttl", "should end by itself"),
    ),
    "an operation session without a number": (
        lambda r, t: r.set(f"{t}op:mine", "OK", ex=999),
        *("op:mine", "garbled", "begin with a number"),
    ),
    "an audit row not in its flow's list": (
        lambda r, t: r.rpop(f"{t}audit_flow:z"),
        *("audit_flow:z", "missing", "which is in audit"),
    ),
    "an audit row that is gone": (
        lambda r, t: r.xdel(f"{t}audit", r.lindex(f"{t}audit_flow:z", 0)),
        *("audit_flow:z", "orphan", "which is no entry of"),
    ),
    "a flow's list of audit rows is gone": (
        lambda r, t: r.delete(f"{t}audit_flow:z"),
        *("audit_flow:z", "missing", "which is in audit"),
    ),
    "an audit row of another flow": (
        lambda r, t: r.rpush(f"{t}audit_flow:z", r.lindex(f"{t}audit_flow:flow-4", -1)),
        *("audit_flow:z", "mismatch", "which is of 'flow-4'"),
    ),
    "audit rows out of order": (
        lambda r, t: r.lmove(f"{t}audit_flow:z", f"{t}audit_flow:z", "LEFT", "RIGHT"),
        *("audit_flow:z", "mismatch", "behind a later one"),
    ),
    "an audit row twice": (
        lambda r, t: r.rpush(f"{t}audit_flow:z", r.lindex(f"{t}audit_flow:z", -1)),
        *("audit_flow:z", "mismatch", "twice"),
    ),
    "an id that is none": (
        lambda r, t: r.rpush(f"{t}audit_flow:z", "nope"),
        *("audit_flow:z", "garbled", "no entry id"),
    ),
    "an audit row without fields": (
        lambda r, t: r.rpush(f"{t}audit_flow:z", r.xadd(f"{t}audit", {"dfid": "z"})),
        *("audit", "garbled", "has no event"),
    ),
    "an audit row of no flow": (
        lambda r, t: r.xadd(f"{t}audit", {"event": "E"}),
        *("audit", "mismatch", "has no dfid"),
    ),
    "a transition not in its flow's list": (
        lambda r, t: r.delete(f"{t}transitions_flow:z"),
        *("transitions_flow:z", "missing", "which is in transitions"),
    ),
    "the transitions are gone": (
        lambda r, t: r.delete(f"{t}transitions"),
        *("transitions_flow:z", "orphan", "which is no entry of"),
    ),
    "a ledger entry not in its flow's list": (
        lambda r, t: r.delete(f"{t}ledger_flow:z"),
        *("ledger_flow:z", "missing", "which is in ledger"),
    ),
    "a ledger entry is gone": (
        lambda r, t: r.xdel(f"{t}ledger", r.lindex(f"{t}ledger_flow:z", 0)),
        *("ledger_flow:z", "orphan", "which is no entry of"),
    ),
    "the ledger's end is another": (
        lambda r, t: r.hset(f"{t}ledger_end", "link", "0" * 64),
        *("ledger_end", "mismatch", "breaks the chain"),
    ),
    "the ledger's end is garbled": (
        lambda r, t: r.hset(f"{t}ledger_end", "link", "nope"),
        *("ledger_end", "garbled", "64 hex digits"),
    ),
    "the audit chain's end is gone": (
        lambda r, t: r.delete(f"{t}audit_end"),
        *("audit_end", "mismatch", "breaks the chain"),
    ),
    "a group at no entry": (
        lambda r, t: r.hset(f"{t}audit_groups", "archive", "nope"),
        *("audit_groups", "garbled", "should be at an entry"),
    ),
    "a marked flow is not dirty": (
        lambda r, t: r.zrem(f"{t}sagas_dirty", "flow-2"),
        *("sagas_dirty", "missing", "'flow-2' is not in it"),
    ),
    "a dirty flow without a mark": (
        lambda r, t: r.hdel(f"{t}sagas_marks", "flow-2"),
        *("sagas_marks", "missing", "'flow-2'"),
    ),
    "a mark of a clean flow": (
        lambda r, t: r.hset(f"{t}sagas_marks", "ghost", "{}"),
        *("sagas_marks", "orphan", "'ghost'"),
    ),
    "a mark that is no JSON": (
        lambda r, t: r.hset(f"{t}sagas_marks", "flow-2", "{"),
        *("sagas_marks", "garbled", "'flow-2'"),
    ),
    "a dirty flow in no order": (
        lambda r, t: (r.zrem(f"{t}sagas_due", "flow-1"), r.zrem(f"{t}sagas_claimed", "flow-1")),
        *("sagas_due", "missing", "nobody would ever compensate it"),
    ),
    "a due flow that nobody marked": (
        lambda r, t: r.zadd(f"{t}sagas_due", {"ghost": 5}),
        *("sagas_due", "orphan", "'ghost'"),
    ),
    "a due flow out of order": (
        lambda r, t: (r.zrem(f"{t}sagas_claimed", "z"), r.zadd(f"{t}sagas_due", {"z": 5})),
        *("sagas_due", "mismatch", "'z' is at 5"),
    ),
    "a claimed flow that waits too": (
        lambda r, t: r.zadd(f"{t}sagas_due", {claimed_flow(r, t): 5}),
        *("sagas_due", "orphan", "it is claimed"),
    ),
    "a lease of another end": (
        lambda r, t: r.zadd(f"{t}sagas_claimed", {claimed_flow(r, t): HUGE}),
        *("sagas_claimed", "mismatch", "its claim says"),
    ),
    "a claimed flow without a claim": (
        lambda r, t: r.hdel(f"{t}sagas_claims", claimed_flow(r, t)),
        *("sagas_claims", "missing", "has no live claim"),
    ),
    "a claim of a clean flow": (
        lambda r, t: r.hset(f"{t}sagas_claims", "ghost", "1 0 "),
        *("sagas_claims", "orphan", "'ghost'"),
    ),
    "a claim that is none": (
        lambda r, t: r.hset(f"{t}sagas_claims", claimed_flow(r, t), "nope"),
        *("sagas_claims", "garbled", "no claim"),
    ),
    "the epochs begin anew": (
        lambda r, t: r.set(f"{t}sagas_counter", "1"),
        *("sagas_counter", "mismatch", "which was not given yet"),
    ),
    "a mark of schema 1 that was left": (
        lambda r, t: r.hset(f"{t}saga:ghost", "failed_step", "s"),
        *("saga:ghost", "orphan", "'ghost'"),
    ),
    "a total too high": (
        lambda r, t: r.hincrby(f"{t}lock_totals", "capital", 1),
        *("lock_totals", "mismatch", "'capital'"),
    ),
    "a total is gone": (
        lambda r, t: r.hdel(f"{t}lock_totals", "capital"),
        *("lock_totals", "missing", "'capital'"),
    ),
    "all totals are gone": (
        lambda r, t: r.delete(f"{t}lock_totals"),
        *("lock_totals", "missing", "'capital'"),
    ),
    "a total of nothing": (
        lambda r, t: r.hset(f"{t}lock_totals", "ghost", "7"),
        *("lock_totals", "orphan", "'ghost'"),
    ),
    "a total that is no number": (
        lambda r, t: r.hset(f"{t}lock_totals", "capital", "nan"),
        *("lock_totals", "garbled", "'capital'"),
    ),
    "a capacity that is no number": (
        lambda r, t: r.hset(f"{t}lock_capacities", "capital", "nan"),
        *("lock_capacities", "garbled", "'capital'"),
    ),
    "a reservation that is gone": (
        lambda r, t: r.hdel(f"{t}lock_flows", "flow-1"),
        *("lock_holders", "orphan", "'flow-1' holds nothing"),
    ),
    "a reservation that is garbled": (
        lambda r, t: r.hset(f"{t}lock_flows", "flow-1", "nope"),
        *("lock_flows", "garbled", "'flow-1'"),
    ),
    "a reservation without its lease": (
        lambda r, t: r.zrem(f"{t}lock_leases", "flow-1"),
        *("lock_leases", "missing", "'flow-1' is not in it"),
    ),
    "a lease of nothing": (
        lambda r, t: r.zadd(f"{t}lock_leases", {"ghost": HUGE * 9}),
        *("lock_leases", "orphan", "'ghost'"),
    ),
    "a lease that ends otherwise": (
        lambda r, t: r.zadd(f"{t}lock_leases", {"flow-1": HUGE * 9}),
        *("lock_leases", "mismatch", "'flow-1' is at"),
    ),
    "a holder that is not listed": (
        lambda r, t: r.zrem(f"{t}lock_holders", "7:capital:flow-2"),
        *("lock_holders", "missing", "'7:capital:flow-2' is not in it"),
    ),
    "a holder of nothing": (
        lambda r, t: r.zadd(f"{t}lock_holders", {"7:capital:ghost": 0}),
        *("lock_holders", "orphan", "'ghost' holds nothing"),
    ),
    "a holder out of order": (
        lambda r, t: r.zadd(f"{t}lock_holders", {"7:capital:flow-2": 1}),
        *("lock_holders", "mismatch", "is at 1"),
    ),
    "a holder that is none": (
        lambda r, t: r.zadd(f"{t}lock_holders", {"nope": 0}),
        *("lock_holders", "garbled", "'nope'"),
    ),
    "the tokens begin anew": (
        lambda r, t: r.set(f"{t}lock_counter", "1"),
        *("lock_counter", "mismatch", "which was not given yet"),
    ),
    "a counter that is no number": (
        lambda r, t: r.set(f"{t}lock_counter", "x"),
        *("lock_counter", "garbled", "a whole number"),
    ),
    "a waiter without a record": (
        lambda r, t: r.delete(f"{t}lock_waiters"),
        *("lock_queue", "orphan", "waits for 'full'"),
    ),
    "a waiter that is not waited for": (
        lambda r, t: r.zadd(f"{t}lock_waiting", {"1".zfill(16): HUGE * 9}),
        *("lock_waiting", "orphan", "nobody has the ticket"),
    ),
    "a waiter that no sweep finds": (
        lambda r, t: r.delete(f"{t}lock_waiting"),
        *("lock_waiting", "missing", "is not in it, but waits"),
    ),
    "a waiter that is garbled": (
        lambda r, t: r.hset(f"{t}lock_waiters", r.hkeys(f"{t}lock_waiters")[0], "nope"),
        *("lock_waiters", "garbled", ""),
    ),
    "a waiter in no queue": (
        lambda r, t: r.delete(f"{t}lock_queue"),
        *("lock_queue", "missing", "the ticket waits for"),
    ),
    "a place in the queue of nobody": (
        lambda r, t: r.zadd(f"{t}lock_queue", {"4:full:" + "1".zfill(16): 0}),
        *("lock_queue", "orphan", "nobody with that ticket"),
    ),
    "a count that is no number": (
        lambda r, t: r.set(f"{t}retry:z", "-1"),
        *("retry:z", "garbled", "a whole number"),
    ),
    "a count above 64 bits": (
        lambda r, t: r.set(f"{t}retry:z", 2**63),
        *("retry:z", "garbled", "from 0 to 9223372036854775807"),
    ),
    "a counter of more digits than anything": (
        lambda r, t: r.set(f"{t}lock_counter", "9" * 5000),
        *("lock_counter", "garbled", "from 0 to 9007199254740991"),
    ),
    "a counter of tokens that Lua does not tell apart": (
        lambda r, t: r.set(f"{t}lock_counter", 2**53),
        *("lock_counter", "garbled", "from 0 to 9007199254740991"),
    ),
    "a counter of epochs that Lua does not tell apart": (
        lambda r, t: r.append(f"{t}sagas_counter", "8"),
        *("sagas_counter", "garbled", "from 0 to 9007199254740991"),
    ),
    "an agent of version 0": (
        lambda r, t: r.hset(f"{t}agent:zeta", "version", 0),
        *("agent:zeta", "garbled", "its version should be a whole number from 1"),
    ),
    "a state of version 0": (
        lambda r, t: r.hset(f"{t}state:zeta", "version", 0),
        *("state:zeta", "garbled", "its version should be a whole number from 1"),
    ),
    "a session of a version above 64 bits": (
        lambda r, t: r.hset(f"{t}session:z", "version", 2**63),
        *("session:z", "garbled", "to 9223372036854775807"),
    ),
    "a token of the future": (
        lambda r, t: r.zadd(f"{t}budget:zeta", {"x": HUGE * 9}),
        *("budget:zeta", "mismatch", "its last token was spent at 9000000000000000"),
    ),
    "another number of decimal places": (
        lambda r, t: r.hset(f"{t}meta", "amount_places", 2),
        *("meta", "mismatch", "says 2 decimal places, and the store was opened with 8"),
    ),
    "a token of long ago": (
        lambda r, t: r.zadd(f"{t}budget:zeta", {"x": -5}),
        *("budget:zeta", "mismatch", "before 1970"),
    ),
    "an open request that is gone": (
        lambda r, t: r.hdel(f"{t}requests_open", "flow-3"),
        *("requests_open", "missing", "'flow-3'"),
    ),
    "an open request that is no JSON": (
        lambda r, t: r.hset(f"{t}requests_open", "flow-3", "{"),
        *("requests_open", "garbled", "'flow-3'"),
    ),
    "an open request that nobody sees": (
        lambda r, t: r.zrem(f"{t}requests_pending", "späť"),
        *("requests_pending", "missing", "'späť' is not in it"),
    ),
    "a request at another time": (
        lambda r, t: r.zadd(f"{t}requests_pending", {"flow-3": 5}),
        *("requests_pending", "mismatch", "'flow-3' is at 5"),
    ),
    "a pending request of nobody": (
        lambda r, t: r.zadd(f"{t}requests_pending", {"ghost": 5}),
        *("requests_pending", "orphan", "'ghost'"),
    ),
    "a request that no reviewer gets": (
        lambda r, t: r.zrem(f"{t}requests_unclaimed", "späť"),
        *("requests_unclaimed", "missing", "'späť' is not in it"),
    ),
    "a request that two reviewers get": (
        lambda r, t: r.zadd(f"{t}requests_unclaimed", {claimed_request(r, t): 5}),
        *("requests_unclaimed", "orphan", "a reviewer has it"),
    ),
    "a claimed request of no reviewer": (
        lambda r, t: r.hdel(f"{t}requests_reviewers", claimed_request(r, t)),
        *("requests_reviewers", "missing", "which is claimed"),
    ),
    "a reviewer of nothing": (
        lambda r, t: r.hset(f"{t}requests_reviewers", "späť", "otto"),
        *("requests_reviewers", "orphan", "nobody has claimed"),
    ),
    "a claimed request that is not open": (
        lambda r, t: r.zadd(f"{t}requests_claimed", {"ghost": 5}),
        *("requests_claimed", "orphan", "'ghost'"),
    ),
    "a deadline that is gone": (
        lambda r, t: r.zrem(f"{t}requests_deadlines", "flow-3"),
        *("requests_deadlines", "missing", "'flow-3' is not in it"),
    ),
    "another deadline": (
        lambda r, t: r.zadd(f"{t}requests_deadlines", {"flow-3": HUGE * 9}),
        *("requests_deadlines", "mismatch", "'flow-3' is at"),
    ),
    "a deadline without terms": (
        lambda r, t: r.hdel(f"{t}requests_terms", "flow-3"),
        *("requests_deadlines", "orphan", "it has no terms"),
    ),
    "terms of no request": (
        lambda r, t: r.hset(f"{t}requests_terms", "ghost", "1 2 NO"),
        *("requests_terms", "orphan", "'ghost'"),
    ),
    "terms that are none": (
        lambda r, t: r.hset(f"{t}requests_terms", "flow-3", "nope"),
        *("requests_terms", "garbled", "'flow-3'"),
    ),
    "a decision without a decision": (
        lambda r, t: r.hdel(f"{t}request:a", "decision"),
        *("request:a", "garbled", "has no decision"),
    ),
    "a decided request that is open": (
        lambda r, t: r.hset(f"{t}requests_open", "a", r.hget(f"{t}request:a", "request")),
        *("request:a", "mismatch", "has an open request"),
    ),
    "what says how the namespace was made is gone": (
        lambda r, t: r.delete(f"{t}meta"),
        *("meta", "missing", "what the namespace was made with"),
    ),
    "another number of partitions": (
        lambda r, t: r.hset(f"{t}meta", "partitions", 7),
        *("meta", "mismatch", "says 7 partitions"),
    ),
    "a key of no kind": (
        lambda r, t: r.set(f"{t}nope:z", "1"),
        *("nope:z", "unknown key", ""),
    ),
    "an id where none belongs": (
        lambda r, t: r.set(f"{t}agents:z", "1"),
        *("agents:z", "unknown key", ""),
    ),
    "bytes that are no UTF-8": (
        lambda r, t: r.hset(f"{t}agent:zeta", "contract", b"\xff"),
        *("agent:zeta", "garbled", "UTF-8"),
    ),
}


def claimed_flow(raw: Any, tag: str) -> str:
    return str(raw.zrange(f"{tag}sagas_claimed", 0, 0)[0].decode())


def claimed_request(raw: Any, tag: str) -> str:
    return str(raw.zrange(f"{tag}requests_claimed", 0, 0)[0].decode())


# One server is enough for the damages: what tells them is the same everywhere.
@pytest.fixture(scope="module", params=SINGLE_SERVERS[:1])
def full(request: pytest.FixtureRequest, servers: Any) -> Iterator[tuple[Client, str, dict]]:  # type: ignore[type-arg]
    """A server with a store that uses everything, and how to put each key back."""
    url, namespace = servers.url(request.param), "verified"
    client = connect(url, attempt_timeout_sec=5).client
    with open_storage(url, namespace=namespace, audit_chain=True) as bundle:
        use_everything(bundle)
        kept = {key: (client.dump(key), client.pttl(key)) for key in keys_of(client, namespace)}
    yield client, url, kept
    for key in keys_of(client, namespace):
        client.delete(key)
    client.close()


@pytest.fixture
def restored(full: tuple[Client, str, dict]) -> tuple[Client, str]:  # type: ignore[type-arg]
    """The store as it was filled."""
    client, url, kept = full
    with client.pipeline(transaction=False) as pipeline:
        for key in keys_of(client, "verified"):
            pipeline.delete(key)
        for key, (value, left_ms) in kept.items():
            pipeline.restore(key, 600_000 if left_ms >= 0 else 0, value)
        pipeline.execute()
    return client, url


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_named_with_its_key(restored: tuple[Client, str], name: str) -> None:
    client, url = restored
    damage, key, kind, words = DAMAGES[name]
    tag = TAG % "verified"
    with open_storage(url, namespace="verified", audit_chain=True) as bundle:
        assert verify_store(bundle).findings == ()

        damage(client, tag)

        findings = verify_store(bundle).findings
    assert any(
        found.key.startswith(tag + key) and found.kind == kind and words in found.problem
        for found in findings
    ), findings
    # The other findings are of the same damage: nothing far from it is called broken.
    assert len(findings) <= 40


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"lock_wake", "saga"}))
def test_each_key_of_another_type_is_named(restored: tuple[Client, str], kind: str) -> None:
    client, url = restored
    tag = TAG % "verified"
    keys = Keys("verified", 1)
    (key, *_) = sorted(
        key
        for key in keys_of(client, "verified")
        if keys.parts_of(key.decode())[1] == kind  # type: ignore[index]
    )
    with open_storage(url, namespace="verified") as bundle:
        client.delete(key)
        if KINDS[kind].type == "list":
            client.set(key, "1", px=600_000 if KINDS[kind].ends else None)
        else:
            client.rpush(key, "1")

        findings = verify_store(bundle).findings

    assert key.decode().startswith(tag)
    assert any(
        f.key == key.decode() and f.kind == "mismatch" and "is a " in f.problem for f in findings
    )


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"lock_wake", "saga"}))
def test_each_time_to_live_that_should_not_be_is_named(
    restored: tuple[Client, str], kind: str
) -> None:
    client, url = restored
    keys = Keys("verified", 1)
    (key, *_) = sorted(
        key
        for key in keys_of(client, "verified")
        if keys.parts_of(key.decode())[1] == kind  # type: ignore[index]
    )
    ends = KINDS[kind].ends
    if ends is None:
        assert kind in {"session", "claim", "idempotency"}  # now and then: tested by themselves
        return
    with open_storage(url, namespace="verified") as bundle:
        client.persist(key) if ends else client.pexpire(key, 500_000)

        (finding,) = verify_store(bundle).findings

    assert (finding.key, finding.kind) == (key.decode(), "no ttl" if ends else "mismatch")


def test_what_lies_in_the_wrong_partition_is_named(
    server_url: str, namespace: str, real_server: str
) -> None:
    with (
        open_storage(server_url, namespace=namespace, partitions=2) as bundle,
        connect(server_url, attempt_timeout_sec=5).client as raw,
    ):
        keys = Keys(namespace, 2)
        here, there = keys.in_each_partition("")
        if keys.tag_of("a") != here:
            here, there = there, here
        bundle.agent_registry.register("a", "{}", 1)
        bundle.context.set_session("a", "{}")
        raw.hset(f"{there}session:a", "data", "{}")
        raw.zadd(f"{there}agents", {"a": 5})
        raw.set(f"{{{namespace}:2}}:retry:a", "1")

        findings = {(found.key, found.kind) for found in verify_store(bundle).findings}

    expected = {(f"{there}session:a", "mismatch"), (f"{there}agents", "mismatch")}
    if real_server != "cluster":  # there it may lie on a server that no partition is on
        expected.add((f"{{{namespace}:2}}:retry:a", "mismatch"))
    assert findings >= expected


def test_a_store_is_named_by_its_url_and_namespace(server_url: str, raw_server: Client) -> None:
    open_storage(server_url, namespace="kinds-of-keys").close()
    raw_server.set("{kinds-of-keys:0}:nope", "1")

    report = verify_store(server_url, namespace="kinds-of-keys")

    assert report.where.endswith("(namespace 'kinds-of-keys')")
    assert [found.kind for found in report.findings] == ["unknown key"]


def test_a_namespace_that_is_not_there_is_refused_and_not_made(
    server_url: str, raw_server: Client
) -> None:
    with pytest.raises(StorageConfigurationError, match="no namespace 'kinds-of-keys'"):
        verify_store(server_url, namespace="kinds-of-keys")

    assert keys_of(raw_server, "kinds-of-keys") == []


def test_a_namespace_of_another_schema_is_refused_and_not_brought_over(
    server_url: str, raw_server: Client
) -> None:
    meta = "{kinds-of-keys:0}:meta"
    raw_server.hset(meta, mapping={"schema": 1, "partitions": 1, "amount_places": 8})

    with pytest.raises(StorageConfigurationError, match="of schema version 1, not 2"):
        verify_store(server_url, namespace="kinds-of-keys")

    assert raw_server.hget(meta, "schema") == b"1"


@pytest.mark.parametrize("scheme", ["sqlite", "embedded"])
def test_what_is_not_on_the_disk_is_refused_and_not_made(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(StorageConfigurationError, match="there is no"):
        verify_store(f"{scheme}:///{tmp_path / 'nothing'}")

    assert list(tmp_path.iterdir()) == []


def test_an_embedded_store_is_verified_by_its_url(tmp_path: Path) -> None:
    url = f"embedded:///{tmp_path / 'kept'}"
    with open_storage(url, namespace="mine") as bundle:
        bundle.context.set_session("a", "{}")

    assert verify_store(url, namespace="mine").checked >= 2
    with pytest.raises(StorageConfigurationError, match="no namespace 'dir'"):
        verify_store(url)


def test_options_are_for_a_url(store: StorageBundle) -> None:
    with pytest.raises(TypeError, match="namespace can only be given for a URL"):
        verify_store(store, namespace="dir")


@pytest.mark.parametrize("damage", ["gone", "out of order", "of another flow"])
def test_damage_to_a_long_list_is_named(
    store: StorageBundle, raw: Client, namespace: str, damage: str
) -> None:
    store.decision_audit.record_many([{"dfid": "long", "event": "E"}] * 1200)
    store.decision_audit.record("other", "E")
    assert verify_store(store).findings == ()
    tag, key = TAG % namespace, f"{TAG % namespace}audit_flow:long"
    if damage == "gone":
        raw.xdel(f"{tag}audit", raw.lindex(key, 1100))
    elif damage == "out of order":
        raw.lmove(key, key, "LEFT", "RIGHT")
    else:
        raw.rpush(key, raw.lindex(f"{tag}audit_flow:other", 0))

    findings = verify_store(store).findings

    assert {found.key for found in findings} == {key}
    assert len(findings) == 1


@pytest.fixture
def alone() -> Iterator[tuple[StorageBundle, Client]]:
    """A server of its own, of which all commands are this test's."""
    with embedded_storage(timeout_sec=20) as bundle:
        assert bundle.url
        with connect(bundle.url, attempt_timeout_sec=5).client as raw:
            yield bundle, raw


def test_what_a_flow_holds_is_read_and_parsed_a_few_times(
    alone: tuple[StorageBundle, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, raw = alone
    bundle.resource_lock.reserve("flow", {f"resource-{number}": 1 for number in range(600)})
    for number in range(600):  # and as many places that it has not
        raw.zadd("{dir:0}:lock_holders", {f"{len(f'no-{number}')}:no-{number}:flow": 0})
    parsed: list[str] = []

    def parse(key: str, dfid: str, text: Any) -> redis_reservations.Flow:
        parsed.append(dfid)
        return parse_flow(key, dfid, text)

    monkeypatch.setattr(redis_reservations, "parse_flow", parse)
    raw.config_resetstat()

    report = verify_store(bundle)

    assert {(found.key, found.kind) for found in report.findings} == {
        ("{dir:0}:lock_holders", "orphan")
    }
    assert len(report.findings) == 600
    # Of each resource its total is read; what the flow holds only with some pages.
    assert raw.info("commandstats")["cmdstat_hget"]["calls"] < 600 + 40
    assert len(parsed) < 20


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each call that reads records, how many whole lists it searches."""
    counts: list[int] = []
    call = redis_reading._call

    def counting(records: list[list[Look]]) -> Call:
        looks = [look for record in records for look in record if look.command == "LPOS"]
        counts.append(sum(look.words[1:] != ("MAXLEN", 100) for look in looks))
        return call(records)

    monkeypatch.setattr(redis_reading, "_call", counting)
    return counts


def test_a_sound_long_list_is_never_searched_as_a_whole(
    store: StorageBundle, searches: list[int]
) -> None:
    store.decision_audit.record_many([{"dfid": "long", "event": "E"}] * 1200)

    assert verify_store(store).findings == ()
    assert sum(searches) == 0


def test_what_is_trimmed_from_a_long_list_meanwhile_is_not_missed_there(
    store: StorageBundle,
    raw: Client,
    namespace: str,
    searches: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_for: list[str] = []
    search = RedisWalk._search

    def counting(walk: RedisWalk, log: str, flow: str, row: str) -> Iterator[Finding]:
        looked_for.append(row)
        return search(walk, log, flow, row)

    monkeypatch.setattr(RedisWalk, "_search", counting)
    store.decision_audit.record_many([{"dfid": "long", "event": "E"}] * 2400)
    tag, trimmed = TAG % namespace, []

    def trim(checked: int) -> None:
        if checked > 1000 and not trimmed:
            trimmed.append(checked)
            with raw.pipeline() as atomic:
                atomic.xtrim(f"{tag}audit", maxlen=2000, approximate=False)
                atomic.ltrim(f"{tag}audit_flow:long", 400, -1)
                atomic.execute()

    assert verify_store(store, progress=trim).findings == ()
    assert trimmed
    assert sum(searches) == 0
    assert len(looked_for) <= 1  # from there the places are the right ones again


@pytest.mark.parametrize("damage", ["of the list", "of the log"])
def test_a_call_searches_one_long_list_at_most(
    store: StorageBundle, raw: Client, namespace: str, searches: list[int], damage: str
) -> None:
    store.decision_audit.record_many([{"dfid": "long", "event": "E"}] * 800)
    tag = TAG % namespace
    flow = f"{tag}audit_flow:long"
    ids = raw.lrange(flow, 300, 329)
    for one in ids:
        raw.lrem(flow, 1, one) if damage == "of the list" else raw.xdel(f"{tag}audit", one)

    findings = verify_store(store).findings

    assert {found.key for found in findings} == {flow}
    assert all(one.decode() in str(findings) for one in ids)
    assert len(findings) == 30
    assert max(searches) == 1
    assert sum(searches) == 30


def test_a_call_has_no_more_words_than_a_server_takes(
    store: StorageBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        amounts = {f"resource-{resource}": 1 for resource in range(500)}
        store.resource_lock.reserve(f"flow-{number}", amounts)
    lengths: list[int] = []
    call = redis_reading._call

    def measuring(records: list[list[Look]]) -> Call:
        asked = call(records)
        lengths.append(len(asked.arguments))
        return asked

    monkeypatch.setattr(redis_reading, "_call", measuring)

    assert verify_store(store).findings == ()
    # 30 flows of 500 resources, 4 words each; a call ends behind the flow that is one too many.
    assert 50_000 < max(lengths) < 50_000 + 500 * 4 + 20


def test_a_bundle_of_several_stores_is_refused(store: StorageBundle) -> None:
    other = memory_storage()
    mixed = StorageBundle(
        **{
            name: getattr(other if name == "saga" else store, name)
            for name in (
                *("agent_registry", "context", "idempotency", "decision_audit", "saga"),
                *("resource_lock", "intent_retry", "escalation", "lifecycle", "decision_ledger"),
            )
        }
    )

    with pytest.raises(ValueError, match="mixes stores"):
        verify_store(mixed)
