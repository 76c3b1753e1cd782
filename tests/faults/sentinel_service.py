"""A Sentinel service: a primary, two replicas and three sentinels, each behind the fault proxy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from dir_redis.embedded import valkey_binary
from tests.fault_proxy import FaultProxy
from tests.faults.node import REPAIR_TIMEOUT_SEC, Node, lasting_ports
from tests.servers import wait_until

SERVICE = "dir"
# A primary that does not answer for so long is down; long where no failover is wanted.
QUICK_MS = 500
CALM_MS = 60_000

_SERVERS = 3
_SENTINELS = 3
# Sentinels look at the servers and at each other every second or ten; for a test that is long.
_PERIODS = (
    *("info-period", 200, "ping-period", 300, "ask-period", 100, "publish-period", 100),
    *(
        "tilt-trigger",
        60_000,
        "election-timeout",
        1000,
        "default-failover-timeout",
        2000,
        "min-link-reconnect-period",
        200,
    ),
)


class SentinelService:
    """The processes of a Sentinel service, and what is done to them.

    Attributes:
        url: where clients find it.
        proxy: before all of its processes.
        nodes: its data servers.
    """

    def __init__(self, folder: Path) -> None:
        self.proxy = FaultProxy()
        ports = lasting_ports(_SERVERS + _SENTINELS)
        binary = valkey_binary()
        self.nodes = [
            Node(binary, folder / f"server-{n}", self.proxy, ports[n], f"127.0.1.{n + 1}")
            for n in range(_SERVERS)
        ]
        self.sentinels = [
            Node(binary, folder / f"sentinel-{n}", self.proxy, port, f"127.0.2.{n + 1}")
            for n, port in enumerate(ports[_SERVERS:])
        ]
        addresses = ",".join(f"127.0.0.1:{sentinel.door}" for sentinel in self.sentinels)
        self.url = f"redis+sentinel://{addresses}/{SERVICE}"
        self._folder = folder

    def start(self) -> None:
        """Start all processes, and wait until they know each other."""
        first = self.nodes[0]
        for node in self.nodes:
            self._start(node, None if node is first else first)
        for number, sentinel in enumerate(self.sentinels):
            conf = self._folder / f"sentinel-{number}" / "sentinel.conf"
            conf.write_text(
                f"port {sentinel.port}\nbind 127.0.0.1\nbind-source-addr {sentinel.source}\n"
                f"sentinel announce-ip 127.0.0.1\nsentinel announce-port {sentinel.door}\n"
                f"sentinel monitor {SERVICE} 127.0.0.1 {first.door} 2\n"
                f"sentinel down-after-milliseconds {SERVICE} {CALM_MS}\n"
                f"sentinel failover-timeout {SERVICE} 2000\n"
            )
            sentinel.start(str(conf), "--sentinel")
            sentinel.admin.execute_command("SENTINEL", "DEBUG", *_PERIODS)
        wait_until(self._is_whole, REPAIR_TIMEOUT_SEC)

    def primary(self, namespace: str) -> Node:  # noqa: ARG002
        """The server that the sentinels hold for the primary."""
        return self._at(self._primary_doors().pop())

    def replicas(self, namespace: str) -> list[Node]:
        """The other servers."""
        primary = self.primary(namespace)
        return [node for node in self.nodes if node is not primary]

    def peers(self, node: Node) -> list[Node]:
        """All processes but one, whose links to it make it part of the service."""
        return [one for one in (*self.nodes, *self.sentinels) if one is not node]

    def be_quick(self) -> None:
        """Let the sentinels take a silent primary for dead within half a second."""
        self._down_after(QUICK_MS)

    def has_promoted_other_than(
        self,
        node: Node,
        namespace: str,  # noqa: ARG002
    ) -> bool:
        """Whether all sentinels hold another server for the primary, and it says so itself."""
        doors = self._primary_doors()
        return len(doors) == 1 and (
            (found := self._at(next(iter(doors)))) is not node
            and found.info("replication")["role"] == "master"
        )

    def isolate(self, node: Node) -> None:
        """Cut every link between a server and the rest of the service; clients still reach it."""
        peers = self.peers(node)
        self.proxy.cut(node.door, *(one.source for one in peers))
        for one in peers:
            self.proxy.cut(one.door, node.source)

    def repair(self) -> None:
        """Undo all faults and wait until every server has its place again."""
        self.proxy.restore()
        for node in (*self.nodes, *self.sentinels):
            node.resume()
        for node in self.nodes:
            if not node.runs:
                primary = self.primary("")
                self._start(node, None if primary is node else primary)
        wait_until(self._is_whole, REPAIR_TIMEOUT_SEC)
        self._down_after(CALM_MS)

    def close(self) -> None:
        """End all processes."""
        for node in (*self.sentinels, *self.nodes):
            node.close()
        self.proxy.close()

    def _start(self, node: Node, primary: Node | None) -> None:
        arguments = ["--port", str(node.port), "--bind", "127.0.0.1", "--save", ""]
        arguments += ["--bind-source-addr", node.source, "--repl-diskless-sync-delay", "0"]
        arguments += ["--replica-announce-ip", "127.0.0.1"]
        arguments += ["--replica-announce-port", str(node.door), "--repl-timeout", "5"]
        if primary is not None:
            arguments += ["--replicaof", "127.0.0.1", str(primary.door)]
        node.start(*arguments)

    def _down_after(self, milliseconds: int) -> None:
        for sentinel in self.sentinels:
            setting = ("down-after-milliseconds", milliseconds)
            sentinel.admin.execute_command("SENTINEL", "SET", SERVICE, *setting)

    def _at(self, door: int) -> Node:
        return next(node for node in self.nodes if node.door == door)

    def _primary_doors(self) -> set[int]:
        return {
            int(one.admin.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
            for one in self.sentinels
        }

    def _is_whole(self) -> bool:
        doors = self._primary_doors()
        if len(doors) != 1:
            return False
        for sentinel in self.sentinels:
            state = sentinel.admin.sentinel_master(SERVICE)
            # One that leads a failover tells of the new primary before it has done with the old
            # one. Should the new one die then, that sentinel waits for it for ever.
            if {state["port"]} != doors or "failover_in_progress" in state["flags"]:
                return False
            known = (state["num-slaves"], state["num-other-sentinels"])
            if known != (_SERVERS - 1, _SENTINELS - 1) or state["is_odown"] or state["is_sdown"]:
                return False
            replicas = sentinel.admin.sentinel_slaves(SERVICE)
            if any(one["is_disconnected"] or one["is_sdown"] for one in replicas):
                return False
        primary = self._at(doors.pop())
        return primary.info("replication")["role"] == "master" and _replicates(primary)


def _replicates(primary: Node) -> bool:
    """Whether a write reaches all replicas: one that is "online" may still be without its link."""
    with primary.admin.pipeline(transaction=False) as both:
        both.set("whole", 1, px=1).wait(_SERVERS - 1, 500)
        confirmed: int = both.execute()[1]
    return confirmed == _SERVERS - 1


@contextlib.contextmanager
def sentinel_service(folder: Path) -> Iterator[SentinelService]:
    """A Sentinel service for the time of a with block."""
    service = SentinelService(folder)
    try:
        service.start()
        yield service
    finally:
        service.close()
