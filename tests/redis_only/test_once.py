"""Nothing is applied twice by a retry, however a reply is lost."""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import redis

from dir_redis import (
    Claim,
    ClaimState,
    LeaseLostError,
    SessionSupersededError,
    StorageBundle,
    StorageError,
    StorageUnavailableError,
    VersionConflictError,
    open_storage,
    redis_storage,
)
from dir_redis.redis.connection import connect
from dir_redis.redis.driver import RedisDriver
from dir_redis.redis.scripts import script
from dir_redis.redis.steps import Call, Steps
from tests.applications import counted_applications
from tests.conftest import SERVERS
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.servers import wait_until

SINGLE_SERVERS = [name for name in SERVERS if name != "cluster"]


def unless(error: type[Exception], call: Callable[[], Any]) -> Any:
    """A write that another one may have made pointless: its error is an answer too."""
    with contextlib.suppress(error):
        return call()


LOST = Claim("k", ClaimState.NEW, token=1)
INTENT = SimpleNamespace(
    dfid="f", intent_payload={"a": 1}, context_ref="c", evidence_hash="e", signature="s"
)

WRITES: dict[str, Callable[[StorageBundle], Any]] = {
    "upsert_agent": lambda b: b.agent_registry.upsert_agent("a", "{}", 1, "ACTIVE", None, "t"),
    "update_status": lambda b: b.agent_registry.update_status("a", "ACTIVE", "why"),
    "register": lambda b: b.agent_registry.register("r", "{}", 1, ttl_sec=60),
    "heartbeat": lambda b: unless(
        SessionSupersededError, lambda: b.agent_registry.heartbeat("a", "t", 60)
    ),
    "update_contract": lambda b: unless(
        VersionConflictError, lambda: b.agent_registry.update_contract("a", "{}", 1)
    ),
    "set_session": lambda b: b.context.set_session("f", "{}"),
    "set_state": lambda b: b.context.set_state("a", "{}"),
    "merge_session": lambda b: b.context.merge_session("f", {"key": 1}),
    "merge_state": lambda b: b.context.merge_state("a", {"key": 1}),
    "idempotency_set": lambda b: b.idempotency.set("k", {}),
    "claim": lambda b: b.idempotency.claim("c", lease_sec=60, owner="me"),
    "renew_claim": lambda b: unless(LeaseLostError, lambda: b.idempotency.renew_claim(LOST, 60)),
    "complete": lambda b: unless(LeaseLostError, lambda: b.idempotency.complete(LOST, 1)),
    "abandon": lambda b: unless(LeaseLostError, lambda: b.idempotency.abandon(LOST)),
    "record": lambda b: b.decision_audit.record("f", "E"),
    "record_many": lambda b: b.decision_audit.record_many([{"dfid": "f", "event": "E"}] * 3),
    "commit_archived": lambda b: b.decision_audit.commit_archived("g", ""),
    "forget_group": lambda b: b.decision_audit.forget_group("g"),
    "mark_dirty": lambda b: b.saga.mark_dirty("f", "s", "{}"),
    "clear_dirty": lambda b: b.saga.clear_dirty("f"),
    "claim_dirty": lambda b: b.saga.claim_dirty("me", 60),
    "claim_dirty of a flow": lambda b: b.saga.claim_dirty("me", 60, "f"),
    "renew_dirty": lambda b: unless(LeaseLostError, lambda: b.saga.renew_dirty("f", 1, 60)),
    "release_dirty": lambda b: unless(LeaseLostError, lambda: b.saga.release_dirty("f", 1)),
    "clear_dirty of an epoch": lambda b: unless(
        LeaseLostError, lambda: b.saga.clear_dirty("f", epoch=1)
    ),
    "acquire_batch": lambda b: b.resource_lock.acquire_batch("f", {"r": 1}, 0),
    "release": lambda b: b.resource_lock.release("f"),
    "set_capacity": lambda b: b.resource_lock.set_capacity("r", 5),
    "reserve": lambda b: b.resource_lock.reserve("g", {"r": 1}, lease_sec=60),
    "renew": lambda b: unless(LeaseLostError, lambda: b.resource_lock.renew("g", 1, 60)),
    "settle": lambda b: b.resource_lock.settle("g", {"r": 0}),
    "release of a token": lambda b: unless(
        LeaseLostError, lambda: b.resource_lock.release("g", fencing_token=1)
    ),
    "set_count": lambda b: b.intent_retry.set_count("f", 1),
    "increment": lambda b: b.intent_retry.increment("f"),
    "delete": lambda b: b.intent_retry.delete("f"),
    "record_budget_token": lambda b: b.escalation.record_budget_token("a"),
    "insert_request": lambda b: b.escalation.insert_request("f", "a", "", "", "", ""),
    "resolve_request": lambda b: b.escalation.resolve_request("f", "now", "YES", None),
    "escalate": lambda b: b.escalation.escalate(
        "e", "a", "", "", "", "", limit=5, window_sec=60, deadline_sec=60, default_decision="NO"
    ),
    "escalate anew": lambda b: b.escalation.escalate(
        *("e", "a", "new", "", "", ""),
        limit=5,
        window_sec=60,
        deadline_sec=60,
        default_decision="NO",
        replace=True,
    ),
    "claim_next": lambda b: b.escalation.claim_next("maria", 60),
    "resolve": lambda b: b.escalation.resolve("f", "YES", by="maria"),
    "record_transition": lambda b: b.lifecycle.record_transition("f", "A", "B"),
    "transition": lambda b: b.lifecycle.transition("t", "CREATED", "CREATED", allowed=None),
    "close_flow": lambda b: b.lifecycle.close_flow("c", "CLOSED"),
    "append": lambda b: b.decision_ledger.append(INTENT, agent_id="a"),
}


