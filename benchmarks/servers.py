"""Private servers on TCP loopback, as a fleet would reach them, and plain clients for them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import redis

from dir_redis.embedded import EmbeddedServer
from dir_redis.redis.connection import connect

CLUSTER_SLOTS = 16384
JOIN_TIMEOUT_SEC = 30.0


@contextmanager
def server(path: Path | None = None, **settings: str) -> Iterator[str]:
    """Run a Valkey server; yields its URL on TCP loopback.

    Args:
        path: a folder for its append-only file; None keeps nothing.
        settings: directives of valkey.conf.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    tcp = {"port": str(port), "bind": "127.0.0.1"}
    with EmbeddedServer(path, settings={**tcp, **settings}):
        yield f"redis://127.0.0.1:{port}"


def plain_client(url: str) -> redis.Redis:
    """A redis-py client made as the storages make theirs: parser, protocol, timeouts, retries."""
    client = connect(url, attempt_timeout_sec=2.0).client
    assert isinstance(client, redis.Redis)
    return client


@contextmanager
def cluster(primaries: int) -> Iterator[list[str]]:
    """Run a cluster without replicas, the slots in even ranges; yields each node's own URL."""
    with ExitStack() as running:
        buses = [
            running.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(primaries)
        ]
        bus_ports = [str(bus.getsockname()[1]) for bus in buses]
        for bus in buses:
            bus.close()
        urls = [
            running.enter_context(server(None, **{"cluster-enabled": "yes", "cluster-port": port}))
            for port in bus_ports
        ]
        nodes = [running.enter_context(closing(plain_client(url))) for url in urls]
        for number, node in enumerate(nodes):
            first, end = (CLUSTER_SLOTS * (number + more) // primaries for more in (0, 1))
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for url, port in zip(urls[1:], bus_ports[1:], strict=True):
            at = url.rpartition(":")[2]
            nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", at, port)
        deadline = time.monotonic() + JOIN_TIMEOUT_SEC
        while not all(_knows_all_slots(node) for node in nodes):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{primaries} nodes were no cluster in {JOIN_TIMEOUT_SEC} s")
            time.sleep(0.05)
        yield urls


def _knows_all_slots(node: redis.Redis) -> bool:
    told = node.execute_command("CLUSTER", "INFO")
    return b"cluster_state:ok" in told and f"cluster_slots_ok:{CLUSTER_SLOTS}".encode() in told
