"""How far a write has got before its call returns, and what a server says it can lose."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dir_redis import (
    Reservation,
    StorageBundle,
    StorageConfigurationError,
    UnconfirmedWriteError,
    memory_storage,
    open_storage,
    sqlite_storage,
)
from dir_redis.embedded import valkey_binary
from dir_redis.redis import server_report
from dir_redis.redis.connection import connect
from tests.fault_proxy import fault_proxy
from tests.redis_only.conftest import works
from tests.servers import redis62_binary, server, wait_until


@dataclass
class Pair:
    """A primary with an append-only file, and its replica."""

    url: str
    replica: Any
    admin: Any

    def pause_replica(self) -> None:
        os.kill(self.replica.pid, signal.SIGSTOP)

    def resume_replica(self) -> None:
        os.kill(self.replica.pid, signal.SIGCONT)


@pytest.fixture(params=["valkey", "redis62"])
def binary(request: pytest.FixtureRequest) -> Path:
    return valkey_binary() if request.param == "valkey" else redis62_binary()


@pytest.fixture
def pair(binary: Path, tmp_path: Path) -> Iterator[Pair]:
    with contextlib.ExitStack() as running:
        primary = running.enter_context(
            server(binary, tmp_path / "primary", "--appendonly", "yes", "--appendfsync", "always")
        )
        port = primary.url.rpartition(":")[2]
        replica = running.enter_context(
            server(binary, tmp_path / "replica", "--replicaof", "127.0.0.1", port)
        )
        admin = running.enter_context(connect(primary.url, attempt_timeout_sec=5).client)
        wait_until(lambda: admin.info("replication").get("slave0", {}).get("state") == "online", 30)
        open_storage(primary.url).close()  # so that no test has to wait until this is confirmed
        found = Pair(primary.url, replica, admin)
        try:
            yield found
        finally:
            found.resume_replica()


@pytest.fixture
def alone(binary: Path, tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """A server without an append-only file, and a client to change that."""
    with (
        server(binary, tmp_path / "alone") as running,
        connect(running.url, attempt_timeout_sec=5).client as admin,
    ):
        yield running.url, admin


def test_a_confirmed_write_is_on_the_replica(pair: Pair) -> None:
    with (
        open_storage(pair.url, durability="replicas=1") as bundle,
        connect(pair.replica.url, attempt_timeout_sec=5).client as replica,
    ):
        for number in range(20):
            bundle.intent_retry.set_count(f"f{number}", number)
            assert replica.get(f"{{dir:0}}:retry:f{number}") == b"%d" % number


def test_a_write_that_no_replica_has_was_applied_and_is_told_so(pair: Pair) -> None:
    with open_storage(pair.url, durability="replicas=1", attempt_timeout_sec=0.4) as bundle:
        pair.pause_replica()

        with pytest.raises(UnconfirmedWriteError, match="applied but not confirmed") as caught:
            bundle.intent_retry.increment("f")

        assert (caught.value.wanted, caught.value.confirmed) == ("replicas=1", 0)
        assert caught.value.result == (1, False)
        assert bundle.intent_retry.get_count("f") == 1
    pair.resume_replica()
    with open_storage(pair.url, durability="replicas=1") as bundle:
        assert bundle.intent_retry.increment("f") == (2, False)


def test_a_namespace_that_is_made_is_confirmed_and_one_that_there_is_needs_nobody(
    pair: Pair, namespace: str
) -> None:
    options: Any = {"namespace": namespace, "durability": "replicas=1", "attempt_timeout_sec": 0.4}
    pair.pause_replica()
    with fault_proxy(pair.url) as proxy:
        proxy.lose_replies(1, to=b"EVAL")  # the repeat does not find a namespace of somebody else's
        with pytest.raises(UnconfirmedWriteError) as caught:
            open_storage(proxy.url, **options)
    assert (caught.value.wanted, caught.value.result) == ("replicas=1", None)

    with open_storage(pair.url, **options) as bundle:
        pair.admin.delete(f"{{{namespace}:0}}:meta")
        with pytest.raises(UnconfirmedWriteError):
            bundle.saga.init_schema()
        bundle.saga.init_schema()
        pair.resume_replica()
        pair.admin.delete(f"{{{namespace}:0}}:meta")
        wait_until(lambda: pair.admin.wait(1, 1000) == 1, 30)
        bundle.saga.init_schema()

    with connect(pair.replica.url, attempt_timeout_sec=5).client as replica:
        assert replica.hget(f"{{{namespace}:0}}:meta", "partitions") == b"1"


def test_a_step_whose_result_is_not_confirmed_is_not_stored_again_and_again(pair: Pair) -> None:
    with open_storage(pair.url, attempt_timeout_sec=0.4) as bundle:
        pair.pause_replica()

        confirmed: Any = bundle.durable("replicas=1").idempotency
        confirmed.claim = bundle.idempotency.claim  # only the result is to be confirmed
        with pytest.raises(UnconfirmedWriteError) as caught:
            confirmed.run_once("k", lambda _: {"paid": 5})

        assert caught.value.result == {"paid": 5}
        assert bundle.idempotency.get("k") == {"paid": 5}


def test_where_nothing_was_written_none_is_said_to_be(pair: Pair) -> None:
    with open_storage(pair.url, durability="replicas=1", attempt_timeout_sec=0.4) as bundle:
        pair.pause_replica()

        for call in (
            lambda: bundle.escalation.claim_next("maria", 60),
            lambda: bundle.escalation.resolve("nobody", "YES"),
        ):
            with pytest.raises(UnconfirmedWriteError, match="written, if anything, was") as caught:
                call()
            assert not caught.value.result


def test_a_step_whose_claim_is_not_confirmed_does_not_begin_and_is_free_again(pair: Pair) -> None:
    with open_storage(pair.url, durability="replicas=1", attempt_timeout_sec=0.4) as bundle:
        pair.pause_replica()

        with pytest.raises(UnconfirmedWriteError) as caught:
            bundle.idempotency.run_once("k", lambda _: pytest.fail("the step ran"))

        assert caught.value.result is None
    with open_storage(pair.url) as bundle:
        assert bundle.idempotency.run_once("k", lambda _: 1, wait_sec=0) == 1


def test_a_step_that_was_run_keeps_its_result_whatever_is_confirmed(pair: Pair) -> None:
    with open_storage(pair.url, durability="replicas=1", attempt_timeout_sec=0.4) as bundle:
        steps, before = bundle.idempotency, bundle.durable("memory").idempotency
        before.run_once("null", lambda _: None)
        before.run_once("k", lambda _: {"paid": 5})
        pair.pause_replica()

        for key, result in (("k", {"paid": 5}), ("null", None)):
            with pytest.raises(UnconfirmedWriteError) as caught:
                steps.run_once(key, lambda _: pytest.fail("the step ran twice"))
            assert caught.value.result == result


def test_whoever_waits_for_a_step_needs_no_confirmation(pair: Pair) -> None:
    with open_storage(pair.url, durability="replicas=1", attempt_timeout_sec=0.4) as bundle:
        steps, unsafe = bundle.idempotency, bundle.durable("memory").idempotency
        claim = unsafe.claim("k", lease_sec=60, owner="other")
        pair.pause_replica()

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(steps.run_once, "k", lambda _: pytest.fail("it ran twice"))
            wait_until(lambda: pair.admin.info("clients")["blocked_clients"] > 0, 30)
            unsafe.complete(claim, {"paid": 5})
            assert waiting.result(30) == {"paid": 5}


def test_a_release_that_is_not_confirmed_has_happened(pair: Pair) -> None:
    with open_storage(pair.url, durability="replicas=1", attempt_timeout_sec=0.4) as bundle:
        locks = bundle.resource_lock
        pair.pause_replica()
        held: list[Reservation] = []
        for flow in ("a", "b", "c"):
            with pytest.raises(UnconfirmedWriteError) as caught:
                locks.reserve(flow, {"r": 1}, lease_sec=60)
            held.append(caught.value.result)

        with pytest.raises(UnconfirmedWriteError):
            held[0].release()
        held[0].release()
        with pytest.raises(UnconfirmedWriteError), held[1]:
            pass
        held[1].release()
        with pytest.raises(KeyError), held[2]:
            raise KeyError("the work's own error is the one to be told")
        held[2].release()

        assert locks.holders("r") == []


def test_a_kept_lease_counts_as_lost_without_confirmation(pair: Pair) -> None:
    """An old primary that is cut off applies renewals too, while a new one gives it to others."""
    with open_storage(pair.url, attempt_timeout_sec=0.4) as bundle:
        locks, told = bundle.resource_lock, threading.Event()
        pair.pause_replica()
        with pytest.raises(UnconfirmedWriteError) as caught:
            bundle.durable("replicas=1").resource_lock.reserve("f", {"r": 1}, lease_sec=3)
        reservation: Reservation = caught.value.result
        reservation.keep_alive(on_lost=told.set)
        with locks.reserve("g", {"r": 1}, lease_sec=3).keep_alive() as without_durability:
            assert told.wait(30)

            assert reservation.lost
            assert reservation.expires_at is not None
            held = locks.holders("r")[0]
            assert held.dfid == "f"
            assert held.until is not None
            assert held.until > reservation.expires_at  # renewed, all the same
            assert not without_durability.lost


def test_more_replicas_than_there_are_confirm_nothing(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "dir_redis"):
        bundle = open_storage(pair.url, durability="replicas=2")
    with bundle, pytest.raises(UnconfirmedWriteError, match="only 1 replicas had it") as caught:
        bundle.saga.mark_dirty("f", "s", "{}")

    assert caught.value.confirmed == 1
    assert "until there are 2 no write can be confirmed" in caplog.text


def test_one_call_can_ask_for_more_than_its_store(pair: Pair) -> None:
    with open_storage(pair.url, attempt_timeout_sec=0.4) as bundle:
        pair.pause_replica()
        bundle.intent_retry.increment("f")
        with pytest.raises(UnconfirmedWriteError):
            bundle.durable("replicas=1").intent_retry.increment("f")
        assert bundle.durable("memory").intent_retry.increment("f").count == 3
        assert bundle.durable("disk").intent_retry.increment("f").count == 4


def test_several_writes_of_one_call_are_all_confirmed(pair: Pair) -> None:
    rows = [{"dfid": f"f{n}", "event": "E"} for n in range(20)]
    options: Any = {"namespace": "parts", "partitions": 5, "durability": "replicas=1"}
    with open_storage(pair.url, **options) as bundle:
        bundle.decision_audit.record_many(rows)
    pair.pause_replica()
    with open_storage(pair.url, **options, attempt_timeout_sec=0.4) as bundle:
        with pytest.raises(UnconfirmedWriteError):
            bundle.decision_audit.record_many(rows)

        assert len(bundle.decision_audit.all_events_chronological()) == 40


def test_a_lost_reply_is_confirmed_by_the_repeat(pair: Pair) -> None:
    with (
        fault_proxy(pair.url) as proxy,
        open_storage(proxy.url, durability="replicas=1") as bundle,
    ):
        bundle.intent_retry.increment("f")
        proxy.lose_replies(2, to=b"EVALSHA")

        assert bundle.intent_retry.increment("f").count == 2

        pair.pause_replica()
        proxy.lose_replies(1, to=b"EVALSHA")
        with pytest.raises(UnconfirmedWriteError) as caught:
            bundle.intent_retry.increment("f")
        assert caught.value.result.count == 3
        pair.resume_replica()
        assert bundle.intent_retry.get_count("f") == 3


def test_a_server_that_forgot_its_scripts_confirms_too(pair: Pair) -> None:
    with open_storage(pair.url, durability="replicas=1") as bundle:
        bundle.intent_retry.increment("f")
        pair.admin.script_flush()

        assert bundle.intent_retry.increment("f").count == 2


def test_a_server_is_asked_about_its_disk_even_if_it_answers_after_it(
    pair: Pair, binary: Path
) -> None:
    """It may be set otherwise, or another take over; only one that cannot be asked is believed."""
    with open_storage(pair.url, durability="disk") as bundle:
        assert works(bundle)
        asked = "cmdstat_waitaof" in pair.admin.info("commandstats")
        assert asked == (binary == valkey_binary())
        if asked:
            pair.admin.config_set("appendfsync", "no")
            with pytest.raises(UnconfirmedWriteError):
                bundle.intent_retry.increment("f")


def test_every_node_of_a_cluster_is_looked_at(
    servers: Any, namespace: str, real_server: str
) -> None:
    """A node without an append-only file cannot keep what the others can."""
    if real_server != "cluster":
        return
    with connect(servers.url("cluster"), attempt_timeout_sec=5).client as client:
        primaries = [client.get_redis_connection(node) for node in client.get_primaries()]
        for primary in primaries[:-1]:
            primary.config_set("appendonly", "yes")
        try:
            with pytest.raises(StorageConfigurationError, match="keeps no append-only file"):
                open_storage(servers.url("cluster"), namespace=namespace, durability="disk")
        finally:
            for primary in primaries:
                primary.config_set("appendonly", "no")


def test_of_a_cluster_is_told_what_is_worst_of_each_primary(
    servers: Any, namespace: str, real_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without an append-only file counts, also where others can lose writes in more ways."""
    if real_server != "cluster":
        return
    url = servers.url("cluster")
    monkeypatch.setattr(server_report, "_WAITAOF_SERVER", (99, 0))  # none can say what is on disk
    with connect(url, attempt_timeout_sec=5).client as client:
        *others, bare = (client.get_redis_connection(node) for node in client.get_primaries())
        try:
            for primary in others:
                primary.config_set("appendonly", "yes")
                primary.config_set("appendfsync", "always")
                primary.config_set("maxmemory-policy", "allkeys-lru")
            others[0].config_set("min-replicas-to-write", 1)
            with open_storage(url, namespace=namespace, check_policy=False) as bundle:
                report = bundle.server
                with pytest.raises(StorageConfigurationError, match="keeps no append-only file"):
                    bundle.durable("disk")

            bare.config_set("appendonly", "yes")
            bare.config_set("appendfsync", "everysec")
            with open_storage(url, namespace=namespace, check_policy=False) as bundle:
                with pytest.raises(
                    StorageConfigurationError, match="CONFIG SET appendfsync always"
                ):
                    bundle.durable("disk")
                bare.config_set("appendfsync", "always")
            with open_storage(url, namespace=namespace, check_policy=False) as bundle:
                assert works(bundle.durable("disk"))
        finally:
            for primary in (*others, bare):
                primary.config_set("appendonly", "no")
                primary.config_set("appendfsync", "everysec")
                primary.config_set("maxmemory-policy", "noeviction")
                primary.config_set("min-replicas-to-write", 0)

    assert report is not None
    assert (report.aof, report.appendfsync, report.keeps_nothing) == (False, "everysec", True)
    assert (report.replicas, report.min_replicas) == (1, 0)
    assert (report.maxmemory_policy, report.waits_for_disk) == ("allkeys-lru", False)
    ways = ["keeps no append-only file", "replication is asynchronous", "is allkeys-lru"]
    assert [way in told for way, told in zip(ways, report.can_lose, strict=True)] == [True] * 3


