"""Looking through all keys of a namespace, or all ids of one index; for what has no index.

Only copying and verifying a whole store do that; neither is a hot path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dir_redis.redis.driver import RedisDriver
from dir_redis.redis.steps import Call, Steps

# About so many keys are looked at by one call of a scan.
KEYS_AT_ONCE = 1000


def scan_keys(driver: RedisDriver, routes: Iterable[str], pattern: str) -> Iterator[str]:
    """Find the keys of a pattern, each at least once if it is there all the time.

    Args:
        driver: what reaches the server.
        routes: any key of each partition; the servers that have them are looked through.
        pattern: the pattern, as of SCAN.

    Returns:
        The keys; a byte that is no UTF-8 stands in them as a lone surrogate.
    """
    scanned: set[str] = set()
    for route in routes:
        yield from _scan(driver, route, pattern, scanned)


def scan_members(driver: RedisDriver, key: str) -> Iterator[str]:
    """Find the fields of a hash, or the members of a sorted set, likewise."""
    return _scan(driver, key, "", set())


def _scan(driver: RedisDriver, route: str, pattern: str, scanned: set[str]) -> Iterator[str]:
    """Scan the server that has a key, or what is at the key.

    Args:
        driver: what reaches the server.
        route: the key.
        pattern: the pattern; empty for what is at the key.
        scanned: the servers that are done, to which this one is added.
    """
    server, place = "", "0"
    while True:
        call = Call("migrate_scan", (route,), (place, pattern, KEYS_AT_ONCE))
        process, place, *names = map(_text, driver.run(_ask(call)))
        # Where it does not say, each partition is looked for by itself.
        process = process or route
        if process in scanned:
            return
        if server not in ("", process):
            # Another server has taken over: the place meant nothing to it.
            server, place = process, "0"
            continue
        server = process
        yield from names
        if place == "0":
            scanned.add(server)
            return


def _ask(request: Call) -> Steps[Any]:
    return (yield request)


def _text(value: Any) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)
