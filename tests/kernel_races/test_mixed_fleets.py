"""Hosts of both kinds at once on one store: nothing breaks, and what holds for the kernel's."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from dir_core import LockResult

from dir_redis import open_storage
from tests.dir_core_needed import only_where
from tests.kernel.offers import AMENDMENTS, LEDGER_STORAGE
from tests.kernel_races.hosts import HOSTS, KERNEL, UNMODIFIED, Host, Hosts, Work
from tests.kernel_races.races import (
    AMOUNT,
    CAPACITY,
    RACES,
    ROUNDS,
    compensate,
    escalate,
    mark_flows,
    merge,
    move_on,
    run_steps,
)
from tests.kernel_races.running import run_race
from tests.redis_only.test_races import Sampler

MIXED = [UNMODIFIED, KERNEL] * (HOSTS // 2)
RACE_BY_WHAT = {race.what: race for race in RACES}


def take_and_give_back(host: Host) -> bool:
    """Over and over; whether the last was granted, which is kept."""
    locks = host.managers.ResourceLockManager(
        availability_provider=lambda _: float(CAPACITY), storage=host.bundle.resource_lock
    )
    dfid = f"flow-{host.number}"
    granted = False
    host.together()
    for _ in range(ROUNDS):
        if granted:
            locks.release(dfid)
        granted = locks.acquire(dfid, {"capital": AMOUNT}, 30) == LockResult.ACQUIRED
    return granted


def test_reservations_are_never_more_than_there_is(hosts: Hosts, url: str, namespace: str) -> None:
    with (
        open_storage(url, namespace=namespace) as bundle,
        Sampler(url, namespace) as sampler,
    ):
        granted = hosts.run(take_and_give_back, url, namespace, MIXED)

        left = bundle.resource_lock.get_locked_amount("capital", "nobody")
    assert 0 < sampler.highest <= CAPACITY
    assert left == sum(granted) * AMOUNT <= CAPACITY


@pytest.mark.parametrize(
    ("work", "at_most"),
    [(run_steps, 1), (compensate, 1), (move_on, 1), (escalate, 3)],
    ids=["executions of a step", "compensations of a flow", "transitions", "grants to an agent"],
)
def test_the_kernels_hosts_keep_to_their_limit_whatever_the_others_do(
    work: Work, at_most: int, hosts: Hosts, url: str, namespace: str
) -> None:
    with open_storage(url, namespace=namespace) as bundle:
        mark_flows(bundle)

    answers = hosts.run(work, url, namespace, MIXED)

    of_kernel_hosts = Counter(
        turn
        for module, turns in zip(MIXED, answers, strict=True)
        for turn in turns
        if module == KERNEL
    )
    assert max(of_kernel_hosts.values(), default=0) <= at_most


def test_a_count_is_never_more_than_there_were_rejections(
    hosts: Hosts, url: str, namespace: str
) -> None:
    race = RACE_BY_WHAT["rejections counted"]

    assert 0 < run_race(race, hosts, url, namespace, MIXED).survived <= race.right


def test_a_key_that_is_kept_has_the_value_its_host_gave_it(
    hosts: Hosts, url: str, namespace: str
) -> None:
    hosts.run(merge, url, namespace, MIXED)

    with open_storage(url, namespace=namespace) as bundle:
        session = json.loads(bundle.context.get_session("flow") or "")
        state = json.loads(bundle.context.get_state("agent") or "")
    for document in (session, state):
        assert len(document) > 0
        assert document == {key: int(key.split(":")[1]) for key in document}


def test_no_row_of_an_evaluation_is_lost(hosts: Hosts, url: str, namespace: str) -> None:
    run_race(RACE_BY_WHAT["session keys, rejections and rows kept"], hosts, url, namespace, MIXED)

    with open_storage(url, namespace=namespace) as bundle:
        events = [row["event"] for row in bundle.decision_audit.events_for_dfid("flow")]
    assert events == ["PROPOSAL_REJECT"] * 10 * HOSTS


@only_where(LEDGER_STORAGE)
def test_a_flow_is_decided_once_by_whichever_host(hosts: Hosts, url: str, namespace: str) -> None:
    race = RACE_BY_WHAT["decisions of 20 flows"]

    assert run_race(race, hosts, url, namespace, MIXED).survived == race.right


@only_where(AMENDMENTS)
def test_a_contract_that_both_amend_stays_one(hosts: Hosts, url: str, namespace: str) -> None:
    race = RACE_BY_WHAT["amendments kept"]

    assert 0 < run_race(race, hosts, url, namespace, MIXED).survived <= race.right
