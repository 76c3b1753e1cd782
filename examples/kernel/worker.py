"""One host of the fleet: leads flows, a few at a time, and compensates those that broke off."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from dir_redis import (
    LeaseLostError,
    StepInProgressError,
    StorageError,
    TransitionConflictError,
    open_storage,
)
from examples.fleet.leases import leave_if_orphaned
from examples.fleet.prices import Decision
from examples.kernel.compensation import compensate, revert
from examples.kernel.desk import Desk
from examples.kernel.flow import lead, let_go
from examples.kernel.plan import Plan

OPEN_FLOWS = 3
STORE_FAILED = 3
PAUSE_SEC = 0.05


def run_worker(url: str, namespace: str, name: str, hand: Sequence[Decision]) -> None:
    """Be a worker until every flow has its result; the main function of its process.

    Args:
        url: the fleet's store.
        namespace: its namespace there.
        name: the process.
        hand: the decisions, in the order in which it takes them.
    """
    logging.disable(logging.WARNING)  # the report says it all
    try:
        with open_storage(url, namespace=namespace) as store:
            desk = Desk(store, Plan.load(store), name)
            desk.register_agents()
            work(desk, hand)
    except StorageError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(STORE_FAILED)


def work(desk: Desk, hand: Sequence[Decision]) -> None:
    """Lead flows, a few at a time: while one waits, others go on. Then wait for the last mark."""
    desk.saga.revert_callback = partial(revert, desk)
    todo = deque(hand)
    with ThreadPoolExecutor(OPEN_FLOWS) as pool:
        for thread in [pool.submit(_work, desk, todo) for _ in range(OPEN_FLOWS)]:
            thread.result()
    while compensate(desk):
        leave_if_orphaned()
        time.sleep(PAUSE_SEC)


def _work(desk: Desk, todo: deque[Decision]) -> None:
    while todo:
        try:
            decision = todo.popleft()
        except IndexError:
            return  # another thread was quicker
        leave_if_orphaned()
        try:
            desk.guard.run(decision.dfid, "flow", {}, lambda d=decision: lead(desk, d))
        except (LeaseLostError, StepInProgressError, TransitionConflictError):
            let_go(desk, decision.dfid)
            todo.append(decision)  # somebody else leads it; its result is looked at later
            time.sleep(PAUSE_SEC)
        compensate(desk)
