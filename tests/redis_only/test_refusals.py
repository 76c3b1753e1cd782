"""What a server refuses, and what is stored wrong, are typed errors; nothing is half written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from dir_redis import (
    CorruptRecordError,
    StorageBundle,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
    acl,
    open_storage,
    verify_store,
)
from dir_redis.embedded import valkey_binary
from dir_redis.redis.connection import connect
from tests.redis_only.conftest import commands_sent
from tests.redis_only.test_once import WRITES
from tests.servers import keys_of, redis62_binary, server, wait_until

BINARIES: dict[str, Callable[[], Path]] = {"valkey": valkey_binary, "redis62": redis62_binary}


@pytest.fixture(params=BINARIES)
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A server that a test may spoil."""
    with server(BINARIES[request.param](), tmp_path / "server") as running:
        yield running.url


@pytest.fixture
def admin(own_server: str) -> Iterator[Any]:
    with connect(own_server, attempt_timeout_sec=5).client as client:
        yield client


@pytest.fixture
def spoilt(own_server: str) -> Iterator[StorageBundle]:
    """A store on that server."""
    with open_storage(own_server, timeout_sec=0.3) as bundle:
        yield bundle


def write(bundle: StorageBundle) -> None:
    bundle.decision_audit.record("f", "E")


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ({"maxmemory": "1"}, "OOM"),
        ({"min-replicas-to-write": "1"}, "NOREPLICAS"),
    ],
    ids=str,
)
def test_a_refusal_names_its_code_and_what_to_do(
    admin: Any, spoilt: StorageBundle, setting: dict[str, str], code: str
) -> None:
    write(spoilt)
    for name, value in setting.items():
        admin.config_set(name, value)

    with commands_sent(spoilt) as sent, pytest.raises(StorageRefusedError) as caught:
        write(spoilt)

    assert caught.value.code == code
    assert caught.value.__cause__ is not None
    assert len(sent) == 1  # trying again would be pointless
    admin.config_set(next(iter(setting)), "0")
    assert len(spoilt.decision_audit.events_for_dfid("f")) == 1


def test_a_replica_refuses_writes(admin: Any, spoilt: StorageBundle) -> None:
    write(spoilt)
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")

    with (
        commands_sent(spoilt) as sent,
        pytest.raises(StorageRefusedError, match="connect to the primary") as caught,
    ):
        write(spoilt)

    assert caught.value.code == "READONLY"
    assert len(sent) == 1


def test_a_replica_without_its_primary_is_tried_until_it_is_one_itself(
    admin: Any, spoilt: StorageBundle
) -> None:
    write(spoilt)
    admin.config_set("replica-serve-stale-data", "no")
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")

    for operation in (write, lambda b: b.decision_audit.events_for_dfid("f")):
        with pytest.raises(StorageUnavailableError, match="MASTER is down") as caught:
            operation(spoilt)
        assert not caught.value.outcome_unknown

    admin.execute_command("REPLICAOF", "NO", "ONE")
    write(spoilt)
    assert len(spoilt.decision_audit.events_for_dfid("f")) == 2


@pytest.mark.parametrize("binary", BINARIES)
def test_a_server_that_cannot_save_refuses_writes_at_once(binary: str, tmp_path: Path) -> None:
    # Nobody can make a file in /proc.
    unsaved = ("--save", "900", "1", "--dir", "/proc")
    with (
        server(BINARIES[binary](), tmp_path / "server", *unsaved) as running,
        connect(running.url, attempt_timeout_sec=5).client as admin,
        open_storage(running.url, timeout_sec=30) as bundle,
    ):
        write(bundle)
        with contextlib.suppress(RedisError):
            admin.bgsave()
        wait_until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err", 10)

        with (
            commands_sent(bundle) as sent,
            pytest.raises(StorageRefusedError, match="look at its disk and log") as caught,
        ):
            write(bundle)

        assert (caught.value.code, len(sent)) == ("MISCONF", 1)
        assert len(bundle.decision_audit.events_for_dfid("f")) == 1
        admin.config_set("save", "")  # else it will not end, for ten seconds


def test_a_permission_taken_away_is_refused_at_once(own_server: str, admin: Any) -> None:
    admin.execute_command("ACL", "SETUSER", "fleet", "on", ">pw", "~*", "+@all")
    with open_storage(
        own_server.replace("redis://", "redis://fleet:pw@"), timeout_sec=30
    ) as bundle:
        write(bundle)
        admin.execute_command("ACL", "SETUSER", "fleet", "-evalsha")

        with commands_sent(bundle) as sent, pytest.raises(StorageRefusedError) as caught:
            write(bundle)

        admin.execute_command("ACL", "SETUSER", "fleet", "+evalsha")
        assert (caught.value.code, len(sent)) == ("NOPERM", 1)
        assert len(bundle.decision_audit.events_for_dfid("f")) == 1


