"""Claims on dirty flows: one compensator at a time, and a newer mark survives."""

from __future__ import annotations

import threading
import time
import zlib
from datetime import UTC, datetime, timedelta

import pytest

from dir_redis import DirtyClaim, LeaseLostError, SagaClaimStorage
from tests.conftest import CLUSTER_PARTITIONS

PATIENCE_SEC = 20
ODD_IDS = ["a:b", "{a}", "*", " ", "1 2", "\0\n", "é😀", "é" * 512]


# Flows whose order counts also where there are partitions: they lie in one.
TOGETHER = [
    dfid
    for dfid in (f"f{n * 7919 % 500}" for n in range(500))
    if zlib.crc32(dfid.encode()) % CLUSTER_PARTITIONS == 0
]


def eventually(call):
    """Call until there is a result, and return it."""
    until = time.monotonic() + PATIENCE_SEC
    while (result := call()) is None:
        assert time.monotonic() < until
        time.sleep(0.002)
    return result


def taken_over(saga, dfid, by="heir"):
    """Claim a flow whose compensator's lease is short, and return both claims."""
    saga.mark_dirty(dfid, "pay", "{}")
    first = saga.claim_dirty("dead", 0.01)
    return first, eventually(lambda: saga.claim_dirty(by, 60))


def refused(call, dfid, epoch):
    with pytest.raises(LeaseLostError) as lost:
        call()
    return (lost.value.record, lost.value.token) == (f"compensation of {dfid!r}", epoch)


def test_every_backend_lends_marks(saga):
    assert isinstance(saga, SagaClaimStorage)


def test_without_a_mark_there_is_nothing_to_claim(saga):
    assert saga.claim_dirty("me", 60) is None


def test_a_claim_has_the_mark_an_epoch_and_its_end(saga):
    saga.mark_dirty("f", "pay", '{"done": ["book"], "n": 9007199254740993}')

    claim = saga.claim_dirty("me", 60)

    assert isinstance(claim, DirtyClaim)
    assert claim[:1] + claim[2:4] == ("f", "pay", {"done": ["book"], "n": 9007199254740993})
    assert type(claim.epoch) is int
    assert claim.expires_at.tzinfo is UTC
    left = claim.expires_at - datetime.now(UTC)
    assert timedelta(seconds=30) < left < timedelta(seconds=90)


def test_a_claimed_flow_is_still_dirty(saga):
    saga.mark_dirty("f", "pay", "[1]")
    saga.claim_dirty("me", 60)

    assert saga.get_dirty_flows() == ["f"]
    assert saga.get_dirty_state("f") == {"failed_step": "pay", "partial_state": [1]}


def test_nobody_gets_what_somebody_has(saga):
    saga.mark_dirty("f", "pay", "{}")

    assert saga.claim_dirty("me", 60).dfid == "f"
    assert saga.claim_dirty("me", 60) is None
    assert saga.claim_dirty("you", 60) is None


@pytest.mark.parametrize("dfid", ODD_IDS)
def test_flows_with_odd_ids_are_claimed_renewed_released_and_cleared(saga, dfid):
    saga.mark_dirty(dfid, "p a\0y\n😀", '{"of": "é"}')
    claim = saga.claim_dirty(dfid, 60)
    assert (claim.dfid, claim.failed_step, claim.partial_state) == (
        dfid,
        "p a\0y\n😀",
        {"of": "é"},
    )

    saga.renew_dirty(dfid, claim.epoch, 60)
    saga.release_dirty(dfid, claim.epoch)
    again = saga.claim_dirty(dfid, 60)
    saga.clear_dirty(dfid, epoch=again.epoch)

    assert again.epoch > claim.epoch
    assert saga.get_dirty_flows() == []
    assert saga.claim_dirty("me", 60) is None


@pytest.mark.parametrize(
    ("text", "parsed"), [("", {}), ("null", None), ("[]", []), ("1.50", 1.5), ('" é"', " é")]
)
def test_a_claim_has_the_state_as_json_loads_reads_it(saga, text, parsed):
    saga.mark_dirty("f", "", text)

    claim = saga.claim_dirty("me", 60)
    assert (claim.failed_step, claim.partial_state) == ("", parsed)


def test_the_state_of_a_claim_is_the_callers_own(saga):
    saga.mark_dirty("f", "pay", '{"done": []}')
    claim = saga.claim_dirty("me", 60)
    claim.partial_state["done"].append("x")
    saga.release_dirty("f", claim.epoch)

    assert saga.claim_dirty("me", 60).partial_state == {"done": []}


def test_each_flow_is_claimed_once(saga):
    flows = [f"f{n}" for n in range(40)]
    for dfid in flows:
        saga.mark_dirty(dfid, "pay", "{}")

    claimed = [saga.claim_dirty("me", 60).dfid for _ in flows]

    assert sorted(claimed) == sorted(flows)
    assert saga.claim_dirty("me", 60) is None


