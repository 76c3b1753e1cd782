"""One fixture per storage of the bundle, and the few helpers that several stems share."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dir_redis import (
    AgentRegistryStorage,
    CapacityStorage,
    ContextStorage,
    DecisionAuditStorage,
    EscalationStorage,
    IdempotencyStorage,
    IntentRetryStorage,
    LifecycleStorage,
    SagaStorage,
    StorageBundle,
)

Race = Callable[[Sequence[Callable[[], Any]]], list[Any]]

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
RACE_SECONDS = 120


@pytest.fixture
def agents(bundle: StorageBundle) -> AgentRegistryStorage:
    return bundle.agent_registry


@pytest.fixture
def context(bundle: StorageBundle) -> ContextStorage:
    return bundle.context


@pytest.fixture
def idempotency(bundle: StorageBundle) -> IdempotencyStorage:
    return bundle.idempotency


@pytest.fixture
def audit(bundle: StorageBundle) -> DecisionAuditStorage:
    return bundle.decision_audit


@pytest.fixture
def saga(bundle: StorageBundle) -> SagaStorage:
    return bundle.saga


@pytest.fixture
def locks(bundle: StorageBundle) -> CapacityStorage:
    return bundle.resource_lock


@pytest.fixture
def retries(bundle: StorageBundle) -> IntentRetryStorage:
    return bundle.intent_retry


@pytest.fixture
def escalation(bundle: StorageBundle) -> EscalationStorage:
    return bundle.escalation


@pytest.fixture
def lifecycle(bundle: StorageBundle) -> LifecycleStorage:
    return bundle.lifecycle


@pytest.fixture
def race() -> Iterator[Race]:
    """Run all workers at once, each on a thread of its own; return what they returned."""

    def run(workers: Sequence[Callable[[], Any]]) -> list[Any]:
        start = threading.Barrier(len(workers), timeout=RACE_SECONDS)

        def started(worker: Callable[[], Any]) -> Any:
            start.wait()
            return worker()

        with ThreadPoolExecutor(len(workers)) as pool:
            futures = [pool.submit(started, worker) for worker in workers]
            return [future.result(timeout=RACE_SECONDS) for future in futures]

    # Threads take turns as often as they can, so that a check and its write come apart.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield run
    sys.setswitchinterval(interval)


@pytest.fixture
def on_another_thread(race: Race) -> Callable[[Callable[[], Any]], Any]:
    """Call on a new thread, so as another caller; return what it returned."""
    return lambda call: race([call])[0]


@pytest.fixture
def is_store_time() -> Callable[[str], bool]:
    """Whether a timestamp has the one form there is, and is UTC within an hour of now."""

    def check(timestamp: str) -> bool:
        if not TIMESTAMP.fullmatch(timestamp):
            return False
        moment = datetime.fromisoformat(timestamp)
        return abs(moment - datetime.now(UTC)) < timedelta(hours=1)

    return check


@pytest.fixture
def caller_in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The caller's own time zone is nine hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()
