"""The one place that makes Redis clients: URL in, client out, with our timeouts and no retries.

redis-py's own retries are turned off, because they know nothing of operation numbers and, in a
cluster, do not back off; :mod:`dir_redis.redis.retries` tries again instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.cluster import ClusterNode, ClusterPipeline, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from dir_redis.arguments import string
from dir_redis.errors import StorageConfigurationError
from dir_redis.redis.answers import OWN_ANSWERS
from dir_redis.redis.cluster import ClusterCommands, pipelined
from dir_redis.redis.faults import is_denied
from dir_redis.redis.sentinel import Sentinels
from dir_redis.redis.tls import tls_options
from dir_redis.redis.urls import ServerUrl, UrlError, mask_secrets, read_url

Client = redis.Redis | RedisCluster

# A waiter says this often that it is alive, and looks whether a wake-up of its got lost.
LONGEST_WAIT_SEC = 1.0
# An append-only file under appendfsync everysec is on the disk after little more than a second.
LONGEST_CONFIRMATION_SEC = 1.5
# redis-py's pools have some such limit where nobody asked for one.
_UNLIMITED = 2**31

_fake_servers: dict[str, Any] = {}
_fake_servers_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Connection:
    """A client, and what is to be known about it.

    Attributes:
        client: the redis-py client.
        where: its URL or address without secrets, for messages.
        url: its URL without secrets; None for a ready client.
        fails_over: whether another server can take over, so that a refusal such as READONLY is
            worth a retry.
        single_attempt: whether one call of the client sends a command at most once, so that the
            error of a call tells all there is to know about it.
        close: closes what was opened here; does nothing for a ready client.
        cluster: sends to the nodes of a cluster, if the client is one of a cluster.
    """

    client: Client = field(repr=False)  # some versions of redis-py show its password
    where: str
    url: str | None
    fails_over: bool
    single_attempt: bool
    close: Callable[[], None] = field(repr=False)
    cluster: ClusterCommands | None = field(default=None, repr=False)

    @property
    def longest_wait_sec(self) -> float:
        """How long one blocking command may wait: well within the client's own socket timeout."""
        return self._within_timeout(LONGEST_WAIT_SEC)

    @property
    def longest_confirmation_sec(self) -> float:
        """How long WAIT may wait: well within the client's own socket timeout."""
        return self._within_timeout(LONGEST_CONFIRMATION_SEC)

    def _within_timeout(self, seconds: float) -> float:
        if isinstance(self.client, RedisCluster):
            settings = self.client.nodes_manager.connection_kwargs
        else:
            settings = self.client.connection_pool.connection_kwargs
        timeout = settings.get("socket_timeout")
        return seconds if timeout is None else min(seconds, timeout * 0.75)

    @property
    def most_connections(self) -> int | None:
        """How many connections the client may open to one server; None for any number."""
        if isinstance(self.client, RedisCluster):
            settings = self.client.nodes_manager.connection_kwargs
            limit = settings.get("max_connections") or redis.ConnectionPool().max_connections
        elif self.client.connection is not None:  # a client of one connection
            limit = 1
        else:
            limit = self.client.connection_pool.max_connections
        return limit if limit is not None and limit < _UNLIMITED else None

    @property
    def is_cluster(self) -> bool:
        """Whether the client is one of a cluster."""
        return isinstance(self.client, RedisCluster)

    def info(self) -> list[dict[str, Any]]:
        """INFO of the server, or of each primary of a cluster."""
        client = self.client
        if isinstance(client, RedisCluster):
            return [client.info(target_nodes=node) for node in client.get_primaries()]
        return [client.info()]

    def config(self, name: str) -> list[str | None]:
        """A setting of the server, or of each primary of a cluster; None where there is none."""
        client = self.client
        clients: list[Any] = [client]
        if isinstance(client, RedisCluster):
            clients = [client.get_redis_connection(node) for node in client.get_primaries()]
        return [one.config_get(name).get(name) for one in clients]

    @property
    def execute_command(self) -> Callable[..., Any]:
        """Sends a command and returns its reply."""
        if self.cluster is not None:
            return self.cluster.execute
        execute: Callable[..., Any] = self.client.execute_command
        return execute

    def execute_confirmed(
        self, command: tuple[Any, ...], key: str, confirm: tuple[Any, ...]
    ) -> tuple[Any, Any]:
        """Send a write, and behind it on the same connection what waits for its confirmation.

        On another connection WAIT would speak of that one's writes.

        Args:
            command: the write.
            key: one of its keys, by which a cluster's node is found.
            confirm: WAIT or WAITAOF.

        Returns:
            Both replies; the second may be the error that was met in its place.
        """
        if self.cluster is not None:
            return self.cluster.execute_confirmed(command, key, confirm)
        assert isinstance(self.client, redis.Redis)
        reply, confirmed = pipelined(self.client, (command, confirm))
        return reply, confirmed

    def ask_anew(self) -> None:
        """Have the next commands find out who the primary is, unless the client is a ready one.

        Behind a service, or one address, it may be another server by now.
        """
        if self.cluster is not None:
            self.cluster.look_again()
        elif isinstance(self.client, redis.Redis) and self.url is not None:
            self.client.connection_pool.disconnect(inuse_connections=False)


