"""The one place that makes Redis clients: URL in, client out, with our timeouts and no retries.

redis-py's own retries are turned off, because they know nothing of operation numbers and, in a
cluster, do not back off; :mod:`dir_redis.redis.retries` tries again instead.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.cluster import ClusterNode, ClusterPipeline, RedisCluster
from redis.connection import URL_QUERY_ARGUMENT_PARSERS, parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from dir_redis.errors import StorageConfigurationError
from dir_redis.redis.answers import OWN_ANSWERS
from dir_redis.redis.cluster import ClusterCommands, pipelined
from dir_redis.redis.faults import is_denied
from dir_redis.redis.sentinel import Sentinels
from dir_redis.redis.tls import tls_options

Client = redis.Redis | RedisCluster

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379
# A waiter says this often that it is alive, and looks whether a wake-up of its got lost.
LONGEST_WAIT_SEC = 1.0
# An append-only file under appendfsync everysec is on the disk after little more than a second.
LONGEST_CONFIRMATION_SEC = 1.5
# redis-py's pools have some such limit where nobody asked for one.
_UNLIMITED = 2**31

# Valkey speaks the same protocol; redis-py knows only its own names.
_PLAIN_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}

_TLS_SCHEMES = {"rediss", "valkeys", "rediss+sentinel", "rediss+cluster"}

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
    where = mask_secrets(url_or_client)
    scheme = url_or_client.partition("://")[0]
    options: dict[str, Any] = {
        "socket_timeout": attempt_timeout_sec,
        "socket_connect_timeout": attempt_timeout_sec,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": _shake_hands,
        "driver_info": None,  # what a server is told of a client is left to _introduce
    }
    try:
        if scheme != "unix":
            _check_credentials(url_or_client)
        tls = _Tls(scheme in _TLS_SCHEMES, insecure_tls, where)
        if scheme in _PLAIN_SCHEMES:
            return _plain(url_or_client, scheme, options, where, tls)
        if scheme in ("redis+sentinel", "rediss+sentinel"):
            return _sentinel(url_or_client, options, where, tls)
        if scheme in ("redis+cluster", "rediss+cluster"):
            return _cluster(url_or_client, options, where, tls)
        if scheme == "fakeredis":
            return _fakeredis(url_or_client, where)
    except (ValueError, TypeError) as error:
        problem: Exception = error
    else:
        problem = _UrlError(
            f"its scheme is none of {', '.join(_PLAIN_SCHEMES)}, redis+sentinel, redis+cluster, "
            "rediss+sentinel, rediss+cluster, fakeredis"
        )
    # What urllib and redis-py say may quote a part of the password, so it is not even kept.
    why = str(problem)
    if where != url_or_client and not isinstance(problem, _UrlError):
        why, problem = "a part of it cannot be read", _UrlError("its words may hold a secret")
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
            _UrlError: they are options of TLS, of which the URL is not.
        """
        if self.wanted:
            return tls_options(asked, self.where, insecure=self.insecure)
        name = next((name for name in asked if name.startswith("ssl_")), None)
        if name is not None:
            raise _UrlError(f"{name} is an option of TLS: begin the URL with 'rediss'")
        return {}


class _UrlError(ValueError):
    """A problem of a URL in words that hold nothing of it."""


def _check_credentials(url: str) -> None:
    """Refuse a password that would be cut where it holds ``/``, ``?`` or ``#``.

    Raises:
        ValueError: the rest of it would be taken for a host, a path or an option.
    """
    netloc = urlsplit(url).netloc
    if "@" in url.partition("://")[2][len(netloc) :]:
        raise _UrlError(
            "percent-encode what is special in its user name and password ('/' is %2F, '@' is %40)"
        )


def mask_secrets(url: str) -> str:
    """Return a URL, or what somebody took for one, with the passwords in it as ``***``."""

    def hide(option: re.Match[str]) -> str:
        return f"{option[1]}=***" if "password" in unquote(option[1]).lower() else option[0]

    masked = re.sub(r"((?:^|[?&;])[^=&;?]*)=[^&;]*", hide, url)
    # A password may hold what should have been percent-encoded: up to the last @ it is secret.
    credentials, at, rest = masked.rpartition("@")
    if not at:
        # Where a port should be and is none, somebody forgot the host behind a password.
        return re.sub(r"(://[^/?#\[]*?):(?!\d*(?:[,/?#]|$))[^/?#,]+", r"\1:***", masked)
    scheme, separator, pair = credentials.partition("://")
    if not separator:
        scheme, pair = "", credentials
    user, colon, _ = pair.partition(":")
    # One word alone is a user's name, unless somebody forgot the colon before a password.
    return f"{scheme}{separator}{user + ':' if colon else ''}***@{rest}"


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


