"""The demo: its rules, that its checks can fail, that a death at any call leaves nothing broken."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from dir_redis import StorageBundle, memory_storage, open_storage

pytest.importorskip("rich")
pytest.importorskip("matplotlib")

from examples.fleet.book import Book
from examples.fleet.chart import CapitalUse, as_text, draw
from examples.fleet.flow import deliver
from examples.fleet.grammar import Event, Outcome, Status
from examples.fleet.history import History
from examples.fleet.invariants import check_all, nothing_left_held
from examples.fleet.plan import CAPITAL, deliveries, make_plan, symbol_limit
from examples.fleet.prices import Decision, decisions, read_quotes
from examples.fleet.recovery import recover
from examples.fleet.reviewer import review
from examples.fleet.sampling import SAMPLED, SAMPLES_LOG, sample
from examples.fleet.strategy import Order, filled_before_failure, judge, needs_human, propose
from examples.fleet.worker import open_desk

ROOT = Path(__file__).parents[1]
AGENT = "agent-01"

QUIET = Decision("IBM-2001-01", "IBM", (100.0, 101.0))
BOUGHT = Decision("IBM-2001-02", "IBM", (100.0, 110.0))
ESCALATED = Decision("IBM-2001-03", "IBM", (100.0, 160.0))
BROKEN_OFF = Decision("IBM-2002-03", "IBM", (100.0, 160.0))
OUT_OF_BUDGET = Decision("IBM-2001-04", "IBM", (100.0, 170.0))
DECISIONS = [QUIET, BOUGHT, BROKEN_OFF, OUT_OF_BUDGET]


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the demo catches it."""


class Intercepted:
    """A storage whose calls go past a hook first, which may raise, or return True to lose them."""

    def __init__(self, storage: object, hook: Callable[[str, tuple[Any, ...]], bool]) -> None:
        self._storage = storage
        self._hook = hook

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)

        def call(*arguments: Any, **options: Any) -> Any:
            return None if self._hook(name, arguments) else method(*arguments, **options)

        return call


def intercepted(store: StorageBundle, hook: Callable[[str, tuple[Any, ...]], bool]) -> Any:
    names = [field.name for field in fields(StorageBundle)][:9]
    storages: dict[str, Any] = {name: Intercepted(getattr(store, name), hook) for name in names}
    return replace(store, **storages)


def killed_at(call: int) -> Callable[[str, tuple[Any, ...]], bool]:
    """A hook that kills before the call of that number is made."""
    numbers = itertools.count()

    def hook(_name: str, _arguments: tuple[Any, ...]) -> bool:
        if next(numbers) == call:
            raise Killed
        return False

    return hook


@pytest.fixture(autouse=True)
def _human_thinks_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.fleet.reviewer.THINKING_SEC", 0)


def planned(todo: Sequence[Decision], *, workers: int = 1) -> StorageBundle:
    store = memory_storage()
    make_plan(todo, workers=workers).store(store)
    return store


def play(store: StorageBundle, todo: Sequence[Decision], *, human: StorageBundle) -> None:
    """Be the worker, the human and the sampler at once, and never wait."""
    desk = open_desk(store, AGENT)
    for decision in todo:
        for pauses, _ in enumerate(deliver(desk, decision)):
            assert pauses < 100, f"{decision.dfid} waits for nobody"
            review(human)
            sample(human, make_plan(todo, workers=1))


def sound_run(hook: Callable[[str, tuple[Any, ...]], bool] | None = None) -> StorageBundle:
    store = planned(DECISIONS)
    play(intercepted(store, hook) if hook else store, DECISIONS, human=store)
    return store


def broken(store: StorageBundle) -> set[str]:
    return {finding.invariant for finding in check_all(store) if not finding.holds}


# The rules


def test_prices_are_read_whole() -> None:
    quotes = read_quotes()
    assert len(quotes) == 560
    assert (quotes[0].symbol, f"{quotes[0].month}", quotes[0].price) == (
        "MSFT", "2000-01-01", 39.81,
    )  # fmt: skip


def test_a_decision_sees_six_months_up_to_its_own() -> None:
    by_flow = {each.dfid: each for each in decisions(read_quotes())}
    assert len(by_flow) == 560
    assert by_flow["MSFT-2000-02"].prices == (39.81, 36.35)
    assert len(by_flow["GOOG-2010-03"].prices) == 6


def test_months_limit_each_symbol() -> None:
    assert len(decisions(read_quotes(), months=12)) == 60


