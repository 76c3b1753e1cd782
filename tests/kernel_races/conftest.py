"""Races of dir-core's managers, its own and those of dir_redis.kernel, on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import SERVERS, Servers
from tests.dir_core_needed import need_dir_core
from tests.kernel_races.hosts import Hosts


def pytest_pycollect_makemodule() -> None:
    need_dir_core()


@pytest.fixture
def url(servers: Servers) -> str:
    """A single real server: the first there is."""
    return servers.url(SERVERS[0])


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    """Eight processes, which wait for work."""
    waiting = Hosts()
    yield waiting
    waiting.close()
