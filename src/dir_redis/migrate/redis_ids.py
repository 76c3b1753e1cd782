"""Finding the ids of all records of a kind on Redis: by an order, in a hash, or among all keys.

Only copying looks through all keys of every primary; it is no hot path.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from dir_redis.migrate.paging import PAGE
from dir_redis.migrate.redis_form import Form
from dir_redis.redis.driver import RedisDriver
from dir_redis.redis.keys import Keys
from dir_redis.redis.replies import scored_pairs
from dir_redis.redis.scanning import scan_keys, scan_members
from dir_redis.redis.steps import Command, Request, Steps


class StoredIds:
    """The ids of a namespace's records.

    Args:
        keys: the namespace's keys.
        driver: what reaches the server.
    """

    def __init__(self, keys: Keys, driver: RedisDriver) -> None:
        self._keys = keys
        self._driver = driver

    def of(self, form: Form[Any]) -> Iterator[str]:
        """Find the ids of all records of a form, each once, in their order if there is one.

        Of each id 16 bytes are remembered, since a scan may find a key twice.
        """
        return _once(self._found(form))

    def _found(self, form: Form[Any]) -> Iterator[str]:
        if form.ordered:
            indices = self._keys.in_each_partition(form.ordered)
            page = max(100, 2 * PAGE // len(indices))
            merged = heapq.merge(*(self._scored(index, page) for index in indices))
            yield from (member for _, member in merged)
        if form.hashed:
            yield from scan_members(self._driver, self._keys.in_each_partition(form.hashed)[0])
        for kind in form.scanned:
            routes = self._keys.in_each_partition(kind)
            for key in scan_keys(self._driver, routes, self._keys.pattern(kind)):
                # Another key that looks alike leads to nothing, or to a record found anyway.
                if found := self._keys.identifier_in(key, kind):
                    yield found

    def _scored(self, index: str, page: int) -> Iterator[tuple[float, str]]:
        """Scores and members of a sorted set, in pages, also while the first of them leave it."""
        score, seen = "-inf", 0
        while True:
            words = (score, "+inf", "WITHSCORES", "LIMIT", seen, page)
            pairs = self._driver.run(_scored_pairs(Command("ZRANGEBYSCORE", index, words)))
            yield from pairs
            if len(pairs) < page:
                return
            last = pairs[-1][0]
            alike = sum(one == last for one, _ in pairs)
            seen = alike + (seen if alike == len(pairs) else 0)
            score = repr(last)


def _scored_pairs(request: Request) -> Steps[list[tuple[float, str]]]:
    return scored_pairs((yield request))


def _once(ids: Iterable[str]) -> Iterator[str]:
    seen: set[bytes] = set()
    for one in ids:
        digest = hashlib.blake2b(one.encode(), digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            yield one
