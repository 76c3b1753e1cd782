"""Fixtures of the tests that look behind the Protocols, at the server itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from dir_redis import StorageBundle, open_storage
from dir_redis.redis.connection import Client, connect


@pytest.fixture
def store(redis_url: str, namespace: str) -> Iterator[StorageBundle]:
    """A fresh, empty store of one partition on each Redis backend."""
    with open_storage(redis_url, namespace=namespace) as bundle:
        yield bundle


@pytest.fixture
def raw(redis_url: str) -> Iterator[Client]:
    """A client of the same server, to look at what is stored."""
    client = connect(redis_url, attempt_timeout_sec=5).client
    yield client
    client.close()


def works(bundle: StorageBundle) -> bool:
    """Whether a bundle takes a write and gives it back."""
    bundle.context.set_session("f", '{"a": 1}')
    return bundle.context.get_session("f") == '{"a": 1}'


@contextlib.contextmanager
def commands_sent(bundle: StorageBundle) -> Iterator[list[tuple[Any, ...]]]:
    """The commands that a store on Redis sends within a with block, in order."""
    driver: Any = bundle.context._driver  # type: ignore[attr-defined]
    execute = driver._execute_command
    sent: list[tuple[Any, ...]] = []
    driver._execute_command = lambda *command: sent.append(command) or execute(*command)
    try:
        yield sent
    finally:
        driver._execute_command = execute
