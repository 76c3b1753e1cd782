"""Servers behind the fault proxy, each setup started once and whole again before each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dir_redis.embedded import valkey_binary
from tests.fault_proxy import FaultProxy
from tests.faults.cluster_of_six import ClusterOfSix, cluster_of_six
from tests.faults.failover import Setup
from tests.faults.node import Node, lasting_ports
from tests.faults.sentinel_service import SentinelService, sentinel_service


def primaries(setup: Setup) -> list[Any]:
    """Clients of a setup's servers that take writes."""
    nodes = [node for node in setup.nodes if node.info("replication")["role"] == "master"]
    return [node.admin for node in nodes]


class SingleServer:
    """One server behind the proxy; nobody takes over from it."""

    def __init__(self, folder: Path) -> None:
        self.proxy = FaultProxy()
        (port,) = lasting_ports(1)
        self.node = Node(valkey_binary(), folder / "server", self.proxy, port, "127.0.4.1")
        self.nodes = [self.node]
        self._start()
        self.url = f"redis://127.0.0.1:{self.node.door}"

    def primary(self, namespace: str) -> Node:  # noqa: ARG002
        return self.node

    def repair(self) -> None:
        self.proxy.restore()
        self.node.resume()
        if not self.node.runs:
            self._start()

    def close(self) -> None:
        self.node.close()
        self.proxy.close()

    def _start(self) -> None:
        self.node.start("--port", str(self.node.port), "--bind", "127.0.0.1", "--save", "")


@pytest.fixture(scope="package")
def single_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SingleServer]:
    server = SingleServer(tmp_path_factory.mktemp("single"))
    yield server
    server.close()


@pytest.fixture(scope="package")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelService]:
    with sentinel_service(tmp_path_factory.mktemp("sentinels")) as service:
        yield service


@pytest.fixture(scope="package")
def six_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfSix]:
    with cluster_of_six(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


FIXTURES = {"single": "single_server", "sentinel": "sentinels", "cluster": "six_nodes"}


def whole(request: pytest.FixtureRequest) -> Iterator[Setup]:
    setup = request.getfixturevalue(FIXTURES[request.param])
    yield setup
    setup.repair()


@pytest.fixture(params=["single", "sentinel", "cluster"])
def setup(request: pytest.FixtureRequest) -> Iterator[Setup]:
    """Each setup, repaired after the test."""
    yield from whole(request)


@pytest.fixture(params=["sentinel", "cluster"])
def fleet(request: pytest.FixtureRequest) -> Iterator[Setup]:
    """Each setup in which a replica takes over from its primary, repaired after the test."""
    yield from whole(request)


@pytest.fixture
def cluster(six_nodes: ClusterOfSix) -> Iterator[ClusterOfSix]:
    """The cluster, repaired after the test."""
    yield six_nodes
    six_nodes.repair()
