"""A namespace read as neutral records and put elsewhere answers like the one it came from."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from dir_redis import (
    Claim,
    ClaimState,
    CorruptRecordError,
    LedgerConflictError,
    StorageBundle,
    open_storage,
)
from dir_redis.errors import NotRepresentableError
from dir_redis.migrate.records import (
    KEYED,
    LOGS,
    Agent,
    AuditRow,
    Budget,
    Capacity,
    Counter,
    DirtyMark,
    Held,
    HeldReservation,
    IdempotencyKey,
    Keyed,
    LedgerEntry,
    ReaderGroup,
    Request,
    Retries,
    Session,
    State,
    Transition,
)
from dir_redis.migrate.redis import RedisRawStore
from dir_redis.migrate.redis_rows import RowLog
from dir_redis.redis.connection import Client, connect
from dir_redis.redis.scanning import scan_keys
from dir_redis.redis.scripts import script
from tests.applications import counted_applications
from tests.conftest import CLUSTER_PARTITIONS, SERVERS
from tests.fault_proxy import fault_proxy
from tests.redis_only.conftest import commands_sent
from tests.servers import keys_of, wait_until

T = TypeVar("T")

US = 1_000_000
# A moment long past, and one that this century does not see.
PAST, FUTURE = 1_700_000_000 * US, 4_000_000_000 * US
ODD = "ü {x}:*?[\n\0}:session:"
FLOWS = [f"flow-{n}" for n in range(12)]

SINGLE_SERVERS = [name for name in SERVERS if name != "cluster"]
# From one server and number of partitions to another.
WAYS = [
    *((server, 1, server, CLUSTER_PARTITIONS) for server in SINGLE_SERVERS),
    *((server, CLUSTER_PARTITIONS, server, 1) for server in SINGLE_SERVERS),
]
if "cluster" in SERVERS:
    WAYS += [
        ("valkey", 1, "cluster", CLUSTER_PARTITIONS),
        ("cluster", CLUSTER_PARTITIONS, "valkey", 1),
        ("cluster", CLUSTER_PARTITIONS, "cluster", 3),
    ]


def raw(bundle: StorageBundle) -> RedisRawStore:
    """A bundle's store beneath its Protocols."""
    return RedisRawStore(bundle.context._store)  # type: ignore[attr-defined]


@pytest.fixture
def opened(servers: Any, namespace: str) -> Iterator[Callable[..., StorageBundle]]:
    """Opens empty stores by the name of a server and a number of partitions."""
    with contextlib.ExitStack() as stack:

        def open_one(server: str, partitions: int = 1, **options: Any) -> StorageBundle:
            url = servers.url(server)
            name = f"{namespace}-{len(stack._exit_callbacks)}"  # type: ignore[attr-defined]
            return stack.enter_context(
                open_storage(url, namespace=name, partitions=partitions, **options)
            )

        yield open_one


@pytest.fixture
def store(opened: Callable[..., StorageBundle], real_server: str) -> StorageBundle:
    """An empty store on each server."""
    return opened(real_server, CLUSTER_PARTITIONS if real_server == "cluster" else 1)


def intent(dfid: str) -> Any:
    return SimpleNamespace(
        dfid=dfid,
        intent_payload={"buy": 3},
        context_ref="c",
        evidence_hash="e",
        signature="s",
    )


