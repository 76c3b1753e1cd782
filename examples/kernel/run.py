"""One run of the fleet, from its first process to its last, and the kill in the middle."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

from rich.console import Console

from dir_redis import StorageBundle
from examples.fleet.prices import Decision
from examples.fleet.progress import ProgressDisplay
from examples.fleet.supervisor import Address, FleetError
from examples.kernel.desk import Desk
from examples.kernel.flow import Event
from examples.kernel.plan import CAPITAL, Plan, deliveries
from examples.kernel.reviewer import Reviewer
from examples.kernel.worker import run_worker
from examples.signals import deaf_to_ctrl_c, signals_collected

FLEET_LOG = "demo:fleet"
SAMPLED, KILLED = "USE_SAMPLED", "WORKER_KILLED"
KILL_AFTER = 0.4
TICK_SEC = 0.03
STALLED_SEC = 60.0


class Lookout:
    """What is seen of the fleet while it runs: all of it from the store.

    Args:
        store: the fleet's store.
    """

    def __init__(self, store: StorageBundle) -> None:
        self._store = store
        self._cursor: str | None = None
        self.leaders: dict[str, str] = {}
        self.ended: set[str] = set()
        self.holders: list[str] = []

    def look(self) -> float:
        """Read what was written since the last look, and record how much capital is in use.

        Returns:
            The capital in use, US dollars.
        """
        rows = self._store.decision_audit.iter_events(after=self._cursor)
        for row in rows:
            if row["event"] == Event.LED:
                self.leaders[row["dfid"]] = row["details"]["worker"]
            elif row["event"] == Event.ENDED:
                self.ended.add(row["dfid"])
        self._cursor = rows.cursor
        holders = self._store.resource_lock.holders(CAPITAL)
        self.holders = [each.dfid for each in holders]
        used = sum(each.amount for each in holders)
        self._store.decision_audit.record(FLEET_LOG, SAMPLED, details={"used": str(used)})
        return float(used)

    def led_by(self, name: str) -> list[str]:
        """The flows that a process leads."""
        return sorted(
            dfid
            for dfid, leader in self.leaders.items()
            if leader == name and dfid not in self.ended
        )

    def note_kill(self, name: str) -> str:
        """Record that a process was killed; returns what to say of it."""
        flows = self.led_by(name)
        held = [dfid for dfid in flows if dfid in self.holders]
        details = {"worker": name, "flows": flows, "held": held}
        self._store.decision_audit.record(FLEET_LOG, KILLED, details=details, severity="WARNING")
        return f"{name} killed while it led {len(flows)} flows, {len(held)} of them with capital"


def run_fleet(
    store: StorageBundle,
    plan: Plan,
    todo: Sequence[Decision],
    *,
    address: Address,
    kill: bool,
    console: Console,
) -> None:
    """Run a fleet until its last process ends.

    Raises:
        InterruptionError: by SIGINT or SIGTERM, within signals_raised; every process is stopped.
        FleetError: its processes fail by themselves, or get nowhere.
    """
    display = ProgressDisplay(console, total=len(todo), limit=plan.capital)
    with signals_collected() as received:
        processes = _processes(plan, todo, address)
        try:
            with display, Reviewer(Desk(store, plan, "reviewer")):
                _start(processes)
                _watch(store, plan, processes, display, received, kill)
        finally:
            for process in processes.values():
                process.kill()
                process.join()


def _processes(plan: Plan, todo: Sequence[Decision], address: Address) -> dict[str, BaseProcess]:
    context = multiprocessing.get_context("spawn")  # not fork: hosts share nothing but the store
    hands = deliveries(todo, workers=len(plan.workers))
    return {
        name: context.Process(
            target=run_worker, args=(*address, name, hand), name=name, daemon=True
        )
        for name, hand in zip(plan.workers, hands, strict=True)
    }


def _start(processes: dict[str, BaseProcess]) -> None:
    with deaf_to_ctrl_c():
        for process in processes.values():
            process.start()


def _watch(
    store: StorageBundle,
    plan: Plan,
    processes: dict[str, BaseProcess],
    display: ProgressDisplay,
    received: list[int],
    kill: bool,
) -> None:
    lookout = Lookout(store)
    moved_at, killed = time.monotonic(), not kill
    while True:
        over = not any(process.is_alive() for process in processes.values())
        if received:  # it strikes when everything is stopped
            return
        before = len(lookout.ended)
        used = lookout.look()
        display.update(finished=len(lookout.ended), used=used)
        for name, process in processes.items():
            if process.exitcode is not None and process.exitcode > 0:
                raise FleetError(f"{name} ended with exit code {process.exitcode}")
        if over:
            return
        if len(lookout.ended) > before:
            moved_at = time.monotonic()
        if time.monotonic() - moved_at > STALLED_SEC:
            raise FleetError(f"nothing was finished for {STALLED_SEC:.0f} s")
        if not killed and len(lookout.ended) >= KILL_AFTER * len(plan.flows):
            victim = _victim(lookout, plan)
            if victim is not None:
                processes[victim].kill()
                processes[victim].join()
                lookout.look()
                display.say(lookout.note_kill(victim))
                killed = True
        time.sleep(TICK_SEC)


def _victim(lookout: Lookout, plan: Plan) -> str | None:
    """The process that leads most of the flows that hold capital, if one does."""
    held = {name: set(lookout.led_by(name)) & set(lookout.holders) for name in plan.workers}
    name = max(held, key=lambda each: len(held[each]))
    return name if held[name] else None
