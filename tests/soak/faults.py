"""The faults of a soak: how each is made, and undone."""

from __future__ import annotations

import os
import signal
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
from tests.soak.demo_fleet import LEASE_SEC as DEMO_LEASE_SEC
from tests.soak.demo_fleet import DemoFleet

# A script that keeps the server busy, and has written nothing, so that it can be killed.
_SLOW = "local ends = tonumber(ARGV[1]) while redis.call('TIME')[1] + 0 < ends do end return 1"


class Faults:
    """Everything that can be done to a fleet and its server.

    Args:
        server: the server.
        proxy: what the clients reach it through.
        clients: those who keep journals.
        demo: the demo's fleet.
        random: the choices within a fault.
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
        self.of_the_store: dict[str, Callable[[], None]] = {
            "replies lost": lambda: self._lose("reply"),
            "replies cut in half": lambda: self._lose("half a reply"),
            "replies that never come": lambda: self._lose("no reply"),
            "requests lost": lambda: self._lose("request"),
            "requests cut in half": lambda: self._lose("half a request"),
            "links cut": self._cut_links,
            "line dead for a while": self._hold_links,
            "scripts forgotten": lambda: self._tell("SCRIPT", "FLUSH"),
            "connections killed": lambda: self._tell("CLIENT", "KILL", "TYPE", "normal"),
            "server killed and restarted": self._kill_server,
            "server stopped for a while": self._stop_server,
            "server busy with a script": self._slow_script,
            "server out of memory": self._out_of_memory,
        }
        self.of_clients: dict[str, Callable[[], None]] = {
            "client killed": self._kill_client,
            "client stopped beyond its lease": self._stop_client,
            "demo's worker killed": self._kill_worker,
            "demo's worker stopped beyond its lease": self._stop_worker,
        }
        self.kinds = {**self.of_the_store, **self.of_clients}

    def _lose(self, what: str) -> None:
        count = self._random.choice((1, 3, 40))
        if "request" in what:
            self._proxy.lose_requests(count, to=b"EVAL", half="half" in what)
        else:
            self._proxy.lose_replies(count, to=b"EVAL", half="half" in what, silent="no" in what)
        time.sleep(0.3)
        self._proxy.lose_nothing()

    def _cut_links(self) -> None:
        door = int(self._proxy.url.rpartition(":")[2])
        self._proxy.cut(door)
        time.sleep(self._random.uniform(0, 0.4))
        self._proxy.restore()

    def _hold_links(self) -> None:
        door = int(self._proxy.url.rpartition(":")[2])
        self._proxy.hold(door)
        time.sleep(self._random.uniform(0.1, 0.5))
        self._proxy.restore()

    def _kill_server(self) -> None:
        self._server.kill()
        time.sleep(self._random.choice((0, 0.3)))
        self._server.start()

    def _stop_server(self) -> None:
        assert self._server.process is not None
        pid = self._server.process.pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self._random.uniform(0.1, 0.6))
        os.kill(pid, signal.SIGCONT)

    def _slow_script(self) -> None:
        ends = int(time.time()) + 2
        waiting = threading.Thread(target=self._tell, args=("EVAL", _SLOW, 0, ends))
        waiting.start()  # the server answers BUSY after busy-reply-threshold
        waiting.join()

    def _out_of_memory(self) -> None:
        self._tell("CONFIG", "SET", "maxmemory", "1")
        time.sleep(self._random.uniform(0.1, 0.5))
        self._tell("CONFIG", "SET", "maxmemory", "0")

    def _kill_client(self) -> None:
        self._clients.kill(self._random.randrange(len(self._clients.running)))
        self._clients.start()

    def _stop_client(self) -> None:
        place = self._random.randrange(len(self._clients.running))
        self._clients.signal(place, signal.SIGSTOP)
        time.sleep(1.2 * LEASE_SEC)
        self._clients.signal(place, signal.SIGCONT)

    def _kill_worker(self) -> None:
        agent_id = self._demo.one_of_the_workers(self._random, self._stopped)
        if agent_id is not None:
            self._demo.signal(agent_id, signal.SIGKILL)

    def _stop_worker(self) -> None:
        agent_id = self._demo.one_of_the_workers(self._random, self._stopped)
        if agent_id is not None:
            self._demo.signal(agent_id, signal.SIGSTOP)
            time.sleep(1.2 * DEMO_LEASE_SEC)
            self._demo.signal(agent_id, signal.SIGCONT)

    def _tell(self, *command: Any) -> None:
        """Tell the server something past the proxy, once it has loaded what it had."""
        admin = connect(self._server.url, attempt_timeout_sec=10).client
        deadline = time.monotonic() + 30
        try:
            while True:
                try:
                    admin.execute_command(*command)
                    return
                except BusyLoadingError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
        finally:
            admin.close()