def test_a_disk_that_is_a_second_behind_is_waited_for_where_the_server_can_say(
    pair: Pair, binary: Path
) -> None:
    pair.admin.config_set("appendfsync", "everysec")
    if binary == redis62_binary():
        with pytest.raises(StorageConfigurationError, match=r"always, or use Redis 7\.2"):
            open_storage(pair.url, durability="disk")
        return

    with open_storage(pair.url, durability="disk") as bundle:
        bundle.intent_retry.increment("f")  # loads its script
        before = pair.admin.info("commandstats")["cmdstat_waitaof"]["calls"]
        bundle.intent_retry.increment("f")
        assert pair.admin.info("commandstats")["cmdstat_waitaof"]["calls"] == before + 1
        pair.admin.config_set("appendfsync", "no")
        with pytest.raises(UnconfirmedWriteError, match="not even the disk had it") as caught:
            bundle.intent_retry.increment("f")
        assert (caught.value.confirmed, caught.value.result.count) == (0, 3)


def test_without_an_append_only_file_nothing_is_on_disk(alone: tuple[str, Any]) -> None:
    url, _ = alone
    with pytest.raises(StorageConfigurationError, match="CONFIG SET appendonly yes"):
        open_storage(url, durability="disk")
    with open_storage(url) as bundle, pytest.raises(StorageConfigurationError, match="appendonly"):
        bundle.durable("disk")