@pytest.fixture(params=SINGLE_SERVERS)
def proxy(request: pytest.FixtureRequest, servers: Any) -> Iterator[FaultProxy]:
    """A proxy before each real server."""
    with fault_proxy(servers.url(request.param)) as running:
        yield running


@pytest.fixture
def behind_proxy(proxy: FaultProxy, namespace: str) -> Iterator[StorageBundle]:
    """A store reached through the proxy."""
    with open_storage(proxy.url, namespace=namespace, timeout_sec=3) as bundle:
        yield bundle


@pytest.mark.parametrize("losses", [1, 3])
@pytest.mark.parametrize("half", [False, True])
def test_a_row_whose_reply_is_lost_is_recorded_once(
    proxy: FaultProxy, behind_proxy: StorageBundle, losses: int, half: bool
) -> None:
    proxy.lose_replies(losses, to=b"EVALSHA", half=half)

    behind_proxy.decision_audit.record("f", "E")
    behind_proxy.decision_audit.record("f", "NEXT")

    rows = behind_proxy.decision_audit.events_for_dfid("f")
    assert [row["event"] for row in rows] == ["E", "NEXT"]


def test_a_ledger_entry_whose_reply_is_lost_is_one_link_of_the_chain(
    proxy: FaultProxy, behind_proxy: StorageBundle
) -> None:
    behind_proxy.decision_ledger.append(
        SimpleNamespace(**{**vars(INTENT), "dfid": "g"}), agent_id="a"
    )
    proxy.lose_replies(2, to=b"EVALSHA")

    behind_proxy.decision_ledger.append(INTENT, agent_id="a")

    report = behind_proxy.decision_ledger.verify_ledger()
    assert (report.verified, report.broken_at) == (2, None)


def test_a_chained_row_whose_reply_is_lost_is_one_link_of_the_chain(
    proxy: FaultProxy, namespace: str
) -> None:
    with open_storage(proxy.url, namespace=namespace, audit_chain=True) as bundle:
        bundle.decision_audit.record("f", "A")
        proxy.lose_replies(2, to=b"EVALSHA")
        bundle.decision_audit.record_many([{"dfid": "f", "event": "B"}] * 2)
        proxy.lose_replies(1, to=b"EVALSHA")
        bundle.lifecycle.close_flow("f", "CLOSED")

        report = bundle.decision_audit.verify_audit()
        assert (report.verified, report.broken_at) == (4, None)


def test_a_row_whose_request_is_lost_is_recorded_once(
    proxy: FaultProxy, behind_proxy: StorageBundle
) -> None:
    proxy.lose_requests(2, to=b"EVALSHA")

    behind_proxy.decision_audit.record("f", "E")

    assert len(behind_proxy.decision_audit.events_for_dfid("f")) == 1


