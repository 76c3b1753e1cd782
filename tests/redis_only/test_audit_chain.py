"""The audit log's chain on a server: trims in the middle of a walk, breaks of each partition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dir_redis import StorageBundle, open_storage


@pytest.fixture
def chained(redis_url: str, namespace: str) -> Iterator[StorageBundle]:
    """A store of three partitions that chains its audit rows, with 60 of them."""
    with open_storage(redis_url, namespace=namespace, partitions=3, audit_chain=True) as bundle:
        bundle.decision_audit.record_many([{"dfid": f"f{n % 9}", "event": "E"} for n in range(60)])
        yield bundle


@pytest.mark.parametrize("before", range(1, 13))
def test_rows_trimmed_at_any_moment_of_a_walk_are_not_missing(
    chained: StorageBundle, before: int
) -> None:
    audit: Any = chained.decision_audit
    driver = audit._driver
    execute = driver._execute_command
    asked = 0

    def trim_before(*command: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == before:
            driver._execute_command = execute
            audit.record_many([{"dfid": f"f{n}", "event": "LATER"} for n in range(9)])
            assert audit.trim(max_rows=4) > 40
        return execute(*command)

    driver._execute_command = trim_before
    report = audit.verify_audit()
    driver._execute_command = execute

    assert report.broken_at is None
    assert audit.verify_audit().broken_at is None
    assert asked >= min(before, 12)


@pytest.mark.parametrize("partition", range(3))
def test_a_break_in_any_partition_is_found(
    chained: StorageBundle, raw: Any, namespace: str, partition: int
) -> None:
    log = f"{{{namespace}:{partition}}}:audit"
    entry_id = raw.xrange(log)[5][0]
    raw.xdel(log, entry_id)

    broken_at = chained.decision_audit.verify_audit().broken_at
    assert broken_at is not None
    assert broken_at.record.startswith(log)
    assert (broken_at.number, broken_at.problem) == (6, "missing")
