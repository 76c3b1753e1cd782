"""What a process holds, and the thread that keeps it alive while its flows work or wait."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from dir_redis import (
    AgentSession,
    Claim,
    LeaseLostError,
    SessionSupersededError,
    StorageBundle,
    StorageError,
)

SUPERSEDED = 4


class FlowLeases:
    """A process's claim on a flow, and the flow's reservation, which live and die together.

    Attributes:
        dfid: the flow.
        claim: the claim; its token goes into every row of the flow.
        fencing_token: of the reservation, once there is one.
        let_go: whether the flow has ended here, so that nothing is to be renewed.
    """

    def __init__(
        self, dfid: str, claim: Claim, runs_out: float, clock: Callable[[], float]
    ) -> None:
        self.dfid = dfid
        self.claim = claim
        self.fencing_token: int | None = None
        self.let_go = False
        self._runs_out = runs_out
        self._clock = clock
        self._lost = False

    def check(self) -> None:
        """Make sure that the flow is still this process's; called before each of its writes.

        Its own clock is enough to know: the lease ends for others no earlier than for it.

        Raises:
            LeaseLostError: it may be somebody else's.
        """
        if self._lost or self._clock() >= self._runs_out:
            raise LeaseLostError(f"claim of {self.dfid!r}", self.claim.token or 0)

    def renew(self, store: StorageBundle, lease_sec: float) -> None:
        """Let both leases run anew."""
        asked = self._clock()
        try:
            store.idempotency.renew_claim(self.claim, lease_sec)
            if self.fencing_token is not None:
                store.resource_lock.renew(self.dfid, self.fencing_token, lease_sec)
            self._runs_out = asked + lease_sec
        except LeaseLostError:
            self._lost = not self.let_go
        except StorageError:
            pass  # the store cannot be reached: the next beat tries again, until time is over


class Keeper:
    """Beats at a third of the lease: says that the agent lives, and renews what its flows hold.

    A context manager; the beat is a thread of its own within it.

    Args:
        store: the fleet's store.
        session: of the agent.
        lease_sec: how long what the process holds outlives it.
        on_stale: called with an agent that has stopped saying that it lives.

    Attributes:
        lease_sec: as given.
        clock: this process's own, seconds.
    """

    def __init__(
        self,
        store: StorageBundle,
        session: AgentSession,
        lease_sec: float,
        *,
        on_stale: Callable[[str], None] | None = None,
    ) -> None:
        self.lease_sec = lease_sec
        self.clock = time.monotonic
        self._store = store
        self._session = session
        self._on_stale = on_stale
        self._flows: dict[str, FlowLeases] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    @contextmanager
    def keeping(self, dfid: str, claim: Claim, asked: float) -> Iterator[FlowLeases]:
        """Keep a flow's leases alive within the block.

        Args:
            dfid: the flow.
            claim: the claim, just granted.
            asked: when it was asked for, by this process's clock.
        """
        leases = FlowLeases(dfid, claim, asked + self.lease_sec, self.clock)
        self._flows[dfid] = leases
        try:
            yield leases
        finally:
            del self._flows[dfid]

    def beat(self) -> None:
        """Say once that the agent lives, and renew everything.

        Raises:
            SessionSupersededError: another process is the agent now.
        """
        for leases in list(self._flows.values()):
            leases.renew(self._store, self.lease_sec)
        registry = self._store.agent_registry
        registry.heartbeat(self._session.agent_id, self._session.session_token, self.lease_sec)
        if self._on_stale is not None:
            for agent_id in registry.list_stale_agents():
                self._on_stale(agent_id)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self.lease_sec / 3):
            leave_if_orphaned()
            try:
                self.beat()
            except SessionSupersededError as error:
                print(error, file=sys.stderr)
                os._exit(SUPERSEDED)
            except StorageError:
                continue  # as with the leases; the flows say what is wrong if it lasts


def leave_if_orphaned() -> None:
    """End the process if the parent is gone: a demo should leave no processes behind."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)
