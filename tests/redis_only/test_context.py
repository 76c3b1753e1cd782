"""Contexts on a server: merges of many processes, damaged hashes, and sessions that end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dir_redis import CorruptRecordError, StorageBundle, VersionConflictError, open_storage
from tests.redis_only.conftest import commands_sent
from tests.redis_only.test_races import PROCESSES, in_processes

MERGES = 30
COUNTS = 5


@pytest.fixture
def key(namespace: str) -> str:
    return f"{{{namespace}:0}}:session:f"


def merge(bundle: StorageBundle, number: int) -> list[int]:
    return [
        bundle.context.merge_session("shared", {f"{number}:{n}": n, "last": number})
        for n in range(MERGES)
    ]


def test_no_merge_of_many_processes_is_lost(server_url: str, namespace: str) -> None:
    versions = in_processes(merge, server_url, namespace)

    with open_storage(server_url, namespace=namespace) as bundle:
        document, version = bundle.context.get_session_versioned("shared")
    merged = json.loads(document or "")
    assert merged.pop("last") in range(PROCESSES)
    assert merged == {f"{p}:{n}": n for p in range(PROCESSES) for n in range(MERGES)}
    assert version == PROCESSES * MERGES
    assert sorted(one for each in versions for one in each) == list(range(1, version + 1))


def count(bundle: StorageBundle, _number: int) -> None:
    for _ in range(COUNTS):
        while True:
            document, version = bundle.context.get_state_versioned("counter")
            counted = json.dumps(json.loads(document or "0") + 1)
            try:
                bundle.context.set_state("counter", counted, expected_version=version)
                break
            except VersionConflictError:
                continue


def test_a_counter_of_many_processes_is_exact_by_versions(server_url: str, namespace: str) -> None:
    in_processes(count, server_url, namespace)

    total = PROCESSES * COUNTS
    with open_storage(server_url, namespace=namespace) as bundle:
        assert bundle.context.get_state_versioned("counter") == (str(total), total)


def test_a_merge_sends_what_is_new_and_reads_nothing(store: StorageBundle) -> None:
    store.context.set_session("f", json.dumps({"large": "x" * 100_000}))
    store.context.merge_session("f", {"a": 0})  # loads its script

    with commands_sent(store) as sent:
        store.context.merge_session("f", {"a": 1})

    [command] = sent
    assert sum(len(str(word)) for word in command) < 300


READERS: dict[str, Callable[[StorageBundle], Any]] = {
    "get": lambda b: b.context.get_session("f"),
    "versioned": lambda b: b.context.get_session_versioned("f"),
}
WRITERS: dict[str, Callable[[StorageBundle], Any]] = {
    "set": lambda b: b.context.set_session("f", "{}"),
    "set of a version": lambda b: b.context.set_session("f", "{}", expected_version=0),
    "merge": lambda b: b.context.merge_session("f", {"a": 1}),
}


@pytest.mark.parametrize(
    ("fields", "operations"),
    [
        ({"version": "1"}, ["get", "versioned", "merge"]),
        ({"+a": "1"}, ["get", "versioned", "merge"]),
        ({"data": "{oops", "+a": "1", "version": "1"}, ["get", "versioned"]),
        ({"data": '{"a": 1 "b": 2}', "+a": "1", "version": "1"}, ["get", "versioned"]),
        ({"data": "{7: 1}", "+a": "1", "version": "1"}, ["get", "versioned"]),
        ({"data": "[]", "+a": "1", "version": "1"}, ["get", "versioned"]),
        ({"data": "oops", "version": "1"}, ["merge"]),
        ({"data": "", "version": "1"}, ["merge"]),
        ({"data": "{}", "version": "x"}, ["versioned", *WRITERS]),
        ({"data": "{}", "version": "1.5"}, ["versioned", *WRITERS]),
        ({"data": "{}", "version": ""}, ["versioned", *WRITERS]),
        ({"data": "{}"}, ["versioned"]),
    ],
)
def test_a_damaged_context_is_a_corrupt_record_that_stays_as_it_is(
    store: StorageBundle, raw: Any, key: str, fields: dict[str, str], operations: list[str]
) -> None:
    raw.hset(key, mapping=fields)
    before = raw.hgetall(key)

    for name in operations:
        with pytest.raises(CorruptRecordError) as caught:
            {**READERS, **WRITERS}[name](store)
        assert caught.value.key == key

    assert raw.hgetall(key) == before


def test_a_session_that_is_to_end_is_kept_by_a_write_and_by_no_refused_one(
    store: StorageBundle, raw: Any, key: str
) -> None:
    store.context.set_session("f", "[]")
    raw.pexpire(key, 60_000)
    with pytest.raises(ValueError, match="merging needs an object"):
        store.context.merge_session("f", {"a": 1})
    with pytest.raises(VersionConflictError):
        store.context.set_session("f", "{}", expected_version=9)
    store.context.get_session_versioned("f")
    assert 0 < raw.pttl(key) <= 60_000

    store.context.set_session("f", "{}")
    assert raw.pttl(key) == -1

    raw.pexpire(key, 60_000)
    store.context.merge_session("f", {})
    assert raw.pttl(key) == -1
