"""Fixtures for every test: a bundle per backend, each test in a store of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dir_redis import StorageBundle, memory_storage, sqlite_storage

BACKENDS = ["memory", "sqlite"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of the backend a conformance test runs on."""
    return str(request.param)


@pytest.fixture
def bundle(backend: str, tmp_path: Path) -> Iterator[StorageBundle]:
    """A fresh, empty store on the backend."""
    opened = memory_storage() if backend == "memory" else sqlite_storage(tmp_path / "store.db")
    with opened:
        yield opened
