"""A cluster of three primaries with a replica each, every node and its bus behind the proxy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redis.crc import key_slot

from dir_redis.embedded import valkey_binary
from tests.fault_proxy import FaultProxy
from tests.faults.node import REPAIR_TIMEOUT_SEC, Node, lasting_ports
from tests.servers import CLUSTER_SLOTS, wait_until

# A node that does not answer for so long is failing; long where no failover is wanted.
QUICK_MS = 500
CALM_MS = 60_000

_PRIMARIES = 3


class ClusterOfSix:
    """The nodes of a cluster, and what is done to them.

    Attributes:
        url: where clients find it.
        proxy: before all of its nodes.
        nodes: all six.
    """

    def __init__(self, folder: Path) -> None:
        self.proxy = FaultProxy()
        count = 2 * _PRIMARIES
        ports = lasting_ports(2 * count)
        self.nodes = [
            Node(valkey_binary(), folder / f"node-{n}", self.proxy, port, f"127.0.3.{n + 1}")
            for n, port in enumerate(ports[:count])
        ]
        self._bus = dict(zip(self.nodes, ports[count:], strict=True))
        self._bus_door = {
            node: self.proxy.open(port, lasting_ports(1)[0]) for node, port in self._bus.items()
        }
        self.url = f"redis+cluster://{','.join(f'127.0.0.1:{n.door}' for n in self.nodes)}"

    def start(self) -> None:
        """Start all nodes, and wait until they are a cluster."""
        for node in self.nodes:
            self._start(node)
        self._join()

    def primary(self, namespace: str, partition: int = 0) -> Node:
        """The node that has a namespace's partition, as its replicas see it too."""
        slot = slot_of(namespace, partition)
        doors = self._owners(slot)
        assert len(doors) == 1, f"the nodes do not agree on who has slot {slot}"
        return self.at(doors.pop())

    def replicas(self, namespace: str) -> list[Node]:
        """The replicas of the node that has a namespace."""
        primary = self.primary(namespace).admin.execute_command("CLUSTER", "MYID").decode()
        return [
            self.at(one["door"])
            for one in nodes_seen_by(self.nodes[0])
            if one["primary"] == primary
        ]

    def at(self, door: int) -> Node:
        """The node behind a door."""
        return next(node for node in self.nodes if node.door == door)

    def be_quick(self) -> None:
        """Let the nodes take a silent one for dead within half a second."""
        for node in self.nodes:
            node.admin.config_set("cluster-node-timeout", QUICK_MS)

    def has_promoted_other_than(self, node: Node, namespace: str) -> bool:
        """Whether all nodes but one that was put out hold another for a namespace's primary."""
        slot = slot_of(namespace)
        doors = self._owners(slot, without=node)
        return len(doors) == 1 and doors != {node.door}

    def isolate(self, node: Node) -> None:
        """Cut every link between a node and the others; clients still reach it."""
        peers = [one for one in self.nodes if one is not node]
        for door in (node.door, self._bus_door[node]):
            self.proxy.cut(door, *(one.source for one in peers))
        for one in peers:
            for door in (one.door, self._bus_door[one]):
                self.proxy.cut(door, node.source)

    def move_slot(self, namespace: str, to: Node, *, step: int = 100) -> Iterator[int]:
        """Move a namespace's slot to another primary, some keys at a time.

        Yields:
            How many keys are left, after each step; the move is complete when there is no more.
        """
        slot = slot_of(namespace)
        source = self.primary(namespace)
        ids = [one.admin.execute_command("CLUSTER", "MYID") for one in (source, to)]
        setslot = ("CLUSTER", "SETSLOT", slot)
        to.admin.execute_command(*setslot, "IMPORTING", ids[0])
        source.admin.execute_command(*setslot, "MIGRATING", ids[1])
        while keys := source.admin.execute_command("CLUSTER", "GETKEYSINSLOT", slot, step):
            target = ("127.0.0.1", to.port)
            source.admin.execute_command("MIGRATE", *target, "", 0, 5000, "KEYS", *keys)
            yield int(source.admin.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot))
        for one in (to, source):
            one.admin.execute_command(*setslot, "NODE", ids[1])
        wait_until(lambda: self._owners(slot) == {to.door}, REPAIR_TIMEOUT_SEC)

    def repair(self) -> None:
        """Undo all faults and wait until every node has its place again."""
        self.proxy.restore()
        for node in self.nodes:
            node.resume()
        for node in self.nodes:
            if not node.runs:
                self._start(node)
        wait_until(self._is_whole, REPAIR_TIMEOUT_SEC)
        for node in self.nodes:
            node.admin.config_set("cluster-node-timeout", CALM_MS)

    def close(self) -> None:
        """End all processes."""
        for node in self.nodes:
            node.close()
        self.proxy.close()

    def _start(self, node: Node) -> None:
        arguments = ["--port", str(node.port), "--bind", "127.0.0.1", "--save", ""]
        arguments += ["--bind-source-addr", node.source, "--repl-diskless-sync-delay", "0"]
        arguments += ["--cluster-enabled", "yes", "--cluster-port", str(self._bus[node])]
        arguments += ["--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port"]
        arguments += [str(node.door), "--cluster-announce-bus-port", str(self._bus_door[node])]
        arguments += ["--cluster-node-timeout", str(QUICK_MS), "--cluster-allow-replica-migration"]
        arguments += ["no", "--cluster-replica-validity-factor", "0", "--repl-timeout", "5"]
        node.start(*arguments)

    def _join(self) -> None:
        share = -(-CLUSTER_SLOTS // _PRIMARIES)
        for number, node in enumerate(self.nodes):
            node.admin.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, node in enumerate(self.nodes[:_PRIMARIES]):
            first, last = number * share, min((number + 1) * share, CLUSTER_SLOTS) - 1
            node.admin.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        meet = self.nodes[0].admin.execute_command
        for node in self.nodes[1:]:
            meet("CLUSTER", "MEET", "127.0.0.1", node.door, self._bus_door[node])
        wait_until(lambda: all(self._knows_all(node) for node in self.nodes), REPAIR_TIMEOUT_SEC)
        for primary, replica in zip(self.nodes[:_PRIMARIES], self.nodes[_PRIMARIES:], strict=True):
            primary_id = primary.admin.execute_command("CLUSTER", "MYID")
            replica.admin.execute_command("CLUSTER", "REPLICATE", primary_id)
        self.repair()

    def _views(self, without: Node | None = None) -> list[Any]:
        return [
            node.admin.execute_command("CLUSTER", "SLOTS")
            for node in self.nodes
            if node is not without and node.runs
        ]

    def _owners(self, slot: int, without: Node | None = None) -> set[int]:
        """The doors of those who have a slot, as each node sees it; 0 for nobody."""
        return {
            next((int(owner[1]) for first, last, owner, *_ in view if first <= slot <= last), 0)
            for view in self._views(without)
        }

    def _knows_all(self, node: Node) -> bool:
        seen = nodes_seen_by(node)
        return len(seen) == len(self.nodes) and not any(one["is_unwell"] for one in seen)

    def _is_whole(self) -> bool:
        for node in self.nodes:
            info = node.info("replication")
            in_place = (
                info["connected_slaves"] == 1 and info.get("slave0", {}).get("state") == "online"
                if info["role"] == "master"
                else info["master_link_status"] == "up"
            )
            reply = node.admin.execute_command("CLUSTER", "INFO").decode()
            if not in_place or "cluster_state:ok" not in reply or not self._knows_all(node):
                return False
        return len({str(sorted(map(_range_and_door, view))) for view in self._views()}) == 1


def slot_of(namespace: str, partition: int = 0) -> int:
    """The slot of a namespace's partition."""
    return int(key_slot(f"{{{namespace}:{partition}}}".encode()))


def nodes_seen_by(node: Node) -> list[dict[str, Any]]:
    """What a node knows of all nodes."""
    lines = node.admin.execute_command("CLUSTER", "NODES")
    text = lines.decode() if isinstance(lines, bytes) else None
    assert text is not None
    found = []
    for line in text.splitlines():
        node_id, address, flags, primary, *rest = line.split()
        found.append(
            {
                "id": node_id,
                "door": int(address.partition("@")[0].rpartition(":")[2]),
                "primary": primary,
                "is_unwell": "fail" in flags or "handshake" in flags or rest[3] != "connected",
            }
        )
    return found


def _range_and_door(range_of_view: Any) -> tuple[int, int, int]:
    first, last, owner, *_ = range_of_view
    return first, last, int(owner[1])


@contextlib.contextmanager
def cluster_of_six(folder: Path) -> Iterator[ClusterOfSix]:
    """A cluster for the time of a with block."""
    cluster = ClusterOfSix(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()
