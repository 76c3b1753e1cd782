"""Size limits: a store takes nothing longer than its own, and sends nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import dir_redis.limits
from dir_redis import (
    AuditStore,
    MemoryContextStorage,
    RedisContextStorage,
    SqliteContextStorage,
    StorageBundle,
    memory_storage,
    open_storage,
    redis_storage,
    sqlite_storage,
)
from dir_redis.limits import Limits
from tests.hostile.conftest import Open
from tests.redis_only.conftest import commands_sent

SMALL = {"max_id_bytes": 8, "max_document_bytes": 100}
LONG_ID = "flow-1234"  # 9 bytes
WIDE_ID = "ééééé"  # 10 bytes, 5 characters
LONG_JSON = '{"a": "' + "x" * 92 + '"}'  # 101 bytes
WIDE_JSON = '{"a": "' + "é" * 46 + '"}'  # 101 bytes, 55 characters
LONG = {"a": "x" * 92}
WIDE = {"a": "é" * 16}  # escaped as it is stored: 105 bytes

Write = Callable[[StorageBundle], Any]


def claimed(bundle: StorageBundle) -> Any:
    return bundle.idempotency.claim("k", lease_sec=60, owner="me")


def intent(**fields: Any) -> Any:
    defaults = {"dfid": "f", "intent_payload": {}, "context_ref": "", "evidence_hash": ""}
    return SimpleNamespace(**{**defaults, "signature": "", **fields})


TOO_LONG: dict[str, Write] = {
    "session": lambda b: b.context.set_session("f", LONG_JSON),
    "wide session": lambda b: b.context.set_session("f", WIDE_JSON),
    "state": lambda b: b.context.set_state("a", LONG_JSON),
    "updates": lambda b: b.context.merge_session("f", {"a": "x" * 99}),
    "updates together": lambda b: b.context.merge_state("a", {"a": "x" * 50, "b": "x" * 50}),
    "result": lambda b: b.idempotency.set("k", LONG),
    "result of a claim": lambda b: b.idempotency.complete(claimed(b), WIDE),
    "saved result": lambda b: AuditStore(b.decision_audit, b.idempotency).save_idempotent_result(
        "k", "f", {"a": "x" * 80}
    ),
    "details": lambda b: b.decision_audit.record("f", "E", details=LONG),
    "details of many": lambda b: b.decision_audit.record_many(
        [{"dfid": "f", "event": "E"}, {"dfid": "f", "event": "E", "details": WIDE}]
    ),
    "details of close": lambda b: b.lifecycle.close_flow("f", "CLOSED", details=LONG),
    "contract": lambda b: b.agent_registry.register("a", LONG_JSON, 1, None),
    "contract upserted": lambda b: b.agent_registry.upsert_agent(
        "a", LONG_JSON, 1, "ACTIVE", None, None
    ),
    "partial state": lambda b: b.saga.mark_dirty("f", "s", LONG_JSON),
    "context": lambda b: b.escalation.insert_request("f", "a", "", LONG_JSON, "{}", ""),
    "proposal": lambda b: b.escalation.insert_request("f", "a", "", "{}", WIDE_JSON, ""),
    "payload": lambda b: b.decision_ledger.append(intent(intent_payload=LONG), agent_id="a"),
    "signature": lambda b: b.decision_ledger.append(intent(signature="x" * 101), agent_id="a"),
    "event": lambda b: b.decision_audit.record("f", "x" * 101),
    "wide reason": lambda b: b.escalation.insert_request("f", "a", "é" * 51, "{}", "{}", ""),
    "status": lambda b: b.lifecycle.record_transition("f", "A", "x" * 101),
    "key of updates": lambda b: b.context.merge_session("f", {"x" * 101: 1}),
    "dfid": lambda b: b.context.set_session(LONG_ID, "{}"),
    "wide dfid": lambda b: b.context.set_session(WIDE_ID, "{}"),
    "agent_id": lambda b: b.context.set_session("f", "{}", agent_id=LONG_ID),
    "key": lambda b: b.idempotency.set(LONG_ID, {}),
    "owner": lambda b: b.idempotency.claim("k", lease_sec=1, owner=LONG_ID),
    "group": lambda b: b.decision_audit.commit_archived(LONG_ID, ""),
    "resource_id": lambda b: b.resource_lock.acquire_batch("f", {WIDE_ID: 1}, 0),
    "resource_id in capacities": lambda b: b.resource_lock.acquire_batch(
        "f", {"r": 1}, 0, capacities={LONG_ID: 1}
    ),
    "resource_id of a capacity": lambda b: b.resource_lock.set_capacity(LONG_ID, 1),
    "row's dfid": lambda b: b.decision_audit.record_many([{"dfid": LONG_ID, "event": "E"}]),
    "pci.dfid": lambda b: b.decision_ledger.append(intent(dfid=LONG_ID), agent_id="a"),
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_what_is_longer_than_the_store_takes_is_refused_unsent(
    name: str, backend: str, open_same: Open
) -> None:
    bundle = open_same(**SMALL)
    if name == "result of a claim":
        claim = claimed(bundle)
        write: Write = lambda b: b.idempotency.complete(claim, WIDE)  # noqa: E731
    else:
        write = TOO_LONG[name]

    def refused() -> None:
        with pytest.raises(ValueError, match=r"max_id_bytes|max_document_bytes"):
            write(bundle)

    if backend in ("memory", "sqlite"):
        refused()
        assert bundle.decision_audit.all_events_chronological() == []
        assert bundle.context.get_session("f") is None
    else:
        with commands_sent(bundle) as sent:
            refused()
        assert sent == []


def test_what_is_just_as_long_as_the_store_takes_is_stored(open_same: Open) -> None:
    bundle = open_same(**SMALL)

    bundle.context.set_session("12345678", '{"a": "' + "x" * 91 + '"}')
    bundle.idempotency.set("éééé", {"a": "x" * 91})
    bundle.decision_audit.record("f", "x" * 100, details={"a": "é" * 15})

    assert bundle.context.get_session("12345678") == '{"a": "' + "x" * 91 + '"}'
    assert bundle.idempotency.get("éééé") == {"a": "x" * 91}
    assert bundle.decision_audit.events_for_dfid("f")[0]["details"] == {"a": "é" * 15}


@pytest.mark.parametrize("backend", ["sqlite", "valkey", "redis62"], indirect=True)
def test_a_host_reads_what_another_stored_under_larger_limits(open_same: Open) -> None:
    large, small = open_same(), open_same(**SMALL)
    large.context.set_session(LONG_ID, LONG_JSON)
    large.idempotency.set(LONG_ID, LONG)
    large.decision_audit.record(LONG_ID, "x" * 500, details=LONG)
    large.resource_lock.acquire_batch(LONG_ID, {LONG_ID: 2}, 0)

    assert small.context.get_session(LONG_ID) == LONG_JSON
    assert small.idempotency.get(LONG_ID) == LONG
    assert small.decision_audit.events_for_dfid(LONG_ID)[0]["details"] == LONG
    assert small.decision_audit.all_events_chronological()[0]["event"] == "x" * 500
    assert small.resource_lock.holders(LONG_ID)[0].dfid == LONG_ID


@pytest.mark.parametrize("backend", ["sqlite", "valkey", "redis62"], indirect=True)
def test_a_host_goes_through_with_what_another_began_under_larger_limits(open_same: Open) -> None:
    large, small = open_same(), open_same(**SMALL)
    for number in range(3):
        large.saga.mark_dirty(f"{LONG_ID} {number}", "s", "{}")
        large.escalation.insert_request(f"{LONG_ID} {number}", "a", "", "{}", "{}", "")
    token = large.resource_lock.reserve(LONG_ID, {LONG_ID: 2}, lease_sec=600).fencing_token
    large.intent_retry.set_count(LONG_ID, 3)
    large.decision_audit.commit_archived(LONG_ID, "")
    session = large.agent_registry.register(LONG_ID, "{}", 1)
    claims = [large.idempotency.claim(f"{LONG_ID} {n}", lease_sec=600, owner="me") for n in "ab"]

    for end in ("clear", "release", "named"):
        claim = small.saga.claim_dirty("me", 600)
        assert claim is not None
        small.saga.renew_dirty(claim.dfid, claim.epoch, 600)
        if end == "clear":
            small.saga.clear_dirty(claim.dfid, epoch=claim.epoch)
        else:
            small.saga.release_dirty(claim.dfid, claim.epoch)
            assert small.saga.claim_dirty("me", 600, claim.dfid) is not None
        request = small.escalation.claim_next("me", 600)
        assert request is not None
        if end == "clear":
            small.escalation.resolve_request(request["dfid"], "now", "NO", None)
        else:
            assert small.escalation.resolve(request["dfid"], "YES", by="me")
    small.resource_lock.renew(LONG_ID, token, 600)
    small.resource_lock.settle(LONG_ID, {LONG_ID: 1}, fencing_token=token)
    small.resource_lock.release(LONG_ID, fencing_token=token)
    small.intent_retry.delete(LONG_ID)
    small.decision_audit.forget_group(LONG_ID)
    small.agent_registry.heartbeat(LONG_ID, session.session_token, 600)
    small.agent_registry.update_contract(LONG_ID, '{"a": 1}', 1)
    assert small.agent_registry.update_status(LONG_ID, "SUSPENDED", None)
    small.idempotency.renew_claim(claims[0], 600)
    small.idempotency.complete(claims[0], {})
    small.idempotency.abandon(claims[1])

    assert large.resource_lock.holders(LONG_ID) == []
    assert large.decision_audit.get_archived(LONG_ID) is None
    assert large.idempotency.get(f"{LONG_ID} a") == {}
    for too_long in (
        lambda: small.saga.claim_dirty(LONG_ID, 600),
        lambda: small.escalation.resolve("f", "YES", by="x" * 101),
        lambda: small.agent_registry.update_contract("a", LONG_JSON, 1),
    ):
        with pytest.raises(ValueError, match="max_"):
            too_long()


def test_the_limits_are_1024_bytes_and_16_mib_unless_told_otherwise() -> None:
    bundle = memory_storage()

    bundle.context.set_session("x" * 1024, '"' + "x" * (16 * 2**20 - 2) + '"')

    with pytest.raises(ValueError, match="dfid"):
        bundle.context.set_session("x" * 1025, "{}")
    with pytest.raises(ValueError, match="data_json"):
        bundle.context.set_session("f", '"' + "x" * (16 * 2**20 - 1) + '"')


@pytest.mark.parametrize("backend", ["memory", "sqlite", "fakeredis", "valkey"], indirect=True)
def test_larger_limits_take_more(open_same: Open) -> None:
    bundle = open_same(max_id_bytes=2000, max_document_bytes=20 * 2**20)
    document = '"' + "x" * (17 * 2**20) + '"'

    bundle.context.set_session("x" * 2000, document)

    assert bundle.context.get_session("x" * 2000) == document


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_id_bytes": 0}, ValueError),
        ({"max_id_bytes": 16_385}, ValueError),
        ({"max_id_bytes": 2**63}, ValueError),
        ({"max_id_bytes": True}, TypeError),
        ({"max_id_bytes": "8"}, TypeError),
        ({"max_document_bytes": 63}, ValueError),
        ({"max_document_bytes": 128 * 2**20 + 1}, ValueError),
        ({"max_document_bytes": 1e6}, TypeError),
        ({"max_document_bytes": None}, TypeError),
    ],
    ids=str,
)
def test_a_limit_that_no_server_could_keep_is_refused(
    options: Any, error: type[Exception], tmp_path: Any
) -> None:
    name = next(iter(options))
    for open_with in (
        lambda: memory_storage(**options),
        lambda: MemoryContextStorage(**options),
        lambda: sqlite_storage(tmp_path / "x.db", **options),
        lambda: SqliteContextStorage(tmp_path / "x.db", **options),
        lambda: redis_storage("fakeredis://", **options),
        lambda: RedisContextStorage("fakeredis://", **options),
        lambda: open_storage("memory://", **options),
        lambda: open_storage("embedded://", **options),
    ):
        with pytest.raises(error, match=name):
            open_with()
    assert not (tmp_path / "x.db").exists()


def test_a_storage_that_stands_alone_has_limits_too(tmp_path: Any) -> None:
    for context in (
        MemoryContextStorage(max_id_bytes=8),
        SqliteContextStorage(tmp_path / "x.db", max_id_bytes=8),
        RedisContextStorage("fakeredis://", max_id_bytes=8),
    ):
        with pytest.raises(ValueError, match="dfid is 9 bytes"):
            context.set_session(LONG_ID, "{}")


TOO_MANY: dict[str, Write] = {
    "rows": lambda b: b.decision_audit.record_many(
        {"dfid": "f", "event": "E"} for _ in iter(int, 1)
    ),
    "resources": lambda b: b.resource_lock.acquire_batch("f", dict.fromkeys(words(), 1), 0),
    "reserved": lambda b: b.resource_lock.reserve("f", dict.fromkeys(words(), 1)),
    "used": lambda b: b.resource_lock.settle("f", dict.fromkeys(words(), 1)),
    "updates": lambda b: b.context.merge_session("f", dict.fromkeys(words(), 1)),
}


def words() -> list[str]:
    return [f"r{number}" for number in range(10_001)]


@pytest.mark.parametrize("backend", ["memory", "fakeredis"], indirect=True)
@pytest.mark.parametrize("name", TOO_MANY)
def test_a_call_gives_no_more_than_10000_items(name: str, bundle: StorageBundle) -> None:
    with pytest.raises(ValueError, match="10,000"):
        TOO_MANY[name](bundle)


@pytest.mark.parametrize("backend", ["valkey", "redis62"], indirect=True)
def test_a_server_takes_as_many_items_as_a_call_may_give(bundle: StorageBundle) -> None:
    wanted = dict.fromkeys(words()[:10_000], 1)

    assert bundle.resource_lock.acquire_batch("f", wanted, 0, capacities=wanted) is True
    bundle.resource_lock.reserve("g", wanted, lease_sec=60).release()
    bundle.resource_lock.settle("f", wanted)
    bundle.context.merge_session("f", wanted)
    bundle.decision_audit.record_many({"dfid": dfid, "event": "E"} for dfid in wanted)

    assert bundle.resource_lock.get_locked_amount("r9999", "nobody") == 1.0
    assert len(bundle.decision_audit.all_events_chronological()) == 10_000


def test_rows_are_refused_when_they_are_longer_together_than_a_server_takes(
    bundle: StorageBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dir_redis.audit_events.LARGEST_BATCH_BYTES", 1000)
    row = {"dfid": "f", "event": "é" * 200}

    bundle.decision_audit.record_many([row, row])
    with pytest.raises(ValueError, match="rows are more than 1000 bytes together"):
        bundle.decision_audit.record_many([row, row, row])

    assert len(bundle.decision_audit.events_for_dfid("f")) == 2


@pytest.mark.parametrize("backend", ["redis62"], indirect=True)
def test_a_server_takes_the_largest_documents_of_one_call(open_same: Open) -> None:
    """A request's context, proposal and reason lie in one value, the reason escaped."""
    largest = dir_redis.limits.LARGEST_DOCUMENT_BYTES
    bundle = open_same(max_document_bytes=largest, timeout_sec=60, attempt_timeout_sec=60)
    document = '"' + "x" * (largest - 2) + '"'

    bundle.escalation.insert_request("f", "a", "\0" * 2**20, document, document, "\0" * 2**20)

    (request,) = bundle.escalation.get_pending_requests()
    assert request["context"] == request["proposal"] == document[1:-1]
    assert request["reason"] == "\0" * 2**20


def test_reading_finds_ids_of_the_default_length_under_any_limits() -> None:
    assert Limits(8, 64).reading.max_id_bytes == 1024
    assert Limits(8, 64).reading.max_text_bytes == 2**20
    assert Limits(4000, 64).reading.max_id_bytes == 4000
