"""One host of the fleet: a process with one agent and the decisions delivered to it."""

from __future__ import annotations

import heapq
import itertools
import json
import multiprocessing
import os
import secrets
import sys
import time
from collections import deque
from collections.abc import Generator, Sequence

from dir_redis import StorageBundle, StorageError, open_storage
from examples.fleet.book import Book
from examples.fleet.desk import Desk
from examples.fleet.flow import deliver
from examples.fleet.grammar import FINAL
from examples.fleet.plan import Plan
from examples.fleet.prices import Decision

OPEN_FLOWS = 4
STORE_FAILED = 3


def run_worker(url: str, namespace: str, agent_id: str, decisions: Sequence[Decision]) -> None:
    """Be a worker until all its decisions are made; the main function of its process.

    Args:
        url: the fleet's store.
        namespace: its namespace there.
        agent_id: the agent; one process at a time may be it.
        decisions: those delivered to the agent, some of them to others as well.
    """
    try:
        with open_storage(url, namespace=namespace) as store:
            work(open_desk(store, agent_id), decisions)
    except StorageError as error:
        print(f"{agent_id}: {error}", file=sys.stderr)
        sys.exit(STORE_FAILED)


def leave_if_orphaned() -> None:
    """End the process if the parent is gone: nobody would notice its death any more."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)


def open_desk(store: StorageBundle, agent_id: str) -> Desk:
    """Register the agent with a session of its own, and take up its book."""
    plan = Plan.load(store)
    session_token = secrets.token_hex(4)
    contract = {
        "role": "trader",
        "may": ["BUY", "SELL"],
        "symbols": plan.symbols,
        "escalations_per_hour": plan.escalation_budget,
    }
    store.agent_registry.upsert_agent(
        agent_id, json.dumps(contract), 1, "ACTIVE", "1.0", session_token
    )
    book = Book.load(store, agent_id)
    return Desk(store, agent_id, session_token, plan.escalation_budget, book)


def work(desk: Desk, decisions: Sequence[Decision]) -> None:
    """Take decisions through their flows, a few at a time: while one waits, others go on."""
    transitions = desk.store.lifecycle.get_transitions()
    ended = {row["dfid"] for row in transitions if row["to_status"] in FINAL}
    waiting = deque(decision for decision in decisions if decision.dfid not in ended)
    running: list[tuple[float, int, Generator[float, None, None]]] = []  # a heap by when to go on
    order = itertools.count()
    while waiting or running:
        leave_if_orphaned()
        while waiting and len(running) < OPEN_FLOWS:
            flow = deliver(desk, waiting.popleft())
            heapq.heappush(running, (time.monotonic(), next(order), flow))
        go_on_at, _, flow = heapq.heappop(running)
        time.sleep(max(0.0, go_on_at - time.monotonic()))
        pause = next(flow, None)
        if pause is not None:
            heapq.heappush(running, (time.monotonic() + pause, next(order), flow))
