"""The managers on every backend: those of dir-core, unmodified, and those of dir_redis.kernel."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BACKENDS
from tests.dir_core_needed import need_dir_core

# The conformance suite has shown already that the others answer like these.
KERNEL_BACKENDS = [name for name in BACKENDS if name not in ("fakeredis", "redis62", "cluster")]

MANAGERS = {"unmodified": "dir_core", "kernel": "dir_redis.kernel"}


def pytest_pycollect_makemodule() -> None:
    need_dir_core()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the file about what came with 0.4, where it imports what is not there."""
    if collection_path.name != "test_amendments.py":
        return None
    need_dir_core()
    from tests.kernel.offers import AMENDMENTS

    return None if AMENDMENTS else True


@pytest.fixture(params=KERNEL_BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of the backend a test runs on."""
    return str(request.param)


@pytest.fixture(params=MANAGERS)
def managers(request: pytest.FixtureRequest) -> Any:
    """The module to take the managers from."""
    return importlib.import_module(MANAGERS[request.param])