class Filled:
    """A store in which everything is used, and what its callers hold in their hands."""

    def __init__(self, bundle: StorageBundle) -> None:
        self.fill_agents(bundle)
        self.fill_contexts(bundle)
        self.fill_steps(bundle)
        self.fill_sagas(bundle)
        self.fill_reservations(bundle)
        self.fill_escalations(bundle)
        self.fill_logs(bundle)

    def fill_agents(self, bundle: StorageBundle) -> None:
        agents = bundle.agent_registry
        for name in ("zoe", "adam", ODD):
            agents.upsert_agent(name, '{"role":  "x"}', 5, "ACTIVE", "1.0", None)
        agents.update_status("adam", "SUSPENDED", "broke a limit")
        agents.register("adam", '{"role": "y"}', -1, ttl_sec=3600)
        self.session = agents.register("live", "[1]", 2, "2.0", ttl_sec=3600)
        agents.register("stale", "[]", 0, ttl_sec=0.01)
        agents.update_contract("live", "[2]", 1)
        wait_until(lambda: agents.list_stale_agents() == ["stale"], 5)

    def fill_contexts(self, bundle: StorageBundle) -> None:
        context = bundle.context
        for dfid in FLOWS:
            context.set_session(dfid, '{"z":  1, "b": [2, 3]}')
        context.merge_session("flow-1", {"new": {"deep": "ü"}, "a": 1}, agent_id="zoe")
        context.merge_session("flow-2", {"b": 7})
        context.merge_session("merged-only", {"k": None})
        context.set_session(ODD, "[1,  2]", agent_id=ODD)
        context.set_session("closed", '{"a": 1}')
        bundle.lifecycle.close_flow("closed", "CLOSED", session_ttl_sec=3600)
        for _ in range(3):
            context.set_state("zoe", "null")
        context.merge_state("adam", {"n": 1})

    def fill_steps(self, bundle: StorageBundle) -> None:
        steps = bundle.idempotency
        steps.set("set", {"a": 1})
        steps.set("claimed later", {"a": 2})
        steps.claim("claimed later", fingerprint="fp", lease_sec=60, owner="me")
        self.running = steps.claim("running", fingerprint="fp", lease_sec=3600, owner="an owner")
        self.done = steps.claim("done", fingerprint="fp", lease_sec=3600, owner="me")
        steps.complete(self.done, [1.5, None])
        steps.complete(steps.claim("kept a while", lease_sec=60, owner="me"), 1, ttl_sec=200_000)
        steps.abandon(steps.claim("given up", lease_sec=60, owner="me"))
        steps.complete(
            steps.claim("gone", fingerprint="fp", lease_sec=60, owner="me"), 1, ttl_sec=0.01
        )
        self.lapsed = steps.claim("lapsed", lease_sec=0.01, owner="dead")
        wait_until(lambda: steps.wait("lapsed", 0).state is ClaimState.NEW, 5)
        wait_until(lambda: steps.get("gone") is None, 5)
        for dfid in FLOWS:
            bundle.intent_retry.set_count(dfid, len(dfid))
        bundle.intent_retry.increment(ODD)

    def fill_sagas(self, bundle: StorageBundle) -> None:
        saga = bundle.saga
        saga.mark_dirty("lapsed", "settle", "{}")
        saga.claim_dirty("dead", 0.01)
        saga.mark_dirty("held", "settle", '{"bought":  120}')
        self.dirty = saga.claim_dirty("worker", 3600)
        assert self.dirty is not None
        while self.dirty.dfid != "held":  # the other's lease was over already
            saga.clear_dirty(self.dirty.dfid, epoch=self.dirty.epoch)
            saga.mark_dirty("lapsed", "settle", "{}")
            self.dirty = saga.claim_dirty("worker", 3600)
            assert self.dirty is not None
        for dfid in reversed(FLOWS):
            saga.mark_dirty(dfid, "step ü", "[]")
        saga.mark_dirty("flow-3", "again", "[]")
        saga.mark_dirty("cleared", "s", "{}")
        saga.clear_dirty("cleared")

    def fill_reservations(self, bundle: StorageBundle) -> None:
        locks = bundle.resource_lock
        locks.set_capacity("capital", Decimal("1000.00000001"))
        locks.set_capacity(ODD, 3)
        locks.acquire_batch("flow-1", {"capital": 0.1, ODD: 1}, 0)
        locks.acquire_batch("flow-1", {"capital": 0.2}, 0)
        self.leased = locks.reserve("flow-2", {"seats": 2, "capital": 5}, lease_sec=3600)
        self.unleased = locks.reserve(ODD, {"seats": 1})
        self.settled = locks.reserve("settled", {"seats": 1}, lease_sec=3600)
        self.settled.settle({"seats": 0})
        locks.reserve("over", {"seats": 9}, lease_sec=0.01)
        wait_until(lambda: "over" not in {h.dfid for h in locks.holders("seats")}, 5)

    def fill_escalations(self, bundle: StorageBundle) -> None:
        queue = bundle.escalation
        terms: dict[str, Any] = {"limit": 100, "window_sec": 3600}
        for dfid in ("first", "second", "third"):
            queue.escalate(dfid, "zoe", "why", '{"c":  1}', '{"p":  1}', "HIGH", **terms)
        queue.insert_request(ODD, ODD, "ü", "", "[]", "LOW")
        ends = {"deadline_sec": 3600.0, "default_decision": "NO, never"}
        queue.escalate("ending", "zoe", "why", "{}", "{}", "HIGH", **terms, **ends)
        for dfid in ("overdue", "seen overdue"):
            over = {"deadline_sec": 0.01, "default_decision": "REJECT"}
            queue.escalate(dfid, "adam", "why", "{}", "{}", "HIGH", **terms, **over)
        request = queue.claim_next("maria", 3600)
        assert request is not None
        assert request["dfid"] == "first"
        queue.resolve("second", "APPROVE", by="otto", reason="hedged", proposal_json='{"p":  2}')
        queue.insert_request("by hand", "zoe", "why", "{}", "{}", "HIGH")
        queue.resolve_request("by hand", "yesterday", "APPROVE", None)
        wait_until(lambda: queue.get_request("seen overdue")["decision"] == "REJECT", 5)  # type: ignore[index]
        queue.record_budget_token("adam")

    def fill_logs(self, bundle: StorageBundle) -> None:
        audit = bundle.decision_audit
        audit.record(ODD, ODD, step_id="s", state="t", details={"ü": 1}, agent_id="zoe")
        audit.record_many(
            {"dfid": dfid, "event": f"E{n}", "root_dfid": "root", "severity": "ERROR"}
            for n in range(30)
            for dfid in FLOWS
        )
        audit.commit_archived("warehouse", "")
        for dfid in FLOWS:
            bundle.lifecycle.transition(dfid, "CREATED", "ACTIVE")
            bundle.lifecycle.record_transition(dfid, "ACTIVE", ODD, root_dfid="root")
            bundle.decision_ledger.append(intent(dfid), agent_id="zoe")


