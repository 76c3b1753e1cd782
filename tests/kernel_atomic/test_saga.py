"""One host at a time compensates a flow, and a newer mark survives."""

from __future__ import annotations

import threading
import time

import dir_core
import pytest
from dir_core import CompensationAction

from dir_redis import (
    CorruptRecordError,
    LeaseLostError,
    ResourceContentionError,
    StorageRefusedError,
    StorageUnavailableError,
    UnconfirmedWriteError,
)
from dir_redis.kernel import CompensationResult, SagaCompensation

REVERT, CLOSE_ALL = CompensationAction.REVERT, CompensationAction.CLOSE_ALL
ALERT_HUMAN, NOOP = CompensationAction.ALERT_HUMAN, CompensationAction.NOOP
ELSEWHERE = CompensationResult(success=False, message="Flow is being compensated elsewhere")
CLEAN = CompensationResult(success=False, message="Flow not in dirty state")
PATIENCE_SEC = 20


def saga(bundle, **options):
    return SagaCompensation(storage=bundle.saga, **options)


def claimable(bundle, dfid="f"):
    """Whether anybody could compensate a flow now."""
    claim = bundle.saga.claim_dirty("asks", 60, dfid)
    if claim is not None:
        bundle.saga.release_dirty(dfid, claim.epoch)
    return claim is not None


def callbacks(answer, calls):
    return {
        "revert_callback": lambda *given: calls.append(given) or answer,
        "close_all_callback": lambda *given: calls.append(given) or answer,
        "alert_human_callback": lambda *given: calls.append(given),
    }


@pytest.mark.parametrize("action", [*CompensationAction, "BURN"])
@pytest.mark.parametrize("dirty", [True, False])
@pytest.mark.parametrize("answer", [True, False, None])
def test_answers_calls_and_marks_are_dir_cores(bundle, action, dirty, answer):
    """The same on dir-core's own class, with its own storage."""
    ours, cores = [], []
    pair = (
        (saga(bundle, **callbacks(answer, ours)), bundle.saga),
        (
            dir_core.SagaCompensation(
                storage=(storage := dir_core.storage.MemorySagaStorage()),
                **callbacks(answer, cores),
            ),
            storage,
        ),
    )
    results = []
    for compensation, _ in pair:
        if dirty:
            compensation.mark_dirty("f", "pay", {"bought": [1]})
        results.append(compensation.execute_compensation("f", action))

    assert results[0] == results[1]
    assert ours == cores
    flows, core_flows = (storage.get_dirty_flows() for _, storage in pair)
    assert flows == core_flows
    assert claimable(bundle) == bool(flows)


@pytest.mark.parametrize("action", [REVERT, CLOSE_ALL, ALERT_HUMAN])
def test_without_a_callback_the_flow_stays_dirty_for_others(bundle, action):
    compensation = saga(bundle)
    compensation.mark_dirty("f", "pay", {})
    result = compensation.execute_compensation("f", action)

    assert result == CompensationResult(
        success=False, message=f"No {action.value.lower()} callback"
    )
    assert claimable(bundle)


def test_while_one_is_at_it_others_are_told_and_other_flows_go_on(bundle):
    told = []

    def revert(dfid, _state):
        if dfid == "f":
            others = saga(bundle, revert_callback=revert)
            told.extend(others.execute_compensation(flow, REVERT) for flow in "fg")
        return True

    compensation = saga(bundle, revert_callback=revert)
    for dfid in "fg":
        compensation.mark_dirty(dfid, "pay", {})

    done = CompensationResult(success=True, message="REVERT")
    assert compensation.execute_compensation("f", REVERT) == done
    assert told == [ELSEWHERE, done]
    assert compensation.get_dirty_flows() == []
    assert compensation.execute_compensation("f", REVERT) == CLEAN


