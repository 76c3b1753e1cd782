"""Waits: whatever ends one is looked into, and none keeps a release from passing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import redis

from dir_redis import Reservation, StorageBundle, open_storage, redis_storage
from tests.conftest import SERVERS
from tests.redis_only.test_reservations import until_queued
from tests.servers import wait_until

PATIENCE_SEC = 30.0
SINGLE_SERVERS = [name for name in SERVERS if name != "cluster"]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as running:
        yield running


def reserving(pool: ThreadPoolExecutor, store: StorageBundle, dfid: str) -> Future[Reservation]:
    return pool.submit(
        store.resource_lock.reserve, dfid, {"r": 1}, lease_sec=60, wait_sec=PATIENCE_SEC
    )


def held_by_f(store: StorageBundle) -> Reservation:
    store.resource_lock.set_capacity("r", 1)
    return store.resource_lock.reserve("f", {"r": 1}, lease_sec=60)


def break_off_a_wait(admin: Any) -> bool:
    """Whether somebody waited, and does not any more."""
    waiting = [int(one["id"]) for one in admin.client_list() if one["cmd"] == "blpop"]
    return any(admin.client_unblock(client_id, error=True) for client_id in waiting)


@pytest.mark.parametrize("server", SINGLE_SERVERS)
def test_a_wait_that_the_server_breaks_off_is_gone_on_with(
    servers: Any, namespace: str, pool: ThreadPoolExecutor, server: str
) -> None:
    """A server that becomes a replica answers all who wait with UNBLOCKED."""
    url = servers.url(server)
    with redis.Redis.from_url(url) as admin, open_storage(url, namespace=namespace) as store:
        holder = held_by_f(store)
        waiter = reserving(pool, store, "g")
        for _ in range(3):
            wait_until(lambda: break_off_a_wait(admin), PATIENCE_SEC)
        holder.release()

        waiter.result(PATIENCE_SEC).release()


@pytest.mark.parametrize("server", SINGLE_SERVERS)
@pytest.mark.parametrize("limit", ["?max_connections=4", "single"])
def test_waiters_leave_a_connection_to_whoever_is_to_wake_them(
    servers: Any, namespace: str, pool: ThreadPoolExecutor, server: str, limit: str
) -> None:
    url = servers.url(server)
    with open_storage(url, namespace=namespace) as owner:
        holder = held_by_f(owner)
        client = (
            redis.Redis.from_url(url, single_connection_client=True)
            if limit == "single"
            else redis.Redis.from_url(url + limit)
        )
        store = redis_storage(client, namespace=namespace)
        waiters = [reserving(pool, store, f"w{number}") for number in range(6)]
        until_queued(owner, 6)
        mine = store.resource_lock.holders("r")
        assert [one.dfid for one in mine] == ["f"]

        released = threading.Event()
        pool.submit(lambda: (holder.release(), released.set()))
        for waiter in waiters:
            pool.submit(lambda one=waiter: one.result(PATIENCE_SEC).release())
        for waiter in waiters:
            waiter.result(PATIENCE_SEC)

        assert released.is_set()
        client.close()
