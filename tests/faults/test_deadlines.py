"""No call outlasts its timeout by more than one attempt, and attempts back off."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from dir_redis import StorageBundle, StorageError, StorageUnavailableError, open_storage
from tests.faults.cluster_of_six import ClusterOfSix
from tests.faults.conftest import SingleServer
from tests.faults.failover import Setup
from tests.faults.sentinel_service import SentinelService

TIMEOUT_SEC = 0.6
ATTEMPT_SEC = 0.2
# Of this loaded machine; the attempt itself is counted apart.
SLACK_SEC = 0.4
CALLERS = 8


def pause_primary(setup: Setup, namespace: str) -> None:
    setup.primary(namespace).pause()


def pause_all(setup: Setup, _: str) -> None:
    for node in setup.nodes:
        node.pause()


def hold_all(setup: Setup, _: str) -> None:
    for node in setup.nodes:
        setup.proxy.hold(node.door)


def refuse_all(setup: Setup, _: str) -> None:
    for node in setup.nodes:
        setup.proxy.refuse_connections(node.door)
        setup.proxy.cut(node.door)


def kill_primary(setup: Setup, namespace: str) -> None:
    setup.primary(namespace).kill()


FAULTS: dict[str, Callable[[Setup, str], None]] = {
    "primary paused": pause_primary,
    "all paused": pause_all,
    "lines dead": hold_all,
    "connections refused": refuse_all,
    "primary killed": kill_primary,
}


def called_by_many(bundle: StorageBundle) -> list[tuple[float, StorageError | None]]:
    """How long each of several callers took, and what it was told."""

    def one(number: int) -> tuple[float, StorageError | None]:
        began = time.monotonic()
        try:
            bundle.intent_retry.increment(f"f{number}")
        except StorageError as error:
            return time.monotonic() - began, error
        return time.monotonic() - began, None

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(one, range(CALLERS)))


@pytest.mark.parametrize("fault", FAULTS)
def test_no_call_outlasts_its_timeout_by_more_than_one_attempt(
    setup: Setup, namespace: str, fault: str
) -> None:
    with open_storage(
        setup.url, namespace=namespace, timeout_sec=TIMEOUT_SEC, attempt_timeout_sec=ATTEMPT_SEC
    ) as bundle:
        called_by_many(bundle)  # connections that were open before
        FAULTS[fault](setup, namespace)

        told = called_by_many(bundle)

    assert {type(error) for _, error in told} == {StorageUnavailableError}
    # One attempt is a connection and a reply.
    assert max(seconds for seconds, _ in told) < TIMEOUT_SEC + 2 * ATTEMPT_SEC + SLACK_SEC


def test_a_service_whose_sentinels_are_silent_is_given_up_in_time(
    sentinels: SentinelService, namespace: str
) -> None:
    every = (*sentinels.sentinels, *sentinels.nodes)
    with open_storage(
        sentinels.url, namespace=namespace, timeout_sec=TIMEOUT_SEC, attempt_timeout_sec=ATTEMPT_SEC
    ) as bundle:
        for one in every:
            one.pause()
        called_by_many(bundle)  # leaves no connection open
        told = called_by_many(bundle)
        sentinels.repair()

    # Each sentinel may be asked in one attempt.
    assert max(seconds for seconds, _ in told) < TIMEOUT_SEC + 3 * ATTEMPT_SEC + SLACK_SEC


def test_a_slot_that_nobody_has_is_given_up_in_time(cluster: ClusterOfSix, namespace: str) -> None:
    with open_storage(
        cluster.url, namespace=namespace, timeout_sec=TIMEOUT_SEC, attempt_timeout_sec=ATTEMPT_SEC
    ) as bundle:
        called_by_many(bundle)
        pair = [*cluster.replicas(namespace), cluster.primary(namespace)]
        for node in pair:
            node.pause()

        told = called_by_many(bundle)

        assert {type(error) for _, error in told} == {StorageUnavailableError}
        assert max(seconds for seconds, _ in told) < TIMEOUT_SEC + 2 * ATTEMPT_SEC + SLACK_SEC


def test_what_goes_to_several_partitions_has_its_time_once(
    single_server: SingleServer, namespace: str
) -> None:
    """Each partition would answer in time by itself, after some attempts."""
    with open_storage(
        single_server.url, namespace=namespace, partitions=8, timeout_sec=TIMEOUT_SEC
    ) as bundle:
        driver: Any = bundle.agent_registry._driver  # type: ignore[attr-defined]
        execute = driver._execute_command
        began: dict[Any, float] = {}

        def after_a_while(*command: Any) -> Any:
            if time.monotonic() < began.setdefault(command, time.monotonic()) + TIMEOUT_SEC / 2:
                raise redis.ConnectionError("lost")
            return execute(*command)

        driver._execute_command = after_a_while
        start = time.monotonic()
        with pytest.raises(StorageUnavailableError):
            bundle.agent_registry.list_active_agents()

        assert time.monotonic() - start < TIMEOUT_SEC + SLACK_SEC


@pytest.mark.parametrize("fault", ["connections refused", "reply cut"])
def test_attempts_back_off(setup: Setup, namespace: str, fault: str) -> None:
    with open_storage(setup.url, namespace=namespace, timeout_sec=TIMEOUT_SEC) as bundle:
        bundle.intent_retry.increment("f")
        began: list[float] = []
        driver: Any = bundle.intent_retry._driver  # type: ignore[attr-defined]
        execute = driver._execute_command

        def noting(*command: Any) -> Any:
            began.append(time.monotonic())
            return execute(*command)

        driver._execute_command = noting
        if fault == "reply cut":
            setup.proxy.lose_replies(1_000_000, to=b"EVAL")
        else:
            refuse_all(setup, namespace)
        with pytest.raises(StorageUnavailableError):
            bundle.intent_retry.increment("f")

    pauses = [later - sooner for sooner, later in itertools.pairwise(began)]
    # 10, 20, 40 ms and so on, each less by up to a half.
    assert 4 <= len(began) <= 8
    assert pauses[-1] > 4 * pauses[0]