def test_doing_nothing_needs_no_claim(bundle):
    compensation = saga(bundle)
    compensation.mark_dirty("f", "pay", {})
    bundle.saga.claim_dirty("another", 60)

    assert compensation.execute_compensation("f", NOOP) == CompensationResult(
        success=True, message="NOOP"
    )


def test_a_callback_that_raises_leaves_the_flow_dirty_for_others_at_once(bundle):
    def fail(*_):
        raise ZeroDivisionError("the broker is away")

    compensation = saga(bundle, revert_callback=fail)
    compensation.mark_dirty("f", "pay", {})
    with pytest.raises(ZeroDivisionError, match="the broker is away"):
        compensation.execute_compensation("f", REVERT)

    assert compensation.get_dirty_flows() == ["f"]
    assert claimable(bundle)


def test_the_callbacks_of_the_moment_are_called(bundle):
    compensation = saga(bundle)
    compensation.mark_dirty("f", "pay", {"n": 1})
    states = []
    compensation.revert_callback = lambda dfid, state: states.append((dfid, state)) or True

    assert compensation.execute_compensation("f", REVERT).success
    assert states == [("f", {"n": 1})]


def test_a_dead_hosts_flow_is_compensated_after_its_lease(bundle):
    compensation = saga(bundle, close_all_callback=lambda _: True)
    compensation.mark_dirty("f", "pay", {})
    bundle.saga.claim_dirty("dead", 0.3, "f")
    assert compensation.execute_compensation("f", CLOSE_ALL) == ELSEWHERE

    deadline = time.monotonic() + PATIENCE_SEC
    while (result := compensation.execute_compensation("f", CLOSE_ALL)) == ELSEWHERE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert result == CompensationResult(success=True, message="CLOSE_ALL")


def test_a_compensation_outlives_its_lease_while_its_host_lives(bundle):
    told = []

    def slow(*_):
        deadline = time.monotonic() + 0.5  # more than three leases
        while time.monotonic() < deadline:
            told.append(bundle.saga.claim_dirty("another", 60, "f"))
            time.sleep(0.01)
        return True

    compensation = saga(bundle, revert_callback=slow, lease_sec=0.15)
    compensation.mark_dirty("f", "pay", {})

    assert compensation.execute_compensation("f", REVERT).success
    assert set(told) == {None}
    assert compensation.get_dirty_flows() == []


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("action", [REVERT, CLOSE_ALL])
def test_a_mark_made_while_the_callback_runs_survives(bundle, action, answer):
    def mark_again(*_):
        bundle.saga.mark_dirty("f", "ship", '{"new": 1}')
        return answer

    compensation = saga(bundle, revert_callback=mark_again, close_all_callback=mark_again)
    compensation.mark_dirty("f", "pay", {})
    result = compensation.execute_compensation("f", action)

    assert not result.success
    assert ("the claim on the flow was lost" in result.message) == answer
    assert compensation.get_dirty_state("f") == {"failed_step": "ship", "partial_state": {"new": 1}}
    assert claimable(bundle)


def test_who_was_superseded_clears_nothing_and_says_so(bundle):
    def hang_until_another_has_it(*_):
        bundle.saga.clear_dirty("f")
        bundle.saga.mark_dirty("f", "pay", "{}")
        taken.append(bundle.saga.claim_dirty("another", 60, "f"))
        return True

    taken = []
    compensation = saga(bundle, revert_callback=hang_until_another_has_it)
    compensation.mark_dirty("f", "pay", {})
    result = compensation.execute_compensation("f", REVERT)

    assert result == CompensationResult(
        success=False,
        message="REVERT was done, but the claim on the flow was lost meanwhile: it was marked "
        "again or taken over, and may still be dirty",
    )
    bundle.saga.renew_dirty("f", taken[0].epoch, 60)


