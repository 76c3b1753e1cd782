"""The demo: its rules, that its checks can fail, that a death at any call leaves nothing broken."""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dir_redis import (
    ClaimState,
    LeaseLostError,
    StorageBundle,
    StorageError,
    memory_storage,
    open_storage,
)
from dir_redis.clock import MonotonicClock

pytest.importorskip("rich")
pytest.importorskip("matplotlib")

from examples import command
from examples.fleet.broker import Broker, OrderRefusedError, account_of
from examples.fleet.chart import CapitalUse, as_text, draw
from examples.fleet.compensator import compensate
from examples.fleet.desk import Desk
from examples.fleet.flow import deliver
from examples.fleet.grammar import Event, Outcome, Status
from examples.fleet.history import History
from examples.fleet.invariants import check_all
from examples.fleet.plan import (
    CAPITAL,
    Plan,
    book_of,
    deliveries,
    flow_key,
    make_plan,
    symbol_limit,
)
from examples.fleet.prices import Decision, decisions, read_quotes
from examples.fleet.recovery import LATE_ORDER, kills_of, send_late_orders
from examples.fleet.reviewer import review
from examples.fleet.sampling import FREED, KILLED, SAMPLED, SAMPLES_LOG, Lookout
from examples.fleet.strategy import Order, filled_before_failure, judge, needs_human, propose
from examples.fleet.supervisor import Address, FleetError, Patience, Supervisor
from examples.fleet.worker import ToDo, open_desk
from examples.signals import InterruptionError, signals_raised
from tests.intercepted import Call, Hook, Killed, intercepted, killed_at

ROOT = Path(__file__).parents[1]
AGENT, OTHER_AGENT, THIRD_AGENT = AGENTS = ("agent-01", "agent-02", "agent-03")
LEASE_SEC = 1000.0

QUIET = Decision("IBM-2001-01", "IBM", (100.0, 101.0))
BOUGHT = Decision("IBM-2001-02", "IBM", (100.0, 110.0))
ESCALATED = Decision("IBM-2001-03", "IBM", (100.0, 160.0))
BROKEN_OFF = Decision("IBM-2002-03", "IBM", (100.0, 160.0))
OUT_OF_BUDGET = Decision("IBM-2001-04", "IBM", (100.0, 170.0))
DECISIONS = [QUIET, BOUGHT, BROKEN_OFF, OUT_OF_BUDGET]
OUTCOMES = {
    QUIET.dfid: Outcome.NO_TRADE,
    BOUGHT.dfid: Outcome.EXECUTED,
    ESCALATED.dfid: Outcome.EXECUTED,
    BROKEN_OFF.dfid: Outcome.COMPENSATED,
}


def killed_at_second_order() -> Hook:
    """A hook that kills before an order is changed at the broker for the second time."""
    changes = itertools.count(1)

    def hook(call: Call) -> Any:
        if call.name == "set_state" and next(changes) == 2:
            raise Killed
        return call.make()

    return hook


