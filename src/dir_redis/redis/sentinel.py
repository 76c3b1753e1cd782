"""Sentinels that keep the reason why none of them names a primary; redis-py's forget it."""

from __future__ import annotations

from typing import Any

from redis.sentinel import MasterNotFoundError, Sentinel

from dir_redis.redis.faults import DRIVER_ERRORS, diagnose


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
        answered = False
        known: set[str] = set()
        errors: list[Exception] = []
        sentinels = tuple(self.sentinels)  # another thread may put another one first meanwhile
        for one in sentinels:
            try:
                primaries: Any = one.sentinel_masters()
            except DRIVER_ERRORS as error:  # one that refuses is no reason not to ask the next
                errors.append(error)
                continue
            state = primaries.get(service_name)
            if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                # The first to be asked next; in a new list, as others may go through the old one.
                self.sentinels = [one, *(other for other in sentinels if other is not one)]
                return state["ip"], state["port"]
            answered = True
            known.update(primaries)
        if service_name in known:
            raise MasterNotFoundError(f"the Sentinels see no primary of {service_name!r} up")
        if answered:
            raise MasterNotFoundError(
                f"the Sentinels answer, but know no service {service_name!r} "
                f"(they know: {', '.join(sorted(known)) or 'none'})"
            )
        # One that may answer yet is worth another try, whatever the others refuse.
        passing = [error for error in errors if _may_pass(error)]
        reason = (passing or errors)[0]
        raise MasterNotFoundError(f"no Sentinel answered: {reason}") from reason


def _may_pass(error: Exception) -> bool:
    return diagnose(error, fails_over=True, single_attempt=True).passing
