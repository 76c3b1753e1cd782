"""Fixtures for the tests of code that uses a store; pytest finds them by itself.

Each gives a fresh, empty :class:`~dir_redis.StorageBundle` to each test and closes it after.
Under pytest-xdist every worker has an embedded server of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dir_redis import StorageBundle
    from dir_redis.embedded import EmbeddedServer


@pytest.fixture
def dir_memory_bundle() -> Iterator[StorageBundle]:
    """A store in memory: the fastest, for one process and its threads."""
    from dir_redis import memory_storage

    with memory_storage() as bundle:
        yield bundle


@pytest.fixture
def dir_fakeredis_bundle() -> Iterator[StorageBundle]:
    """A store on a pretended Redis within the process; needs ``dir-redis[fakeredis]``."""
    from dir_redis import open_storage

    with open_storage("fakeredis://") as bundle:
        yield bundle


@pytest.fixture(scope="session")
def dir_embedded_server() -> Iterator[EmbeddedServer]:
    """A private Valkey server for the tests of this process; needs ``dir-redis[embedded]``."""
    from dir_redis.embedded import EmbeddedServer

    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def dir_embedded_bundle(dir_embedded_server: EmbeddedServer) -> Iterator[StorageBundle]:
    """A store on a real server, in a namespace of its own; other processes can open its url.

    They need its namespace too, which is in the ``namespace`` attribute of the bundle.
    """
    from dir_redis import redis_storage

    namespace = f"test-{uuid.uuid4().hex[:12]}"
    with redis_storage(dir_embedded_server.url, namespace=namespace) as bundle:
        yield bundle
