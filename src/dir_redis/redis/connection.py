"""The one place that makes Redis clients: URL in, client out, with our timeouts and no retries.

redis-py's own retries are turned off, because they know nothing of operation numbers and, in a
cluster, do not back off; :mod:`dir_redis.redis.driver` retries instead.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from dir_redis.errors import StorageConfigurationError

Client = redis.Redis | RedisCluster

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379

# Valkey speaks the same protocol; redis-py knows only its own names.
_PLAIN_SCHEMES = {
    "redis": "redis",
    "rediss": "rediss",
    "unix": "unix",
    "valkey": "redis",
    "valkeys": "rediss",
}

_fake_servers: dict[str, Any] = {}
_fake_servers_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Connection:
    """A client, and what is to be known about it.

    Attributes:
        client: the redis-py client.
        where: its URL or address without secrets, for messages.
        fails_over: whether another server can take over, so that a refusal such as READONLY is
            worth a retry.
        owned: whether closing the store closes the client.
    """

    client: Client
    where: str
    fails_over: bool
    owned: bool


def connect(url_or_client: object, *, attempt_timeout_sec: float) -> Connection:
    """Make a client for a URL, or take a ready one as it is.

    Args:
        url_or_client: ``redis://``, ``rediss://``, ``unix://``, ``valkey://``, ``valkeys://``,
            ``redis+sentinel://h1,h2/service``, ``redis+cluster://h1,h2``, ``fakeredis://``, or
            a ``redis.Redis``, ``RedisCluster`` or fakeredis client.
        attempt_timeout_sec: socket timeout of a client made here, where its URL names none.

    Raises:
        TypeError: it is neither.
        StorageConfigurationError: the URL cannot be used, or a ready client cannot.
    """
    if isinstance(url_or_client, redis.Redis | RedisCluster):
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
    }
    try:
        if scheme in _PLAIN_SCHEMES:
            url = _PLAIN_SCHEMES[scheme] + url_or_client.removeprefix(scheme)
            client: Client = redis.Redis.from_url(url, **options)
            return Connection(client, where, fails_over=False, owned=True)
        if scheme == "redis+sentinel":
            client = _sentinel(url_or_client, options)
            return Connection(client, where, fails_over=True, owned=True)
        if scheme == "redis+cluster":
            client = _cluster(url_or_client, options)
            return Connection(client, where, fails_over=True, owned=True)
        if scheme == "fakeredis":
            client = _fakeredis(url_or_client)
            return Connection(client, where, fails_over=False, owned=True)
    except (ValueError, TypeError) as error:
        raise StorageConfigurationError(f"cannot use the URL {where!r}: {error}") from error
    raise StorageConfigurationError(
        f"cannot use the URL {where!r}: its scheme is none of {', '.join(_PLAIN_SCHEMES)}, "
        "redis+sentinel, redis+cluster, fakeredis"
    )


def mask_secrets(url: str) -> str:
    """Return a URL with the passwords in it replaced by ``***``."""
    masked = re.sub(r"(://[^/?#@]*?):[^/?#]*@", r"\1:***@", url)
    return re.sub(r"((?:^|[?&])[^=&]*password)=[^&]*", r"\1=***", masked)


def _ready(client: Client) -> Connection:
    encoder = client.get_encoder()
    if encoder.encoding.lower().replace("-", "") != "utf8":
        raise StorageConfigurationError(
            f"the client encodes as {encoder.encoding}; make it with encoding='utf-8'"
        )
    if isinstance(client, RedisCluster):
        return Connection(client, "a ready RedisCluster client", fails_over=True, owned=False)
    kwargs = client.connection_pool.connection_kwargs
    place = kwargs.get("path") or f"{kwargs.get('host')}:{kwargs.get('port')}"
    return Connection(client, f"a ready client of {place}", fails_over=False, owned=False)


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


def _sentinel(url: str, options: dict[str, Any]) -> redis.Redis:
    addresses, from_url, path = _split_hosts(url, DEFAULT_SENTINEL_PORT)
    service, _, database = path.partition("/")
    if not service:
        raise ValueError("it names no service; write redis+sentinel://host1,host2/service")
    to_sentinel = {
        name.removeprefix("sentinel_"): from_url.pop(name)
        for name in list(from_url)
        if name.startswith("sentinel_")
    }
    settings = {**options, **from_url, "db": int(database or from_url.get("db", 0))}
    to_sentinel = {
        "socket_timeout": settings["socket_timeout"],
        "socket_connect_timeout": settings["socket_connect_timeout"],
        **to_sentinel,
    }
    sentinel = Sentinel(addresses, sentinel_kwargs=to_sentinel, **settings)
    client: redis.Redis = sentinel.master_for(service)
    return client


def _cluster(url: str, options: dict[str, Any]) -> RedisCluster:
    addresses, from_url, path = _split_hosts(url, DEFAULT_PORT)
    if path not in ("", "0"):
        raise ValueError(f"a cluster has no database {path!r}")
    nodes = [ClusterNode(host, port) for host, port in addresses]
    return RedisCluster(startup_nodes=nodes, **{**options, **from_url})


def _fakeredis(url: str) -> redis.Redis:
    """A client of a pretended server; those of one name share it, an unnamed one is private."""
    try:
        import fakeredis
    except ImportError as error:
        raise StorageConfigurationError(
            "fakeredis:// needs the package fakeredis: pip install 'dir-redis[fakeredis]'"
        ) from error
    name = url.removeprefix("fakeredis://").strip("/")
    with _fake_servers_lock:
        server = _fake_servers.get(name) or fakeredis.FakeServer()
        if name:
            _fake_servers[name] = server
    client: redis.Redis = fakeredis.FakeRedis(server=server)
    return client
