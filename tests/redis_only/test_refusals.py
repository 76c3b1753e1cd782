"""What a server refuses, and what is stored wrong, are typed errors; nothing is half written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dir_redis import (
    CorruptRecordError,
    StorageBundle,
    StorageRefusedError,
    StorageUnavailableError,
    open_storage,
)
from dir_redis.embedded import valkey_binary
from dir_redis.redis.connection import connect
from tests.servers import redis62_binary, server

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

    with pytest.raises(StorageRefusedError) as caught:
        write(spoilt)

    assert caught.value.code == code
    assert caught.value.__cause__ is not None
    admin.config_set(next(iter(setting)), "0")
    assert len(spoilt.decision_audit.events_for_dfid("f")) == 1


def test_a_replica_refuses_writes(admin: Any, spoilt: StorageBundle) -> None:
    write(spoilt)
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")

    with pytest.raises(StorageRefusedError, match="connect to the primary") as caught:
        write(spoilt)

    assert caught.value.code == "READONLY"


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
    "lock_totals": ("lock_totals", lambda b: b.resource_lock.get_locked_amount("r", "f")),
    "lock_capacities": ("lock_capacities", lambda b: b.resource_lock.get_capacity("r")),
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
    "lock_totals": ({"r": "nan"}, lambda b: b.resource_lock.get_locked_amount("r", "f")),
    "lock_capacities": ({"r": "-5"}, lambda b: b.resource_lock.get_capacity("r")),
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
    assert not raw.exists(f"{{{namespace}:0}}:lock_flow:f")


def test_an_index_entry_without_its_row_is_a_corrupt_record(
    store: StorageBundle, raw: Any, namespace: str
) -> None:
    store.decision_audit.record("f", "E")
    raw.delete(f"{{{namespace}:0}}:audit")

    with pytest.raises(CorruptRecordError, match="audit_flow:f"):
        store.decision_audit.events_for_dfid("f")
