"""Opening a store that is there, to look at it; opening by itself would make what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from dir_redis.arguments import flag, seconds
from dir_redis.bundle import StorageBundle
from dir_redis.embedded import EmbeddedServer
from dir_redis.errors import StorageConfigurationError
from dir_redis.opening import open_storage
from dir_redis.redis.connection import connect
from dir_redis.redis.driver import RedisDriver
from dir_redis.redis.keys import check_namespace, opening_keys
from dir_redis.redis.replies import as_optional_text
from dir_redis.redis.retries import patiently
from dir_redis.redis.steps import Command, Request, Steps
from dir_redis.redis.store import SCHEMA_VERSION, RedisOptions, check_option_names
from dir_redis.redis.urls import mask_secrets


@contextmanager
def opened_as_it_is(url: str, options: RedisOptions) -> Iterator[StorageBundle]:
    """Open a store by its URL, if it is there.

    Raises:
        StorageConfigurationError: it is not, or opening it would bring it over to this version.
    """
    check_option_names(options)
    scheme, _, rest = url.partition("://")
    with ExitStack() as stack:
        if scheme in ("sqlite", "embedded") and rest[1:] and not Path(rest[1:]).exists():
            raise StorageConfigurationError(f"{url!r}: there is no {rest[1:]!r} to look at")
        if scheme == "embedded" and rest[:1] in ("", "/"):
            server = EmbeddedServer(rest[1:] or None)
            stack.callback(server.close)
            url = server.url
        if scheme not in ("sqlite", "memory"):
            _look(url, options)
        yield stack.enter_context(open_storage(url, **options))


def _look(url: str, options: RedisOptions) -> None:
    """Refuse a namespace on Redis that is not there as it should be."""
    namespace = check_namespace(options.get("namespace", "dir"))
    timeout_sec = seconds("timeout_sec", options.get("timeout_sec", 5.0))
    attempt_timeout_sec = seconds("attempt_timeout_sec", options.get("attempt_timeout_sec", 2.0))
    insecure_tls = flag("insecure_tls", options.get("insecure_tls", False))
    where = mask_secrets(url)
    connection = patiently(
        lambda: connect(
            url,
            attempt_timeout_sec=min(attempt_timeout_sec, timeout_sec),
            insecure_tls=insecure_tls,
        ),
        where,
        timeout_sec,
    )
    with closing(connection), closing(RedisDriver(connection, timeout_sec=timeout_sec)) as driver:
        meta = Command("HGET", opening_keys(namespace)[0], ("schema",))
        schema = as_optional_text(driver.run(_ask(meta)))
    if schema is None:
        raise StorageConfigurationError(
            f"there is no namespace {namespace!r} at {where}, or its {meta.key} is gone; "
            "give the namespace that the store was opened with"
        )
    if schema != str(SCHEMA_VERSION):
        raise StorageConfigurationError(
            f"the namespace {namespace!r} at {where} is of schema version {schema}, not "
            f"{SCHEMA_VERSION}, and looking changes nothing: open it first, or use its version"
        )


def _ask(request: Request) -> Steps[Any]:
    return (yield request)
