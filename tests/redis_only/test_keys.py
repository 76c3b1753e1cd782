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
    assert keys.agents_heartbeat("a") == "{dir:0}:agents_heartbeat"
    assert keys.session("f") == "{dir:0}:session:f"
    assert keys.state("a") == "{dir:0}:state:a"
    assert keys.idempotency("k") == "{dir:0}:idempotency:k"
    assert keys.claim("k") == "{dir:0}:claim:k"
    assert keys.claim_ended("k") == "{dir:0}:claim_ended:k"
    assert keys.log("audit", "f") == "{dir:0}:audit"
    assert keys.log_of_flow("audit", "f") == "{dir:0}:audit_flow:f"
    assert keys.in_each_partition("audit_groups") == ["{dir:0}:audit_groups"]
    assert keys.chain_end("audit", "f") == "{dir:0}:audit_end"
    assert keys.log("ledger", "f") == "{dir:0}:ledger"
    assert keys.log_of_flow("ledger", "f") == "{dir:0}:ledger_flow:f"
    assert keys.chain_end("ledger", "f") == "{dir:0}:ledger_end"
    assert keys.in_each_partition("ledger_end") == ["{dir:0}:ledger_end"]
    assert keys.log("transitions", "f") == "{dir:0}:transitions"
    assert keys.log_of_flow("transitions", "f") == "{dir:0}:transitions_flow:f"
    assert keys.saga("f") == "{dir:0}:saga:f"
    assert keys.sagas_dirty("f") == "{dir:0}:sagas_dirty"
    assert keys.sagas_due("f") == "{dir:0}:sagas_due"
    assert keys.sagas_claimed("f") == "{dir:0}:sagas_claimed"
    assert keys.in_each_partition("sagas_counter") == ["{dir:0}:sagas_counter"]
    assert keys.sagas_marks("f") == "{dir:0}:sagas_marks"
    assert keys.sagas_claims("f") == "{dir:0}:sagas_claims"
    assert keys.lock_totals() == "{dir:0}:lock_totals"
    assert keys.lock_capacities() == "{dir:0}:lock_capacities"
    assert keys.lock_flows() == "{dir:0}:lock_flows"
    assert keys.lock_leases() == "{dir:0}:lock_leases"
    assert keys.lock_holders() == "{dir:0}:lock_holders"
    assert keys.lock_queue() == "{dir:0}:lock_queue"
    assert keys.lock_waiters() == "{dir:0}:lock_waiters"
    assert keys.lock_waiting() == "{dir:0}:lock_waiting"
    assert keys.lock_counter() == "{dir:0}:lock_counter"
    assert keys.lock_wake("w") == "{dir:0}:lock_wake:w"
    assert keys.retry("f") == "{dir:0}:retry:f"
    assert keys.budget("a") == "{dir:0}:budget:a"
    assert keys.requests_pending() == "{dir:0}:requests_pending"
    assert keys.requests_unclaimed() == "{dir:0}:requests_unclaimed"
    assert keys.requests_claimed() == "{dir:0}:requests_claimed"
    assert keys.requests_deadlines() == "{dir:0}:requests_deadlines"
    assert keys.requests_reviewers() == "{dir:0}:requests_reviewers"
    assert keys.requests_terms() == "{dir:0}:requests_terms"
    assert keys.requests_open() == "{dir:0}:requests_open"
    assert keys.request("f") == "{dir:0}:request:f"
    assert keys.decided("f") == "{dir:0}:decided:f"
    assert Keys.operation("{dir:0}:audit", "s") == "{dir:0}:op:s"
    assert keys.pattern("session") == "{dir:*}:session:*"
    assert Keys.identifier_in("{dir:0}:session:}:session:f", "session") == "}:session:f"
    assert Keys.identifier_in("{dir:0}:session:f", "state") == ""
    assert Keys.tag_in("{dir:0}:session:}f") == "{dir:0}:"


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
        keys.chain_end("audit", "f"),
        keys.log("ledger", "f"),
        keys.log_of_flow("ledger", "f"),
        keys.chain_end("ledger", "f"),
        keys.log_of_flow("audit", "f"),
        keys.log("transitions", "f"),
        keys.saga("f"),
        keys.sagas_dirty("f"),
        keys.sagas_due("f"),
        keys.sagas_claimed("f"),
        keys.sagas_marks("f"),
        keys.sagas_claims("f"),
        Keys.operation(keys.session("f"), "s"),
    ]

    assert len({key.partition("}")[0] for key in of_flow}) == 1


def test_what_one_idempotency_key_touches_lies_in_one_slot() -> None:
    keys = Keys("dir", 64)
    of_key = [keys.idempotency("k"), keys.claim("k"), keys.claim_ended("k")]

    assert len({key.partition("}")[0] for key in of_key}) == 1


def test_all_reservations_lie_in_one_slot() -> None:
    keys = Keys("dir", 64)

    assert len(set(keys.locks())) == 9
    for key in (*keys.locks(), *(keys.lock_wake(f"w{n}") for n in range(100))):
        assert key.startswith("{dir:0}:")


def test_all_escalations_lie_in_one_slot() -> None:
    keys = Keys("dir", 64)
    of_queue = [
        keys.requests_pending(),
        keys.requests_unclaimed(),
        keys.requests_claimed(),
        keys.requests_deadlines(),
        keys.requests_reviewers(),
        keys.requests_terms(),
        keys.requests_open(),
    ]

    assert all(key.startswith("{dir:0}:") for key in of_queue)
    for n in range(100):
        for key in (keys.budget(f"a{n}"), keys.request(f"f{n}"), keys.decided(f"f{n}")):
            assert key.startswith("{dir:0}:")


def test_only_a_flow_of_partition_0_lies_beside_the_reservations() -> None:
    assert Keys("dir", 1).beside_reservations("anything")
    keys = Keys("dir", 16)
    for n in range(100):
        in_partition_0 = keys.session(f"f{n}").startswith("{dir:0}:")
        assert keys.beside_reservations(f"f{n}") is in_partition_0


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
