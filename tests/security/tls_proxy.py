"""A proxy that speaks TLS before a server that does not, and certificates for both sides."""

from __future__ import annotations

import contextlib
import datetime
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

TLS_HANDSHAKE = b"\x16"


class Authority:
    """A root that signed an intermediate, which signs servers and clients.

    Attributes:
        file: the root's certificate, which a client trusts.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._root = trustme.CA(organization_name="root of a test")
        self._intermediate = self._root.create_child_ca()
        self.file = folder / "root.pem"
        self._root.cert_pem.write_to_path(self.file)

    def certificate(self, *names: str, days: int = 1) -> Path:
        """A certificate with its key and the intermediate, in one file.

        Args:
            names: host names and addresses it is for.
            days: how long it is good for; negative for one that expired so long ago.
        """
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        issued = self._intermediate.issue_cert(
            *names, not_before=now - 30 * day, not_after=now + days * day
        )
        file = self._folder / f"{issued.cert_chain_pems[0].bytes()[40:60].hex()}-{days}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(file)
        return file

    def trust(self, context: ssl.SSLContext) -> None:
        self._root.configure_trust(context)


def self_signed(folder: Path) -> Path:
    """A certificate that says of itself that it is localhost's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file = folder / "self-signed.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    return file


class TlsProxy:
    """Passes bytes between its own port, where clients speak TLS or do not, and a server.

    That it takes both lets other servers reach the one behind it through it too.

    Attributes:
        port: where clients connect.
        tls_connections: how many have spoken TLS.
        plain_connections: how many have not.
    """

    def __init__(self, server_url: str, certificate: Path, port: int = 0) -> None:
        parts = urlsplit(server_url)
        self._server = (parts.hostname, parts.port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=100)
        self.port = int(self._listener.getsockname()[1])
        self.tls_connections = self.plain_connections = 0
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, host: str = "localhost", scheme: str = "rediss") -> str:
        return f"{scheme}://{host}:{self.port}"

    def present(self, certificate: Path) -> None:
        """Show this certificate to whoever connects from now on."""
        self._context.load_cert_chain(certificate)

    def demand_certificates(self, authority: Authority) -> None:
        """Let in from now on only clients with a certificate of the authority's."""
        authority.trust(self._context)
        self._context.verify_mode = ssl.CERT_REQUIRED

    def cut(self) -> None:
        """End all connections."""
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        # Closing alone would leave the port listening while accept() waits on it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.settimeout(10)
            inward = client
            if client.recv(1, socket.MSG_PEEK) == TLS_HANDSHAKE:
                inward = self._context.wrap_socket(
                    client, server_side=True, do_handshake_on_connect=False
                )
                if not _shakes_hands(inward):
                    return
                self.tls_connections += 1
            else:
                self.plain_connections += 1
            with inward, socket.create_connection(self._server) as outward:
                for one in (inward, outward):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open |= {inward, outward}
                try:
                    _pass_both_ways(inward, outward)
                finally:
                    self._open -= {inward, outward}


def _shakes_hands(client: ssl.SSLSocket) -> bool:
    """Whether both agree; if not, the client gets the time to read why."""
    try:
        client.do_handshake()
    except ssl.SSLError:
        with client:
            client.shutdown(socket.SHUT_WR)
            # Closing with something unread would take the alert from the client again.
            while client.recv(1 << 16):
                pass
        return False
    return True


def _pass_both_ways(inward: socket.socket, outward: socket.socket) -> None:
    """Until either end closes; in one thread, since two must not use one TLS connection at once."""
    while True:
        # What TLS has taken in already, select does not see.
        pending = isinstance(inward, ssl.SSLSocket) and inward.pending()
        readable = [inward] if pending else select.select([inward, outward], [], [])[0]
        for source, target in ((inward, outward), (outward, inward)):
            if source in readable:
                received = source.recv(1 << 16)
                if not received:
                    return
                target.sendall(received)


@contextlib.contextmanager
def tls_proxy(server_url: str, certificate: Path, port: int = 0) -> Iterator[TlsProxy]:
    """A proxy before a server for the time of a with block."""
    proxy = TlsProxy(server_url, certificate, port)
    try:
        yield proxy
    finally:
        proxy.close()