def test_a_busy_server_is_tried_until_it_is_free(own_server: str, admin: Any) -> None:
    admin.config_set("lua-time-limit", "10")
    with (
        open_storage(own_server, timeout_sec=30) as bundle,
        connect(own_server, attempt_timeout_sec=5).client as killer,
    ):
        write(bundle)
        blocker = admin.connection_pool.get_connection()
        blocker.send_command("EVAL", "while true do end", 0)
        timer = threading.Timer(0.3, killer.script_kill)
        timer.start()

        write(bundle)

        timer.join()
        blocker.disconnect()
        assert len(bundle.decision_audit.events_for_dfid("f")) == 2


def test_a_busy_server_is_unavailable_with_nothing_applied(
    own_server: str, admin: Any, spoilt: StorageBundle
) -> None:
    admin.config_set("lua-time-limit", "10")
    blocker = admin.connection_pool.get_connection()
    blocker.send_command("EVAL", "while true do end", 0)
    blocked = connect(own_server, attempt_timeout_sec=5).client
    try:
        with pytest.raises(StorageUnavailableError, match="busy") as caught:
            write(spoilt)
        assert not caught.value.outcome_unknown
    finally:
        blocked.script_kill()
        blocked.close()
        blocker.disconnect()


def test_a_user_without_permission_is_told_so(own_server: str, admin: Any) -> None:
    admin.execute_command("ACL", "SETUSER", "limited", "on", ">pw", "~*", "+info", "+ping")

    with pytest.raises(StorageRefusedError, match="permission") as caught:
        open_storage(own_server.replace("redis://", "redis://limited:pw@"))

    assert caught.value.code == "NOPERM"


READS: dict[str, tuple[str, Callable[[StorageBundle], Any]]] = {
    "agent:a": ("agent:a", lambda b: b.agent_registry.get_agent("a")),
    "agents_active": ("agents_active", lambda b: b.agent_registry.list_active_agents()),
    "session:f": ("session:f", lambda b: b.context.get_session("f")),
    "state:a": ("state:a", lambda b: b.context.get_state("a")),
    "audit": ("audit", lambda b: b.decision_audit.all_events_chronological()),
    "audit_flow:f": ("audit_flow:f", lambda b: b.decision_audit.events_for_dfid("f")),
    "transitions": ("transitions", lambda b: b.lifecycle.get_transitions()),
    "saga:f": ("saga:f", lambda b: b.saga.get_dirty_state("f")),
    "sagas_dirty": ("sagas_dirty", lambda b: b.saga.get_dirty_flows()),
    "sagas_marks": ("sagas_marks", lambda b: b.saga.get_dirty_state("f")),
    "claim:k": ("claim:k", lambda b: b.idempotency.wait("k", 0)),
    "lock_totals": ("lock_totals", lambda b: b.resource_lock.get_locked_amount("r", "f")),
    "lock_capacities": ("lock_capacities", lambda b: b.resource_lock.get_capacity("r")),
    "lock_flows": ("lock_flows", lambda b: b.resource_lock.get_locked_amount("r", "f")),
    "lock_leases": ("lock_leases", lambda b: b.resource_lock.get_locked_amount("r", "f")),
    "lock_holders": ("lock_holders", lambda b: b.resource_lock.holders("r")),
    "budget:a": ("budget:a", lambda b: b.escalation.get_window_count("a", "2020-01-01 00:00:00")),
    "requests_open": ("requests_open", lambda b: b.escalation.get_pending_requests()),
    "retry:f": ("retry:f", lambda b: b.intent_retry.get_count("f")),
    "idempotency:k": ("idempotency:k", lambda b: b.idempotency.get("k")),
}


@pytest.mark.parametrize("kind", READS)
def test_a_key_of_another_type_is_a_corrupt_record_that_names_it(
    store: StorageBundle, raw: Any, namespace: str, kind: str
) -> None:
    suffix, read = READS[kind]
    key = f"{{{namespace}:0}}:{suffix}"
    if kind in ("retry:f", "idempotency:k"):
        raw.rpush(key, "garbage")
    else:
        raw.set(key, "garbage")
    if kind == "requests_open":
        raw.zadd(f"{{{namespace}:0}}:requests_pending", {"f": 1})

    with pytest.raises(CorruptRecordError) as caught:
        read(store)

    assert key in caught.value.key


