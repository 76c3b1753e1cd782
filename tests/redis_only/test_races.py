"""Races between processes on a real server: no reservation too many, no record mixed."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier, Event
from typing import Any

import pytest

from dir_redis import InsufficientCapacityError, StorageBundle, open_storage
from dir_redis.told_amounts import ToldAmounts
from tests.conftest import SERVERS
from tests.dir_core_needed import need_dir_core

# A process forked from a fresh one starts in milliseconds, and inherits no thread or connection.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])
PROCESSES = 16
CAPACITY = 100
AMOUNT = 30  # three fit
ROUNDS = 50
TIMEOUT_SEC = 60

single_servers = pytest.mark.parametrize(
    "real_server", [name for name in SERVERS if name != "cluster"], indirect=True
)


def in_processes(work: Callable[..., Any], url: str, namespace: str, *args: Any) -> list[Any]:
    """Run work(bundle, number, *args) in 16 processes at once; what each returned."""
    ready = CONTEXT.Barrier(PROCESSES)
    results = CONTEXT.SimpleQueue()
    processes = [
        CONTEXT.Process(target=_run, args=(work, url, namespace, n, ready, results, args))
        for n in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT_SEC)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    return [results.get() for _ in processes]


def _run(
    work: Callable[..., Any],
    url: str,
    namespace: str,
    number: int,
    ready: Barrier,
    results: Any,
    args: tuple[Any, ...],
) -> None:
    with open_storage(url, namespace=namespace) as bundle:
        ready.wait(TIMEOUT_SEC)
        results.put(work(bundle, number, *args))


class Sampler:
    """Reads, again and again, how much of a resource is held, until it is told to stop."""

    def __init__(self, url: str, namespace: str) -> None:
        self._stop = CONTEXT.Event()
        self._highest = CONTEXT.Value("d", -1.0)
        self._samples = CONTEXT.Value("i", 0)
        self._process = CONTEXT.Process(
            target=_sample, args=(url, namespace, self._stop, self._highest, self._samples)
        )

    def __enter__(self) -> Sampler:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._process.join(TIMEOUT_SEC)

    @property
    def highest(self) -> float:
        assert self._samples.value > 0
        return float(self._highest.value)


def _sample(url: str, namespace: str, stop: Event, highest: Any, samples: Any) -> None:
    with open_storage(url, namespace=namespace) as bundle:
        while not stop.is_set():
            held = bundle.resource_lock.get_locked_amount("capital", "nobody")
            highest.value = max(highest.value, held)
            samples.value += 1


def acquire_by_declared_capacity(bundle: StorageBundle, number: int) -> int:
    """Take and give back, over and over; keep what the last round got."""
    locks = bundle.resource_lock
    held = False
    for _ in range(ROUNDS):
        if held:
            locks.release(f"flow-{number}")
        try:
            held = locks.acquire_batch(f"flow-{number}", {"capital": AMOUNT, "seats": 1}, 5)
        except InsufficientCapacityError:
            held = False
    return held


def acquire_as_the_kernels_manager_does(bundle: StorageBundle, number: int, *args: bool) -> int:
    """What the unmodified manager does: read, compare, acquire; on False look again."""
    locks: Any = bundle.resource_lock
    if args and args[0]:
        locks._told = ForgetfulToldAmounts()
    dfid = f"flow-{number}"
    held = False
    for _ in range(ROUNDS):
        if held:
            locks.release(dfid)
        deadline = time.monotonic() + 5
        held = False
        while time.monotonic() < deadline:
            free = CAPACITY - locks.get_locked_amount("capital", exclude_dfid=dfid)
            if free < AMOUNT:
                break
            held = locks.acquire_batch(dfid, {"capital": AMOUNT}, 1)
            if held:
                break
    return held


class ForgetfulToldAmounts(ToldAmounts):
    """The protection taken out: nothing that was told is remembered."""

    def remember(self, dfid: str, resource_id: str, units: int) -> None:
        pass


@single_servers
def test_processes_never_reserve_more_than_the_declared_capacity(
    server_url: str, namespace: str
) -> None:
    with open_storage(server_url, namespace=namespace) as bundle:
        bundle.resource_lock.set_capacity("capital", CAPACITY)
        with Sampler(server_url, namespace) as sampler:
            held = in_processes(acquire_by_declared_capacity, server_url, namespace)

        left = bundle.resource_lock.get_locked_amount("capital", "nobody")
        assert 0 < sampler.highest <= CAPACITY
        assert left == sum(held) * AMOUNT <= CAPACITY


@single_servers
def test_processes_with_the_unmodified_manager_never_reserve_too_much(
    server_url: str, namespace: str
) -> None:
    with (
        open_storage(server_url, namespace=namespace) as bundle,
        Sampler(server_url, namespace) as sampler,
    ):
        held = in_processes(acquire_as_the_kernels_manager_does, server_url, namespace)

        left = bundle.resource_lock.get_locked_amount("capital", "nobody")
    assert 0 < sampler.highest <= CAPACITY
    assert left == sum(held) * AMOUNT <= CAPACITY


def test_without_the_guard_the_unmodified_manager_reserves_too_much(
    servers: Any, namespace: str
) -> None:
    """The two tests above have teeth: the same race, the protection taken out."""
    url = servers.url(SERVERS[0])
    for attempt in range(5):
        with Sampler(url, f"{namespace}-{attempt}") as sampler:
            in_processes(acquire_as_the_kernels_manager_does, url, f"{namespace}-{attempt}", True)
        if sampler.highest > CAPACITY:
            return
    pytest.fail("sixteen processes without the guard stayed within the capacity five times")


def acquire_with_the_kernels_manager(bundle: StorageBundle, number: int) -> int:
    """dir_core's own manager, unmodified, on our storage."""
    from dir_core.resource_lock import LockResult, ResourceLockManager

    manager = ResourceLockManager(
        availability_provider=lambda _: float(CAPACITY), storage=bundle.resource_lock
    )
    dfid = f"flow-{number}"
    held = False
    for _ in range(ROUNDS // 5):
        if held:
            manager.release(dfid)
        held = manager.acquire(dfid, {"capital": AMOUNT}) == LockResult.ACQUIRED
    return held


@single_servers
def test_the_kernels_manager_itself_never_reserves_too_much(
    server_url: str, namespace: str
) -> None:
    need_dir_core()
    with (
        open_storage(server_url, namespace=namespace) as bundle,
        Sampler(server_url, namespace) as sampler,
    ):
        held = in_processes(acquire_with_the_kernels_manager, server_url, namespace)

        left = bundle.resource_lock.get_locked_amount("capital", "nobody")
    assert 0 < sampler.highest <= CAPACITY
    assert left == sum(held) * AMOUNT <= CAPACITY


def upsert_and_read(bundle: StorageBundle, number: int) -> bool:
    """Write records whose parts all say who wrote them; what is read must be of one writer."""
    whole = True
    for turn in range(50):
        mark = number * 1000 + turn
        bundle.agent_registry.upsert_agent(
            "a", json.dumps({"by": mark}), mark, str(mark), str(mark), str(mark)
        )
        bundle.context.set_session("f", json.dumps([mark] * 50))
        bundle.idempotency.set("k", {"x": mark, "y": mark})
        bundle.saga.mark_dirty("f", str(mark), json.dumps({"by": mark}))

        agent = bundle.agent_registry.get_agent("a")
        assert agent is not None
        marks = {
            *(agent["contract"]["by"], agent["priority"]),
            *(int(agent[name]) for name in ("status", "agent_version", "session_token")),
        }
        session = set(json.loads(bundle.context.get_session("f") or ""))
        result = set((bundle.idempotency.get("k") or {}).values())
        dirty = bundle.saga.get_dirty_state("f") or {}
        state = {int(dirty["failed_step"]), dirty["partial_state"]["by"]}
        whole = whole and all(len(seen) == 1 for seen in (marks, session, result, state))
    return whole


@single_servers
def test_readers_never_see_a_mixture_of_two_writers(server_url: str, namespace: str) -> None:
    assert all(in_processes(upsert_and_read, server_url, namespace))


def record_rows(bundle: StorageBundle, number: int) -> None:
    for turn in range(50):
        bundle.decision_audit.record("shared", f"{number}:{turn}")
        bundle.decision_audit.record(f"own-{number}", str(turn))
        bundle.lifecycle.record_transition("shared", str(number), str(turn))


@single_servers
def test_no_row_is_lost_or_reordered_between_processes(server_url: str, namespace: str) -> None:
    in_processes(record_rows, server_url, namespace)

    with open_storage(server_url, namespace=namespace) as bundle:
        everything = bundle.decision_audit.all_events_chronological()
        shared = bundle.decision_audit.events_for_dfid("shared")
        transitions = bundle.lifecycle.get_transitions("shared")
        assert len(everything) == 2 * PROCESSES * 50
        assert [row for row in everything if row["dfid"] == "shared"] == shared
        for number in range(PROCESSES):
            turns = [row["event"] for row in shared if row["event"].startswith(f"{number}:")]
            assert turns == [f"{number}:{turn}" for turn in range(50)]
            own = bundle.decision_audit.events_for_dfid(f"own-{number}")
            assert [row["event"] for row in own] == [str(turn) for turn in range(50)]
            mine = [row["to_status"] for row in transitions if row["from_status"] == str(number)]
            assert mine == [str(turn) for turn in range(50)]