def test_deliveries_cover_all_and_repeat_some_elsewhere() -> None:
    todo = decisions(read_quotes())
    dealt = deliveries(todo, workers=8)
    assert {each.dfid for hand in dealt for each in hand} == {each.dfid for each in todo}
    assert sum(map(len, dealt)) == 560 + 63
    assert all(len(hand) == len(set(hand)) for hand in dealt)


def test_the_strategy_follows_the_trend() -> None:
    assert propose([100.0]) is None
    assert propose(QUIET.prices) is None
    assert propose(BOUGHT.prices) == Order("BUY", 51, 110.0)
    assert propose((110.0, 100.0)) == Order("SELL", 57, 100.0)


def test_a_human_sees_large_orders_only() -> None:
    assert not needs_human(Order("BUY", 220, 100.0))
    assert needs_human(Order("BUY", 221, 100.0))
    assert judge(Order("SELL", 280, 100.0)) == Order("SELL", 280, 100.0)
    assert judge(Order("BUY", 281, 100.0)) == Order("BUY", 140, 100.0)
    assert judge(Order("SELL", 281, 100.0)) is None


def test_some_orders_break_off_always_the_same() -> None:
    order = Order("BUY", 51, 110.0)
    assert filled_before_failure(BROKEN_OFF.dfid, order) == 25
    assert filled_before_failure(BOUGHT.dfid, order) is None


# The invariants: each holds on a sound run, and is seen to fail on a broken one


def test_every_invariant_holds_on_a_sound_run() -> None:
    store = sound_run()
    assert broken(store) == set()
    outcomes = [row["details"]["outcome"] for row in History.read(store).of(Event.CLOSED)]
    assert outcomes == [
        Outcome.NO_TRADE, Outcome.EXECUTED, Outcome.COMPENSATED, Outcome.NO_BUDGET,
    ]  # fmt: skip


def over_capacity_seen(store: StorageBundle) -> None:
    used = {CAPITAL: 100_000.01, symbol_limit("IBM"): 0.0}
    store.decision_audit.record(SAMPLES_LOG, SAMPLED, details={"used": used})


def over_capacity_logged(store: StorageBundle) -> None:
    for number in range(5):
        amounts = {CAPITAL: 20_000.01}
        store.decision_audit.record(f"x{number}", Event.RESERVED, details={"amounts": amounts})


def unplanned_flow(store: StorageBundle) -> None:
    store.lifecycle.record_transition("x", Status.CREATED, Status.ACTIVE)


def executed_twice(store: StorageBundle) -> None:
    row = store.decision_audit.events_for_dfid(BOUGHT.dfid)
    details = next(each["details"] for each in row if each["event"] == Event.EXECUTED)
    store.decision_audit.record(BOUGHT.dfid, Event.EXECUTED, details=details)


def executed_after_all(store: StorageBundle) -> None:
    store.idempotency.set(f"order:{QUIET.dfid}", {"status": Event.EXECUTED})


def too_many_tokens(store: StorageBundle) -> None:
    store.escalation.record_budget_token(AGENT)


def forgotten_position(store: StorageBundle) -> None:
    book = Book.load(store, AGENT)
    document = {"claims": {}, "positions": {"IBM": 1}, "finished": book.finished}
    store.context.set_state(AGENT, json.dumps(document))


def lowered_capacity(store: StorageBundle) -> None:
    store.resource_lock.set_capacity(CAPITAL, 1)


def held_capital(store: StorageBundle) -> None:
    store.resource_lock.acquire_batch("x", {CAPITAL: 1}, 0)


def open_claim(store: StorageBundle) -> None:
    Book.load(store, AGENT).claim(store, BOUGHT.dfid, "somebody")


