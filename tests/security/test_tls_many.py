"""TLS to servers that are found through others: a Sentinel service's, a cluster's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dir_redis import StorageConfigurationError, open_storage
from dir_redis.embedded import ServerProcess, valkey_binary
from dir_redis.redis.connection import connect
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


@pytest.fixture
def cluster_node(tmp_path: Path, authority: Authority) -> Iterator[TlsProxy]:
    """TLS before a cluster of one node, which gives out the proxy's address for its own."""
    port, bus_port, announced = free_ports(3)
    folder = tmp_path / "node"
    folder.mkdir()
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    arguments += ["--cluster-enabled", "yes", "--cluster-port", str(bus_port)]
    arguments += ["--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", str(announced)]
    process = ServerProcess(
        valkey_binary(), arguments, url=f"redis://127.0.0.1:{port}", folder=folder
    )
    try:
        with connect(process.url, attempt_timeout_sec=5).client as admin:
            admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: b"cluster_state:ok" in admin.execute_command("CLUSTER", "INFO"), 30)
        certificate = authority.certificate("127.0.0.1", "localhost")
        with tls_proxy(process.url, certificate, announced) as proxy:
            yield proxy
    finally:
        process.stop()


def test_a_cluster_is_reached_by_tls(cluster_node: TlsProxy, authority: Authority) -> None:
    url = f"{cluster_node.url(scheme='rediss+cluster')}?ssl_ca_certs={authority.file}"

    with open_storage(url, partitions=3) as bundle:
        for call in (*WRITES.values(), *READS.values()):
            call(bundle)

    assert cluster_node.tls_connections


def test_a_clusters_certificates_are_verified(
    cluster_node: TlsProxy, authority: Authority, other_authority: Authority
) -> None:
    url = cluster_node.url(scheme="rediss+cluster")

    with pytest.raises(StorageConfigurationError, match="cannot be verified"):
        open_storage(f"{url}?ssl_ca_certs={other_authority.file}")
    cluster_node.present(authority.certificate("elsewhere.example"))
    with pytest.raises(StorageConfigurationError, match="mismatch"):
        open_storage(f"{url}?ssl_ca_certs={authority.file}")
