"""Calls that end between their request and its reply: nobody else gets the reply."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis.connection import AbstractConnection

from dir_redis import StorageBundle, open_storage
from tests.faults.cluster_of_six import ClusterOfSix
from tests.faults.failover import CLIENTS, Setup, opened
from tests.faults.node import Node
from tests.servers import wait_until

DELAY_SEC = 0.02
TIMEOUT_SEC = 20.0


@pytest.mark.parametrize("durability", ["memory", "replicas=1"])
@pytest.mark.parametrize("replies_before", [0, 1])
def test_the_next_call_gets_its_own_answer(
    setup: Setup,
    namespace: str,
    durability: str,
    replies_before: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal handler raises, as Ctrl-C's does, while a reply is under way."""
    if durability != "memory" and len(setup.nodes) == 1:
        durability = "memory"  # it has no replica
    left = [replies_before]
    read = AbstractConnection.read_response

    def interrupted(self: Any, *arguments: Any, **named: Any) -> Any:
        if armed.is_set():
            left[0] -= 1
            if left[0] < 0:
                armed.clear()
                raise KeyboardInterrupt
        return read(self, *arguments, **named)

    armed = threading.Event()
    with opened(setup, namespace, durability=durability) as bundle:
        bundle.intent_retry.set_count("a", 100)
        bundle.intent_retry.set_count("b", 7)
        for node in setup.nodes:
            setup.proxy.delay(
                node.door, DELAY_SEC
            )  # so that the reply comes after the next request
        monkeypatch.setattr(AbstractConnection, "read_response", interrupted)
        armed.set()
        with pytest.raises(KeyboardInterrupt):
            increment_for_ever(bundle)  # one of one reply ends before the second is read

        assert [bundle.intent_retry.get_count("b") for _ in range(3)] == [7, 7, 7]
        assert bundle.intent_retry.increment("b").count == 8


def test_a_connection_is_used_again(setup: Setup, namespace: str) -> None:
    """None is ever taken to be owed a reply without cause."""
    with opened(setup, namespace) as bundle:
        bundle.intent_retry.increment("f")
        primary = setup.primary(namespace)
        before = primary.info("stats")["total_connections_received"]
        for _ in range(50):
            bundle.intent_retry.increment("f")
            bundle.durable("memory").intent_retry.get_count("f")
        after = primary.info("stats")["total_connections_received"]

    assert after - before < 10  # those who look after the servers connect as well


def test_a_look_for_the_nodes_takes_no_answer_away(cluster: ClusterOfSix, namespace: str) -> None:
    """A write is under way while the nodes are asked, and nobody can connect anew after it."""
    with opened(cluster, namespace) as bundle, ThreadPoolExecutor(1) as pool:
        bundle.intent_retry.increment("f")
        node = cluster.primary(namespace)
        commands = of_cluster(bundle)
        manager = commands._client.nodes_manager
        manager.startup_nodes = {
            name: one for name, one in manager.startup_nodes.items() if one.port == node.door
        }
        node.pause()
        commands.look_again()
        wait_until(lambda: cluster.proxy.connections(node.door, CLIENTS) >= 1, TIMEOUT_SEC)
        writing = pool.submit(bundle.intent_retry.increment, "f")
        wait_until(lambda: in_use(commands, node), TIMEOUT_SEC)
        cluster.proxy.refuse_connections(node.door)
        node.resume()

        assert writing.result().count == 2


def test_a_forked_child_asks_for_the_nodes_though_its_parent_was_just_doing_so(
    cluster: ClusterOfSix, namespace: str
) -> None:
    with opened(cluster, namespace) as bundle:
        bundle.intent_retry.increment("f")
        commands = of_cluster(bundle)
        manager = commands._client.nodes_manager
        locked, over = threading.Event(), threading.Event()

        def look() -> None:
            with manager._initialization_lock, manager._lock, commands._client._lock:
                locked.set()
                over.wait(TIMEOUT_SEC)

        looking = threading.Thread(target=look)
        looking.start()
        locked.wait()
        child = os.fork()
        if not child:
            threading.Timer(TIMEOUT_SEC, os._exit, [1]).start()  # not for ever, if it fails
            commands.look_again()
            commands._looking.join()
            os._exit(0 if bundle.intent_retry.get_count("f") == 1 else 2)
        over.set()
        looking.join()

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_redirection_is_followed_where_there_can_be_no_more_threads(
    cluster: ClusterOfSix, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in what is done when the interpreter shuts down."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with opened(cluster, namespace) as bundle:
        bundle.intent_retry.increment("f")
        manager = of_cluster(bundle)._client.nodes_manager
        home = cluster.primary(namespace)
        elsewhere = [one for one in manager.nodes_cache.values() if one.server_type == "primary"]
        wrong = next(one for one in elsewhere if one.port != home.door)
        for slot in manager.slots_cache:
            manager.slots_cache[slot] = [wrong]
        monkeypatch.setattr(threading.Thread, "start", refuse)

        assert bundle.intent_retry.increment("f").count == 2


def test_nodes_that_only_a_redirection_named_are_closed_too(
    cluster: ClusterOfSix, namespace: str
) -> None:
    bundle = open_storage(cluster.url, namespace=namespace)
    bundle.intent_retry.increment("f")
    commands = of_cluster(bundle)
    home = cluster.primary(namespace)
    manager = commands._client.nodes_manager
    known = manager.nodes_cache.pop(f"127.0.0.1:{home.door}")
    other = next(one for one in manager.nodes_cache.values() if one.server_type == "primary")
    for slot in manager.slots_cache:
        manager.slots_cache[slot] = [other]
    commands.look_again = lambda: None
    bundle.intent_retry.increment("f")
    nodes = [*manager.nodes_cache.values(), *commands._new.values()]
    pools = [one.redis_connection.connection_pool for one in nodes if one.redis_connection]
    connections = [one for pool in pools for one in pool._available_connections]

    bundle.close()

    assert len(commands._new) == 1
    assert len(connections) > 1
    assert not any(one._sock for one in connections)
    known.redis_connection.connection_pool.disconnect()


def increment_for_ever(bundle: StorageBundle) -> None:
    while True:
        bundle.intent_retry.increment("a")


def of_cluster(bundle: StorageBundle) -> Any:
    storage: Any = bundle.intent_retry
    return storage._driver._connection.cluster


def in_use(commands: Any, node: Node) -> bool:
    """Whether a command is under way to a node, besides the question for the nodes."""
    one = commands._client.get_node(host="127.0.0.1", port=node.door)
    busy = one.redis_connection.connection_pool._in_use_connections
    return sum(connection._owed for connection in list(busy)) >= 2
