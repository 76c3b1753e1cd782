"""The embedded server: its data, its life, and who may use it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dir_redis import (
    StorageConfigurationError,
    StorageUnavailableError,
    embedded_storage,
    open_storage,
)
from dir_redis.embedded import EmbeddedServer
from dir_redis.redis.connection import connect
from tests.redis_only.conftest import works
from tests.servers import wait_until


def test_an_embedded_store_with_a_path_keeps_its_data(tmp_path: Path) -> None:
    with open_storage(f"embedded:///{tmp_path}/data") as bundle:
        bundle.context.set_session("f", "[1]")

    with embedded_storage(tmp_path / "data") as again:
        assert again.context.get_session("f") == "[1]"


def test_an_embedded_store_is_open_to_other_processes() -> None:
    with embedded_storage() as bundle:
        bundle.context.set_session("f", "[1]")
        program = (
            "import sys; from dir_redis import open_storage\n"
            "with open_storage(sys.argv[1]) as b: print(b.context.get_session('f'))"
        )
        assert bundle.url is not None
        printed = subprocess.run(
            [sys.executable, "-c", program, bundle.url], capture_output=True, text=True, check=True
        )

    assert printed.stdout.strip() == "[1]"


def test_an_embedded_store_listens_on_no_port_and_only_its_user_may_open_the_socket() -> None:
    with EmbeddedServer() as server, connect(server.url, attempt_timeout_sec=5).client as raw:
        assert raw.config_get("port", "tls-port") == {"port": "0", "tls-port": "0"}
        assert raw.info("server")["tcp_port"] == 0
        socket = Path(server.url.removeprefix("unix://"))
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def test_an_embedded_store_stops_its_server_when_it_closes() -> None:
    bundle = embedded_storage()
    url = bundle.url
    bundle.close()
    bundle.close()

    assert url is not None
    assert not Path(url.removeprefix("unix://")).parent.exists()
    with pytest.raises(StorageUnavailableError):
        open_storage(url, timeout_sec=0.1)


def test_an_embedded_server_ends_with_its_program() -> None:
    program = (
        "from dir_redis.embedded import EmbeddedServer\n"
        "server = EmbeddedServer(); print(server.pid); print(server.url)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    pid, _ = printed.stdout.split()
    assert not Path(f"/proc/{pid}/exe").exists()


def test_an_embedded_folder_in_use_is_refused(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path), pytest.raises(StorageConfigurationError, match="in use"):
        EmbeddedServer(tmp_path)


def test_a_server_whose_program_was_killed_still_keeps_others_out_of_its_folder(
    tmp_path: Path,
) -> None:
    program = (
        "import os, signal, sys; from dir_redis.embedded import EmbeddedServer\n"
        "print(EmbeddedServer(sys.argv[1]).pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    orphan = int(killed.stdout)
    try:
        with pytest.raises(StorageConfigurationError, match=f"process id {orphan}"):
            EmbeddedServer(tmp_path)
    finally:
        os.kill(orphan, signal.SIGTERM)

    wait_until(lambda: opens(tmp_path), 10)


def opens(folder: Path) -> bool:
    """Whether an embedded server can be started on a folder."""
    try:
        EmbeddedServer(folder).close()
    except StorageConfigurationError:
        return False
    return True


def test_a_forked_child_cannot_close_its_parents_server() -> None:
    with embedded_storage() as bundle:
        child = os.fork()
        if child == 0:
            bundle.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

        assert bundle.url is not None
        with open_storage(bundle.url) as again:
            assert works(again)


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    with pytest.raises(StorageConfigurationError, match="no-such-directive"):
        EmbeddedServer(tmp_path, settings={"no-such-directive": "1"})
    EmbeddedServer(tmp_path).close()  # the folder is free again