def test_a_reservation_whose_reply_is_lost_gets_its_first_answer(
    proxy: FaultProxy, behind_proxy: StorageBundle
) -> None:
    behind_proxy.resource_lock.set_capacity("r", 10)
    proxy.lose_replies(1, to=b"EVALSHA")

    assert behind_proxy.resource_lock.acquire_batch("f", {"r": 10}, 0) is True


def test_a_merge_whose_reply_is_lost_counts_one_version(
    proxy: FaultProxy, behind_proxy: StorageBundle
) -> None:
    behind_proxy.context.merge_session("f", {"a": 1})
    proxy.lose_replies(2, to=b"EVALSHA")

    assert behind_proxy.context.merge_session("f", {"b": 2}) == 2
    assert behind_proxy.context.get_session_versioned("f") == ('{"a": 1, "b": 2}', 2)


def test_a_lost_reply_makes_no_conflict_of_the_callers_own_change(
    proxy: FaultProxy, behind_proxy: StorageBundle
) -> None:
    agents, context = behind_proxy.agent_registry, behind_proxy.context
    agents.register("a", "{}", 1)
    context.set_session("f", "{}", expected_version=0)
    with pytest.raises(VersionConflictError):
        agents.update_contract("a", "{}", 9)  # loads its script
    proxy.lose_replies(1, to=b"EVALSHA")
    context.set_session("f", "[]", expected_version=1)
    proxy.lose_replies(1, to=b"EVALSHA")
    assert agents.update_contract("a", "[]", 1) == 2

    assert context.get_session_versioned("f") == ("[]", 2)


def test_a_registration_whose_reply_is_lost_begins_one_session(
    proxy: FaultProxy, behind_proxy: StorageBundle
) -> None:
    agents = behind_proxy.agent_registry
    agents.register("a", "{}", 1)
    agents.update_status("a", "SUSPENDED", "why")
    proxy.lose_replies(1, to=b"EVALSHA")

    session = agents.register("a", "{}", 1)

    assert session[2:] == ("SUSPENDED", "why")
    assert agents.get_contract_versioned("a").version == 2
    agents.heartbeat("a", session.session_token, 60)


def test_a_rejection_whose_reply_is_lost_is_counted_once(
    proxy: FaultProxy, behind_proxy: StorageBundle
) -> None:
    counts = []
    for _ in range(5):
        proxy.lose_replies(1, to=b"EVALSHA")
        counts.append(behind_proxy.intent_retry.increment("f", 5))

    assert counts == [(1, False), (2, False), (3, False), (4, False), (5, True)]


def test_a_claim_whose_reply_is_lost_is_the_callers(
    proxy: FaultProxy, behind_proxy: StorageBundle
) -> None:
    behind_proxy.idempotency.claim("other", lease_sec=60, owner="me")  # loads the scripts
    behind_proxy.saga.claim_dirty("me", 60)
    behind_proxy.saga.mark_dirty("f", "s", "{}")
    proxy.lose_replies(1, to=b"EVALSHA")
    claim = behind_proxy.idempotency.claim("k", lease_sec=60, owner="me")
    proxy.lose_replies(1, to=b"EVALSHA")
    dirty = behind_proxy.saga.claim_dirty("me", 60)

    assert (claim.state, claim.owner) == (ClaimState.NEW, "me")
    assert behind_proxy.idempotency.complete(claim, 1) == 1
    assert dirty is not None
    behind_proxy.saga.clear_dirty("f", epoch=dirty.epoch)


@pytest.mark.parametrize("schema", [1, 2])
def test_what_was_claimed_is_read_by_the_repeat(
    proxy: FaultProxy, behind_proxy: StorageBundle, namespace: str, schema: int
) -> None:
    saga, escalation = behind_proxy.saga, behind_proxy.escalation
    assert (saga.claim_dirty("me", 60), escalation.claim_next("me", 60)) == (None, None)
    saga.mark_dirty("ü f", "s", '{"a": [1]}')
    if schema == 1:
        with connect(proxy.url, attempt_timeout_sec=2).client as raw:
            raw.hdel(f"{{{namespace}:0}}:sagas_marks", "ü f")
            old = {"failed_step": "s", "partial_state": '{"a": [1]}'}
            raw.hset(f"{{{namespace}:0}}:saga:ü f", mapping=old)
    escalation.insert_request("ü f", "a", "why", "{}", '{"buy": 1}', "HIGH")

    proxy.lose_replies(2, to=b"EVALSHA")
    dirty = saga.claim_dirty("me", 60)
    proxy.lose_replies(2, to=b"EVALSHA")
    request = escalation.claim_next("me", 60)

    assert dirty is not None
    assert (dirty.dfid, dirty.failed_step, dirty.partial_state) == ("ü f", "s", {"a": [1]})
    assert request is not None
    assert request == escalation.get_request("ü f")
    assert (request["reviewer"], request["proposal"]) == ("me", {"buy": 1})
    saga.clear_dirty("ü f", epoch=dirty.epoch)