def connect(
    url_or_client: object, *, attempt_timeout_sec: float, insecure_tls: bool = False
) -> Connection:
    """Make a client for a URL, or take a ready one as it is.

    Args:
        url_or_client: ``redis://``, ``rediss://``, ``unix://``, ``valkey://``, ``valkeys://``,
            ``redis+sentinel://h1,h2/service``, ``redis+cluster://h1,h2``, the same two with
            ``rediss`` for TLS, ``fakeredis://``, or a ``redis.Redis``, ``RedisCluster`` or
            fakeredis client.
        attempt_timeout_sec: socket timeout of a client made here, where its URL names none.
        insecure_tls: whether the URL may turn the verification of the server off.

    Raises:
        TypeError: it is neither.
        StorageConfigurationError: the URL cannot be used, or a ready client cannot.
    """
    if isinstance(url_or_client, redis.Redis | RedisCluster) and not isinstance(
        url_or_client, Pipeline | ClusterPipeline
    ):
        return _ready(url_or_client)
    if not isinstance(url_or_client, str):
        raise TypeError(
            f"url_or_client must be a URL or a redis-py client, not {type(url_or_client).__name__}"
        )
    text = string("url_or_client", url_or_client)
    where = mask_secrets(text)
    options: dict[str, Any] = {
        "socket_timeout": attempt_timeout_sec,
        "socket_connect_timeout": attempt_timeout_sec,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": _shake_hands,
        "driver_info": None,  # what a server is told of a client is left to _introduce
    }
    try:
        if text.startswith("fakeredis://"):
            return _fakeredis(text, where)
        url = read_url(text)
        tls = _Tls(url.tls, insecure_tls, where)
        if url.kind == "sentinel":
            return _sentinel(url, options, where, tls)
        if url.kind == "cluster":
            return _cluster(url, options, where, tls)
        return _plain(url, options, where, tls)
    except (ValueError, TypeError) as error:
        problem: Exception = error
    # What urllib and redis-py say may quote a part of the password, so it is not even kept.
    why = str(problem)
    if where != text and not isinstance(problem, UrlError):
        why, problem = "a part of it cannot be read", UrlError("its words may hold a secret")
    raise StorageConfigurationError(f"cannot use the URL {where!r}: {why}") from problem


def _shake_hands(connection: Any) -> None:
    """What a new connection begins with: redis-py's own part, and the name."""
    connection.on_connect()
    _introduce(connection)


def _introduce(connection: Any) -> None:
    """Tell a server whose connection it is, and hear whether it takes one at all.

    redis-py would do the first, and swallow the answer: that of a server in protected mode too,
    which closes the connection behind it.
    """
    connection.send_command("CLIENT", "SETINFO", "LIB-NAME", "dir-redis", check_health=False)
    try:
        connection.read_response()
    except redis.ResponseError as error:  # it knows no such command, or this user may not
        if is_denied(error):
            raise


