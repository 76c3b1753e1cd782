"""Compensations that one host at a time carries out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from dir_core.models import CompensationAction
from dir_core.saga import CompensationResult
from dir_core.saga import SagaCompensation as CoreSagaCompensation

from dir_redis.arguments import duration, identifier, string
from dir_redis.errors import (
    CorruptRecordError,
    LeaseLostError,
    StorageError,
    StorageUnavailableError,
    UnconfirmedWriteError,
)
from dir_redis.fleet_protocols import SagaClaimStorage
from dir_redis.keep_alive import KeepAlive
from dir_redis.kernel.arguments import callback, encoded
from dir_redis.kernel.storages import chosen_storage
from dir_redis.records import DirtyClaim
from dir_redis.run_once import new_owner
from dir_redis.sqlite import SqliteSagaStorage

logger = logging.getLogger(__name__)

_PAUSE_SEC = 0.1


class SagaCompensation(CoreSagaCompensation):
    """dir-core's compensations, safe between hosts (DIR §7).

    Args:
        db_path: a SQLite file of this package; counts without a storage.
        revert_callback: called with the flow and its partial state for REVERT; True if it is done.
        close_all_callback: called with the flow for CLOSE_ALL; True if it is done.
        alert_human_callback: called with the flow and its partial state for ALERT_HUMAN.
        storage: where the dirty flows are kept.
        lease_sec: how long a flow stays this host's after the host has died.
        owner: a name for others to see; host, process and a random part by default.

    Raises:
        TypeError: the storage lacks an atomic operation, or a callback cannot be called.
        ValueError: neither a file nor a storage is given.
    """

    def __init__(
        self,
        db_path: str | None = None,
        revert_callback: Callable[[str, Any], bool] | None = None,
        close_all_callback: Callable[[str], bool] | None = None,
        alert_human_callback: Callable[[str, Any], None] | None = None,
        *,
        storage: SagaClaimStorage | None = None,
        lease_sec: float = 30.0,
        owner: str | None = None,
    ) -> None:
        needs = ("claim_dirty", "renew_dirty", "release_dirty")
        chosen = chosen_storage(self, "saga", storage, db_path, SqliteSagaStorage, *needs)
        super().__init__(
            None, revert_callback, close_all_callback, alert_human_callback, storage=chosen
        )
        for name in ("revert_callback", "close_all_callback", "alert_human_callback"):
            if getattr(self, name) is not None:
                callback(name, getattr(self, name))
        self.lease_sec = duration("lease_sec", lease_sec)
        self.owner = new_owner() if owner is None else identifier("owner", owner)

    def mark_dirty(self, dfid: str, failed_step: str, partial_state: dict[str, Any]) -> None:
        """Note that a flow broke off half-way.

        Args:
            dfid: the flow.
            failed_step: where.
            partial_state: what it did until then; what JSON does not know becomes a string.

        Raises:
            TypeError: an argument has another type.
            ValueError: an argument cannot be stored.
        """
        dfid, failed_step = string("dfid", dfid), string("failed_step", failed_step)
        partial_state_json = encoded("partial_state", partial_state, default=str)
        self._storage.mark_dirty(dfid, failed_step, partial_state_json)
        logger.warning("Saga dirty: dfid=%s failed_step=%s", dfid, failed_step)

    def execute_compensation(self, dfid: str, action: CompensationAction) -> CompensationResult:
        """Compensate a flow, unless another is at it; a newer mark survives.

        The flow is claimed while the callback runs. A callback that returns False or raises leaves
        the flow dirty, for anybody to try again at once. Once it has returned True, a store that is
        away is asked for up to ``lease_sec`` to clear the flow.

        Args:
            dfid: the flow.
            action: what to do.

        Returns:
            As dir-core's. Also without success if the flow is being compensated elsewhere, or if
            the claim was lost while the callback ran: then the flow may still be dirty.

        Raises:
            StorageError: the store failed; after the callback, the flow may still be dirty.
            TypeError: the dfid or the action is no str.
        """
        # To the storage, None would be any flow.
        dfid, action = string("dfid", dfid), string("action", action)
        if action == CompensationAction.NOOP:
            return super().execute_compensation(dfid, action)
        asked = time.monotonic()
        claim = self._storage.claim_dirty(self.owner, self.lease_sec, dfid)
        if claim is None:
            if self.get_dirty_state(dfid) is None:
                return CompensationResult(success=False, message="Flow not in dirty state")
            return CompensationResult(success=False, message="Flow is being compensated elsewhere")
        flow = _ClaimedFlow(self._storage, claim, self.lease_sec, leased_at=asked)
        core = CoreSagaCompensation(
            None,
            self.revert_callback,
            self.close_all_callback,
            self.alert_human_callback,
            storage=flow,
        )
        try:
            with flow.kept_alive:
                result = core.execute_compensation(dfid, action)
        finally:
            flow.give_back()
        if flow.lost:
            return CompensationResult(
                success=False,
                message=f"{action} was done, but the claim on the flow was lost meanwhile: it was "
                "marked again or taken over, and may still be dirty",
            )
        return result


class _ClaimedFlow:
    """A flow under a claim: the storage on which dir-core's own class compensates it.

    Attributes:
        kept_alive: keeps the claim alive within a with block.
        lost: whether the flow could not be cleared, since the claim was somebody else's by then.
    """

    def __init__(
        self, storage: SagaClaimStorage, claim: DirtyClaim, lease_sec: float, *, leased_at: float
    ) -> None:
        self._storage = storage
        self._claim = claim
        self._lease_sec = lease_sec
        self._done = False
        self.lost = False
        self.kept_alive = KeepAlive(
            self._renew,
            lease_sec,
            record=f"compensation of {claim.dfid!r}",
            leased_at=leased_at,
        )

    def get_dirty_state(self, _dfid: str) -> dict[str, Any]:
        return {
            "failed_step": self._claim.failed_step,
            "partial_state": self._claim.partial_state,
        }

    def clear_dirty(self, dfid: str) -> None:
        """Clear the flow, or go on trying for as long as a lease; the claim is kept meanwhile.

        Giving up would have the compensation done twice.
        """
        self._done = True
        unsure = False
        deadline = time.monotonic() + self._lease_sec
        while True:
            try:
                self._storage.clear_dirty(dfid, epoch=self._claim.epoch)
                return
            except LeaseLostError:
                # Unless an earlier attempt, whose answer got lost, has cleared it.
                self.lost = not unsure or self._storage.get_dirty_state(dfid) is not None
                return
            except (CorruptRecordError, UnconfirmedWriteError):  # which no other attempt changes
                raise
            except StorageError as error:
                if time.monotonic() >= deadline:
                    raise
                if isinstance(error, StorageUnavailableError):
                    unsure = unsure or error.outcome_unknown
                logger.warning("the compensated flow %r is not cleared yet: %s", dfid, error)
                time.sleep(_PAUSE_SEC)

    def _renew(self) -> None:
        try:
            self._storage.renew_dirty(self._claim.dfid, self._claim.epoch, self._lease_sec)
        except LeaseLostError:
            # What is cleared cannot be renewed; whether the claim was lost, clearing says.
            if not self._done:
                raise

    def give_back(self) -> None:
        """Let others try at once what was not done; the claim ends by itself if that fails."""
        if self._done:
            return
        try:
            self._storage.release_dirty(self._claim.dfid, self._claim.epoch)
        except StorageError as error:
            logger.warning("the claim on %r was not given back: %s", self._claim.dfid, error)
