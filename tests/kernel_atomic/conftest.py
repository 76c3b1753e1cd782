"""What dir_redis.kernel guarantees, on every kind of backend; it needs dir-core, so Python 3.12."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.conformance.conftest import race
from tests.conftest import BACKENDS

__all__ = ["race"]

# Without dir-core only test_installed.py is left, which says why, and fails where it should be.
if importlib.util.find_spec("dir_core") is None:
    here = Path(__file__).parent
    collect_ignore = [path.name for path in here.glob("test_*.py") if path.stem != "test_installed"]


# The kernel is the same on every Redis: one server and the cluster will do.
@pytest.fixture(params=[name for name in BACKENDS if name not in ("fakeredis", "redis62")])
def backend(request: pytest.FixtureRequest) -> str:
    """The name of the backend a test runs on."""
    return str(request.param)
