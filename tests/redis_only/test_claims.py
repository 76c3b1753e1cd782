"""Claims and counts of processes on a real server: killed ones, lost replies, many at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dir_redis import (
    ClaimState,
    LeaseLostError,
    StorageBundle,
    StorageRefusedError,
    open_storage,
)
from dir_redis.embedded import valkey_binary
from dir_redis.redis.connection import connect
from tests.conftest import SERVERS
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.redis_only.conftest import commands_sent
from tests.redis_only.test_races import CONTEXT, PROCESSES, TIMEOUT_SEC, in_processes
from tests.servers import redis62_binary, server

SINGLE_SERVERS = [name for name in SERVERS if name != "cluster"]
STEPS = 10


@pytest.fixture
def store(server_url: str, namespace: str) -> Iterator[StorageBundle]:
    """A store on each real server."""
    with open_storage(server_url, namespace=namespace) as bundle:
        yield bundle


def run_steps(bundle: StorageBundle, number: int) -> list[Any]:
    """Run each step unless it was run; what came of it, and which of them ran here."""
    ran: list[int] = []

    def step(n: int) -> list[int]:
        ran.append(n)
        return [number, n]

    results = [bundle.idempotency.run_once(f"k{n}", lambda _, n=n: step(n)) for n in range(STEPS)]
    return [results, ran]


def test_each_step_runs_in_one_of_16_processes(
    store: StorageBundle, server_url: str, namespace: str
) -> None:
    outcomes = in_processes(run_steps, server_url, namespace)

    assert sorted(n for _, ran in outcomes for n in ran) == list(range(STEPS))
    results = outcomes[0][0]
    assert [results] * PROCESSES == [seen for seen, _ in outcomes]
    assert [store.idempotency.get(f"k{n}") for n in range(STEPS)] == results


def count(bundle: StorageBundle, _number: int) -> list[int]:
    return [bundle.intent_retry.increment("f").count for _ in range(50)]


def test_each_count_is_given_to_one_of_16_processes(server_url: str, namespace: str) -> None:
    with open_storage(server_url, namespace=namespace):
        counts = in_processes(count, server_url, namespace)

    assert sorted(n for own in counts for n in own) == list(range(1, 50 * PROCESSES + 1))


def compensate(bundle: StorageBundle, number: int) -> list[str]:
    done = []
    while (claim := bundle.saga.claim_dirty(str(number), 60)) is not None:
        done.append(claim.dfid)
        bundle.saga.clear_dirty(claim.dfid, epoch=claim.epoch)
    return done


def test_each_flow_is_compensated_by_one_of_16_processes(
    store: StorageBundle, server_url: str, namespace: str
) -> None:
    flows = [f"f{n}" for n in range(100)]
    for dfid in flows:
        store.saga.mark_dirty(dfid, "pay", "{}")

    done = in_processes(compensate, server_url, namespace)

    assert sorted(dfid for own in done for dfid in own) == sorted(flows)
    assert store.saga.get_dirty_flows() == []


def begin_and_hang(url: str, namespace: str, tokens: Any) -> None:
    """Begin a step, and a compensation, and do not come back."""
    with open_storage(url, namespace=namespace) as bundle:
        dirty = bundle.saga.claim_dirty("dead", 0.5)
        assert dirty is not None

        def step(claim: Any) -> None:
            tokens.put((claim.token, dirty.epoch))
            signal.pause()

        bundle.idempotency.run_once("k", step, lease_sec=0.5, owner="dead")


def test_what_a_killed_process_began_is_done_by_another(
    store: StorageBundle, server_url: str, namespace: str
) -> None:
    store.saga.mark_dirty("f", "pay", "{}")
    tokens = CONTEXT.SimpleQueue()
    process = CONTEXT.Process(target=begin_and_hang, args=(server_url, namespace, tokens))
    process.start()
    token, epoch = tokens.get()
    assert store.idempotency.claim("k", lease_sec=1, owner="me").owner == "dead"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(TIMEOUT_SEC)

    given: list[Any] = []
    result = store.idempotency.run_once("k", lambda claim: given.append(claim) or "heir's")

    assert result == "heir's"
    assert given[0].token > token
    late = type(given[0])("k", ClaimState.NEW, token=token)
    with pytest.raises(LeaseLostError):
        store.idempotency.complete(late, "late")
    assert store.idempotency.get("k") == "heir's"
    # By now its other lease, which began before and was never renewed, is over as well.
    claim = store.saga.claim_dirty("heir", 60)
    assert claim is not None
    assert claim.epoch > epoch
    with pytest.raises(LeaseLostError):
        store.saga.clear_dirty("f", epoch=epoch)


@pytest.fixture(params=SINGLE_SERVERS)
def proxy(request: pytest.FixtureRequest, servers: Any) -> Iterator[FaultProxy]:
    """A proxy before each real server that is one."""
    with fault_proxy(servers.url(request.param)) as running:
        yield running


@pytest.mark.parametrize("half", [False, True])
def test_a_step_runs_once_though_every_reply_to_its_caller_gets_lost_once(
    proxy: FaultProxy, namespace: str, half: bool
) -> None:
    with open_storage(proxy.url, namespace=namespace, timeout_sec=3) as bundle:
        ran = []
        for n in range(5):
            proxy.lose_replies(2, to=b"EVALSHA", half=half)
            assert bundle.idempotency.run_once("k" * n + "x", ran.append) is None

        assert len(ran) == 5


def test_a_result_whose_outcome_is_unknown_is_stored_by_completing_again(
    proxy: FaultProxy, namespace: str
) -> None:
    with open_storage(proxy.url, namespace=namespace, timeout_sec=0.2) as bundle:
        ran = []

        def step(_claim: Any) -> str:
            ran.append(1)
            # More losses than one attempt of complete lives through.
            proxy.lose_replies(6, to=b"EVALSHA")
            return "kept"

        assert bundle.idempotency.run_once("k", step) == "kept"
        assert ran == [1]
        assert bundle.idempotency.get("k") == "kept"


@pytest.mark.parametrize("half", [False, True])
def test_a_claim_whose_reply_gets_lost_finds_the_result(
    proxy: FaultProxy, namespace: str, half: bool
) -> None:
    with open_storage(proxy.url, namespace=namespace, timeout_sec=3) as bundle:
        bundle.idempotency.set("k", {"paid": 1})
        bundle.idempotency.claim("k", lease_sec=60, owner="me")
        proxy.lose_replies(1, to=b"EVALSHA", half=half)
        with commands_sent(bundle) as sent:
            claim = bundle.idempotency.claim("k", lease_sec=60, owner="me")

    assert claim.result == {"paid": 1}
    # It sent the first again, and asked anew.
    assert len({command[-2] for command in sent}) == 2


@pytest.mark.parametrize("binary", [valkey_binary, redis62_binary])
def test_a_count_that_the_server_refuses_for_now_is_not_corrupt(tmp_path: Any, binary: Any) -> None:
    with (
        server(binary(), tmp_path / "server") as running,
        open_storage(running.url, timeout_sec=0.3) as bundle,
        connect(running.url, attempt_timeout_sec=5).client as admin,
    ):
        bundle.intent_retry.increment("f")
        for setting, code in (("maxmemory", "OOM"), ("min-replicas-to-write", "NOREPLICAS")):
            admin.config_set(setting, "1")
            with pytest.raises(StorageRefusedError) as caught:
                bundle.intent_retry.increment("f")
            assert caught.value.code == code
            admin.config_set(setting, "0")
        admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StorageRefusedError) as caught:
            bundle.intent_retry.increment("f")
        assert caught.value.code == "READONLY"
        admin.execute_command("REPLICAOF", "NO", "ONE")

        assert bundle.intent_retry.increment("f").count == 2


def test_a_waiter_blocks_and_does_not_poll(store: StorageBundle) -> None:
    claim = store.idempotency.claim("k", lease_sec=60, owner="me")
    found: list[Any] = []
    with commands_sent(store) as sent:
        waiting = threading.Thread(target=lambda: found.append(store.idempotency.wait("k", 30)))
        waiting.start()
        while not any(command[0] == "XREAD" for command in sent):
            waiting.join(0.001)
        store.idempotency.complete(claim, "result")
        waiting.join(TIMEOUT_SEC)

    assert found[0].result == "result"
    # It looked, blocked and looked again; the complete is the fourth, or a fifth with its source.
    assert 4 <= len(sent) <= 6


def test_a_claim_of_several_partitions_asks_each_once_and_begins_elsewhere_each_time(
    server_url: str, namespace: str
) -> None:
    with open_storage(server_url, namespace=namespace, partitions=5) as bundle:
        bundle.saga.claim_dirty("me", 60)  # loads its script
        asked = []
        for _ in range(5):
            with commands_sent(bundle) as sent:
                assert bundle.saga.claim_dirty("me", 60) is None
            asked.append([command[3].partition("}")[0] for command in sent])

    assert all(len(set(one)) == len(one) == 5 for one in asked)
    assert len({one[0] for one in asked}) == 5


def test_a_spoilt_claim_of_a_flow_keeps_no_flow_from_being_claimed(
    store: StorageBundle, server_url: str, namespace: str
) -> None:
    for dfid in ("spoilt", "sound"):
        store.saga.mark_dirty(dfid, "step", "{}")
    with connect(server_url, attempt_timeout_sec=5).client as raw:
        raw.hset(f"{{{namespace}:0}}:sagas_claims", "spoilt", "garbage")

    claims = [store.saga.claim_dirty("me", 60) for _ in range(2)]

    assert [claim.dfid for claim in claims if claim is not None] == ["spoilt", "sound"]
    for claim in claims:
        assert claim is not None
        store.saga.clear_dirty(claim.dfid, epoch=claim.epoch)
