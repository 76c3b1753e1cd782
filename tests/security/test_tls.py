"""TLS is verified: who is not the server is found out at once, and nobody turns that off unseen."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dir_redis import (
    StorageBundle,
    StorageConfigurationError,
    StorageUnavailableError,
    open_storage,
)
from dir_redis.redis.connection import connect
from tests.redis_only.conftest import works
from tests.redis_only.test_costs import READS
from tests.redis_only.test_once import SINGLE_SERVERS, WRITES
from tests.security.tls_proxy import Authority, TlsProxy, self_signed, tls_proxy

# A server's certificate is for both.
NAMES = ("localhost", "127.0.0.1")
# Nothing here waits for a timeout, which is 5 s.
AT_ONCE_SEC = 2.5


@pytest.fixture(scope="module")
def authority(tmp_path_factory: Any) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "a")


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: Any) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority") / "b")


@pytest.fixture(params=SINGLE_SERVERS)
def proxy(request: pytest.FixtureRequest, servers: Any, authority: Authority) -> Iterator[TlsProxy]:
    """TLS before each single server."""
    with tls_proxy(servers.url(request.param), authority.certificate(*NAMES)) as running:
        yield running


@pytest.fixture
def url(proxy: TlsProxy, authority: Authority) -> str:
    return f"{proxy.url()}?ssl_ca_certs={authority.file}"


@pytest.fixture
def secured(url: str, namespace: str) -> Iterator[StorageBundle]:
    """A store that is reached by TLS."""
    with open_storage(url, namespace=namespace) as bundle:
        yield bundle


def refused_at_once(url: str, **options: Any) -> str:
    """What opening says, which is refused without a second try."""
    began = time.monotonic()
    with pytest.raises(StorageConfigurationError) as caught:
        open_storage(url, **options)
    assert time.monotonic() - began < AT_ONCE_SEC
    return str(caught.value)


# It works


def test_every_operation_works(secured: StorageBundle, proxy: TlsProxy) -> None:
    for call in (*WRITES.values(), *READS.values()):
        call(secured)

    assert proxy.tls_connections > 0


@pytest.mark.parametrize("host", NAMES)
def test_the_server_may_be_named_by_any_name_in_its_certificate(
    proxy: TlsProxy, authority: Authority, namespace: str, host: str
) -> None:
    with open_storage(f"{proxy.url(host)}?ssl_ca_certs={authority.file}", namespace=namespace) as b:
        assert works(b)


def test_the_authority_may_be_a_text_in_the_url(
    proxy: TlsProxy, authority: Authority, namespace: str
) -> None:
    url = f"{proxy.url(scheme='valkeys')}?ssl_ca_data={quote(authority.file.read_text(), safe='')}"
    with open_storage(url, namespace=namespace) as bundle:
        assert works(bundle)


def test_a_waiter_is_woken_over_tls(secured: StorageBundle) -> None:
    locks = secured.resource_lock
    held = locks.reserve("f", {"r": 1}, lease_sec=60)
    got: list[Any] = []
    waiter = threading.Thread(
        target=lambda: got.append(
            locks.reserve("g", {"r": 1}, wait_sec=30, capacities={"r": 1}, lease_sec=60)
        )
    )
    waiter.start()
    held.release()
    waiter.join(30)

    assert [reservation.dfid for reservation in got] == ["g"]


def test_many_threads_share_a_store_over_tls(secured: StorageBundle) -> None:
    def count() -> None:
        for _ in range(50):
            secured.intent_retry.increment("f")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert secured.intent_retry.get_count("f") == 400


def test_connections_that_are_cut_are_made_anew_and_nothing_is_counted_twice(
    secured: StorageBundle, proxy: TlsProxy
) -> None:
    for _ in range(20):
        proxy.cut()
        secured.intent_retry.increment("f")

    assert secured.intent_retry.get_count("f") == 20


def test_a_large_document_passes(secured: StorageBundle) -> None:
    document = '{"a": "%s"}' % ("x" * 3_000_000)
    secured.context.set_session("f", document)

    assert secured.context.get_session("f") == document


# Who is not the server is found out


def test_a_certificate_of_another_authority(proxy: TlsProxy, other_authority: Authority) -> None:
    said = refused_at_once(f"{proxy.url()}?ssl_ca_certs={other_authority.file}")

    assert "unable to get local issuer certificate" in said
    assert "ssl_ca_certs=<file>" in said


def test_no_authority_is_named(proxy: TlsProxy) -> None:
    assert "certificate cannot be verified" in refused_at_once(proxy.url())


def test_a_certificate_for_another_name(proxy: TlsProxy, authority: Authority, url: str) -> None:
    proxy.present(authority.certificate("elsewhere.example"))

    said = refused_at_once(url)

    assert "Hostname mismatch" in said
    assert "connect by a name that is in it" in said


def test_an_expired_certificate(proxy: TlsProxy, authority: Authority, url: str) -> None:
    proxy.present(authority.certificate(*NAMES, days=-1))

    assert "certificate has expired" in refused_at_once(url)


def test_a_self_signed_certificate(proxy: TlsProxy, url: str, tmp_path: Path) -> None:
    proxy.present(self_signed(tmp_path))

    assert "self-signed certificate" in refused_at_once(url)


@pytest.mark.parametrize(
    ("scheme", "path"), [("rediss", ""), ("rediss+cluster", ""), ("rediss+sentinel", "/fleet")]
)
def test_a_server_that_does_not_speak_tls(servers: Any, scheme: str, path: str) -> None:
    """It waits for the end of what it takes for a command, so only the timeout ends it."""
    url = servers.url("valkey").replace("redis://", f"{scheme}://") + path

    with pytest.raises(StorageUnavailableError, match="does it speak TLS there") as caught:
        open_storage(url, timeout_sec=0.5)
    assert "write redis://" in str(caught.value)


@pytest.mark.parametrize("scheme", ["rediss", "redis"])
def test_a_server_that_ends_what_it_does_not_understand(scheme: str) -> None:
    """As a proxy may, where one side alone speaks TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=_end_all, args=(listener,), daemon=True).start()
        with pytest.raises(StorageUnavailableError, match="TLS on one side alone"):
            open_storage(f"{scheme}://127.0.0.1:{port}", timeout_sec=0.5)


