"""One run of the fleet, from its first process to its last."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from types import FrameType

from rich.console import Console

from dir_redis import StorageBundle
from examples.fleet.book import Book
from examples.fleet.plan import CAPITAL, Plan, deliveries
from examples.fleet.prices import Decision
from examples.fleet.progress import ProgressDisplay
from examples.fleet.sampling import sample
from examples.fleet.supervisor import Address, FleetError, Supervisor

TICK_SEC = 0.02
TICKS_PER_LOOK = 8
STALLED_SEC = 60.0


class InterruptionError(Exception):
    """Somebody asked the run to stop.

    Attributes:
        signum: with which signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class KillPlan:
    """Which workers are killed on purpose, and when: the same for the same seed.

    Args:
        count: how many.
        total: the number of flows of the run.
        seed: of the choice. Where in its work a worker is hit is up to the machine.
    """

    def __init__(self, count: int, *, total: int, seed: int) -> None:
        self._random = Random(seed)
        self._due = sorted(self._random.uniform(0.05, 0.75) * total for _ in range(count))

    def victim(self, finished: int, working: Sequence[str]) -> str | None:
        """The agent whose process is to be killed now, if one is."""
        if not self._due or finished < self._due[0] or not working:
            return None
        self._due.pop(0)
        return self._random.choice(working)


def run_fleet(
    store: StorageBundle,
    plan: Plan,
    decisions: Sequence[Decision],
    *,
    address: Address,
    kills: KillPlan,
    console: Console,
) -> None:
    """Run a fleet until every decision is made.

    Raises:
        InterruptionError: by SIGINT or SIGTERM; everything is stopped, and nothing left held.
        FleetError: its processes fail by themselves, or get nowhere.
    """
    dealt = deliveries(decisions, workers=len(plan.agents))
    supervisor = Supervisor(store, address, dict(zip(plan.agents, dealt, strict=True)))
    display = ProgressDisplay(console, total=len(decisions), limit=plan.limits[CAPITAL])
    with _signals() as received, display, supervisor:
        supervisor.start()
        _watch(store, plan, supervisor, kills, display, received)


def _watch(
    store: StorageBundle,
    plan: Plan,
    supervisor: Supervisor,
    kills: KillPlan,
    display: ProgressDisplay,
    received: list[int],
) -> None:
    finished, moved_at, tick = 0, time.monotonic(), 0
    while supervisor.tend():
        if received:
            raise InterruptionError(received[0])
        used = sample(store, plan)
        if tick % TICKS_PER_LOOK == 0:
            before, finished = finished, _finished(store, plan)
            display.update(finished=finished, used=used)
            if finished > before:
                moved_at = time.monotonic()
        if time.monotonic() - moved_at > STALLED_SEC:
            raise FleetError(f"nothing was finished for {STALLED_SEC:.0f} s")
        victim = kills.victim(finished, supervisor.working)
        if victim is not None:
            supervisor.kill(victim)
            display.say(f"killed {victim} after {finished} flows")
        tick += 1
        time.sleep(TICK_SEC)
    display.update(finished=_finished(store, plan), used=sample(store, plan))


def _finished(store: StorageBundle, plan: Plan) -> int:
    """How many flows have ended, by the agents' own books."""
    return sum(Book.load(store, agent_id).finished for agent_id in plan.agents)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of being struck by them in the middle of something."""
    received: list[int] = []

    def note(signum: int, _: FrameType | None) -> None:
        received.append(signum)

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
