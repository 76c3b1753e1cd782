"""verify_store finds nothing in a store that works, whatever the backend."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import pytest

from dir_redis import StorageBundle, StorageError, verify_store
from tests.migrate.full_store import fill
from tests.redis_only.test_once import WRITES

WRITERS = 8
WALKS = 5


def test_an_empty_store_is_clean(bundle: StorageBundle) -> None:
    report = verify_store(bundle)

    assert report.clean
    assert report.findings == ()
    assert str(report).endswith("no inconsistencies")


def test_a_store_that_uses_everything_is_clean(bundle: StorageBundle) -> None:
    fill(bundle)
    for write in WRITES.values():
        write(bundle)
    looked_at: list[int] = []

    report = verify_store(bundle, progress=looked_at.append)

    assert report.findings == ()
    assert looked_at == sorted(looked_at)
    assert looked_at[-1] == report.checked > 30


def test_nothing_is_changed_by_it(bundle: StorageBundle) -> None:
    fill(bundle)
    before = bundle.decision_audit.all_events_chronological()

    verify_store(bundle)

    assert bundle.decision_audit.all_events_chronological() == before


def test_beside_eight_writers_nothing_is_called_broken(
    fresh_bundle_factory: Callable[[], StorageBundle],
) -> None:
    bundle = fresh_bundle_factory()
    fill(bundle)
    stop = threading.Event()
    rounds = [0] * WRITERS

    def write(writer: int) -> None:
        while not stop.is_set():
            for call in WRITES.values():
                with contextlib.suppress(StorageError):  # what another writer was quicker with
                    call(bundle)
            # One resource that everybody holds and gives back: its total never stands still.
            with contextlib.suppress(StorageError):
                bundle.resource_lock.acquire_batch(f"w{writer}", {"shared": writer + 1}, 0)
                bundle.saga.mark_dirty(f"w{writer}", "s", "{}")
                bundle.escalation.insert_request(f"w{writer}", "a", "", "", "", "")
                bundle.resource_lock.release(f"w{writer}")
                bundle.saga.clear_dirty(f"w{writer}")
                bundle.escalation.resolve(f"w{writer}", "YES", by="me")
            rounds[writer] += 1

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for one in writers:
        one.start()
    try:
        found = [verify_store(bundle).findings for _ in range(WALKS)]
    finally:
        stop.set()
        for one in writers:
            one.join()

    assert found == [()] * WALKS
    assert sum(rounds) > 0
    assert verify_store(bundle).findings == ()


@pytest.mark.parametrize("nothing", [None, 7])
def test_what_is_no_store_is_refused(nothing: object) -> None:
    with pytest.raises(TypeError, match="store must be a bundle or a URL"):
        verify_store(nothing)  # type: ignore[arg-type]
