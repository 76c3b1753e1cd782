"""Closing a flow: in how many steps, what a cut between them leaves, and what spoilt keys do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dir_redis import (
    CorruptRecordError,
    StorageBundle,
    StorageError,
    TransitionConflictError,
    open_storage,
)
from dir_redis.redis.keys import Keys
from dir_redis.redis.steps import Command, Request, Steps, WaitForItem
from tests.conftest import SERVERS
from tests.fault_proxy import fault_proxy
from tests.redis_only.conftest import commands_sent
from tests.servers import keys_of

PARTITIONS = 4


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def partitioned(server_url: str, namespace: str) -> Iterator[StorageBundle]:
    """A fresh store of several partitions on each real server."""
    with open_storage(server_url, namespace=namespace, partitions=PARTITIONS) as bundle:
        yield bundle


def flow_in(partition: int, number: int = 0) -> str:
    """One of the flows that lie in a partition."""
    keys = Keys("n", PARTITIONS)
    flows = (f"f{number}" for number in range(1000))
    there = [dfid for dfid in flows if keys.session(dfid).startswith(f"{{n:{partition}}}")]
    return there[number]


def begin(bundle: StorageBundle, dfid: str) -> None:
    """Give a flow all that closing ends."""
    bundle.lifecycle.record_transition(dfid, "ACTIVE", "EXECUTING")
    bundle.context.set_session(dfid, "{}")
    bundle.intent_retry.set_count(dfid, 2)
    bundle.resource_lock.acquire_batch(dfid, {"seats": 1.5}, 0)


def state(bundle: StorageBundle, dfid: str) -> dict[str, Any]:
    return {
        "transitions": [row["to_status"] for row in bundle.lifecycle.get_transitions(dfid)],
        "rows": len(bundle.decision_audit.events_for_dfid(dfid)),
        "retries": bundle.intent_retry.get_count(dfid),
        "held": bundle.resource_lock.get_locked_amount("seats", "nobody"),
    }


OPEN = {"transitions": ["EXECUTING"], "rows": 0, "retries": 2, "held": 1.5}
CLOSED = {"transitions": ["EXECUTING", "CLOSED"], "rows": 1, "retries": 0, "held": 0}


@pytest.mark.parametrize(("partition", "scripts"), [(0, 1), (1, 2), (PARTITIONS - 1, 2)])
def test_closing_is_one_script_beside_the_reservations_and_two_elsewhere(
    partitioned: StorageBundle, partition: int, scripts: int
) -> None:
    dfid = flow_in(partition)
    partitioned.lifecycle.close_flow(dfid, "LOADED")  # its scripts
    begin(partitioned, dfid)

    with commands_sent(partitioned) as sent:
        assert partitioned.lifecycle.close_flow(dfid, "CLOSED")

    assert [command[0] for command in sent] == ["EVALSHA"] * scripts
    for command in sent:
        tags = {str(key).partition("}")[0] for key in command[3 : 3 + command[2]]}
        assert len(tags) == 1  # one slot each
    assert state(partitioned, dfid)["held"] == 0


@pytest.mark.parametrize("partition", [0, 1])
@pytest.mark.parametrize("killed_at", [1, 2, 3, 4])
def test_a_process_killed_at_any_point_of_closing_leaves_what_calling_again_finishes(
    partitioned: StorageBundle, partition: int, killed_at: int
) -> None:
    """Killed before the request is sent (odd) or before the reply is read (even)."""
    dfid = flow_in(partition)
    partitioned.lifecycle.close_flow(flow_in(partition, 1), "LOADED")
    begin(partitioned, dfid)
    driver: Any = partitioned.lifecycle._driver  # type: ignore[attr-defined]
    execute = driver._execute_command
    points = iter(range(1, 100))

    def mortal(*command: Any) -> Any:
        if next(points) == killed_at:
            raise Killed
        reply = execute(*command)
        if next(points) == killed_at:
            raise Killed
        return reply

    driver._execute_command = mortal
    steps = 1 if partition == 0 else 2
    try:
        closed = partitioned.lifecycle.close_flow(dfid, "CLOSED", expected="EXECUTING")
        assert (closed, killed_at > 2 * steps) == (True, True)
    except Killed:
        assert killed_at <= 2 * steps
    driver._execute_command = execute

    left = state(partitioned, dfid)
    if steps == 1:
        assert left in (OPEN, CLOSED)
    else:
        assert left in (OPEN, CLOSED | {"held": 1.5}, CLOSED)
    first = partitioned.lifecycle.close_flow(dfid, "CLOSED", expected="EXECUTING")
    assert first is (left == OPEN)
    assert state(partitioned, dfid) == CLOSED
    assert partitioned.lifecycle.close_flow(dfid, "CLOSED", expected="EXECUTING") is False
    assert state(partitioned, dfid) == CLOSED


def test_a_cut_never_leaves_the_reservations_released_and_the_flow_open(
    partitioned: StorageBundle,
) -> None:
    """Others would take what the flow, still at work, believes to hold."""
    dfid = flow_in(1)
    begin(partitioned, dfid)
    partitioned.lifecycle.close_flow("other", "LOADED")

    with commands_sent(partitioned) as sent:
        partitioned.lifecycle.close_flow(dfid, "CLOSED")

    assert ":transitions" in sent[0][3]
    assert ":lock_totals" in sent[-1][3]


def test_a_conflict_releases_nothing_in_either_slot(partitioned: StorageBundle) -> None:
    for dfid in (flow_in(0), flow_in(1)):
        begin(partitioned, dfid)
        before = state(partitioned, dfid)
        with pytest.raises(TransitionConflictError):
            partitioned.lifecycle.close_flow(dfid, "CLOSED", expected="ACTIVE")
        assert state(partitioned, dfid) == before


@pytest.mark.parametrize("partition", [0, 1])
def test_closing_with_lost_replies_closes_once_and_tells_the_first_answer(
    servers: Any, namespace: str, partition: int
) -> None:
    with (
        fault_proxy(servers.url(SERVERS[0])) as proxy,
        open_storage(
            proxy.url, namespace=namespace, partitions=PARTITIONS, timeout_sec=3
        ) as bundle,
    ):
        dfid = flow_in(partition)
        bundle.lifecycle.close_flow(flow_in(partition, 1), "LOADED")
        begin(bundle, dfid)
        proxy.lose_replies(1, to=b"EVALSHA")

        assert bundle.lifecycle.close_flow(dfid, "CLOSED") is True
        assert state(bundle, dfid) == CLOSED


def test_a_transition_whose_reply_is_lost_is_made_once_and_is_no_conflict(
    servers: Any, namespace: str
) -> None:
    """Without once() the repeat would find the flow moved on by itself."""
    with (
        fault_proxy(servers.url(SERVERS[0])) as proxy,
        open_storage(proxy.url, namespace=namespace, timeout_sec=3) as bundle,
    ):
        bundle.lifecycle.transition("g", "CREATED", "ACTIVE")
        proxy.lose_replies(2, to=b"EVALSHA")

        bundle.lifecycle.transition("f", "CREATED", "ACTIVE")

        assert len(bundle.lifecycle.get_transitions("f")) == 1


@pytest.mark.parametrize(
    "kind",
    ["transitions", "transitions_flow:f", "audit", "audit_flow:f", "retry:f", "session:f"]
    + ["lock_totals", "lock_flows", "lock_leases", "lock_holders", "lock_waiting"],
)
def test_a_key_of_another_type_fails_before_anything_is_closed(
    store: StorageBundle, raw: Any, namespace: str, kind: str
) -> None:
    key = f"{{{namespace}:0}}:{kind}"
    spoil = raw.lpush if kind in ("transitions", "audit", "retry:f", "session:f") else raw.set
    if kind not in ("transitions", "transitions_flow:f"):
        begin(store, "f")
    raw.delete(key)
    spoil(key, "x")
    before = {name: raw.dump(name) for name in keys_of(raw, namespace) if b":op:" not in name}

    with pytest.raises(StorageError):
        store.lifecycle.close_flow("f", "CLOSED")

    after = {name: raw.dump(name) for name in keys_of(raw, namespace) if b":op:" not in name}
    assert after == before


def test_an_id_without_its_transition_is_corrupt_not_a_flow_without_status(
    store: StorageBundle, raw: Any, namespace: str
) -> None:
    tag = f"{{{namespace}:0}}:"
    store.lifecycle.record_transition("f", "CREATED", "ACTIVE")
    raw.rpush(f"{tag}transitions_flow:f", "1-1")

    for use in (
        lambda: store.lifecycle.current_status("f"),
        lambda: store.lifecycle.transition("f", "CREATED", "ACTIVE"),
        lambda: store.lifecycle.close_flow("f", "CLOSED"),
    ):
        with pytest.raises(CorruptRecordError) as caught:
            use()
        assert caught.value.key == f"{tag}transitions_flow:f"
    assert len(raw.xrange(f"{tag}transitions")) == 1


def test_a_transition_without_a_status_is_corrupt(
    store: StorageBundle, raw: Any, namespace: str
) -> None:
    tag = f"{{{namespace}:0}}:"
    raw.rpush(f"{tag}transitions_flow:f", raw.xadd(f"{tag}transitions", {"dfid": "f"}))

    with pytest.raises(CorruptRecordError) as caught:
        store.lifecycle.current_status("f")

    assert caught.value.key == f"{tag}transitions"


def test_what_closing_stores(store: StorageBundle, raw: Any, namespace: str) -> None:
    tag = f"{{{namespace}:0}}:"
    begin(store, "f")

    store.lifecycle.close_flow("f", "CLOSED", details={"b": 1, "a": 2}, agent_id="a")

    transition = {"dfid": "f", "from": "EXECUTING", "to": "CLOSED", "root_dfid": ""}
    row = {
        **{"dfid": "f", "event": "FLOW_CLOSED", "step_id": "", "state": "CLOSED"},
        **{"details": '{"a": 2, "b": 1}', "root_dfid": "", "agent_id": "a", "severity": "INFO"},
    }
    for kind, stored in (("transitions", transition), ("audit", row)):
        entry_id, fields = raw.xrevrange(f"{tag}{kind}", count=1)[0]
        assert {name.decode(): value.decode() for name, value in fields.items()} == stored
        assert [name.decode() for name in fields] == list(stored)
        assert raw.lrange(f"{tag}{kind}_flow:f", -1, -1) == [entry_id]
    assert not raw.exists(f"{tag}retry:f", f"{tag}lock_flows", f"{tag}lock_totals")
    assert 86_390_000 < raw.pttl(f"{tag}session:f") <= 86_400_000


def test_a_session_is_kept_for_whole_milliseconds_and_never_less(
    store: StorageBundle, raw: Any, namespace: str
) -> None:
    begin(store, "f")
    with commands_sent(store) as sent:
        store.lifecycle.close_flow("f", "CLOSED", session_ttl_sec=1000.0000004)

    assert 1_000_001 in sent[0]
    assert 990_000 < raw.pttl(f"{{{namespace}:0}}:session:f") <= 1_000_001


@pytest.mark.parametrize("partition", [0, 1])
def test_closing_wakes_who_waits_for_what_the_flow_held(
    partitioned: StorageBundle, partition: int
) -> None:
    """Who waits looks again by itself within a second, which hides a wake-up that never came."""
    dfid = flow_in(partition)
    begin(partitioned, dfid)
    locks: Any = partitioned.resource_lock
    steps = type(locks).reserve.__wrapped__(
        locks, "waiter", {"seats": 1.5}, wait_sec=10, capacities={"seats": 1.5}
    )
    request = next(steps)
    while not isinstance(request, WaitForItem):
        request = steps.send(locks._driver.run(asked(request)))

    partitioned.lifecycle.close_flow(dfid, "CLOSED")

    woken = locks._driver.run(_length(request.key))
    steps.close()
    assert woken == 1


def asked(request: Request) -> Steps[Any]:
    return (yield request)


def _length(key: str) -> Steps[int]:
    length: int = yield Command("LLEN", key)
    return length
