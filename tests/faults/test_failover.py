"""A replica takes over: what callers see, what is lost, and what never happens."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import ResponseError

from dir_redis import LeaseLostError, UnconfirmedWriteError
from tests.faults.failover import (
    CLIENTS,
    FAILOVER_TIMEOUT_SEC,
    FAULTS,
    TIMEOUT_SEC,
    Setup,
    calm,
    every_replica,
    fail_over,
    opened,
)
from tests.faults.node import Node
from tests.faults.sentinel_service import SentinelService
from tests.faults.writers import NONE_LOST, writing
from tests.servers import wait_until

logger = logging.getLogger(__name__)


@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_that_was_open_before_goes_on_after(
    fleet: Setup, namespace: str, fault: str, confirmed: bool
) -> None:
    durability = every_replica(fleet, namespace) if confirmed else "memory"
    with opened(fleet, namespace, durability=durability) as bundle:
        with writing(bundle) as writers:
            fail_over(fleet, namespace, FAULTS[fault])
            writers.go_on()
            fleet.repair()
            writers.go_on()
        lost = writers.lost(bundle)

        assert not writers.failures
        assert [one.refused for one in writers.each] == NONE_LOST
        assert writers.doubled(bundle) == NONE_LOST
        if confirmed:
            assert lost == NONE_LOST
        assert writers.longest_gap() < TIMEOUT_SEC
    logger.info(
        "%s, %s, %s: %.2f s without an answer; %d acknowledged, %d of them lost, %d in doubt",
        *(type(fleet).__name__, fault, durability, writers.longest_gap()),
        *(sum(one.acknowledged for one in writers.each), sum(lost), writers.doubtful),
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lease_that_the_failover_lost_is_refused_by_its_token(
    fleet: Setup, namespace: str, fault: str
) -> None:
    with opened(fleet, namespace) as bundle, calm(fleet, namespace) as safe:
        locks = bundle.resource_lock
        locks.set_capacity("r", 10)
        safe.resource_lock.reserve("early", {"q": 1}, lease_sec=60)
        for replica in fleet.replicas(namespace):
            fleet.proxy.hold(fleet.primary(namespace).door, replica.source)
        stale = locks.reserve("stale", {"r": 10}, lease_sec=60)
        early = locks.holders("q")[0].fencing_token
        fail_over(fleet, namespace, FAULTS[fault])

        # The new primary never heard of it.
        after = locks.reserve("after", {"r": 10}, lease_sec=60)
        for late in (
            lambda: locks.renew("stale", stale.fencing_token, 60),
            lambda: locks.release("stale", fencing_token=stale.fencing_token),
        ):
            with pytest.raises(LeaseLostError):
                late()
        fleet.repair()

        assert early < stale.fencing_token < after.fencing_token
        assert [holder.dfid for holder in locks.holders("r")] == ["after"]
        assert locks.get_locked_amount("r", "nobody") == 10
        with pytest.raises(LeaseLostError):
            locks.renew("stale", stale.fencing_token, 60)
        locks.renew("after", after.fencing_token, 60)


@pytest.mark.parametrize("fault", FAULTS)
def test_whoever_waits_goes_on_waiting_and_is_served(
    fleet: Setup, namespace: str, fault: str
) -> None:
    with (
        opened(fleet, namespace) as bundle,
        calm(fleet, namespace) as safe,
        ThreadPoolExecutor(2) as pool,
    ):
        locks, steps = bundle.resource_lock, bundle.idempotency
        safe.resource_lock.set_capacity("r", 10)
        held = safe.resource_lock.reserve("holder", {"r": 10}, lease_sec=60)
        claim = safe.idempotency.claim("step", lease_sec=60, owner="owner")
        waiting = pool.submit(locks.reserve, "waiter", {"r": 10}, lease_sec=60, wait_sec=30)
        second = pool.submit(
            steps.run_once, "step", lambda _: pytest.fail("it ran twice"), wait_sec=30
        )
        key = f"{{{namespace}:0}}:lock_waiting"
        wait_until(lambda: fleet.primary(namespace).admin.zcard(key) == 1, FAILOVER_TIMEOUT_SEC)

        fail_over(fleet, namespace, FAULTS[fault])
        locks.release("holder", fencing_token=held.fencing_token)
        steps.complete(claim, {"shares": 300})

        assert waiting.result(FAILOVER_TIMEOUT_SEC).fencing_token > held.fencing_token
        assert second.result(FAILOVER_TIMEOUT_SEC) == {"shares": 300}


def test_an_old_primary_that_clients_still_reach_confirms_nothing(
    fleet: Setup, namespace: str
) -> None:
    """The network is split, and the clients are on the wrong side of it."""
    with opened(fleet, namespace, durability=every_replica(fleet, namespace)) as bundle:
        with writing(bundle) as writers:
            fail_over(fleet, namespace, lambda setup, node: setup.isolate(node))
            writers.go_on()
            fleet.repair()
            writers.go_on()

        assert not writers.failures
        assert writers.doubled(bundle) == NONE_LOST
        assert writers.lost(bundle) == NONE_LOST


def test_without_a_link_to_its_replicas_a_primary_confirms_nothing(
    fleet: Setup, namespace: str
) -> None:
    with calm(fleet, namespace) as bundle:
        bundle.intent_retry.increment("f")
        primary = fleet.primary(namespace)
        fleet.proxy.cut(primary.door, *(one.source for one in fleet.replicas(namespace)))

        with pytest.raises(UnconfirmedWriteError) as caught:
            bundle.intent_retry.increment("f")
        assert caught.value.result.count == 2
        fleet.repair()
        assert bundle.intent_retry.increment("f").count == 3


def test_dead_lines_of_idle_connections_are_noticed(fleet: Setup, namespace: str) -> None:
    with opened(fleet, namespace) as bundle, ThreadPoolExecutor(8) as pool:
        list(pool.map(bundle.intent_retry.increment, "abcdefgh"))  # as many idle connections
        door = fleet.primary(namespace).door
        fleet.proxy.hold(door, CLIENTS)
        counting = [pool.submit(bundle.intent_retry.increment, flow) for flow in "abcdefgh"]
        wait_until(lambda: fleet.proxy.connections(door, CLIENTS) > 8, FAILOVER_TIMEOUT_SEC)
        fleet.proxy.restore()

        assert [one.result().count for one in counting] == [2] * 8


def test_scripts_are_forgotten_at_any_time_and_nobody_notices(fleet: Setup, namespace: str) -> None:
    with calm(fleet, namespace) as bundle:
        with writing(bundle) as writers:
            for _ in range(20):
                for node in fleet.nodes:
                    node.admin.script_flush()
                writers.go_on(5)

        assert not writers.failures
        assert writers.doubtful == 0
        assert writers.lost(bundle) == writers.doubled(bundle) == NONE_LOST


def test_an_old_primary_that_confirms_nothing_is_left_by_its_clients(
    sentinels: SentinelService, namespace: str
) -> None:
    """It takes writes, on connections that still work; the new one has them confirmed."""

    def is_confirmed() -> bool:
        try:
            bundle.intent_retry.increment("f")
        except UnconfirmedWriteError:
            return False
        return True

    # Longer attempts than elsewhere: one that times out would find the new primary by itself.
    options = {"durability": "replicas=1", "attempt_timeout_sec": 2.0}
    with opened(sentinels, namespace, **options) as bundle:
        wait_until(is_confirmed, FAILOVER_TIMEOUT_SEC)
        try:
            fail_over(sentinels, namespace, lambda setup, node: setup.isolate(node))
            wait_until(is_confirmed, FAILOVER_TIMEOUT_SEC)
        finally:
            sentinels.repair()


def test_a_sentinel_that_is_silent_is_passed_over(
    sentinels: SentinelService, namespace: str
) -> None:
    sentinels.proxy.hold(sentinels.sentinels[0].door, CLIENTS)
    try:
        with opened(sentinels, namespace) as bundle:
            assert bundle.intent_retry.increment("f").count == 1
    finally:
        sentinels.repair()


def test_a_primary_that_its_replicas_left_is_left_by_its_clients(
    sentinels: SentinelService, namespace: str
) -> None:
    """It refuses writes with NOREPLICAS, as it was told to, on connections that still work."""
    for node in sentinels.nodes:
        node.admin.config_set("min-replicas-to-write", 1)
        node.admin.config_set("min-replicas-max-lag", 1)
    try:
        with opened(sentinels, namespace) as bundle:
            bundle.intent_retry.increment("f")
            old = fail_over(sentinels, namespace, lambda setup, node: setup.isolate(node))
            wait_until(lambda: refuses_writes(old), FAILOVER_TIMEOUT_SEC)

            assert bundle.intent_retry.increment("f").count == 2
    finally:
        for node in sentinels.nodes:
            node.admin.config_set("min-replicas-to-write", 0)
        sentinels.repair()


def refuses_writes(node: Node) -> bool:
    try:
        node.admin.set("{probe}", 1)
    except ResponseError as error:
        return "NOREPLICAS" in str(error)
    return False