def test_a_claim_that_was_lost_is_told_though_another_has_cleared_the_flow(bundle):
    def hang_until_another_is_done(*_):
        bundle.saga.mark_dirty("f", "pay", "{}")
        another = saga(bundle, revert_callback=lambda *_: True)
        return another.execute_compensation("f", REVERT).success

    compensation = saga(bundle, revert_callback=hang_until_another_is_done)
    compensation.mark_dirty("f", "pay", {})
    result = compensation.execute_compensation("f", REVERT)

    assert not result.success
    assert "the claim on the flow was lost" in result.message
    assert compensation.get_dirty_flows() == []


def test_a_lease_lost_by_the_callback_itself_is_its_own_error(bundle):
    def lose(*_):
        raise LeaseLostError("reservation of 'f'", 1)

    compensation = saga(bundle, revert_callback=lose)
    compensation.mark_dirty("f", "pay", {})
    with pytest.raises(LeaseLostError, match="reservation"):
        compensation.execute_compensation("f", REVERT)
    assert claimable(bundle)


class Failing:
    """A storage one of whose operations fails."""

    def __init__(self, storage, operation):
        for name in ("claim_dirty", "renew_dirty", "release_dirty", "clear_dirty"):
            setattr(self, name, getattr(storage, name))
        self.get_dirty_state = storage.get_dirty_state
        setattr(self, operation, self._fail)

    def _fail(self, *_, **__):
        raise StorageUnavailableError("away", outcome_unknown=True)


def test_what_cannot_be_given_back_is_logged_and_the_answer_stands(bundle, caplog):
    bundle.saga.mark_dirty("f", "pay", "{}")
    compensation = SagaCompensation(
        storage=Failing(bundle.saga, "release_dirty"), revert_callback=lambda *_: False
    )

    assert compensation.execute_compensation("f", REVERT) == CompensationResult(
        success=False, message="REVERT"
    )
    assert "the claim on 'f' was not given back: away" in caplog.text


class SlowToClear(Failing):
    """A storage that clears a flow at the third attempt; it goes on doing all else.

    With ``applied`` it clears at the first, and only the answers get lost.
    """

    def __init__(self, storage, error, *, applied=False, meanwhile=lambda: None):
        super().__init__(storage, "clear_dirty")
        self.clear, self.error, self.applied = storage.clear_dirty, error, applied
        self.meanwhile, self.attempts = meanwhile, []

    def _fail(self, dfid, *, epoch):
        self.attempts.append(dfid)
        if self.applied or len(self.attempts) == 3:
            self.clear(dfid, epoch=epoch)
        if len(self.attempts) < 3:
            self.meanwhile()
            raise self.error


def compensated(storage, **options):
    """What a callback that succeeds at once leads to, and how often it ran."""
    ran = []
    compensation = SagaCompensation(
        storage=storage, revert_callback=lambda *_: ran.append(1) or True, **options
    )
    return compensation.execute_compensation("f", REVERT), len(ran)


@pytest.mark.parametrize(
    "error",
    [
        StorageUnavailableError("away", outcome_unknown=True),
        StorageUnavailableError("away", outcome_unknown=False),
        StorageRefusedError("out of memory", code="OOM"),
        ResourceContentionError("the file is busy"),
    ],
    ids=repr,
)
def test_a_store_that_is_away_for_a_while_costs_no_second_compensation(bundle, error):
    bundle.saga.mark_dirty("f", "pay", "{}")
    slow = SlowToClear(bundle.saga, error)

    assert compensated(slow) == (CompensationResult(success=True, message="REVERT"), 1)
    assert slow.attempts == ["f"] * 3
    assert bundle.saga.get_dirty_flows() == []


def test_what_was_cleared_though_the_answer_got_lost_is_done(bundle, caplog):
    refused = threading.Event()

    def renew(*given):
        try:
            bundle.saga.renew_dirty(*given)
        except LeaseLostError:
            refused.set()
            raise

    bundle.saga.mark_dirty("f", "pay", "{}")
    slow = SlowToClear(
        bundle.saga,
        StorageUnavailableError("away", outcome_unknown=True),
        applied=True,
        meanwhile=lambda: refused.wait(PATIENCE_SEC),
    )
    slow.renew_dirty = renew

    done = CompensationResult(success=True, message="REVERT")
    assert compensated(slow, lease_sec=2.0) == (done, 1)
    assert refused.is_set()
    assert slow.attempts == ["f"] * 2
    assert bundle.saga.get_dirty_flows() == []
    assert "is lost" not in caplog.text


