"""Keys are a promise: hosts of two versions share one store."""

from __future__ import annotations

import pytest

from dir_redis.redis.keys import Keys, check_namespace, meta_key


def test_every_key_is_pinned() -> None:
    keys = Keys("dir", 1)

    assert meta_key("dir") == "{dir:0}:meta"
    assert keys.agent("a") == "{dir:0}:agent:a"
    assert keys.agents("a") == "{dir:0}:agents"
    assert keys.agents_active("a") == "{dir:0}:agents_active"
    assert keys.session("f") == "{dir:0}:session:f"
    assert keys.state("a") == "{dir:0}:state:a"
    assert keys.idempotency("k") == "{dir:0}:idempotency:k"
    assert keys.log("audit", "f") == "{dir:0}:audit"
    assert keys.log_of_flow("audit", "f") == "{dir:0}:audit_flow:f"
    assert keys.log("transitions", "f") == "{dir:0}:transitions"
    assert keys.log_of_flow("transitions", "f") == "{dir:0}:transitions_flow:f"
    assert keys.saga("f") == "{dir:0}:saga:f"
    assert keys.sagas_dirty("f") == "{dir:0}:sagas_dirty"
    assert keys.lock_totals() == "{dir:0}:lock_totals"
    assert keys.lock_capacities() == "{dir:0}:lock_capacities"
    assert keys.lock_flow("f") == "{dir:0}:lock_flow:f"
    assert keys.retry("f") == "{dir:0}:retry:f"
    assert keys.budget("a") == "{dir:0}:budget:a"
    assert keys.requests_pending("f") == "{dir:0}:requests_pending"
    assert keys.requests_open("f") == "{dir:0}:requests_open"
    assert keys.request("f") == "{dir:0}:request:f"
    assert Keys.operation("{dir:0}:audit", "s") == "{dir:0}:op:s"


def test_the_partition_of_an_id_is_pinned() -> None:
    keys = Keys("fleet", 16)

    assert keys.session("flow-1") == "{fleet:13}:session:flow-1"
    assert keys.session("flow-2") == "{fleet:7}:session:flow-2"
    assert keys.agent("ägent") == "{fleet:2}:agent:ägent"
    assert keys.in_each_partition("audit") == [f"{{fleet:{n}}}:audit" for n in range(16)]


def test_what_one_flow_touches_lies_in_one_slot() -> None:
    keys = Keys("dir", 64)
    of_flow = [
        keys.session("f"),
        keys.log("audit", "f"),
        keys.log_of_flow("audit", "f"),
        keys.log("transitions", "f"),
        keys.saga("f"),
        keys.sagas_dirty("f"),
        keys.requests_pending("f"),
        keys.requests_open("f"),
        keys.request("f"),
        Keys.operation(keys.session("f"), "s"),
    ]

    assert len({key.partition("}")[0] for key in of_flow}) == 1


def test_all_reservations_lie_in_one_slot() -> None:
    keys = Keys("dir", 64)

    assert keys.lock_totals().startswith("{dir:0}:")
    assert keys.lock_capacities().startswith("{dir:0}:")
    assert all(keys.lock_flow(f"f{n}").startswith("{dir:0}:") for n in range(100))


@pytest.mark.parametrize("odd", ["}", "{x}", "a:b", "*", "\n", "{dir:1}:session:x"])
def test_an_id_moves_no_key_to_another_slot_or_kind(odd: str) -> None:
    key = Keys("dir", 1).session(odd)

    assert key.startswith("{dir:0}:session:")
    assert key.removeprefix("{dir:0}:session:") == odd
    assert Keys.operation(key, "s") == "{dir:0}:op:s"


@pytest.mark.parametrize("bad", ["", "a:b", "a{b", "a}b", "a b", "a*", "ä", "a" * 65, "a\n"])
def test_a_namespace_that_could_trip_a_hash_tag_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="namespace must be 1 to 64 letters"):
        check_namespace(bad)
