"""Opening a store: every URL, and every ready client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis

from dir_redis import (
    NamespaceMismatchError,
    RedisContextStorage,
    StorageError,
    open_storage,
    redis_storage,
)
from dir_redis.embedded import ServerProcess, valkey_binary
from dir_redis.redis.connection import connect
from tests.redis_only.conftest import works
from tests.servers import free_ports, keys_of, server


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_a_url_opens_a_server(scheme: str, servers: Any, namespace: str) -> None:
    url = servers.url("valkey").replace("redis://", f"{scheme}://")
    with open_storage(url, namespace=namespace) as bundle:
        assert works(bundle)
        assert bundle.url == url
        assert bundle.namespace == namespace


def test_the_environment_names_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIR_REDIS_URL", "memory://")

    with open_storage() as bundle:
        assert works(bundle)


@pytest.mark.parametrize("url", ["memory://", "fakeredis://", "embedded://"])
def test_a_store_within_the_process_opens(url: str) -> None:
    with open_storage(url) as bundle:
        assert works(bundle)


def test_relative_and_absolute_paths_of_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with open_storage("sqlite:///relative/store.db") as relative:
        assert works(relative)
    with open_storage(f"sqlite:///{tmp_path}/relative/store.db") as absolute:
        assert absolute.context.get_session("f") == '{"a": 1}'


def test_fakeredis_stores_of_one_name_are_one_store() -> None:
    with open_storage("fakeredis://shared-by-name") as one:
        one.context.set_session("f", "[1]")
        with open_storage("fakeredis://shared-by-name") as other:
            assert other.context.get_session("f") == "[1]"
    with open_storage("fakeredis://") as private, open_storage("fakeredis://") as another:
        private.context.set_session("f", "[1]")
        assert another.context.get_session("f") is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decode_responses": True},
        {"protocol": 3},
        {"protocol": 3, "decode_responses": True},
    ],
    ids=str,
)
def test_a_ready_client_works_however_it_answers(
    options: dict[str, Any], servers: Any, namespace: str
) -> None:
    with redis.Redis.from_url(servers.url("valkey"), **options) as client:
        bundle = redis_storage(client, namespace=namespace, partitions=3)
        assert works(bundle)
        for number in range(6):
            bundle.decision_audit.record(f"f{number}", "E", details={"n": number})
            bundle.saga.mark_dirty(f"f{number}", "step", "{}")
            bundle.agent_registry.upsert_agent(f"a{number}", "{}", 1, "ACTIVE", None, None)
            bundle.escalation.insert_request(f"f{number}", "a", "r", "{}", "{}", "i")
        bundle.resource_lock.set_capacity("r", 5)
        bundle.resource_lock.acquire_batch("f", {"r": 1.5}, 0)

        flows = [f"f{number}" for number in range(6)]
        rows = bundle.decision_audit.all_events_chronological()
        assert [row["dfid"] for row in rows] == flows
        assert [row["details"] for row in bundle.decision_audit.events_for_dfid("f3")] == [{"n": 3}]
        assert bundle.saga.get_dirty_flows() == flows
        assert bundle.agent_registry.list_active_agents() == [f"a{n}" for n in range(6)]
        assert [r["dfid"] for r in bundle.escalation.get_pending_requests()] == flows
        assert bundle.resource_lock.get_locked_amount("r", "g") == 1.5
        assert bundle.resource_lock.get_capacity("r") == 5


def test_a_ready_client_stays_open_when_the_bundle_closes(servers: Any, namespace: str) -> None:
    with redis.Redis.from_url(servers.url("valkey"), single_connection_client=True) as client:
        redis_storage(client, namespace=namespace).close()

        assert client.connection is not None
        assert client.ping()


@pytest.mark.parametrize("backend", ["sqlite", "fakeredis", "valkey"], indirect=True)
def test_a_closed_bundle_says_so(bundle: Any) -> None:
    bundle.close()

    with pytest.raises(StorageError, match="was closed"):
        bundle.context.get_session("f")


def test_a_ready_cluster_client_works(servers: Any, namespace: str) -> None:
    client = connect(servers.url("cluster"), attempt_timeout_sec=5).client
    assert works(redis_storage(client, namespace=namespace, partitions=8))
    client.close()


def test_a_ready_fakeredis_client_works() -> None:
    assert works(redis_storage(fakeredis.FakeRedis()))


def test_each_storage_stands_alone(servers: Any, namespace: str) -> None:
    alone = RedisContextStorage(servers.url("valkey"), namespace=namespace)
    alone.set_session("f", "[1]")
    alone.init_schema()
    alone.close()

    with open_storage(servers.url("valkey"), namespace=namespace) as bundle:
        assert bundle.context.get_session("f") == "[1]"


def make_schema_1(raw: Any, namespace: str, partitions: int = 1) -> str:
    """What version 0.1.0 of this package left, byte for byte; returns the keys' tag."""
    tag = f"{{{namespace}:0}}:"
    meta = {"schema": "1", "partitions": str(partitions), "amount_places": "8"}
    raw.hset(f"{tag}meta", mapping=meta)
    raw.hset(f"{tag}lock_capacities", mapping={"seats": "500000000"})
    raw.zadd(f"{tag}sagas_dirty", {"f": 1795485963419228, "g": 1795485963419229})
    for dfid in ("f", "g"):
        raw.hset(f"{tag}saga:{dfid}", mapping={"failed_step": "pay", "partial_state": "{}"})
    raw.zadd(f"{tag}requests_pending", {"h": 1795485963419228})
    request = '{"agent_id": "a", "reason": "r", "impact": "i", "context": {}, "proposal": {}}'
    raw.hset(f"{tag}requests_open", "h", request)
    raw.set(f"{tag}retry:f", "3")
    return tag


