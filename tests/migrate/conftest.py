"""Stores of each backend, as many as a test wants."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dir_redis import StorageBundle, memory_storage, open_storage, sqlite_storage
from tests.conftest import CLUSTER_PARTITIONS, SERVERS, Servers

# One server of its own kind, and what spans partitions; the rest is the conformance tests' to try.
SERVER = SERVERS[0]
STORES = ("memory", "sqlite", SERVER, *(["cluster"] if "cluster" in SERVERS else []))

Opener = Callable[..., StorageBundle]


@pytest.fixture
def new_store(servers: Servers, tmp_path: Path, namespace: str) -> Iterator[Opener]:
    """Opens empty stores by the name of their backend; they are closed after the test."""
    numbers = itertools.count()
    with contextlib.ExitStack() as opened:

        def new(backend: str, **options: Any) -> StorageBundle:
            number = next(numbers)
            if backend == "memory":
                return opened.enter_context(memory_storage(**options))
            if backend == "sqlite":
                path = tmp_path / f"store-{number}.db"
                return opened.enter_context(sqlite_storage(path, **options))
            if backend == "cluster":
                options["partitions"] = CLUSTER_PARTITIONS
            bundle = open_storage(
                servers.url(backend), namespace=f"{namespace}-{number}", **options
            )
            return opened.enter_context(bundle)

        yield new
