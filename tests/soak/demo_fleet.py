"""The fleet of ``make demo`` under faults: run after run, each judged by all its invariants."""

from __future__ import annotations

import io
import signal
import threading
import time
from contextlib import ExitStack

from rich.console import Console

from dir_redis import StorageBundle, open_storage, verify_store
from examples.fleet.history import History
from examples.fleet.invariants import check_all
from examples.fleet.plan import deliveries, make_plan
from examples.fleet.prices import decisions, read_quotes
from examples.fleet.run import KillPlan, run_fleet
from examples.fleet.sampling import Lookout
from examples.fleet.supervisor import Address, FleetError, Patience, Supervisor
from tests.soak.report import Report

WORKERS = 3
MONTHS = 12
LEASE_SEC = 1.5
# A process fails whenever the server refuses a write, and is started anew. What ends a fleet that
# gets nowhere is that nothing is finished.
_FAILURES = 10_000


class DemoFleet:
    """Runs the demo's fleet, each time in a namespace of its own.

    Args:
        url: where its processes find the store.
        safe_url: where whoever looks at them does.
        calm: held while a run is prepared or judged: nothing befalls the store then.
        report: told how each run went, and what was wrong with it.

    Attributes:
        runs: how many runs have ended.
        flows: how many flows have, in all of them.
    """

    def __init__(self, url: str, safe_url: str, calm: threading.Lock, report: Report) -> None:
        self.runs = self.flows = 0
        self._url, self._safe_url = url, safe_url
        self._calm = calm
        self._report = report
        self._supervisor: Supervisor | None = None

    def run(self) -> None:
        """Run it once."""
        namespace = f"demo-{self.runs:02}"
        todo = decisions(read_quotes(), months=MONTHS)
        plan = make_plan(todo, workers=WORKERS, lease_sec=LEASE_SEC)
        started = time.monotonic()
        with ExitStack() as stack:
            with self._calm:
                store = stack.enter_context(open_storage(self._safe_url, namespace=namespace))
                plan.store(store)
            patience = Patience(_FAILURES)
            self._supervisor = Supervisor(
                Address(self._url, namespace),
                dict(zip(plan.agents, deliveries(todo, workers=WORKERS), strict=True)),
                replace=True,
                patience=patience,
            )
            try:
                run_fleet(
                    Lookout(store, plan),
                    self._supervisor,
                    patience=patience,
                    kills=KillPlan(0, total=len(todo), seed=0),  # they are among the faults here
                    console=Console(file=io.StringIO()),
                )
            except FleetError as error:
                self._report.wrong(f"{namespace}: {error}")
            took = time.monotonic() - started
            with self._calm:
                wrong = _judge(store)
                rows = len(History.read(store).rows)
        for problem in wrong:
            self._report.wrong(f"{namespace}: {problem}")
        self.runs += 1
        self.flows += len(todo)
        verdict = "every invariant holds" if not wrong else f"{len(wrong)} violations"
        self._report.say(
            f"the demo's fleet: {len(todo)} flows, {rows} rows in {took:.1f} s: {verdict}"
        )

    def one_of_the_workers(self, number: int, stopped: threading.Event) -> str | None:
        """An agent whose process is at work; waits for one, and no longer when it is stopped.

        Args:
            number: of those that are at work, counted round and round.
            stopped: set when no more faults are wanted.
        """
        deadline = time.monotonic() + 60
        while not (self._supervisor and (working := sorted(self._supervisor.working))):
            assert time.monotonic() < deadline, "no worker of the demo's fleet has been at work"
            if stopped.wait(0.01):
                return None
        return working[number % len(working)]

    def signal(self, agent_id: str, signum: signal.Signals) -> bool:
        """Send a signal to an agent's process; whether there is one."""
        assert self._supervisor is not None
        return self._supervisor.signal(agent_id, signum)


def _judge(store: StorageBundle) -> list[str]:
    """What is wrong with a run that has ended, after what the dead held has run out."""
    deadline = time.monotonic() + 4 * LEASE_SEC
    while True:
        wrong = [
            f"{finding.invariant}: {problem}"
            for finding in check_all(store)
            for problem in finding.problems
        ]
        if not wrong or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    found = verify_store(store).findings
    return wrong + [f"{kind}: {key!r} {problem}" for key, kind, problem in found]
