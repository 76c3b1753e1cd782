"""A store over several nodes: slots that move, partitions on each of them, nodes that are new."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.faults.cluster_of_six import ClusterOfSix
from tests.faults.failover import CALM_ATTEMPT_SEC, fail_over, kill, opened
from tests.faults.node import Node
from tests.faults.writers import NONE_LOST, PROGRESS_TIMEOUT_SEC, writing
from tests.redis_only.test_costs import READS
from tests.redis_only.test_once import WRITES
from tests.servers import wait_until

PARTITIONS = 5
FLOWS = 300


def other_primary(cluster: ClusterOfSix, namespace: str) -> Node:
    """A primary that does not have a namespace's slot."""
    own = cluster.primary(namespace)
    return next(
        node
        for node in cluster.nodes
        if node is not own and node.info("replication")["role"] == "master"
    )


def test_no_operation_spans_slots(cluster: ClusterOfSix, namespace: str) -> None:
    with opened(cluster, namespace, partitions=PARTITIONS) as bundle:
        nodes = {cluster.primary(namespace, number) for number in range(PARTITIONS)}
        for operation in (*WRITES.values(), *READS.values(), *WRITES.values()):
            operation(bundle)  # CROSSSLOT would be a StorageRefusedError

    assert len(nodes) > 1


@pytest.mark.parametrize("durability", ["memory", "replicas=1"])
def test_a_slot_that_moves_under_load_loses_and_doubles_nothing(
    cluster: ClusterOfSix, namespace: str, durability: str
) -> None:
    with opened(cluster, namespace, attempt_timeout_sec=CALM_ATTEMPT_SEC) as bundle:
        for number in range(FLOWS):
            bundle.intent_retry.set_count(f"f{number}", number)
        home = cluster.primary(namespace)
        with writing(bundle.durable(durability)) as writers:
            for to in (other_primary(cluster, namespace), home):
                for _ in cluster.move_slot(namespace, to, step=50):
                    for node in cluster.nodes:
                        node.admin.script_flush()
                writers.go_on()

        assert not writers.failures
        assert writers.doubtful == 0
        assert [one.refused for one in writers.each] == NONE_LOST
        assert writers.lost(bundle) == writers.doubled(bundle) == NONE_LOST
        counts = [bundle.intent_retry.get_count(f"f{number}") for number in range(FLOWS)]
        assert counts == list(range(FLOWS))


def test_a_slot_moves_to_a_node_that_no_client_knows(cluster: ClusterOfSix, namespace: str) -> None:
    """A new node has no slots, so it is in no list of those who have them."""
    home, to = cluster.primary(namespace), other_primary(cluster, namespace)
    with opened(cluster, namespace) as bundle, ThreadPoolExecutor(1) as pool:
        bundle.intent_retry.increment("f")
        driver: Any = bundle.intent_retry._driver  # type: ignore[attr-defined]
        driver._connection.client.nodes_manager.nodes_cache.pop(f"127.0.0.1:{to.door}")
        moving = cluster.move_slot(namespace, to)
        next(moving)

        # The source has the keys no more: it sends the client on. A script of which the new node
        # does not have all keys yet has to wait for the end of the move.
        assert bundle.intent_retry.get_count("f") == 1
        assert bundle.intent_retry.increment("f").count == 2
        to.admin.config_resetstat()
        counting = pool.submit(bundle.intent_retry.increment, "new")
        wait_until(lambda: refused(to, "TRYAGAIN"), PROGRESS_TIMEOUT_SEC)
        assert list(moving) == []
        assert counting.result().count == 1
        assert list(cluster.move_slot(namespace, home))[-1] == 0
        assert bundle.intent_retry.increment("f").count == 3


def refused(node: Node, code: str) -> bool:
    return f"errorstat_{code}" in node.info("errorstats")


@pytest.mark.parametrize("fault", ["slot moves", "failover"])
def test_rows_stay_in_order_over_partitions(
    cluster: ClusterOfSix, namespace: str, fault: str
) -> None:
    with (
        opened(cluster, namespace, partitions=PARTITIONS) as bundle,
        ThreadPoolExecutor(4) as pool,
    ):
        audit = bundle.decision_audit
        stopped: list[bool] = []

        def record(writer: int) -> int:
            for number in itertools.count():
                for flow in range(3):
                    audit.record(f"w{writer}-{flow}", str(number))
                if stopped:
                    return number + 1
            raise AssertionError("the count never ends")

        recording = [pool.submit(record, writer) for writer in range(4)]
        try:
            if fault == "slot moves":
                home = cluster.primary(namespace)
                for to in (other_primary(cluster, namespace), home):
                    for _ in cluster.move_slot(namespace, to, step=50):
                        assert in_order(audit.all_events_chronological())
            else:
                fail_over(cluster, namespace, kill)
                assert in_order(audit.all_events_chronological())
        finally:
            stopped.append(True)
        counts = [one.result() for one in recording]

        rows = audit.all_events_chronological()
        assert in_order(rows)
        for writer, count in enumerate(counts):
            for flow in range(3):
                numbers = [int(row["event"]) for row in rows if row["dfid"] == f"w{writer}-{flow}"]
                of_flow = [int(row["event"]) for row in audit.events_for_dfid(f"w{writer}-{flow}")]
                assert numbers == of_flow == sorted(set(numbers))
                if fault == "slot moves":
                    assert numbers == list(range(count))


def in_order(rows: list[dict[str, Any]]) -> bool:
    """Whether rows are in order of the servers' time."""
    times = [row["timestamp"] for row in rows]
    return times == sorted(times)
