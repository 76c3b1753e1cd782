"""A TCP proxy before a server that can lose replies and requests when a test says so."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit


class FaultProxy:
    """Passes bytes both ways between its own port and a server, but for the faults ordered.

    Attributes:
        url: where clients connect.
    """

    def __init__(self, server_url: str) -> None:
        parts = urlsplit(server_url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._replies_to_lose = 0
        self._half_replies = False
        self._requests_to_lose = 0
        self._trigger = b""
        self._open: set[socket.socket] = set()
        self._closing = False
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_replies(self, count: int, *, to: bytes, half: bool = False) -> None:
        """Cut the connection in place of (or half-way through) the next replies.

        Args:
            count: how many replies.
            to: bytes in the request whose reply is meant, such as ``b"EVALSHA"``.
            half: whether the first byte of the reply still passes.
        """
        with self._lock:
            self._replies_to_lose, self._trigger, self._half_replies = count, to, half

    def lose_requests(self, count: int, *, to: bytes) -> None:
        """Cut the connection in place of passing on the next requests that hold some bytes."""
        with self._lock:
            self._requests_to_lose, self._trigger = count, to

    def refuse_connections(self) -> None:
        """Let no new connection be made; those that there are go on."""
        self._closing = True
        # Closing alone would leave the port listening while accept() waits on it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def close(self) -> None:
        self.refuse_connections()
        for one in list(self._open):
            one.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), socket.create_connection(self._server) as server, client:
            self._open |= {client, server}
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lose_next = threading.Event()
            replies = threading.Thread(
                target=self._pass_replies, args=(server, client, lose_next), daemon=True
            )
            replies.start()
            while request := client.recv(1 << 20):
                if self._takes("_requests_to_lose", request):
                    break
                # Commands come one at a time on a connection: the next reply is this one's.
                if self._takes("_replies_to_lose", request):
                    lose_next.set()
                server.sendall(request)
            for one in (client, server):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            replies.join()

    def _pass_replies(
        self, server: socket.socket, client: socket.socket, lose_next: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while reply := server.recv(1 << 20):
                if lose_next.is_set():
                    if self._half_replies:
                        client.sendall(reply[:1])
                    break
                client.sendall(reply)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _takes(self, counter: str, request: bytes) -> bool:
        """Whether a fault is ordered for the request; counts it down."""
        with self._lock:
            left = getattr(self, counter)
            if not left or self._trigger not in request:
                return False
            setattr(self, counter, left - 1)
            return True


@contextlib.contextmanager
def fault_proxy(server_url: str) -> Iterator[FaultProxy]:
    """A proxy before a server for the time of a with block."""
    proxy = FaultProxy(server_url)
    try:
        yield proxy
    finally:
        proxy.close()
