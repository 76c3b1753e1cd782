"""Renewing a lease while its owner works, and telling the owner when it was lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from dir_redis.errors import LeaseLostError

logger = logging.getLogger(__name__)


class KeepAlive:
    """Renews a lease at every third of it, on a thread of its own, within a with block.

    A renewal that fails because the store cannot be reached is tried again, at every ninth; the
    lease counts as lost when the store says so, or when it has run out by this process's clock
    without a renewal.

    A renewal that could not be confirmed as durable (UnconfirmedWriteError) is none, though the
    server applied it: so did perhaps an old primary that is cut off, while the new one gives the
    same to others.

    Args:
        renew: renews the lease; raises LeaseLostError when it is somebody else's.
        lease_sec: the lease's length, seconds.
        record: what is leased, for the log.
        on_lost: called once, on the renewing thread, when the lease is lost.
        leased_at: when the lease began, by ``time.monotonic()``; None for now.
    """

    def __init__(
        self,
        renew: Callable[[], object],
        lease_sec: float,
        *,
        record: str,
        on_lost: Callable[[], object] | None = None,
        leased_at: float | None = None,
    ) -> None:
        self._renew = renew
        self._lease_sec = lease_sec
        self._record = record
        self._on_lost = on_lost
        self._runs_out = (time.monotonic() if leased_at is None else leased_at) + lease_sec
        self._stopping = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(
            target=self._keep, name=f"keep-alive of the {record}", daemon=True
        )

    @property
    def lost(self) -> bool:
        """Whether the lease was lost while it was being kept.

        True as soon as the lease has run out by this process's clock, also while a renewal hangs
        or right after the process stood still; ``on_lost`` is called when that renewal has ended.
        """
        return self._lost.is_set() or (
            not self._stopping.is_set() and time.monotonic() >= self._runs_out
        )

    def stop(self) -> None:
        """Renew no more; further calls do nothing."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> KeepAlive:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _keep(self) -> None:
        third = self._lease_sec / 3
        next_attempt = self._runs_out - 2 * third
        while not self._stopping.wait(max(0.0, next_attempt - time.monotonic())):
            asked = time.monotonic()
            try:
                self._renew()
            except LeaseLostError:
                break
            except Exception as error:  # whatever it is, the owner must hear of it in time
                if time.monotonic() >= self._runs_out:
                    break
                logger.warning("the lease of the %s was not renewed: %s", self._record, error)
                next_attempt = min(time.monotonic() + third / 3, self._runs_out)
            else:
                # The store's lease began after the question, so it ends no earlier than this.
                self._runs_out = asked + self._lease_sec
                next_attempt = asked + third
        if self._stopping.is_set():
            return
        self._lost.set()
        logger.error("the lease of the %s is lost", self._record)
        if self._on_lost is not None:
            self._on_lost()
