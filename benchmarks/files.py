"""A folder on disk for what is persisted, and dir-core's own SQLite backend where installed."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from dir_redis import StorageBundle


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder beside the working directory's files: /tmp may be kept in memory."""
    with tempfile.TemporaryDirectory(prefix=".benchmark-", dir=Path.cwd()) as name:
        yield Path(name)


def sync_ms(where: Path, times: int = 50) -> float:
    """Milliseconds that appending 4 KiB to a file and syncing it takes (median)."""
    taken = []
    with (where / "sync-probe").open("wb", buffering=0) as probe:
        for _ in range(times):
            start = time.perf_counter()
            probe.write(bytes(4096))
            os.fsync(probe.fileno())
            taken.append(time.perf_counter() - start)
    return median(taken) * 1000


def dir_core_sqlite(path: Path) -> StorageBundle | None:
    """dir-core's own SQLite storages on one file, or None where dir-core is not installed."""
    try:
        from dir_core.storage import sqlite
    except ImportError:
        return None
    storages: Any = sqlite
    where = str(path)
    return StorageBundle(
        agent_registry=storages.SqliteAgentRegistryStorage(where),
        context=storages.SqliteContextStorage(where),
        idempotency=storages.SqliteIdempotencyStorage(where),
        decision_audit=storages.SqliteDecisionAuditStorage(where),
        saga=storages.SqliteSagaStorage(where),
        resource_lock=storages.SqliteResourceLockStorage(where),
        intent_retry=storages.SqliteIntentRetryStorage(where),
        escalation=storages.SqliteEscalationStorage(where),
        lifecycle=storages.SqliteLifecycleStorage(where),
    )
