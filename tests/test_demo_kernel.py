"""The kernel example: what it promises holds whoever dies in it, and its checks have teeth."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dir_redis import StorageBundle, memory_storage, open_storage
from dir_redis.keep_alive import KeepAlive
from tests.dir_core_needed import need_dir_core

if find_spec("dir_core") is None:
    need_dir_core()

from dir_core import ProofCarryingIntent

from examples.fleet.prices import Decision, decisions, read_quotes
from examples.kernel import __main__ as program
from examples.kernel import run as running
from examples.kernel.broker import FILLED, REVERSED, account_of
from examples.kernel.desk import OURS, UNMODIFIED, Desk
from examples.kernel.flow import Event, Outcome
from examples.kernel.history import History
from examples.kernel.invariants import check_all
from examples.kernel.plan import CAPITAL, agent_of, book_of, deliveries, make_plan, worth_proposing
from examples.kernel.reviewer import Reviewer
from examples.kernel.run import FLEET_LOG, KILLED, SAMPLED
from examples.kernel.worker import work
from examples.signals import InterruptionError, signals_raised
from tests.intercepted import Call, Hook, intercepted

ROOT = Path(__file__).parents[1]
TODO = worth_proposing(decisions(read_quotes()))
BY_DFID = {each.dfid: each for each in TODO}
# One of each kind: followed, broken off, asked and halved, refused by the human, rejected thrice.
KINDS = {
    "AAPL-2000-02": Outcome.EXECUTED,
    "IBM-2000-10": Outcome.COMPENSATED,
    "MSFT-2000-04": Outcome.EXECUTED,
    "AAPL-2000-05": Outcome.REFUSED_BY_HUMAN,
    "IBM-2002-04": Outcome.REJECTED,
}
SOME = [BY_DFID[dfid] for dfid in KINDS]


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.kernel.broker.LATENCY_SEC", 0)
    monkeypatch.setattr("examples.kernel.reviewer.PAUSE_SEC", 0.002)
    monkeypatch.setattr("examples.kernel.worker.PAUSE_SEC", 0.002)


def begun(todo: list[Decision], kernel: str = OURS) -> tuple[StorageBundle, Desk]:
    """A run that nobody has worked on, and a desk for it."""
    store = memory_storage()
    plan = replace(make_plan(todo, workers=2, kernel=kernel), escalation_budget=3)
    plan.save(store)
    store.decision_audit.record(FLEET_LOG, SAMPLED, details={"used": "1"})
    desk = Desk(store, plan, "worker-1")
    desk.register_agents()
    return store, desk


def finished(todo: list[Decision], kernel: str = OURS) -> StorageBundle:
    """A run that was brought to its end."""
    store, desk = begun(todo, kernel)
    with Reviewer(desk):
        work(desk, todo)
    return store


def broken(store: StorageBundle) -> list[str]:
    return [each.finding.invariant for each in check_all(store) if not each.finding.holds]


@pytest.mark.parametrize("kernel", [OURS, UNMODIFIED])
def test_one_thread_keeps_every_invariant_with_either_kernel(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.kernel.worker.OPEN_FLOWS", 1)
    store = finished(TODO[:120], kernel)

    history = History.read(store)
    outcomes = {history.outcome(dfid) for dfid in history.plan.flows}
    assert outcomes >= {
        Outcome.EXECUTED,
        Outcome.COMPENSATED,
        Outcome.REJECTED,
        Outcome.NO_BUDGET,
        Outcome.REFUSED_BY_HUMAN,
    }
    assert broken(store) == []
    assert [each.promised for each in check_all(store)] == [True] * 3 + [kernel == OURS] * 9


# Dying at each step


class CrashError(Exception):
    """The process ends here."""


def dead_from(number: int) -> Hook:
    """A hook under which nothing is called any more from the call of that number on."""
    numbers = itertools.count()

    def hook(call: Call) -> Any:
        if next(numbers) >= number:
            raise CrashError
        return call.make()

    return hook


def desk_with(hook: Hook, store: StorageBundle, desk: Desk) -> Desk:
    """The desk of another process, whose leases are short and whose calls a hook makes."""
    other = Desk(intercepted(store, hook), desk.plan, "worker-2")
    other.guard.lease_sec = other.saga.lease_sec = 0.02
    return other


@pytest.mark.parametrize("dfid", KINDS)
def test_another_process_goes_on_wherever_one_died(dfid: str) -> None:
    todo = [BY_DFID[dfid]]
    for calls in itertools.count():
        store, desk = begun(todo)
        dying = desk_with(dead_from(calls), store, desk)
        with Reviewer(desk):
            try:
                work(dying, todo)
            except CrashError:
                store.decision_audit.record(FLEET_LOG, KILLED, details={})
                work(desk, todo)
            else:
                break
        assert broken(store) == [], calls
        assert History.read(store).outcome(dfid) == KINDS[dfid], calls
    assert 20 < calls < 200


@pytest.mark.parametrize("dfid", KINDS)
def test_a_process_that_stood_still_leaves_nothing_behind_in_a_flow_that_another_ended(
    dfid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does outside, at a broker that compares no tokens, is another matter."""
    monkeypatch.setattr(KeepAlive, "_keep", lambda _: None)
    todo = [BY_DFID[dfid]]
    for number in itertools.count():
        store, desk = begun(todo)
        numbers = itertools.count()

        def stand_still(call: Call) -> Any:
            if next(numbers) == number:  # noqa: B023
                work(desk, todo)  # noqa: B023
            return call.make()

        late = desk_with(stand_still, store, desk)
        with Reviewer(desk):
            work(late, todo)
        assert "nothing left behind" not in broken(store), number
        if next(numbers) < number:
            break
    assert 20 < number < 200