def _end_all(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            with client:
                client.recv(1 << 16)


def test_a_certificate_that_goes_bad_while_a_store_is_open(
    secured: StorageBundle, proxy: TlsProxy, authority: Authority
) -> None:
    assert works(secured)
    proxy.present(authority.certificate(*NAMES, days=-1))
    proxy.cut()

    began = time.monotonic()
    # The first try met the cut, and may have been applied for all one knows; or it did not.
    with pytest.raises((StorageConfigurationError, StorageUnavailableError), match="expired"):
        secured.context.set_session("f", "{}")
    with pytest.raises(StorageConfigurationError, match="expired"):
        secured.context.get_session("f")
    assert time.monotonic() - began < AT_ONCE_SEC

    proxy.present(authority.certificate(*NAMES))
    assert works(secured)


# Client certificates


def test_a_client_certificate_opens_the_server_that_demands_one(
    proxy: TlsProxy, authority: Authority, url: str, namespace: str
) -> None:
    proxy.demand_certificates(authority)
    mine = authority.certificate("agent-1")

    with open_storage(f"{url}&ssl_certfile={mine}&ssl_keyfile={mine}", namespace=namespace) as b:
        for write in WRITES.values():
            write(b)


def test_a_missing_client_certificate_is_told(
    proxy: TlsProxy, authority: Authority, url: str
) -> None:
    proxy.demand_certificates(authority)

    assert "ssl_certfile=<file>" in refused_at_once(url)


def test_a_client_certificate_of_another_authority_is_told(
    proxy: TlsProxy, authority: Authority, other_authority: Authority, url: str
) -> None:
    proxy.demand_certificates(authority)
    mine = other_authority.certificate("agent-1")

    assert "ssl_certfile=<file>" in refused_at_once(f"{url}&ssl_certfile={mine}&ssl_keyfile={mine}")


# Nobody turns it off unseen

SCHEMES = ("rediss://", "valkeys://", "rediss+cluster://", "rediss+sentinel://")
WEAKENED = (
    "ssl_cert_reqs=none",
    "ssl_cert_reqs=optional",
    "ssl_check_hostname=false",
    "ssl_check_hostname=0",
    "ssl_check_hostname=no",
    "ssl_cert_reqs=none&ssl_check_hostname=false",
)


@pytest.mark.parametrize("weakened", WEAKENED)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_url_that_turns_verification_off_is_refused(scheme: str, weakened: str) -> None:
    said = refused_at_once(f"{scheme}localhost/0?{weakened}")

    assert "insecure_tls=True" in said
    assert "ssl_ca_certs" in said


@pytest.mark.parametrize("weakened", WEAKENED)
def test_a_sentinel_is_verified_too(weakened: str) -> None:
    weakened = re.sub("ssl", "sentinel_ssl", weakened)
    assert "insecure_tls=True" in refused_at_once(f"rediss+sentinel://localhost/s?{weakened}")


@pytest.mark.parametrize(
    "other",
    [
        "ssl_ciphers=aNULL:%40SECLEVEL=0",
        "ssl_min_version=1",
        "ssl_include_verify_flags=VERIFY_DEFAULT",
    ]
    + ["ssl_validate_ocsp=1", "ssl_exclude_verify_flags=VERIFY_X509_STRICT"],
)
def test_what_could_weaken_it_another_way_is_refused(other: str) -> None:
    name = other.partition("=")[0]

    assert f"{name} cannot be given in a URL" in refused_at_once(f"rediss://localhost?{other}")


@pytest.mark.parametrize("scheme", ["redis://", "redis+cluster://", "redis+sentinel://"])
def test_options_of_tls_do_not_go_unheeded_without_tls(scheme: str) -> None:
    said = refused_at_once(f"{scheme}u:p@localhost/0?ssl_ca_certs=/etc/ca.pem")

    assert "begin the URL with 'rediss'" in said


@pytest.mark.parametrize("weakened", ["ssl_cert_reqs=none", "ssl_check_hostname=false"])
def test_who_says_so_aloud_may_turn_it_off_and_is_warned(
    proxy: TlsProxy,
    authority: Authority,
    namespace: str,
    weakened: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy.present(authority.certificate("elsewhere.example"))
    url = f"{proxy.url()}?ssl_ca_certs={authority.file}&{weakened}"
    with caplog.at_level(logging.WARNING, "dir_redis"):
        bundle = open_storage(url, namespace=namespace, insecure_tls=True)
    with bundle:
        assert works(bundle)

    warnings = [record for record in caplog.records if "insecure_tls=True" in record.getMessage()]
    assert [record.levelname for record in warnings] == ["WARNING"]
    assert weakened in warnings[0].getMessage()


def test_insecure_tls_alone_turns_nothing_off(proxy: TlsProxy) -> None:
    assert "cannot be verified" in refused_at_once(proxy.url(), insecure_tls=True)


def test_verification_does_not_hang_on_the_drivers_defaults(authority: Authority) -> None:
    client: Any = connect(
        f"rediss://localhost?ssl_ca_certs={authority.file}", attempt_timeout_sec=1
    ).client
    settings = client.connection_pool.connection_kwargs
    client.close()

    assert (settings["ssl_cert_reqs"], settings["ssl_check_hostname"]) == ("required", True)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ("ssl_ca_certs=/nowhere.pem", "ssl_ca_certs.*No such file"),
        ("ssl_certfile=/nowhere.pem", "ssl_certfile.*No such file"),
        ("ssl_keyfile=/nowhere.pem", "ssl_keyfile needs ssl_certfile"),
        ("ssl_ca_data=nonsense", "ssl_ca_data cannot be used"),
        ("ssl_cert_reqs=maybe", "ssl_cert_reqs must be"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(files: str, problem: str) -> None:
    assert re.search(problem, refused_at_once(f"rediss://localhost?{files}"))