GARBAGE: dict[str, tuple[dict[str, str], Callable[[StorageBundle], Any]]] = {
    "agent:a": (
        {"status": "ACTIVE", "priority": "1", "contract": "{"},
        lambda b: b.agent_registry.get_agent("a"),
    ),
    "saga:f": ({"failed_step": "s", "partial_state": "{"}, lambda b: b.saga.get_dirty_state("f")),
    "sagas_marks": ({"f": '{"failed_step": "s"}'}, lambda b: b.saga.get_dirty_state("f")),
    "sagas_claims": ({"f": "1 x me"}, lambda b: b.saga.clear_dirty("f", epoch=1)),
    "claim:k": ({"token": "1", "owner": "x"}, lambda b: b.idempotency.wait("k", 0)),
    "claim:l": ({"token": "x"}, lambda b: b.idempotency.claim("l", lease_sec=1, owner="me")),
    "lock_totals": ({"r": "nan"}, lambda b: b.resource_lock.get_locked_amount("r", "f")),
    "lock_capacities": ({"r": "-5"}, lambda b: b.resource_lock.get_capacity("r")),
    "lock_flows": ({"f": "0 0 5 1 9:r"}, lambda b: b.resource_lock.release("f")),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_in_a_record_is_a_corrupt_record_that_names_the_key(
    store: StorageBundle, raw: Any, namespace: str, kind: str
) -> None:
    fields, read = GARBAGE[kind]
    key = f"{{{namespace}:0}}:{kind}"
    raw.hset(key, mapping=fields)

    with pytest.raises(CorruptRecordError) as caught:
        read(store)

    assert caught.value.key == key


@pytest.mark.parametrize("garbage", ["nan", "inf", "-1", "1e400", "", "x"])
@pytest.mark.parametrize("kind", ["lock_totals", "lock_capacities"])
def test_a_garbled_amount_never_lets_a_reservation_pass(
    store: StorageBundle, raw: Any, namespace: str, kind: str, garbage: str
) -> None:
    """Lua's ``tonumber('nan')`` would pass every check and disable the limit for good."""
    store.resource_lock.set_capacity("r", 10)
    key = f"{{{namespace}:0}}:{kind}"
    raw.hset(key, "r", garbage)

    with pytest.raises(CorruptRecordError) as caught:
        store.resource_lock.acquire_batch("f", {"r": 5}, 0)

    assert caught.value.key == key
    assert not raw.exists(f"{{{namespace}:0}}:lock_flows")


# Writes that do not depend on what was there: SET and DEL take any type.
TAKE_ANY_TYPE = {
    *("idempotency_set", "set_count", "delete", "insert_request"),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_meets_a_key_of_another_type_changes_nothing(
    raw: Any, redis_url: str, namespace: str, name: str
) -> None:
    """Each key of the write in turn is spoilt; whatever the others hold must stay as it was."""
    with open_storage(redis_url, namespace=namespace) as bundle:
        fill(bundle)
        touched = keys_touched(bundle, WRITES[name])
        fill(bundle)
        whole, times = contents(raw, namespace), times_left(raw, namespace)
        for spoilt in touched:
            put_back(raw, namespace, whole, times)
            was_a_string = raw.type(spoilt) == b"string"
            raw.delete(spoilt)
            if was_a_string:
                raw.rpush(spoilt, "garbage")
            else:
                raw.set(spoilt, "garbage")
            before = contents(raw, namespace)

            caught = None
            try:
                WRITES[name](bundle)
            except CorruptRecordError as error:
                caught = error

            if caught is None:
                # A script of reservations gets the keys of all of them, and uses what it needs; the
                # same entry of the ledger once more needs no end of the chain.
                optional = ":lock_" in spoilt or (name == "append" and ":ledger_end" in spoilt)
                unused = optional and raw.dump(spoilt) == before[spoilt.encode()]
                assert name in TAKE_ANY_TYPE or unused
            else:
                assert spoilt in caught.key
                assert contents(raw, namespace) == before


def fill(bundle: StorageBundle) -> None:
    """Leave something at every key that a write of flow f or agent a may touch."""
    for write in WRITES.values():
        write(bundle)
    bundle.saga.mark_dirty("f", "s", "{}")
    bundle.resource_lock.acquire_batch("f", {"r": 1}, 0)
    for dfid in ("f", "c"):
        bundle.intent_retry.set_count(dfid, 1)
    bundle.escalation.insert_request("f", "a", "", "", "", "")


def keys_touched(bundle: StorageBundle, write: Callable[[StorageBundle], Any]) -> list[str]:
    """The keys that a write names, without its operation session."""
    with commands_sent(bundle) as sent:
        write(bundle)
    _, _, count, *rest = sent[-1]
    return list(rest[: count - 1])


def contents(raw: Any, namespace: str) -> dict[bytes, bytes]:
    """Every key of a namespace with its serialized value, but the operation sessions."""
    return of_each_key(raw, namespace, "dump")


def times_left(raw: Any, namespace: str) -> dict[bytes, int]:
    """Every key of a namespace with its time to live in milliseconds, 0 if it is for ever."""
    return {key: max(left, 0) for key, left in of_each_key(raw, namespace, "pttl").items()}


def of_each_key(raw: Any, namespace: str, command: str) -> dict[bytes, Any]:
    keys = [key for key in keys_of(raw, namespace) if b"}:op:" not in key]
    with raw.pipeline(transaction=False) as pipeline:
        for key in keys:
            getattr(pipeline, command)(key)
        return dict(zip(keys, pipeline.execute(), strict=True))


def put_back(raw: Any, namespace: str, whole: dict[bytes, bytes], times: dict[bytes, int]) -> None:
    """Make all keys of a namespace what they were, but the operation sessions."""
    with raw.pipeline(transaction=False) as pipeline:
        for key in contents(raw, namespace):
            pipeline.delete(key)
        for key, value in whole.items():
            pipeline.restore(key, times[key], value)
        pipeline.execute()


@pytest.mark.parametrize(
    ("key", "fields", "read"),
    [
        ("session:f", {"data": b"\xff"}, lambda b: b.context.get_session("f")),
        ("agent:a", {"status": b"\xff"}, lambda b: b.agent_registry.get_status("a")),
        ("saga:f", {"failed_step": b"\xff"}, lambda b: b.saga.get_dirty_state("f")),
        ("lock_totals", {"r": b"\xff"}, lambda b: b.resource_lock.get_locked_amount("r", "f")),
        ("agent:a", {"contract": "{}"}, lambda b: b.agent_registry.get_agent("a")),
        ("agent:a", {"suspension_reason": "x"}, lambda b: b.agent_registry.get_status("a")),
        ("saga:f", {"partial_state": "{}"}, lambda b: b.saga.get_dirty_state("f")),
        ("lock_flows", {"f": "0 0 5 1 1:r"}, lambda b: b.resource_lock.get_locked_amount("r", "f")),
    ],
)
def test_a_damaged_record_is_corrupt_and_never_just_not_found(
    store: StorageBundle, raw: Any, namespace: str, key: str, fields: Any, read: Any
) -> None:
    raw.hset(f"{{{namespace}:0}}:{key}", mapping=fields)

    with pytest.raises(CorruptRecordError, match=namespace):
        read(store)


def test_a_full_server_still_lets_a_flow_release(admin: Any, spoilt: StorageBundle) -> None:
    for flow in ("f", "g"):
        spoilt.resource_lock.acquire_batch(flow, {"r": 1, "s": 2}, 0)
    spoilt.resource_lock.release("unknown")  # loads the script
    admin.config_set("maxmemory", "1")

    spoilt.resource_lock.release("f")

    admin.config_set("maxmemory", "0")
    assert spoilt.resource_lock.get_locked_amount("r", "nobody") == 1


def test_an_index_entry_without_its_row_is_a_corrupt_record(
    store: StorageBundle, raw: Any, namespace: str
) -> None:
    store.decision_audit.record("f", "E")
    raw.delete(f"{{{namespace}:0}}:audit")

    with pytest.raises(CorruptRecordError, match="audit_flow:f"):
        store.decision_audit.events_for_dfid("f")


def test_a_write_that_was_cut_off_half_way_is_not_repeated(own_server: str, admin: Any) -> None:
    rules = acl("dir", user="u", password="p").split()[2:]
    admin.execute_command("ACL", "SETUSER", "u", *rules)
    with (
        open_storage(own_server.replace("redis://", "redis://u:p@")) as bundle,
        open_storage(own_server) as everybody,
    ):
        bundle.decision_audit.record("f", "E")
        admin.execute_command("ACL", "SETUSER", "u", "-rpush")
        with pytest.raises(StorageUnavailableError, match="off half-way") as caught:
            bundle.decision_audit.record("f", "E")
        admin.execute_command("ACL", "SETUSER", "u", "+rpush")

        assert (caught.value.outcome_unknown, caught.value.half_written) == (True, True)
        with pytest.raises(StorageError, match="cannot be repeated"):
            caught.value.repeat()
        assert len(bundle.decision_audit.all_events_chronological()) == 2
        assert [one.kind for one in verify_store(everybody).findings] == ["missing"]
