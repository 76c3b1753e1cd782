"""TLS to servers that are found through others: a Sentinel service's, a cluster's."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from dir_redis import StorageConfigurationError, StorageUnavailableError, open_storage
from dir_redis.embedded import ServerProcess, valkey_binary
from dir_redis.redis.connection import connect
from dir_redis.redis.keys import Keys
from tests.redis_only.conftest import works
from tests.redis_only.test_costs import READS
from tests.redis_only.test_once import WRITES
from tests.security.sentinel_server import SERVICE, sentinel
from tests.security.tls_proxy import Authority, TlsProxy, tls_proxy
from tests.servers import free_ports, server, wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: Any) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "a")


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: Any) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "b")


@pytest.fixture
def service(tmp_path: Path, authority: Authority) -> Iterator[tuple[TlsProxy, TlsProxy]]:
    """TLS before a Sentinel, and before the primary that it names."""
    certificate = authority.certificate("127.0.0.1", "localhost")
    with (
        server(valkey_binary(), tmp_path / "primary") as primary,
        tls_proxy(primary.url, certificate) as before_primary,
        sentinel(tmp_path / "sentinel", before_primary.port) as watching,
        tls_proxy(watching, certificate) as before_sentinel,
    ):
        plain = f"redis+sentinel://{watching.removeprefix('redis://')}/{SERVICE}"
        client: Any = connect(plain, attempt_timeout_sec=5).client
        wait_until(client.ping, 30)
        client.close()
        yield before_sentinel, before_primary


def url_of(sentinel: TlsProxy, options: str) -> str:
    return f"{sentinel.url(scheme='rediss+sentinel')}/{SERVICE}?{options}"


def test_a_sentinel_service_is_reached_by_tls(
    service: tuple[TlsProxy, TlsProxy], authority: Authority
) -> None:
    with open_storage(url_of(service[0], f"ssl_ca_certs={authority.file}")) as bundle:
        for call in (*WRITES.values(), *READS.values()):
            call(bundle)

    assert all(proxy.tls_connections for proxy in service)


def test_the_sentinels_certificate_is_verified(
    service: tuple[TlsProxy, TlsProxy], authority: Authority, other_authority: Authority
) -> None:
    service[0].present(other_authority.certificate("127.0.0.1", "localhost"))

    with pytest.raises(StorageConfigurationError, match="cannot be verified"):
        open_storage(url_of(service[0], f"ssl_ca_certs={authority.file}"))


def test_the_primarys_certificate_is_verified_by_the_address_that_the_sentinel_says(
    service: tuple[TlsProxy, TlsProxy], authority: Authority
) -> None:
    service[1].present(authority.certificate("localhost"))

    with pytest.raises(StorageConfigurationError, match="IP address mismatch"):
        open_storage(url_of(service[0], f"ssl_ca_certs={authority.file}"))


def test_sentinels_may_have_an_authority_of_their_own(
    service: tuple[TlsProxy, TlsProxy], authority: Authority, other_authority: Authority
) -> None:
    service[0].present(other_authority.certificate("127.0.0.1", "localhost"))
    options = f"ssl_ca_certs={authority.file}&sentinel_ssl_ca_certs={other_authority.file}"

    with open_storage(url_of(service[0], options)) as bundle:
        assert works(bundle)


# A cluster

PRIMARIES = 3
SLOTS = 16384
# With as many, each node has a partition's slot in any namespace that a test may get.
PARTITIONS = 30
# Nothing here waits for a timeout, which is 5 s.
AT_ONCE_SEC = 2.5


class Node:
    """A primary, and the TLS before it, whose address it gives out for its own.

    Attributes:
        admin: a client that is not of the store's, without TLS.
        proxy: the TLS.
    """

    def __init__(self, admin: Any, proxy: TlsProxy, bus_port: int) -> None:
        self.admin = admin
        self.proxy = proxy
        self.bus_port = bus_port
        self.id = admin.execute_command("CLUSTER", "MYID").decode()

    @property
    def slots(self) -> set[int]:
        """The slots that it says it has."""
        ranges = self.admin.execute_command("CLUSTER SLOTS")
        own = [(r[0], r[1]) for r in ranges if r[2][1] == self.proxy.port]
        return {slot for first, last in own for slot in range(first, last + 1)}

    def moved_replies(self) -> int:
        """How often it has sent a client on."""
        counted = self.admin.info("errorstats").get("errorstat_MOVED", {"count": 0})
        return int(counted["count"])


@pytest.fixture(scope="module")
def running_cluster(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[list[Node]]:
    """Three primaries, each behind a TLS of its own; among themselves they speak without."""
    with contextlib.ExitStack() as running:
        nodes = [
            _start(running, tmp_path_factory.mktemp("node"), authority) for _ in range(PRIMARIES)
        ]
        share = -(-SLOTS // PRIMARIES)
        for place, node in enumerate(nodes):
            last = min((place + 1) * share, SLOTS) - 1
            node.admin.execute_command("CLUSTER", "ADDSLOTSRANGE", place * share, last)
            node.admin.execute_command("CLUSTER", "SET-CONFIG-EPOCH", place + 1)
        port = nodes[0].admin.config_get("port")["port"]
        for node in nodes[1:]:
            node.admin.execute_command("CLUSTER", "MEET", "127.0.0.1", port, nodes[0].bus_port)
        wait_until(lambda: all(map(_knows_all, nodes)), 60)
        yield nodes


def _start(running: contextlib.ExitStack, folder: Path, authority: Authority) -> Node:
    port, bus_port, announced = free_ports(3)
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    arguments += ["--cluster-enabled", "yes", "--cluster-port", str(bus_port)]
    arguments += ["--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", str(announced)]
    process = ServerProcess(
        valkey_binary(), arguments, url=f"redis://127.0.0.1:{port}", folder=folder
    )
    running.callback(process.stop)
    certificate = authority.certificate("127.0.0.1", "localhost")
    proxy = running.enter_context(tls_proxy(process.url, certificate, announced))
    admin = connect(process.url, attempt_timeout_sec=5).client
    running.callback(admin.close)
    return Node(admin, proxy, bus_port)


def _knows_all(node: Node) -> bool:
    """Whether it knows every node, and every slot by the address that is given out."""
    ranges = node.admin.execute_command("CLUSTER SLOTS")
    info = node.admin.execute_command("CLUSTER INFO")
    return len(ranges) == PRIMARIES and "ok" in str(dict(info).get("cluster_state", info))


@pytest.fixture
def nodes(running_cluster: list[Node], authority: Authority) -> Iterator[list[Node]]:
    """The cluster; whatever certificates a test has its nodes present, the next finds good ones."""
    yield running_cluster
    for node in running_cluster:
        node.proxy.present(authority.certificate("127.0.0.1", "localhost"))


@pytest.fixture
def url(nodes: list[Node], authority: Authority) -> str:
    """Names one node, by which the others are found."""
    return f"{nodes[0].proxy.url(scheme='rediss+cluster')}?ssl_ca_certs={authority.file}"


def flow_at(node: Node, namespace: str) -> str:
    """A flow whose keys a node has."""
    keys = Keys(namespace, PARTITIONS)
    slots = node.slots
    return next(
        flow for flow in map(str, range(10_000)) if key_slot(keys.session(flow).encode()) in slots
    )


def test_a_cluster_is_reached_by_tls(nodes: list[Node], url: str, namespace: str) -> None:
    before = [node.proxy.tls_connections for node in nodes]
    with open_storage(url, namespace=namespace, partitions=PARTITIONS) as bundle:
        for call in (*WRITES.values(), *READS.values()):
            call(bundle)
        for node in nodes:
            flow = flow_at(node, namespace)
            bundle.context.set_session(flow, '{"a": 1}')
            assert bundle.context.get_session(flow) == '{"a": 1}'

    after = [node.proxy.tls_connections for node in nodes]
    assert all(now > then for now, then in zip(after, before, strict=True))
    assert [node.proxy.plain_connections for node in nodes] == [0] * PRIMARIES


def test_a_redirection_is_followed_by_tls(nodes: list[Node], url: str, namespace: str) -> None:
    old, new = nodes[1], nodes[2]
    with open_storage(url, namespace=namespace, partitions=PARTITIONS) as bundle:
        flow = flow_at(old, namespace)
        with moved(_slot_of(flow, namespace), old, new, nodes):
            told = old.moved_replies()
            bundle.context.set_session(flow, '{"a": 1}')

            assert old.moved_replies() > told
            assert bundle.context.get_session(flow) == '{"a": 1}'
    assert [node.proxy.plain_connections for node in nodes] == [0] * PRIMARIES


def test_who_is_redirected_to_is_verified(
    nodes: list[Node], url: str, namespace: str, other_authority: Authority
) -> None:
    old, new = nodes[1], nodes[2]
    with open_storage(url, namespace=namespace, partitions=PARTITIONS) as bundle:
        flow = flow_at(old, namespace)
        new.proxy.present(other_authority.certificate("127.0.0.1"))
        new.proxy.cut()
        with (
            moved(_slot_of(flow, namespace), old, new, nodes),
            pytest.raises(StorageConfigurationError, match="cannot be verified"),
        ):
            bundle.context.get_session(flow)


def _slot_of(flow: str, namespace: str) -> int:
    return int(key_slot(Keys(namespace, PARTITIONS).session(flow).encode()))


@contextlib.contextmanager
def moved(slot: int, old: Node, new: Node, nodes: list[Node]) -> Iterator[None]:
    """Another node has a slot within a with block, in which nothing is kept."""
    _give(slot, new, nodes)
    try:
        yield
    finally:
        new.admin.flushall()
        _give(slot, old, nodes)


def _give(slot: int, to: Node, nodes: list[Node]) -> None:
    for node in (to, *(node for node in nodes if node is not to)):
        node.admin.execute_command("CLUSTER", "SETSLOT", slot, "NODE", to.id)


@pytest.mark.parametrize("wrong", range(PRIMARIES))
@pytest.mark.parametrize("names", [("elsewhere.example",), ("localhost",)])
def test_opening_finds_out_any_node_with_a_wrong_certificate(
    nodes: list[Node], url: str, authority: Authority, wrong: int, names: tuple[str, ...]
) -> None:
    """Also one that is not in the URL; it is the address given out that must be in it."""
    nodes[wrong].proxy.present(authority.certificate(*names))
    if wrong == 0 and "localhost" in names:
        url = url.replace("localhost", "127.0.0.1")

    began = time.monotonic()
    with pytest.raises(StorageConfigurationError, match="mismatch"):
        open_storage(url)
    assert time.monotonic() - began < AT_ONCE_SEC


def test_an_authority_that_signed_none_of_them_is_told(
    nodes: list[Node], other_authority: Authority
) -> None:
    url = nodes[0].proxy.url(scheme="rediss+cluster")

    with pytest.raises(StorageConfigurationError, match="cannot be verified"):
        open_storage(f"{url}?ssl_ca_certs={other_authority.file}")


@pytest.mark.parametrize("wrong", range(PRIMARIES))
def test_a_node_whose_certificate_goes_bad_stops_its_own_slots_alone(
    nodes: list[Node],
    url: str,
    namespace: str,
    authority: Authority,
    other_authority: Authority,
    wrong: int,
) -> None:
    bad, good = nodes[wrong], [node for node in nodes if node is not nodes[wrong]]
    flows = {node.id: flow_at(node, namespace) for node in nodes}
    with open_storage(url, namespace=namespace, partitions=PARTITIONS) as bundle:
        for flow in flows.values():
            bundle.context.set_session(flow, "{}")
        bad.proxy.present(other_authority.certificate("127.0.0.1", "localhost"))
        bad.proxy.cut()

        for number in range(3):
            # The first try may meet the cut: then the write may have been applied, or not.
            with pytest.raises((StorageConfigurationError, StorageUnavailableError)) as caught:
                bundle.context.set_session(flows[bad.id], "{}")
            began = time.monotonic()
            with pytest.raises(StorageConfigurationError, match="cannot be verified") as read:
                bundle.context.get_session(flows[bad.id])
            assert time.monotonic() - began < AT_ONCE_SEC
            for node in good:
                bundle.context.set_session(flows[node.id], f"[{number}]")
                assert bundle.context.get_session(flows[node.id]) == f"[{number}]"
        assert "cannot be verified" in str(caught.value)
        assert f"127.0.0.1:{bad.proxy.port}" in str(read.value)

        bad.proxy.present(authority.certificate("127.0.0.1", "localhost"))
        bundle.context.set_session(flows[bad.id], '{"b": 1}')
        assert bundle.context.get_session(flows[bad.id]) == '{"b": 1}'
