"""What the workers of a fleet do: for each topic one turn, which all of them repeat.

All workers go for the same few records at a time, since only there can anything go wrong.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from dir_redis import (
    Claim,
    ClaimState,
    InsufficientCapacityError,
    LeaseLostError,
    ResourceContentionError,
    StepInProgressError,
    TransitionConflictError,
    VersionConflictError,
)
from dir_redis.run_once import run_once
from tests.histories import checkers
from tests.histories.fleet import CONTEXT, Finish, Turn, Worker
from tests.histories.history import History, Operation, Recorder

# What runs the tests is imported by each process anew, unless it is there already.
CONTEXT.set_forkserver_preload([__name__, "pytest"])

LEASE_SEC = 0.1
CAPACITIES = {"capital": 100, "seats": 5, "pen": 1}
LIMIT = 5
WINDOW_SEC = 0.5


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic's workload and its check.

    Attributes:
        turn: what a worker does, over and over.
        check: what must hold of the history; the violations in words.
        contested: outcomes without which a history of eight workers says nothing.
        finish: what one more worker does at the end, given the history so far.
    """

    turn: Turn
    check: Callable[[History], list[str]]
    contested: Set[str]
    finish: Finish | None = None


def count(worker: Worker) -> None:
    dfid = worker.current("counted", per_sec=3)
    with worker.record("increment", dfid=dfid) as call:
        call.result = worker.bundle.intent_retry.increment(dfid).count


# Run once


class RecordedClaims:
    """The operations that run_once is made of, each written down."""

    def __init__(self, storage: Any, record: Recorder) -> None:
        self._storage = storage
        self._record = record

    def claim(self, key: str, *, lease_sec: float, owner: str, **_: Any) -> Claim:
        with self._record("claim", key=key, lease_sec=lease_sec) as call:
            claim = self._storage.claim(key, lease_sec=lease_sec, owner=owner)
            call.result = _as_found(claim)
        return claim

    def wait(self, key: str, timeout_sec: float) -> Claim:
        with self._record("wait", key=key) as call:
            claim = self._storage.wait(key, timeout_sec)
            call.result = _as_found(claim)
        return claim

    def renew_claim(self, claim: Claim, lease_sec: float) -> None:
        with self._record("renew_claim", key=claim.key, token=claim.token, lease_sec=lease_sec):
            self._storage.renew_claim(claim, lease_sec)

    def complete(self, claim: Claim, result: Any, **_: Any) -> Any:
        with self._record("complete", key=claim.key, token=claim.token, value=result):
            return self._storage.complete(claim, result)

    def abandon(self, claim: Claim) -> None:
        with self._record("abandon", key=claim.key, token=claim.token):
            self._storage.abandon(claim)


def _as_found(claim: Claim) -> dict[str, Any]:
    return {"state": claim.state, "token": claim.token, "result": claim.result}


class StepFailedError(Exception):
    """The step itself failed."""


def run_a_step(worker: Worker) -> None:
    """Run a step that takes about a lease, kept alive or not."""
    if worker.random.random() < 0.3:
        outlive_a_claim(worker)
        return
    with suppress(StepInProgressError, LeaseLostError, StepFailedError):
        _run_once(worker, worker.current("step", per_sec=4))
    worker.work(0, 0.004)


def outlive_a_claim(worker: Worker) -> None:
    """Run a step that nobody keeps alive, often for longer than its lease."""
    claims = RecordedClaims(worker.bundle.idempotency, worker.record)
    key = worker.current("step", per_sec=4)
    claim = claims.claim(key, lease_sec=LEASE_SEC, owner=worker.name)
    if claim.state is ClaimState.NEW:
        worker.work(0, 2 * LEASE_SEC)
        with suppress(LeaseLostError, StepFailedError):
            claims.complete(claim, _step(worker, claim))
    worker.work(0, 0.004)


def run_all_steps(worker: Worker, history: History) -> None:
    """Whatever step a dead worker was at is run in the end."""
    for key in history.by("key", "claim"):
        for _ in worker.until_done():
            with suppress(StepFailedError):
                _run_once(worker, key)
                break


def _run_once(worker: Worker, key: str) -> None:
    with worker.record("run_once", key=key) as call:
        call.result = run_once(
            RecordedClaims(worker.bundle.idempotency, worker.record),  # type: ignore[arg-type]
            key,
            partial(_step, worker),
            fingerprint=None,
            lease_sec=LEASE_SEC,
            wait_sec=1.0,
            ttl_sec=None,
            owner=worker.name,
        )