class Clock:
    """All clocks of a test, the memory store's and those of its processes: they go when told."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def __call__(self) -> float:
        self.seconds += 0.000_001
        return self.seconds

    def let_leases_run_out(self) -> None:
        self.seconds += LEASE_SEC


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(MonotonicClock, "now", lambda _: round(clock() * 1e6))
    monkeypatch.setattr("examples.fleet.reviewer.THINKING_SEC", 0)
    monkeypatch.setattr("examples.fleet.flow.SETTLEMENT_SEC", (0, 0))
    monkeypatch.setattr("examples.fleet.flow.PATIENCE_SEC", 0)
    monkeypatch.setattr("examples.fleet.flow.HUMAN_DEADLINE_SEC", 100 * LEASE_SEC)
    monkeypatch.setattr("examples.fleet.compensator.LEASE_SEC", LEASE_SEC)
    return clock


def planned(todo: Sequence[Decision]) -> StorageBundle:
    store = memory_storage()
    plan = make_plan(todo, workers=len(AGENTS), lease_sec=LEASE_SEC)
    plan.store(store)
    return store


def desk_of(store: StorageBundle, agent_id: str, clock: Clock) -> Desk:
    desk = open_desk(store, Plan.load(store), agent_id)
    desk.keeper.clock = clock
    return desk


def play(
    store: StorageBundle, todo: Sequence[Decision], agent_id: str, clock: Clock, hook: Hook
) -> None:
    """Be an agent, the human whenever one is waited for, and look when orders are placed."""

    def among_others(call: Call) -> Any:
        if call.name == "wait_for_decision":
            review(store)
        if call.name == "set_state":
            Lookout(store, Plan.load(store)).look()
        return hook(call)

    desk = desk_of(intercepted(store, among_others), agent_id, clock)
    for decision in todo:
        deliver(desk, decision)


def make(call: Call) -> Any:
    return call.make()


def finish(store: StorageBundle) -> None:
    """Be the compensator, and whoever looks at the end."""
    while compensate(store):
        pass
    Lookout(store, Plan.load(store)).look()


def sound_run(clock: Clock, hook: Hook = make) -> StorageBundle:
    store = planned(DECISIONS)
    play(store, DECISIONS, AGENT, clock, hook)
    finish(store)
    return store


def broken(store: StorageBundle) -> dict[str, list[str]]:
    return {each.invariant: each.problems for each in check_all(store) if not each.holds}


def outcome_of(store: StorageBundle, dfid: str) -> Outcome:
    rows = store.decision_audit.events_for_dfid(dfid)
    (ended,) = [row for row in rows if row["event"] == Event.CLOSED]
    return Outcome(ended["details"]["outcome"])


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


def test_every_invariant_holds_on_a_sound_run(clock: Clock) -> None:
    store = sound_run(clock)
    assert broken(store) == {}
    assert [outcome_of(store, each.dfid) for each in DECISIONS] == [
        Outcome.NO_TRADE, Outcome.EXECUTED, Outcome.COMPENSATED, Outcome.NO_BUDGET,
    ]  # fmt: skip


def over_capacity_seen(store: StorageBundle) -> None:
    used = {CAPITAL: "100000.01", symbol_limit("IBM"): "0"}
    store.decision_audit.record(SAMPLES_LOG, SAMPLED, details={"used": used})


def reserved(store: StorageBundle, dfid: str, amount: float, *, until: datetime) -> None:
    details = {"amounts": {CAPITAL: amount}, "until": str(until), "fencing_token": 1}
    store.decision_audit.record(dfid, Event.RESERVED, details=details)


def over_capacity_logged(store: StorageBundle) -> None:
    for number in range(5):
        reserved(store, f"x{number}", 20_000.01, until=datetime.max.replace(tzinfo=UTC))


def unplanned_flow(store: StorageBundle) -> None:
    store.lifecycle.record_transition("x", Status.CREATED, Status.ACTIVE)


def written_twice(event: Event) -> Callable[[StorageBundle], None]:
    def write(store: StorageBundle) -> None:
        rows = store.decision_audit.all_events_chronological()
        row = next(each for each in rows if each["event"] == event)
        store.decision_audit.record(row["dfid"], event, details=row["details"])

    return write


def at_the_broker(dfid: str, **changes: Any) -> Callable[[StorageBundle], None]:
    def change(store: StorageBundle) -> None:
        entry = json.loads(store.context.get_state(account_of(dfid)) or "{}")
        store.context.set_state(account_of(dfid), json.dumps(entry | changes))

    return change


def late_order_executed(store: StorageBundle) -> None:
    details = {"flow": BOUGHT.dfid, "answer": "executed"}
    store.decision_audit.record("fleet:log:x", LATE_ORDER, details=details)


def killed_without_heir(store: StorageBundle) -> None:
    details = {"agent": AGENT, "name": "x", "flows": [BOUGHT.dfid], "reservations": {}}
    store.decision_audit.record("fleet:log:x", KILLED, details=details)


def too_many_tokens(store: StorageBundle) -> None:
    store.escalation.record_budget_token(AGENT)


def heard_without_token(store: StorageBundle) -> None:
    details = {"asked_by": OTHER_AGENT}
    store.decision_audit.record(QUIET.dfid, Event.HUMAN, details=details)


def lost_merge(store: StorageBundle) -> None:
    store.context.set_state(book_of("IBM"), "{}")


def lowered_capacity(store: StorageBundle) -> None:
    store.resource_lock.set_capacity(CAPITAL, 1)


def held_capital(store: StorageBundle) -> None:
    store.resource_lock.reserve("x", {CAPITAL: 1})


ONCE = "each order executed at most once"
COMPENSATED = "each dirty flow compensated once"


@pytest.mark.parametrize(
    ("break_it", "invariant"),
    [
        (over_capacity_seen, "never over capacity, as seen"),
        (over_capacity_logged, "never over capacity, by the log"),
        (unplanned_flow, "every trail whole and in order"),
        (written_twice(Event.DECIDED), "every trail whole and in order"),
        (written_twice(Event.EXECUTED), ONCE),
        (at_the_broker(BOUGHT.dfid, fills=[(1, 51), (2, 51)]), ONCE),
        (at_the_broker(BOUGHT.dfid, state="CANCELLED"), ONCE),
        (at_the_broker(QUIET.dfid, state="FILLED", fills=[(1, 1)]), ONCE),
        (at_the_broker(QUIET.dfid, state="WORKING"), ONCE),
        (at_the_broker(BROKEN_OFF.dfid, reversals=[62, 62]), COMPENSATED),
        (at_the_broker(BROKEN_OFF.dfid, reversals=[]), COMPENSATED),
        (at_the_broker(BOUGHT.dfid, reversals=[51]), COMPENSATED),
        (written_twice(Event.COMPENSATED), COMPENSATED),
        (written_twice(Event.CLAIMED), "tokens of takeovers rise"),
        (at_the_broker(BOUGHT.dfid, tokens=[2, 1]), "tokens of takeovers rise"),
        (at_the_broker(BOUGHT.dfid, fills=[(7, 51)]), "old tokens are refused"),
        (at_the_broker(BOUGHT.dfid, refused=[2**62]), "old tokens are refused"),
        (late_order_executed, "old tokens are refused"),
        (killed_without_heir, "killed workers' flows ended"),
        (too_many_tokens, "no escalation budget exceeded"),
        (heard_without_token, "no escalation budget exceeded"),
        (lost_merge, "books agree with the trails"),
        (lowered_capacity, "never over capacity, as seen"),
        (lowered_capacity, "never over capacity, by the log"),
        (held_capital, "nothing left behind"),
        (lambda store: store.saga.mark_dirty("x", "execute", "{}"), "nothing left behind"),
        (lambda store: store.intent_retry.set_count(BOUGHT.dfid, 1), "nothing left behind"),
        (
            lambda store: store.escalation.insert_request("x", AGENT, "", "{}", "{}", ""),
            "nothing left behind",
        ),
    ],
)  # fmt: skip
def test_a_broken_invariant_is_noticed(
    break_it: Callable[[StorageBundle], object], invariant: str, clock: Clock
) -> None:
    store = sound_run(clock)
    break_it(store)
    assert invariant in broken(store)


@pytest.mark.parametrize(
    ("name", "argument", "invariant"),
    [
        ("transition", Status.ACTIVE, "every trail whole and in order"),
        ("transition", Status.EXECUTING, "every trail whole and in order"),
        ("close_flow", Status.CLOSED, "every trail whole and in order"),
        ("merge_state", book_of("IBM"), "books agree with the trails"),
        ("complete", None, "nothing left behind"),
    ],
)
def test_a_lost_call_is_noticed(
    name: str, argument: str | None, invariant: str, clock: Clock
) -> None:
    def lose(call: Call) -> Any:
        lost = call.name == name and argument in (None, *call.arguments)
        return None if lost else call.make()

    store = planned([BOUGHT])
    play(store, [BOUGHT], AGENT, clock, lose)
    finish(store)
    assert invariant in broken(store)


def test_a_lost_row_is_noticed(clock: Clock) -> None:
    for event in (Event.DECIDED, Event.RESERVED, Event.SUBMITTED):
        store = planned([BOUGHT])

        def lose(call: Call, store: StorageBundle = store, event: Event = event) -> Any:
            if call.name != "record_many":
                return call.make()
            rows = list(call.arguments[0])
            store.decision_audit.record_many(row for row in rows if row["event"] != event)
            return None

        play(store, [BOUGHT], AGENT, clock, lose)
        finish(store)
        assert "every trail whole and in order" in broken(store)


def test_what_a_dead_process_held_counts_until_its_lease_ends(clock: Clock) -> None:
    store = planned([QUIET])
    now = datetime.fromtimestamp(clock.seconds, UTC)
    reserved(store, "dead", 60_000.0, until=now + timedelta(seconds=LEASE_SEC))
    reserved(store, "too early", 30_000.0, until=now + timedelta(seconds=LEASE_SEC * 3))
    clock.let_leases_run_out()
    reserved(store, "in time", 60_000.0, until=now + timedelta(seconds=LEASE_SEC * 3))
    amounts = [use.amount for use in History.read(store).logged_use(CAPITAL)]
    assert amounts == [Decimal(60_000), Decimal(90_000), Decimal(90_000)]


# A worker's death at any point of a flow


def deaths(decision: Decision, clock: Clock) -> Iterator[StorageBundle]:
    """Stores in which a worker died before the first call, the second, ..., the last."""
    for number in itertools.count():
        store = planned([decision])
        try:
            play(store, [decision], AGENT, clock, killed_at(number))
        except Killed:
            clock.let_leases_run_out()
            yield store
        else:
            return


each_kind = pytest.mark.parametrize(
    "decision",
    [QUIET, BOUGHT, ESCALATED, BROKEN_OFF],
    ids=["quiet", "bought", "escalated", "broken off"],
)


@each_kind
def test_a_death_at_any_call_changes_nothing(decision: Decision, clock: Clock) -> None:
    for store in deaths(decision, clock):
        play(store, [decision], OTHER_AGENT, clock, make)
        finish(store)
        assert broken(store) == {}
        assert outcome_of(store, decision.dfid) == OUTCOMES[decision.dfid]


@pytest.mark.parametrize("decision", [BOUGHT, BROKEN_OFF], ids=["bought", "broken off"])
def test_who_takes_over_may_die_as_well(decision: Decision, clock: Clock) -> None:
    for number in itertools.count():
        died = 0
        for store in deaths(decision, clock):
            try:
                play(store, [decision], OTHER_AGENT, clock, killed_at(number))
            except Killed:
                died += 1
            clock.let_leases_run_out()
            play(store, [decision], THIRD_AGENT, clock, make)
            finish(store)
            assert broken(store) == {}
            assert outcome_of(store, decision.dfid) == OUTCOMES[decision.dfid]
        if not died:
            return


def test_a_compensator_may_die_at_any_call(clock: Clock) -> None:
    for number in itertools.count():
        store = planned([BROKEN_OFF])
        play(store, [BROKEN_OFF], AGENT, clock, make)
        died = False
        try:
            compensate(intercepted(store, killed_at(number)))
        except Killed:
            died = True
        clock.let_leases_run_out()
        finish(store)
        assert broken(store) == {}
        if not died:
            return


def test_without_room_a_dead_worker_s_order_is_cancelled(clock: Clock) -> None:
    for store in deaths(BOUGHT, clock):
        before = Broker(store).look_up(BOUGHT.dfid)
        held = store.resource_lock.reserve("another", {CAPITAL: 100_000})
        play(store, [BOUGHT], OTHER_AGENT, clock, make)
        held.release()
        finish(store)
        assert broken(store) == {}
        expected = Outcome.EXECUTED if before.executed else Outcome.NO_CAPACITY
        assert outcome_of(store, BOUGHT.dfid) == expected
        if before.tokens and not before.executed:
            with pytest.raises(OrderRefusedError):
                Broker(store).place(BOUGHT.dfid, Order("BUY", 1, 1.0), before.tokens[0])


# A worker that was not dead, but slow: its lease runs out, and a call of it comes late


@each_kind
def test_a_call_that_comes_after_its_flow_s_end_changes_nothing(
    decision: Decision, clock: Clock
) -> None:
    for number in itertools.count():
        store = planned([decision])
        numbers = itertools.count()

        def too_late(
            call: Call, store: StorageBundle = store, numbers: Any = numbers, number: int = number
        ) -> Any:
            if next(numbers) == number:
                clock.let_leases_run_out()
                play(store, [decision], OTHER_AGENT, clock, make)
                finish(store)
            return call.make()

        play(store, [decision], AGENT, clock, too_late)
        finish(store)
        assert broken(store) == {}
        assert outcome_of(store, decision.dfid) == OUTCOMES[decision.dfid]
        if next(numbers) <= number:
            return


class LateCall:
    """Lets one call of a slow worker come in the middle of the flow's next owner's calls.

    Args:
        number: of the call that comes late.
        later: before which call of the next owner it comes.
    """

    def __init__(
        self, number: int, later: int, store: StorageBundle, decision: Decision, clock: Clock
    ) -> None:
        self._until_slow, self._until_late = number, later
        self._store, self._decision, self._clock = store, decision, clock
        self._call: Call | None = None
        self.result: Callable[[], Any] | None = None

    def of_the_slow(self, call: Call) -> Any:
        self._until_slow -= 1
        if self._until_slow != -1:
            return call.make()
        self._call = call
        self._clock.let_leases_run_out()
        play(self._store, [self._decision], OTHER_AGENT, self._clock, self.of_the_other)
        return call.make() if self.result is None else self.result()

    def of_the_other(self, call: Call) -> Any:
        self._until_late -= 1
        if self._until_late == -1 and self._call is not None:
            self.result = self._made(self._call)
        return call.make()

    def _made(self, call: Call) -> Callable[[], Any]:
        try:
            result = call.make()
        except StorageError as error:
            return functools.partial(_raise, error)
        return lambda: result


def _raise(error: StorageError) -> None:
    raise error


@pytest.mark.parametrize("decision", [BOUGHT, BROKEN_OFF], ids=["bought", "broken off"])
def test_a_call_that_comes_in_the_middle_of_a_takeover_changes_nothing(
    decision: Decision, clock: Clock
) -> None:
    for number in itertools.count():
        for later in itertools.count():
            store = planned([decision])
            late = LateCall(number, later, store, decision, clock)
            play(store, [decision], AGENT, clock, late.of_the_slow)
            clock.let_leases_run_out()
            play(store, [decision], THIRD_AGENT, clock, make)
            finish(store)
            assert broken(store) == {}, (number, later)
            assert outcome_of(store, decision.dfid) == OUTCOMES[decision.dfid]
            if late.result is None:
                break
        if later == 0:
            return


def test_a_late_order_is_refused(clock: Clock) -> None:
    """What the end of the demo shows, for every moment of the death."""
    answers = set()
    for store in deaths(BOUGHT, clock):
        rows = store.decision_audit.events_for_dfid(BOUGHT.dfid)
        tokens = [
            each["details"]["fencing_token"] for each in rows if each["event"] == Event.RESERVED
        ]
        play(store, [BOUGHT], OTHER_AGENT, clock, make)
        finish(store)
        for token in tokens:
            reservations = {BOUGHT.dfid: {"amount": "1", "fencing_token": token}}
            details = {"agent": AGENT, "name": "x", "flows": [], "reservations": reservations}
            store.decision_audit.record("fleet:log:x", KILLED, details=details)
        send_late_orders(store, History.read(store))
        answers |= {row["details"]["answer"] for row in History.read(store).of(LATE_ORDER)}
        assert broken(store) == {}
    assert answers == {"refused", "known"}


# Two processes and one decision


def test_a_second_delivery_at_any_moment_executes_nothing_again(clock: Clock) -> None:
    for number in itertools.count():
        store = planned([BOUGHT])
        numbers = itertools.count()

        def let_the_second_in(
            call: Call, store: StorageBundle = store, numbers: Any = numbers, number: int = number
        ) -> Any:
            if next(numbers) == number:
                play(store, [BOUGHT], OTHER_AGENT, clock, make)
            return call.make()

        play(store, [BOUGHT], AGENT, clock, let_the_second_in)
        finish(store)
        assert broken(store) == {}
        assert len(list(History.read(store).of(Event.CLAIMED))) == 1
        if next(numbers) <= number:
            return


def test_what_is_renewed_is_not_taken_over_and_what_is_lost_is_known(clock: Clock) -> None:
    store = planned([BOUGHT])
    desk, other = desk_of(store, AGENT, clock), desk_of(store, OTHER_AGENT, clock)
    asked = clock()
    claim = store.idempotency.claim(
        flow_key(BOUGHT.dfid), fingerprint=BOUGHT.fingerprint, lease_sec=LEASE_SEC, owner=desk.name
    )
    with desk.keeper.keeping(BOUGHT.dfid, claim, asked) as leases:
        reservation = store.resource_lock.reserve(BOUGHT.dfid, {CAPITAL: 1}, lease_sec=LEASE_SEC)
        leases.fencing_token = reservation.fencing_token
        for _ in range(5):
            clock.seconds += LEASE_SEC / 2
            desk.keeper.beat()
            leases.check()
            assert deliver(other, BOUGHT) == (ClaimState.IN_PROGRESS, desk.name)
            assert store.resource_lock.holders(CAPITAL)
        clock.let_leases_run_out()
        with pytest.raises(LeaseLostError):
            leases.check()
        assert deliver(other, BOUGHT) == (ClaimState.DONE, other.name)
        desk.keeper.beat()
        with pytest.raises(LeaseLostError):
            leases.check()


def test_a_suspended_agent_does_not_come_back_as_a_new_process(clock: Clock) -> None:
    store = planned([BOUGHT])
    desk_of(store, AGENT, clock)
    store.agent_registry.update_status(AGENT, "SUSPENDED", "test")
    with pytest.raises(PermissionError, match="agent-01 is SUSPENDED: test"):
        desk_of(store, AGENT, clock)


def test_a_worker_does_its_own_then_what_is_left_and_a_silent_agent_s_first() -> None:
    hands = {AGENT: [QUIET], OTHER_AGENT: [BOUGHT, QUIET], THIRD_AGENT: [ESCALATED]}
    todo = ToDo(AGENT, hands, again_sec=LEASE_SEC)
    assert todo.take() == (QUIET, 0)
    todo.put_back(QUIET.dfid)
    todo.help(THIRD_AGENT)
    assert todo.take() == (ESCALATED, 0)
    todo.done(ESCALATED.dfid)
    assert todo.take() == (BOUGHT, 0)
    todo.done(BOUGHT.dfid)
    decision, pause = todo.take() or (None, 0)
    assert decision == QUIET
    assert pause > 0
    todo.done(QUIET.dfid)
    assert todo.take() is None


def test_the_report_of_a_kill(clock: Clock) -> None:
    store = planned([BOUGHT, ESCALATED])
    with pytest.raises(Killed):
        play(store, [BOUGHT], AGENT, clock, killed_at_second_order())
    lookout = Lookout(store, Plan.load(store))
    lookout.look()
    (name,) = lookout.holdings()
    assert lookout.note_kill(name)["flows"] == [BOUGHT.dfid]
    assert lookout.holdings() == {}  # it is dead, and not to be killed again
    clock.let_leases_run_out()
    lookout.look()
    clock.seconds += 1
    play(store, [BOUGHT, ESCALATED], OTHER_AGENT, clock, make)
    clock.seconds += 1
    finish(store)
    (kill,) = kills_of(History.read(store))
    assert (kill.agent_id, kill.name, kill.amount) == (AGENT, name, Decimal("5610.00"))
    (bequest,) = kill.bequests
    assert (bequest.status, bequest.amount) == (Status.EXECUTING, Decimal("5610.00"))
    assert bequest.heir is not None
    assert bequest.heir.startswith(OTHER_AGENT)
    assert bequest.freed_sec == pytest.approx(LEASE_SEC, abs=0.1)
    assert bequest.claimed_sec == pytest.approx(LEASE_SEC + 1, abs=0.1)
    assert bequest.ended_sec == pytest.approx(LEASE_SEC + 1, abs=0.1)
    assert broken(store) == {}


def test_what_a_killed_worker_held_is_seen_free_though_the_store_failed_meanwhile(
    clock: Clock,
) -> None:
    store = planned([BOUGHT])
    with pytest.raises(Killed):
        play(store, [BOUGHT], AGENT, clock, killed_at_second_order())
    failing = {KILLED, FREED}

    def fail_once(call: Call) -> Any:
        event = call.arguments[1] if call.name == "record" else None
        if event not in failing:
            return call.make()
        failing.remove(event)
        if event == KILLED:
            call.make()  # applied, and not answered
        raise StorageError("no answer")

    lookout = Lookout(intercepted(store, fail_once), Plan.load(store))
    lookout.look()
    (name,) = lookout.holdings()
    with pytest.raises(StorageError):
        lookout.note_kill(name)
    clock.let_leases_run_out()
    with pytest.raises(StorageError):
        lookout.look()
    lookout.look()
    (kill,) = kills_of(History.read(store))
    assert [each.freed_sec is not None for each in kill.bequests] == [True]


def test_failures_are_put_up_with_while_flows_are_finished() -> None:
    patience = Patience(3)
    for _ in range(5):
        patience.failed("one")
        patience.failed("another")
        patience.got_on()
    patience.failed("one")
    patience.failed("another")
    with pytest.raises(FleetError, match="a third; failure 3"):
        patience.failed("a third")


# The pictures


def test_the_text_chart_shows_peaks_below_the_limit_and_kills() -> None:
    use = CapitalUse(100.0, [(0.0, 100.0), (1.0, 50.0)], [(0.0, 0.0)], [(0.6, 0.9)], 1, 1)
    assert as_text(use, width=4, height=2).splitlines() == [
        "      100 ┼┄┄┄┄ limit",
        "          ┤███ ",
        "       50 ┤████",
        "        0 └────",
        "   killed    ▲",
        "           01.0 s",
    ]


def test_the_picture_is_a_png(tmp_path: Path, clock: Clock) -> None:
    store = sound_run(clock)
    draw(CapitalUse.of(History.read(store)), tmp_path / "capital.png")
    assert (tmp_path / "capital.png").read_bytes().startswith(b"\x89PNG")


# The program


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.fleet", "--output", str(folder / "out"), *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("backend", ["embedded", "sqlite", "not replaced"])
def test_a_fleet_with_killed_workers_keeps_every_invariant(backend: str, tmp_path: Path) -> None:
    options = {
        "embedded": [],
        "sqlite": ["--url", f"sqlite:///{tmp_path}/fleet.db"],
        "not replaced": ["--no-replace"],
    }
    run = demo(tmp_path, "--months", "24", "--workers", "4", *options[backend])
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("PASS") == 11
    assert run.stdout.count("killed agent-") == 2
    assert "2 killed with" in run.stdout
    assert (tmp_path / "out" / "capital.png").exists()


def test_ctrl_c_stops_everything_and_what_was_held_comes_free(tmp_path: Path) -> None:
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
    assert complaints == "stopped by SIGINT; leases end what was held\n"
    with open_storage(url) as store:
        limit = Plan.load(store).limits[CAPITAL]
        store.resource_lock.reserve("all of it", {CAPITAL: limit}, wait_sec=30).release()


class CtrlC:
    """A process whose start takes so long that Ctrl-C falls on it."""

    def start(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_is_not_lost_while_a_process_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = Supervisor(Address("", ""), {AGENT: []}, replace=True, patience=Patience())
    monkeypatch.setattr(supervisor._context, "Process", lambda **_: CtrlC())
    with pytest.raises(InterruptionError, match="SIGINT"), signals_raised():
        supervisor.start()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time_stops_the_embedded_server(
    signum: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    sockets: list[Path] = []

    def report(_: Namespace, store: StorageBundle) -> int:
        sockets.append(Path(str(store.url).removeprefix("unix://")))
        assert sockets[0].exists()
        signal.raise_signal(signum)
        return 0

    options = Namespace(url=None, namespace="demo")
    assert command.run(report, options, left_behind="nothing is left") == 128 + signum
    assert capsys.readouterr().err == f"stopped by {signum.name}; nothing is left\n"
    assert not sockets[0].exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--url", "memory://"], "lives in one process"),
        (["--url", "fakeredis://x"], "lives in one process"),
        (["--url", "redis://127.0.0.1:1"], "did not answer"),
        (["--url", "nonsense"], "is no URL"),
        (["--workers", "33"], "not between 1 and 32"),
        (["--lease", "0.1"], "not between 0.5 and 30"),
        (["--workers", "2", "--no-replace"], "leaves nobody to do the work"),
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
