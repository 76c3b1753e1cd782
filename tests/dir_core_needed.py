"""Which releases of dir-core the kernel's tests can run on, and what each of them offers."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest


def need_dir_core() -> None:
    """Leave tests out where dir-core cannot be; in CI it is there, or that is a failure."""
    if sys.version_info < (3, 12):
        pytest.skip("dir-core needs Python 3.12", allow_module_level=True)
    if importlib.util.find_spec("dir_core") is None:
        if os.environ.get("CI"):
            pytest.fail("dir-core is not installed: `make setup` brings it")
        pytest.skip("dir-core is not installed: `make setup` brings it", allow_module_level=True)


def only_where(offered: bool) -> Callable[[Any], Any]:
    """Leave a test out of the releases that do not offer what it tests."""
    return lambda test: test if offered else None
