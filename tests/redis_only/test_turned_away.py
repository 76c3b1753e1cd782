"""A server that turns a new connection away, in words or without: it is told what that means."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from dir_redis import (
    StorageRefusedError,
    StorageUnavailableError,
    open_storage,
    redis_storage,
)
from dir_redis.embedded import valkey_binary
from tests.conftest import Servers
from tests.redis_only.conftest import works
from tests.servers import server

# The beginning of what Redis 3.2 and later say, and go on explaining for 900 characters.
DENIED = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password"
    b" is set for the default user. "
    + b"In this mode connections are only accepted. " * 20
    + b"\r\n"
)
FULL = b"-ERR max number of clients reached\r\n"
NOTHING = b""
SCHEMES = ("redis", "redis+cluster", "redis+sentinel")
# A store waits this long for a server that may yet let it in.
TIMEOUT_SEC = 0.6
PATIENT_SEC = 30
AT_ONCE_SEC = 5


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def close_when_asked(connection: socket.socket) -> None:
    connection.settimeout(1)
    with contextlib.suppress(OSError):
        connection.recv(1 << 16)
    connection.close()


def close_late(connection: socket.socket) -> None:
    """Only when the client has sent all that it sends before it reads: the system resets it."""
    time.sleep(0.1)
    connection.close()


ENDS = (close, reset, close_when_asked, close_late)


class Doorkeeper:
    """Says one line to whoever connects, and ends the connection; lets in those that come later.

    Attributes:
        turned_away: how many it has.
    """

    def __init__(
        self,
        line: bytes,
        end: Callable[[socket.socket], None],
        *,
        most: float = float("inf"),
        behind: str = "",
    ) -> None:
        self.turned_away = 0
        self._line, self._end, self._most = line, end, most
        parts = urlsplit(behind)
        self._behind = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.turned_away >= self._most:
                server = socket.create_connection(self._behind)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()
                continue
            self.turned_away += 1
            with contextlib.suppress(OSError):
                client.sendall(self._line)
                self._end(client)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError), target:
        while received := source.recv(1 << 16):
            target.sendall(received)


@contextlib.contextmanager
def doorkeeper(*args: object, **named: object) -> Iterator[Doorkeeper]:
    keeper = Doorkeeper(*args, **named)  # type: ignore[arg-type]
    try:
        yield keeper
    finally:
        keeper.stop()


def url_of(scheme: str, keeper: Doorkeeper, login: str = "") -> str:
    return f"{scheme}://{login}{keeper.address}{'/fleet' if scheme.endswith('sentinel') else ''}"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("end", [close, close_when_asked, close_late])
@pytest.mark.parametrize("login", ["", "app:s3cret@"])
def test_a_server_in_protected_mode_is_told_at_once(
    scheme: str, end: Callable[[socket.socket], None], login: str
) -> None:
    with doorkeeper(DENIED, end) as keeper:
        began = time.monotonic()
        with pytest.raises(StorageRefusedError, match="protected mode") as caught:
            open_storage(url_of(scheme, keeper, login), timeout_sec=PATIENT_SEC)
        took = time.monotonic() - began

    assert took < AT_ONCE_SEC
    assert caught.value.code == "DENIED"
    assert "set a password or users there" in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "s3cret" not in str(caught.value)


def test_a_database_in_the_url_hides_nothing() -> None:
    with (
        doorkeeper(DENIED, close) as keeper,
        pytest.raises(StorageRefusedError, match="protected mode"),
    ):
        open_storage(f"{url_of('redis', keeper)}/3", timeout_sec=PATIENT_SEC)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("end", [close, close_when_asked, close_late])
def test_a_full_server_is_asked_again_and_then_said_to_be_full(
    scheme: str, end: Callable[[socket.socket], None]
) -> None:
    with doorkeeper(FULL, end) as keeper:
        with pytest.raises(
            StorageUnavailableError, match="raise the server's maxclients"
        ) as caught:
            open_storage(url_of(scheme, keeper), timeout_sec=TIMEOUT_SEC)
        assert keeper.turned_away > 1

    assert not caught.value.outcome_unknown


def test_a_server_that_has_room_again_is_used(servers: Servers, namespace: str) -> None:
    with (
        doorkeeper(FULL, close, most=3, behind=servers.url("valkey")) as keeper,
        open_storage(url_of("redis", keeper), namespace=namespace) as bundle,
    ):
        assert works(bundle)
        assert keeper.turned_away == 3


def test_a_real_server_that_is_full(tmp_path: Path) -> None:
    with (
        server(valkey_binary(), tmp_path / "full", "--maxclients", "1") as full,
        redis.Redis.from_url(full.url) as first,
    ):
        first.ping()
        with pytest.raises(StorageUnavailableError, match="raise the server's maxclients"):
            open_storage(full.url, timeout_sec=TIMEOUT_SEC)


def test_an_open_store_whose_server_is_full_says_that_nothing_was_applied(
    servers: Servers, namespace: str
) -> None:
    url = servers.url("valkey")
    with open_storage(url, namespace=namespace, timeout_sec=TIMEOUT_SEC) as bundle:
        pool = bundle.context._driver._connection.client.connection_pool  # type: ignore[attr-defined]
        with doorkeeper(FULL, close) as keeper:
            pool.disconnect()
            host, _, port = keeper.address.partition(":")
            for settings in (pool.connection_kwargs, *map(vars, pool._available_connections)):
                settings.update(host=host, port=int(port))
            with pytest.raises(
                StorageUnavailableError, match="raise the server's maxclients"
            ) as caught:
                bundle.context.set_session("f", "{}")

    assert "nothing was applied" in str(caught.value)
    assert not caught.value.outcome_unknown


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("end", ENDS)
def test_who_is_turned_away_without_a_word_reads_what_that_usually_means(
    scheme: str, end: Callable[[socket.socket], None]
) -> None:
    with (
        doorkeeper(NOTHING, end) as keeper,
        pytest.raises(StorageUnavailableError, match="usually means protected mode") as caught,
    ):
        open_storage(url_of(scheme, keeper), timeout_sec=TIMEOUT_SEC)

    assert "maxclients" in str(caught.value)
    assert "TLS" in str(caught.value)
    assert "proxy" in str(caught.value)


@pytest.mark.parametrize("line", [DENIED, FULL])
def test_a_line_that_a_reset_may_have_taken_is_told_or_guessed(line: bytes) -> None:
    with (
        doorkeeper(line, reset) as keeper,
        pytest.raises((StorageRefusedError, StorageUnavailableError)) as caught,
    ):
        open_storage(url_of("redis", keeper), timeout_sec=TIMEOUT_SEC)

    assert "protected mode" in str(caught.value) or "maxclients" in str(caught.value)


def test_a_ready_client_that_swallows_the_line_reads_what_it_usually_means() -> None:
    """redis-py's own handshake does."""
    with doorkeeper(DENIED, close_when_asked) as keeper:
        client = redis.Redis.from_url(url_of("redis", keeper), socket_timeout=0.2)
        with pytest.raises((StorageRefusedError, StorageUnavailableError), match="protected mode"):
            redis_storage(client, timeout_sec=TIMEOUT_SEC)
        client.close()


def test_a_server_hears_once_whose_connection_it_is() -> None:
    heard: list[bytes] = []

    def hear(connection: socket.socket) -> None:
        heard.append(connection.recv(1 << 16))
        connection.sendall(b"+OK\r\n")
        heard.append(connection.recv(1 << 16))
        connection.close()

    with doorkeeper(NOTHING, hear) as keeper, pytest.raises(StorageUnavailableError):
        open_storage(url_of("redis", keeper), timeout_sec=TIMEOUT_SEC)

    assert b"dir-redis" in heard[0]
    assert b"SETINFO" not in heard[1]
