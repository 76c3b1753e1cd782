"""Fixtures of the tests with hostile input and limits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dir_redis import StorageBundle, memory_storage, open_storage, sqlite_storage
from tests.conftest import CLUSTER_PARTITIONS, Servers

Open = Callable[..., StorageBundle]


@pytest.fixture
def open_same(backend: str, servers: Servers, tmp_path: Path, namespace: str) -> Iterator[Open]:
    """Opens one store of a backend with options, like several hosts; in memory each is its own."""
    with contextlib.ExitStack() as opened:

        def open_with(**options: Any) -> StorageBundle:
            if backend == "memory":
                return memory_storage(**options)
            if backend == "sqlite":
                return opened.enter_context(sqlite_storage(tmp_path / "store.db", **options))
            partitions = CLUSTER_PARTITIONS if backend == "cluster" else None
            return opened.enter_context(
                open_storage(
                    servers.url(backend), namespace=namespace, partitions=partitions, **options
                )
            )

        yield open_with