def test_an_end_that_was_noted_stands() -> None:
    todo = [BY_DFID["AAPL-2000-02"]]
    store, desk = begun(todo)
    desk.note("AAPL-2000-02", Event.ENDED, outcome=Outcome.NO_CAPITAL)

    work(desk, todo)

    assert History.read(store).at_broker("AAPL-2000-02", FILLED) == []
    assert store.lifecycle.current_status("AAPL-2000-02") == "ABORTED"
    assert broken(store) == []


# The checks have teeth


def _fill_again(store: StorageBundle) -> None:
    [filled] = [
        row["details"]
        for row in store.decision_audit.events_for_dfid(account_of("AAPL-2000-02"))
        if row["event"] == FILLED
    ]
    store.decision_audit.record(account_of("AAPL-2000-02"), FILLED, details=filled)


def _append(store: StorageBundle, dfid: str, agent_id: str) -> None:
    intent = ProofCarryingIntent(
        dfid=dfid, intent_payload={}, context_ref="c", evidence_hash="never computed"
    )
    store.decision_ledger.append(intent, agent_id=agent_id)


def _change_an_entry(store: StorageBundle) -> None:
    ledger: Any = store.decision_ledger
    entry = next(iter(ledger._entries.values()))
    entry["agent_id"] = "somebody else"


def _count(store: StorageBundle, times: int) -> None:
    for _ in range(times):
        store.intent_retry.increment(agent_of("IBM"))


def _note(dfid: str, event: str, **details: Any) -> Callable[[StorageBundle], None]:
    return lambda store: store.decision_audit.record(dfid, event, details=details)


TAMPERING: dict[str, tuple[Callable[[StorageBundle], Any], list[str]]] = {
    "more held than there is": (
        _note(FLEET_LOG, SAMPLED, used="70000.01"),
        ["capital never above its limit"],
    ),
    "accepted without an entry": (
        lambda store: store.lifecycle.record_transition("X-1", "VALIDATING", "ACCEPTED"),
        ["accepted proposals are in the ledger", "every flow has its one end"],
    ),
    "an entry without evidence": (
        lambda store: _append(store, "AAPL-2000-05", agent_of("AAPL")),
        ["accepted proposals are in the ledger", "nothing else is in the ledger"],
    ),
    "filled twice": (_fill_again, ["each order filled once"]),
    "reversed twice": (
        _note(account_of("IBM-2000-10"), REVERSED, shares=1, client="worker-1"),
        ["each broken order reversed once"],
    ),
    "capital used twice": (
        _note("X-1", Event.HELD, amount=70_000.01),
        ["orders covered by capital"],
    ),
    "ended twice": (
        lambda store: store.lifecycle.record_transition("AAPL-2000-02", "CLOSED", "CLOSED"),
        ["every flow has its one end"],
    ),
    "a gap": (
        lambda store: store.lifecycle.record_transition("AAPL-2000-02", "CLOSED", "ACTIVE"),
        ["every flow has its one end"],
    ),
    "a count lost": (
        lambda store: store.intent_retry.set_count(agent_of("IBM"), 4),
        ["rejections counted exactly"],
    ),
    "a count for nothing": (lambda store: _count(store, 1), ["rejections counted exactly"]),
    "rejected too often": (
        lambda store: [
            store.decision_audit.record(
                "IBM-2002-04",
                Event.COUNTED,
                details={
                    "agent": agent_of("IBM"),
                    "number": store.intent_retry.increment(agent_of("IBM")).count,
                },
            )
        ],
        ["rejections counted exactly"],
    ),
    "a budget overspent": (
        lambda store: [store.escalation.record_budget_token(agent_of("AAPL")) for _ in range(3)],
        ["no escalation budget exceeded"],
    ),
    "a merge lost": (
        lambda store: store.context.set_state(book_of("AAPL"), "{}"),
        ["books agree with the orders"],
    ),
    "capital left held": (
        lambda store: store.resource_lock.acquire_batch("X-1", {CAPITAL: 1}, 1),
        ["nothing left behind"],
    ),
    "left dirty": (
        lambda store: store.saga.mark_dirty("X-1", "order", "{}"),
        ["nothing left behind"],
    ),
}


