"""A server that is killed under load, restarted on its append-only file, again and again."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

import pytest

from dir_redis import open_storage, verify_store
from tests.crash.client import CAPACITY
from tests.crash.clients import Clients
from tests.crash.durable_server import DurableServer
from tests.crash.judgement import read_journals, totals, violations

# All fifty take two minutes: DIR_REDIS_TEST_CRASHES=50.
ROUNDS = int(os.environ.get("DIR_REDIS_TEST_CRASHES", "8"))
CLIENTS = 4


@pytest.mark.timeout(60 + 15 * ROUNDS)
def test_nothing_acknowledged_is_lost_and_nothing_is_half_there(
    tmp_path: Path, namespace: str
) -> None:
    random = Random(7)
    server = DurableServer(tmp_path / "server")
    folder = tmp_path / "clients"
    folder.mkdir()
    clients = Clients(server.url, namespace, folder, seed=7)
    try:
        server.start()
        with open_storage(server.url, namespace=namespace, audit_chain=True) as bundle:
            bundle.resource_lock.set_capacity("capital", CAPACITY)
            bundle.resource_lock.set_capacity("seats", CAPACITY)
            clients.start(CLIENTS)
            for _ in range(ROUNDS):
                time.sleep(random.uniform(0.2, 0.8))
                server.kill()
                time.sleep(random.choice((0, 0.3)))  # at times longer than a call goes on trying
                server.start()
                clients.check()
                assert verify_store(bundle).findings == ()
            clients.finish()

            journals = read_journals(folder)
            assert list(violations(bundle, journals)) == []
            assert verify_store(bundle).findings == ()
    finally:
        clients.close()
        server.kill()
    ended = totals(journals)
    done = sum(journal.acked for journal in journals)
    assert done > 10 * ROUNDS
    # Each unknown outcome was found out, and its operation applied once: the counts above say so.
    assert ended["unknown"] == ended["resolved"] > 0
    assert all(journal.acked == journal.begun[-1][0] for journal in journals)
