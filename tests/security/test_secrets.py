"""No password is in an error, a log line or a repr, whatever goes well or wrong."""

from __future__ import annotations

import dataclasses
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dir_redis import (
    RedisContextStorage,
    StorageBundle,
    StorageConfigurationError,
    StorageError,
    StorageRefusedError,
    open_storage,
    redis_storage,
)
from dir_redis.embedded import valkey_binary
from dir_redis.redis.connection import connect
from dir_redis.redis.urls import mask_secrets
from tests.redis_only.conftest import works
from tests.redis_only.test_once import WRITES
from tests.security.sentinel_server import SERVICE, sentinel
from tests.security.tls_proxy import Authority, tls_proxy
from tests.servers import free_ports, server, wait_until

# In every password, and nowhere else.
SECRET = "s3cr3t"
SERVER_PASSWORD = f"{SECRET}-of-servers"
SENTINEL_PASSWORD = f"{SECRET}-of-sentinels"
# What percent-encoding changes.
ODD_PASSWORD = f"{SECRET}/@:?#%"
ODD_ENCODED = f"{SECRET}%2F%40%3A%3F%23%25"


@dataclasses.dataclass
class Guarded:
    """A server and a Sentinel that want passwords."""

    server: str
    sentinel: str


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: Any) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    with server(valkey_binary(), folder / "server") as running:
        port = int(running.url.rpartition(":")[2])
        with connect(running.url, attempt_timeout_sec=5).client as admin:
            admin.execute_command("ACL", "SETUSER", "odd", "on", f">{ODD_PASSWORD}", "~*", "+@all")
            admin.config_set("requirepass", SERVER_PASSWORD)
        passwords = {"password": SENTINEL_PASSWORD, "primary_password": SERVER_PASSWORD}
        with sentinel(folder / "sentinel", port, **passwords) as watching:
            found = Guarded(running.url, watching)
            client: Any = connect(of_sentinel(found), attempt_timeout_sec=5).client
            wait_until(client.ping, 30)
            client.close()
            yield found


def with_login(url: str, login: str, scheme: str = "redis") -> str:
    return url.replace("redis://", f"{scheme}://{login}@")


def of_sentinel(
    guarded: Guarded, password: str = SERVER_PASSWORD, watching: str = SENTINEL_PASSWORD
) -> str:
    url = with_login(guarded.sentinel, f":{password}", "redis+sentinel")
    return f"{url}/{SERVICE}?sentinel_password={watching}"


def all_of(error: BaseException | None) -> str:
    """All that an error says of itself and of what it came from, each on its own."""
    said = []
    unseen = [error]
    while unseen:
        one = unseen.pop()
        if one is not None:
            said += ["".join(traceback.format_exception(one)), repr(one), str(one), repr(one.args)]
            said.append(repr(vars(one)))
            unseen += [one.__cause__, one.__context__]
    return "\n".join(said)


@pytest.fixture(autouse=True)
def _nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test does, no logger says a password, down to the driver's debugging."""
    with caplog.at_level(logging.DEBUG):
        yield
    records = [f"{record.getMessage()} {record.args!r}" for record in caplog.records]
    assert SECRET not in "\n".join(records)


# On success


def assert_says_nothing(bundle: StorageBundle) -> None:
    parts = [getattr(bundle, field.name) for field in dataclasses.fields(bundle)]
    store = bundle.context._driver._connection  # type: ignore[attr-defined]
    for one in (bundle, *parts, bundle.context._driver, store, store.where):  # type: ignore[attr-defined]
        assert SECRET not in f"{one!r} {one!s}"


def test_a_store_on_a_server_says_nothing(guarded: Guarded) -> None:
    with open_storage(with_login(guarded.server, f"odd:{ODD_ENCODED}")) as bundle:
        assert works(bundle)
        assert_says_nothing(bundle)
        assert "odd:***@" in str(bundle.url)


def test_a_store_on_a_sentinel_service_says_nothing(guarded: Guarded) -> None:
    with open_storage(of_sentinel(guarded)) as bundle:
        assert works(bundle)
        assert_says_nothing(bundle)


def test_a_ready_client_and_a_single_storage_say_nothing(guarded: Guarded) -> None:
    url = with_login(guarded.server, f":{SERVER_PASSWORD}")
    with connect(url, attempt_timeout_sec=5).client as client:
        assert_says_nothing(redis_storage(client))
    alone = RedisContextStorage(url)
    assert SECRET not in repr(alone)
    alone.close()


def test_a_cluster_store_says_nothing(servers: Any, namespace: str) -> None:
    login = user_of_cluster(servers)
    with open_storage(login, namespace=namespace) as bundle:
        assert works(bundle)
        assert_says_nothing(bundle)


def user_of_cluster(servers: Any) -> str:
    url: str = servers.url("cluster")
    client: Any = connect(url, attempt_timeout_sec=5).client
    for node in client.get_nodes():
        rules = ("on", f">{SERVER_PASSWORD}", "~*", "+@all")
        client.get_redis_connection(node).execute_command("ACL", "SETUSER", "odd", *rules)
    client.close()
    return url.replace("://", f"://odd:{SERVER_PASSWORD}@")


# On failure


def fails(url: str, **options: Any) -> StorageError:
    """The error of opening, which says nothing."""
    with pytest.raises(StorageError) as caught:
        open_storage(url, timeout_sec=0.3, **options)
    assert SECRET not in all_of(caught.value)
    return caught.value