@pytest.mark.parametrize(
    ("break_it", "invariant"),
    [
        (over_capacity_seen, "never over capacity, as seen"),
        (over_capacity_logged, "never over capacity, by the log"),
        (unplanned_flow, "every trail whole and in order"),
        (executed_twice, "each order executed at most once"),
        (executed_after_all, "each order executed at most once"),
        (too_many_tokens, "no escalation budget exceeded"),
        (forgotten_position, "books agree with the trails"),
        (lowered_capacity, "never over capacity, as seen"),
        (lowered_capacity, "never over capacity, by the log"),
        (held_capital, "nothing left held"),
        (lambda store: store.saga.mark_dirty("x", "execute", "{}"), "nothing left held"),
        (lambda store: store.intent_retry.set_count(BOUGHT.dfid, 1), "nothing left held"),
        (
            lambda store: store.escalation.insert_request("x", AGENT, "", "{}", "{}", ""),
            "nothing left held",
        ),
        (open_claim, "nothing left held"),
    ],
)  # fmt: skip
def test_a_broken_invariant_is_noticed(
    break_it: Callable[[StorageBundle], object], invariant: str
) -> None:
    store = sound_run()
    break_it(store)
    assert invariant in broken(store)


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.EXECUTING, Status.CLOSED])
def test_a_missing_transition_is_noticed(status: Status) -> None:
    def lose(name: str, arguments: tuple[Any, ...]) -> bool:
        return name == "record_transition" and arguments[::2] == (BOUGHT.dfid, status)

    assert broken(sound_run(lose)) == {"every trail whole and in order"}


@pytest.mark.parametrize("event", [Event.OPENED, Event.SUBMITTED, Event.RELEASING])
def test_a_missing_audit_row_is_noticed(event: Event) -> None:
    def lose(name: str, arguments: tuple[Any, ...]) -> bool:
        return name == "record" and arguments == (BOUGHT.dfid, event)

    assert "every trail whole and in order" in broken(sound_run(lose))


# A worker's death at any point of a flow


def deaths(decision: Decision) -> Iterator[StorageBundle]:
    """Stores in which the worker died before the first call, the second, ..., the last."""
    for call in itertools.count():
        store = planned([decision])
        try:
            play(intercepted(store, killed_at(call)), [decision], human=store)
        except Killed:
            yield store
        else:
            return


def outcome_of(store: StorageBundle, decision: Decision) -> Outcome:
    rows = store.decision_audit.events_for_dfid(decision.dfid)
    return Outcome(rows[-1]["details"]["outcome"])


def finish_after_death(store: StorageBundle, decision: Decision) -> None:
    recover(store, AGENT, cause="test")
    play(store, [decision], human=store)
    sample(store, make_plan([decision], workers=1))


@pytest.mark.parametrize(
    ("decision", "outcomes"),
    [
        (QUIET, {Outcome.NO_TRADE, Outcome.WORKER_LOST}),
        (BOUGHT, {Outcome.EXECUTED, Outcome.COMPENSATED, Outcome.WORKER_LOST}),
        (ESCALATED, {Outcome.EXECUTED, Outcome.COMPENSATED, Outcome.WORKER_LOST}),
        (BROKEN_OFF, {Outcome.COMPENSATED, Outcome.WORKER_LOST}),
    ],
    ids=["quiet", "bought", "escalated", "broken off"],
)
def test_a_death_at_any_call_breaks_nothing(decision: Decision, outcomes: set[Outcome]) -> None:
    seen = set()
    for store in deaths(decision):
        finish_after_death(store, decision)
        assert broken(store) == set()
        seen.add(outcome_of(store, decision))
    assert seen == outcomes


def test_a_recovery_that_dies_at_any_call_can_be_repeated() -> None:
    for recovery_call in itertools.count():
        died = 0
        for store in deaths(BROKEN_OFF):
            try:
                recover(intercepted(store, killed_at(recovery_call)), AGENT, cause="test")
            except Killed:
                died += 1
            finish_after_death(store, BROKEN_OFF)
            assert broken(store) == set()
        if not died:
            return


def test_recovery_leaves_alone_what_another_process_holds() -> None:
    store = planned([BOUGHT])
    other = deliver(open_desk(store, "agent-02"), BOUGHT)
    next(other)
    before = store.decision_audit.events_for_dfid(BOUGHT.dfid)
    Book.load(store, AGENT).claim(store, BOUGHT.dfid, "another holder")
    assert recover(store, AGENT, cause="test") == []
    assert store.decision_audit.events_for_dfid(BOUGHT.dfid) == before
    assert [*other] == []
    assert outcome_of(store, BOUGHT) == Outcome.EXECUTED


def test_an_order_whose_death_came_after_the_deed_counts_as_executed() -> None:
    def kill_before_its_row(name: str, arguments: tuple[Any, ...]) -> bool:
        if name == "record" and arguments == (BOUGHT.dfid, Event.EXECUTED):
            raise Killed
        return False

    store = planned([BOUGHT])
    with pytest.raises(Killed):
        play(intercepted(store, kill_before_its_row), [BOUGHT], human=store)
    finish_after_death(store, BOUGHT)
    assert broken(store) == set()
    assert outcome_of(store, BOUGHT) == Outcome.EXECUTED
    assert Book.load(store, AGENT).positions == {"IBM": 51}