def _step(worker: Worker, claim: Claim) -> int | None:
    """A step; its result is its token."""
    with worker.record("step", key=claim.key, token=claim.token):
        worker.work(0, 1.2 * LEASE_SEC)
    if worker.random.random() < 0.1:
        raise StepFailedError
    return claim.token


# Reservations


def reserve(worker: Worker) -> None:
    """Reserve, use and give back, with or without a look at how it stands."""
    if worker.random.random() < 0.3:
        outlive_a_reservation(worker)
        return
    locks = worker.bundle.resource_lock
    resources = {worker.current("capital", per_sec=2): worker.random.randint(10, 60)}
    if worker.random.random() < 0.5:
        resources[worker.current("seats", per_sec=2)] = 1
    with suppress(InsufficientCapacityError, ResourceContentionError, LeaseLostError):
        held = _reserve(worker, resources)
        worker.work(0, LEASE_SEC / 4)
        if worker.random.random() < 0.4:
            with worker.record("renew", **held, lease_sec=LEASE_SEC):
                locks.renew(held["dfid"], held["token"], LEASE_SEC)
        if worker.random.random() < 0.4:
            used = {rid: worker.random.randint(1, amount) for rid, amount in resources.items()}
            with worker.record("settle", **held, used=used):
                locks.settle(held["dfid"], used, fencing_token=held["token"])
        worker.work(0, LEASE_SEC / 4)
        if worker.random.random() < 0.8:
            _release(worker, held)
    worker.work(0, 0.004)


def outlive_a_reservation(worker: Worker) -> None:
    """Write with a pen that only one has, often after a lease that is short."""
    pen = worker.current("pen", per_sec=2)
    with suppress(InsufficientCapacityError, ResourceContentionError, LeaseLostError):
        held = _reserve(worker, {pen: 1}, LEASE_SEC / 4)
        worker.work(0, LEASE_SEC)
        with worker.record("write", **held, pen=pen) as call:
            call.result = write(worker, pen, held["token"])
        _release(worker, held)
    worker.work(0, 0.004)


