"""A client that writes all the time, keeps a journal of it, and finds out unknown outcomes."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar

from dir_redis import (
    InsufficientCapacityError,
    LeaseLostError,
    ResourceContentionError,
    SessionSupersededError,
    StorageBundle,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
    open_storage,
)

T = TypeVar("T")

CAPACITY = 100
SHARED_FLOWS = 12
# Longer than any fault lasts; a client that is not through by then has found a bug.
PATIENCE_SEC = 60.0
LEASE_SEC = 1.5
# On average, so that whoever verifies the store meanwhile keeps up with some of them.
PAUSE_SEC = 0.01
STATUSES = ("ACTIVE", "VALIDATING")


class Client:
    """One process's work on a store. All it does alone is judged by its journal later.

    Args:
        bundle: the store.
        name: its own; its flow is called so.
        journal: the file, to which it appends a line before and after each operation.
        random: its choices. What each turn tries is up to them alone, and not to how those before
            it went.
    """

    def __init__(self, bundle: StorageBundle, name: str, journal: Path, random: Random) -> None:
        self.bundle = bundle
        self.name = name
        self.ended: Counter[str] = Counter()
        self._random = self._choices = random
        self._pauses = Random(name)
        self._journal = journal.open("a")
        self._number = 0
        self._count = self._version = self._status = 0
        self._work: dict[str, Callable[[], object]] = {
            "record": self._record,
            "record_many": self._record_many,
            "increment": self._increment,
            "merge": self._merge,
            "transition": self._transition,
            "complete": self._complete,
            "append": self._append,
            "reserve": self._reserve,
            "acquire": self._acquire,
            "compensate": self._compensate,
            "escalate": self._escalate,
            "register": self._register,
            "close_flow": self._close_flow,
        }

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def turn(self) -> None:
        """Do one operation to its end, whatever happens meanwhile."""
        self._number += 1
        self._choices = Random(self._random.getrandbits(64))
        what = self._choices.choice(list(self._work))
        self._note(number=self._number, begun=what)
        self._work[what]()
        self._note(number=self._number, acked=what, ended=dict(self.ended))

    def _note(self, **line: Any) -> None:
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()

    def through(self, call: Callable[[], T]) -> T:
        """Call, and where the outcome stays unknown, repeat that very operation until it is known.

        Raises:
            StorageError: the answer is an error, or there was none for a minute.
        """
        deadline = time.monotonic() + PATIENCE_SEC
        unknown = False
        while True:
            try:
                result = call()
            except StorageUnavailableError as error:
                if time.monotonic() > deadline:
                    raise
                if error.outcome_unknown:
                    self.ended["unknown"] += not unknown
                    unknown, call = True, error.repeat
                else:
                    self.ended["not applied"] += 1
            except StorageRefusedError as error:
                if time.monotonic() > deadline:
                    raise
                self.ended[f"refused: {error.code}"] += 1
            except StorageError:  # such as InsufficientCapacityError: known all the same
                self.ended["resolved"] += unknown
                raise
            else:
                self.ended["resolved"] += unknown
                return result
            time.sleep(self._pauses.uniform(0.005, 0.03))

    # What it does alone, so that every answer is known beforehand.

    def _record(self) -> None:
        details = {"n": self._number}
        self.through(lambda: self.bundle.decision_audit.record(self.name, "E", details=details))

    def _record_many(self) -> None:
        rows = [
            {"dfid": self.name, "event": "E", "details": {"n": self._number, "i": i}}
            for i in range(3)
        ]
        self.through(lambda: self.bundle.decision_audit.record_many(rows))

    def _increment(self) -> None:
        found = self.through(lambda: self.bundle.intent_retry.increment(self.name))
        self._count += 1
        assert found.count == self._count, (found, self._count)

    def _merge(self) -> None:
        update = {f"k{self._number % 5}": self._number}
        version = self.through(lambda: self.bundle.context.merge_session(self.name, update))
        self._version += 1
        assert version == self._version, (version, self._version)

    def _transition(self) -> None:
        before = STATUSES[self._status % 2] if self._status else "CREATED"
        after = STATUSES[(self._status + 1) % 2]
        self.through(
            lambda: self.bundle.lifecycle.transition(self.name, before, after, allowed=None)
        )
        self._status += 1

    def _complete(self) -> None:
        key, result = f"{self.name}/{self._number}", {"n": self._number}
        steps = self.bundle.idempotency
        claim = self.through(lambda: steps.claim(key, lease_sec=300, owner=self.name))
        assert self.through(lambda: steps.complete(claim, result)) == result
        assert self.through(lambda: steps.get(key)) == result

    def _append(self) -> None:
        intent = SimpleNamespace(
            dfid=f"{self.name}/{self._number}",
            intent_payload={"n": self._number},
            context_ref="c",
            evidence_hash="e",
            signature="",
        )
        self.through(lambda: self.bundle.decision_ledger.append(intent, agent_id=self.name))

    def _close_flow(self) -> None:
        dfid, lifecycle = f"{self.name}/{self._number}", self.bundle.lifecycle
        self.through(lambda: self.bundle.context.set_session(dfid, "{}"))
        self.through(lambda: self.bundle.resource_lock.acquire_batch(dfid, {"seats": 1}, 0))
        assert self.through(lambda: lifecycle.close_flow(dfid, "CLOSED", session_ttl_sec=600))

    # What it does among others.

    def _reserve(self) -> None:
        locks, dfid = self.bundle.resource_lock, f"{self.name}-order"
        wanted = {"capital": self._choices.randint(1, 40), "seats": 1}
        wait_sec = self._choices.choice((0, 0.05))
        with suppress(InsufficientCapacityError, ResourceContentionError, LeaseLostError):
            held = self.through(
                lambda: locks.reserve(dfid, wanted, lease_sec=LEASE_SEC, wait_sec=wait_sec)
            )
            self.through(lambda: locks.renew(dfid, held.fencing_token, LEASE_SEC))
            if self._choices.random() < 0.5:
                self.through(
                    lambda: locks.settle(dfid, {"seats": 0}, fencing_token=held.fencing_token)
                )
            if self._choices.random() < 0.9:  # else the end of its lease frees it
                self.through(lambda: locks.release(dfid, fencing_token=held.fencing_token))

    def _acquire(self) -> None:
        locks, dfid = self.bundle.resource_lock, f"{self.name}-batch"
        with suppress(InsufficientCapacityError):
            self.through(lambda: locks.acquire_batch(dfid, {"capital": 5}, 0))
            self.through(lambda: locks.release(dfid))

    def _compensate(self) -> None:
        saga, dfid = self.bundle.saga, f"shared-{self._choices.randrange(SHARED_FLOWS)}"
        self.through(lambda: saga.mark_dirty(dfid, "pay", "{}"))
        claim = self.through(lambda: saga.claim_dirty(self.name, LEASE_SEC))
        if claim is not None:
            with suppress(LeaseLostError):
                self.through(lambda: saga.renew_dirty(claim.dfid, claim.epoch, LEASE_SEC))
                self.through(lambda: saga.clear_dirty(claim.dfid, epoch=claim.epoch))

    def _escalate(self) -> None:
        escalation, dfid = self.bundle.escalation, f"shared-{self._choices.randrange(SHARED_FLOWS)}"
        deadline_sec = self._choices.choice((0.02, 60))
        self.through(
            lambda: escalation.escalate(
                *(dfid, self.name, "why", "{}", "{}", "HIGH"),
                limit=1000,
                window_sec=60,
                deadline_sec=deadline_sec,
                default_decision="NO",
                replace=True,
            )
        )
        request = self.through(lambda: escalation.claim_next(self.name, LEASE_SEC))
        if request is not None and self._choices.random() < 0.7:
            asked = str(request["dfid"])
            self.through(lambda: escalation.resolve(asked, "YES", by=self.name))

    def _register(self) -> None:
        agents = self.bundle.agent_registry
        session = self.through(lambda: agents.register(self.name, "{}", 1, ttl_sec=60))
        with suppress(SessionSupersededError):
            self.through(lambda: agents.heartbeat(self.name, session.session_token, 60))
        status = self._choices.choice(("ACTIVE", "SUSPENDED"))
        self.through(lambda: agents.update_status(self.name, status, "r"))


def run_client(
    url: str, namespace: str, name: str, folder: Path, seed: int, seconds: float
) -> None:
    """Work as a process of its own; what goes wrong is written to ``<name>.error``.

    It opens the store anew should the server not be there yet.
    """
    try:
        deadline = time.monotonic() + PATIENCE_SEC
        while True:
            try:
                bundle = open_storage(
                    url, namespace=namespace, timeout_sec=0.15, attempt_timeout_sec=0.15
                )
                break
            except StorageError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        with bundle:
            ends, stop = time.monotonic() + seconds, folder / "stop"
            journal, pauses = folder / f"{name}.journal", Random(name)
            with closing(Client(bundle, name, journal, Random(f"{seed} {name}"))) as client:
                while time.monotonic() < ends and not stop.exists():
                    client.turn()
                    time.sleep(pauses.uniform(0, 2 * PAUSE_SEC))
    except BaseException:
        (folder / f"{name}.error").write_text(f"{name}: {traceback.format_exc()}")
        os._exit(1)