def test_a_wrong_password(guarded: Guarded, servers: Any) -> None:
    wrong = f"{SECRET}-but-wrong"
    cluster = user_of_cluster(servers).replace(SERVER_PASSWORD, wrong)

    for url in (
        with_login(guarded.server, f":{wrong}"),
        with_login(guarded.server, f"odd:{ODD_ENCODED}x"),
        f"{guarded.server}?password={wrong}",
        of_sentinel(guarded, password=wrong),
        of_sentinel(guarded, watching=wrong),
        cluster,
    ):
        error = fails(url)
        assert isinstance(error, StorageRefusedError), url
        assert error.code == "WRONGPASS"


def test_nobody_there() -> None:
    (port,) = free_ports(1)
    login = f"u:{SERVER_PASSWORD}@127.0.0.1:{port}"

    fails(f"redis://{login}")
    fails(f"rediss://{login}")
    fails(f"redis+cluster://{login}")
    fails(f"redis+sentinel://{login}/{SERVICE}?sentinel_password={SENTINEL_PASSWORD}")
    fails(f"unix://u:{SERVER_PASSWORD}@/nowhere.sock")


def test_no_tls(guarded: Guarded, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    certificate = authority.certificate("localhost")
    login = f"u:{SERVER_PASSWORD}@localhost"
    with tls_proxy(guarded.server, certificate) as proxy:
        for url in (
            f"rediss://{login}:{proxy.port}",
            f"rediss+cluster://{login}:{proxy.port}",
            f"rediss+sentinel://{login}:{proxy.port}/s?sentinel_password={SENTINEL_PASSWORD}",
        ):
            assert isinstance(fails(url), StorageConfigurationError)
    for options in (
        f"ssl_certfile={certificate}&ssl_password={SERVER_PASSWORD}&ssl_keyfile=/nowhere",
        f"ssl_cert_reqs=none&ssl_password={SERVER_PASSWORD}",
        f"ssl_ca_certs=/nowhere&password={SERVER_PASSWORD}",
    ):
        fails(f"rediss://{login}?{options}")


@pytest.mark.parametrize(
    "url",
    [
        f"redis://u:{SECRET}@h:port",
        f"redis://u:{SECRET}@h/nodb",
        f"redis://u:{SECRET}@h?foo=1",
        f"redis://u:{SECRET}@h?protocol=9",
        f"redis://u:{SECRET}@h?db=x",
        f"redis://u:{SECRET}/@h",
        f"redis://u:{SECRET}#@h",
        f"redis://u:{SECRET}?@h",
        f"redis://u:[{SECRET}]@h",
        f"redis://{SECRET}@h:port",
        f"redis:/u:{SECRET}@h",
        f"redis+sentinel://u:{SECRET}@h?sentinel_password={SECRET}",
        f"redis+sentinel://h/s?sentinel_password={SECRET}&sentinel_foo=1",
        f"redis+sentinel://h/s?sentinel_pass%77ord={SECRET}&foo=1",
        f"redis://h?pass%77ord={SECRET}&foo=1",
        f"redis+cluster://u:{SECRET}@h/7",
        f"redis+cluster://u:{SECRET}@",
        f"http://u:{SECRET}@h",
        f"u:{SECRET}@h",
        f"rediss://u:{SECRET}@h?ssl_ciphers=ALL",
    ],
)
def test_a_url_that_cannot_be_used(url: str) -> None:
    fails(url)


def test_a_server_that_repeats_what_it_does_not_know(tmp_path: Path) -> None:
    """AUTH among it, where somebody has renamed it."""
    with server(valkey_binary(), tmp_path / "server", "--rename-command", "AUTH", "") as running:
        fails(with_login(running.url, f"u:{SERVER_PASSWORD}"))
        fails(with_login(running.url, f":{SERVER_PASSWORD}"))


def test_while_a_store_is_open(tmp_path: Path) -> None:
    """Its password is changed; then its server goes away."""
    with server(valkey_binary(), tmp_path / "server") as running:
        admin: Any = connect(running.url, attempt_timeout_sec=5).client
        rules = ("on", f">{SERVER_PASSWORD}", "~*", "+@all")
        admin.execute_command("ACL", "SETUSER", "odd", *rules)
        url = with_login(running.url, f"odd:{SERVER_PASSWORD}")
        with open_storage(url, timeout_sec=0.3) as bundle:
            assert works(bundle)
            admin.execute_command("ACL", "SETUSER", "odd", "resetpass", f">{SECRET}-new")
            admin.client_kill_filter(_type="normal", skipme=True)
            for call in (WRITES["record"], lambda b: b.context.get_session("f")):
                with pytest.raises(StorageError) as caught:
                    call(bundle)
                assert SECRET not in all_of(caught.value)
            admin.close()
            running.stop()
            for call in (WRITES["record"], lambda b: b.context.get_session("f")):
                with pytest.raises(StorageError) as caught:
                    call(bundle)
                assert SECRET not in all_of(caught.value)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://s3cr3t@h", "redis://***@h"),
        ("redis://u:s3cr3t://x@h", "redis://u:***@h"),
        ("redis://h?pass%77ord=s3cr3t&db=1", "redis://h?pass%77ord=***&db=1"),
        ("rediss://h?ssl_password=s3cr3t", "rediss://h?ssl_password=***"),
        ("unix://u:s3cr3t@/path", "unix://u:***@/path"),
    ],
)
def test_what_else_may_be_a_password_is_masked(url: str, masked: str) -> None:
    assert mask_secrets(url) == masked