def test_opening_tells_what_can_be_lost(
    alone: tuple[str, Any], pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    url, admin = alone
    with caplog.at_level(logging.INFO, "dir_redis"), open_storage(url) as bundle:
        assert bundle.server is not None
        assert (bundle.server.aof, bundle.server.keeps_nothing) == (False, True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "keeps no append-only file" in caplog.text
    caplog.clear()
    admin.config_set("appendonly", "yes")
    with caplog.at_level(logging.INFO, "dir_redis"), open_storage(url) as bundle:
        assert bundle.server is not None
        assert bundle.server.appendfsync == "everysec"
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "a power cut loses up to a second of writes" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, "dir_redis"), open_storage(pair.url) as bundle:
        assert bundle.server is not None
        assert (bundle.server.appendfsync, bundle.server.replicas) == ("always", 1)
        assert len(bundle.server.can_lose) == 1
    assert "replication is asynchronous" in caplog.text


def test_a_private_server_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dir_redis"), open_storage("embedded://") as bundle:
        assert bundle.server is not None
        assert bundle.server.keeps_nothing
    assert not caplog.records


@pytest.mark.parametrize("bad", ["", "always", "replicas=0", "replicas=1000", "replicas=x", "DISK"])
def test_what_is_no_durability_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="durability must be 'memory', 'disk' or 'replicas=<n>'"):
        open_storage("fakeredis://", durability=bad)
    with memory_storage() as bundle, pytest.raises(ValueError, match="durability must be"):
        bundle.durable(bad)


def test_the_other_backends_say_what_they_are(tmp_path: Path) -> None:
    with memory_storage() as bundle:
        assert bundle.durable("memory") is bundle
        with pytest.raises(StorageConfigurationError, match="always 'memory'"):
            bundle.durable("disk")
    with sqlite_storage(tmp_path / "store.db") as bundle:
        assert bundle.durable("disk") is bundle
        with pytest.raises(StorageConfigurationError, match="always 'disk'"):
            bundle.durable("replicas=1")
    with open_storage("fakeredis://") as bundle:
        with pytest.raises(StorageConfigurationError, match="does not say what it is set to"):
            bundle.durable("replicas=1")
        by_hand = StorageBundle(*[getattr(bundle, name) for name in FIELDS])
    with pytest.raises(StorageConfigurationError, match="built by hand"):
        by_hand.durable("memory")


FIELDS = (
    *("agent_registry", "context", "idempotency", "decision_audit", "saga"),
    *("resource_lock", "intent_retry", "escalation", "lifecycle"),
)
