"""The checks find what goes wrong once a protection is taken out: the same fleets, sabotaged."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dir_redis import Claim, ClaimState, RetryCount
from dir_redis.redis import driver
from dir_redis.redis.scripts import script
from tests.conftest import SERVERS
from tests.histories import workloads
from tests.histories.fleet import Fleet, Turn, Worker, run_fleet
from tests.histories.workloads import TOPICS

# One is nearly always enough; on a busy machine a longer one may be needed.
TRIES_SEC = (1, 1, 1, 2, 2, 4, 8)

FoundOut = Callable[[str, Turn, Turn], bool]


def change_script(_worker: Worker, name: str, old: str, new: str) -> None:
    """Have the process send a script with one line of it changed."""
    original = script(name)
    assert original.source.count(old) == 1, f"{name}.lua does not have this once: {old!r}"
    source = original.source.replace(old, new)
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    changed = replace(original, source=source, sha=sha)
    driver.script = lambda wanted: changed if wanted == name else script(wanted)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a script that protects something.

    Attributes:
        topic: what it protects.
        script: its script.
        old: the line, or enough of it.
        new: what takes its place.
        turn: what to do in order to need it; the topic's turn by default.
    """

    topic: str
    script: str
    old: str
    new: str
    turn: Turn | None = None


LINES = {
    "who has the step": Line(
        *("run_once", "idempotency_claim"),
        *("if holder and tonumber(ends) > now then", "if false then"),
    ),
    "whether the step is done": Line(
        *("run_once", "idempotency_claim"),
        *("if result then\n    return 'DONE ' .. result", "if false then\n    return ''"),
    ),
    "whose claim is completed": Line(
        *("run_once", "idempotency_complete"),
        *("if last ~= token then", "if false then"),
        turn=workloads.outlive_a_claim,
    ),
    "that a claim's token rises": Line(
        *("run_once", "idempotency_claim"),
        *("math.max(tonumber(last) + 1, now)", "tonumber(last)"),
        turn=workloads.outlive_a_claim,
    ),
    "how much there is": Line(
        *("reservations", "resource_lock_reserve"),
        *("if limit and exceeds(high, low, split(limit)) then", "if false then"),
    ),
    "how long a reservation lasts": Line(
        *("reservations", "resource_lock_reserve"),
        *("as_digits(now + tonumber(lease))", "as_digits(now + tonumber(lease) / 2)"),
    ),
    "that a reservation's token rises": Line(
        *("reservations", "resource_lock_reserve"),
        *("math.max(tonumber(last) + 1, now)", "1795000000000000"),
    ),
    "how much is spent": Line(
        *("escalations", "escalation_escalate"),
        *("elseif spent >= limit then", "elseif false then"),
        turn=workloads.spend,
    ),
    "who has asked before": Line(
        *("escalations", "escalation_escalate"),
        *("if repeated then", "if false then"),
    ),
    "who reviews a request": Line(
        *("escalations", "escalation_claim"),
        *("redis.call('ZREM', unclaimed_key, dfid)", ""),
    ),
    "whether a deadline is over": Line(
        *("escalations", "escalation_resolve"),
        *("overdue = not queued or tonumber(deadline) <= now", "overdue = false"),
        turn=workloads.decide_late,
    ),
    "which version there is": Line(
        *("contexts", "context_set"),
        *("  if refused then", "  if false then"),
    ),
    "who compensates": Line(
        *("sagas", "saga_claim"),
        *("redis.call('ZREM', due_key, dfid)", ""),
    ),
    "who has compensated": Line(
        *("sagas", "saga_clear"),
        *("if epoch ~= '' and (last ~= epoch or ends == '0') then", "if false then"),
        turn=workloads.outlive_a_compensation,
    ),
    "whether a flow is closed": Line(
        *("flows", "lifecycle_close_all"),
        *("if has == final then", "if false then"),
        turn=workloads.close_a_flow,
    ),
    "where a flow is": Line(
        *("flows", "lifecycle_transition"),
        *("if (status or INITIAL_STATUS) ~= expected then", "if false then"),
    ),
}


def count_in_two_steps(worker: Worker) -> None:
    storage: Any = worker.bundle.intent_retry

    def increment(dfid: str) -> RetryCount:
        count = storage.get_count(dfid) + 1
        storage.set_count(dfid, count)
        return RetryCount(count, False)

    storage.increment = increment


def merge_in_two_steps(worker: Worker) -> None:
    storage: Any = worker.bundle.context

    def merge(dfid: str, updates: dict[str, str]) -> None:
        data = json.loads(storage.get_session(dfid) or "{}") | updates
        storage.set_session(dfid, json.dumps(data))

    storage.merge_session = merge


def claim_in_two_steps(worker: Worker) -> None:
    storage: Any = worker.bundle.idempotency

    def claim(key: str, **_: Any) -> Claim:
        stored = storage.get(key)
        if stored is not None:
            return Claim(key, ClaimState.DONE, stored["result"])
        return Claim(key, ClaimState.NEW, token=time.monotonic_ns())

    storage.claim = claim
    storage.complete = lambda claim, result: storage.set(claim.key, {"result": result})
    storage.abandon = storage.renew_claim = lambda *_: None


def write_whatever_the_token(_worker: Worker) -> None:
    workloads.write = lambda *_: True  # type: ignore[assignment]


CALLERS: dict[str, tuple[str, Turn, Turn]] = {
    "count in two steps": ("counts", workloads.count, count_in_two_steps),
    "merge in two steps": ("contexts", workloads.write_context, merge_in_two_steps),
    "claim in two steps": ("run_once", workloads.run_a_step, claim_in_two_steps),
    "write whatever their token": (
        *("reservations", workloads.outlive_a_reservation, write_whatever_the_token),
    ),
}


@pytest.fixture
def found_out(server_url: str, namespace: str, tmp_path: Path) -> FoundOut:
    """Whether what sabotaged fleets do is found out, in one of several tries."""

    def run(topic: str, turn: Turn, sabotage: Turn) -> bool:
        fleets = (
            Fleet(
                turns=[turn],
                url=server_url,
                namespace=f"{namespace}-{attempt}",
                folder=tmp_path / f"{attempt}",
                seconds=seconds,
                prepare=sabotage,
                seed=attempt,
            )
            for attempt, seconds in enumerate(TRIES_SEC)
        )
        return any(TOPICS[topic].check(run_fleet(fleet)) for fleet in fleets)

    return run


@pytest.mark.parametrize("real_server", SERVERS[:1], indirect=True)
@pytest.mark.parametrize("what", LINES)
def test_a_script_that_does_not_look_is_found_out(found_out: FoundOut, what: str) -> None:
    line = LINES[what]
    sabotage = partial(change_script, name=line.script, old=line.old, new=line.new)
    assert found_out(line.topic, line.turn or TOPICS[line.topic].turn, sabotage)


@pytest.mark.parametrize("real_server", SERVERS[:1], indirect=True)
@pytest.mark.parametrize("way", CALLERS)
def test_callers_who_go_another_way_are_found_out(found_out: FoundOut, way: str) -> None:
    assert found_out(*CALLERS[way])