def test_the_longest_waiting_flow_is_claimed_first(saga):
    flows = TOGETHER[:30]
    for dfid in flows:
        saga.mark_dirty(dfid, "pay", "{}")
    saga.mark_dirty(flows[0], "ship", "{}")

    claimed = [saga.claim_dirty("me", 60).dfid for _ in flows]
    assert claimed == [*flows[1:], flows[0]]


def test_a_released_flow_waits_in_the_place_of_its_mark(saga):
    flows = TOGETHER[:3]
    for dfid in flows:
        saga.mark_dirty(dfid, "pay", "{}")
    claims = [saga.claim_dirty("me", 60) for _ in range(2)]
    for claim in reversed(claims):
        saga.release_dirty(claim.dfid, claim.epoch)

    again = [saga.claim_dirty("you", 60) for _ in flows]
    assert [claim.dfid for claim in again] == flows
    assert all(new.epoch > old.epoch for new, old in zip(again[:2], claims, strict=True))


def test_a_dead_compensators_flow_comes_free_with_a_larger_epoch(saga):
    first, second = taken_over(saga, "f")

    assert (first.dfid, second.dfid) == ("f", "f")
    assert second.epoch > first.epoch
    assert second.expires_at > first.expires_at


def test_a_flow_whose_compensator_died_waits_behind_those_that_wait_already(saga):
    first, second = TOGETHER[:2]
    saga.mark_dirty(first, "pay", "{}")
    saga.claim_dirty("dead", 0.05)
    saga.mark_dirty(second, "pay", "{}")
    claim = eventually(lambda: saga.claim_dirty("heir", 60))
    other = eventually(lambda: saga.claim_dirty("heir", 60))

    assert [claim.dfid, other.dfid] == [second, first]


def test_who_was_superseded_can_do_nothing(saga):
    first, second = taken_over(saga, "f")

    assert refused(lambda: saga.renew_dirty("f", first.epoch, 60), "f", first.epoch)
    assert refused(lambda: saga.release_dirty("f", first.epoch), "f", first.epoch)
    assert refused(lambda: saga.clear_dirty("f", epoch=first.epoch), "f", first.epoch)
    assert saga.get_dirty_flows() == ["f"]
    saga.clear_dirty("f", epoch=second.epoch)
    assert saga.get_dirty_flows() == []


def test_a_late_compensator_may_still_clear_what_nobody_took(saga):
    saga.mark_dirty("f", "pay", "{}")
    claim = saga.claim_dirty("me", 0.001)
    lost = eventually(lambda: _lost_renewal(saga, claim))

    assert lost.token == claim.epoch
    saga.clear_dirty("f", epoch=claim.epoch)
    assert saga.get_dirty_flows() == []


def test_a_late_compensator_may_still_release_what_nobody_took(saga):
    saga.mark_dirty("f", "pay", "{}")
    claim = saga.claim_dirty("me", 0.001)
    eventually(lambda: _lost_renewal(saga, claim))

    saga.release_dirty("f", claim.epoch)
    assert saga.claim_dirty("you", 60).epoch > claim.epoch


def _lost_renewal(saga, claim):
    """The error of renewing a claim whose lease ran out, None while it has not."""
    try:
        saga.renew_dirty(claim.dfid, claim.epoch, 0.001)
    except LeaseLostError as lost:
        return lost
    return None


def test_a_renewed_claim_lasts_longer(saga):
    saga.mark_dirty("f", "pay", "{}")
    claim = saga.claim_dirty("me", 5)
    until = saga.renew_dirty("f", claim.epoch, 60)

    assert timedelta(seconds=50) < until - claim.expires_at < timedelta(seconds=70)
    assert saga.claim_dirty("you", 60) is None
    # Also for less than before: what counts is from now.
    saga.renew_dirty("f", claim.epoch, 0.01)
    assert eventually(lambda: saga.claim_dirty("you", 60)).epoch > claim.epoch


def test_a_newer_mark_ends_the_claim_and_survives_it(saga):
    saga.mark_dirty("f", "pay", '{"old": 1}')
    old = saga.claim_dirty("me", 60)
    saga.mark_dirty("f", "ship", '{"new": 1}')

    assert refused(lambda: saga.renew_dirty("f", old.epoch, 60), "f", old.epoch)
    assert refused(lambda: saga.release_dirty("f", old.epoch), "f", old.epoch)
    assert refused(lambda: saga.clear_dirty("f", epoch=old.epoch), "f", old.epoch)
    assert saga.get_dirty_state("f") == {"failed_step": "ship", "partial_state": {"new": 1}}
    new = saga.claim_dirty("you", 60)
    assert (new.dfid, new.failed_step, new.partial_state) == ("f", "ship", {"new": 1})
    assert new.epoch > old.epoch