def write(worker: Worker, pen: str, token: int) -> bool:
    """Write where tokens are remembered; False if a larger one has written before."""
    paper = os.open(worker.folder / pen, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(paper, fcntl.LOCK_EX)
        if token < int(os.read(paper, 20) or 0):
            return False
        os.pwrite(paper, f"{token:020}".encode(), 0)
        return True
    finally:
        os.close(paper)


def _reserve(
    worker: Worker, resources: dict[str, int], lease_sec: float = LEASE_SEC
) -> dict[str, Any]:
    """Reserve for a new flow, mostly without waiting: who waits and dies is waited for."""
    dfid = worker.new("holder")
    capacities = {rid: CAPACITIES[rid.partition("-")[0]] for rid in resources}
    with worker.record("reserve", dfid=dfid, resources=resources, lease_sec=lease_sec) as call:
        reservation = worker.bundle.resource_lock.reserve(
            dfid,
            resources,
            lease_sec=lease_sec,
            wait_sec=worker.random.choice([0, 0, 0, LEASE_SEC]),
            capacities=capacities,
        )
        call.result = {"token": reservation.fencing_token}
    return {"dfid": dfid, "token": reservation.fencing_token}


def _release(worker: Worker, held: dict[str, Any]) -> None:
    with worker.record("release", **held):
        worker.bundle.resource_lock.release(held["dfid"], fencing_token=held["token"])


def look_at_holders(worker: Worker, history: History) -> None:
    """Whatever a dead worker held is free in the end."""
    locks = worker.bundle.resource_lock
    resources = {rid for call in history.named("reserve") for rid in call["resources"]}
    for _ in worker.until_done():
        if not any(locks.holders(rid) for rid in resources):
            break
    assert not any(locks.get_locked_amount(rid, "nobody") for rid in resources)


# Escalations


def escalate_or_review(worker: Worker) -> None:
    queue = worker.bundle.escalation
    dfid = worker.current("asking", per_sec=25)
    chance = worker.random.random()
    if chance < 0.3:
        _escalate(worker, dfid)
    elif chance < 0.4:
        spend(worker)
    elif chance < 0.5:
        decide_late(worker)
    elif chance < 0.7:
        _review(worker)
    elif chance < 0.85:
        _resolve(worker, dfid)
    else:
        with worker.record("wait_for_decision", dfid=dfid) as call:
            request = queue.wait_for_decision(dfid, 0.05)
            call.result = {"decision": request and request["decision"]}
    worker.work(0, 0.004)


def spend(worker: Worker) -> None:
    """Escalate what nobody else asks about."""
    _escalate(worker, worker.new("asking"))


def decide_late(worker: Worker) -> None:
    """Escalate, and decide at about the deadline."""
    dfid = worker.current("asking", per_sec=25)
    _escalate(worker, dfid)
    worker.work(0, LEASE_SEC)
    _resolve(worker, dfid)


def _escalate(worker: Worker, dfid: str) -> None:
    agent_id = f"agent-{int(dfid.rpartition('-')[2]) % 2}"
    deadline = worker.random.choice(
        [
            {"deadline_sec": None, "default_decision": None},
            {"deadline_sec": LEASE_SEC / 3, "default_decision": "REJECT"},
        ]
    )
    with worker.record("escalate", dfid=dfid, agent_id=agent_id, **deadline) as call:
        escalation = worker.bundle.escalation.escalate(
            *(dfid, agent_id, "why", "{}", "{}", "high"),
            limit=LIMIT,
            window_sec=WINDOW_SEC,
            **deadline,
        )
        call.result = {"outcome": escalation.outcome}


def _review(worker: Worker) -> None:
    with worker.record("claim_next", lease_sec=LEASE_SEC) as call:
        request = worker.bundle.escalation.claim_next(worker.name, LEASE_SEC)
        call.result = request and {"dfid": request["dfid"]}
    if request is not None:
        worker.work(0, 1.2 * LEASE_SEC)
        _resolve(worker, request["dfid"])


def _resolve(worker: Worker, dfid: str) -> None:
    decision = worker.new("decision")
    with worker.record("resolve", dfid=dfid, decision=decision) as call:
        call.result = worker.bundle.escalation.resolve(dfid, decision, by=worker.name)


def decide_all(worker: Worker, _history: History) -> None:
    """Whatever request a dead reviewer had is decided in the end."""
    for _ in worker.until_done():
        if not worker.bundle.escalation.get_pending_requests():
            break
        _review(worker)


# Contexts


def write_context(worker: Worker) -> None:
    """Merge into a session or an agent's state, or replace it if nobody else did meanwhile."""
    kind = worker.random.choice(["session", "state"])
    document = f"{kind} {worker.current('record', per_sec=5)}"
    storage: Any = worker.bundle.context
    items = {worker.name: worker.new("value"), "everybody": worker.name}
    if worker.random.random() < 0.6:
        with worker.record("merge", document=document, items=items) as call:
            call.result = getattr(storage, f"merge_{kind}")(document, items)
        return
    version, stored = read_context(worker, document)
    items = stored | items
    with (
        suppress(VersionConflictError),
        worker.record("set", document=document, items=items, expected=version),
    ):
        setter = getattr(storage, f"set_{kind}")
        setter(document, json.dumps(items), expected_version=version)


def read_context(worker: Worker, document: str) -> tuple[int, dict[str, str]]:
    """A document's version and items."""
    kind = document.partition(" ")[0]
    with worker.record("get_document", document=document) as call:
        found = getattr(worker.bundle.context, f"get_{kind}_versioned")(document)
        call.result = found.version, json.loads(found.data_json or "{}")
    return call.result


def read_contexts(worker: Worker, history: History) -> None:
    for document in history.by("document", "merge"):
        read_context(worker, document)


# Sagas


def mark_or_compensate(worker: Worker) -> None:
    """Mark a flow dirty, or compensate one, mostly within its lease."""
    if worker.random.random() < 0.7:
        _compensate(worker, LEASE_SEC)
    else:
        _mark(worker)


def outlive_a_compensation(worker: Worker) -> None:
    """Mark a flow dirty, and compensate one, mostly for longer than its lease."""
    _mark(worker)
    _compensate(worker, 3 * LEASE_SEC)


def compensate_all(worker: Worker, _history: History) -> None:
    """Whatever flow a dead worker was compensating is compensated in the end."""
    for _ in worker.until_done():
        if not worker.bundle.saga.get_dirty_flows():
            break
        _compensate(worker, LEASE_SEC)


def _mark(worker: Worker) -> None:
    dfid, failed_step = f"dirty-{worker.random.randrange(12)}", worker.new("step")
    with worker.record("mark_dirty", dfid=dfid, failed_step=failed_step):
        worker.bundle.saga.mark_dirty(dfid, failed_step, "{}")


def _compensate(worker: Worker, most_sec: float) -> None:
    saga = worker.bundle.saga
    with worker.record("claim_dirty", lease_sec=LEASE_SEC) as call:
        claim = saga.claim_dirty(worker.name, LEASE_SEC)
        call.result = claim and {
            "dfid": claim.dfid,
            "token": claim.epoch,
            "failed_step": claim.failed_step,
        }
    if claim is None:
        worker.work(0, 0.004)
        return
    owned = {"dfid": claim.dfid, "token": claim.epoch}
    with suppress(LeaseLostError):
        with worker.record("compensate", **owned, failed_step=claim.failed_step):
            worker.work(0, most_sec)
        chance = worker.random.random()
        if chance < 0.3:
            with worker.record("renew_dirty", **owned, lease_sec=LEASE_SEC):
                saga.renew_dirty(claim.dfid, claim.epoch, LEASE_SEC)
        worker.work(0, LEASE_SEC / 2)
        if chance < 0.2:
            with worker.record("release_dirty", **owned):
                saga.release_dirty(claim.dfid, claim.epoch)
        else:
            with worker.record("clear_dirty", **owned):
                saga.clear_dirty(claim.dfid, epoch=claim.epoch)


# Lifecycles


def move_flow(worker: Worker) -> None:
    """Move a flow on from where it is, or close it."""
    if worker.random.random() < 0.003:
        close_a_flow(worker)
        return
    dfid = worker.current("moved", per_sec=3)
    lifecycle = worker.bundle.lifecycle
    expected, to = lifecycle.current_status(dfid) or "CREATED", worker.new("status")
    if expected == "CLOSED":
        worker.work(0, 0.004)
        return
    with (
        suppress(TransitionConflictError),
        worker.record("transition", dfid=dfid, expected=expected, to=to),
    ):
        lifecycle.transition(dfid, expected, to, allowed=None)


def close_a_flow(worker: Worker) -> None:
    _close(worker, worker.current("moved", per_sec=3))


def _close(worker: Worker, dfid: str) -> None:
    with worker.record("close_flow", dfid=dfid) as call:
        call.result = worker.bundle.lifecycle.close_flow(dfid, "CLOSED")


def read_flows(worker: Worker, history: History) -> None:
    """Close what somebody began to close, and read the logs."""
    for dfid in history.by("dfid", "close_flow"):
        _close(worker, dfid)
        with worker.record("events_for_dfid", dfid=dfid) as call:
            rows = worker.bundle.decision_audit.events_for_dfid(dfid)
            call.result = [row["event"] for row in rows]
    for dfid in history.by("dfid", "transition"):
        with worker.record("get_transitions", dfid=dfid) as call:
            rows = worker.bundle.lifecycle.get_transitions(dfid)
            call.result = [[row["from_status"], row["to_status"]] for row in rows]


TOPICS = {
    "counts": Topic(count, checkers.check_counts, contested={"increment"}),
    "run_once": Topic(
        run_a_step,
        checkers.check_run_once,
        finish=run_all_steps,
        contested={"claim NEW", "claim IN_PROGRESS", "claim DONE"},
    ),
    "reservations": Topic(
        reserve,
        partial(checkers.check_reservations, capacities=CAPACITIES),
        finish=look_at_holders,
        contested={"reserve", "reserve InsufficientCapacityError"},
    ),
    "escalations": Topic(
        escalate_or_review,
        partial(checkers.check_escalations, limit=LIMIT, window_sec=WINDOW_SEC),
        finish=decide_all,
        contested={"escalate GRANTED", "escalate REPEATED", "escalate BUDGET_EXHAUSTED"},
    ),
    "contexts": Topic(
        write_context,
        checkers.check_documents,
        finish=read_contexts,
        contested={"merge", "set", "set VersionConflictError"},
    ),
    "sagas": Topic(
        mark_or_compensate,
        checkers.check_sagas,
        finish=compensate_all,
        contested={"claim_dirty", "clear_dirty"},
    ),
    "flows": Topic(
        move_flow,
        checkers.check_flows,
        finish=read_flows,
        contested={"transition", "transition TransitionConflictError"},
    ),
}


def outcome_of(call: Operation) -> str:
    """What a call was told, in a word or two."""
    if call.pending:
        return f"{call.name} pending"
    told = call.error
    if told is None and isinstance(call.result, dict):
        told = call.result.get("state") or call.result.get("outcome")
    elif isinstance(call.result, bool):
        told = str(call.result)
    return f"{call.name} {told}" if told else call.name