@pytest.mark.parametrize("name", TAMPERING)
def test_each_invariant_is_seen_to_be_broken(name: str) -> None:
    tamper, invariants = TAMPERING[name]
    store = finished(SOME)
    assert broken(store) == []

    tamper(store)

    assert broken(store) == invariants


def test_every_check_is_shown_to_fail() -> None:
    shown = {each for _, invariants in TAMPERING.values() for each in invariants}

    # The chain's own tests change every byte of its entries.
    assert {each.finding.invariant for each in check_all(finished(SOME))} - shown == {
        "the ledger's chain is intact"
    }


def test_every_worker_gets_every_decision_and_some_get_one_at_the_same_time() -> None:
    hands = deliveries(TODO, workers=4)

    assert all(sorted(each.dfid for each in hand) == sorted(BY_DFID) for hand in hands)
    assert [hand[0].dfid for hand in hands].count(TODO[0].dfid) == 2


# The program


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.kernel", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.parametrize("backend", ["embedded", "sqlite"])
def test_a_fleet_with_a_killed_worker_keeps_every_invariant(backend: str, tmp_path: Path) -> None:
    url = {"embedded": [], "sqlite": ["--url", f"sqlite:///{tmp_path}/kernel.db"]}
    run = demo("--months", "36", *url[backend])

    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count(" PASS ") == 12
    assert "None of 12 invariants broken." in run.stdout
    assert len(re.findall(r"worker-\d killed while it led [1-3] flows", run.stdout)) == 1
    assert max(map(len, run.stdout.splitlines())) <= 80
    assert run.stderr == ""


def test_the_unmodified_kernel_is_reported_as_it_is() -> None:
    run = demo("--months", "36", "--kernel", "unmodified")

    verdicts = re.findall(r"^ (PASS|held|LOST|FAIL)  ", run.stdout, re.M)
    assert verdicts[:3] == ["PASS"] * 3, run.stdout + run.stderr
    assert set(verdicts[3:]) <= {"held", "LOST"}
    assert len(verdicts) == 12
    assert run.returncode == ("LOST" in verdicts)
    assert "promise 3 of these 12" in run.stdout


def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    command = [
        sys.executable, "-u", "-m", "examples.kernel", "--url", f"sqlite:///{tmp_path}/kernel.db"
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as run:  # fmt: skip
        assert run.stdout is not None
        for line in run.stdout:
            if " of 430 flows" in line:
                break
        os.killpg(run.pid, signal.SIGINT)
        # Ends when the last process that has our pipes is gone: no worker outlives the parent.
        _, complaints = run.communicate(timeout=60)
    assert run.returncode == 130
    assert complaints == "stopped by SIGINT; every process is stopped\n"


def test_ctrl_c_is_not_lost_while_a_process_starts() -> None:
    class CtrlC:
        """A process whose start takes so long that Ctrl-C falls on it."""

        def start(self) -> None:
            signal.raise_signal(signal.SIGINT)

    processes: Any = {"worker-1": CtrlC()}
    with pytest.raises(InterruptionError, match="SIGINT"), signals_raised():
        running._start(processes)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--url", "memory://"], "lives in one process"),
        (["--url", "fakeredis://x"], "lives in one process"),
        (["--url", "redis://127.0.0.1:1"], "did not answer"),
        (["--url", "nonsense"], "is no URL"),
        (["--kernel", "theirs"], "invalid choice: 'theirs'"),
        (["--workers", "9"], "invalid choice: 9"),
        (["--months", "3"], "3 is less than 12"),
        (["--month", "24"], "unrecognized arguments: --month"),
        (["--namespace", "no name"], "namespace must be"),
    ],
)
def test_a_mistake_is_said_in_a_line(arguments: list[str], complaint: str) -> None:
    run = demo(*arguments)
    assert run.returncode == 2
    assert complaint in run.stderr
    assert "Traceback" not in run.stderr


def test_a_store_with_data_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/kernel.db"
    with open_storage(url) as store:
        store.lifecycle.record_transition("x", "CREATED", "ACTIVE")
    run = demo("--url", url)
    assert run.returncode == 2
    assert "has data already" in run.stderr


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [
        ("dir_core", "pip install 'dir-core>=0.4'"),
        ("rich", "pip install rich"),
        ("a newer dir_core", "does not check: pip install 'dir-core>=0.4'"),
        ("a newer Python", "needs Python 3.12 or newer, and this is 3.11.9"),
    ],
)
def test_what_is_missing_is_named(
    missing: str,
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(program, "find_spec", lambda name: None if name == missing else name)
    if missing == "a newer dir_core":
        monkeypatch.setattr(program, "version", lambda _: "0.3.0")
    if missing == "a newer Python":
        python = SimpleNamespace(
            version_info=(3, 11, 9), version="3.11.9 (main)", stderr=sys.stderr
        )
        monkeypatch.setattr(program, "sys", python)

    assert program.main([]) == 2
    assert complaint in capsys.readouterr().err
