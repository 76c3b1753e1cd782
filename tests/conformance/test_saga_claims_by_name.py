"""A claim on a certain dirty flow, whoever waits longer."""

from __future__ import annotations

import time

import pytest

from dir_redis import LeaseLostError

PATIENCE_SEC = 20
ODD_IDS = ["a:b", "{a}", "*", " ", "1 2", "\0\n", "é😀", "é" * 512]


def eventually(call):
    """Call until there is a result, and return it."""
    until = time.monotonic() + PATIENCE_SEC
    while (result := call()) is None:
        assert time.monotonic() < until
        time.sleep(0.002)
    return result


def test_the_flow_that_is_named_is_claimed_and_no_other(saga):
    for dfid in ("first", "second", "third"):
        saga.mark_dirty(dfid, "pay", f'{{"of": "{dfid}"}}')

    claim = saga.claim_dirty("me", 60, "second")

    assert (claim.dfid, claim.failed_step, claim.partial_state) == (
        "second",
        "pay",
        {"of": "second"},
    )
    assert saga.claim_dirty("me", 60, dfid="second") is None
    assert saga.claim_dirty("me", 60, dfid="third").dfid == "third"
    assert saga.claim_dirty("me", 60).dfid == "first"
    assert saga.claim_dirty("me", 60) is None


def test_a_clean_flow_is_not_claimed_though_others_wait(saga):
    saga.mark_dirty("f", "pay", "{}")

    assert saga.claim_dirty("me", 60, "clean") is None
    assert saga.claim_dirty("me", 60, "f").dfid == "f"
    saga.clear_dirty("f")
    assert saga.claim_dirty("me", 60, "f") is None


@pytest.mark.parametrize("dfid", ODD_IDS)
def test_a_flow_with_an_odd_id_is_claimed_renewed_released_and_cleared(saga, dfid):
    saga.mark_dirty("f", "pay", "{}")
    saga.mark_dirty(dfid, "pay", "[1]")
    claim = saga.claim_dirty("me", 60, dfid)

    assert (claim.dfid, claim.partial_state) == (dfid, [1])
    saga.renew_dirty(dfid, claim.epoch, 60)
    saga.release_dirty(dfid, claim.epoch)
    again = saga.claim_dirty("me", 60, dfid)
    assert again.epoch > claim.epoch
    saga.clear_dirty(dfid, epoch=again.epoch)
    assert saga.get_dirty_flows() == ["f"]


def test_a_dead_compensators_flow_comes_free_with_a_larger_epoch(saga):
    saga.mark_dirty("f", "pay", "{}")
    saga.mark_dirty("g", "pay", "{}")
    dead = saga.claim_dirty("dead", 0.01, "f")
    heir = eventually(lambda: saga.claim_dirty("heir", 60, "f"))

    assert heir.epoch > dead.epoch
    assert saga.claim_dirty("me", 60, "f") is None
    with pytest.raises(LeaseLostError):
        saga.clear_dirty("f", epoch=dead.epoch)
    assert saga.claim_dirty("me", 60).dfid == "g"
    assert saga.claim_dirty("me", 60) is None


def test_claiming_by_name_and_in_turn_exclude_each_other(saga):
    saga.mark_dirty("f", "pay", "{}")
    in_turn = saga.claim_dirty("me", 60)
    assert saga.claim_dirty("you", 60, "f") is None
    saga.release_dirty("f", in_turn.epoch)
    by_name = saga.claim_dirty("you", 60, "f")

    assert saga.claim_dirty("me", 60) is None
    assert by_name.epoch > in_turn.epoch


def test_a_newer_mark_ends_the_claim_and_can_be_claimed(saga):
    saga.mark_dirty("f", "pay", "{}")
    old = saga.claim_dirty("me", 60, "f")
    saga.mark_dirty("f", "ship", "{}")
    new = saga.claim_dirty("you", 60, "f")

    assert (new.failed_step, new.epoch > old.epoch) == ("ship", True)
    with pytest.raises(LeaseLostError):
        saga.clear_dirty("f", epoch=old.epoch)
    assert saga.get_dirty_flows() == ["f"]


@pytest.mark.parametrize(
    ("dfid", "error"), [("", ValueError), (1, TypeError), ("\ud800", ValueError)]
)
def test_a_bad_dfid_is_refused_by_name(saga, dfid, error):
    saga.mark_dirty("f", "pay", "{}")

    with pytest.raises(error, match="dfid"):
        saga.claim_dirty("me", 60, dfid)
    assert saga.claim_dirty("me", 60).dfid == "f"


def test_of_16_callers_who_name_one_flow_one_has_it(saga, race):
    for dfid in ("f", "g"):
        saga.mark_dirty(dfid, "pay", "{}")

    claims = race([lambda: saga.claim_dirty("me", 60, "f")] * 16)

    assert [claim.dfid for claim in claims if claim] == ["f"]
    assert saga.claim_dirty("me", 60).dfid == "g"


def test_callers_by_name_and_in_turn_have_each_flow_once(saga, race):
    flows = [f"f{n}" for n in range(24)]
    for dfid in flows:
        saga.mark_dirty(dfid, "pay", "{}")

    def in_turn():
        return [claim.dfid for claim in iter(lambda: saga.claim_dirty("a", 60), None)]

    def by_name():
        claims = [saga.claim_dirty("b", 60, dfid) for dfid in reversed(flows)]
        return [claim.dfid for claim in claims if claim]

    claimed = [dfid for one in race([in_turn, by_name] * 4) for dfid in one]
    assert sorted(claimed) == sorted(flows)
