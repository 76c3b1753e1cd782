"""Sentinels that keep the reason why none of them names a primary; redis-py's forget it."""

from __future__ import annotations

from typing import Any

import redis
from redis.sentinel import MasterNotFoundError, Sentinel


class Sentinels(Sentinel):
    """As redis-py's, but for what an error of theirs tells: no client's state, and its cause."""

    def __init__(
        self, addresses: list[tuple[str, int]], sentinel_kwargs: dict[str, Any], **settings: Any
    ) -> None:
        super().__init__(addresses, sentinel_kwargs=sentinel_kwargs, **settings)  # type: ignore[no-untyped-call]

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the address of a service's primary.

        Raises:
            MasterNotFoundError: no Sentinel can be reached, or none knows a primary that is up.
        """
        reason: Exception | None = None
        for number, one in enumerate(self.sentinels):
            try:
                primaries: Any = one.sentinel_masters()
            except redis.RedisError as error:  # one that refuses is no reason not to ask the next
                reason = error
                continue
            state = primaries.get(service_name)
            if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                self.sentinels.insert(0, self.sentinels.pop(number))  # the first to be asked next
                return state["ip"], state["port"]
        raise MasterNotFoundError(f"No master found for {service_name!r}") from reason
