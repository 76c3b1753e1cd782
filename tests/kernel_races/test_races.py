"""Eight hosts at once with the managers of dir_redis.kernel lose nothing and double nothing."""

from __future__ import annotations

import pytest

from dir_redis import open_storage
from tests.kernel_races.hosts import HOSTS, KERNEL, UNMODIFIED, Hosts
from tests.kernel_races.races import (
    AMOUNT,
    CAPACITY,
    RACES,
    RESOURCES,
    ROUNDS,
    Race,
    escalate,
    reserve,
    results_of_steps,
)
from tests.kernel_races.running import run_race

ALL_KERNEL = [KERNEL] * HOSTS
ALL_UNMODIFIED = [UNMODIFIED] * HOSTS
RACE_BY_ID = {f"{race.manager}: {race.what}": race for race in RACES}


@pytest.mark.parametrize("race", RACE_BY_ID.values(), ids=RACE_BY_ID)
def test_nothing_is_lost_and_nothing_doubled(
    race: Race, hosts: Hosts, url: str, namespace: str
) -> None:
    assert run_race(race, hosts, url, namespace, ALL_KERNEL).survived == race.right


def test_every_host_gets_the_result_of_the_one_that_ran_the_step(
    hosts: Hosts, url: str, namespace: str
) -> None:
    answers = hosts.run(results_of_steps, url, namespace, ALL_KERNEL)

    assert len(answers[0]) == ROUNDS
    assert answers == [answers[0]] * HOSTS


def test_every_grant_is_a_request_and_every_request_a_grant(
    hosts: Hosts, url: str, namespace: str
) -> None:
    hosts.run(escalate, url, namespace, ALL_KERNEL)

    with open_storage(url, namespace=namespace) as bundle:
        waiting = [request["agent_id"] for request in bundle.escalation.get_pending_requests()]
        for turn in range(ROUNDS):
            agent = f"agent-{turn}"
            assert waiting.count(agent) == 3
            assert bundle.escalation.get_window_count(agent, "2000-01-01 00:00:00") == 3


@pytest.mark.parametrize(
    "modules",
    [ALL_UNMODIFIED, ALL_KERNEL, [UNMODIFIED, KERNEL] * (HOSTS // 2)],
    ids=["unmodified", "kernel", "mixed"],
)
def test_no_more_is_reserved_than_there_is_and_no_less(
    modules: list[str], hosts: Hosts, url: str, namespace: str
) -> None:
    answers = hosts.run(reserve, url, namespace, modules)

    with open_storage(url, namespace=namespace) as bundle:
        locks = bundle.resource_lock
        held = [locks.get_locked_amount(f"capital-{n}", "nobody") for n in range(RESOURCES)]
    assert held == [CAPACITY // AMOUNT * AMOUNT] * RESOURCES
    assert sum(map(len, answers)) == CAPACITY // AMOUNT * RESOURCES
