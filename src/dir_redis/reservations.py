"""A reservation as its holder has it, and as others see it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from dir_redis.arguments import duration
from dir_redis.errors import (
    LeaseLostError,
    StorageError,
    StorageUnavailableError,
    UnconfirmedWriteError,
)
from dir_redis.keep_alive import KeepAlive

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from dir_redis.fleet_protocols import LeaseStorage


class Holder(NamedTuple):
    """Who holds how much of a resource.

    Attributes:
        dfid: the flow.
        amount: what it holds, exactly.
        since: when it first got some of it, UTC, by the store's clock.
        until: when its lease runs out; None without a lease.
        fencing_token: the token of its latest ``reserve``; None if it only ever acquired.
    """

    dfid: str
    amount: Decimal
    since: datetime
    until: datetime | None
    fencing_token: int | None


class Reservation:
    """What ``reserve`` granted; a context manager that releases it.

    Leaving the block raises :class:`~dir_redis.LeaseLostError` if the reservation was lost while
    the block ran: the work in it was not protected to its end.

    Attributes:
        dfid: the flow that holds it.
        resources: the amounts granted by ``reserve``, exactly, by resource_id.
        fencing_token: larger than every token given out before it in the namespace. Hand it to
            whatever the reservation protects, which refuses tokens smaller than one it has seen.
        expires_at: when the lease runs out, UTC, by the store's clock; None without a lease.
    """

    def __init__(
        self,
        storage: LeaseStorage,
        dfid: str,
        resources: Mapping[str, Decimal],
        fencing_token: int,
        expires_at: datetime | None,
        lease_sec: float | None,
        *,
        leased_at: float,
    ) -> None:
        self._storage = storage
        self._lease_sec = lease_sec
        # Before the grant by this process's clock: the lease may have begun that early.
        self._leased_at = leased_at
        self._pid = os.getpid()
        self._release_may_have_happened = False
        self._keep_alive: KeepAlive | None = None
        self._released = False
        self.dfid = dfid
        self.resources = dict(resources)
        self.fencing_token = fencing_token
        self.expires_at = expires_at

    def __repr__(self) -> str:
        return (
            f"Reservation(dfid={self.dfid!r}, resources={self.resources!r}, "
            f"fencing_token={self.fencing_token}, expires_at={self.expires_at})"
        )

    def renew(self, lease_sec: float | None = None) -> datetime:
        """Let the lease run anew from now.

        A keep-alive goes on with the length it began with.

        Args:
            lease_sec: how long, seconds; as long as before by default.

        Returns:
            When it runs out now.

        Raises:
            LeaseLostError: it is not held any more.
            ValueError: it has no lease, and none is given.
        """
        length = self._lease_sec if lease_sec is None else duration("lease_sec", lease_sec)
        if length is None:
            raise ValueError("the reservation has no lease to renew; give lease_sec")
        asked = time.monotonic()
        expires_at = self._renew(length)
        self._leased_at, self._lease_sec = asked, length
        return expires_at

    def keep_alive(self, *, on_lost: Callable[[], object] | None = None) -> Reservation:
        """Renew the lease at every third of it, on a thread, until it is released or lost.

        Further calls, and calls after the release, do nothing. A renewal that is not confirmed,
        where the store's durability asks for that, does not keep it.

        Args:
            on_lost: called once, on that thread, when the lease is lost.

        Returns:
            The reservation itself, for ``with locks.reserve(...).keep_alive() as reservation:``.

        Raises:
            ValueError: it has no lease.
        """
        if self._lease_sec is None:
            raise ValueError("the reservation has no lease to keep alive; reserve with lease_sec")
        if self._keep_alive is None and not self._released:
            self._keep_alive = KeepAlive(
                partial(self._renew, self._lease_sec),
                self._lease_sec,
                record=f"reservation of {self.dfid!r}",
                on_lost=on_lost,
                leased_at=self._leased_at,
            )
            self._keep_alive.__enter__()
        return self

    @property
    def lost(self) -> bool:
        """Whether the keep-alive found the lease lost; look at it before every step of the work."""
        return self._keep_alive is not None and self._keep_alive.lost

    def settle(self, used: Mapping[str, float | Decimal]) -> None:
        """Give back what was not used; see :meth:`~dir_redis.LeaseStorage.settle`."""
        self._storage.settle(self.dfid, used, fencing_token=self.fencing_token)

    def detach(self) -> None:
        """Renew no more and release nothing when the block is left: others see to it.

        For work that ends by :meth:`~dir_redis.FlowStatusStorage.close_flow`, which releases what
        the flow holds, or that another process goes on with. ``release`` does nothing any more.
        """
        if self._keep_alive is not None:
            self._keep_alive.stop()
        self._released = True

    def release(self) -> None:
        """Give all of it back; further calls do nothing.

        Raises:
            LeaseLostError: it was not held any more.
            UnconfirmedWriteError: it is released, and a failover may bring it back.
        """
        if self._released:
            return
        if self._keep_alive is not None:
            self._keep_alive.stop()
        try:
            self._storage.release(self.dfid, fencing_token=self.fencing_token)
        except StorageUnavailableError as error:
            self._release_may_have_happened |= error.outcome_unknown
            raise
        except UnconfirmedWriteError:
            self._released = True
            raise
        except LeaseLostError:
            if not self._release_may_have_happened:
                raise
        self._released = True

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if os.getpid() != self._pid:
            return  # a forked child: the reservation is its parent's
        try:
            self.release()
        except StorageError as failure:
            if error is None:
                raise
            logger.warning(
                "after an error the reservation of %r was not released for certain: %s",
                self.dfid,
                failure,
            )

    def _renew(self, lease_sec: float) -> datetime:
        self.expires_at = self._storage.renew(self.dfid, self.fencing_token, lease_sec)
        return self.expires_at
