"""One flow as a fleet has it, in steps whose cost is counted."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

from benchmarks import payloads as p
from dir_redis import StorageBundle

AGENTS = 100
PARTITIONS = 12
LEASE_SEC = 30.0
COURSE = ("CREATED", "ACTIVE", "VALIDATING", "ACCEPTED", "EXECUTING")
_AUDIT_ROWS = 5
_IDS = uuid.UUID("6c1f0a6e-5a3d-4f7b-9d52-0d2f8c1e7a90")


class Step(NamedTuple):
    """What a flow does once.

    Attributes:
        name: what the tables call it.
        in_partition_0: whether all of it lies in partition 0, whatever the flow.
        run: does it, for a dfid.
    """

    name: str
    in_partition_0: bool
    run: Callable[[StorageBundle, str], object]


def dfid_of(number: int, sort: str = "") -> str:
    """The id of a flow: a UUID, as dir-core's are."""
    return str(uuid.uuid5(_IDS, f"{sort}{number}"))


def agent_of(dfid: str) -> str:
    """The agent that a flow belongs to."""
    return f"agent-{int(dfid[:8], 16) % AGENTS:06d}"


def register_agents(bundle: StorageBundle) -> None:
    """Register every agent, and declare what the flows reserve of."""
    for number in range(AGENTS):
        bundle.agent_registry.register(f"agent-{number:06d}", p.CONTRACT_JSON, 5, "2.4.1")
    for resource_id in p.RESOURCES:
        bundle.resource_lock.set_capacity(resource_id, 1_000_000_000)


def run_flow(bundle: StorageBundle, steps: Iterable[Step], dfid: str) -> None:
    """Do all steps of a flow."""
    for step in steps:
        step.run(bundle, dfid)


def _merge(b: StorageBundle, dfid: str) -> None:
    b.context.merge_session(dfid, p.SESSION, agent_id=agent_of(dfid))
    b.context.merge_session(dfid, {"position": p.SESSION["position"], "decided": p.DETAILS})


def _audit(b: StorageBundle, dfid: str) -> None:
    fields = {**p.AUDIT_FIELDS, "agent_id": agent_of(dfid)}
    for _ in range(_AUDIT_ROWS):
        b.decision_audit.record(dfid, details=p.DETAILS, **fields)


def _transitions(b: StorageBundle, dfid: str) -> None:
    for expected, to in itertools.pairwise(COURSE):
        b.lifecycle.transition(dfid, expected, to)


def _reserve(b: StorageBundle, dfid: str) -> None:
    b.resource_lock.reserve(dfid, p.RESOURCES, lease_sec=LEASE_SEC)


def _release(b: StorageBundle, dfid: str) -> None:
    b.resource_lock.release(dfid)


def _run_once(b: StorageBundle, dfid: str) -> None:
    b.idempotency.run_once(f"order:{dfid}", lambda _: p.RESULT, lease_sec=LEASE_SEC)


def _ledger(b: StorageBundle, dfid: str) -> None:
    intent: Any = SimpleNamespace(
        dfid=dfid,
        intent_payload=p.DETAILS,
        context_ref=p.SESSION["snapshot"],
        evidence_hash=p.SESSION["snapshot"] * 2,
        signature=p.SESSION["snapshot"] * 2,
    )
    b.decision_ledger.append(intent, agent_id=agent_of(dfid))


def _escalate(b: StorageBundle, dfid: str) -> None:
    asked = b.escalation.escalate(
        dfid,
        agent_of(dfid),
        "above the limit",
        p.SESSION_JSON,
        p.PROPOSAL_JSON,
        "HIGH",
        limit=1_000_000,
        window_sec=3600,
    )
    assert asked.outcome == "GRANTED", asked
    assert b.escalation.claim_next("reviewer-7", LEASE_SEC) is not None
    assert b.escalation.resolve(dfid, "APPROVE", by="reviewer-7", reason="within the mandate")
    assert b.escalation.wait_for_decision(dfid, 0) is not None


def _close(b: StorageBundle, dfid: str) -> None:
    ended = b.lifecycle.close_flow(
        dfid, "CLOSED", expected=COURSE[-1], details=p.DETAILS, agent_id=agent_of(dfid)
    )
    assert ended


RESERVATION = (
    Step("`reserve` of 2 resources, with a lease", True, _reserve),
    Step("`release`", True, _release),
)
ESCALATION = Step("`escalate`, `claim_next`, `resolve`, `wait_for_decision`", True, _escalate)
CLOSE = Step("`close_flow`", False, _close)
# What close_flow sends to partition 0 for a flow of another: that flow holds nothing any more.
CLOSE_IN_0 = Step("of `close_flow`: what it sends to partition 0", True, _release)

FLOW_SCOPED = (
    Step("`merge_session`, twice", False, _merge),
    Step(f"`record`, {_AUDIT_ROWS} times", False, _audit),
    Step(f"`transition`, {len(COURSE) - 1} times", False, _transitions),
    Step("`increment` of the retry count", False, lambda b, dfid: b.intent_retry.increment(dfid)),
    Step("`run_once`", False, _run_once),
    Step("`append` to the ledger", False, _ledger),
    CLOSE,
)
TYPICAL = (*FLOW_SCOPED[:-1], *RESERVATION, CLOSE)
ESCALATED = (*FLOW_SCOPED[:-1], *RESERVATION, ESCALATION, CLOSE)
