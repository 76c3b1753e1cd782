"""Stores opened as a user who may do what `dir_redis.acl` says, and no more."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import pytest
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError, ResponseError

from dir_redis import StorageError, acl
from dir_redis.redis.connection import connect
from dir_redis.redis.store import RedisStore

PASSWORD = "an-0pen-secret"
# The schemes of servers that are reached over the network; a private one is its owner's alone.
NETWORK = ("redis://", "redis+cluster://", "redis+sentinel://")


# Tests for whose servers no user can be made to last.
_left_alone = False


@contextlib.contextmanager
def leaving_alone() -> Iterator[None]:
    """Have stores opened by their URLs as they are, for the time of a with block."""
    global _left_alone
    _left_alone = True
    try:
        yield
    finally:
        _left_alone = False


def nodes_of(client: Any) -> Iterator[Any]:
    """A client of each server that a client may come to talk to, replicas included."""
    if isinstance(client, RedisCluster):
        for node in client.get_nodes():
            yield client.get_redis_connection(node)
        return
    yield client
    for name, replica in client.info("replication").items():
        if name.startswith("slave") and isinstance(replica, dict):
            address = f"redis://{replica['ip']}:{replica['port']}"
            with connect(address, attempt_timeout_sec=1).client as other:
                yield other


def allow(admin: Any, namespace: str, *more: str, user: str = "fleet", **wanted: Any) -> None:
    """Make a user by the rules of `acl` on every server that an administrator's client knows.

    Args:
        admin: the client.
        namespace: which keys the user may touch.
        more: rules to add, such as "+waitaof".
        user: the user's name.
        wanted: what `acl` takes.
    """
    cluster = isinstance(admin, RedisCluster)
    line = acl(namespace, user=user, password=PASSWORD, cluster=cluster, **wanted)
    for node in nodes_of(admin):
        node.execute_command("ACL", "SETUSER", *line.split()[1:], *more)


def url_of(url: str, user: str = "fleet") -> str:
    """A server's URL with the name and password of such a user."""
    return url.replace("://", f"://{user}:{PASSWORD}@", 1)


def restricted_url(url: str, namespace: str, **wanted: Any) -> str:
    """Make a user by the rules of `acl`, and return its URL."""
    with connect(url, attempt_timeout_sec=5).client as admin:
        allow(admin, namespace, **wanted)
    return url_of(url)


def restrict_every_store(patch: pytest.MonkeyPatch) -> None:
    """Have every store that a test opens by the URL of a server use a user of its own.

    That user may also copy the namespace, read settings and wait for replicas and disks, as some
    tests go on to do.
    """
    open_as_asked = RedisStore.__init__

    @functools.wraps(open_as_asked)
    def open_restricted(self: RedisStore, url_or_client: Any, **options: Any) -> None:
        namespace = options.get("namespace", "dir")
        plain = isinstance(url_or_client, str) and url_or_client.startswith(NETWORK)
        if _left_alone or not plain or "@" in url_or_client or not isinstance(namespace, str):
            return open_as_asked(self, url_or_client, **options)
        user = f"fleet-{namespace}"[:64]
        try:
            with connect(url_or_client, attempt_timeout_sec=1).client as admin:
                allow(
                    *(admin, namespace),
                    **{"user": user, "database": 1, "durability": "replicas=1"},
                    **{"read_config": True, "migrate": True},
                )
                with contextlib.suppress(ResponseError):  # Redis 6.2 has none
                    for node in nodes_of(admin):
                        node.execute_command("ACL", "SETUSER", user, "+waitaof")
        except (RedisError, RedisClusterException, StorageError, OSError, ValueError):
            return open_as_asked(self, url_or_client, **options)  # what the test is about
        open_as_asked(self, url_of(url_or_client, user), **options)
        # What is told of the store is as if the administrator had opened it.
        self.url = url_or_client
        return None

    patch.setattr(RedisStore, "__init__", open_restricted)
