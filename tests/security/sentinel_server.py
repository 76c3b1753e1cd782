"""A Sentinel of a test's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from dir_redis.embedded import ServerProcess, valkey_binary
from tests.servers import free_ports

SERVICE = "fleet"


@contextlib.contextmanager
def sentinel(
    folder: Path, primary_port: int, *, password: str = "", primary_password: str = ""
) -> Iterator[str]:
    """A Sentinel that watches one primary; its URL, without TLS.

    Args:
        folder: where it keeps its files.
        primary_port: where the primary is, on loopback.
        password: what the Sentinel wants of its clients; empty for nothing.
        primary_password: what the primary wants of the Sentinel.
    """
    folder.mkdir()
    (port,) = free_ports(1)
    settings = folder / "sentinel.conf"
    lines = [
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary_port} 1",
    ]
    lines += [f"requirepass {password}"] if password else []
    lines += [f"sentinel auth-pass {SERVICE} {primary_password}"] if primary_password else []
    settings.write_text("\n".join(lines) + "\n")
    login = f":{password}@" if password else ""
    process = ServerProcess(
        valkey_binary(),
        [str(settings), "--sentinel"],
        url=f"redis://{login}127.0.0.1:{port}",
        folder=folder,
    )
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.stop()
