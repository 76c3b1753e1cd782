"""Agents on a server: contracts changed by many processes, partitions, and damaged records."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dir_redis import CorruptRecordError, StorageBundle, VersionConflictError, open_storage
from tests.redis_only.test_races import PROCESSES, in_processes
from tests.servers import wait_until

COUNTS = 5


def count(bundle: StorageBundle, _number: int) -> None:
    agents = bundle.agent_registry
    for _ in range(COUNTS):
        while True:
            contract, version = agents.get_contract_versioned("a")
            counted = json.dumps(json.loads(contract or "") + 1)
            try:
                agents.update_contract("a", counted, version)
                break
            except VersionConflictError:
                continue


def test_contract_updates_of_many_processes_are_all_counted(
    server_url: str, namespace: str
) -> None:
    with open_storage(server_url, namespace=namespace) as bundle:
        bundle.agent_registry.register("a", "0", 1)
        in_processes(count, server_url, namespace)

        total = PROCESSES * COUNTS
        assert bundle.agent_registry.get_contract_versioned("a") == (str(total), total + 1)


def handshake(bundle: StorageBundle, number: int) -> list[str]:
    """Register again and again, as hosts do that restart; one of them suspends the agent."""
    seen = [bundle.agent_registry.register("a", "{}", number).status for _ in range(5)]
    if number == 0:
        bundle.agent_registry.update_status("a", "SUSPENDED", "why")
    return seen + [bundle.agent_registry.register("a", "{}", number).status for _ in range(10)]


def test_no_handshake_of_any_process_undoes_a_suspension(server_url: str, namespace: str) -> None:
    for statuses in in_processes(handshake, server_url, namespace):
        assert statuses == sorted(statuses)  # once SUSPENDED, always so

    with open_storage(server_url, namespace=namespace) as bundle:
        assert bundle.agent_registry.get_status("a") == ("SUSPENDED", "why")
        assert bundle.agent_registry.list_active_agents() == []


def test_stale_agents_of_all_partitions_are_listed_the_longest_over_first(
    redis_url: str, namespace: str
) -> None:
    names = [f"agent-{n * 7 % 30:02}" for n in range(30)]
    with open_storage(redis_url, namespace=namespace, partitions=5) as bundle:
        for milliseconds, name in enumerate(names, start=1):
            bundle.agent_registry.register(name, "{}", 1, ttl_sec=milliseconds / 1000)
        bundle.agent_registry.register("living", "{}", 1, ttl_sec=60)

        wait_until(lambda: bundle.agent_registry.list_stale_agents() == names, 10)


READERS: dict[str, Callable[[StorageBundle], Any]] = {
    "get_agent": lambda b: b.agent_registry.get_agent("a"),
    "versioned": lambda b: b.agent_registry.get_contract_versioned("a"),
}
WRITERS: dict[str, Callable[[StorageBundle], Any]] = {
    "upsert": lambda b: b.agent_registry.upsert_agent("a", "{}", 2, "ACTIVE", None, None),
    "register": lambda b: b.agent_registry.register("a", "{}", 2),
    "update_contract": lambda b: b.agent_registry.update_contract("a", "{}", 1),
}


@pytest.mark.parametrize(
    ("fields", "without", "operations"),
    [
        ({"version": "x"}, "", ["versioned", *WRITERS]),
        ({"version": "-1"}, "", ["versioned", *WRITERS]),
        ({}, "contract", [*READERS]),
        ({}, "status", ["get_agent", "register"]),
    ],
)
def test_a_damaged_agent_is_a_corrupt_record_that_stays_as_it_is(
    store: StorageBundle,
    raw: Any,
    namespace: str,
    fields: dict[str, str],
    without: str,
    operations: list[str],
) -> None:
    key = f"{{{namespace}:0}}:agent:a"
    store.agent_registry.register("a", "[1]", 1, ttl_sec=60)
    store.agent_registry.update_status("a", "SUSPENDED", "why")
    for name, value in fields.items():
        raw.hset(key, name, value)
    raw.hdel(key, without)
    before = raw.hgetall(key)

    for name in operations:
        with pytest.raises(CorruptRecordError) as caught:
            {**READERS, **WRITERS}[name](store)
        assert caught.value.key == key

    assert raw.hgetall(key) == before
    assert raw.zscore(f"{{{namespace}:0}}:agents_heartbeat", "a") is not None
    assert store.agent_registry.list_active_agents() == []
