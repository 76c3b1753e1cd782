"""A TCP proxy before servers that loses requests and replies and cuts links when told to."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

# What a fault does to one request or reply: nothing of it passes and the connection is cut, half
# of it passes and the connection is cut, or nothing passes any more and the connection stays open.
How = Literal["cut", "half", "silent"]

_HOST = "127.0.0.1"
_CHUNK = 1 << 20
EVERYBODY = ""


@dataclass
class _Order:
    """A fault to come: it befalls the next requests that hold some bytes, or their replies."""

    left: int
    to: bytes
    how: How
    hit: int = 0


@dataclass(eq=False)
class _Link:
    """One connection through a door."""

    source: str
    from_client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    from_server: asyncio.StreamReader
    to_server: asyncio.StreamWriter
    lost: How | None = None


@dataclass(eq=False)
class _Door:
    """A port of the proxy, and the server behind it."""

    port: int
    server_port: int
    listener: asyncio.Server | None = None
    delay_sec: float = 0.0
    cut: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    links: set[_Link] = field(default_factory=set)


class FaultProxy:
    """Passes bytes between its doors and the servers behind them, but for the faults ordered.

    A door is a port. Faults of requests and replies are ordered for all doors together, whichever
    the next client takes; links are cut at one door, for all who come or for those of some source
    addresses: on Linux each server may have its own within 127.0.0.0/8.

    Attributes:
        url: where clients connect, if it was made for one server.
    """

    def __init__(self, server_url: str | None = None) -> None:
        self._lock = threading.Lock()
        self._orders: dict[str, _Order] = {}
        self._doors: dict[int, _Door] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = ""
        if server_url is not None:
            port = urlsplit(server_url).port
            assert port is not None
            self.url = f"redis://{_HOST}:{self.open(port)}"

    # --- requests and replies

    def lose_replies(
        self, count: int, *, to: bytes, half: bool = False, silent: bool = False
    ) -> None:
        """Cut the connection in place of the next replies.

        Args:
            count: how many replies.
            to: bytes in the request whose reply is meant, such as ``b"EVALSHA"``.
            half: whether the first half of the reply still passes.
            silent: whether the connection stays open instead, and nothing comes any more.
        """
        how: How = "half" if half else "silent" if silent else "cut"
        with self._lock:
            self._orders["reply"] = _Order(count, to, how)

    def lose_requests(self, count: int, *, to: bytes, half: bool = False) -> None:
        """Cut the connection in place of the next requests that hold some bytes, or half-way."""
        with self._lock:
            self._orders["request"] = _Order(count, to, "half" if half else "cut")

    def lost(self) -> bool:
        """Whether all that was ordered to be lost has been."""
        with self._lock:
            return not any(order.left for order in self._orders.values())

    def lose_nothing(self) -> int:
        """Forget what was ordered for requests and replies; how many of them it has hit."""
        with self._lock:
            hit = sum(order.hit for order in self._orders.values())
            self._orders.clear()
        return hit

    # --- doors and links

    def open(self, server_port: int, port: int = 0) -> int:
        """A new door before a server, which need not run yet; its port, any if 0 is asked for."""
        return self._do(self._open(server_port, port))

    def refuse_connections(self, port: int | None = None) -> None:
        """Let no new connection be made, at one door or any; those that there are go on."""
        for door in self._doors.values() if port is None else [self._doors[port]]:
            self._do(self._refuse(door))

    def accept_connections(self, port: int) -> None:
        """Let connections be made again after they were refused."""
        self._do(self._listen(self._doors[port]))

    def cut(self, port: int, *sources: str) -> None:
        """Cut all connections through a door, or those from some addresses, and each new one."""
        self._do(self._cut(self._doors[port], sources or (EVERYBODY,)))

    def hold(self, port: int, *sources: str) -> None:
        """Hold back all bytes at a door, or those of some addresses, as a dead line does."""
        self._do(self._hold(self._doors[port], sources or (EVERYBODY,)))

    def delay(self, port: int, seconds: float) -> None:
        """Have each reply come so much later."""
        self._doors[port].delay_sec = seconds

    def connections(self, port: int, source: str) -> int:
        """How many connections from an address go through a door."""
        return sum(link.source == source for link in list(self._doors[port].links))

    def restore(self) -> None:
        """Undo every fault: connections are made again, and what was held back passes."""
        self.lose_nothing()
        self._do(self._restore())

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- within the loop

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self, server_port: int, port: int) -> int:
        door = _Door(port, server_port)
        await self._listen(door)
        self._doors[door.port] = door
        return door.port

    async def _listen(self, door: _Door) -> None:
        if door.listener is None:

            def serve(
                from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
            ) -> Coroutine[Any, Any, None]:
                # Before its task begins, which may be never.
                self._writers.add(to_client)
                return self._serve(door, from_client, to_client)

            door.listener = await asyncio.start_server(serve, _HOST, door.port)
            door.port = door.listener.sockets[0].getsockname()[1]

    async def _refuse(self, door: _Door) -> None:
        if door.listener is not None:
            listener, door.listener = door.listener, None
            for one in listener.sockets:
                self._loop.remove_reader(one.fileno())
            await _a_few_turns()  # asyncio leaks a connection that is being accepted now
            listener.close()

    async def _cut(self, door: _Door, sources: tuple[str, ...]) -> None:
        door.cut.update(sources)
        for link in door.links:
            if _meant(door.cut, link.source):
                link.to_client.transport.abort()
                link.to_server.transport.abort()

    async def _hold(self, door: _Door, sources: tuple[str, ...]) -> None:
        door.held.update(sources)

    async def _restore(self) -> None:
        for door in self._doors.values():
            door.delay_sec = 0.0
            door.cut.clear()
            door.held.clear()
            door.released.set()
            door.released = asyncio.Event()
            await self._listen(door)

    async def _close(self) -> None:
        for door in self._doors.values():
            await self._refuse(door)
        await _a_few_turns()  # those that were just accepted come to be served
        for writer in self._writers:
            writer.transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks, timeout=1)

    async def _serve(
        self, door: _Door, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        source = (to_client.get_extra_info("peername") or [EVERYBODY])[0]
        to_server: asyncio.StreamWriter | None = None
        try:
            if not _meant(door.cut, source):
                from_server, to_server = await asyncio.open_connection(_HOST, door.server_port)
                self._writers.add(to_server)
                link = _Link(source, from_client, to_client, from_server, to_server)
                await self._pass(door, link)
        except OSError:
            pass
        finally:
            for writer in (to_client, to_server):
                if writer is not None:
                    self._writers.discard(writer)
                    writer.close()

    async def _pass(self, door: _Door, link: _Link) -> None:
        door.links.add(link)
        both = [
            asyncio.create_task(self._pass_requests(door, link)),
            asyncio.create_task(self._pass_replies(door, link)),
        ]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if any(one.exception() for one in done):  # the server is gone; what it sent is not
                await asyncio.wait(both, timeout=1)
        finally:
            door.links.discard(link)
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _pass_requests(self, door: _Door, link: _Link) -> None:
        while request := await link.from_client.read(_CHUNK):
            await self._until_released(door, link)
            how = self._take("request", request)
            if how == "half":
                link.to_server.write(request[: len(request) // 2])
                await link.to_server.drain()
            if how is not None:
                return
            # Commands come one at a time on a connection: the next reply is this one's.
            link.lost = link.lost or self._take("reply", request)
            link.to_server.write(request)
            await link.to_server.drain()

    async def _pass_replies(self, door: _Door, link: _Link) -> None:
        while reply := await link.from_server.read(_CHUNK):
            if door.delay_sec:
                await asyncio.sleep(door.delay_sec)
            await self._until_released(door, link)
            if link.lost == "silent":
                continue
            if link.lost == "half":
                link.to_client.write(reply[: max(1, len(reply) // 2)])
                await link.to_client.drain()
            if link.lost is not None:
                return
            link.to_client.write(reply)
            await link.to_client.drain()

    @staticmethod
    async def _until_released(door: _Door, link: _Link) -> None:
        while _meant(door.held, link.source):
            await door.released.wait()

    def _take(self, kind: str, request: bytes) -> How | None:
        """The fault that is ordered for a request or its reply, if any; counts it down."""
        with self._lock:
            order = self._orders.get(kind)
            if order is None or not order.left or order.to not in request:
                return None
            order.left -= 1
            order.hit += 1
            return order.how


async def _a_few_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _meant(sources: set[str], source: str) -> bool:
    return EVERYBODY in sources or source in sources


@contextlib.contextmanager
def fault_proxy(server_url: str) -> Iterator[FaultProxy]:
    """A proxy before a server for the time of a with block."""
    proxy = FaultProxy(server_url)
    try:
        yield proxy
    finally:
        proxy.close()