def test_what_was_claimed_and_then_taken_away_is_not_returned_by_the_repeat(
    server_url: str, namespace: str
) -> None:
    """Between the lost reply and its repeat somebody clears, marks, decides or replaces it."""
    with (
        open_storage(server_url, namespace=namespace) as bundle,
        open_storage(server_url, namespace=namespace) as other,
    ):
        for flow in ("first", "second"):
            bundle.saga.mark_dirty(flow, "s", "{}")
            bundle.escalation.insert_request(flow, "a", "", "{}", "{}", "")

        with reply_lost(bundle, lambda: other.saga.clear_dirty("first")):
            dirty = bundle.saga.claim_dirty("me", 60)
        assert dirty is not None
        assert dirty.dfid == "second"

        bundle.saga.release_dirty("second", dirty.epoch)
        with reply_lost(bundle, lambda: other.saga.mark_dirty("second", "newer", "{}")):
            dirty = bundle.saga.claim_dirty("me", 60)
        assert dirty is not None
        assert dirty.failed_step == "newer"
        bundle.saga.clear_dirty("second", epoch=dirty.epoch)

        with reply_lost(bundle, lambda: other.escalation.resolve("first", "YES", by="otto")):
            request = bundle.escalation.claim_next("me", 60)
        assert request is not None
        assert request["dfid"] == "second"

        ask = partial(other.escalation.escalate, "third", "a", limit=9, window_sec=60)
        ask("older", "{}", "{}", "")
        with reply_lost(bundle, lambda: ask("newer", "{}", "{}", "", replace=True)):
            request = bundle.escalation.claim_next("me", 60)
        assert request is not None
        assert request["reason"] == "newer"
        assert request == bundle.escalation.get_request("third")


@contextlib.contextmanager
def reply_lost(bundle: StorageBundle, meanwhile: Callable[[], object]) -> Iterator[None]:
    """Lose the first reply within a with block, and do something before it is asked for again."""
    driver: Any = bundle.saga._driver  # type: ignore[attr-defined]
    execute = driver._execute_command
    lost: list[Any] = []

    def lose_the_first(*command: Any) -> Any:
        reply = execute(*command)
        if not lost:
            lost.append(reply)
            meanwhile()
            raise redis.ConnectionError("its reply got lost")
        return reply

    driver._execute_command = lose_the_first
    try:
        yield
    finally:
        driver._execute_command = execute
    assert lost


def test_a_late_repeat_cannot_undo_what_others_wrote_in_between(
    proxy: FaultProxy, behind_proxy: StorageBundle, namespace: str
) -> None:
    """A's write is applied, its reply lost; B writes; A's repeat must not write over B."""
    connection = connect(proxy.url, attempt_timeout_sec=2)
    driver = RedisDriver(connection, timeout_sec=3)
    repeated = connection.client.execute_command
    interfered = []

    def interfere(*command: Any) -> Any:
        try:
            return repeated(*command)
        except redis.ConnectionError:
            if not interfered:
                interfered.append(True)
                behind_proxy.intent_retry.set_count("f", 2)  # B
            raise

    driver._execute_command = interfere
    key = f"{{{namespace}:0}}:retry:f"
    behind_proxy.intent_retry.set_count("f", 0)  # loads the script
    proxy.lose_replies(1, to=b"EVALSHA")

    driver.run(asked(Call("command_once", (key,), ("SET", 1))))  # A

    assert interfered
    assert behind_proxy.intent_retry.get_count("f") == 2


def asked(request: Call) -> Steps[Any]:
    return (yield request)


@pytest.mark.parametrize("name", WRITES)
def test_each_write_survives_a_lost_reply_with_one_application(
    proxy: FaultProxy, behind_proxy: StorageBundle, name: str, namespace: str
) -> None:
    WRITES[name](behind_proxy)  # loads its script
    with (
        connect(proxy.url, attempt_timeout_sec=2).client as admin,
        counted_applications([admin], namespace) as applications,
    ):
        proxy.lose_replies(1, to=b"EVALSHA")

        WRITES[name](behind_proxy)

        assert applications.since_the_last_time().total() == 1


