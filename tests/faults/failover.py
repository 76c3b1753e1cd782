"""Putting a primary out, so that a replica takes its place, and a store that outlasts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dir_redis import StorageBundle, open_storage
from tests.faults.node import Node
from tests.servers import wait_until

Setup = Any  # a SingleServer, SentinelService or ClusterOfSix

FAILOVER_TIMEOUT_SEC = 30.0
TIMEOUT_SEC = 20.0
ATTEMPT_SEC = 0.3
# Where each write is to be confirmed in time, however busy the machine is.
CALM_ATTEMPT_SEC = 2.0

# The 127.0.0.1 that clients come from.
CLIENTS = "127.0.0.1"


def kill(_: Setup, primary: Node) -> None:
    primary.kill()


def pause(_: Setup, primary: Node) -> None:
    primary.pause()


def isolate(setup: Setup, primary: Node) -> None:
    setup.isolate(primary)
    setup.proxy.cut(primary.door, CLIENTS)


FAULTS: dict[str, Callable[[Setup, Node], None]] = {
    "killed": kill,
    "paused and resumed": pause,
    "isolated": isolate,
}


def every_replica(setup: Setup, namespace: str) -> str:
    """The durability with which a write survives whichever replica takes over."""
    return f"replicas={len(setup.replicas(namespace))}"


@contextmanager
def opened(setup: Setup, namespace: str, **options: Any) -> Iterator[StorageBundle]:
    settings = {"timeout_sec": TIMEOUT_SEC, "attempt_timeout_sec": ATTEMPT_SEC, **options}
    # Made beforehand: a busy machine may not confirm it within the time of these attempts.
    open_storage(setup.url, namespace=namespace, **{**settings, "durability": "memory"}).close()
    with open_storage(setup.url, namespace=namespace, **settings) as bundle:
        yield bundle


@contextmanager
def calm(setup: Setup, namespace: str) -> Iterator[StorageBundle]:
    """A store whose writes survive a failover, with time to be confirmed."""
    options = {"durability": every_replica(setup, namespace)}
    with opened(setup, namespace, attempt_timeout_sec=CALM_ATTEMPT_SEC, **options) as bundle:
        yield bundle


def fail_over(setup: Setup, namespace: str, fault: Callable[[Setup, Node], None]) -> Node:
    """Put the primary out and wait until another has its place; the one that was put out."""
    old: Node = setup.primary(namespace)
    setup.be_quick()
    fault(setup, old)
    wait_until(lambda: setup.has_promoted_other_than(old, namespace), FAILOVER_TIMEOUT_SEC)
    return old