def test_a_namespace_of_schema_1_is_brought_over(raw: Any, redis_url: str, namespace: str) -> None:
    tag = make_schema_1(raw, namespace)

    with open_storage(redis_url, namespace=namespace) as bundle:
        assert raw.hget(f"{tag}meta", "schema") == b"2"
        assert bundle.resource_lock.get_capacity("seats") == 5
        bundle.resource_lock.reserve("f", {"seats": 5})
        assert bundle.intent_retry.get_count("f") == 3
        assert bundle.saga.get_dirty_flows() == ["f", "g"]
        claims = [bundle.saga.claim_dirty("me", 60) for _ in range(2)]
        assert [claim and claim.dfid for claim in claims] == ["f", "g"]
        request = bundle.escalation.claim_next("maria", 60)
        assert request is not None
        assert request["dfid"] == "h"
    with open_storage(redis_url, namespace=namespace) as bundle:  # once is enough
        assert bundle.saga.claim_dirty("me", 60) is None
        assert bundle.resource_lock.get_locked_amount("seats", "nobody") == 5


def test_a_namespace_of_schema_1_in_which_something_is_held_is_left_as_it_is(
    raw: Any, redis_url: str, namespace: str
) -> None:
    tag = make_schema_1(raw, namespace)
    raw.hset(f"{tag}lock_totals", "seats", "100000000")
    raw.hset(f"{tag}lock_flow:f", "seats", "100000000")
    before = {key: raw.dump(key) for key in keys_of(raw, namespace)}

    with pytest.raises(NamespaceMismatchError, match=r"version 1, not 2; .* release all"):
        open_storage(redis_url, namespace=namespace)

    after = {key: raw.dump(key) for key in keys_of(raw, namespace) if b":op:" not in key}
    assert after == before
    raw.delete(f"{tag}lock_totals", f"{tag}lock_flow:f")
    open_storage(redis_url, namespace=namespace).close()


@pytest.mark.parametrize(
    ("partitions", "options", "way_out"),
    [
        (4, {}, "several partitions cannot be brought over"),
        (1, {"partitions": 4}, "opened as it was made"),
        (1, {"amount_places": 2}, "opened as it was made"),
    ],
)
def test_a_namespace_of_schema_1_made_otherwise_is_left_as_it_is(
    raw: Any, redis_url: str, namespace: str, partitions: int, options: Any, way_out: str
) -> None:
    tag = make_schema_1(raw, namespace, partitions)

    with pytest.raises(NamespaceMismatchError, match=way_out):
        open_storage(redis_url, namespace=namespace, **options)

    assert raw.hget(f"{tag}meta", "schema") == b"1"
    assert not raw.exists(f"{tag}sagas_due", f"{tag}requests_unclaimed")


@pytest.fixture
def sentinel_url(tmp_path: Path) -> Iterator[str]:
    """A Sentinel that watches one primary, known as the service ``fleet``."""
    (port,) = free_ports(1)
    with server(valkey_binary(), tmp_path / "primary") as primary, contextlib.ExitStack() as stack:
        folder = tmp_path / "sentinel"
        folder.mkdir()
        primary_port = primary.url.rpartition(":")[2]
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor fleet 127.0.0.1 {primary_port} 1\n"
        )
        process = ServerProcess(
            valkey_binary(),
            [str(config), "--sentinel"],
            url=f"redis://127.0.0.1:{port}",
            folder=folder,
        )
        stack.callback(process.stop)
        yield f"redis+sentinel://127.0.0.1:{port}/fleet"


def test_a_sentinel_url_finds_the_primary(sentinel_url: str, namespace: str) -> None:
    with open_storage(sentinel_url, namespace=namespace) as bundle:
        assert works(bundle)
