"""Stored formats are a promise: what is written is pinned here, field by field."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from dir_redis import Claim, CorruptRecordError, StorageBundle, open_storage
from tests.servers import keys_of, wait_until


@pytest.fixture
def tag(namespace: str) -> str:
    return f"{{{namespace}:0}}:"


def text(value: Any) -> Any:
    """A reply with its bytes decoded, at any depth."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {text(name): text(content) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [text(item) for item in value]
    return value


@pytest.mark.usefixtures("store")
def test_the_meta_record(raw: Any, tag: str) -> None:
    assert text(raw.hgetall(f"{tag}meta")) == {
        "schema": "2",
        "partitions": "1",
        "amount_places": "8",
    }


def test_an_agent(store: StorageBundle, raw: Any, tag: str) -> None:
    store.agent_registry.upsert_agent("a", '{"role": "x"}', 5, "ACTIVE", "1.0", None)
    store.agent_registry.update_status("a", "SUSPENDED", "broke a rule")

    assert text(raw.hgetall(f"{tag}agent:a")) == {
        "contract": '{"role": "x"}',
        "priority": "5",
        "status": "SUSPENDED",
        "agent_version": "1.0",
        "suspension_reason": "broke a rule",
        "version": "1",
    }
    [(member, score)] = raw.zrange(f"{tag}agents", 0, -1, withscores=True)
    assert member == b"a"
    assert 1.7e15 < score < 7.2e15  # microseconds since 1970
    assert not raw.exists(f"{tag}agents_active")


def test_contexts(store: StorageBundle, raw: Any, tag: str) -> None:
    store.context.set_session("f", '{"a":  1}', agent_id="a")
    store.context.set_session("f", '{"a":  2}')
    store.context.set_state("a", "[]")

    assert text(raw.hgetall(f"{tag}session:f")) == {
        "data": '{"a":  2}',
        "agent_id": "a",
        "version": "2",
    }
    assert text(raw.hgetall(f"{tag}state:a")) == {"data": "[]", "version": "1"}


def test_contexts_with_something_merged_into_them(store: StorageBundle, raw: Any, tag: str) -> None:
    store.context.set_session("f", '{"a":  1, "b": 2}')
    store.context.merge_session("f", {"b": [1.5, None], "": "é", "version": 0}, agent_id="a")

    assert text(raw.hgetall(f"{tag}session:f")) == {
        "data": '{"a":  1, "b": 2}',
        "agent_id": "a",
        "version": "2",
        "+b": "[1.5, null]",
        "+": '"\\u00e9"',
        "+version": "0",
    }
    store.context.set_session("f", "{}")
    assert text(raw.hgetall(f"{tag}session:f")) == {"data": "{}", "agent_id": "a", "version": "3"}

    store.context.merge_state("a", {"n": 1})
    assert text(raw.hgetall(f"{tag}state:a")) == {"data": "{}", "version": "1", "+n": "1"}


def test_an_agents_session(store: StorageBundle, raw: Any, tag: str) -> None:
    session = store.agent_registry.register("a", "[1]", 5, "1.0", ttl_sec=60)

    assert text(raw.hgetall(f"{tag}agent:a")) == {
        "contract": "[1]",
        "priority": "5",
        "status": "ACTIVE",
        "agent_version": "1.0",
        "session_token": session.session_token,
        "version": "1",
    }
    stale_at = store.agent_registry.heartbeat("a", session.session_token, 60)
    assert raw.zscore(f"{tag}agents_heartbeat", "a") == round(stale_at.timestamp() * 1_000_000)

    store.agent_registry.register("a", "[1]", 5)
    assert not raw.exists(f"{tag}agents_heartbeat")
    assert raw.hget(f"{tag}agent:a", "version") == b"2"
    assert raw.zrange(f"{tag}agents_active", 0, -1) == [b"a"]


