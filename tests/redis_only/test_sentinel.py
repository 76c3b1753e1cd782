"""Whom a store asks for the primary of a Sentinel service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.sentinel import MasterNotFoundError

from dir_redis.redis.sentinel import Sentinels

ADDRESSES = [("127.0.0.1", 1), ("127.0.0.1", 2), ("127.0.0.1", 3)]
FOUND = {
    **{"ip": "127.0.0.1", "port": 6379, "num-other-sentinels": 2},
    **{"is_master": True, "is_sdown": False, "is_odown": False},
}
TROUBLES = {
    "away": redis.ConnectionError("Connection refused"),
    "silent": redis.TimeoutError("Timeout reading from socket"),
    "loading": redis.BusyLoadingError("Redis is loading the dataset in memory"),
    "not permitted": redis.exceptions.NoPermissionError("NOPERM this user has no permissions"),
    "another password": redis.AuthenticationError("WRONGPASS invalid username-password pair"),
    "no Sentinel": redis.ResponseError("unknown command 'SENTINEL'"),
}


def telling(answer: object) -> Callable[[], Any]:
    def sentinel_masters() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return sentinel_masters


def sentinels(*answers: object) -> Any:
    """Sentinels that answer so, one after the other; nothing is sent."""
    made: Any = Sentinels(ADDRESSES, {})
    for one, answer in zip(made.sentinels, answers, strict=True):
        one.sentinel_masters = telling(answer)
    return made


@pytest.mark.parametrize("trouble", TROUBLES)
def test_one_that_does_not_tell_is_no_reason_not_to_ask_the_next(trouble: str) -> None:
    service = sentinels(TROUBLES[trouble], {"another": FOUND}, {"dir": FOUND})
    last = service.sentinels[2]

    assert service.discover_master("dir") == ("127.0.0.1", 6379)
    assert service.sentinels[0] is last  # whom to ask first next time


@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_reason_is_kept_why_none_of_them_tells(trouble: str) -> None:
    service = sentinels(*[TROUBLES[trouble]] * 3)

    with pytest.raises(MasterNotFoundError) as caught:
        service.discover_master("dir")

    assert caught.value.__cause__ is TROUBLES[trouble]