@pytest.mark.parametrize("name", WRITES)
def test_a_write_whose_replies_all_get_lost_says_that_its_outcome_is_unknown(
    proxy: FaultProxy, namespace: str, name: str
) -> None:
    with open_storage(proxy.url, namespace=namespace, timeout_sec=0.1) as bundle:
        proxy.lose_replies(10_000, to=b"EVAL")

        with pytest.raises(StorageUnavailableError, match="may or may not") as caught:
            WRITES[name](bundle)

    assert caught.value.outcome_unknown


@pytest.mark.parametrize("lost", ["replies", "requests"])
@pytest.mark.parametrize("name", WRITES)
def test_repeating_a_write_of_unknown_outcome_applies_it_once(
    proxy: FaultProxy, namespace: str, name: str, lost: str
) -> None:
    with (
        open_storage(proxy.url, namespace=namespace, timeout_sec=0.1) as bundle,
        connect(proxy.url, attempt_timeout_sec=2).client as admin,
        counted_applications([admin], namespace) as applications,
    ):
        WRITES[name](bundle)
        applications.since_the_last_time()
        lose = proxy.lose_replies if lost == "replies" else proxy.lose_requests
        lose(10_000, to=b"EVAL")
        with pytest.raises(StorageUnavailableError) as caught:
            WRITES[name](bundle)
        again = caught.value
        with pytest.raises(StorageUnavailableError) as caught:
            again.repeat()
        lose(0, to=b"EVAL")

        with contextlib.suppress(LeaseLostError, SessionSupersededError, VersionConflictError):
            repeated_until_known(caught.value)

        assert applications.since_the_last_time().total() == 1


def repeated_until_known(error: StorageUnavailableError) -> Any:
    """What the operation would have returned; a busy machine may let some more attempts run out."""
    for _ in range(100):
        try:
            return error.repeat()
        except StorageUnavailableError as again:
            error = again
    raise error


def test_a_repeated_operation_returns_what_it_would_have(proxy: FaultProxy, namespace: str) -> None:
    with open_storage(proxy.url, namespace=namespace, timeout_sec=0.1) as bundle:
        assert bundle.intent_retry.increment("f") == (1, False)
        proxy.lose_replies(10_000, to=b"EVAL")
        with pytest.raises(StorageUnavailableError) as caught:
            bundle.intent_retry.increment("f", 2)
        proxy.lose_replies(0, to=b"")

        assert caught.value.repeat() == (2, True)
        with pytest.raises(StorageError, match="cannot be repeated, only called anew"):
            caught.value.repeat()
        assert bundle.intent_retry.increment("f", 2) == (3, True)


def test_a_repeat_that_reaches_nobody_leaves_the_outcome_unknown(
    proxy: FaultProxy, namespace: str
) -> None:
    with open_storage(proxy.url, namespace=namespace, timeout_sec=0.1) as bundle:
        proxy.lose_replies(10_000, to=b"EVAL")
        with pytest.raises(StorageUnavailableError) as caught:
            bundle.intent_retry.increment("f")
        proxy.lose_nothing()
        door = int(proxy.url.rpartition(":")[2])
        proxy.refuse_connections(door)
        proxy.cut(door)

        with pytest.raises(StorageUnavailableError, match="may or may not") as again:
            caught.value.repeat()
        proxy.restore()
        proxy.accept_connections(door)

        assert again.value.outcome_unknown
        assert again.value.repeat() == (1, False)


def test_a_repeat_that_is_refused_leaves_the_outcome_unknown(
    proxy: FaultProxy, namespace: str
) -> None:
    with (
        open_storage(proxy.url, namespace=namespace, timeout_sec=0.1) as bundle,
        connect(proxy.url, attempt_timeout_sec=2).client as admin,
    ):
        bundle.intent_retry.increment("f")
        proxy.lose_requests(10_000, to=b"EVAL")
        with pytest.raises(StorageUnavailableError) as caught:
            bundle.intent_retry.increment("f")
        proxy.lose_nothing()
        admin.config_set("maxmemory", 1)
        try:
            with pytest.raises(StorageUnavailableError, match="out of memory") as again:
                caught.value.repeat()
        finally:
            admin.config_set("maxmemory", 0)

        assert again.value.outcome_unknown
        assert again.value.repeat() == (2, False)


