"""A server that is killed under load, restarted on its append-only file, again and again."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from dir_redis import open_storage, verify_store
from tests.crash.client import CAPACITY
from tests.crash.clients import Clients
from tests.crash.durable_server import DurableServer
from tests.crash.judgement import Journal, read_journals, totals, violations

logger = logging.getLogger(__name__)

# DIR_REDIS_TEST_CRASHES=50 for more of them.
ROUNDS = int(os.environ.get("DIR_REDIS_TEST_CRASHES", "8"))
# After so many the clients' work is judged, and others begin anew in another namespace.
ROUNDS_AT_ONCE = 4
CLIENTS = 4


@pytest.mark.opened_as_it_is
@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_nothing_acknowledged_is_lost_and_nothing_is_half_there(
    tmp_path: Path, namespace: str
) -> None:
    random = Random(7)
    server = DurableServer(tmp_path / "server")
    ended: Counter[str] = Counter()
    done = 0
    try:
        server.start()
        for first in range(0, ROUNDS, ROUNDS_AT_ONCE):
            folder = tmp_path / f"clients-{first}"
            folder.mkdir()
            rounds = min(ROUNDS_AT_ONCE, ROUNDS - first)
            journals = _kill_and_judge(server, f"{namespace}-{first}", folder, rounds, random)
            ended += totals(journals)
            done += sum(journal.acked for journal in journals)
    finally:
        server.kill()

    logger.info("%d kills, %d operations, %s", ROUNDS, done, dict(ended))
    assert done > 10 * ROUNDS
    # Each unknown outcome was found out, and its operation applied once: the journals say so.
    assert ended["unknown"] == ended["resolved"]
    # How many there are is luck: of fifty kills some come between a write and its reply.
    assert ended["unknown"] > 0 or ROUNDS < 50


def _kill_and_judge(
    server: DurableServer, namespace: str, folder: Path, rounds: int, random: Random
) -> list[Journal]:
    clients = Clients(server.url, namespace, folder, seed=random.randrange(1000))
    with open_storage(server.url, namespace=namespace, audit_chain=True) as bundle:
        bundle.resource_lock.set_capacity("capital", CAPACITY)
        bundle.resource_lock.set_capacity("seats", CAPACITY)
        try:
            clients.start(CLIENTS)
            for _ in range(rounds):
                time.sleep(random.uniform(0.2, 0.8))
                server.kill()
                time.sleep(random.choice((0, 0.3)))  # at times longer than a call goes on trying
                server.start()
                clients.check()
                assert verify_store(bundle).findings == ()
            clients.finish()
        finally:
            clients.close()
        journals = read_journals(folder)
        assert list(violations(bundle, journals)) == []
        assert verify_store(bundle).findings == ()
    assert all(journal.acked == journal.begun[-1][0] for journal in journals)
    return journals
