"""Steps that run once over all hosts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from dir_core.idempotency import IdempotencyGuard as CoreIdempotencyGuard
from dir_core.idempotency import idempotency_key

from dir_redis.arguments import duration, seconds, string
from dir_redis.fleet_protocols import RunOnceStorage
from dir_redis.kernel.arguments import callback
from dir_redis.kernel.storages import require
from dir_redis.run_once import Claim

logger = logging.getLogger(__name__)


class IdempotencyGuard(CoreIdempotencyGuard):
    """dir-core's idempotency guard, safe between hosts (DIR §7).

    Args:
        backend: where the results are kept.
        lease_sec: how long a step's claim outlives a dead process.
        wait_sec: how long to wait for a result that another caller is working on.
        ttl_sec: how long a result is kept; None for ever.

    Raises:
        TypeError: the backend lacks an atomic operation.
    """

    def __init__(
        self,
        backend: RunOnceStorage,
        *,
        lease_sec: float = 30.0,
        wait_sec: float = 60.0,
        ttl_sec: float | None = None,
    ) -> None:
        require("IdempotencyGuard", "idempotency", backend, "run_once")
        super().__init__(backend)
        self.lease_sec = duration("lease_sec", lease_sec)
        self.wait_sec = seconds("wait_sec", wait_sec)
        self.ttl_sec = None if ttl_sec is None else duration("ttl_sec", ttl_sec)

    def run(self, dfid: str, step_id: str, params: dict[str, Any], func: Callable[..., Any]) -> Any:
        """Run a step unless it was run, and return its result; others wait for it meanwhile.

        A step that raises is not done, and the next caller runs it.

        Args:
            dfid: the flow.
            step_id: the step, unique within the flow.
            params: the step's arguments, part of its identity: a JSON object.
            func: called with the arguments by name; returns any JSON value, None included.

        Returns:
            The JSON round trip of the step's result, whoever ran it.

        Raises:
            StepInProgressError: another caller had no result in time.
            LeaseLostError: the step was run here, but another took it over; their result counts.
            TypeError: func cannot be called, or the params are no dict with strings as keys, or
                hold what JSON does not know.
            ValueError: the params are no JSON object, or the result is none that can be stored.
        """
        callback("func", func)
        if not isinstance(params, dict):
            raise TypeError(f"params must be a dict, not {type(params).__name__}")
        named = {string("a key of params", name): value for name, value in params.items()}
        key = _key(string("dfid", dfid), string("step_id", step_id), named)
        ran = False

        def step(_claim: Claim) -> Any:
            nonlocal ran
            ran = True
            logger.info("[Idempotency] MISS key=%s... Executing.", key[:8])
            return func(**named)

        result = self.backend.run_once(
            key, step, lease_sec=self.lease_sec, wait_sec=self.wait_sec, ttl_sec=self.ttl_sec
        )
        if not ran:
            logger.info("[Idempotency] HIT key=%s...", key[:8])
        return result


def _key(dfid: str, step_id: str, params: dict[str, Any]) -> str:
    """dir-core's key, which is the same on all hosts.

    Raises:
        ValueError: the parameters are nested too deeply, or a name holds a lone surrogate.
    """
    try:
        return str(idempotency_key(dfid, step_id, params))
    except RecursionError as error:
        raise ValueError(f"params cannot be stored as JSON: {error}") from error