def test_an_operation_of_several_steps_goes_on_where_it_was_cut_off(
    proxy: FaultProxy, namespace: str
) -> None:
    with open_storage(proxy.url, namespace=namespace, partitions=5, timeout_sec=0.1) as bundle:
        rows = [{"dfid": f"f{n}", "event": "E"} for n in range(20)]
        bundle.decision_audit.record_many(rows)
        sent = itertools.count()
        execute = bundle.decision_audit._driver._execute_command

        def cut_the_third(*command: Any) -> Any:
            if next(sent) == 2:
                proxy.lose_replies(10_000, to=b"EVAL")
            return execute(*command)

        bundle.decision_audit._driver._execute_command = cut_the_third
        with pytest.raises(StorageUnavailableError) as caught:
            bundle.decision_audit.record_many(rows)
        proxy.lose_replies(0, to=b"")
        caught.value.repeat()

        assert len(bundle.decision_audit.all_events_chronological()) == 40
        for n in range(20):
            assert len(bundle.decision_audit.events_for_dfid(f"f{n}")) == 2


@pytest.mark.parametrize("stops", ["a spoilt log", "the store is closed"])
def test_whatever_stops_an_operation_of_several_parts_tells_that_some_are_done(
    proxy: FaultProxy, namespace: str, stops: str
) -> None:
    with (
        open_storage(proxy.url, namespace=namespace, partitions=5) as bundle,
        open_storage(proxy.url, namespace=namespace, partitions=5) as other,
        connect(proxy.url, attempt_timeout_sec=2).client as admin,
    ):
        rows = [{"dfid": f"f{n}", "event": "E"} for n in range(20)]
        keys = bundle.decision_audit._keys
        logs = list(dict.fromkeys(keys.log("audit", f"f{n}") for n in range(20)))
        execute = bundle.decision_audit._driver._execute_command
        sent = itertools.count(1)

        def stop_after_the_first(*command: Any) -> Any:
            reply = execute(*command)
            if next(sent) == 1 and stops == "the store is closed":
                bundle.close()
            return reply

        bundle.decision_audit._driver._execute_command = stop_after_the_first
        if stops == "a spoilt log":
            admin.set(logs[-1], "garbage")
        with pytest.raises(StorageUnavailableError, match="applied; then:") as caught:
            bundle.decision_audit.record_many(rows)
        admin.delete(logs[-1])

        assert caught.value.outcome_unknown
        assert 0 < len(other.decision_audit.all_events_chronological()) < 20
        if stops == "a spoilt log":
            caught.value.repeat()
            assert len(other.decision_audit.all_events_chronological()) == 20


