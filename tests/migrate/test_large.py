"""A large store is copied in bounded memory and time."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import pytest

from dir_redis import StorageBundle, memory_storage
from dir_redis.migrate import copy_store
from dir_redis.migrate.ends import raw_store
from dir_redis.migrate.records import Agent, AuditRow, Session
from tests.migrate.conftest import STORES, Opener

ROWS, AGENTS = 20_000, 5_000
# Several times what it takes on a small machine.
SECONDS = 60


def audit_rows(details_json: str) -> Iterator[AuditRow]:
    for n in range(ROWS):
        yield AuditRow(
            *(f"flow-{n % AGENTS}", 1_700_000_000_000_000 + n, "EVENT", "step", "ACTIVE"),
            *(details_json, None, f"agent-{n % AGENTS}", "INFO"),
        )


@pytest.fixture
def large() -> StorageBundle:
    store = memory_storage()
    raw, _ = raw_store(store)
    raw.put(
        Agent(f"agent-{n}", '{"role": "trader"}', 1, n, "ACTIVE", None, "token", None, None)
        for n in range(AGENTS)
    )
    raw.put(Session(f"flow-{n}", '{"x":  1}', None, 1, f"agent-{n}", None) for n in range(AGENTS))
    raw.put(audit_rows('{"n": 1}'))
    return store


@pytest.mark.parametrize("backend", STORES[1:])
def test_a_large_copy_takes_bounded_time(
    backend: str, large: StorageBundle, new_store: Opener
) -> None:
    target = new_store(backend)
    begin = time.monotonic()

    report = copy_store(large, target)

    assert time.monotonic() - begin < SECONDS
    assert report.complete
    assert report.copied == ROWS + 2 * AGENTS


def test_a_large_log_is_not_held_in_memory(new_store: Opener) -> None:
    source, target = memory_storage(), new_store("sqlite")
    raw_store(source)[0].put(audit_rows('{"note": "' + "z" * 5000 + '"}'))
    copy_store(source, target)
    tracemalloc.start()

    try:
        assert copy_store(source, target).complete
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # The rows have 100 MB. What is held are 24 bytes of each, an entry for each flow, and a page.
    assert peak < 10_000_000
