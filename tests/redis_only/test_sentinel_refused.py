"""A URL of Sentinels, of a cluster or of a server, and something else that listens there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry

from dir_redis import StorageRefusedError, StorageUnavailableError, open_storage
from dir_redis.embedded import valkey_binary
from dir_redis.redis.sentinel import Sentinels
from tests.redis_only.conftest import works
from tests.redis_only.test_opening_refused import BINARIES, HTTP, TLS_ALERT, Stranger
from tests.security.sentinel_server import SERVICE, sentinel
from tests.servers import free_ports, server, wait_until


@pytest.fixture(scope="module", params=BINARIES)
def plain(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[str]:
    """Host and port of a server."""
    folder = tmp_path_factory.mktemp("plain") / "server"
    with server(BINARIES[request.param](), folder) as running:
        yield running.url.removeprefix("redis://")


@pytest.fixture(scope="module")
def watching(tmp_path_factory: Any) -> Iterator[str]:
    """Host and port of a Sentinel that knows a primary."""
    folder = tmp_path_factory.mktemp("watching")
    with (
        server(valkey_binary(), folder / "server") as running,
        sentinel(folder / "sentinel", int(running.url.rpartition(":")[2])) as url,
    ):
        address = url.removeprefix("redis://")
        wait_until(lambda: opens(f"redis+sentinel://{address}/{SERVICE}"), 30)
        yield address


@pytest.fixture
def nobody() -> str:
    """Host and port where nobody listens."""
    return f"127.0.0.1:{free_ports(1)[0]}"


def opens(url: str) -> bool:
    with open_storage(url, timeout_sec=1) as bundle:
        return works(bundle)


def refused_at_once(url: str) -> str:
    with pytest.raises(StorageRefusedError) as caught:
        open_storage(url, timeout_sec=300)  # a second attempt would be one of hundreds
    return str(caught.value)


def unavailable(url: str) -> str:
    with pytest.raises(StorageUnavailableError) as caught:
        open_storage(url, timeout_sec=0.3)
    return str(caught.value)


@pytest.mark.opened_as_it_is
@pytest.mark.parametrize("answer", [HTTP, TLS_ALERT], ids=["http", "tls-port"])
@pytest.mark.parametrize("url", ["redis+sentinel://{}/fleet", "redis+cluster://{}"])
def test_what_is_no_redis_is_refused_at_the_first_attempt(url: str, answer: bytes) -> None:
    with Stranger(answer) as stranger:
        said = refused_at_once(url.format(stranger.address))

        assert "look at the host and port" in said
        assert stranger.callers == 1


def test_a_server_is_no_sentinel_and_no_node_of_a_cluster(plain: str) -> None:
    said = refused_at_once(f"redis+sentinel://{plain}/fleet")
    assert "refused on opening: no Sentinel listens there" in said
    assert "no node of a cluster: write redis://" in refused_at_once(f"redis+cluster://{plain}")


def test_a_sentinel_is_no_server_and_no_node_of_a_cluster(watching: str) -> None:
    assert "write redis+sentinel://" in refused_at_once(f"redis://{watching}")
    assert "write redis+sentinel://" in refused_at_once(f"redis+cluster://{watching}")


def test_nobody_listening_and_no_such_host_are_said(nobody: str) -> None:
    said = unavailable(f"redis+sentinel://{nobody}/fleet")
    assert "no Sentinel answered: " in said
    assert "Connection refused" in said

    said = unavailable("redis+sentinel://nowhere.invalid/fleet")
    assert "no Sentinel answered: " in said
    assert "nowhere.invalid:26379" in said


def test_a_service_that_no_sentinel_knows_is_said_with_those_they_know(
    watching: str, nobody: str
) -> None:
    for addresses in (watching, f"{nobody},{watching}", f"{watching},{nobody}"):
        said = unavailable(f"redis+sentinel://{addresses}/fleets")

        assert said.endswith(
            "the Sentinels answer, but know no service 'fleets' (they know: fleet)"
        )


def test_one_wrong_sentinel_of_several_keeps_nobody_from_the_others(
    plain: str, watching: str, nobody: str
) -> None:
    with Stranger(HTTP) as stranger:
        wrong = (stranger.address, plain, nobody)

        assert opens(f"redis+sentinel://{','.join((*wrong, watching))}/{SERVICE}")
        assert "know no service" in unavailable(
            f"redis+sentinel://{','.join((watching, *wrong))}/x"
        )
        # Who does not answer now may be a Sentinel that starts.
        assert "Connection refused" in unavailable(f"redis+sentinel://{','.join(wrong)}/x")
        assert "no Sentinel listens there" in refused_at_once(
            f"redis+sentinel://{plain},{stranger.address}/x"
        )


def test_a_primary_that_is_down_is_said(watching: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redis.sentinel.Sentinel.check_master_state", lambda *_: False)

    assert "see no primary of 'fleet' up" in unavailable(f"redis+sentinel://{watching}/{SERVICE}")


def test_every_sentinel_is_asked_while_another_thread_puts_one_first(watching: str) -> None:
    host, _, port = watching.rpartition(":")
    (nowhere,) = free_ports(1)
    for knows in range(3):
        addresses = [(host, int(port) if number == knows else nowhere) for number in range(3)]
        sentinels = Sentinels(addresses, {"retry": Retry(NoBackoff(), 0)})
        first, *_, last = sentinels.sentinels

        def other_thread_first(
            ask: Any = first.sentinel_masters, among: Sentinels = sentinels, found: Any = last
        ) -> Any:
            among.sentinels.insert(0, among.sentinels.pop(among.sentinels.index(found)))
            return ask()

        first.sentinel_masters = other_thread_first  # type: ignore[method-assign]

        assert sentinels.discover_master(SERVICE)
        # Each is there still, once, and the one that answered comes first.
        assert len({id(one) for one in sentinels.sentinels}) == 3
        asked = sentinels.sentinels[0].connection_pool.connection_kwargs
        assert asked["port"] == int(port)


def test_one_wrong_node_of_several_keeps_nobody_from_the_cluster(
    servers: Any, plain: str, nobody: str
) -> None:
    nodes = servers.url("cluster").removeprefix("redis+cluster://")

    for _ in range(5):  # the client asks them in any order
        assert opens(f"redis+cluster://{plain},{nobody},{nodes}")
