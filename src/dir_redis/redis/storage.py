"""What all Redis storages have: an opened namespace, and the driver that runs their steps."""

from __future__ import annotations

from typing import Unpack

from dir_redis.redis.store import RedisOptions, RedisStore


class RedisStorage:
    """A storage on Redis; each class on it serves one Protocol, alone or in a bundle.

    Args:
        url_or_client: a URL as in :func:`dir_redis.open_storage`, a redis-py or fakeredis
            client, or a RedisStore that several storages share.
        options: see :class:`dir_redis.redis.store.RedisOptions`.
    """

    def __init__(self, url_or_client: object, **options: Unpack[RedisOptions]) -> None:
        self._store = (
            url_or_client
            if isinstance(url_or_client, RedisStore)
            else RedisStore(url_or_client, **options)
        )
        self._keys = self._store.keys
        self._driver = self._store.driver
        self._limits = self._store.limits

    def init_schema(self) -> None:
        """Make sure the namespace is there and made as this storage was opened.

        Raises:
            NamespaceMismatchError: somebody made it otherwise in the meantime.
        """
        self._store.settle()

    def close(self) -> None:
        """Close the connections that opening made; a client that was handed in stays open."""
        self._store.close()
