"""One run of the fleet, from its first process to its last."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from random import Random

from rich.console import Console

from dir_redis import Holder, StorageError
from examples.fleet.desk import agent_of
from examples.fleet.plan import CAPITAL
from examples.fleet.progress import ProgressDisplay
from examples.fleet.sampling import Lookout
from examples.fleet.supervisor import FleetError, Patience, Supervisor
from examples.signals import signals_collected

TICK_SEC = 0.02
STALLED_SEC = 60.0


class KillPlan:
    """How many workers are killed on purpose, and when.

    Args:
        count: how many.
        total: the number of flows of the run.
        seed: of the choice of when and whom. Where in its work a worker is hit is up to the
            machine, except that it holds capital.
    """

    def __init__(self, count: int, *, total: int, seed: int) -> None:
        self._random = Random(seed)
        self._killed: set[str] = set()
        # Evenly over the run, but early enough for all of them to be recovered from within it.
        self._due = [
            total * (0.1 + 0.5 * (number + self._random.uniform(0.2, 0.8)) / count)
            for number in range(count)
        ]

    @property
    def left(self) -> int:
        """How many have not found their moment yet."""
        return len(self._due)

    def victim(
        self, finished: int, working: Collection[str], holdings: Mapping[str, Sequence[Holder]]
    ) -> str | None:
        """The name of the process that is to be killed now, if one is."""
        if not self._due or finished < self._due[0]:
            return None
        # One of those that hold the most, so that some of it is still held when it strikes.
        working = set(working) - self._killed or set(working)
        held = {name: len(held) for name, held in holdings.items() if agent_of(name) in working}
        if not held:
            return None
        self._due.pop(0)
        most = max(held.values())
        name = self._random.choice([each for each in held if held[each] == most])
        self._killed.add(agent_of(name))
        return name


def run_fleet(
    lookout: Lookout,
    supervisor: Supervisor,
    *,
    patience: Patience,
    kills: KillPlan,
    console: Console,
) -> None:
    """Run a fleet until every decision is made, and every broken one compensated.

    Args:
        lookout: sees it, by the store.
        supervisor: has its processes.
        patience: with failures of the processes and of the lookout.
        kills: whom to kill.
        console: where to say how far it is.

    Raises:
        InterruptionError: by SIGINT or SIGTERM, within signals_raised; every process is stopped.
        FleetError: its processes fail by themselves, or get nowhere.
    """
    plan = lookout.plan
    display = ProgressDisplay(console, total=len(plan.decisions), limit=plan.limits[CAPITAL])
    with signals_collected() as received, display, supervisor:
        supervisor.start()
        _watch(lookout, supervisor, patience, kills, display, received)


def _watch(
    lookout: Lookout,
    supervisor: Supervisor,
    patience: Patience,
    kills: KillPlan,
    display: ProgressDisplay,
    received: list[int],
) -> None:
    moved_at = time.monotonic()
    over = False
    while not over:
        finished = lookout.finished
        try:
            over = not supervisor.tend() and not lookout.store.saga.get_dirty_flows()
            if received:  # it strikes when everything is stopped
                return
            # After it is known to be over: so it is seen how the last of them ended.
            lookout.look()
        except StorageError as error:
            over = False
            patience.failed(str(error))
        display.update(finished=lookout.finished, used=lookout.used)
        if lookout.finished > finished:
            moved_at = time.monotonic()
            patience.got_on()
        if time.monotonic() - moved_at > STALLED_SEC:
            raise FleetError(f"nothing was finished for {STALLED_SEC:.0f} s")
        victim = kills.victim(lookout.finished, supervisor.working, lookout.holdings())
        if victim is not None:
            supervisor.kill(agent_of(victim))
            held = lookout.note_kill(victim)
            display.say(
                f"killed {agent_of(victim)} after {lookout.finished} flows, while it led "
                f"{len(held['flows'])} and held {len(held['reservations'])} reservations"
            )
        time.sleep(TICK_SEC)
    if kills.left:
        display.say(f"{kills.left} kills found no moment when a worker was seen to hold capital")
    if lookout.finished < len(lookout.plan.decisions):
        raise FleetError("no worker is left")