def _check_options(options: dict[str, Any], kind: Callable[..., Any] = redis.Connection) -> None:
    """Find out now, not at the first command, whether a kind of connection takes the options.

    Raises:
        TypeError: there is no such option.
        ValueError: an option has an impossible value.
    """
    try:
        kind(**options)
    except redis.RedisError as error:
        raise ValueError(str(error)) from error


def _plain(url: str, scheme: str, options: dict[str, Any], where: str, tls: _Tls) -> Connection:
    client = redis.Redis.from_url(_PLAIN_SCHEMES[scheme] + url.removeprefix(scheme), **options)
    path = urlsplit(url).path.strip("/")
    if scheme != "unix" and path and not path.isdigit():
        raise _UrlError(f"{path!r} is no number of a database")
    pool = client.connection_pool
    pool.connection_kwargs.update(tls.options(pool.connection_kwargs))
    _check_options(pool.connection_kwargs, pool.connection_class)
    pool.connection_class = OWN_ANSWERS[pool.connection_class]
    return Connection(
        client, where, where, fails_over=False, single_attempt=True, close=client.close
    )


def _split_hosts(url: str, default_port: int) -> tuple[list[tuple[str, int]], dict[str, Any], str]:
    """Take apart a URL of several hosts: addresses, connection options, path."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    addresses = []
    for host in hosts.split(","):
        name, _, port = host.rpartition(":") if re.search(r":\d+$", host) else (host, "", "")
        if not name:
            raise ValueError("it names no host")
        addresses.append((name.strip("[]"), int(port) if port else default_port))
    one_host = f"redis://{credentials}@localhost?{parts.query}"
    options = dict(parse_url(one_host if credentials else f"redis://localhost?{parts.query}"))
    del options["host"]
    return addresses, options, parts.path.strip("/")


def _sentinel(url: str, options: dict[str, Any], where: str, tls: _Tls) -> Connection:
    addresses, from_url, path = _split_hosts(url, DEFAULT_SENTINEL_PORT)
    service, _, database = path.partition("/")
    if not service:
        raise ValueError("it names no service; write redis+sentinel://host1,host2/service")
    to_sentinel = {}
    for name in [name for name in from_url if name.startswith("sentinel_")]:
        option = name.removeprefix("sentinel_")
        # Under its own name redis-py does not know it, and left it the text that it is.
        parser: Any = URL_QUERY_ARGUMENT_PARSERS.get(option, str)
        to_sentinel[option] = parser(from_url.pop(name))
    settings = {**options, **from_url, "db": int(database or from_url.get("db", 0))}
    settings.update(tls.options(settings))
    # A Sentinel is verified like a server, by its own authority if it has one.
    to_sentinel = {**_tls_part(from_url), **to_sentinel}
    to_sentinel.update(tls.options(to_sentinel))
    _check_options(settings, tls.kind)
    _check_options(to_sentinel, tls.kind)
    sentinel: Sentinel = Sentinels(
        addresses,
        sentinel_kwargs={**options, **to_sentinel, "ssl": tls.wanted},
        **settings,
        ssl=tls.wanted,
    )
    client: redis.Redis = sentinel.master_for(service)
    pool = client.connection_pool
    pool.connection_class = OWN_ANSWERS[pool.connection_class]

    def close() -> None:
        client.close()
        for one in sentinel.sentinels:
            one.close()

    return Connection(client, where, where, fails_over=True, single_attempt=True, close=close)


def _tls_part(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name.startswith("ssl_")}


def _cluster(url: str, options: dict[str, Any], where: str, tls: _Tls) -> Connection:
    addresses, from_url, path = _split_hosts(url, DEFAULT_PORT)
    if path not in ("", "0"):
        raise ValueError(f"a cluster has no database {path!r}")
    # A cluster's client does redis-py's part itself.
    settings = {**options, **from_url, "redis_connect_func": _introduce}
    settings.update(tls.options(settings))
    _check_options(settings, tls.kind)
    # One of them as a URL: redis-py takes a kind of connection only then.
    first, port = addresses[0]
    client = RedisCluster(
        url=f"redis://{f'[{first}]' if ':' in first else first}:{port}",
        startup_nodes=[ClusterNode(host, port) for host, port in addresses[1:]],
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
