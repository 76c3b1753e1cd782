"""Contexts in a file: what dir-core reads of them, old rows, damaged rows, and rows that ended."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from dir_redis import CorruptRecordError, VersionConflictError, sqlite_storage

PATIENCE_SEC = 10


def test_other_readers_of_the_file_find_the_merged_document(store, raw):
    store.context.set_session("f", '{"b": 1.10, "a": 2}')
    store.context.merge_session("f", {"a": 3, "z": 4})
    store.context.merge_session("f", {"c": 5})
    store.context.merge_state("a", {"n": 1})

    assert raw("SELECT data, version FROM context_session") == [
        ('{"b": 1.10, "a": 3, "c": 5, "z": 4}', 3)
    ]
    assert raw("SELECT data, version FROM context_state") == [('{"n": 1}', 1)]


def test_what_another_program_wrote_is_merged_into(store, raw):
    store.context.merge_session("f", {"z": 1})
    raw("INSERT OR REPLACE INTO context_session (dfid, data) VALUES ('f', '{\"y\": 1, \"x\": 2}')")

    assert store.context.merge_session("f", {"a": 3}) == 2
    assert store.context.get_session("f") == '{"y": 1, "x": 2, "a": 3}'


def test_contexts_of_an_old_file_have_version_1(old_file, raw):
    raw("INSERT INTO context_session (dfid, data) VALUES ('f', '{\"x\":  1}'), ('empty', '')")
    raw("INSERT INTO context_state (agent_id, data, version) VALUES ('a', '[1]', 7)")
    raw("INSERT INTO agent_registry (agent_id, contract) VALUES ('a', '[1.50]'), ('b', '')")

    with sqlite_storage(old_file) as bundle:
        context, agents = bundle.context, bundle.agent_registry
        assert context.get_session_versioned("f") == ('{"x":  1}', 1)
        assert context.get_state_versioned("a") == ("[1]", 7)
        assert context.merge_session("empty", {"a": 1}) == 2
        assert context.get_session("empty") == '{"a": 1}'
        with pytest.raises(VersionConflictError):
            context.set_session("f", "{}", expected_version=0)
        context.set_session("f", "{}", expected_version=1)

        assert agents.get_contract_versioned("a") == ("[1.50]", 1)
        assert agents.get_contract_versioned("b") == ("{}", 1)
        assert agents.update_contract("a", "{}", 1) == 2
        assert agents.list_stale_agents() == []


@pytest.mark.parametrize("garbage", ["{oops", '{"a": 1 "b": 2}', "oops", "{'a': 1}", '{"a": 1} x'])
def test_a_damaged_row_takes_no_merge_and_names_itself(store, raw, garbage):
    raw("INSERT INTO context_session (dfid, data) VALUES ('f', ?)", garbage)
    raw("INSERT INTO context_state (agent_id, data) VALUES ('a', ?)", garbage)

    with pytest.raises(CorruptRecordError, match="context_session 'f'"):
        store.context.merge_session("f", {"a": 1})
    with pytest.raises(CorruptRecordError, match="context_state 'a'"):
        store.context.merge_state("a", {"a": 1})

    assert raw("SELECT data, version FROM context_session") == [(garbage, 1)]
    assert raw("SELECT data, version FROM context_state") == [(garbage, 1)]


@pytest.mark.parametrize("write", ["set", "merge"])
def test_the_next_write_of_any_session_deletes_those_that_ended(store, raw, write):
    for n in range(20):
        store.context.set_session(f"f{n}", "{}")
        store.lifecycle.close_flow(f"f{n}", "CLOSED", session_ttl_sec=0.001 if n % 2 else 60)
    deadline = time.monotonic() + PATIENCE_SEC
    while any(store.context.get_session(f"f{n}") for n in range(1, 20, 2)):
        assert time.monotonic() < deadline

    if write == "set":
        store.context.set_session("other", "{}")
    else:
        store.context.merge_session("other", {})

    left = {dfid for (dfid,) in raw("SELECT dfid FROM context_session")}
    assert left == {"other", *(f"f{n}" for n in range(0, 20, 2))}


def test_no_merge_of_several_processes_is_lost(at_once, store):
    code = """
store = sqlite_storage(path)
for n in range(20):
    store.context.merge_session("f", {f"{number}:{n}": n})
"""
    at_once(code, 4)

    document, version = store.context.get_session_versioned("f")
    expected: dict[str, Any] = {f"{p}:{n}": n for p in range(4) for n in range(20)}
    assert json.loads(document) == expected
    assert version == 80
