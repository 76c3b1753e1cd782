"""Fixtures for every test: the servers, and stores that are each test's own."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis.utils

from dir_redis import StorageBundle, memory_storage, open_storage, sqlite_storage
from dir_redis.embedded import valkey_binary
from dir_redis.redis.connection import connect
from tests.least_privilege import leaving_alone, restrict_every_store
from tests.servers import cluster, container, redis62_binary, server

TEST_URL = os.environ.get("DIR_REDIS_TEST_URL")
TESTCONTAINERS = os.environ.get("DIR_REDIS_TEST_SERVER") == "testcontainers"


def wanted(names: list[str]) -> list[str]:
    """Those of some backends that the tests are to run on: all, unless they are told otherwise."""
    only = os.environ.get("DIR_REDIS_TEST_BACKENDS")
    return names if only is None else [name for name in names if name in only.split(",")]


if TEST_URL:
    SERVERS = wanted(["url"])
elif TESTCONTAINERS:
    SERVERS = wanted(["testcontainers"])
else:
    SERVERS = wanted(["valkey", "redis62", "cluster"])

REDIS_BACKENDS = [*wanted(["fakeredis"]), *SERVERS]
BACKENDS = [*wanted(["memory", "sqlite"]), *REDIS_BACKENDS]

# More than one, so that the cluster's tests see what spans partitions.
CLUSTER_PARTITIONS = 5

MEMORY_FOLDER = Path("/dev/shm")
MEMORY_NEEDED = 2 << 30


def pytest_configure() -> None:
    """Have temporary files in memory where there is room: else each commit waits for a disk.

    None of them has to outlast the machine: what is killed in the tests is processes.
    """
    if MEMORY_FOLDER.is_dir() and shutil.disk_usage(MEMORY_FOLDER).free > MEMORY_NEEDED:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY_FOLDER))


@pytest.fixture(autouse=True, scope="session")
def _least_privilege() -> Iterator[None]:
    """With DIR_REDIS_TEST_ACL=1 every store is opened as a user who may do only what it takes."""
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("DIR_REDIS_TEST_ACL") == "1":
            restrict_every_store(patch)
        yield


@pytest.fixture(autouse=True, scope="session")
def _known_driver() -> Iterator[None]:
    """For each new connection redis-py parses the metadata of its package to say its version."""
    with pytest.MonkeyPatch.context() as patch:
        version = functools.cache(redis.utils.get_lib_version)
        patch.setattr(redis.utils, "get_lib_version", version)
        yield


@pytest.fixture(autouse=True)
def _left_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """A server that is started anew has forgotten its users; making one is one more connection."""
    with contextlib.ExitStack() as stack:
        if request.node.get_closest_marker("opened_as_it_is"):
            stack.enter_context(leaving_alone())
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """At least four processes: each waits half of its time, for servers and leases."""
    return max(4, os.cpu_count() or 1)


class Servers:
    """The servers of one test process, each started when a test first asks for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = contextlib.ExitStack()
        self._urls: dict[str, str] = {}

    def url(self, name: str) -> str:
        """The URL of a server by name: one of REDIS_BACKENDS."""
        if name not in self._urls:
            self._urls[name] = self._start(name)
        return self._urls[name]

    def _start(self, name: str) -> str:
        enter = self._running.enter_context
        if name == "fakeredis":
            return f"fakeredis://{uuid.uuid4().hex}"
        if name == "valkey":
            return enter(server(valkey_binary(), self._folder / name)).url
        if name == "redis62":
            return enter(server(redis62_binary(), self._folder / name)).url
        if name == "cluster":
            return enter(cluster(self._folder / name))
        if name == "testcontainers":
            return enter(container())
        assert name == "url"
        assert TEST_URL is not None
        return TEST_URL

    def empty(self) -> None:
        """Forget what is stored on the servers that were started here."""
        for name in self._urls.keys() - {"url"}:
            with connect(self._urls[name], attempt_timeout_sec=30).client as client:
                client.flushall()

    def stop(self) -> None:
        self._running.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The servers of this test process."""
    started = Servers(tmp_path_factory.mktemp("servers"))
    yield started
    started.stop()


@pytest.fixture(autouse=True, scope="module")
def _emptied(servers: Servers) -> None:
    """No file's tests begin with the keys of all before: whoever scans a server looks at each."""
    servers.empty()


@pytest.fixture
def namespace() -> str:
    """A namespace no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of the backend a test runs on."""
    return str(request.param)


@pytest.fixture(params=REDIS_BACKENDS)
def redis_backend(request: pytest.FixtureRequest) -> str:
    """The name of the Redis backend a test runs on."""
    return str(request.param)


@pytest.fixture(params=SERVERS)
def real_server(request: pytest.FixtureRequest) -> str:
    """The name of the real server a test runs on."""
    return str(request.param)


@pytest.fixture
def redis_url(redis_backend: str, servers: Servers) -> str:
    """The URL of a Redis backend."""
    return servers.url(redis_backend)


@pytest.fixture
def server_url(real_server: str, servers: Servers) -> str:
    """The URL of a real server."""
    return servers.url(real_server)


@pytest.fixture
def fresh_bundle_factory(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path, namespace: str
) -> Iterator[Callable[[], StorageBundle]]:
    """Opens as many empty stores on the backend as a test wants; they are closed after it."""
    numbers = itertools.count()
    with contextlib.ExitStack() as opened:

        def fresh() -> StorageBundle:
            number = next(numbers)
            if backend == "memory":
                bundle = memory_storage()
            elif backend == "sqlite":
                bundle = sqlite_storage(tmp_path / f"store-{number}.db")
            else:
                url = request.getfixturevalue("servers").url(backend)
                partitions = CLUSTER_PARTITIONS if backend == "cluster" else None
                bundle = open_storage(url, namespace=f"{namespace}-{number}", partitions=partitions)
            return opened.enter_context(bundle)

        yield fresh


@pytest.fixture
def bundle(fresh_bundle_factory: Callable[[], StorageBundle]) -> StorageBundle:
    """A fresh, empty store on the backend."""
    return fresh_bundle_factory()
