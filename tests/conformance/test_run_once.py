"""Steps that run once: claims, their ends, waiting for a result, and run_once on top."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from dir_redis import (
    Claim,
    ClaimState,
    CorruptRecordError,
    FingerprintMismatchError,
    LeaseLostError,
    ResourceContentionError,
    RunOnceStorage,
    StepInProgressError,
    StorageRefusedError,
    StorageUnavailableError,
    dumps_json_dict,
)
from dir_redis.claims import ENDED_KEPT_SEC, KeyRecord
from dir_redis.run_once import run_once

NEW, IN_PROGRESS, DONE = ClaimState.NEW, ClaimState.IN_PROGRESS, ClaimState.DONE
PATIENCE_SEC = 20
ODD_IDS = ["a:b", "{a}", "*", " ", "1 2", "\0\n", "é😀", "é" * 512]


def claim(idempotency, key="k", lease_sec=60, owner="me", **named):
    return idempotency.claim(key, lease_sec=lease_sec, owner=owner, **named)


def run_out(idempotency, key="k", **named):
    """Claim a key for a moment, and return the claim once its lease is over."""
    claimed = claim(idempotency, key, lease_sec=0.005, **named)
    assert claimed.state is NEW
    assert idempotency.wait(key, PATIENCE_SEC).state is NEW
    return claimed


def refused(call, claimed):
    with pytest.raises(LeaseLostError) as lost:
        call()
    return (lost.value.record, lost.value.token) == (f"claim of {claimed.key!r}", claimed.token)


def test_every_backend_has_claims(idempotency):
    assert isinstance(idempotency, RunOnceStorage)


# Claims


def test_a_new_key_is_the_callers(idempotency):
    claimed = claim(idempotency)

    assert (claimed.key, claimed.state, claimed.owner, claimed.result) == ("k", NEW, "me", None)
    assert type(claimed.token) is int
    assert claimed.expires_at.tzinfo is UTC
    left = claimed.expires_at - datetime.now(UTC)
    assert timedelta(seconds=30) < left < timedelta(seconds=90)


def test_others_are_told_who_has_it_and_until_when(idempotency):
    mine = claim(idempotency, owner="a b\nc")
    seen = claim(idempotency, owner="you")

    assert seen == Claim("k", IN_PROGRESS, None, mine.token, "a b\nc", mine.expires_at)
    assert idempotency.get("k") is None


def test_the_owner_too_has_it_only_once(idempotency):
    claim(idempotency, owner="me")

    assert claim(idempotency, owner="me").state is IN_PROGRESS


@pytest.mark.parametrize("key", ODD_IDS)
def test_odd_keys_and_owners_are_claimed_completed_and_kept_apart(idempotency, key):
    claim(idempotency, "k")
    claimed = claim(idempotency, key, owner=key, fingerprint=key)
    assert claim(idempotency, key, fingerprint=key).owner == key
    idempotency.complete(claimed, [key])

    assert claim(idempotency, key, fingerprint=key).result == [key]
    assert claim(idempotency, "k").state is IN_PROGRESS


def test_a_dead_owners_claim_is_taken_over_with_a_larger_token(idempotency):
    first = run_out(idempotency, owner="dead")
    second = claim(idempotency, owner="heir")

    assert (second.state, second.owner) == (NEW, "heir")
    assert second.token > first.token
    assert second.expires_at > first.expires_at


def test_who_was_superseded_can_do_nothing(idempotency):
    first = run_out(idempotency)
    second = claim(idempotency, owner="heir")

    assert refused(lambda: idempotency.renew_claim(first, 60), first)
    assert refused(lambda: idempotency.complete(first, "mine"), first)
    assert refused(lambda: idempotency.abandon(first), first)
    assert idempotency.get("k") is None
    assert claim(idempotency).token == second.token

    idempotency.complete(second, "heir's")
    assert refused(lambda: idempotency.complete(first, "mine"), first)
    assert refused(lambda: idempotency.complete(first, "heir's"), first)
    assert refused(lambda: idempotency.abandon(first), first)
    assert idempotency.get("k") == "heir's"


def test_a_renewed_claim_lasts_longer(idempotency):
    claimed = claim(idempotency, lease_sec=5)
    until = idempotency.renew_claim(claimed, 60)

    assert timedelta(seconds=50) < until - claimed.expires_at < timedelta(seconds=70)
    assert claim(idempotency, owner="you").expires_at == until
    # Also for less than before: what counts is from now.
    idempotency.renew_claim(claimed, 0.005)
    assert idempotency.wait("k", PATIENCE_SEC).state is NEW


def test_a_claim_that_ran_out_is_not_renewed_even_if_nobody_took_it(idempotency):
    claimed = run_out(idempotency)

    assert refused(lambda: idempotency.renew_claim(claimed, 60), claimed)


def test_tokens_of_many_rounds_rise(idempotency):
    tokens = []
    for _ in range(20):
        claimed = claim(idempotency)
        tokens.append(claimed.token)
        idempotency.abandon(claimed)

    assert tokens == sorted(set(tokens))


# Ends


def test_a_completed_key_is_done_for_all(idempotency):
    claimed = claim(idempotency)
    returned = idempotency.complete(claimed, {"paid": 10})

    assert returned == {"paid": 10}
    assert claim(idempotency, owner="you") == Claim("k", DONE, {"paid": 10})
    assert idempotency.wait("k", 0) == Claim("k", DONE, {"paid": 10})
    assert idempotency.get("k") == {"paid": 10}


@pytest.mark.parametrize(
    "result",
    [
        *(None, True, 0, 1.5, -1.0, 2**70, "", "text", "é\0\n😀", [], [None, [1, {}]], {}),
        {"b": (1, 2), "a": {1: None}, "at": datetime(2026, 11, 23, 16, tzinfo=UTC)},
        float("inf"),
    ],
    ids=repr,
)
def test_any_json_value_is_a_result_and_makes_the_round_trip(idempotency, result):
    returned = idempotency.complete(claim(idempotency), result)

    seen = [idempotency.get("k"), claim(idempotency).result, idempotency.wait("k", 0).result]
    expected = json.loads(dumps_json_dict({"result": result}))["result"]
    assert [returned, *seen] == [expected] * 4
    assert [type(one) for one in (returned, *seen)] == [type(expected)] * 4


def test_what_was_returned_is_the_callers_own(idempotency):
    result = {"steps": ["a"]}
    claimed = claim(idempotency)
    returned = idempotency.complete(claimed, result)
    for one in (result, returned, claim(idempotency).result, idempotency.get("k")):
        one["steps"].append("b")

    assert idempotency.get("k") == {"steps": ["a"]}


def test_completing_again_with_the_same_result_is_fine_and_with_another_is_refused(idempotency):
    claimed = claim(idempotency)
    idempotency.complete(claimed, {"a": 1, "b": 2})

    assert idempotency.complete(claimed, {"b": 2, "a": 1}) == {"a": 1, "b": 2}
    assert refused(lambda: idempotency.complete(claimed, {"a": 1}), claimed)
    assert refused(lambda: idempotency.abandon(claimed), claimed)
    assert refused(lambda: idempotency.renew_claim(claimed, 60), claimed)
    assert idempotency.get("k") == {"a": 1, "b": 2}


def test_a_slow_owner_may_complete_what_nobody_took(idempotency):
    claimed = run_out(idempotency)
    idempotency.complete(claimed, "late")

    assert claim(idempotency) == Claim("k", DONE, "late")


def test_an_abandoned_key_is_free_at_once_with_a_larger_token(idempotency):
    first = claim(idempotency)
    assert idempotency.abandon(first) is None
    assert idempotency.abandon(first) is None
    assert idempotency.wait("k", 0) == Claim("k", NEW)
    second = claim(idempotency, owner="you")

    assert (second.state, second.owner) == (NEW, "you")
    assert second.token > first.token
    assert refused(lambda: idempotency.complete(first, 1), first)


def test_an_abandoned_claim_is_over_for_its_owner(idempotency):
    claimed = claim(idempotency)
    idempotency.abandon(claimed)

    assert refused(lambda: idempotency.complete(claimed, 1), claimed)
    assert refused(lambda: idempotency.renew_claim(claimed, 60), claimed)
    assert idempotency.get("k") is None


def test_a_slow_owner_may_abandon_what_nobody_took(idempotency):
    claimed = run_out(idempotency)
    idempotency.abandon(claimed)

    assert claim(idempotency).token > claimed.token


def test_a_result_that_is_no_json_is_refused_and_the_claim_stays(idempotency):
    claimed = claim(idempotency)
    endless = []
    endless.append(endless)

    with pytest.raises(TypeError, match="result"):
        idempotency.complete(claimed, {b"bytes": 1})
    with pytest.raises(ValueError, match="result"):
        idempotency.complete(claimed, endless)
    assert claim(idempotency).token == claimed.token
    assert idempotency.complete(claimed, 1) == 1


# Results that go


def test_a_result_with_a_ttl_goes_and_the_key_is_new(idempotency):
    first = claim(idempotency, fingerprint="a")
    idempotency.complete(first, 1, ttl_sec=0.05)
    gone = time.monotonic() + PATIENCE_SEC
    while idempotency.get("k") is not None:
        assert time.monotonic() < gone
        time.sleep(0.002)

    assert idempotency.wait("k", 0) == Claim("k", NEW)
    assert refused(lambda: idempotency.complete(first, 1), first)
    # With the result goes the fingerprint.
    second = claim(idempotency, fingerprint="b")
    assert second.state is NEW
    assert second.token > first.token
    with pytest.raises(FingerprintMismatchError):
        claim(idempotency, fingerprint="a")


def test_a_result_with_a_long_ttl_and_one_without_stay(idempotency):
    idempotency.complete(claim(idempotency, "a"), 1, ttl_sec=3600)
    idempotency.complete(claim(idempotency, "b"), 2)

    assert [idempotency.get(key) for key in "ab"] == [1, 2]


def test_set_makes_a_result_stay_that_had_a_ttl(idempotency):
    idempotency.complete(claim(idempotency), 1, ttl_sec=0.05)
    idempotency.complete(claim(idempotency, "other"), 1, ttl_sec=0.06)
    idempotency.set("k", {"for": "ever"})
    gone = time.monotonic() + PATIENCE_SEC
    while idempotency.get("other") is not None:
        assert time.monotonic() < gone
        time.sleep(0.002)

    assert idempotency.get("k") == {"for": "ever"}
    assert claim(idempotency).state is DONE


def gone(idempotency, **named):
    """Complete a key with a result that does not last, and return its claim once it has gone."""
    claimed = claim(idempotency, **named)
    idempotency.complete(claimed, 1, ttl_sec=0.01)
    until = time.monotonic() + PATIENCE_SEC
    while idempotency.get("k") is not None:
        assert time.monotonic() < until
        time.sleep(0.002)
    return claimed


def test_the_claim_of_a_result_that_has_gone_is_over(idempotency):
    first = gone(idempotency)

    assert refused(lambda: idempotency.abandon(first), first)
    assert refused(lambda: idempotency.renew_claim(first, 60), first)
    second = claim(idempotency)
    idempotency.abandon(second)
    assert claim(idempotency).token > second.token > first.token


def test_a_result_that_is_set_after_one_has_gone_has_none_of_its_fingerprint(idempotency):
    gone(idempotency, fingerprint="a")
    idempotency.set("k", {"set": 1})

    assert claim(idempotency, fingerprint="b").result == {"set": 1}
    with pytest.raises(FingerprintMismatchError):
        claim(idempotency, fingerprint="a")


@pytest.mark.parametrize("fingerprint", [None, "a"])
def test_the_record_of_a_key_keeps_its_token_for_a_day_whatever_the_ttl(fingerprint):
    record = KeyRecord("k")
    noon = 1_800_000_000_000_000
    token = record.claim(fingerprint, 60_000_000, "me", noon).token
    record.complete(token, "1", 1000, noon)

    record.forget(noon + 1000)
    an_hour_ago = noon - 3_600_000_000
    assert (record.result, record.fingerprint) == (None, None)
    assert record.claim("b", 60_000_000, "you", an_hour_ago).token == token + 1
    record.complete(token + 1, "1", 1000, noon)
    record.forget(noon + ENDED_KEPT_SEC * 1_000_000)
    assert not record.has_claim


# Together with set


def test_a_result_that_was_set_is_done_for_claim_and_wait(idempotency):
    idempotency.set("k", {"a": 1})

    assert claim(idempotency) == Claim("k", DONE, {"a": 1})
    assert idempotency.wait("k", 0) == Claim("k", DONE, {"a": 1})


def test_set_ends_the_claim(idempotency):
    claimed = claim(idempotency)
    idempotency.set("k", {"set": 1})

    assert refused(lambda: idempotency.complete(claimed, {"mine": 1}), claimed)
    assert refused(lambda: idempotency.abandon(claimed), claimed)
    assert refused(lambda: idempotency.renew_claim(claimed, 60), claimed)
    assert idempotency.get("k") == {"set": 1}


def test_set_replaces_a_completed_result(idempotency):
    idempotency.complete(claim(idempotency, fingerprint="a"), 1)
    idempotency.set("k", {"set": 1})

    assert claim(idempotency, fingerprint="a").result == {"set": 1}
    with pytest.raises(FingerprintMismatchError):
        claim(idempotency, fingerprint="b")


# Fingerprints


def test_another_payload_under_the_same_key_is_refused_in_every_state(idempotency):
    def mismatch():
        with pytest.raises(FingerprintMismatchError, match="another payload") as caught:
            claim(idempotency, fingerprint="b", owner="you")
        return caught.value.key == "k"

    claimed = claim(idempotency, fingerprint="a")
    assert mismatch()
    assert claim(idempotency, fingerprint="a").state is IN_PROGRESS
    idempotency.abandon(claimed)
    assert mismatch()
    claimed = run_out(idempotency, fingerprint="a")
    assert mismatch()
    idempotency.complete(claimed, 1)
    assert mismatch()
    assert claim(idempotency, fingerprint="a").state is DONE


def test_a_mismatch_changes_nothing(idempotency):
    claimed = claim(idempotency, fingerprint="a")
    with pytest.raises(FingerprintMismatchError):
        claim(idempotency, fingerprint="b", owner="you")

    assert claim(idempotency).token == claimed.token
    assert idempotency.complete(claimed, 1) == 1


def test_none_compares_nothing_and_an_empty_fingerprint_is_one(idempotency):
    claim(idempotency, "k", fingerprint="a")
    assert claim(idempotency, "k").state is IN_PROGRESS
    claim(idempotency, "l", fingerprint="")
    with pytest.raises(FingerprintMismatchError):
        claim(idempotency, "l", fingerprint="a")


@pytest.mark.parametrize("before", ["claimed", "abandoned", "completed", "completed ttl", "set"])
def test_the_first_fingerprint_given_stays_whoever_gave_it(idempotency, before):
    if before == "set":
        idempotency.set("k", {})
    else:
        claimed = claim(idempotency)
        if before == "abandoned":
            idempotency.abandon(claimed)
        elif before.startswith("completed"):
            idempotency.complete(claimed, 1, ttl_sec=3600 if "ttl" in before else None)

    claim(idempotency, fingerprint="first")
    claim(idempotency)

    with pytest.raises(FingerprintMismatchError):
        claim(idempotency, fingerprint="second")
    claim(idempotency, fingerprint="first")


# Arguments


@pytest.mark.parametrize(
    ("arguments", "named", "error"),
    [
        ({"key": ""}, "key", ValueError),
        ({"key": None}, "key", TypeError),
        ({"fingerprint": 7}, "fingerprint", TypeError),
        ({"fingerprint": "\ud800"}, "fingerprint", ValueError),
        ({"lease_sec": 0}, "lease_sec", ValueError),
        ({"lease_sec": None}, "lease_sec", TypeError),
        ({"lease_sec": float("nan")}, "lease_sec", ValueError),
        ({"owner": ""}, "owner", ValueError),
        ({"owner": None}, "owner", TypeError),
    ],
)
def test_a_bad_argument_of_claim_is_refused_by_name(idempotency, arguments, named, error):
    good = {"key": "k", "lease_sec": 1, "owner": "me"}
    with pytest.raises(error, match=named):
        idempotency.claim(**(good | arguments))
    assert claim(idempotency).state is NEW


def test_what_never_was_the_callers_claim_is_refused(idempotency):
    claim(idempotency)
    for found in (claim(idempotency), idempotency.wait("k", 0), idempotency.wait("free", 0)):
        for call in (
            lambda c=found: idempotency.renew_claim(c, 60),
            lambda c=found: idempotency.complete(c, 1),
            lambda c=found: idempotency.abandon(c),
        ):
            with pytest.raises(ValueError, match="claim"):
                call()
    for nothing in (None, "k", ("k", 1)):
        with pytest.raises(TypeError, match="claim must be a Claim"):
            idempotency.complete(nothing, 1)
    assert claim(idempotency).state is IN_PROGRESS


@pytest.mark.parametrize("bad", [0, -1, "1", True, float("inf")])
def test_a_bad_duration_is_refused_by_name(idempotency, bad):
    claimed = claim(idempotency)
    error = TypeError if isinstance(bad, str | bool) else ValueError

    with pytest.raises(error, match="lease_sec"):
        idempotency.renew_claim(claimed, bad)
    with pytest.raises(error, match="ttl_sec"):
        idempotency.complete(claimed, 1, ttl_sec=bad)
    if bad != 0:
        with pytest.raises(error, match="timeout_sec"):
            idempotency.wait("k", bad)
    assert idempotency.get("k") is None


# Waiting


def test_wait_looks_once_without_a_timeout(idempotency):
    assert idempotency.wait("k", 0) == Claim("k", NEW)
    mine = claim(idempotency)
    seen = idempotency.wait("k", 0)

    assert seen == Claim("k", IN_PROGRESS, None, mine.token, "me", mine.expires_at)


def test_wait_ends_when_its_time_is_over(idempotency):
    claim(idempotency)
    begun = time.monotonic()

    assert idempotency.wait("k", 0.05).state is IN_PROGRESS
    assert 0.05 <= time.monotonic() - begun < 5


@pytest.mark.parametrize("end", ["complete", "abandon", "set"])
def test_waiters_are_woken_by_the_end_of_the_claim(idempotency, race, end):
    """Six wait; none is told late, which looking again once a second would be."""
    ended_at = []

    def finish(claimed):
        # Most of them block by now; whoever does not yet, sees the end when it looks.
        time.sleep(0.1)
        if end == "complete":
            idempotency.complete(claimed, "result")
        elif end == "abandon":
            idempotency.abandon(claimed)
        else:
            idempotency.set("k", {"set": 1})
        ended_at.append(time.monotonic())

    def wait():
        return idempotency.wait("k", PATIENCE_SEC), time.monotonic()

    claimed = claim(idempotency)
    finished, *waited = race([lambda: finish(claimed), *[wait] * 6])
    assert finished is None
    expected = {
        "complete": Claim("k", DONE, "result"),
        "abandon": Claim("k", NEW),
        "set": Claim("k", DONE, {"set": 1}),
    }[end]
    assert [found for found, _ in waited] == [expected] * 6
    assert max(at for _, at in waited) - ended_at[0] < 0.5


def test_a_waiter_sees_the_lease_run_out_by_itself(idempotency):
    claim(idempotency, lease_sec=0.1)
    begun = time.monotonic()

    assert idempotency.wait("k", PATIENCE_SEC) == Claim("k", NEW)
    assert time.monotonic() - begun < 0.6


def test_the_end_of_an_earlier_round_wakes_nobody_of_the_next(idempotency):
    idempotency.abandon(claim(idempotency))
    claim(idempotency)

    assert idempotency.wait("k", 0.05).state is IN_PROGRESS


# run_once


def test_the_step_is_given_its_claim_and_its_result_comes_back(idempotency):
    given = []

    def step(claimed):
        given.append(claimed)
        return {"paid": (1, 2)}

    assert idempotency.run_once("k", step, owner="me") == {"paid": [1, 2]}
    assert (given[0].key, given[0].state, given[0].owner) == ("k", NEW, "me")
    assert idempotency.run_once("k", step) == {"paid": [1, 2]}
    assert len(given) == 1


def test_a_result_of_none_is_a_result(idempotency):
    ran = []

    assert [idempotency.run_once("k", ran.append) for _ in range(3)] == [None] * 3
    assert len(ran) == 1


def test_one_of_16_callers_runs_the_step_and_all_have_its_result(idempotency, race):
    ran = []

    def step(claimed):
        ran.append(claimed.token)
        return len(ran)

    results = race([lambda: idempotency.run_once("k", step)] * 16)

    assert len(ran) == 1
    assert results == [1] * 16


def test_each_of_many_steps_runs_once_whoever_comes_first(idempotency, race):
    ran = []

    def caller():
        return [
            idempotency.run_once(f"k{n}", lambda claimed: ran.append(claimed.key) or len(ran) * 0)
            for n in range(10)
        ]

    assert race([caller] * 8) == [[0] * 10] * 8
    assert sorted(ran) == sorted(f"k{n}" for n in range(10))


class StepFailedError(Exception):
    """What a step of these tests raises."""


def test_an_error_of_the_step_goes_on_and_frees_the_key(idempotency):
    def fail(_claimed):
        raise StepFailedError

    with pytest.raises(StepFailedError):
        idempotency.run_once("k", fail)
    assert idempotency.run_once("k", lambda _: "second try", wait_sec=0) == "second try"


def test_a_waiting_caller_runs_the_step_that_another_failed(idempotency, race):
    tries = []

    def step(_claimed):
        tries.append(1)
        if len(tries) == 1:
            raise StepFailedError
        return "done"

    def caller():
        try:
            return idempotency.run_once("k", step)
        except StepFailedError:
            return "failed"

    assert sorted(race([caller] * 6)) == [*["done"] * 5, "failed"]
    assert len(tries) == 2


def test_a_result_that_is_no_json_is_an_error_of_the_step(idempotency):
    with pytest.raises(TypeError, match="result"):
        idempotency.run_once("k", lambda _: {b"bytes": 1})

    assert idempotency.wait("k", 0) == Claim("k", NEW)


def test_who_finds_it_in_progress_too_long_is_told_by_whom(idempotency):
    claim(idempotency, owner="slow")

    with pytest.raises(StepInProgressError) as caught:
        idempotency.run_once("k", lambda _: 1, wait_sec=0.02)
    assert (caught.value.key, caught.value.owner) == ("k", "slow")


def test_the_step_of_a_dead_owner_is_run_by_another_who_waits(idempotency):
    dead = claim(idempotency, owner="dead", lease_sec=0.05)
    given = []

    def step(claimed):
        given.append(claimed.token)
        return "heir"

    assert idempotency.run_once("k", step) == "heir"
    assert given[0] > dead.token
    assert refused(lambda: idempotency.complete(dead, "late"), dead)


def test_a_step_that_takes_longer_than_its_lease_keeps_its_claim(idempotency):
    seen = []

    def step(claimed):
        over = claimed.expires_at + timedelta(seconds=0.3)
        while (found := idempotency.wait("k", 0)).expires_at < over:
            seen.append((found.state, found.token == claimed.token))
            time.sleep(0.01)
        return "slow"

    assert idempotency.run_once("k", step, lease_sec=0.3) == "slow"
    assert set(seen) == {(IN_PROGRESS, True)}
    assert claim(idempotency).result == "slow"


def test_a_step_that_lost_its_claim_is_told_and_the_newer_result_counts(idempotency):
    """A host that stood still: its lease ran out, somebody else ran the step."""

    class StoodStill:
        def __getattr__(self, name):
            return getattr(idempotency, name)

        def renew_claim(self, _claimed, _lease_sec):
            raise StorageUnavailableError("cut off", outcome_unknown=True)

    def step(claimed):
        assert idempotency.wait("k", PATIENCE_SEC).state is NEW
        heir = claim(idempotency, owner="heir")
        assert heir.token > claimed.token
        idempotency.complete(heir, "heir's")
        return "mine"

    with pytest.raises(LeaseLostError):
        run_once(
            StoodStill(), "k", step,
            fingerprint=None, lease_sec=0.05, wait_sec=0.0, ttl_sec=None, owner="me",
        )  # fmt: skip
    assert idempotency.get("k") == "heir's"


def test_a_store_that_is_away_for_a_while_costs_no_result(idempotency):
    attempts = []

    class Away:
        def __getattr__(self, name):
            return getattr(idempotency, name)

        def complete(self, claimed, result, **named):
            attempts.append(result)
            returned = idempotency.complete(claimed, result, **named)
            if len(attempts) < 3:
                raise StorageUnavailableError("no answer", outcome_unknown=True)
            return returned

    ran = []
    result = run_once(
        Away(), "k", lambda _: ran.append(1) or "kept",
        fingerprint=None, lease_sec=60.0, wait_sec=0.0, ttl_sec=None, owner="me",
    )  # fmt: skip

    assert (result, ran, attempts) == ("kept", [1], ["kept"] * 3)
    assert idempotency.get("k") == "kept"


@pytest.mark.parametrize(
    "refusal",
    [
        StorageRefusedError("too few replicas are in sync", code="NOREPLICAS"),
        StorageRefusedError("out of memory", code="OOM"),
        ResourceContentionError("the file is busy"),
    ],
    ids=str,
)
def test_a_refusal_that_passes_costs_no_result(idempotency, refusal):
    attempts = []

    class Refusing:
        def __getattr__(self, name):
            return getattr(idempotency, name)

        def complete(self, claimed, result, **named):
            attempts.append(result)
            if len(attempts) < 3:
                raise refusal
            return idempotency.complete(claimed, result, **named)

    ran = []
    result = run_once(
        Refusing(), "k", lambda _: ran.append(1) or "kept",
        fingerprint=None, lease_sec=60.0, wait_sec=0.0, ttl_sec=None, owner="me",
    )  # fmt: skip

    assert (result, ran, attempts) == ("kept", [1], ["kept"] * 3)
    assert idempotency.get("k") == "kept"


@pytest.mark.parametrize(
    "error", [CorruptRecordError("k", "garbage"), LeaseLostError("claim of 'k'", 1)], ids=repr
)
def test_what_no_other_attempt_changes_is_told_at_once(idempotency, error):
    attempts = []

    class Spoilt:
        def __getattr__(self, name):
            return getattr(idempotency, name)

        def complete(self, _claimed, result, **_named):
            attempts.append(result)
            raise error

    with pytest.raises(type(error)):
        run_once(
            Spoilt(), "k", lambda _: 1,
            fingerprint=None, lease_sec=60.0, wait_sec=0.0, ttl_sec=None, owner="me",
        )  # fmt: skip
    assert attempts == [1]


def test_where_there_can_be_no_more_threads_the_key_is_free_at_once(idempotency, monkeypatch):
    def no_more(_thread):
        raise RuntimeError("can't start new thread")

    ran = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError, match="can't start"):
            idempotency.run_once("k", ran.append)

    assert ran == []
    assert idempotency.wait("k", 0) == Claim("k", NEW)


def test_a_store_that_stays_away_is_told_once_the_lease_is_over(idempotency):
    class Away:
        def __getattr__(self, name):
            return getattr(idempotency, name)

        def complete(self, _claimed, _result, **_named):
            raise StorageUnavailableError("no answer", outcome_unknown=True)

        renew_claim = complete

    with pytest.raises(StorageUnavailableError, match="no answer"):
        run_once(
            Away(), "k", lambda _: 1,
            fingerprint=None, lease_sec=0.1, wait_sec=0.0, ttl_sec=None, owner="me",
        )  # fmt: skip


def test_run_once_hands_on_fingerprint_and_ttl(idempotency):
    idempotency.run_once("k", lambda _: 1, fingerprint="a", ttl_sec=0.05)
    with pytest.raises(FingerprintMismatchError):
        idempotency.run_once("k", lambda _: 2, fingerprint="b")

    gone = time.monotonic() + PATIENCE_SEC
    while idempotency.run_once("k", lambda _: 3, fingerprint="a") == 1:
        assert time.monotonic() < gone
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("arguments", "named", "error"),
    [
        ({"key": ""}, "key", ValueError),
        ({"func": None}, "func", TypeError),
        ({"fingerprint": 7}, "fingerprint", TypeError),
        ({"lease_sec": 0}, "lease_sec", ValueError),
        ({"wait_sec": -1}, "wait_sec", ValueError),
        ({"ttl_sec": 0}, "ttl_sec", ValueError),
        ({"owner": ""}, "owner", ValueError),
    ],
)
def test_a_bad_argument_is_refused_before_the_step_runs(idempotency, arguments, named, error):
    ran = []
    with pytest.raises(error, match=named):
        idempotency.run_once(**({"key": "k", "func": ran.append} | arguments))

    assert ran == []
    assert idempotency.wait("k", 0).state is NEW


def test_callers_have_names_of_their_own(idempotency, race):
    owners = race([lambda n=n: idempotency.run_once(f"k{n}", lambda c: c.owner) for n in range(8)])

    assert len(set(owners)) == 8


def test_no_thread_is_left_when_the_step_is_over(idempotency):
    before = threading.active_count()
    for n in range(3):
        idempotency.run_once(f"k{n}", lambda _: 1)

    assert threading.active_count() == before
