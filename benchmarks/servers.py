"""Private servers on TCP loopback, as a fleet would reach them, and plain clients for them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from dir_redis.embedded import EmbeddedServer
from dir_redis.redis.connection import connect


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
