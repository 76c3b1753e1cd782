"""No host's update of a context is lost."""

from __future__ import annotations

from datetime import datetime

import pytest

from dir_redis.kernel import ContextStore


@pytest.fixture
def contexts(bundle):
    return ContextStore(storage=bundle.context)


def test_updates_change_their_keys_and_leave_the_others(contexts):
    contexts.update_session("f", {"symbol": "ACME", "price": 1})
    contexts.update_session("f", {"price": 2, "orders": [{"n": 1}]}, agent_id="a")
    contexts.update_state("f", {"trades": 1})

    assert contexts.get_session("f") == {"symbol": "ACME", "price": 2, "orders": [{"n": 1}]}
    assert contexts.get_state("f") == {"trades": 1}
    assert contexts.get_session("unknown") == {}
    assert contexts.compile_working_context("f", "f") == {
        "meta": {"agent_id": "f", "dfid": "f", "source": "ContextStore"},
        "session": {"symbol": "ACME", "price": 2, "orders": [{"n": 1}]},
        "state": {"trades": 1},
        "memory": {},
        "artifacts": {},
    }


def test_an_update_of_nothing_makes_an_empty_context(contexts, bundle):
    contexts.update_session("f", {})

    assert contexts.get_session("f") == {}
    assert bundle.context.get_session("f") == "{}"


def test_keys_that_are_no_strings_are_what_json_makes_of_them(contexts):
    contexts.update_session("f", {1: "one", None: "none", "nested": {2: [(3,)]}})

    assert contexts.get_session("f") == {"1": "one", "null": "none", "nested": {"2": [[3]]}}


@pytest.mark.parametrize("value", [datetime.now(), object(), {1, 2}])
def test_what_is_no_json_is_refused_with_nothing_stored(contexts, value):
    contexts.update_session("f", {"price": 1})
    for update, record in (
        (contexts.update_session, "f"),
        (contexts.update_state, "a"),
    ):
        with pytest.raises(TypeError):
            update(record, {"price": 2, "at": value})

    assert (contexts.get_session("f"), contexts.get_state("a")) == ({"price": 1}, {})


@pytest.mark.parametrize(
    ("update", "read"),
    [("update_session", "get_session"), ("update_state", "get_state")],
)
def test_no_update_of_8_hosts_is_lost(bundle, race, update, read):
    def work(host):
        mine = ContextStore(storage=bundle.context)
        for n in range(10):
            getattr(mine, update)("x", {f"{host}.{n}": n, "last": host})

    race([lambda host=host: work(host) for host in range(8)])

    kept = getattr(ContextStore(storage=bundle.context), read)("x")
    assert kept.pop("last") in range(8)
    assert kept == {f"{host}.{n}": n for host in range(8) for n in range(10)}
