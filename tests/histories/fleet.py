"""A fleet of worker processes on one store, some of which are killed or paused at any moment."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random

from dir_redis import RedisOptions, StorageBundle, open_storage
from tests.histories.history import History, Recorder, read_operations

# A process forked from a fresh one starts in milliseconds, and inherits no thread or connection.
CONTEXT = multiprocessing.get_context("forkserver")

WORKERS = 8
FAULT_EVERY_SEC = 0.06
PAUSED_SHARE = 0.4
PAUSE_SEC = 0.15
STOPPING_SEC = 30
RECOVERY_SEC = 10


@dataclass(slots=True)
class Worker:
    """What a worker's turn works with.

    Attributes:
        bundle: the store.
        record: writes down its calls.
        random: its own choices.
        began: when the fleet began, by time.monotonic.
        folder: files that all workers share.
    """

    bundle: StorageBundle
    record: Recorder
    random: Random
    began: float
    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def name(self) -> str:
        return self.record.worker

    def new(self, what: str) -> str:
        """An id that no worker has had yet."""
        return f"{what}-{self.name}-{next(self._numbers)}"

    def current(self, what: str, *, per_sec: float) -> str:
        """An id that all workers have in common, and that becomes another as time goes on."""
        return f"{what}-{int((time.monotonic() - self.began) * per_sec)}"

    def work(self, least_sec: float, most_sec: float) -> None:
        """Take some time."""
        time.sleep(self.random.uniform(least_sec, most_sec))

    def until_done(self) -> Iterator[None]:
        """Go on and on, every few milliseconds, but fail if it takes far longer than a lease."""
        deadline = time.monotonic() + RECOVERY_SEC
        while time.monotonic() < deadline:
            yield
            time.sleep(0.005)
        raise AssertionError(f"{self.name} was not done in {RECOVERY_SEC} s")


Turn = Callable[[Worker], None]
Finish = Callable[[Worker, History], None]


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet to run.

    Attributes:
        turns: what each worker does over and over, each on a thread of its own.
        url: the store.
        namespace: the namespace on a server; None for none.
        folder: is made, for what the workers record.
        seconds: how long it runs.
        finishes: what one more worker does at the end, given the history so far.
        prepare: what each worker does first.
        partitions: the namespace's number of partitions; None for whatever it has.
        workers: how many there are at any time.
        faults: whether workers are killed and paused.
        seed: of the faults and of the workers' choices.
    """

    turns: Sequence[Turn]
    url: str
    namespace: str | None
    folder: Path
    seconds: float
    finishes: Sequence[Finish] = ()
    prepare: Turn | None = None
    partitions: int | None = None
    workers: int = WORKERS
    faults: bool = True
    seed: int = 0


def run_fleet(fleet: Fleet) -> History:
    """Run a fleet to its end; what its workers did."""
    fleet.folder.mkdir()
    _start_forkserver()
    began = time.monotonic()
    killed, paused = _run_workers(fleet, began)
    history = History(read_operations(fleet.folder), killed, paused)
    with _working(fleet, "last", began) as worker:
        for finish in fleet.finishes:
            finish(worker, history)
    return History(read_operations(fleet.folder), killed, paused)


def _start_forkserver() -> None:
    """Have it running before the time counts: the first time it takes a while."""
    first = CONTEXT.Process(target=int)
    first.start()
    first.join()


def _run_workers(fleet: Fleet, began: float) -> tuple[dict[str, int], int]:
    """Run the workers to their end; when which was killed, and how many were paused."""
    random = Random(fleet.seed)
    names = (f"w{number:02}" for number in itertools.count())
    ends = began + fleet.seconds
    killed: dict[str, int] = {}
    pauses = 0
    running: list[ForkServerProcess] = []
    stopped: dict[int, float] = {}
    mean = FAULT_EVERY_SEC * WORKERS / fleet.workers  # a worker lives as long in a small fleet

    def start() -> ForkServerProcess:
        name = next(names)
        process = CONTEXT.Process(target=_run, args=(fleet, name, began), name=name)
        process.start()
        return process

    try:
        running += [start() for _ in range(fleet.workers)]
        while fleet.faults and time.monotonic() + 4 * mean < ends:
            time.sleep(random.uniform(0, 2 * mean))
            for place in [place for place, until in stopped.items() if until < time.monotonic()]:
                _signal(running[place], signal.SIGCONT)
                del stopped[place]
            place = random.randrange(fleet.workers)
            if place in stopped:
                continue
            if not running[place].is_alive():
                break  # of itself; the reason is told below
            if random.random() < PAUSED_SHARE:
                # As a host does that swaps or is moved: what it holds runs out, and it goes on.
                _signal(running[place], signal.SIGSTOP)
                stopped[place] = time.monotonic() + PAUSE_SEC
                pauses += 1
            else:
                killed[running[place].name] = time.monotonic_ns()
                running[place].kill()
                running[place].join()
                running[place] = start()
        for place in stopped:
            _signal(running[place], signal.SIGCONT)
        for process in running:
            process.join(max(0.0, ends + STOPPING_SEC - time.monotonic()))
        _check_ends(running, fleet.folder)
    finally:
        for process in running:
            process.kill()
    return killed, pauses


def _signal(process: ForkServerProcess, number: int) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)


def _check_ends(processes: list[ForkServerProcess], folder: Path) -> None:
    failures = [path.read_text() for path in folder.glob("*.error")]
    assert not failures, failures[0]
    codes = {process.name: process.exitcode for process in processes}
    assert set(codes.values()) == {0}, f"exit codes by worker, None if it hangs: {codes}"


def _run(fleet: Fleet, name: str, began: float) -> None:
    try:
        with _working(fleet, name, began) as worker:
            if fleet.prepare is not None:
                fleet.prepare(worker)
            with ThreadPoolExecutor(len(fleet.turns)) as pool:
                ends = began + fleet.seconds
                for turning in [pool.submit(_repeat, turn, worker, ends) for turn in fleet.turns]:
                    turning.result()
    except BaseException:
        (fleet.folder / f"{name}.error").write_text(f"{name}: {traceback.format_exc()}")
        raise


def _repeat(turn: Turn, worker: Worker, ends: float) -> None:
    while time.monotonic() < ends:
        turn(worker)


@contextlib.contextmanager
def _working(fleet: Fleet, name: str, began: float) -> Iterator[Worker]:
    options: RedisOptions = {}
    if fleet.namespace is not None:
        options = {"namespace": fleet.namespace, "partitions": fleet.partitions}
    recorder = Recorder(fleet.folder, name)
    with contextlib.closing(recorder), open_storage(fleet.url, **options) as bundle:
        yield Worker(bundle, recorder, Random(f"{fleet.seed} {name}"), began, fleet.folder)
