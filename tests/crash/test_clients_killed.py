"""Clients killed at any moment of any write leave nothing behind but what ends by itself."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

import pytest

from dir_redis import open_storage, verify_store
from tests.crash.client import CAPACITY, LEASE_SEC
from tests.crash.clients import Clients
from tests.crash.judgement import read_journals, violations
from tests.servers import wait_until

KILLS = int(os.environ.get("DIR_REDIS_TEST_CRASHES", "8")) * 5
CLIENTS = 4


@pytest.mark.timeout(60 + 2 * KILLS)
def test_nothing_is_half_there_and_leases_run_out(
    tmp_path: Path, server_url: str, real_server: str, namespace: str
) -> None:
    random = Random(5)
    partitions = 5 if real_server == "cluster" else 1
    clients = Clients(server_url, namespace, tmp_path, seed=5)
    with open_storage(server_url, namespace=namespace, partitions=partitions) as bundle:
        bundle.resource_lock.set_capacity("capital", CAPACITY)
        bundle.resource_lock.set_capacity("seats", CAPACITY)
        try:
            clients.start(CLIENTS)
            for killed in range(KILLS):
                time.sleep(random.uniform(0, 0.25))
                clients.kill(random.randrange(CLIENTS))
                clients.start()
                if killed % 10 == 9:  # beside the others that go on
                    assert verify_store(bundle).findings == ()
            clients.finish()
        finally:
            clients.close()

        assert verify_store(bundle).findings == ()
        journals = read_journals(tmp_path)
        assert list(violations(bundle, journals)) == []
        assert sum(journal.acked for journal in journals) > KILLS

        # What the dead held comes free by the end of their leases.
        def nothing_is_leased() -> bool:
            return not any(
                holder.dfid.endswith("-order") for holder in bundle.resource_lock.holders("seats")
            )

        wait_until(nothing_is_leased, 4 * LEASE_SEC)
        dirty = set(bundle.saga.get_dirty_flows())

        def all_are_compensated() -> bool:
            while claim := bundle.saga.claim_dirty("last", 60):
                bundle.saga.clear_dirty(claim.dfid, epoch=claim.epoch)
                dirty.discard(claim.dfid)
            return not dirty

        wait_until(all_are_compensated, 4 * LEASE_SEC)
        assert bundle.saga.get_dirty_flows() == []