def answers(bundle: StorageBundle) -> dict[str, Any]:
    """What a store says to every question of its Protocols that changes nothing to speak of."""
    agents, context, steps = bundle.agent_registry, bundle.context, bundle.idempotency
    saga, locks, queue = bundle.saga, bundle.resource_lock, bundle.escalation
    names = ("zoe", "adam", ODD, "live", "stale", "nobody")
    dfids = (*FLOWS, ODD, "closed", "merged-only", "nothing")
    keys = ("set", "claimed later", "running", "done", "kept a while", "given up", "gone", "lapsed")
    asked = ("first", "second", "third", ODD, "ending", "overdue", "seen overdue", "by hand", "no")
    resources = ("capital", ODD, "seats", "nothing")
    return {
        "agents": [agents.get_agent(name) for name in names],
        "statuses": [agents.get_status(name) for name in names],
        "active": agents.list_active_agents(),
        "stale": agents.list_stale_agents(),
        "contracts": [agents.get_contract_versioned(name) for name in names],
        "sessions": [context.get_session_versioned(dfid) for dfid in dfids],
        "states": [context.get_state_versioned(name) for name in names],
        "results": [steps.get(key) for key in keys],
        "claims": [steps.wait(key, 0) for key in keys],
        "rows": bundle.decision_audit.all_events_chronological(),
        "rows of flows": [bundle.decision_audit.events_for_dfid(dfid) for dfid in dfids],
        "registered": [
            bundle.decision_audit.get_archived(group) is not None for group in ("warehouse", "no")
        ],
        "dirty": saga.get_dirty_flows(),
        "marks": [saga.get_dirty_state(dfid) for dfid in saga.get_dirty_flows()],
        "locked": [locks.get_locked_amount(rid, "flow-1") for rid in resources],
        "holders": [locks.holders(rid) for rid in resources],
        "capacities": [locks.get_capacity(rid) for rid in resources],
        "retries": [bundle.intent_retry.get_count(dfid) for dfid in dfids],
        "spent": [queue.get_window_count(name, "2000-01-01 00:00:00") for name in names],
        "pending": queue.get_pending_requests(),
        "requests": [queue.get_request(dfid) for dfid in asked],
        "transitions": bundle.lifecycle.get_transitions(),
        "of flows": [bundle.lifecycle.get_transitions(dfid) for dfid in dfids],
        "current": [bundle.lifecycle.current_status(dfid) for dfid in dfids],
        "entries": bundle.decision_ledger.all_entries_chronological(),
        "entry": [bundle.decision_ledger.get_by_dfid(dfid) for dfid in dfids],
    }


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the name of what it raises."""
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def carry_on(bundle: StorageBundle, held: Filled) -> dict[str, Any]:
    """What comes of going on with all that was under way; moments and new tokens left out."""
    agents, context, steps = bundle.agent_registry, bundle.context, bundle.idempotency
    saga, locks, queue = bundle.saga, bundle.resource_lock, bundle.escalation
    dirty = held.dirty
    assert dirty is not None

    def renewed(claim: Claim) -> bool:
        return steps.renew_claim(claim, 3600) is not None

    return {
        "heartbeat": agents.heartbeat("live", held.session.session_token, 60) is not None,
        "registered": agents.register("adam", "[]", 1).status,
        "contract": outcome(lambda: agents.update_contract("live", "[3]", 2)),
        "merged": [
            (context.merge_session(dfid, {"m": 1, "a": 2}), context.get_session(dfid))
            for dfid in ("flow-1", "flow-2", "flow-3", "merged-only")
        ],
        "expected": outcome(lambda: context.set_state("zoe", "1", expected_version=3)),
        "renewed": outcome(lambda: renewed(held.running)),
        "lapsed": outcome(lambda: renewed(held.lapsed)),
        "completed": outcome(lambda: steps.complete(held.running, 1)),
        "once more": outcome(lambda: steps.complete(held.done, [1.5, None])),
        "mismatch": [
            outcome(lambda key=key: steps.claim(key, fingerprint="x", lease_sec=9, owner="o").state)
            for key in ("done", "claimed later", "gone", "set")
        ],
        "rises": steps.claim("lapsed", lease_sec=60, owner="o").token > held.lapsed.token,  # type: ignore[operator]
        "compensating": outcome(lambda: saga.renew_dirty("held", dirty.epoch, 60) is not None),
        "cleared": outcome(lambda: saga.clear_dirty("held", epoch=dirty.epoch)),
        "not mine": outcome(lambda: saga.clear_dirty("flow-3", epoch=dirty.epoch)),
        "next dirty": sorted(claim.dfid for claim in claims_of(saga, dirty.epoch)),
        "lease": outcome(lambda: locks.renew("flow-2", held.leased.fencing_token, 60) is not None),
        "settled": outcome(lambda: locks.renew("settled", held.settled.fencing_token, 60) is None),
        "fenced": outcome(lambda: locks.release(ODD, fencing_token=1)),
        "token": locks.reserve("next", {"seats": 1}).fencing_token > held.settled.fencing_token,
        "too much": outcome(lambda: locks.acquire_batch("more", {"capital": 996}, 0)),
        "fits": outcome(lambda: locks.acquire_batch("more", {"capital": "x"}, 0)),
        "room": outcome(
            lambda: locks.acquire_batch("more", {"capital": Decimal("994.80000001")}, 0)
        ),
        "reviewed": [request["dfid"] for request in reviews_of(queue)],
        "second thoughts": queue.resolve("second", "REJECT"),
        "asked again": [
            queue.escalate(dfid, "zoe", "", "", "", "", limit=100, window_sec=3600).outcome.value
            for dfid in ("first", "second", "overdue", "by hand")
        ],
        "left": queue.escalate("new", "zoe", "", "", "", "", limit=100, window_sec=3600).remaining,
        "moved": outcome(lambda: bundle.lifecycle.transition("flow-1", "ACTIVE", "ACCEPTED")),
        "closed": bundle.lifecycle.close_flow("closed", "CLOSED"),
        "decided": [
            outcome(
                lambda name=name: bundle.decision_ledger.append(intent("flow-1"), agent_id=name)
            )
            for name in ("zoe", "adam")
        ],
        "broken": bundle.decision_ledger.verify_ledger().broken_at,
        "trimmed": bundle.decision_audit.trim(max_rows=1),
    }


def claims_of(saga: Any, epoch: int) -> Iterator[Any]:
    """Claim whatever waits; every epoch is larger than the one before the copy."""
    while claim := saga.claim_dirty("somebody", 3600):
        assert claim.epoch > epoch
        yield claim


def reviews_of(queue: Any) -> Iterator[Any]:
    while request := queue.claim_next("somebody", 3600):
        yield request


def copied(source: RedisRawStore, target: RedisRawStore) -> None:
    for kind in (*KEYED, *LOGS):
        target.put(source.read(kind))


def by_key(records: Any) -> dict[str, Any]:
    """Records by key; none of them came twice."""
    listed = list(records)
    found = {record.key: record for record in listed}
    assert len(found) == len(listed)
    return found


@pytest.mark.parametrize(("server", "partitions", "to_server", "to_partitions"), WAYS)
def test_a_copy_answers_like_its_source(
    opened: Callable[..., StorageBundle],
    server: str,
    partitions: int,
    to_server: str,
    to_partitions: int,
) -> None:
    source, target = opened(server, partitions), opened(to_server, to_partitions)
    held = Filled(source)
    copied(raw(source), raw(target))

    for kind in KEYED:
        theirs, ours = list(raw(source).read(kind)), list(raw(target).read(kind))
        assert theirs, kind
        assert by_key(ours) == by_key(theirs)
        assert by_key(raw(target).find(kind, [record.key for record in theirs]).values()) == (
            by_key(theirs)
        )
        if kind in (Agent, DirtyMark):
            assert ours == theirs
    for log in LOGS:
        assert list(raw(target).read(log)) == list(raw(source).read(log))
    gone = raw(target).find(IdempotencyKey, ["gone"])["gone"]
    assert [row.agent_id for row in raw(target).read(AuditRow) if row.dfid == ODD] == ["zoe"]
    assert (gone.result_json, gone.fingerprint, gone.completed) == (None, None, True)
    expected, found = answers(source), answers(target)
    for question, answer in expected.items():
        assert found[question] == answer, question
    expected, found = carry_on(source, held), carry_on(target, held)
    for question, answer in expected.items():
        assert found[question] == answer, question
    assert expected["trimmed"] == 0  # the group has archived nothing in either


def test_a_copy_of_a_copy_is_the_same_and_putting_it_again_changes_nothing(
    opened: Callable[..., StorageBundle],
) -> None:
    first, second = opened(SINGLE_SERVERS[0], 1), opened(SINGLE_SERVERS[0], 3)
    third = opened(SINGLE_SERVERS[0], 1)
    Filled(first)
    copied(raw(first), raw(second))
    copied(raw(second), raw(third))
    for kind in KEYED:
        raw(third).put(raw(first).read(kind))
    raw(third).put(raw(first).read(LedgerEntry))

    for kind in KEYED:
        assert by_key(raw(third).read(kind)) == by_key(raw(first).read(kind))
    for log in LOGS:
        assert list(raw(third).read(log)) == list(raw(first).read(log))
    assert answers(third) == answers(first)


RECORDS: list[Keyed] = [
    Agent("a", "{}", 3, 5, "SUSPENDED", "1", "token", "why", FUTURE),
    Agent("b", "[ ]", 1, -2, "ACTIVE", None, None, None, None),
    Session("f", '{"b": 1, "a": [2,  3]}', 1, 7, "a", FUTURE),
    Session("g", '{ "b":1}', None, 1, None, None),
    State("a", '{"b": 1}', 1, 2),
    IdempotencyKey("k", '{"a": 1}', FUTURE, 5, None, 0, "fp", True, FUTURE),
    IdempotencyKey("l", None, None, 5, "me", FUTURE, None, False, FUTURE),
    IdempotencyKey("m", "1", None, None, None, 0, None, False, None),
    DirtyMark("f", "s", '{"a":  1}', PAST, FUTURE, 9, "me"),
    DirtyMark("g", "s", "[]", PAST + 1, PAST + 1, 0, None),
    DirtyMark("h", "s", "[]", PAST + 2, PAST + 2, 4, None),
    Capacity("r", Decimal("1.5")),
    HeldReservation("f", (Held("r", Decimal(1), PAST), Held("s", Decimal(2), PAST)), 7, FUTURE),
    HeldReservation("g", (Held("r", Decimal(1), PAST),), 0, None),
    Retries("f", 3),
    Budget("a", (PAST, PAST, PAST + 1)),
    Request(
        *("f", "a", "why", '{"c":  1}', "{}", "HIGH", PAST, FUTURE, "NO", "maria", FUTURE),
        *("PENDING", None, None, None, None, None, False),
    ),
    Request(
        *("g", "a", "why", "{}", "{}", "HIGH", PAST, None, None, None, 0),
        *("RESOLVED", "YES", "yesterday", None, "otto", "hedged", False),
    ),
    Request(
        *("h", "a", "why", "{}", "{}", "HIGH", PAST, PAST + 5, "NO", None, 0),
        *("RESOLVED", "NO", None, PAST + 5, None, None, True),
    ),
    Counter("reservations", 12),
    Counter("sagas", 13),
    ReaderGroup("warehouse"),
]


@pytest.mark.parametrize(
    "record", RECORDS, ids=lambda record: f"{type(record).__name__}-{record.key}"
)
def test_what_was_put_is_found_as_it_was(store: StorageBundle, record: Keyed) -> None:
    raw(store).put([record])

    assert raw(store).find(type(record), [record.key, "nobody"]) == {record.key: record}
    assert list(raw(store).read(type(record))) == [record]


def test_the_stored_bytes_of_what_was_put(
    opened: Callable[..., StorageBundle], servers: Any
) -> None:
    store = opened(SINGLE_SERVERS[0])
    for record in RECORDS:
        raw(store).put([record])
    raw(store).put([AuditRow("f", PAST + 228_000, "E", "s", "t", "{}", None, "a", "INFO")])
    raw(store).put([Transition("f", PAST + 1, "A", "B", None)])
    with connect(servers.url(SINGLE_SERVERS[0]), attempt_timeout_sec=5).client as client:
        tag = f"{{{store.namespace}:0}}:"

        assert client.hgetall(f"{tag}session:f") == {
            b"data": b'{"b": 1}',
            b"+a": b"[2,  3]",
            b"version": b"7",
            b"agent_id": b"a",
        }
        assert client.hgetall(f"{tag}state:a") == {
            b"data": b'{"b": 1}',
            b"+b": b"1",
            b"version": b"2",
        }
        assert client.hgetall(f"{tag}claim:k") == {
            b"token": b"5",
            b"fingerprint": b"fp",
            b"state": b"DONE",
        }
        assert client.hgetall(f"{tag}sagas_claims") == {
            b"f": b"9 %d me" % FUTURE,
            b"h": b"4 0 ",
        }
        assert client.zrange(f"{tag}sagas_claimed", 0, -1, withscores=True) == [(b"f", FUTURE)]
        assert client.zrange(f"{tag}sagas_due", 0, -1) == [b"g", b"h"]
        assert client.hgetall(f"{tag}lock_flows") == {
            b"f": b"7 %d 100000000 %d 1:r 200000000 %d 1:s" % (FUTURE, PAST, PAST),
            b"g": b"0 0 100000000 %d 1:r" % PAST,
        }
        assert client.hgetall(f"{tag}lock_totals") == {b"r": b"200000000", b"s": b"200000000"}
        assert client.zrange(f"{tag}lock_holders", 0, -1) == [b"1:r:f", b"1:r:g", b"1:s:f"]
        assert client.zrange(f"{tag}lock_leases", 0, -1, withscores=True) == [(b"f", FUTURE)]
        assert client.hgetall(f"{tag}requests_terms") == {b"f": b"%d %d NO" % (PAST, FUTURE)}
        assert client.zrange(f"{tag}agents_active", 0, -1) == [b"b"]
        assert client.get(f"{tag}lock_counter") == b"12"
        assert client.xrange(f"{tag}audit")[0][0] == b"1700000000228-0"
        assert client.xrange(f"{tag}transitions")[0] == (
            b"1700000000000-1000",
            {b"dfid": b"f", b"from": b"A", b"to": b"B", b"root_dfid": b""},
        )
        assert client.lrange(f"{tag}transitions_flow:f", 0, -1) == [b"1700000000000-1000"]


OTHERS: list[Keyed] = [
    RECORDS[0]._replace(priority=9, status="ACTIVE"),  # type: ignore[call-arg]
    RECORDS[2]._replace(data_json="[]", base_keys=None, version=1),  # type: ignore[call-arg]
    RECORDS[4]._replace(version=9),  # type: ignore[call-arg]
    RECORDS[5]._replace(result_json="2"),  # type: ignore[call-arg]
    RECORDS[6]._replace(owner="another"),  # type: ignore[call-arg]
    RECORDS[7]._replace(result_json="2"),  # type: ignore[call-arg]
    IdempotencyKey("l", "1", None, None, None, 0, None, False, None),
    IdempotencyKey("m", None, None, 5, "me", FUTURE, None, False, FUTURE),
    RECORDS[8]._replace(epoch=10, owner="another"),  # type: ignore[call-arg]
    RECORDS[11]._replace(amount=Decimal(9)),  # type: ignore[call-arg]
    RECORDS[12]._replace(token=8, held=(Held("r", Decimal(5), PAST),)),  # type: ignore[call-arg]
    RECORDS[14]._replace(rejections=9),  # type: ignore[call-arg]
    RECORDS[15]._replace(spent_us=(PAST,)),  # type: ignore[call-arg]
    RECORDS[16]._replace(reviewer=None, reviewer_until_us=0),  # type: ignore[call-arg]
    RECORDS[17]._replace(dfid="f"),  # type: ignore[call-arg]
    RECORDS[16]._replace(dfid="g"),  # type: ignore[call-arg]
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda one: f"{type(one).__name__}-{one.key}")
def test_a_put_replaces_nothing_of_what_is_there(
    store: StorageBundle, servers: Any, real_server: str, other: Keyed
) -> None:
    target = raw(store)
    same_kind = [record for record in RECORDS if type(record) is type(other)]
    target.put(same_kind)
    with connect(servers.url(real_server), attempt_timeout_sec=5).client as client:
        keys = [key for key in keys_of(client, store.namespace or "") if b":op:" not in key]
        before = {key: client.dump(key) for key in keys}
        new = same_kind[0]._replace(**{same_kind[0]._fields[0]: "new"})

        written = target.put([other, new])

        after = {key: client.dump(key) for key in keys}
    assert written == 1
    assert target.find(type(other), [other.key]) == {
        record.key: record for record in same_kind if record.key == other.key
    }
    assert list(target.find(type(other), ["new"])) == ["new"]
    if not isinstance(other, Capacity | HeldReservation | DirtyMark | Request | Agent):
        assert after == before  # those of the others share keys with the new one


def test_agents_marks_and_requests_come_after_those_that_are_there(store: StorageBundle) -> None:
    agents = [Agent(f"a{n}", "{}", 1, 1, "ACTIVE", None, None, None, None) for n in (3, 1, 2)]
    store.agent_registry.register("here", "{}", 1)
    store.saga.mark_dirty("here", "s", "{}")
    target = raw(store)
    target.put(agents)
    assert target.put([agents[0]]) == 0
    target.put([DirtyMark("old", "s", "{}", PAST, PAST, 0, None)])
    store.agent_registry.register("later", "{}", 1)

    assert store.agent_registry.list_active_agents() == ["here", "a3", "a1", "a2", "later"]
    assert store.saga.get_dirty_flows() == ["here", "old"]


@pytest.mark.parametrize("kind", [AuditRow, Transition])
def test_rows_of_one_moment_keep_their_order_over_all_partitions(
    opened: Callable[..., StorageBundle], kind: type[Any]
) -> None:
    target = raw(opened(SINGLE_SERVERS[0], CLUSTER_PARTITIONS))
    rest = {AuditRow: ("E", "", "", "{}", None, None, "INFO"), Transition: ("A", "B", None)}[kind]
    rows = [kind(FLOWS[n * 7 % 12], PAST, *rest) for n in range(1500)]
    target.put(rows[:700])
    target.put(rows[700:])

    found = list(target.read(kind))

    assert [row.dfid for row in found] == [row.dfid for row in rows]
    assert found[:1000] == rows[:1000]


def test_a_row_from_before_the_last_one_comes_right_after_it(store: StorageBundle) -> None:
    target = raw(store)
    rows = [AuditRow("f", PAST + n, "E", "", "", "{}", None, None, "INFO") for n in (5, 3, 7)]
    target.put(rows[:1])
    target.put(rows[1:])

    assert [row.moment_us for row in target.read(AuditRow)] == [PAST + 5, PAST + 5, PAST + 7]


UNFIT: list[tuple[Any, str]] = [
    (AuditRow("f", FUTURE, "E", "", "", "{}", None, None, "INFO"), "of the future"),
    (Transition("f", FUTURE, "A", "B", None), "of the future"),
    (LedgerEntry("f", FUTURE, "f", "a", "{}", "c", "e", "s"), "of the future"),
    (Transition("f", 0, "A", "B", None), "1970"),
    (Capacity("r", Decimal("0.000000001")), "more than 8 decimal places"),
    (Capacity("r", Decimal(10) ** 12), "too large"),
    (HeldReservation("f", (Held("r", Decimal("0.000000001"), 1),), 0, None), "decimal places"),
    (HeldReservation("f", (Held("r", Decimal(90_000_000_000), 1),), 0, None), "64 bits"),
    (RECORDS[-4]._replace(status="EXPIRED"), "EXPIRED"),  # type: ignore[call-arg]
    (RECORDS[-4]._replace(decision=None), "no decision"),  # type: ignore[call-arg]
    (Counter("tickets", 1), "no such counter"),
    (Session("f", "[1]", 0, 1, None, None), "JSON object"),
]


@pytest.mark.parametrize(("record", "problem"), UNFIT)
def test_what_cannot_be_kept_is_refused_before_anything_is_written(
    store: StorageBundle, servers: Any, real_server: str, record: Any, problem: str
) -> None:
    fit = {
        AuditRow: AuditRow("g", PAST, "E", "", "", "{}", None, None, "INFO"),
        Transition: Transition("g", PAST, "A", "B", None),
        LedgerEntry: LedgerEntry("g", PAST, "f", "a", "{}", "c", "e", "s"),
        HeldReservation: HeldReservation("g", (Held("r", Decimal(90_000_000_000), 1),), 0, None),
    }.get(type(record), next((one for one in RECORDS if type(one) is type(record)), None))
    assert fit is not None
    fits = [fit]
    if type(record) in LOGS:
        fits = [fit._replace(dfid=f"g{n}") for n in range(3)]
    elif fit.key == record.key:
        fits = [fit._replace(**{fit._fields[0]: "other"})]

    with pytest.raises(NotRepresentableError, match=problem) as caught:
        raw(store).put([*fits, record])

    assert caught.value.record
    assert caught.value.problem
    with connect(servers.url(real_server), attempt_timeout_sec=5).client as client:
        found = keys_of(client, store.namespace or "")
        left = [key for key in found if b":meta" not in key and b":op:" not in key]
        assert left == []


def test_a_flow_that_has_an_entry_gets_no_second(store: StorageBundle) -> None:
    store.decision_ledger.append(intent("f"), agent_id="zoe")
    (entry,) = raw(store).read(LedgerEntry)
    forged = entry._replace(signature="forged")
    many = [entry._replace(dfid=f"g{n}") for n in range(1200)]

    assert raw(store).put([entry, entry, forged]) == 0
    assert raw(store).put([*many, forged, many[0]]) == 1200

    found = {row.dfid: row.signature for row in raw(store).read(LedgerEntry)}
    assert found == {"f": "s", **{row.dfid: "s" for row in many}}
    assert store.decision_ledger.verify_ledger().verified == 1201
    with pytest.raises(LedgerConflictError):
        store.decision_ledger.append(intent("f"), agent_id="adam")


def test_entries_that_were_put_are_chained_to_those_before_and_after(store: StorageBundle) -> None:
    store.decision_ledger.append(intent("before"), agent_id="zoe")
    raw(store).put(LedgerEntry(dfid, PAST, dfid, "a", "{}", "c", "e", "s") for dfid in FLOWS)
    store.decision_ledger.append(intent("after"), agent_id="zoe")

    report = store.decision_ledger.verify_ledger()

    assert (report.verified, report.broken_at) == (14, None)
    assert len(store.decision_ledger.entries_for_dfid("flow-7")) == 1


def test_a_counter_is_never_lowered_and_raises_every_partition(
    opened: Callable[..., StorageBundle],
) -> None:
    store = opened(SINGLE_SERVERS[0], CLUSTER_PARTITIONS)
    raw(store).put([Counter("sagas", FUTURE), Counter("reservations", FUTURE)])
    raw(store).put([Counter("sagas", 1), Counter("reservations", 999)])
    for dfid in FLOWS:
        store.saga.mark_dirty(dfid, "s", "{}")

    claims = [store.saga.claim_dirty("me", 60) for _ in FLOWS]

    assert all(claim is not None and claim.epoch > FUTURE for claim in claims)
    assert store.resource_lock.reserve("f", {"r": 1}).fencing_token == FUTURE + 1


def test_a_group_that_is_there_keeps_what_it_has_archived(store: StorageBundle) -> None:
    store.decision_audit.record("f", "E")
    rows = store.decision_audit.iter_events()
    list(rows)
    store.decision_audit.commit_archived("warehouse", rows.cursor)
    raw(store).put([ReaderGroup("warehouse"), ReaderGroup("other")])

    assert store.decision_audit.get_archived("warehouse") == rows.cursor
    assert store.decision_audit.get_archived("other") is not None
    assert list(raw(store).read(ReaderGroup)) == [ReaderGroup("other"), ReaderGroup("warehouse")]


def pages_of(records: int) -> list[Any]:
    return [Session(f"f{n}", '{"a": 1}', None, 1, None, None) for n in range(records)]


def test_reading_and_writing_go_page_by_page(opened: Callable[..., StorageBundle]) -> None:
    store = opened(SINGLE_SERVERS[0], 2)
    records = pages_of(3000)
    with commands_sent(store) as sent:
        raw(store).put(records)
        written = [command for command in sent if len(command) > 6]
        sent.clear()
        reading = raw(store).read(Session)
        first = next(reading)
        # A scan, of one key each, may pass over what other tests left on the server.
        pages_begun = sum(command[0] == "EVALSHA" and int(command[2]) > 1 for command in sent)
        rest = list(reading)

    assert by_key([first, *rest]) == by_key(records)
    # Keys of a call: the records of one page, and the session's.
    assert max(int(command[2]) for command in written) == 501
    assert len(written) <= 8
    assert 1 <= pages_begun <= 2  # of the six that there are
    assert max(int(command[2]) for command in sent) <= 501


def test_a_page_of_large_records_is_cut_short(opened: Callable[..., StorageBundle]) -> None:
    store = opened(SINGLE_SERVERS[0])
    large = '"' + "x" * 400_000 + '"'
    records = [Session(f"f{n}", large, None, 1, None, None) for n in range(20)]
    with commands_sent(store) as sent:
        raw(store).put(records)
        written = len(sent)
        found = list(raw(store).read(Session))

    assert by_key(found) == by_key(records)
    assert written >= 7
    assert len(sent) - written >= 7


def test_a_record_that_a_scan_finds_twice_is_read_once(
    opened: Callable[..., StorageBundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(SINGLE_SERVERS[0], 3)
    raw(store).put(pages_of(1200))

    def twice(*arguments: Any) -> Iterator[str]:
        found = list(scan_keys(*arguments))
        yield from found
        yield from found

    monkeypatch.setattr("dir_redis.migrate.redis_ids.scan_keys", twice)

    assert by_key(raw(store).read(Session)) == by_key(pages_of(1200))


def test_another_server_that_takes_over_is_looked_through_from_the_beginning(
    opened: Callable[..., StorageBundle],
) -> None:
    """A place in a scan means nothing to another process: going on with it would miss keys."""
    store = opened(SINGLE_SERVERS[0])
    raw(store).put(pages_of(5000))
    driver: Any = store.context._driver  # type: ignore[attr-defined]
    execute = driver._execute_command
    scans: list[Any] = []

    def failing_over(*command: Any) -> Any:
        reply = execute(*command)
        if (
            command[0] in ("EVALSHA", "EVAL")
            and command[2] == 1
            and command[5:6] == (f"{{{store.namespace}:*}}:session:*",)
        ):
            scans.append(command[4])
            if len(scans) > 2:  # the new server begins elsewhere, so nothing of this page is due
                reply[0] = b"another"
                if len(scans) == 3:
                    reply[1:] = [b"0"]
        return reply

    driver._execute_command = failing_over
    found = by_key(raw(store).read(Session))

    assert found == by_key(pages_of(5000))
    assert scans.count("0") == 2


def test_keys_that_only_look_alike_are_nobodys_records(
    opened: Callable[..., StorageBundle], servers: Any
) -> None:
    store = opened(SINGLE_SERVERS[0], 2)
    store.context.set_session(ODD, "1")
    store.intent_retry.set_count(f"x}}:session:{ODD}", 4)
    with connect(servers.url(SINGLE_SERVERS[0]), attempt_timeout_sec=5).client as client:
        client.hset(f"{{{store.namespace}:7}}:session:f", "data", "1")
        client.hset(f"{{{store.namespace}-x:0}}:session:f", "data", "1")

        assert [record.dfid for record in raw(store).read(Session)] == [ODD]
        assert [record.rejections for record in raw(store).read(Retries)] == [4]
        client.delete(f"{{{store.namespace}:7}}:session:f", f"{{{store.namespace}-x:0}}:session:f")


CORRUPT: list[tuple[type[Any], str, Callable[[Client, str], Any]]] = [
    (Session, "session:f", lambda c, key: c.set(key, "x")),
    (Session, "session:f", lambda c, key: c.hset(key, "version", 1)),
    (Session, "session:f", lambda c, key: c.hset(key, mapping={"data": b"\xff", "version": 1})),
    (State, "state:f", lambda c, key: c.hset(key, mapping={"data": "1", "version": "x"})),
    (Agent, "agent:f", lambda c, key: c.zadd(key.replace("agent:f", "agents"), {"f": 1})),
    (IdempotencyKey, "claim:f", lambda c, key: c.hset(key, "owner", "me")),
    (IdempotencyKey, "claim:f", lambda c, key: c.hset(key, "token", "x")),
    (Retries, "retry:f", lambda c, key: c.set(key, "many")),
    (Budget, "budget:f", lambda c, key: c.set(key, "many")),
    (Capacity, "lock_capacities", lambda c, key: c.hset(key, "r", "-1")),
    (HeldReservation, "lock_flows", lambda c, key: c.hset(key, "f", "1 0 5 5 9:r")),
    (Request, "request:f", lambda c, key: c.hset(key, "status", "RESOLVED")),
    (Request, "requests_open", lambda c, key: c.hset(key, "f", "[]")),
    (DirtyMark, "sagas_due", lambda c, key: corrupt_mark(c, key)),
    (Counter, "lock_counter", lambda c, key: c.set(key, "x")),
    (AuditRow, "audit", lambda c, key: c.xadd(key, {"dfid": "f"})),
]


def corrupt_mark(client: Client, key: str) -> None:
    tag = key.removesuffix("sagas_due")
    client.zadd(f"{tag}sagas_dirty", {"f": 1})
    client.hset(f"{tag}sagas_marks", "f", '{"failed_step": "s", "partial_state": {}}')


@pytest.mark.parametrize(("kind", "key", "spoil"), CORRUPT)
def test_a_corrupt_record_is_named_when_it_is_read(
    opened: Callable[..., StorageBundle],
    servers: Any,
    kind: type[Any],
    key: str,
    spoil: Callable[[Client, str], Any],
) -> None:
    store = opened(SINGLE_SERVERS[0])
    with connect(servers.url(SINGLE_SERVERS[0]), attempt_timeout_sec=5).client as client:
        name = f"{{{store.namespace}:0}}:{key}"
        spoil(client, name)

        with pytest.raises(CorruptRecordError) as caught:
            list(raw(store).read(kind))

    assert caught.value.key == name


ROWS: dict[type[Any], list[Any]] = {
    AuditRow: [AuditRow("f", PAST, f"E{n}", "", "", "{}", "r", "a", "INFO") for n in range(9)],
    Transition: [Transition("f", PAST, "A", f"B{n}", "r") for n in range(9)],
    LedgerEntry: [LedgerEntry(f"f{n}", PAST, "r", "a", "{}", "c", "e", "s") for n in range(9)],
}
WRITERS = {
    AuditRow: "migrate_rows",
    Transition: "migrate_rows",
    LedgerEntry: "migrate_ledger",
    HeldReservation: "migrate_reservations",
    Counter: "migrate_raise",
    ReaderGroup: "decision_audit_commit",
}


@pytest.mark.parametrize("server", SINGLE_SERVERS)
@pytest.mark.parametrize("kind", [*KEYED, *LOGS])
def test_a_put_whose_reply_is_lost_is_applied_once(
    servers: Any, namespace: str, server: str, kind: type[Any]
) -> None:
    records = ROWS.get(kind) or [one for one in RECORDS if type(one) is kind]
    sha = script(WRITERS.get(kind, "migrate_write")).sha
    with (
        fault_proxy(servers.url(server)) as proxy,
        open_storage(proxy.url, namespace=f"{namespace}-0") as first,
        open_storage(proxy.url, namespace=f"{namespace}-1", timeout_sec=5) as store,
        connect(servers.url(server), attempt_timeout_sec=5).client as admin,
        counted_applications([admin], f"{namespace}-1") as applications,
    ):
        raw(first).put(records)  # loads the script
        driver: Any = store.context._driver  # type: ignore[attr-defined]
        execute = driver._execute_command
        calls = []

        def losing(*command: Any) -> Any:
            if command[1] == sha:
                calls.append(command)
                if len(calls) == 1:
                    proxy.lose_replies(2, to=b"EVALSHA")
            return execute(*command)

        driver._execute_command = losing
        raw(store).put(records)
        found = list(raw(store).read(kind))
        verified = store.decision_ledger.verify_ledger()
        written = applications.since_the_last_time().total()

    assert len(calls) == written + 2
    if kind in LOGS:
        assert found == records
    else:
        assert by_key(found) == by_key(records)
    assert (verified.verified, verified.broken_at) == (9 * (kind is LedgerEntry), None)


def test_entries_that_somebody_appends_meanwhile_stay_in_the_chain(
    opened: Callable[..., StorageBundle],
) -> None:
    store = opened(SINGLE_SERVERS[0])
    driver: Any = store.context._driver  # type: ignore[attr-defined]
    execute = driver._execute_command
    known = ROWS[LedgerEntry][3]._replace(moment_us=PAST - 1)
    meanwhile = [known, known._replace(dfid="other", moment_us=PAST - 2)]

    def interrupted(*command: Any) -> Any:
        if command[1] == script("migrate_ledger").sha and meanwhile:
            entry = meanwhile.pop()
            driver._execute_command = execute
            raw(store).put([entry])
            driver._execute_command = interrupted
        return execute(*command)

    driver._execute_command = interrupted
    raw(store).put(ROWS[LedgerEntry])

    report = store.decision_ledger.verify_ledger()
    assert (report.verified, report.broken_at, meanwhile) == (10, None, [])
    assert sorted(entry.dfid for entry in raw(store).read(LedgerEntry)) == [
        *(f"f{n}" for n in range(9)),
        "other",
    ]


def test_an_entry_that_a_flow_gets_after_the_look_stays_its_only_one(
    opened: Callable[..., StorageBundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(SINGLE_SERVERS[0])
    appending = RowLog._append_entries

    def after_the_look(self: RowLog, log: str, batch: Any) -> Any:
        monkeypatch.setattr(RowLog, "_append_entries", appending)
        store.decision_ledger.append(intent("f3"), agent_id="live")
        return appending(self, log, batch)

    monkeypatch.setattr(RowLog, "_append_entries", after_the_look)

    assert raw(store).put(ROWS[LedgerEntry]) == 8

    entries = {row.dfid: row.agent_id for row in raw(store).read(LedgerEntry)}
    assert entries.pop("f3") == "live"
    assert entries == {f"f{n}": "a" for n in (0, 1, 2, 4, 5, 6, 7, 8)}
    report = store.decision_ledger.verify_ledger()
    assert (report.verified, report.broken_at) == (9, None)


def test_what_woke_others_is_gone_with_a_record_that_is_written(
    opened: Callable[..., StorageBundle], servers: Any
) -> None:
    """A waiter takes any such entry for the end of what it waits for."""
    store = opened(SINGLE_SERVERS[0])
    steps = store.idempotency
    with connect(servers.url(SINGLE_SERVERS[0]), attempt_timeout_sec=5).client as client:
        steps.abandon(steps.claim("l", lease_sec=60, owner="me"))
        store.escalation.insert_request("f", "a", "", "", "", "")
        store.escalation.resolve("f", "YES")
        tag = f"{{{store.namespace}:0}}:"
        assert client.exists(f"{tag}claim_ended:l", f"{tag}decided:f") == 2
        client.delete(f"{tag}claim:l", f"{tag}request:f")
        for record in RECORDS:
            raw(store).put([record])
        left = client.exists(f"{tag}claim_ended:l", f"{tag}decided:f")
    assert left == 0
    assert steps.wait("l", 0).state is ClaimState.IN_PROGRESS


@pytest.mark.parametrize(
    ("record", "key", "beside"),
    [
        (RECORDS[8], "sagas_claims", "sagas_dirty"),
        (RECORDS[0], "agents_heartbeat", "agents"),
        (ROWS[AuditRow][0], "audit_flow:f", "audit"),
        (RECORDS[12], "lock_holders", "lock_flows"),
        (RECORDS[-3], "lock_counter", "none"),
    ],
)
def test_a_key_of_another_type_is_named_and_nothing_is_written(
    opened: Callable[..., StorageBundle], servers: Any, record: Any, key: str, beside: str
) -> None:
    store = opened(SINGLE_SERVERS[0])
    with connect(servers.url(SINGLE_SERVERS[0]), attempt_timeout_sec=5).client as client:
        tag = f"{{{store.namespace}:0}}:"
        client.set(tag + key, "x")

        with pytest.raises(CorruptRecordError, match=re.escape(tag + key)):
            raw(store).put([record])

        assert client.get(tag + key) == b"x"
        assert not client.exists(tag + beside)


def test_ends_are_kept_in_whole_milliseconds_and_never_too_soon(store: StorageBundle) -> None:
    raw(store).put([Session("f", "1", None, 1, None, FUTURE + 1)])
    raw(store).put([IdempotencyKey("k", "1", FUTURE + 999, 5, None, 0, None, True, FUTURE + 1000)])

    assert [record.expires_us for record in raw(store).read(Session)] == [FUTURE + 1000]
    (key,) = raw(store).read(IdempotencyKey)
    assert (key.result_until_us, key.forget_us) == (FUTURE + 1000, FUTURE + 1000)


def test_what_has_ended_meanwhile_is_gone(store: StorageBundle) -> None:
    raw(store).put([Session("f", "1", None, 1, None, PAST)])
    raw(store).put([HeldReservation("f", (Held("r", Decimal(1), PAST),), 3, PAST + 1)])
    due = next(record for record in RECORDS if isinstance(record, Request) and record.key == "f")
    raw(store).put([due._replace(deadline_us=PAST + 9)])

    assert store.context.get_session("f") is None
    assert list(raw(store).read(HeldReservation)) == []
    assert store.resource_lock.get_locked_amount("r", "nobody") == 0.0
    (request,) = raw(store).read(Request)
    assert (request.status, request.decision, request.resolved_us) == ("RESOLVED", "NO", PAST + 9)
    asked = store.escalation.get_request("f")
    assert asked is not None
    assert asked["by_default"]
    assert list(raw(store).read(Request)) == [request]
