"""A server whose append-only file cannot grow any more: what it cannot keep is not acknowledged."""

from __future__ import annotations

import resource
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from dir_redis import StorageError, open_storage, verify_store
from dir_redis.errors import StorageRefusedError, StorageUnavailableError
from tests.crash.client import Client
from tests.crash.durable_server import DurableServer
from tests.crash.judgement import read_journals, violations

ROOM = 200_000


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_writes_are_refused_and_nothing_is_half_there(
    tmp_path: Path, namespace: str, appendfsync: str
) -> None:
    server = DurableServer(tmp_path / "server", "--appendfsync", appendfsync)
    errors: list[StorageError] = []
    try:
        server.start()
        assert server.process is not None
        with (
            open_storage(server.url, namespace=namespace, timeout_sec=0.5) as bundle,
            closing(Client(bundle, "c", tmp_path / "c.journal", Random(3))) as client,
        ):
            client.through = lambda call: call()  # type: ignore[method-assign]
            for _ in range(20):
                client.turn()
            limit = server.log_file().stat().st_size + ROOM
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (limit, limit))

            for _ in range(3000):
                try:
                    client.turn()
                except StorageError as error:
                    errors.append(error)
                    if len(errors) == 3:
                        break
            assert len(errors) == 3, "the disk never filled"
    finally:
        server.kill()
    if appendfsync == "always":  # then it may not go on without the disk, and ends itself
        assert {type(error) for error in errors} == {StorageUnavailableError}
    else:
        assert {type(error) for error in errors} == {StorageRefusedError}
        assert {getattr(error, "code", "") for error in errors} == {"MISCONF"}

    try:
        server.start()  # with room again
        with open_storage(server.url, namespace=namespace) as bundle:
            assert verify_store(bundle).findings == ()
            journals = read_journals(tmp_path)
            if appendfsync == "always":  # else a last second of it may be gone
                assert list(violations(bundle, journals, failed=True)) == []
            bundle.intent_retry.increment("afterwards")
    finally:
        server.kill()
