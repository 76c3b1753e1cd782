"""A copy that was cut off, wherever it was, is finished by starting it again."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dir_redis import StorageBundle, memory_storage, open_storage, sqlite_storage
from dir_redis.migrate import CopyProgress, copy_store
from dir_redis.migrate.memory import MemoryRawStore
from dir_redis.migrate.records import Record
from dir_redis.migrate.redis import RedisRawStore
from dir_redis.migrate.sqlite import SqliteRawStore
from tests.migrate.conftest import STORES, Opener
from tests.migrate.full_store import answers, fill

RAW_STORES = (MemoryRawStore, SqliteRawStore, RedisRawStore)


class CutOffError(Exception):
    """The process would have been killed here."""


@pytest.mark.parametrize("backend", STORES)
def test_cut_off_before_any_write_it_is_finished_by_the_next_run(
    backend: str, new_store: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = new_store("memory")
    fill(source)
    for writes in itertools.count():
        target = new_store(backend)
        with monkeypatch.context() as patch:
            _cut_off_after(patch, writes)
            try:
                copy_store(source, target)
            except CutOffError:
                pass
            else:
                break
        report = copy_store(source, target)

        assert report.complete, str(report)
        assert report.copied > 0
        expected, found = answers(source), answers(target)
        if backend == "cluster":
            # Between partitions, rows of one microsecond may come in another order.
            for answer in (expected, found):
                answer["all events"].sort(key=lambda row: (row["timestamp"], row["dfid"]))
        assert found == expected
        assert copy_store(source, target).copied == 0
    assert writes == 15


def _cut_off_after(patch: pytest.MonkeyPatch, writes: int) -> None:
    """Let that many writes of pages pass, and cut the next one off half-way."""
    left = itertools.count(writes, -1)
    for kind in RAW_STORES:

        def put(self: Any, records: Iterable[Record], real: Any = kind.put) -> Any:
            page = list(records)
            if page and next(left) == 0:
                real(self, page[: len(page) // 2])
                raise CutOffError
            return real(self, page)

        patch.setattr(kind, "put", put)


@pytest.mark.parametrize("backend", STORES)
def test_cut_off_within_a_log_its_rows_come_once_each_and_in_order(
    backend: str, new_store: Opener
) -> None:
    source, target = new_store("memory"), new_store(backend)
    for first in range(0, 2500, 500):
        source.decision_audit.record_many(
            {"dfid": f"flow-{n % 7}", "event": "E", "details": {"n": n}}
            for n in range(first, first + 500)
        )

    def cut_off(progress: CopyProgress) -> None:
        if progress.kind == "AuditRow" and progress.done == 1500:
            raise CutOffError

    with pytest.raises(CutOffError):
        copy_store(source, target, progress=cut_off)
    there = len(target.decision_audit.all_events_chronological())
    report = copy_store(source, target)

    assert 0 < there < 2500
    assert report.kinds["AuditRow"].already_there == there
    assert report.kinds["AuditRow"].copied == 2500 - there
    assert target.decision_audit.all_events_chronological() == (
        source.decision_audit.all_events_chronological()
    )


@pytest.mark.parametrize("kind", ["Agent", "Session", "Request", "Transition", "AuditRow"])
@pytest.mark.parametrize("backend", ["sqlite", STORES[2]])
def test_a_killed_process_leaves_what_the_next_run_finishes(
    kind: str, backend: str, tmp_path: Path, servers: Any, namespace: str
) -> None:
    with memory_storage() as source:
        fill(source)
        _many(source)
        copy_store(source, tmp_path / "source.db")
        target = tmp_path / "target.db" if backend == "sqlite" else servers.url(backend)
        with _opened(target, namespace) as opened:
            killed = _copy_and_be_killed_at(kind, tmp_path / "source.db", target, namespace)
            report = copy_store(source, opened)

            assert killed == -signal.SIGKILL
            assert report.complete, str(report)
            assert report.copied > 0
            assert answers(opened) == answers(source)


def _many(store: StorageBundle) -> None:
    """More records of each kind than one page has."""
    for n in range(700):
        store.agent_registry.upsert_agent(f"agent-{n}", "{}", n, "ACTIVE", None, None)
        store.context.set_session(f"session-{n}", "{}")
        store.escalation.insert_request(f"request-{n}", "zeta", "", "{}", "{}", "")
        store.lifecycle.record_transition(f"flow-{n % 5}", "A", "B")
    store.decision_audit.record_many({"dfid": f"f-{n % 9}", "event": "E"} for n in range(700))


def _opened(target: Path | str, namespace: str) -> StorageBundle:
    if isinstance(target, Path):
        return sqlite_storage(target)
    return open_storage(target, namespace=namespace)


def _copy_and_be_killed_at(kind: str, source: Path, target: Path | str, namespace: str) -> int:
    code = f"""
import os, signal
from pathlib import Path
from dir_redis import open_storage
from dir_redis.migrate import alone, copy_store

alone.LEASE_SEC = 2.0
target = {str(target)!r}
if "://" in target:
    target = open_storage(target, namespace={namespace!r})
written = 0

def progress(told):
    if told.kind == {kind!r} and told.done >= 500:
        os.kill(os.getpid(), signal.SIGKILL)

copy_store({str(source)!r}, target, progress=progress)
"""
    return subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode
