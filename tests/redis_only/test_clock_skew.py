"""Hosts whose clocks are an hour off see the same windows, leases and deadlines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from dir_redis import ClaimState, EscalationOutcome, StorageBundle, open_storage

SKEWS = [3600, -3600]

PATIENCE_SEC = 20


@pytest.fixture
def store(server_url: str, namespace: str) -> Iterator[StorageBundle]:
    """A store on each real server: fakeredis lives in this process, and so by its clock."""
    with open_storage(server_url, namespace=namespace) as bundle:
        yield bundle


def turn_clock(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """Have this process believe that it is earlier or later."""
    now, now_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + seconds * 1_000_000_000)


@pytest.mark.parametrize("skew", SKEWS)
def test_agents(store: StorageBundle, monkeypatch: pytest.MonkeyPatch, skew: int) -> None:
    agents = store.agent_registry
    agents.register("living", "{}", 1, ttl_sec=1800)
    token = agents.register("beating", "{}", 1).session_token
    before = agents.heartbeat("beating", token, 1800)
    turn_clock(monkeypatch, skew)

    assert agents.list_stale_agents() == []
    again = agents.heartbeat("beating", token, 1800)
    assert 0 <= (again - before).total_seconds() < PATIENCE_SEC
    agents.register("silent", "{}", 1, ttl_sec=0.01)
    deadline = time.monotonic() + PATIENCE_SEC
    while agents.list_stale_agents() != ["silent"]:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("skew", SKEWS)
def test_sessions_that_end(
    store: StorageBundle, monkeypatch: pytest.MonkeyPatch, skew: int
) -> None:
    for dfid in ("before", "after", "soon"):
        store.context.set_session(dfid, "{}")
    store.lifecycle.close_flow("before", "CLOSED", session_ttl_sec=1800)
    turn_clock(monkeypatch, skew)
    store.lifecycle.close_flow("after", "CLOSED", session_ttl_sec=1800)
    store.lifecycle.close_flow("soon", "CLOSED", session_ttl_sec=0.01)

    deadline = time.monotonic() + PATIENCE_SEC
    while store.context.get_session("soon") is not None:
        assert time.monotonic() < deadline
    assert store.context.get_session_versioned("before") == ("{}", 1)
    assert store.context.get_session_versioned("after") == ("{}", 1)


@pytest.mark.parametrize("skew", SKEWS)
def test_escalations(store: StorageBundle, monkeypatch: pytest.MonkeyPatch, skew: int) -> None:
    escalation = store.escalation

    def ask(dfid: str, limit: int = 9, **deadline: float | str) -> EscalationOutcome:
        asked = (dfid, "a", "", "", "", "")
        return escalation.escalate(*asked, limit=limit, window_sec=1800, **deadline).outcome  # type: ignore[arg-type]

    ask("f", deadline_sec=1800, default_decision="NO")
    assert escalation.claim_next("maria", 1800) is not None
    before = escalation.get_request("f")
    turn_clock(monkeypatch, skew)

    assert escalation.get_request("f") == before
    assert escalation.claim_next("otto", 60) is None
    assert ask("g", limit=1) is EscalationOutcome.BUDGET_EXHAUSTED
    ask("h", deadline_sec=0.05, default_decision="NO")
    begun = time.monotonic()
    decided = escalation.wait_for_decision("h", PATIENCE_SEC)
    assert decided is not None
    assert decided["by_default"]
    assert time.monotonic() - begun < PATIENCE_SEC / 2
    assert escalation.resolve("f", "YES")


@pytest.mark.parametrize("skew", SKEWS)
def test_the_age_of_audit_rows(
    store: StorageBundle, monkeypatch: pytest.MonkeyPatch, skew: int
) -> None:
    audit = store.decision_audit
    audit.record("f", "before")
    turn_clock(monkeypatch, skew)
    audit.record_many([{"dfid": "f", "event": "after"}])

    assert audit.trim(older_than_sec=1800) == 0
    first, second = audit.iter_events()
    elapsed = datetime.fromisoformat(second["timestamp"]) - datetime.fromisoformat(
        first["timestamp"]
    )
    assert timedelta(0) <= elapsed < timedelta(minutes=1)
    assert list(audit.follow(timeout_sec=0.01)) == []
    audit.commit_archived("g", "")
    iterator = audit.iter_events()
    next(iterator)
    audit.commit_archived("g", iterator.cursor)
    assert audit.trim(max_rows=0) == 1


@pytest.mark.parametrize("skew", SKEWS)
def test_closed_flows_and_their_sessions(
    store: StorageBundle, monkeypatch: pytest.MonkeyPatch, skew: int
) -> None:
    lifecycle, context = store.lifecycle, store.context
    context.set_session("f", "{}")
    context.set_session("g", "{}")
    lifecycle.transition("f", "CREATED", "ACTIVE")
    turn_clock(monkeypatch, skew)

    assert lifecycle.close_flow("f", "CLOSED", session_ttl_sec=1800)
    assert lifecycle.close_flow("g", "ABORTED", session_ttl_sec=0.05)

    deadline = time.monotonic() + PATIENCE_SEC
    while context.get_session("g") is not None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert context.get_session("f") == "{}"
    first, second = (
        datetime.fromisoformat(row["created_at"]) for row in lifecycle.get_transitions("f")
    )
    assert timedelta(0) <= second - first < timedelta(minutes=1)


@pytest.mark.parametrize("skew", SKEWS)
def test_claims_of_steps(store: StorageBundle, monkeypatch: pytest.MonkeyPatch, skew: int) -> None:
    idempotency = store.idempotency
    held = idempotency.claim("held", lease_sec=1800, owner="me")
    ended = idempotency.claim("ended", lease_sec=1800, owner="me")
    idempotency.complete(ended, "kept", ttl_sec=1800)
    turn_clock(monkeypatch, skew)

    assert idempotency.claim("held", lease_sec=1, owner="you").token == held.token
    assert idempotency.get("ended") == "kept"
    assert held.expires_at is not None
    until = idempotency.renew_claim(held, 1800)
    assert 0 <= (until - held.expires_at).total_seconds() < PATIENCE_SEC
    dead = idempotency.claim("dead", lease_sec=0.05, owner="me")
    begun = time.monotonic()
    assert idempotency.wait("dead", PATIENCE_SEC).state is ClaimState.NEW
    assert time.monotonic() - begun < PATIENCE_SEC / 2
    heir = idempotency.claim("dead", lease_sec=1800, owner="heir")
    assert held.token is not None
    assert dead.token is not None
    assert heir.token is not None
    assert held.token < dead.token < heir.token


@pytest.mark.parametrize("skew", SKEWS)
def test_claims_of_compensations(
    store: StorageBundle, monkeypatch: pytest.MonkeyPatch, skew: int
) -> None:
    saga = store.saga
    saga.mark_dirty("f", "pay", "{}")
    held = saga.claim_dirty("me", 1800)
    assert held is not None
    turn_clock(monkeypatch, skew)

    assert saga.claim_dirty("you", 60) is None
    until = saga.renew_dirty("f", held.epoch, 0.05)
    assert until < held.expires_at
    deadline = time.monotonic() + PATIENCE_SEC
    while (heir := saga.claim_dirty("heir", 60)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert heir.epoch > held.epoch
    assert 0 < (heir.expires_at - until).total_seconds() < 60 + PATIENCE_SEC


@pytest.mark.parametrize("skew", SKEWS)
def test_reservations(store: StorageBundle, monkeypatch: pytest.MonkeyPatch, skew: int) -> None:
    locks = store.resource_lock
    locks.set_capacity("r", 2)
    before = locks.reserve("before", {"r": 1}, lease_sec=1800)
    turn_clock(monkeypatch, skew)
    after = locks.reserve("after", {"r": 1}, lease_sec=0.2)

    assert after.fencing_token > before.fencing_token
    assert before.expires_at is not None
    assert after.expires_at is not None
    length = after.expires_at - before.expires_at + timedelta(seconds=1800)
    assert timedelta(seconds=0.2) < length < timedelta(seconds=PATIENCE_SEC)
    locks.reserve("waiting", {"r": 1}, wait_sec=PATIENCE_SEC)
    assert [holder.dfid for holder in locks.holders("r")] == ["before", "waiting"]
    end = before.expires_at
    assert timedelta(0) < before.renew() - end < timedelta(seconds=PATIENCE_SEC)
