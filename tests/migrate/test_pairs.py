"""A store copied to any other answers as before, and so does the one it is copied back to."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from dir_redis import (
    LeaseLostError,
    NotRepresentableError,
    SessionSupersededError,
    memory_storage,
)
from dir_redis.migrate import copy_store
from dir_redis.migrate.ends import raw_store
from dir_redis.migrate.records import AuditRow, Counter, IdempotencyKey, Session
from dir_redis.migrate.sqlite import SqliteRawStore
from tests.migrate.conftest import STORES, Opener
from tests.migrate.full_store import FLOWS, Intent, answers, fill

PAIRS = list(itertools.product(STORES, STORES))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_copy_answers_as_its_source_and_so_does_the_copy_back(
    one: str, other: str, new_store: Opener
) -> None:
    source, target, back = new_store(one), new_store(other), new_store(one)
    fill(source)

    report = copy_store(source, target)
    returned = copy_store(target, back)

    assert report.complete, str(report)
    assert returned.complete, str(returned)
    assert answers(target) == answers(source)
    assert answers(back) == answers(source)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_second_copy_finds_all_there_and_writes_nothing(
    one: str, other: str, new_store: Opener
) -> None:
    source, target = new_store(one), new_store(other)
    fill(source)
    first = copy_store(source, target)

    second = copy_store(source, target)

    assert first.copied > 60
    assert second.copied == 0
    assert second.complete
    for name, kind in second.kinds.items():
        assert kind.already_there == kind.source == first.kinds[name].source, name
        assert kind.only_in_target == 0, name


@pytest.mark.parametrize("backend", STORES)
@pytest.mark.parametrize("source_backend", ["memory", "sqlite", STORES[-1]])
def test_what_callers_hold_goes_on_counting_in_the_target(
    backend: str, source_backend: str, new_store: Opener
) -> None:
    source, target = new_store(source_backend), new_store(backend)
    held = fill(source)
    copy_store(source, target)

    target.agent_registry.heartbeat("ünïcode", held.session_token, 60)
    with pytest.raises(SessionSupersededError):
        target.agent_registry.heartbeat("ünïcode", "another", 60)
    assert target.idempotency.complete(held.running, {"done": 1}) == {"done": 1}
    target.resource_lock.renew("flow-1", held.fencing_token, 60)
    with pytest.raises(LeaseLostError):
        target.resource_lock.renew("flow-1", held.fencing_token + 1, 60)
    assert target.resource_lock.reserve("new", {"capital": 1}).fencing_token > held.fencing_token
    target.saga.renew_dirty("flow-1", held.epoch, 60)
    claims = [target.saga.claim_dirty("host", 60) for _ in range(4)]
    assert claims.pop() is None
    assert all(claim is not None and claim.epoch > held.epoch for claim in claims)
    # The oldest that is due is next, within a partition.
    dfids = [claim.dfid for claim in claims if claim is not None]
    assert (sorted(dfids) if backend == "cluster" else dfids) == (
        ["a", "flow-2", "z"] if backend == "cluster" else ["z", "a", "flow-2"]
    )


@pytest.mark.parametrize("backend", STORES)
def test_merges_versions_budgets_and_deadlines_go_on_from_where_they_were(
    backend: str, new_store: Opener
) -> None:
    source, target = new_store("sqlite"), new_store(backend)
    fill(source)
    copy_store(source, target)

    for store in (source, target):
        assert store.context.merge_session("z", {"aa": 9}) == 4
        assert store.context.get_session("z") == (
            '{"a": {"x": null}, "b": [1,2], "aa": 9, "b2": 4, "c": 3}'
        )
        assert store.context.get_session("flow-4") == '{"ends": true}'
        spent = store.escalation.escalate(
            *("new", "zeta", "", "{}", "{}", ""), limit=4, window_sec=1000
        )
        assert spent.outcome == "BUDGET_EXHAUSTED"
        assert 0 < spent.retry_after_sec <= 1000
        claimed = store.escalation.claim_next("carl", 60)
        assert claimed is not None
        assert claimed["dfid"] == "flow-1"


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_sessions_and_results_end_at_the_same_moment(
    one: str, other: str, new_store: Opener
) -> None:
    source, target = new_store(one), new_store(other)
    fill(source)
    copy_store(source, target)

    moments = []
    for store in (source, target):
        raw, _ = raw_store(store)
        sessions = raw.find(Session, list(FLOWS))
        keys = raw.find(IdempotencyKey, ["done", "done-for-long", "bound", "abandoned"])
        moments.append(
            [sessions["flow-4"].expires_us]
            + [keys["done"].result_until_us, keys["done-for-long"].result_until_us]
            + [keys["done"].forget_us, keys["abandoned"].forget_us]
        )
        assert keys["bound"].forget_us is None
        assert sessions["z"].expires_us is None
        assert sessions["z"].agent_id == "zeta"
    for before, after in zip(*moments, strict=True):
        assert before is not None
        assert after is not None
        assert timedelta(microseconds=abs(before - after)) < timedelta(milliseconds=1)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_an_audit_row_keeps_its_agent_and_a_group_holds_back_what_it_has_not_archived(
    one: str, other: str, new_store: Opener
) -> None:
    source, target = new_store(one), new_store(other)
    fill(source)

    report = copy_store(source, target)

    agents = [row.agent_id for row in raw_store(target)[0].read(AuditRow)]
    assert agents == ["zeta", *[None] * 22, "alpha"]
    assert [listed.record for listed in report.kinds["ReaderGroup"].adjusted] == [
        "ReaderGroup 'archive'",
        "ReaderGroup 'indexer'",
    ]
    assert target.decision_audit.get_archived("indexer") == ""
    assert target.decision_audit.trim(max_rows=0) == 0


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_ledger_and_audit_chain_are_built_anew_in_the_target(
    one: str, other: str, new_store: Opener
) -> None:
    source, target = new_store(one, audit_chain=True), new_store(other, audit_chain=True)
    fill(source)

    report = copy_store(source, target)

    assert report.complete, str(report)
    ledger, audit = target.decision_ledger.verify_ledger(), target.decision_audit.verify_audit()
    assert (ledger.intact, ledger.verified) == (True, 2)
    # Where the rows are in no chain any more, the report says so.
    assert audit.intact
    assert audit.verified + audit.unchained == 24
    listed = [listed.record for listed in report.kinds["AuditRow"].adjusted]
    assert listed == ([] if audit.verified == 24 else ["AuditRow: all"])
    target.decision_ledger.append(Intent("new", {}), agent_id="zeta")
    assert target.decision_ledger.verify_ledger().verified == 3


@pytest.mark.parametrize("backend", STORES)
def test_a_broken_chain_is_not_copied_and_the_rest_is(backend: str, new_store: Opener) -> None:
    source, target = new_store("sqlite"), new_store(backend)
    fill(source)
    raw, _ = raw_store(source)
    assert isinstance(raw, SqliteRawStore)
    with raw.database.transaction() as connection:
        connection.execute("UPDATE decision_ledger_entries SET agent_id = 'x' WHERE dfid = 'z'")

    report = copy_store(source, target)

    assert not report.complete
    (listed,) = report.kinds["LedgerEntry"].not_represented
    assert listed.record == "LedgerEntry from 'decision_ledger_entries 1' on"
    assert "chain is broken there" in listed.reason
    assert target.decision_ledger.count_entries() == 0
    assert target.lifecycle.get_transitions() == source.lifecycle.get_transitions()


@pytest.mark.parametrize("backend", STORES)
def test_numbers_given_before_are_not_given_again_whichever_store_is_ahead(
    backend: str, new_store: Opener
) -> None:
    ahead = 9_000_000_000_000_000
    source, target = new_store("memory"), new_store(backend)
    # Both have given numbers, the source by a clock that was ahead.
    target.resource_lock.reserve("before", {"capital": 1})
    target.saga.mark_dirty("before", "step", "{}")
    assert target.saga.claim_dirty("host", 1000) is not None
    raw_store(source)[0].put([Counter("reservations", ahead), Counter("sagas", ahead)])

    assert copy_store(source, target).complete

    assert target.resource_lock.reserve("after", {"capital": 1}).fencing_token > ahead
    for dfid in FLOWS:
        target.saga.mark_dirty(dfid, "step", "{}")
        claim = target.saga.claim_dirty("host", 1000)
        assert claim is not None
        assert claim.epoch > ahead

    with memory_storage() as behind:
        raw_store(behind)[0].put([Counter("reservations", 5), Counter("sagas", 5)])
        assert copy_store(behind, target).complete
    assert target.resource_lock.reserve("again", {"capital": 1}).fencing_token > ahead + 1


def test_a_number_beyond_those_of_lua_is_no_counter_of_redis(new_store: Opener) -> None:
    target = new_store("valkey")

    for name in ("reservations", "sagas"):
        with pytest.raises(NotRepresentableError, match="a token is at most 9007199254740991"):
            raw_store(target)[0].put([Counter(name, 2**53)])
    raw_store(target)[0].put([Counter("reservations", 2**53 - 2)])

    assert target.resource_lock.reserve("f", {"r": 1}).fencing_token == 2**53 - 1