def test_a_write_is_not_tried_again_once_its_number_is_forgotten(
    proxy: FaultProxy, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process, or its machine, stood still between two attempts."""
    with open_storage(proxy.url, namespace=namespace) as bundle:
        bundle.intent_retry.increment("f")
        execute = bundle.intent_retry._driver._execute_command

        def stand_still_then(*command: Any) -> Any:
            try:
                return execute(*command)
            finally:
                now = time.clock_gettime(time.CLOCK_BOOTTIME)
                monkeypatch.setattr("dir_redis.redis.driver._since_boot", lambda: now + 600)

        bundle.intent_retry._driver._execute_command = stand_still_then
        proxy.lose_replies(1, to=b"EVAL")
        with pytest.raises(StorageUnavailableError, match="too late to try") as caught:
            bundle.intent_retry.increment("f")

        assert caught.value.outcome_unknown
        with pytest.raises(StorageError, match="too late to repeat"):
            caught.value.repeat()
        assert bundle.intent_retry.get_count("f") == 2


def test_a_client_that_is_closed_in_the_middle_of_a_call_shows_no_error_of_its_own(
    proxy: FaultProxy, namespace: str
) -> None:
    bundle = open_storage(proxy.url, namespace=namespace)
    driver = bundle.intent_retry._driver

    def closed_meanwhile(*_: Any) -> Any:
        bundle.close()
        raise TypeError("argument must be an int, or have a fileno() method")

    driver._execute_command = closed_meanwhile
    with pytest.raises(StorageUnavailableError, match="closed meanwhile") as caught:
        bundle.intent_retry.increment("f")
    assert caught.value.outcome_unknown


def test_an_error_of_another_process_cannot_be_repeated() -> None:
    error = pickle.loads(pickle.dumps(StorageUnavailableError("gone", outcome_unknown=True)))

    assert (str(error), error.outcome_unknown) == ("gone", True)
    with pytest.raises(StorageError, match="cannot be repeated"):
        error.repeat()


def test_a_flow_of_another_partition_is_closed_by_the_repeat_of_what_was_cut_off(
    proxy: FaultProxy, namespace: str
) -> None:
    """Two writes: the reservation, in partition 0, is released after the flow's own records."""
    with open_storage(proxy.url, namespace=namespace, partitions=5, timeout_sec=0.2) as bundle:
        keys = bundle.lifecycle._keys
        dfid = next(f"f{n}" for n in range(99) if not keys.beside_reservations(f"f{n}"))
        bundle.lifecycle.close_flow("warm-up", "CLOSED")
        bundle.resource_lock.acquire_batch(dfid, {"r": 1}, 1)
        release = script("resource_lock_release").sha.encode()
        proxy.lose_requests(10_000, to=release)

        with pytest.raises(StorageUnavailableError) as caught:
            bundle.lifecycle.close_flow(dfid, "CLOSED")
        assert caught.value.outcome_unknown
        assert bundle.lifecycle.current_status(dfid) == "CLOSED"
        assert bundle.resource_lock.get_locked_amount("r", "nobody") == 1
        proxy.lose_requests(0, to=b"")

        assert caught.value.repeat() is True
        assert bundle.resource_lock.get_locked_amount("r", "nobody") == 0


def test_a_refusal_after_a_part_was_applied_is_told_so_and_repeated(
    proxy: FaultProxy, namespace: str
) -> None:
    with open_storage(proxy.url, namespace=namespace, partitions=5) as bundle:
        for group in ("g", "h"):
            bundle.decision_audit.commit_archived(group, "")
        driver = bundle.decision_audit._driver
        execute = driver._execute_command
        sent = itertools.count(1)

        def refuse_the_third(*command: Any) -> Any:
            if next(sent) == 3:
                raise redis.exceptions.NoPermissionError("NOPERM this user has no permissions")
            return execute(*command)

        driver._execute_command = refuse_the_third
        with pytest.raises(
            StorageUnavailableError, match=r"of its writes (is|are) applied"
        ) as caught:
            bundle.decision_audit.forget_group("g")
        driver._execute_command = execute
        caught.value.repeat()

        assert bundle.decision_audit.get_archived("g") is None
        assert bundle.decision_audit.get_archived("h") == ""


def test_a_repeat_ends_before_its_number_is_forgotten(
    proxy: FaultProxy, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_storage(proxy.url, namespace=namespace, timeout_sec=0.1) as bundle:
        proxy.lose_replies(10_000, to=b"EVAL")
        with pytest.raises(StorageUnavailableError) as caught:
            bundle.intent_retry.increment("f")
        monkeypatch.setattr("dir_redis.redis.driver._RECOGNISED_SEC", 1.0)
        bundle.intent_retry._driver._timeout_sec = 300.0
        began = time.monotonic()

        with pytest.raises(StorageUnavailableError):
            caught.value.repeat()

        assert time.monotonic() - began < 5


def test_a_forked_child_repeats_nothing_of_its_parents(proxy: FaultProxy, namespace: str) -> None:
    with open_storage(proxy.url, namespace=namespace, timeout_sec=0.1) as bundle:
        proxy.lose_replies(10_000, to=b"EVAL")
        with pytest.raises(StorageUnavailableError) as caught:
            bundle.intent_retry.increment("f")
        proxy.lose_replies(0, to=b"")
        with (
            mock.patch("os.getpid", return_value=os.getpid() + 1),
            pytest.raises(StorageError, match="for the process to repeat that met it"),
        ):
            caught.value.repeat()


def test_a_call_that_is_being_retried_ends_with_its_store(
    proxy: FaultProxy, namespace: str
) -> None:
    bundle = open_storage(proxy.url, namespace=namespace, timeout_sec=60)
    proxy.lose_replies(10_000, to=b"EVAL")
    driver: Any = bundle.intent_retry._driver  # type: ignore[attr-defined]
    execute, attempts = driver._execute_command, []
    driver._execute_command = lambda *command: attempts.append(command) or execute(*command)
    with ThreadPoolExecutor(1) as pool:
        retried = pool.submit(bundle.intent_retry.increment, "f")
        wait_until(lambda: len(attempts) > 2, 30)
        bundle.close()

        with pytest.raises(StorageUnavailableError, match="was closed meanwhile"):
            retried.result(timeout=30)


def test_what_the_server_has_forgotten_is_not_repeated(
    proxy: FaultProxy, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_storage(proxy.url, namespace=namespace, timeout_sec=0.1) as bundle:
        proxy.lose_replies(10_000, to=b"EVAL")
        with pytest.raises(StorageUnavailableError) as caught:
            bundle.intent_retry.increment("f")
        proxy.lose_replies(0, to=b"")
        monkeypatch.setattr("dir_redis.redis.driver._RECOGNISED_SEC", 0.0)

        with pytest.raises(StorageError, match="too late to repeat"):
            caught.value.repeat()


def test_a_read_whose_replies_all_get_lost_is_of_no_unknown_outcome(
    proxy: FaultProxy, namespace: str
) -> None:
    with open_storage(proxy.url, namespace=namespace, timeout_sec=0.1) as bundle:
        proxy.lose_replies(10_000, to=b"HMGET")

        with pytest.raises(StorageUnavailableError, match="did not answer HMGET") as caught:
            bundle.agent_registry.get_agent("a")

    assert not caught.value.outcome_unknown


def test_a_ready_client_with_the_drivers_own_retries_applies_once_too(
    proxy: FaultProxy, namespace: str
) -> None:
    port = int(proxy.url.rpartition(":")[2])
    with redis.Redis("127.0.0.1", port) as client:
        bundle = redis_storage(client, namespace=namespace)
        bundle.decision_audit.record("f", "E")
        proxy.lose_replies(2, to=b"EVALSHA")

        bundle.decision_audit.record("f", "E")

        assert len(bundle.decision_audit.events_for_dfid("f")) == 2


def test_without_operation_numbers_the_drivers_retries_apply_a_script_twice(
    proxy: FaultProxy, namespace: str
) -> None:
    """What the protection is for: the same fault, the same client, a script without once()."""
    port = int(proxy.url.rpartition(":")[2])
    with redis.Redis("127.0.0.1", port) as client:
        sha = client.script_load("return redis.call('INCR', KEYS[1])")
        proxy.lose_replies(1, to=b"EVALSHA")

        client.evalsha(sha, 1, f"{{{namespace}:0}}:counter")

        assert client.get(f"{{{namespace}:0}}:counter") == b"2"
        client.delete(f"{{{namespace}:0}}:counter")


def call_once(client: Any, tag: str, number: int, amount: int) -> Any:
    source = script("command_once").source
    keys = (f"{tag}counter", f"{tag}op:session")
    return client.execute_command("EVAL", source, 2, *keys, "INCRBY", amount, number, 60_000)


def test_a_repeated_number_gets_the_first_reply_and_a_late_one_is_refused(
    raw: Any, namespace: str
) -> None:
    tag = f"{{{namespace}:0}}:"

    assert call_once(raw, tag, 1, 5) == b"OK"
    assert call_once(raw, tag, 1, 5) == b"OK"
    assert call_once(raw, tag, 2, 10) == b"OK"
    with pytest.raises(redis.ResponseError, match="DIRLATE"):
        call_once(raw, tag, 1, 5)

    assert raw.get(f"{tag}counter") == b"15"


def test_numbers_are_compared_as_numbers(raw: Any, namespace: str) -> None:
    tag = f"{{{namespace}:0}}:"

    assert call_once(raw, tag, 9, 1) == b"OK"
    assert call_once(raw, tag, 10, 1) == b"OK"

    assert raw.get(f"{tag}counter") == b"2"


def test_a_forked_child_does_not_go_on_with_its_parents_numbers(
    servers: Any, namespace: str
) -> None:
    with open_storage(servers.url(SINGLE_SERVERS[0]), namespace=namespace) as bundle:
        bundle.decision_audit.record("f", "BEFORE")
        child = os.fork()
        if child == 0:
            bundle.decision_audit.record("f", "CHILD")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        bundle.decision_audit.record("f", "PARENT")

        rows = bundle.decision_audit.events_for_dfid("f")

    assert [row["event"] for row in rows] == ["BEFORE", "CHILD", "PARENT"]
