"""Verifying a whole store: does every record agree with all that has to agree with it?"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Unpack

from dir_redis.arguments import string
from dir_redis.bundle import StorageBundle
from dir_redis.memory.storage import MemoryStorage
from dir_redis.redis.storage import RedisStorage
from dir_redis.redis.store import RedisOptions
from dir_redis.sqlite.storage import SqliteStorage
from dir_redis.verify.chains import chain_findings
from dir_redis.verify.memory import memory_findings
from dir_redis.verify.opening import opened_as_it_is
from dir_redis.verify.redis import RedisWalk
from dir_redis.verify.report import MOST_FINDINGS, Finding, StoreReport
from dir_redis.verify.sqlite import sqlite_findings

__all__ = ["Finding", "StoreReport", "verify_store"]


def verify_store(
    store: StorageBundle | str,
    *,
    progress: Callable[[int], None] | None = None,
    **options: Unpack[RedisOptions],
) -> StoreReport:
    """Walk through a whole store and name every inconsistency; nothing is changed.

    It may run beside any number of writers: each record is compared with its indexes at one moment.
    Expect a few hundred thousand commands per million records on Redis, and pages of bounded size;
    it is no call for every minute.

    Args:
        store: a bundle, or a URL as :func:`~dir_redis.open_storage` takes.
        progress: called now and then with the number of records looked at so far.
        options: for a URL, what the store is opened with, its ``namespace`` above all; see
            :class:`~dir_redis.RedisOptions`.

    Returns:
        The findings; a store that works has none.

    Raises:
        TypeError: it is neither a bundle nor a URL, or there are options for a bundle.
        ValueError: the bundle mixes stores, or is of none of this package's backends.
        StorageConfigurationError: there is no such store, or no such namespace in it; none is made.
        StorageError: the store cannot be read at all.
    """
    if not isinstance(store, StorageBundle | str):
        raise TypeError(f"store must be a bundle or a URL, not {type(store).__name__}")
    if options and not isinstance(store, str):
        raise TypeError(f"a bundle is open: {', '.join(options)} can only be given for a URL")
    with ExitStack() as opened:
        bundle = (
            opened.enter_context(opened_as_it_is(string("store", store), options))
            if isinstance(store, str)
            else store
        )
        checked = 0

        def counted(records: int) -> None:
            nonlocal checked
            checked += records
            if progress is not None:
                progress(checked)

        where, walk = _walk(bundle, counted)
        findings: list[Finding] = []
        left_out = 0
        for finding in itertools.chain(walk, chain_findings(bundle, counted)):
            if len(findings) < MOST_FINDINGS:
                findings.append(finding)
            else:
                left_out += 1
        return StoreReport(where, checked, tuple(findings), left_out)


def _walk(bundle: StorageBundle, counted: Callable[[int], None]) -> tuple[str, Iterator[Finding]]:
    """Where a bundle's store is, and what walks through it."""
    storages = bundle.storages
    first = storages[0]
    for kind in (RedisStorage, SqliteStorage, MemoryStorage):
        if isinstance(first, kind):
            break
    else:
        raise ValueError(f"nothing is known of {type(first).__name__}")
    same = all(isinstance(one, kind) for one in storages)
    if isinstance(first, RedisStorage):
        place = (first._store.where, first._store.keys.namespace)
        if same and all((s._store.where, s._store.keys.namespace) == place for s in storages):
            walk = RedisWalk(first._store, counted)
            return walk.where, walk.findings()
    elif isinstance(first, SqliteStorage):
        database = first._database
        if same and all(one._database.path == database.path for one in storages):
            return str(database.path), sqlite_findings(database, counted)
    elif same and all(one._store is first._store for one in storages):
        return "memory", memory_findings(bundle, counted)
    raise ValueError("the bundle mixes stores: verify each by itself")