def test_clearing_without_an_epoch_ends_any_claim(saga):
    saga.mark_dirty("f", "pay", "{}")
    claim = saga.claim_dirty("me", 60)
    saga.clear_dirty("f")

    assert saga.claim_dirty("you", 60) is None
    assert refused(lambda: saga.clear_dirty("f", epoch=claim.epoch), "f", claim.epoch)
    saga.mark_dirty("f", "pay", "{}")
    assert refused(lambda: saga.clear_dirty("f", epoch=claim.epoch), "f", claim.epoch)
    assert saga.claim_dirty("you", 60).epoch > claim.epoch


def test_a_claim_ends_once(saga):
    saga.mark_dirty("f", "pay", "{}")
    claim = saga.claim_dirty("me", 60)
    saga.release_dirty("f", claim.epoch)

    assert refused(lambda: saga.release_dirty("f", claim.epoch), "f", claim.epoch)
    assert refused(lambda: saga.renew_dirty("f", claim.epoch, 60), "f", claim.epoch)
    assert refused(lambda: saga.clear_dirty("f", epoch=claim.epoch), "f", claim.epoch)


def test_many_leases_that_are_over_at_once_come_free(saga):
    flows = [f"f{n}" for n in range(210)]
    for dfid in flows:
        saga.mark_dirty(dfid, "pay", "{}")
    for _ in flows:
        saga.claim_dirty("dead", 1)
    time.sleep(1.01)

    assert sorted(eventually(lambda: saga.claim_dirty("me", 60)).dfid for _ in flows) == sorted(
        flows
    )
    assert saga.claim_dirty("me", 60) is None


@pytest.mark.parametrize("epoch", [0, 1, -1, 2**63 - 1])
def test_an_epoch_that_was_never_given_is_refused(saga, epoch):
    saga.mark_dirty("f", "pay", "{}")

    for dfid in ("f", "ghost"):
        assert refused(lambda d=dfid: saga.renew_dirty(d, epoch, 60), dfid, epoch)
        assert refused(lambda d=dfid: saga.release_dirty(d, epoch), dfid, epoch)
        assert refused(lambda d=dfid: saga.clear_dirty(d, epoch=epoch), dfid, epoch)
    assert saga.get_dirty_flows() == ["f"]


@pytest.mark.parametrize(
    ("method", "arguments", "named", "error"),
    [
        ("claim_dirty", {"owner": "", "lease_sec": 1}, "owner", ValueError),
        ("claim_dirty", {"owner": None, "lease_sec": 1}, "owner", TypeError),
        ("claim_dirty", {"owner": "me", "lease_sec": 0}, "lease_sec", ValueError),
        ("claim_dirty", {"owner": "me", "lease_sec": "1"}, "lease_sec", TypeError),
        ("claim_dirty", {"owner": "me", "lease_sec": float("inf")}, "lease_sec", ValueError),
        ("renew_dirty", {"dfid": "f", "epoch": 1.0, "lease_sec": 1}, "epoch", TypeError),
        ("renew_dirty", {"dfid": "f", "epoch": 1, "lease_sec": -1}, "lease_sec", ValueError),
        ("release_dirty", {"dfid": "", "epoch": 1}, "dfid", ValueError),
        ("release_dirty", {"dfid": "f", "epoch": None}, "epoch", TypeError),
        ("clear_dirty", {"dfid": "f", "epoch": True}, "epoch", TypeError),
        ("clear_dirty", {"dfid": "f", "epoch": 2**63}, "epoch", ValueError),
    ],
)
def test_a_bad_argument_is_refused_by_name(saga, method, arguments, named, error):
    saga.mark_dirty("f", "pay", "{}")

    with pytest.raises(error, match=named):
        getattr(saga, method)(**arguments)
    assert saga.claim_dirty("me", 60).dfid == "f"


def test_each_mark_is_compensated_once_by_8_threads(saga, race):
    flows = [f"f{n}" for n in range(24)]
    for dfid in flows:
        saga.mark_dirty(dfid, "pay", "{}")

    def compensate():
        done = []
        while (claim := saga.claim_dirty("worker", 60)) is not None:
            done.append(claim.dfid)
            saga.clear_dirty(claim.dfid, epoch=claim.epoch)
        return done

    done = [dfid for one in race([compensate] * 8) for dfid in one]
    assert sorted(done) == sorted(flows)
    assert saga.get_dirty_flows() == []


def test_what_is_marked_anew_during_its_compensation_is_compensated_again(saga, race):
    """The last mark of each flow is the last one that is compensated, whoever is faster."""
    seen = []
    marking = threading.Event()

    def mark():
        for n in range(30):
            saga.mark_dirty("f", str(n), "{}")
        marking.set()

    def compensate():
        while True:
            over = marking.is_set()
            claim = saga.claim_dirty("worker", 60)
            if claim is None:
                if over:
                    return
                continue
            try:
                saga.clear_dirty("f", epoch=claim.epoch)
                seen.append(int(claim.failed_step))
            except LeaseLostError:
                pass

    race([mark, compensate, compensate])

    assert len(set(seen)) == len(seen)
    assert 29 in seen
    assert saga.get_dirty_flows() == []