# Two processes and one decision


def deliver_twice(store: StorageBundle, *, second_at: int) -> bool:
    """Deliver to two agents, the second just before the first's call of that number."""
    second = deliver(open_desk(store, "agent-02"), BOUGHT)
    numbers = itertools.count()

    def let_the_second_in(_name: str, _arguments: tuple[Any, ...]) -> bool:
        if next(numbers) == second_at:
            next(second, None)
        return False

    first = deliver(open_desk(intercepted(store, let_the_second_in), AGENT), BOUGHT)
    for pauses, _ in enumerate(itertools.chain.from_iterable(zip_until_both_end(first, second))):
        assert pauses < 100, "they wait for each other"
    return next(numbers) > second_at


def zip_until_both_end(*flows: Iterator[float]) -> Iterator[list[float]]:
    while paused := [pause for flow in flows if (pause := next(flow, None)) is not None]:
        yield paused


def test_a_second_delivery_at_any_moment_executes_nothing_again() -> None:
    for call in itertools.count():
        store = planned([BOUGHT], workers=2)
        reached = deliver_twice(store, second_at=call)
        sample(store, make_plan([BOUGHT], workers=2))
        assert broken(store) == set()
        assert outcome_of(store, BOUGHT) == Outcome.EXECUTED
        if not reached:
            return


# The pictures


def test_the_text_chart_shows_peaks_below_the_limit() -> None:
    use = CapitalUse(100.0, [(0.0, 100.0), (1.0, 50.0)], [(0.0, 0.0)], [], flows=1, agents=1)
    assert as_text(use, width=4, height=2).splitlines() == [
        "      100 ┼┄┄┄┄ limit",
        "          ┤███ ",
        "       50 ┤████",
        "        0 └────",
        "           01.0 s",
    ]


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    draw(CapitalUse.of(History.read(sound_run())), tmp_path / "capital.png")
    assert (tmp_path / "capital.png").read_bytes().startswith(b"\x89PNG")


# The program


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.fleet", "--output", str(folder / "out"), *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("backend", ["embedded", "sqlite"])
def test_a_fleet_with_killed_workers_keeps_every_invariant(backend: str, tmp_path: Path) -> None:
    url = ["--url", f"sqlite:///{tmp_path}/fleet.db"] if backend == "sqlite" else []
    run = demo(tmp_path, "--months", "12", "--workers", "4", "--kill", "2", *url)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("PASS") == 7
    assert run.stdout.count("killed agent-") == 2
    assert (tmp_path / "out" / "capital.png").exists()


def test_ctrl_c_stops_everything_and_leaves_nothing_held(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/fleet.db"
    command = [sys.executable, "-u", "-m", "examples.fleet", "--workers", "3", "--url", url]
    with subprocess.Popen(
        [*command, "--output", str(tmp_path)], cwd=ROOT, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as run:  # fmt: skip
        assert run.stdout is not None
        for line in run.stdout:
            if " of 560 flows" in line:
                break
        os.killpg(run.pid, signal.SIGINT)
        # Ends when the last process that has our pipes is gone: no worker outlives the parent.
        _, complaints = run.communicate(timeout=60)
    assert run.returncode == 130
    assert complaints == "stopped by SIGINT; what was held is released\n"
    with open_storage(url) as store:
        assert nothing_left_held(store, History.read(store)).holds


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--url", "memory://"], "lives in one process"),
        (["--url", "fakeredis://x"], "lives in one process"),
        (["--url", "redis://127.0.0.1:1"], "did not answer"),
        (["--url", "nonsense"], "is no URL"),
        (["--workers", "33"], "not between 1 and 32"),
        (["--namespace", "no name"], "namespace must be"),
    ],
)
def test_a_mistake_is_said_in_a_line(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    run = demo(tmp_path, *arguments)
    assert run.returncode == 2
    assert complaint in run.stderr
    assert "Traceback" not in run.stderr


def test_a_store_with_data_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/fleet.db"
    with open_storage(url) as store:
        store.lifecycle.record_transition("x", "CREATED", "ACTIVE")
    run = demo(tmp_path, "--url", url)
    assert run.returncode == 2
    assert "has data already" in run.stderr
