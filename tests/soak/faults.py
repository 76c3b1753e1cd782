"""The faults of a soak: how each is made, and undone."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

from redis.exceptions import BusyLoadingError

from dir_redis.redis.connection import connect
from tests.crash.client import LEASE_SEC
from tests.crash.clients import Clients
from tests.crash.durable_server import DurableServer
from tests.fault_proxy import FaultProxy
from tests.servers import wait_until
from tests.soak.demo_fleet import LEASE_SEC as DEMO_LEASE_SEC
from tests.soak.demo_fleet import DemoFleet

# A script that keeps the server busy, and has written nothing, so that it can be killed.
_SLOW = "local ends = tonumber(ARGV[1]) while redis.call('TIME')[1] + 0 < ends do end return 1"


class Faults:
    """Everything that can be done to a fleet and its server; each tells whether it was done.

    Args:
        server: the server.
        proxy: what the clients reach it through.
        clients: those who keep journals.
        demo: the demo's fleet.
        random: the choices within a fault; how many it draws is up to the kinds made so far alone.
        stopped: set when no more faults are wanted.

    Attributes:
        of_the_store: what befalls the server and the ways to it.
        of_clients: what befalls those who use it.
        kinds: both.
    """

    def __init__(
        self,
        server: DurableServer,
        proxy: FaultProxy,
        clients: Clients,
        demo: DemoFleet,
        random: Random,
        stopped: threading.Event,
    ) -> None:
        self._server, self._proxy, self._clients, self._demo = server, proxy, clients, demo
        self._random, self._stopped = random, stopped
        self.of_the_store: dict[str, Callable[[], bool]] = {
            "replies lost": lambda: self._lose("reply"),
            "replies cut in half": lambda: self._lose("half a reply"),
            "replies that never come": lambda: self._lose("no reply"),
            "requests lost": lambda: self._lose("request"),
            "requests cut in half": lambda: self._lose("half a request"),
            "links cut": self._cut_links,
            "line dead for a while": self._hold_links,
            "scripts forgotten": lambda: bool(self._tell("SCRIPT", "FLUSH")),
            "connections killed": lambda: bool(self._tell("CLIENT", "KILL", "TYPE", "normal")),
            "server killed and restarted": self._kill_server,
            "server stopped for a while": self._stop_server,
            "server busy with a script": self._slow_script,
            "server out of memory": lambda: self._refuse("maxmemory", "1", "0"),
            "server without enough replicas": lambda: self._refuse(
                "min-replicas-to-write", "1", "0"
            ),
            "server that cannot save": self._cannot_save,
            "server read-only": self._read_only,
        }
        self.of_clients: dict[str, Callable[[], bool]] = {
            "client killed": self._kill_client,
            "client stopped beyond its lease": self._stop_client,
            "demo's worker killed": self._kill_worker,
            "demo's worker stopped beyond its lease": self._stop_worker,
        }
        self.kinds = {**self.of_the_store, **self.of_clients}

    def _lose(self, what: str) -> bool:
        count = self._random.choice((1, 3, 40))
        if "request" in what:
            self._proxy.lose_requests(count, to=b"EVAL", half="half" in what)
        else:
            self._proxy.lose_replies(count, to=b"EVAL", half="half" in what, silent="no" in what)
        time.sleep(0.3)
        return self._proxy.lose_nothing() > 0

    def _cut_links(self) -> bool:
        door = int(self._proxy.url.rpartition(":")[2])
        self._proxy.cut(door)
        time.sleep(self._random.uniform(0, 0.4))
        self._proxy.restore()
        return True

    def _hold_links(self) -> bool:
        door = int(self._proxy.url.rpartition(":")[2])
        self._proxy.hold(door)
        time.sleep(self._random.uniform(0.1, 0.5))
        self._proxy.restore()
        return True

    def _kill_server(self) -> bool:
        self._server.kill()
        time.sleep(self._random.choice((0, 0.3)))
        self._server.start()
        return True

    def _stop_server(self) -> bool:
        assert self._server.process is not None
        pid = self._server.process.pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self._random.uniform(0.1, 0.6))
        os.kill(pid, signal.SIGCONT)
        return True

    def _slow_script(self) -> bool:
        # The others hear BUSY from busy-reply-threshold on.
        return bool(self._tell("EVAL", _SLOW, 0, int(time.time()) + 2))

    def _refuse(self, setting: str, value: str, before: str) -> bool:
        self._tell("CONFIG", "SET", setting, value)
        time.sleep(self._random.uniform(0.1, 0.5))
        return bool(self._tell("CONFIG", "SET", setting, before))

    def _cannot_save(self) -> bool:
        # A snapshot cannot take the place of a folder. The append-only file goes on.
        (self._server.folder / "dump.rdb").mkdir(exist_ok=True)
        self._tell("BGSAVE", "SCHEDULE")
        wait_until(lambda: self._tell("INFO", "persistence")["rdb_last_bgsave_status"] == "err", 10)
        return self._refuse("save", "900 1", "")

    def _read_only(self) -> bool:
        with socket.socket() as nobody:
            # Bound and not listened at: no server can be there, whose data this one would take.
            nobody.bind(("127.0.0.1", 0))
            self._tell("REPLICAOF", *nobody.getsockname())
            time.sleep(self._random.uniform(0.1, 0.5))
            return bool(self._tell("REPLICAOF", "NO", "ONE"))

    def _kill_client(self) -> bool:
        self._clients.kill(self._number() % len(self._clients.running))
        self._clients.start()
        return True

    def _stop_client(self) -> bool:
        place = self._number() % len(self._clients.running)
        self._clients.signal(place, signal.SIGSTOP)
        time.sleep(1.2 * LEASE_SEC)
        self._clients.signal(place, signal.SIGCONT)
        return True

    def _kill_worker(self) -> bool:
        agent_id = self._demo.one_of_the_workers(self._number(), self._stopped)
        return agent_id is not None and self._demo.signal(agent_id, signal.SIGKILL)

    def _stop_worker(self) -> bool:
        agent_id = self._demo.one_of_the_workers(self._number(), self._stopped)
        if agent_id is None or not self._demo.signal(agent_id, signal.SIGSTOP):
            return False
        time.sleep(1.2 * DEMO_LEASE_SEC)
        self._demo.signal(agent_id, signal.SIGCONT)
        return True

    def _number(self) -> int:
        return self._random.getrandbits(32)

    def _tell(self, *command: Any) -> Any:
        """Tell the server something past the proxy, once it has loaded what it had."""
        admin = connect(self._server.url, attempt_timeout_sec=10).client
        deadline = time.monotonic() + 30
        try:
            while True:
                try:
                    return admin.execute_command(*command)
                except BusyLoadingError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
        finally:
            admin.close()
