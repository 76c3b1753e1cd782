"""One host of the fleet: a process with one agent and the decisions delivered to it."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from dir_redis import ClaimState, StorageBundle, StorageError, open_storage
from examples.fleet.broker import Broker
from examples.fleet.desk import Desk
from examples.fleet.flow import deliver
from examples.fleet.leases import Keeper
from examples.fleet.plan import Plan, flow_key
from examples.fleet.prices import Decision

OPEN_FLOWS = 4
STORE_FAILED = 3


class ToDo:
    """What a process has to do: its own deliveries, then whatever is left. Safe for threads.

    Args:
        agent_id: the agent.
        hands: each agent's deliveries by agent_id.
        again_sec: after how long to look again at a flow that another process has.
    """

    def __init__(
        self, agent_id: str, hands: Mapping[str, Sequence[Decision]], *, again_sec: float
    ) -> None:
        self.own = {decision.dfid for decision in hands[agent_id]}
        self._hands = hands
        self._again_sec = again_sec
        others = (each for agent, hand in hands.items() if agent != agent_id for each in hand)
        self._open = {each.dfid: each for each in (*hands[agent_id], *others)}
        self._next = deque(self._open)
        self._elsewhere: deque[tuple[float, str]] = deque()
        self._helped: set[str] = set()
        self._lock = threading.Lock()

    def take(self) -> tuple[Decision, float] | None:
        """What to do next, and after how many seconds: not 0 only if nothing else is to be done.

        Returns:
            None when everything is done.
        """
        with self._lock:
            while self._elsewhere or self._next:
                pause = 0.0
                if self._elsewhere:
                    pause = max(0.0, self._elsewhere[0][0] - time.monotonic())
                if self._elsewhere and (pause == 0 or not self._next):
                    dfid = self._elsewhere.popleft()[1]
                else:
                    dfid, pause = self._next.popleft(), 0.0
                if dfid in self._open:
                    return self._open[dfid], pause
            return None

    def done(self, dfid: str) -> None:
        """Note that a flow has ended, here or elsewhere."""
        with self._lock:
            self._open.pop(dfid, None)

    def put_back(self, dfid: str) -> None:
        """Look at a flow again later: whoever has it ends it, or dies."""
        with self._lock:
            self._elsewhere.append((time.monotonic() + self._again_sec, dfid))

    def help(self, agent_id: str) -> None:
        """Do next, once, what was delivered to an agent that has fallen silent."""
        with self._lock:
            if agent_id in self._hands and agent_id not in self._helped:
                self._helped.add(agent_id)
                self._next.extendleft(each.dfid for each in reversed(self._hands[agent_id]))


def run_worker(
    url: str, namespace: str, agent_id: str, hands: Mapping[str, Sequence[Decision]]
) -> None:
    """Be a worker until all decisions are made; the main function of its process.

    Args:
        url: the fleet's store.
        namespace: its namespace there.
        agent_id: the agent; one process at a time is it.
        hands: each agent's deliveries; the others' are for when its own are done.
    """
    try:
        with open_storage(url, namespace=namespace) as store:
            plan = Plan.load(store)
            todo = ToDo(agent_id, hands, again_sec=plan.lease_sec / 4)
            desk = open_desk(store, plan, agent_id, todo)
            with desk.keeper:
                work(desk, todo)
    except StorageError as error:
        print(f"{agent_id}: {error}", file=sys.stderr)
        sys.exit(STORE_FAILED)


def open_desk(store: StorageBundle, plan: Plan, agent_id: str, todo: ToDo | None = None) -> Desk:
    """Register the agent, with a session of this process's own.

    Raises:
        PermissionError: the agent is suspended; a new process does not change that.
    """
    contract = {
        "role": "trader",
        "may": ["BUY", "SELL"],
        "symbols": plan.symbols,
        "escalations_per_hour": plan.escalation_budget,
    }
    session = store.agent_registry.register(
        agent_id, json.dumps(contract), 1, "1.0", ttl_sec=plan.lease_sec
    )
    if session.status != "ACTIVE":
        raise PermissionError(f"{agent_id} is {session.status}: {session.suspension_reason}")
    name = f"{agent_id}#{session.session_token[-6:]}"
    keeper = Keeper(store, session, plan.lease_sec, on_stale=todo.help if todo else None)
    return Desk(store, plan, agent_id, name, keeper, Broker(store))


def work(desk: Desk, todo: ToDo) -> None:
    """Take decisions through their flows, a few at a time: while one waits, others go on."""
    with ThreadPoolExecutor(OPEN_FLOWS) as pool:
        for thread in [pool.submit(_work, desk, todo) for _ in range(OPEN_FLOWS)]:
            thread.result()


def _work(desk: Desk, todo: ToDo) -> None:
    told: set[str] = set()
    while (task := todo.take()) is not None:
        decision, pause = task
        dfid = decision.dfid
        if dfid not in todo.own and desk.store.idempotency.get(flow_key(dfid)) is not None:
            todo.done(dfid)  # a look costs less than a claim
            continue
        if pause:
            # Woken when its result is there; and by the end of its owner's lease, if it died.
            desk.store.idempotency.wait(flow_key(dfid), pause)
        state, owner = deliver(desk, decision)
        if owner != desk.name and dfid in todo.own and dfid not in told:
            told.add(dfid)
            desk.note_not_needed(dfid, owner)
        if state is ClaimState.DONE:
            todo.done(dfid)
        else:
            todo.put_back(dfid)