def test_an_agent_of_before_versions_were_counted_has_version_1(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    agents = store.agent_registry
    for change in (
        lambda: agents.register("a", "[2]", 1),
        lambda: agents.upsert_agent("a", "[2]", 1, "ACTIVE", None, None),
        lambda: agents.update_contract("a", "[2]", 1),
    ):
        agents.upsert_agent("a", "[1]", 1, "ACTIVE", None, None)
        raw.hdel(f"{tag}agent:a", "version")
        assert agents.get_contract_versioned("a") == ("[1]", 1)

        change()

        assert agents.get_contract_versioned("a") == ("[2]", 2)


def test_an_idempotency_result(store: StorageBundle, raw: Any, tag: str) -> None:
    store.idempotency.set("k", {"b": 1, "a": None})

    assert raw.get(f"{tag}idempotency:k") == b'{"a": null, "b": 1}'
    assert not raw.exists(f"{tag}claim:k")


DAY_MS = 86_400_000


def test_a_claim_and_its_completion(store: StorageBundle, raw: Any, tag: str) -> None:
    claim = store.idempotency.claim("k", fingerprint="digest", lease_sec=60, owner="me")
    assert claim.token is not None
    assert text(raw.hgetall(f"{tag}claim:k")) == {
        "token": str(claim.token),
        "owner": "me",
        "until": str(claim.token + 60_000_000),
        "fingerprint": "digest",
    }
    assert DAY_MS < raw.pttl(f"{tag}claim:k") <= DAY_MS + 60_000

    store.idempotency.complete(claim, {"b": 1, "a": None}, ttl_sec=1000)

    assert raw.get(f"{tag}idempotency:k") == b'{"a": null, "b": 1}'
    assert text(raw.hgetall(f"{tag}claim:k")) == {
        "token": str(claim.token),
        "state": "DONE",
        "fingerprint": "digest",
    }
    assert 900_000 < raw.pttl(f"{tag}idempotency:k") <= 1_000_000
    assert DAY_MS - 60_000 < raw.pttl(f"{tag}claim:k") <= DAY_MS
    [(_, fields)] = raw.xrange(f"{tag}claim_ended:k")
    assert text(fields) == {"token": str(claim.token)}
    assert 50_000 < raw.pttl(f"{tag}claim_ended:k") <= 60_000


def test_a_claim_is_kept_as_long_as_it_says_something(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    def claim(key: str, fingerprint: str | None) -> Claim:
        return store.idempotency.claim(key, fingerprint=fingerprint, lease_sec=60, owner="me")

    store.idempotency.complete(claim("for ever", "digest"), 1)
    store.idempotency.complete(claim("without", None), 1)
    store.idempotency.abandon(claim("abandoned", "digest"))
    claim("set", "digest")
    store.idempotency.set("set", {})
    store.idempotency.set("set first", {})
    claim("set first", "digest")
    store.idempotency.complete(claim("with ttl", None), 1, ttl_sec=1000)
    claim("with ttl", "later")
    store.idempotency.complete(claim("with long ttl", "digest"), 1, ttl_sec=1_000_000)

    assert raw.pttl(f"{tag}claim:for ever") == -1
    assert raw.pttl(f"{tag}claim:set") == raw.pttl(f"{tag}claim:set first") == -1
    for key in ("without", "abandoned"):
        assert DAY_MS - 60_000 < raw.pttl(f"{tag}claim:{key}") <= DAY_MS
    assert DAY_MS < raw.pttl(f"{tag}claim:with ttl") <= DAY_MS + 60_000
    assert 999_900_000 < raw.pttl(f"{tag}claim:with long ttl") <= 1_000_000_000
    assert text(raw.hgetall(f"{tag}claim:set first")) == {"fingerprint": "digest", "state": "DONE"}


def test_tokens_go_on_rising_when_the_servers_clock_goes_back(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    in_the_year_2100 = 4102444800000000
    raw.hset(f"{tag}claim:k", mapping={"token": in_the_year_2100})

    assert store.idempotency.claim("k", lease_sec=60, owner="me").token == in_the_year_2100 + 1


@pytest.mark.parametrize("fingerprint", [None, "a"])
def test_tokens_go_on_rising_also_after_a_result_with_a_short_ttl(
    store: StorageBundle, raw: Any, tag: str, fingerprint: str | None
) -> None:
    in_the_year_2100 = 4102444800000000
    claim = store.idempotency.claim("k", fingerprint=fingerprint, lease_sec=60, owner="me")
    raw.hset(f"{tag}claim:k", "token", in_the_year_2100)
    store.idempotency.complete(replace(claim, token=in_the_year_2100), 1, ttl_sec=0.01)
    wait_until(lambda: not raw.exists(f"{tag}idempotency:k"), 10)

    again = store.idempotency.claim("k", fingerprint="b", lease_sec=60, owner="me")
    assert again.token == in_the_year_2100 + 1


def test_with_a_result_that_was_deleted_by_hand_goes_its_fingerprint(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    claim = store.idempotency.claim("k", fingerprint="a", lease_sec=60, owner="me")
    store.idempotency.complete(claim, 1)
    raw.delete(f"{tag}idempotency:k")

    again = store.idempotency.claim("k", lease_sec=60, owner="me")
    assert claim.token is not None
    assert again.token is not None
    assert again.token > claim.token
    assert set(text(raw.hgetall(f"{tag}claim:k"))) == {"token", "owner", "until"}


def test_a_round_begins_without_the_wake_up_of_the_last(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    store.idempotency.abandon(store.idempotency.claim("k", lease_sec=60, owner="me"))
    store.idempotency.claim("k", lease_sec=60, owner="you")

    assert not raw.exists(f"{tag}claim_ended:k")


def test_an_audit_row(store: StorageBundle, raw: Any, tag: str) -> None:
    store.decision_audit.record("f", "E", details={"x": 1})
    store.decision_audit.record(
        "f", "E2", step_id="s", state="OK", root_dfid="r", agent_id="a", severity="ERROR"
    )

    first, second = raw.xrange(f"{tag}audit")
    names = ["dfid", "event", "step_id", "state", "details", "root_dfid", "agent_id", "severity"]
    assert [text(name) for name in first[1]] == names
    assert text(list(first[1].values())) == ["f", "E", "", "", '{"x": 1}', "", "", "INFO"]
    assert text(list(second[1].values())) == ["f", "E2", "s", "OK", "{}", "r", "a", "ERROR"]
    assert raw.lrange(f"{tag}audit_flow:f", 0, -1) == [first[0], second[0]]


def test_a_reader_group(store: StorageBundle, raw: Any, tag: str) -> None:
    store.decision_audit.record_many([{"dfid": "f", "event": "E"}, {"dfid": "f", "event": "F"}])
    iterator = store.decision_audit.iter_events()
    next(iterator)
    store.decision_audit.commit_archived("new", "")
    store.decision_audit.commit_archived("g", iterator.cursor)

    first, second = (entry_id.decode() for entry_id, _ in raw.xrange(f"{tag}audit"))
    assert iterator.cursor == first
    assert text(raw.hgetall(f"{tag}audit_groups")) == {"new": "", "g": first}
    next(iterator)
    assert iterator.cursor == second
    of_flow = store.decision_audit.iter_events("f")
    next(of_flow)
    assert of_flow.cursor == f"flow:{first}"


def test_a_ledger_entry_and_the_end_of_its_chain(store: StorageBundle, raw: Any, tag: str) -> None:
    intent = SimpleNamespace(
        dfid="f", intent_payload={"b": 1, "a": "é"}, context_ref="c", evidence_hash="e",
        signature=None,
    )  # fmt: skip
    store.decision_ledger.append(intent, agent_id="a")

    [(entry_id, fields)] = raw.xrange(f"{tag}ledger")
    contents = ("ledger", "f", "f", "a", '{"a": "\\u00e9", "b": 1}', "c", "e", "")
    digest = hashlib.sha256(b"".join(b"%d:%s" % (len(c), c.encode()) for c in contents)).digest()
    link = hashlib.sha256(bytes(32) + digest + b"1 " + entry_id).hexdigest()
    assert text(fields) == {
        "dfid": "f",
        "root_dfid": "f",
        "agent_id": "a",
        "intent_payload": '{"a": "\\u00e9", "b": 1}',
        "context_ref": "c",
        "evidence_hash": "e",
        "signature": "",
        "number": "1",
        "link": link,
    }
    assert text(raw.lrange(f"{tag}ledger_flow:f", 0, -1)) == [entry_id.decode()]
    assert text(raw.hgetall(f"{tag}ledger_end")) == {"number": "1", "link": link}


def test_chained_audit_rows(redis_url: str, namespace: str, raw: Any, tag: str) -> None:
    with open_storage(redis_url, namespace=namespace, audit_chain=True) as store:
        store.decision_audit.record_many(
            [
                {"dfid": "f", "event": "E", "details": {"a": 1}, "agent_id": "a"},
                {"dfid": "g", "event": "F", "root_dfid": "f"},
            ]
        )

    link = bytes(32)
    rows = (
        ("audit", "f", "E", "", "", '{"a": 1}', "f", "a", "INFO"),
        ("audit", "g", "F", "", "", "{}", "f", "", "INFO"),
    )
    for number, ((entry_id, fields), contents) in enumerate(
        zip(raw.xrange(f"{tag}audit"), rows, strict=True), start=1
    ):
        told = b"".join(b"%d:%s" % (len(c), c.encode()) for c in contents)
        place = f"{number} {entry_id.decode()}".encode()
        link = hashlib.sha256(link + hashlib.sha256(told).digest() + place).digest()
        assert list(text(fields))[-2:] == ["number", "link"]
        assert (fields[b"number"], fields[b"link"]) == (b"%d" % number, link.hex().encode())
    assert text(raw.hgetall(f"{tag}audit_end")) == {"number": "2", "link": link.hex()}
    with open_storage(redis_url, namespace=namespace) as store:
        store.decision_audit.trim(max_rows=0)
    assert text(raw.hgetall(f"{tag}audit_end")) == {
        "number": "2",
        "link": link.hex(),
        "trimmed_number": "2",
        "trimmed_link": link.hex(),
    }


def test_an_entry_id_carries_the_time_of_the_row(store: StorageBundle, raw: Any, tag: str) -> None:
    store.decision_audit.record("f", "E")

    [(entry_id, _)] = raw.xrange(f"{tag}audit")
    milliseconds, sequence = map(int, entry_id.split(b"-"))
    [row] = store.decision_audit.events_for_dfid("f")
    assert row["timestamp"].endswith(f".{milliseconds % 1000:03d}{sequence // 1000:03d}Z")


def test_rows_stay_in_order_when_the_servers_clock_goes_back(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    an_hour_ahead = "4102444800000-999000"  # the year 2100
    row = dict.fromkeys(("event", "step_id", "state", "root_dfid", "agent_id", "severity"), "")
    raw.xadd(f"{tag}audit", {"dfid": "earlier", **row, "details": "{}"}, id=an_hour_ahead)

    store.decision_audit.record("f", "E")

    rows = store.decision_audit.all_events_chronological()
    assert [row["dfid"] for row in rows] == ["earlier", "f"]
    assert rows[1]["timestamp"] == "2100-01-01T00:00:00.000999Z"


def test_members_stay_in_order_when_the_servers_clock_goes_back(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    in_the_year_2100 = 4102444800000000
    raw.zadd(f"{tag}sagas_dirty", {"earlier": in_the_year_2100})

    for flow in ("z", "y", "x"):
        store.saga.mark_dirty(flow, "s", "{}")

    assert store.saga.get_dirty_flows() == ["earlier", "z", "y", "x"]


def test_a_transition(store: StorageBundle, raw: Any, tag: str) -> None:
    store.lifecycle.record_transition("f", "CREATED", "ACTIVE", root_dfid="r")

    [(entry_id, fields)] = raw.xrange(f"{tag}transitions")
    assert text(fields) == {"dfid": "f", "from": "CREATED", "to": "ACTIVE", "root_dfid": "r"}
    assert raw.lrange(f"{tag}transitions_flow:f", 0, -1) == [entry_id]


def test_a_dirty_mark(store: StorageBundle, raw: Any, tag: str) -> None:
    store.saga.mark_dirty("f", "pay", '{"paid":1}')

    assert text(raw.hgetall(f"{tag}sagas_marks")) == {
        "f": '{"failed_step": "pay", "partial_state": {"paid":1}}'
    }
    marked = raw.zscore(f"{tag}sagas_dirty", "f")
    assert 1.7e15 < marked < 7.2e15  # microseconds since 1970
    assert raw.zscore(f"{tag}sagas_due", "f") == marked
    assert not raw.exists(f"{tag}saga:f", f"{tag}sagas_claims")


def test_a_claimed_mark_and_what_its_claim_leaves(store: StorageBundle, raw: Any, tag: str) -> None:
    def claim_of_f() -> list[str]:
        return text(raw.hget(f"{tag}sagas_claims", "f")).split(" ", 2)

    store.saga.mark_dirty("f", "pay", "{}")
    marked = raw.zscore(f"{tag}sagas_dirty", "f")
    claim = store.saga.claim_dirty("a worker", 60)
    assert claim is not None
    epoch, until, owner = claim_of_f()
    assert (epoch, owner) == (str(claim.epoch), "a worker")
    assert int(until) == claim.epoch + 60_000_000
    assert raw.zscore(f"{tag}sagas_claimed", "f") == int(until)
    assert not raw.exists(f"{tag}sagas_due")
    assert raw.get(f"{tag}sagas_counter") == epoch.encode()

    store.saga.release_dirty("f", claim.epoch)
    assert claim_of_f() == [epoch, "0", ""]
    assert raw.zscore(f"{tag}sagas_due", "f") == marked
    assert not raw.exists(f"{tag}sagas_claimed")

    again = store.saga.claim_dirty("me", 60)
    assert again is not None
    store.saga.mark_dirty("f", "ship", "{}")
    assert claim_of_f() == [str(again.epoch), "0", ""]
    assert raw.zscore(f"{tag}sagas_due", "f") == raw.zscore(f"{tag}sagas_dirty", "f") > marked

    store.saga.clear_dirty("f")
    kinds = ("sagas_dirty", "sagas_due", "sagas_claimed", "sagas_marks", "sagas_claims", "saga:f")
    assert not raw.exists(*(f"{tag}{kind}" for kind in kinds))


def test_epochs_go_on_rising_when_the_servers_clock_goes_back(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    in_the_year_2100 = 4102444800000000
    store.saga.mark_dirty("f", "s", "{}")
    raw.hset(f"{tag}sagas_claims", "f", f"{in_the_year_2100} 0 ")
    # Its mark lies in the future too, and waits all the same.
    raw.zadd(f"{tag}sagas_due", {"f": in_the_year_2100})

    claim = store.saga.claim_dirty("me", 60)

    assert claim is not None
    assert claim.epoch == in_the_year_2100 + 1

    store.saga.clear_dirty("f", epoch=claim.epoch)
    store.saga.mark_dirty("f", "s", "{}")
    again = store.saga.claim_dirty("me", 60)
    assert again is not None
    assert again.epoch == in_the_year_2100 + 2


def test_a_live_lease_is_not_in_the_way_of_marks_made_before_the_clock_was_set_back(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    in_the_year_2100 = 4102444800000000
    for n, dfid in enumerate("fgh"):
        store.saga.mark_dirty(dfid, "s", "{}")
        for queue in ("sagas_dirty", "sagas_due"):
            raw.zadd(f"{tag}{queue}", {dfid: in_the_year_2100 + n})

    claims = [store.saga.claim_dirty("me", 60) for _ in range(4)]

    assert [claim and claim.dfid for claim in claims] == ["f", "g", "h", None]


def test_a_lease_that_came_free_before_the_clock_was_set_back_can_be_renewed(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    store.saga.mark_dirty("f", "s", "{}")
    claim = store.saga.claim_dirty("me", 60)
    assert claim is not None
    raw.zadd(f"{tag}sagas_due", {"f": raw.zscore(f"{tag}sagas_claimed", "f")})
    raw.zrem(f"{tag}sagas_claimed", "f")

    store.saga.renew_dirty("f", claim.epoch, 60)
    assert store.saga.claim_dirty("you", 60) is None


@pytest.mark.parametrize("cleared", [False, True])
def test_a_mark_of_schema_1_is_read_claimed_and_cleared(
    store: StorageBundle, raw: Any, tag: str, cleared: bool
) -> None:
    raw.hset(f"{tag}saga:f", mapping={"failed_step": "pay", "partial_state": '{"paid":1}'})
    for queue in ("sagas_dirty", "sagas_due"):
        raw.zadd(f"{tag}{queue}", {"f": 1_700_000_000_000_000})

    assert store.saga.get_dirty_state("f") == {"failed_step": "pay", "partial_state": {"paid": 1}}
    claim = store.saga.claim_dirty("me", 60)
    assert claim is not None
    assert (claim.dfid, claim.failed_step, claim.partial_state) == ("f", "pay", {"paid": 1})
    if cleared:
        store.saga.clear_dirty("f", epoch=claim.epoch)
        assert store.saga.get_dirty_state("f") is None
    else:
        store.saga.mark_dirty("f", "ship", "[]")
        assert store.saga.get_dirty_state("f") == {"failed_step": "ship", "partial_state": []}
    assert not raw.exists(f"{tag}saga:f")


def test_reservations(store: StorageBundle, raw: Any, tag: str) -> None:
    store.resource_lock.set_capacity("capital", 100)
    store.resource_lock.acquire_batch("f", {"capital": 1.5, "seats": 2}, 0)
    store.resource_lock.acquire_batch("g", {"capital": 0.00000001}, 0)

    assert text(raw.hgetall(f"{tag}lock_capacities")) == {"capital": "10000000000"}
    assert text(raw.hgetall(f"{tag}lock_totals")) == {"capital": "150000001", "seats": "200000000"}
    since = {holder.dfid: stamp(holder.since) for holder in store.resource_lock.holders("capital")}
    f = f"0 0 150000000 {since['f']} 7:capital 200000000 {since['f']} 5:seats"
    assert text(raw.hgetall(f"{tag}lock_flows")) == {"f": f, "g": f"0 0 1 {since['g']} 7:capital"}
    assert scored(raw.zrange(f"{tag}lock_holders", 0, -1, withscores=True)) == {
        **{"7:capital:f": 0, "5:seats:f": 0, "7:capital:g": 0}
    }
    for unused in ("lock_leases", "lock_queue", "lock_waiters", "lock_waiting", "lock_counter"):
        assert not raw.exists(f"{tag}{unused}")


def stamp(moment: datetime | None) -> int:
    """A moment as it is stored."""
    assert moment is not None
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def scored(members: Any) -> dict[str, int]:
    """Members of a sorted set, whose scores are whole."""
    return {text(member): int(score) for member, score in members}


def test_a_reservation_with_a_lease(store: StorageBundle, raw: Any, tag: str) -> None:
    locks = store.resource_lock
    reservation = locks.reserve("f:é", {"a b": 2, "none": 0}, lease_sec=60)
    [holder] = locks.holders("a b")
    end = stamp(reservation.expires_at)

    assert text(raw.hgetall(f"{tag}lock_flows")) == {
        "f:é": f"{reservation.fencing_token} {end} 200000000 {stamp(holder.since)} 3:a b"
    }
    assert scored(raw.zrange(f"{tag}lock_leases", 0, -1, withscores=True)) == {"f:é": end}
    assert raw.get(f"{tag}lock_counter") == str(reservation.fencing_token).encode()
    assert end - reservation.fencing_token == 60_000_000

    reservation.settle({"a b": 0})
    assert text(raw.hgetall(f"{tag}lock_flows")) == {"f:é": f"{reservation.fencing_token} {end}"}
    reservation.release()
    assert not raw.exists(*(f"{tag}lock_{kind}" for kind in ("flows", "leases", "holders")))


def test_one_who_waits(store: StorageBundle, raw: Any, tag: str) -> None:
    locks = store.resource_lock
    holder = locks.reserve("f", {"b": 5}, capacities={"b": 5})
    with ThreadPoolExecutor(1) as pool:
        waiter = pool.submit(
            locks.reserve, "g:é", {"a": 1, "b": 2}, capacities={"b": 5}, wait_sec=60
        )
        wait_until(lambda: raw.exists(f"{tag}lock_waiting"), 30)
        [(ticket, dead)] = raw.zrange(f"{tag}lock_waiting", 0, -1, withscores=True)
        queue = scored(raw.zrange(f"{tag}lock_queue", 0, -1, withscores=True))
        waiters = text(raw.hgetall(f"{tag}lock_waiters"))
        counter = raw.get(f"{tag}lock_counter")
        holder.release()
        waiter.result(30)

    number = text(ticket)
    assert re.fullmatch("[0-9]{16}", number)
    assert 0 <= int(dead) - int(number) - 3_000_000 < 30_000_000
    assert counter == ticket
    assert queue == {f"1:a:{number}": 0, f"1:b:{number}": 0}
    wake_key = re.escape(f"{tag}lock_wake:") + "[-_A-Za-z0-9]{16}"
    size = len(f"{tag}lock_wake:") + 16
    record = rf"{size}:{wake_key}4:g:é 100000000 - 1:a 200000000 500000000 1:b"
    assert list(waiters) == [number]
    assert re.fullmatch(record, waiters[number])
    assert not raw.exists(*(f"{tag}lock_{kind}" for kind in ("queue", "waiters", "waiting")))


def test_a_retry_count(store: StorageBundle, raw: Any, tag: str) -> None:
    store.intent_retry.set_count("f", 3)

    assert raw.get(f"{tag}retry:f") == b"3"


def test_a_budget_token(store: StorageBundle, raw: Any, tag: str) -> None:
    store.escalation.record_budget_token("a")

    [(token, score)] = raw.zrange(f"{tag}budget:a", 0, -1, withscores=True)
    assert re.fullmatch(rb"[0-9a-f]{16}", token)
    assert 1.7e15 < score < 7.2e15  # microseconds since 1970


def test_a_request_pending_and_resolved(store: StorageBundle, raw: Any, tag: str) -> None:
    store.escalation.insert_request("f", "a", "why", '{"c":1}', '{"p":1}', "HIGH")

    stored = (
        '{"agent_id": "a", "reason": "why", "impact": "HIGH", '
        '"context": {"c":1}, "proposal": {"p":1}}'
    )
    assert text(raw.hgetall(f"{tag}requests_open")) == {"f": stored}
    assert raw.zrange(f"{tag}requests_pending", 0, -1) == [b"f"]

    store.escalation.resolve_request("f", "2026-01-01T00:00:00", "APPROVED", '{"p":2}')

    resolved = text(raw.hgetall(f"{tag}request:f"))
    assert 1.7e15 < int(resolved.pop("requested_us")) <= int(resolved.pop("resolved_us")) < 7.2e15
    assert resolved == {
        "request": stored,
        "status": "RESOLVED",
        "decision": "APPROVED",
        "resolved_at": "2026-01-01T00:00:00",
        "proposal": '{"p":2}',
    }
    assert not raw.exists(f"{tag}requests_open", f"{tag}requests_pending")


def test_an_escalation_waiting_claimed_and_decided(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    store.escalation.escalate(
        "f", "a", "why", "{}", "{}", "HIGH", limit=9, window_sec=60, deadline_sec=60,
        default_decision="REJECT it",
    )  # fmt: skip

    terms = raw.hget(f"{tag}requests_terms", "f").decode()
    requested, deadline, decision = terms.split(" ", 2)
    assert decision == "REJECT it"
    assert abs(int(deadline) - int(requested) - 60_000_000) < 1_000_000
    for name, score in (("pending", requested), ("unclaimed", requested), ("deadlines", deadline)):
        queue = raw.zrange(f"{tag}requests_{name}", 0, -1, withscores=True)
        assert queue == [(b"f", float(score))] or queue == [[b"f", float(score)]]
    assert raw.zcard(f"{tag}budget:a") == 1

    store.escalation.claim_next("maria", 60)
    assert not raw.exists(f"{tag}requests_unclaimed")
    assert raw.zscore(f"{tag}requests_claimed", "f") > float(requested) + 59_000_000
    assert text(raw.hgetall(f"{tag}requests_reviewers")) == {"f": "maria"}

    store.escalation.resolve("f", "APPROVE", by="maria", reason="fine", proposal_json="[1]")
    resolved = text(raw.hgetall(f"{tag}request:f"))
    assert int(requested) < int(resolved.pop("resolved_us")) < int(deadline)
    assert resolved == {
        "request": '{"agent_id": "a", "reason": "why", "impact": "HIGH", '
        '"context": {}, "proposal": {}}',
        "status": "RESOLVED",
        "requested_us": requested,
        "deadline_us": deadline,
        "default_decision": "REJECT it",
        "decision": "APPROVE",
        "decided_by": "maria",
        "decision_reason": "fine",
        "proposal": "[1]",
    }
    queue_keys = ("pending", "unclaimed", "claimed", "deadlines", "reviewers", "terms", "open")
    assert not raw.exists(*(f"{tag}requests_{name}" for name in queue_keys))
    assert 50_000 < raw.pttl(f"{tag}decided:f") <= 60_000
    [(_, fields)] = raw.xrange(f"{tag}decided:f")
    assert text(fields) == {"dfid": "f"}


def test_a_request_that_its_deadline_decided(store: StorageBundle, raw: Any, tag: str) -> None:
    store.escalation.escalate(
        "f", "a", "", "", "", "", limit=9, window_sec=60, deadline_sec=0.01, default_decision="NO"
    )
    requested, deadline, _ = raw.hget(f"{tag}requests_terms", "f").decode().split()
    store.escalation.wait_for_decision("f", 10)

    resolved = text(raw.hgetall(f"{tag}request:f"))
    del resolved["request"]
    assert resolved == {
        "status": "RESOLVED",
        "requested_us": requested,
        "deadline_us": deadline,
        "default_decision": "NO",
        "resolved_us": deadline,
        "by_default": "1",
        "decision": "NO",
    }
    assert not raw.exists(f"{tag}requests_open", f"{tag}requests_terms", f"{tag}decided:f")


def test_a_count_at_the_edges_of_what_is_one(store: StorageBundle, raw: Any, tag: str) -> None:
    for text, counted in (("-1", 0), ("-9223372036854775807", -9223372036854775806), ("9", 10)):
        raw.set(f"{tag}retry:f", text)
        assert store.intent_retry.increment("f").count == counted
    for garbage in ("", "x", "1.5", "01", "-0", "+1", " 1", "9223372036854775808", "1" * 20):
        raw.set(f"{tag}retry:f", garbage)
        with pytest.raises(CorruptRecordError) as caught:
            store.intent_retry.increment("f")
        assert caught.value.key == f"{tag}retry:f"
        assert raw.get(f"{tag}retry:f") == garbage.encode()


def test_a_session_keeps_no_long_result(
    store: StorageBundle, raw: Any, tag: str, namespace: str
) -> None:
    store.idempotency.set("k", {"long": "x" * 1000})
    assert store.idempotency.claim("k", lease_sec=60, owner="me").result == {"long": "x" * 1000}

    [key] = [key for key in keys_of(raw, namespace) if b":op:" in key]
    assert raw.get(key) == b"3 AGAIN"  # the first made the namespace

    long = '{"long": "' + "x" * 1000 + '"}'
    store.saga.mark_dirty("f", "s", long)
    assert store.saga.claim_dirty("me", 60) is not None
    claim = raw.hget(f"{tag}sagas_claims", "f").rpartition(b" ")[0]
    assert raw.get(key) == b"5 HELD " + claim + b" f"

    store.escalation.insert_request("f", "a", "", long, long, "")
    assert store.escalation.claim_next("me", 60) is not None
    until = b"%d" % raw.zscore(f"{tag}requests_claimed", "f")
    assert raw.get(key) == b"7 HELD " + until + b" f"


def test_an_operation_session(store: StorageBundle, raw: Any, tag: str, namespace: str) -> None:
    store.intent_retry.set_count("f", 3)
    store.intent_retry.set_count("f", 4)

    [key] = [key for key in keys_of(raw, namespace) if b":op:" in key]
    assert key.startswith(f"{tag}op:".encode())
    assert raw.get(key) == b"3 OK"  # the first made the namespace
    assert 590_000 < raw.pttl(key) <= 600_000
