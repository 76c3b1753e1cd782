"""The checks themselves: each accepts what may happen, and finds the least of what may not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from dir_redis import LeaseLostError, StorageUnavailableError
from tests.histories import checkers
from tests.histories.history import History, Operation, Recorder, read_operations
from tests.histories.linearizability import unexplained
from tests.histories.models import counter

MS = 1_000_000
LEASE = 0.1


def op(
    name: str,
    invoked: float,
    returned: float | None,
    result: Any = None,
    *,
    error: str | None = None,
    worker: str = "w",
    **arguments: Any,
) -> Operation:
    """A call from one millisecond to another; None if it is pending."""
    end = None if returned is None else round(returned * MS)
    return Operation(name, arguments, round(invoked * MS), end, result, error, worker)


def history(*operations: Operation, **killed: float) -> History:
    moments = {worker: round(moment * MS) for worker, moment in killed.items()}
    return History(sorted(operations, key=lambda call: call.invoked), moments)


# The search for an order


def increment(invoked: float, returned: float | None, result: int | None = None) -> Operation:
    return op("increment", invoked, returned, result, dfid="f")


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([], id="nothing"),
        pytest.param([increment(0, 1, 1), increment(2, 3, 2)], id="one after the other"),
        pytest.param([increment(0, 3, 2), increment(1, 2, 1)], id="the inner one first"),
        pytest.param([increment(0, 9, 3), increment(1, 2, 1), increment(3, 4, 2)], id="the last"),
        pytest.param([increment(0, None), increment(1, 2, 2)], id="a pending one that happened"),
        pytest.param([increment(0, None), increment(1, 2, 1)], id="a pending one that did not"),
        pytest.param(
            [increment(0, None), increment(1, 2, 1), increment(50, 51, 3)], id="one that came late"
        ),
        pytest.param(
            [increment(n, None) for n in range(12)] + [increment(20, 21, 7)], id="some of many"
        ),
    ],
)
def test_an_order_is_found(calls: list[Operation]) -> None:
    assert checkers.check_counts(history(*calls)) == []


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([increment(0, 1, 2)], id="one too many"),
        pytest.param([increment(0, 2, 1), increment(1, 3, 1)], id="one lost"),
        pytest.param([increment(0, 1, 2), increment(2, 3, 1)], id="the wrong order"),
        pytest.param([increment(0, 1, 2), increment(2, None)], id="a pending one too late"),
        pytest.param([increment(0, None), increment(1, 2, 3)], id="a pending one twice"),
    ],
)
def test_no_order_is_found_where_there_is_none(calls: list[Operation]) -> None:
    (violation,) = checkers.check_counts(history(*calls))
    assert violation.startswith("f: ")
    assert "increment(dfid='f')" in violation


def test_records_are_judged_each_for_itself() -> None:
    wrong = op("increment", 0, 1, 5, dfid="g")
    (violation,) = checkers.check_counts(history(increment(0, 1, 1), wrong))
    assert violation.startswith("g: ")


def test_the_search_is_fast_enough_for_thousands_of_calls_by_many() -> None:
    calls = [increment(n, n + 8.5, n + 1) for n in range(2000)]
    calls += [increment(n * 100, None) for n in range(10)]
    begun = time.monotonic()
    assert unexplained(calls, 0, counter) is None
    assert time.monotonic() - begun < 10


# Documents


def merge(invoked: float, returned: float | None, result: int | None, **items: Any) -> Operation:
    return op("merge", invoked, returned, result, document="d", items=items)


def replace(
    invoked: float, returned: float, expected: int, found: int | None = None, **items: Any
) -> Operation:
    error = None if found is None else "VersionConflictError"
    result = found and {"found": found}
    return op(
        *("set", invoked, returned, result),
        error=error,
        document="d",
        items=items,
        expected=expected,
    )


def get(invoked: float, returned: float, version: int, **items: Any) -> Operation:
    return op("get_document", invoked, returned, [version, items], document="d")


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param(
            [merge(0, 2, 2, a=1), merge(1, 3, 1, b=2), get(4, 5, 2, a=1, b=2)], id="two merges"
        ),
        pytest.param([merge(0, None, None, a=1), get(1, 2, 0), get(3, 4, 1, a=1)], id="a late one"),
        pytest.param(
            [merge(0, 1, 1, a=1), replace(2, 3, 1, b=1), get(4, 5, 2, b=1)], id="a replacement"
        ),
        pytest.param(
            [merge(0, 9, 1, a=1), replace(2, 3, 0, 1, b=1), get(4, 5, 1, a=1)], id="a conflict"
        ),
    ],
)
def test_documents_that_lose_nothing_are_explained(calls: list[Operation]) -> None:
    assert checkers.check_documents(history(*calls)) == []


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param(
            [merge(0, 1, 1, a=1), merge(2, 3, 2, b=2), get(4, 5, 2, b=2)], id="a lost key"
        ),
        pytest.param(
            [merge(0, 1, 1, a=1), merge(2, 3, 2, a=2), get(4, 5, 2, a=1)], id="an old one"
        ),
        pytest.param([merge(0, 2, 1, a=1), merge(1, 3, 1, b=2)], id="one version twice"),
        pytest.param([merge(0, 1, 1, a=1), replace(2, 3, 0, b=1)], id="a version not compared"),
        pytest.param([merge(0, 1, 1, a=1), replace(2, 3, 1, 1, b=1)], id="a needless conflict"),
        pytest.param([merge(0, None, None, a=1), get(1, 2, 2, a=1)], id="one written twice"),
    ],
)
def test_documents_that_lose_something_are_not(calls: list[Operation]) -> None:
    assert len(checkers.check_documents(history(*calls))) == 1


# Flows


def move(
    invoked: float, returned: float | None, expected: str, to: str, actual: str | None = "-"
) -> Operation:
    error = None if actual == "-" else "TransitionConflictError"
    result = {"actual": actual} if error else None
    return op(
        "transition", invoked, returned, result, error=error, dfid="f", expected=expected, to=to
    )


def log(invoked: float, *statuses: str) -> Operation:
    steps = [list(step) for step in zip(("CREATED", *statuses), statuses, strict=False)]
    return op("get_transitions", invoked, invoked + 1, steps, dfid="f")


def close(invoked: float, returned: float | None, result: bool | None = None) -> Operation:
    return op("close_flow", invoked, returned, result, dfid="f")


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param(
            [move(0, 1, "CREATED", "a"), move(2, 3, "a", "b"), log(4, "a", "b")], id="a path"
        ),
        pytest.param(
            [move(0, 2, "CREATED", "a"), move(1, 3, "CREATED", "b", "a"), log(4, "a")], id="loser"
        ),
        pytest.param([move(0, 1, "a", "b", None), log(2)], id="nowhere yet"),
        pytest.param([move(0, None, "CREATED", "a"), log(2)], id="one that may yet come"),
        pytest.param([move(0, None, "CREATED", "a"), log(2, "a")], id="one that came"),
        pytest.param(
            [close(0, None), close(1, 2, False), close(3, 4, False), log(5, "CLOSED")], id="closed"
        ),
        pytest.param([op("events_for_dfid", 0, 1, ["a", "FLOW_CLOSED"], dfid="f")], id="its row"),
    ],
)
def test_logs_that_are_paths_are_explained(calls: list[Operation]) -> None:
    assert checkers.check_flows(history(*calls)) == []


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([move(0, 2, "CREATED", "a"), move(1, 3, "CREATED", "b")], id="two ways"),
        pytest.param([move(0, 1, "CREATED", "a"), log(2)], id="a lost one"),
        pytest.param([log(2, "a")], id="one that nobody asked for"),
        pytest.param([move(0, None, "CREATED", "a"), log(2, "a", "a")], id="one twice"),
        pytest.param(
            [
                *(move(0, None, "CREATED", "a"), move(0, None, "a", "b")),
                op("get_transitions", 2, 3, [["CREATED", "a"], ["CREATED", "b"]], dfid="f"),
            ],
            id="a gap",
        ),
        pytest.param([move(0, 1, "CREATED", "a", "b")], id="a conflict with nothing"),
        pytest.param([close(0, 2, True), close(1, 3, True)], id="closed by two"),
        pytest.param([close(0, 2, False)], id="closed by nobody"),
        pytest.param([close(0, 1, True), move(2, 3, "CREATED", "a")], id="moved when closed"),
        pytest.param(
            [op("events_for_dfid", 0, 1, ["FLOW_CLOSED", "FLOW_CLOSED"], dfid="f")], id="two rows"
        ),
    ],
)
def test_logs_that_are_none_are_not(calls: list[Operation]) -> None:
    assert len(checkers.check_flows(history(*calls))) == 1


# Run once


def claim(invoked: float, returned: float | None, state: str = "NEW", token: int = 1) -> Operation:
    found = {"state": state, "token": token, "result": token if state == "DONE" else None}
    result = None if returned is None else found
    return op("claim", invoked, returned, result, key="k", lease_sec=LEASE)


def held(
    name: str, invoked: float, returned: float | None, token: int = 1, error: str | None = None
) -> Operation:
    """A call by who claimed the key; its result is its token."""
    arguments = {"key": "k", "token": token, "lease_sec": LEASE, "value": token}
    return op(name, invoked, returned, error=error, **arguments)


def step(invoked: float, returned: float | None, token: int = 1, worker: str = "w") -> Operation:
    return op("step", invoked, returned, worker=worker, key="k", token=token)


def ran_once(invoked: float, returned: float, result: int) -> Operation:
    return op("run_once", invoked, returned, result, key="k")


LOST = "LeaseLostError"


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param(
            [claim(0, 1), step(2, 3), held("complete", 4, 5), claim(6, 7, "DONE")], id="run once"
        ),
        pytest.param([claim(0, 2), claim(1, 3, "IN_PROGRESS")], id="a race"),
        pytest.param([claim(0, 1), claim(2, 150, token=2)], id="taken over"),
        pytest.param([claim(0, None), claim(1, 2, token=5)], id="a pending claim that was not"),
        pytest.param([claim(0, None), claim(1, 2, "IN_PROGRESS", 4)], id="a pending one that was"),
        pytest.param(
            [claim(0, 1), held("renew_claim", 90, 91), claim(150, 151, "IN_PROGRESS")], id="renewed"
        ),
        pytest.param([claim(0, 1), held("abandon", 2, 3), claim(4, 5, token=2)], id="abandoned"),
        pytest.param(
            [claim(0, 1), claim(150, 151, token=2), held("complete", 160, 161, error=LOST)],
            id="too slow",
        ),
        pytest.param([claim(0, 1), held("complete", 200, 201)], id="slow, but nobody cared"),
        pytest.param(
            [claim(0, 1), held("complete", 2, None), claim(3, 4, "DONE")], id="a pending end"
        ),
        pytest.param(
            [
                *(claim(0, 1), step(2, 300), claim(150, 151, token=2), step(152, 153, 2)),
                *(held("complete", 154, 155, 2), held("complete", 301, 302, error=LOST)),
            ],
            id="both at work once the lease is over",
        ),
        pytest.param(
            [claim(0, 1), claim(150, 151, token=2), step(152, 200, 2), step(160, 190)],
            id="begun by who has lost it",
        ),
        pytest.param([ran_once(0, 9, 1), step(1, 2), ran_once(3, 9, 1)], id="one result"),
    ],
)
def test_steps_run_once_are_explained(calls: list[Operation]) -> None:
    assert checkers.check_run_once(history(*calls)) == []


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([claim(0, 2), claim(1, 3, token=2)], id="claimed by two"),
        pytest.param([claim(0, 1), claim(150, 151, token=1)], id="a token that does not rise"),
        pytest.param([claim(0, 1), claim(200, 201, "IN_PROGRESS")], id="a lease without end"),
        pytest.param(
            [claim(0, 1), held("renew_claim", 90, 91), claim(150, 151, token=2)], id="not renewed"
        ),
        pytest.param([claim(0, 1), held("renew_claim", 2, 3, error=LOST)], id="lost early"),
        pytest.param([claim(0, 1), held("renew_claim", 200, 201)], id="renewed late"),
        pytest.param(
            [claim(0, 1), claim(150, 151, token=2), held("complete", 160, 161)], id="too slow"
        ),
        pytest.param([claim(0, 1), held("complete", 2, 3, error=LOST)], id="refused"),
        pytest.param(
            [claim(0, 1), held("complete", 2, 3), claim(4, 5, token=2)], id="claimed when done"
        ),
        pytest.param(
            [claim(0, 1), held("complete", 2, 3), claim(4, 5, "DONE", 2)], id="another result"
        ),
        pytest.param([step(0, 9), step(1, 3)], id="two runs with one token"),
        pytest.param([claim(0, 1), step(2, 50), step(40, 60, 2)], id="two runs at once"),
        pytest.param([ran_once(0, 1, 1), step(0, None)], id="the result of a run that did not end"),
        pytest.param([step(0, 1), step(2, 3, 2), ran_once(0, 9, 1), ran_once(0, 9, 2)], id="two"),
    ],
)
def test_steps_run_twice_are_not(calls: list[Operation]) -> None:
    assert len(checkers.check_run_once(history(*calls))) == 1


def test_a_killed_worker_was_at_work_until_then() -> None:
    calls = [claim(0, 1), step(2, None, worker="v"), step(40, 60, 2)]
    assert checkers.check_run_once(history(*calls, v=39)) == []
    assert len(checkers.check_run_once(history(*calls, v=41))) == 1


# Sagas


def mark(invoked: float, returned: float | None, failed_step: str = "pay") -> Operation:
    return op("mark_dirty", invoked, returned, dfid="f", failed_step=failed_step)


def take(
    invoked: float, returned: float | None, token: int = 1, failed_step: str = "pay"
) -> Operation:
    result = {"dfid": "f", "token": token, "failed_step": failed_step}
    return op("claim_dirty", invoked, returned, returned and result, lease_sec=LEASE)


def owned(
    name: str, invoked: float, returned: float | None, token: int = 1, error: str | None = None
) -> Operation:
    return op(name, invoked, returned, error=error, dfid="f", token=token, lease_sec=LEASE)


def compensation(invoked: float, returned: float | None, token: int) -> Operation:
    return op("compensate", invoked, returned, dfid="f", token=token, failed_step="pay")


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([mark(0, 1), take(2, 3), owned("clear_dirty", 4, 5)], id="compensated"),
        pytest.param([mark(0, 1), take(2, 3), take(150, 151, 2)], id="taken over"),
        pytest.param(
            [mark(0, 1), take(2, None), take(3, 4), owned("clear_dirty", 5, 6)], id="pending"
        ),
        pytest.param(
            [mark(0, 1), take(2, None), mark(50, 51, "b"), take(52, 53, 1, "b")], id="pending two"
        ),
        pytest.param(
            [
                *(mark(0, 1), take(2, 3), mark(4, 5, "b")),
                *(owned("clear_dirty", 6, 7, error=LOST), take(8, 9, 2, "b")),
            ],
            id="a newer mark",
        ),
        pytest.param(
            [mark(0, 1), take(2, 3), owned("release_dirty", 4, 5), take(6, 7, 2)], id="back"
        ),
        pytest.param(
            [mark(0, 1), take(2, 3), owned("renew_dirty", 90, 91), take(250, 251, 2)], id="renewed"
        ),
    ],
)
def test_compensations_by_one_at_a_time_are_explained(calls: list[Operation]) -> None:
    assert checkers.check_sagas(history(*calls)) == []


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([mark(0, 1), take(2, 3), take(4, 5, 2)], id="taken by two"),
        pytest.param([mark(0, 1), take(2, 3), take(150, 151, 1)], id="an epoch that does not rise"),
        pytest.param([mark(0, 1), take(2, 3, failed_step="b")], id="another mark"),
        pytest.param([take(2, 3), mark(4, 5)], id="no mark"),
        pytest.param(
            [mark(0, 1), take(2, 3), take(150, 151, 2), owned("clear_dirty", 160, 161)],
            id="cleared too late",
        ),
        pytest.param(
            [mark(0, 1), take(2, 3), mark(4, 5, "b"), owned("clear_dirty", 6, 7)],
            id="a newer mark cleared",
        ),
        pytest.param(
            [mark(0, 1), take(2, 3), owned("clear_dirty", 4, 5), owned("clear_dirty", 6, 7)],
            id="cleared twice",
        ),
        pytest.param([mark(0, 1), take(2, 3), owned("renew_dirty", 4, 5, error=LOST)], id="lost"),
        pytest.param(
            [mark(0, 1), take(2, 3), owned("renew_dirty", 90, 91), take(150, 151, 2)],
            id="not renewed",
        ),
        pytest.param(
            [mark(0, 1), take(2, 3), compensation(3, 50, 1), compensation(40, 60, 2)], id="two"
        ),
    ],
)
def test_compensations_by_two_at_once_are_not(calls: list[Operation]) -> None:
    assert len(checkers.check_sagas(history(*calls))) == 1


# Reservations


def reserve(invoked: float, returned: float | None, token: int, amount: int = 60) -> Operation:
    result = returned and {"token": token}
    resources = {"capital": amount}
    return op(
        *("reserve", invoked, returned, result),
        dfid=f"f{token}",
        resources=resources,
        lease_sec=LEASE,
    )


def of_holder(
    name: str,
    invoked: float,
    returned: float | None,
    token: int = 1,
    result: Any = None,
    error: str | None = None,
    **arguments: Any,
) -> Operation:
    arguments |= {"lease_sec": LEASE, "token": token, "dfid": f"f{token}", "pen": "p"}
    return op(name, invoked, returned, result, error=error, **arguments)


def check_reservations(*calls: Operation) -> list[str]:
    return checkers.check_reservations(history(*calls), {"capital": 100})


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([reserve(0, 1, 1, 40), reserve(0, 1, 2, 60)], id="both fit"),
        pytest.param([reserve(0, 1, 1), reserve(2, 150, 2)], id="the lease is over"),
        pytest.param([reserve(0, 1, 1), reserve(2, None, 2)], id="a pending one"),
        pytest.param(
            [reserve(0, 1, 1), of_holder("release", 2, 9), reserve(3, 5, 2)], id="released"
        ),
        pytest.param(
            [reserve(0, 1, 1), of_holder("release", 2, None), reserve(3, 5, 2)], id="dying"
        ),
        pytest.param(
            [reserve(0, 1, 1), of_holder("settle", 2, 3, used={"capital": 40}), reserve(4, 5, 2)],
            id="settled",
        ),
        pytest.param(
            [reserve(0, 1, 1), of_holder("renew", 90, 91), reserve(92, 250, 2)], id="renewed"
        ),
        pytest.param([reserve(0, 1, 1), of_holder("release", 150, 151, error=LOST)], id="lost"),
        pytest.param([reserve(0, 3, 2, 1), reserve(1, 2, 1, 1)], id="tokens of concurrent calls"),
        pytest.param(
            [
                *(reserve(0, 1, 1), reserve(110, 120, 2)),
                *(of_holder("write", 130, 131, 2, True), of_holder("write", 140, 141, 1, False)),
            ],
            id="a stale write refused",
        ),
    ],
)
def test_reservations_within_the_capacity_are_explained(calls: list[Operation]) -> None:
    assert check_reservations(*calls) == []


@pytest.mark.parametrize(
    ("calls", "words"),
    [
        pytest.param([reserve(0, 1, 1), reserve(2, 3, 2)], "120 of capital", id="too much"),
        pytest.param(
            [reserve(0, 1, 1), of_holder("renew", 90, 91), reserve(92, 150, 2)],
            "120 of capital",
            id="too much in a renewed lease",
        ),
        pytest.param(
            [reserve(0, 1, 1), of_holder("settle", 2, 3, used={"capital": 50}), reserve(4, 5, 2)],
            "110 of capital",
            id="too much besides what was kept",
        ),
        pytest.param(
            [reserve(0, 1, 1), of_holder("release", 2, 3, error=LOST)], "lost before", id="lost"
        ),
        pytest.param([reserve(0, 1, 2, 1), reserve(2, 3, 1, 1)], "larger than 2", id="falling"),
        pytest.param([reserve(0, 3, 1, 1), reserve(1, 2, 1, 1)], "and new", id="the same token"),
        pytest.param(
            [of_holder("write", 0, 1, 2, True), of_holder("write", 2, 3, 1, True)],
            "larger than 2",
            id="a stale write taken",
        ),
        pytest.param(
            [reserve(0, 1, 1), of_holder("write", 2, 3, 1, False)],
            "the holder itself",
            id="a holder refused",
        ),
    ],
)
def test_reservations_beyond_it_are_not(calls: list[Operation], words: str) -> None:
    (violation,) = check_reservations(*calls)
    assert words in violation


# Escalations


def escalate(
    invoked: float,
    returned: float | None,
    outcome: str = "GRANTED",
    dfid: str = "f",
    deadline_sec: float | None = None,
) -> Operation:
    return op(
        *("escalate", invoked, returned, {"outcome": outcome}),
        dfid=dfid,
        agent_id="a",
        deadline_sec=deadline_sec,
        default_decision=deadline_sec and "no",
    )


def resolve(
    invoked: float, returned: float | None, decision: str, stands: bool = True
) -> Operation:
    return op("resolve", invoked, returned, stands, dfid="f", decision=decision)


def decided(invoked: float, returned: float, decision: str | None) -> Operation:
    return op("get_request", invoked, returned, {"decision": decision}, dfid="f")


def review(invoked: float, returned: float | None) -> Operation:
    return op("claim_next", invoked, returned, returned and {"dfid": "f"}, lease_sec=LEASE)


def check_escalations(*calls: Operation) -> list[str]:
    return checkers.check_escalations(history(*calls), 2, 1.0)


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([escalate(0, 2), escalate(1, 3, "REPEATED")], id="a repeat"),
        pytest.param([escalate(0, None), escalate(1, 3)], id="a pending one that was not"),
        pytest.param([escalate(0, None), escalate(1, 3, "REPEATED")], id="a pending one that was"),
        pytest.param(
            [escalate(0, 1, dfid="f"), escalate(2, 3, dfid="g"), escalate(999, 1004, dfid="h")],
            id="perhaps in two windows",
        ),
        pytest.param(
            [escalate(0, 1, dfid="f"), escalate(2, None, dfid="g"), escalate(3, 4, dfid="h")],
            id="perhaps never spent",
        ),
        pytest.param(
            [escalate(0, 1, dfid="f"), escalate(2, None, dfid="g")]
            + [escalate(3, 4, "BUDGET_EXHAUSTED", "h")],
            id="perhaps spent",
        ),
        pytest.param(
            [escalate(0, 1), resolve(2, 4, "x"), resolve(3, 5, "y", False), decided(6, 7, "x")],
            id="the first decision",
        ),
        pytest.param([escalate(0, 1), resolve(2, None, "x"), decided(3, 4, "x")], id="pending"),
        pytest.param(
            [escalate(0, 1, deadline_sec=0.1), resolve(50, 150, "x"), decided(200, 201, "x")],
            id="just in time",
        ),
        pytest.param(
            [escalate(0, 1, deadline_sec=0.1), resolve(50, 150, "x", False)]
            + [decided(200, 201, "no"), review(300, None)],
            id="just too late",
        ),
        pytest.param([escalate(0, 1), review(2, 3), review(4, 150)], id="a review taken over"),
        pytest.param([resolve(0, 1, "x", False), decided(2, 3, None)], id="no request"),
    ],
)
def test_escalations_within_the_budget_are_explained(calls: list[Operation]) -> None:
    assert check_escalations(*calls) == []


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([escalate(0, 2), escalate(1, 3)], id="granted twice"),
        pytest.param([escalate(n, n + 1, dfid=f"{n}") for n in (0, 2, 4)], id="one too many"),
        pytest.param(
            [escalate(0, 1), escalate(2, 3, "BUDGET_EXHAUSTED", "g")], id="refused, with one left"
        ),
        pytest.param([escalate(0, 1, "REPEATED")], id="repeated, but never made"),
        pytest.param([escalate(0, 1), resolve(2, 4, "x"), resolve(3, 5, "y")], id="decided twice"),
        pytest.param([escalate(0, 1), resolve(2, 3, "x", False)], id="decided by nobody"),
        pytest.param(
            [escalate(0, 1), resolve(2, 3, "x"), decided(4, 5, "y")], id="another decision"
        ),
        pytest.param([escalate(0, 1), resolve(2, 3, "x"), decided(4, 5, None)], id="undecided"),
        pytest.param(
            [escalate(0, 1, deadline_sec=0.1), resolve(150, 151, "x")], id="decided too late"
        ),
        pytest.param(
            [escalate(0, 1, deadline_sec=0.1), decided(50, 51, "no")], id="decided too early"
        ),
        pytest.param(
            [
                escalate(0, 1, deadline_sec=0.1),
                decided(50, 150, "no"),
                resolve(60, 160, "x"),
                decided(155, 170, "x"),
            ],
            id="decided by default and by a human",
        ),
        pytest.param([escalate(0, 1), review(2, 3), review(4, 5)], id="two reviewers"),
        pytest.param(
            [escalate(0, 1), resolve(2, 3, "x"), review(4, 5)], id="reviewed when decided"
        ),
    ],
)
def test_escalations_beyond_it_are_not(calls: list[Operation]) -> None:
    assert len(check_escalations(*calls)) == 1


# The record


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    record = Recorder(tmp_path, "v")
    with record("increment", dfid="f") as call:
        call.result = 1
    with pytest.raises(LeaseLostError), record("release", dfid="f"):
        raise LeaseLostError("reservation", 7)
    with pytest.raises(StorageUnavailableError), record("increment", dfid="g"):
        raise StorageUnavailableError("no answer", True)
    with pytest.raises(StorageUnavailableError), record("increment", dfid="h"):
        raise StorageUnavailableError("no connection", False)
    with pytest.raises(ZeroDivisionError), record("increment", dfid="i"):
        raise ZeroDivisionError
    record.close()
    calls = read_operations(tmp_path)
    assert [(c.name, c["dfid"], c.result, c.error, c.pending, c.worker) for c in calls] == [
        ("increment", "f", 1, None, False, "v"),
        ("release", "f", {"record": "reservation", "token": 7}, "LeaseLostError", False, "v"),
        ("increment", "g", None, None, True, "v"),
        (
            "increment",
            "h",
            {"outcome_unknown": False, "half_written": False},
            "StorageUnavailableError",
            False,
            "v",
        ),
        ("increment", "i", None, None, True, "v"),
    ]
    assert all(c.invoked <= (c.returned or c.invoked) for c in calls)
