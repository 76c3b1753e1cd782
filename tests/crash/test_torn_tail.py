"""An append-only file whose end is missing, as after a power failure."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from random import Random

from dir_redis import open_storage, verify_store
from tests.crash.client import Client
from tests.crash.durable_server import DurableServer
from tests.crash.judgement import read_journals, violations

OPERATIONS = 120
STEPS = 14
RANDOM_PLACES = 10


def test_what_is_there_is_all_up_to_some_operation(tmp_path: Path, namespace: str) -> None:
    first = DurableServer(tmp_path / "first", "--aof-load-truncated", "yes")
    try:
        first.start()
        with (
            open_storage(first.url, namespace=namespace, timeout_sec=5) as bundle,
            closing(Client(bundle, "c", tmp_path / "c.journal", Random(3))) as client,
        ):
            for _ in range(OPERATIONS):
                client.turn()
            size_before_last = first.log_file().stat().st_size
            for _ in range(4):
                client.turn()
    finally:
        first.kill()
    whole = first.log_file().stat().st_size
    journals = read_journals(tmp_path)
    step = max(1, (whole - size_before_last) // STEPS)
    random = Random(11)
    places = [whole - 1 - step * n for n in range(STEPS)]
    # Not before the namespace was made, of which the file begins with.
    places += [random.randrange(whole // 8, whole) for _ in range(RANDOM_PLACES)]

    for number, place in enumerate(places):
        folder = tmp_path / f"torn-{number}"
        shutil.copytree(first.folder, folder)
        torn = DurableServer(folder, "--aof-load-truncated", "yes")
        with torn.log_file().open("r+b") as log:
            log.truncate(place)
        try:
            torn.start()
            with open_storage(torn.url, namespace=namespace) as bundle:
                assert verify_store(bundle).findings == (), place
                assert list(violations(bundle, journals, torn=True)) == [], place
        finally:
            torn.kill()