def test_a_mark_made_while_the_store_was_away_survives(bundle):
    bundle.saga.mark_dirty("f", "pay", "{}")
    away = StorageUnavailableError("away", outcome_unknown=True)
    slow = SlowToClear(bundle.saga, away, meanwhile=lambda: bundle.saga.mark_dirty("f", "x", "{}"))
    result, _ = compensated(slow)

    assert not result.success
    assert "the claim on the flow was lost" in result.message
    assert bundle.saga.get_dirty_state("f") == {"failed_step": "x", "partial_state": {}}


def test_a_claim_lasts_while_its_flow_is_being_cleared(bundle):
    told = []

    def clear_slowly(dfid, *, epoch):
        deadline = time.monotonic() + 0.5  # more than a lease
        while time.monotonic() < deadline:
            told.append(bundle.saga.claim_dirty("another", 60, dfid))
            time.sleep(0.01)
        bundle.saga.clear_dirty(dfid, epoch=epoch)

    bundle.saga.mark_dirty("f", "pay", "{}")
    slow = Failing(bundle.saga, "clear_dirty")
    slow.clear_dirty = clear_slowly

    done = CompensationResult(success=True, message="REVERT")
    assert compensated(slow, lease_sec=0.3) == (done, 1)
    assert set(told) == {None}


def test_what_may_not_have_been_cleared_is_an_error_and_is_not_given_back(bundle):
    bundle.saga.mark_dirty("f", "pay", "{}")
    away = Failing(bundle.saga, "clear_dirty")
    given_back = []
    away.release_dirty = lambda *given: given_back.append(given)

    with pytest.raises(StorageUnavailableError, match="away"):
        compensated(away, lease_sec=0.2)
    assert given_back == []
    assert bundle.saga.get_dirty_flows() == ["f"]


@pytest.mark.parametrize(
    "error", [CorruptRecordError("k", "garbage"), UnconfirmedWriteError("replicas=1", 0)], ids=repr
)
def test_what_no_other_attempt_changes_is_told_at_once(bundle, error):
    bundle.saga.mark_dirty("f", "pay", "{}")
    slow = SlowToClear(bundle.saga, error)

    with pytest.raises(type(error)):
        compensated(slow)
    assert slow.attempts == ["f"]


@pytest.mark.parametrize(
    ("option", "error"), [({"lease_sec": 0}, ValueError), ({"owner": ""}, ValueError)]
)
def test_a_bad_option_is_refused_at_once(bundle, option, error):
    with pytest.raises(error, match=next(iter(option))):
        saga(bundle, **option)


def test_of_8_hosts_at_once_one_compensates(bundle, race):
    running, most, calls = [], [], []
    turn = threading.Lock()

    def revert(dfid, _state):
        with turn:
            running.append(dfid)
            most.append(running.count(dfid))
        time.sleep(0.01)
        with turn:
            running.remove(dfid)
            calls.append(dfid)
        return True

    flows = [f"f{n}" for n in range(6)]
    for dfid in flows:
        bundle.saga.mark_dirty(dfid, "pay", "{}")

    def work():
        mine = saga(bundle, revert_callback=revert)
        return [mine.execute_compensation(dfid, REVERT) for dfid in flows]

    results = [result for one in race([work] * 8) for result in one]

    assert sorted(calls) == flows
    assert set(most) == {1}
    assert sum(result.success for result in results) == 6
    assert all(r.success or r in (ELSEWHERE, CLEAN) for r in results)
    assert bundle.saga.get_dirty_flows() == []