@dataclass(frozen=True, slots=True)
class _Tls:
    """Whether a URL's connections are TLS, and whether it may turn verification off."""

    wanted: bool
    insecure: bool
    where: str

    @property
    def kind(self) -> type[redis.Connection]:
        return redis.SSLConnection if self.wanted else redis.Connection

    def options(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What to add to the options of a URL.

        Raises:
            StorageConfigurationError: they turn verification off, or cannot be used.
            UrlError: they are options of TLS, of which the URL is not.
        """
        if self.wanted:
            return tls_options(asked, self.where, insecure=self.insecure)
        name = next((name for name in asked if name.startswith("ssl_")), None)
        if name is not None:
            raise UrlError(f"{name} is an option of TLS: begin the URL with 'rediss'")
        return {}


def _ready(client: Client) -> Connection:
    encoder = client.get_encoder()
    if encoder.encoding.lower().replace("-", "") != "utf8":
        raise StorageConfigurationError(
            f"the client encodes as {encoder.encoding}; make it with encoding='utf-8'"
        )

    def leave_open() -> None:
        """A ready client belongs to whoever made it."""

    if isinstance(client, RedisCluster):
        where, fails_over = "the cluster of a ready client", True
    elif isinstance(client.connection_pool, SentinelConnectionPool):
        where, fails_over = f"the Sentinel service {client.connection_pool.service_name}", True
    else:
        settings = client.connection_pool.connection_kwargs
        address = settings.get("path") or f"{settings.get('host')}:{settings.get('port')}"
        where, fails_over = str(address), False
    return Connection(
        client,
        where,
        None,
        fails_over=fails_over,
        # Who made it may have asked for retries, which then happen within one call.
        single_attempt=False,
        close=leave_open,
        cluster=ClusterCommands(client) if isinstance(client, RedisCluster) else None,
    )


def _plain(url: ServerUrl, options: dict[str, Any], where: str, tls: _Tls) -> Connection:
    client = redis.Redis.from_url(url.plain, **{**options, **url.options})
    pool = client.connection_pool
    pool.connection_kwargs.update(tls.options(pool.connection_kwargs))
    pool.connection_class = OWN_ANSWERS[pool.connection_class]
    return Connection(
        client, where, where, fails_over=False, single_attempt=True, close=client.close
    )


def _sentinel(url: ServerUrl, options: dict[str, Any], where: str, tls: _Tls) -> Connection:
    settings = {**options, **url.options}
    settings.update(tls.options(settings))
    # A Sentinel is verified like a server, by its own authority if it has one.
    to_sentinel = {**_tls_part(url.options), **url.sentinel_options}
    to_sentinel.update(tls.options(to_sentinel))
    sentinel: Sentinel = Sentinels(
        url.hosts,
        sentinel_kwargs={**options, **to_sentinel, "ssl": tls.wanted},
        **settings,
        ssl=tls.wanted,
    )
    client: redis.Redis = sentinel.master_for(url.service)
    pool = client.connection_pool
    pool.connection_class = OWN_ANSWERS[pool.connection_class]

    def close() -> None:
        client.close()
        for one in sentinel.sentinels:
            one.close()

    return Connection(client, where, where, fails_over=True, single_attempt=True, close=close)


def _tls_part(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name.startswith("ssl_")}


def _cluster(url: ServerUrl, options: dict[str, Any], where: str, tls: _Tls) -> Connection:
    # A cluster's client does redis-py's part itself.
    settings = {**options, **url.options, "redis_connect_func": _introduce}
    settings.update(tls.options(settings))
    # One of them as a URL: redis-py takes a kind of connection only then.
    first, port = url.hosts[0]
    client = RedisCluster(
        url=f"redis://{f'[{first}]' if ':' in first else first}:{port}",
        startup_nodes=[ClusterNode(host, port) for host, port in url.hosts[1:]],
        connection_class=OWN_ANSWERS[tls.kind],
        **settings,
    )
    commands = ClusterCommands(client)
    return Connection(
        client,
        where,
        where,
        fails_over=True,
        single_attempt=True,
        close=commands.close,
        cluster=commands,
    )


def _fakeredis(url: str, where: str) -> Connection:
    """A client of a pretended server; those of one name share it, an unnamed one is private."""
    try:
        import fakeredis
    except ImportError as error:
        raise StorageConfigurationError(
            "fakeredis:// needs another package: pip install 'fakeredis[lua]'"
        ) from error
    name = url.removeprefix("fakeredis://").strip("/")
    with _fake_servers_lock:
        server = _fake_servers.get(name) or fakeredis.FakeServer()
        if name:
            _fake_servers[name] = server
    client: redis.Redis = fakeredis.FakeRedis(server=server)
    return Connection(
        client, where, where, fails_over=False, single_attempt=True, close=client.close
    )
