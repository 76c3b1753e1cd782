"""What eight hosts do at once with each manager, and how much of it survives."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dir_core
from dir_core import EscalationOutcome, FlowStatus, ImpactCategory, LockResult, PolicyProposal

from dir_redis import LeaseLostError, LedgerConflictError, StorageBundle, TransitionConflictError
from tests.kernel.offers import AMENDMENTS, LEDGER_STORAGE
from tests.kernel_races.hosts import HOSTS, Host, Work

ROUNDS = 20
WORK_SEC = 0.002
PROPOSAL = PolicyProposal(dfid="flow", agent_id="agent", policy_kind="BUY")


@dataclass(frozen=True, slots=True)
class Race:
    """One manager's race.

    Attributes:
        manager: the manager's name.
        what: what is counted.
        right: how many there are when nothing is lost and nothing doubled.
        work: what each host does.
        survived: how many there are, by the store or by what the hosts returned.
        prepare: what is done before.
    """

    manager: str
    what: str
    right: int
    work: Work
    survived: Callable[[StorageBundle, list[Any]], int]
    prepare: Callable[[StorageBundle], None] = lambda _: None


def successes(_: StorageBundle, answers: list[list[int]]) -> int:
    """How often hosts succeeded, each of which returned the turns in which it did."""
    return sum(len(turns) for turns in answers)


# IntentRetryGovernor: every rejection is counted


def reject(host: Host) -> None:
    governor = host.managers.IntentRetryGovernor(storage=host.bundle.intent_retry)
    host.together()
    for _ in range(50):
        governor.record_rejection("flow")


def rejections(bundle: StorageBundle, _: list[Any]) -> int:
    return bundle.intent_retry.get_count("flow")


# ContextStore: every merged key is kept


def merge(host: Host) -> None:
    context = host.managers.ContextStore(storage=host.bundle.context)
    host.together()
    for turn in range(25):
        context.update_session("flow", {f"{host.number}:{turn}": turn})
        context.update_state("agent", {f"{host.number}:{turn}": turn})


def merged_keys(bundle: StorageBundle, _: list[Any]) -> int:
    session = json.loads(bundle.context.get_session("flow") or "{}")
    state = json.loads(bundle.context.get_state("agent") or "{}")
    return len(session) + len(state)


# IdempotencyGuard: a step is executed once


def run_steps(host: Host) -> list[int]:
    """The steps that this host executed."""
    return _steps(host)[0]


def results_of_steps(host: Host) -> list[Any]:
    """What this host was told came of each step."""
    return _steps(host)[1]


def _steps(host: Host) -> tuple[list[int], list[Any]]:
    guard = host.managers.IdempotencyGuard(host.bundle.idempotency)
    executed: list[int] = []
    results: list[Any] = []

    def step(turn: int) -> dict[str, int]:
        executed.append(turn)
        time.sleep(WORK_SEC)
        return {"by": host.number}

    for turn in range(ROUNDS):
        host.together()
        # A host that makes no claim may be quicker; its result counts then.
        with contextlib.suppress(LeaseLostError):
            results.append(guard.run("flow", "step", {"turn": turn}, step))
    return executed, results


# EscalationManager: a budget is spent, and not overspent


def escalate(host: Host) -> list[int]:
    """The agents for whom this host was granted a request; each has three."""
    escalation = host.managers.EscalationManager(storage=host.bundle.escalation)
    granted = []
    for turn in range(ROUNDS):
        host.together()
        outcome = escalation.request_escalation(
            f"flow-{turn}-{host.number}",
            f"agent-{turn}",
            "LARGE_ORDER",
            {},
            PROPOSAL,
            ImpactCategory.HIGH_IMPACT,
        )
        if outcome == EscalationOutcome.GRANTED:
            granted.append(turn)
    return granted


# SagaCompensation: a dirty flow is compensated once


def mark_flows(bundle: StorageBundle) -> None:
    for turn in range(ROUNDS):
        bundle.saga.mark_dirty(f"flow-{turn}", "ship", json.dumps({"turn": turn}))


def compensate(host: Host) -> list[int]:
    """The flows that this host compensated."""
    compensated = []

    def revert(_dfid: str, partial_state: dict[str, int]) -> bool:
        compensated.append(partial_state["turn"])
        time.sleep(WORK_SEC)
        return True

    saga = host.managers.SagaCompensation(storage=host.bundle.saga, revert_callback=revert)
    for turn in range(ROUNDS):
        host.together()
        saga.execute_compensation(f"flow-{turn}", dir_core.CompensationAction.REVERT)
    return compensated


# AgentRegistry: a handshake does not undo a suspension


def register_agents(bundle: StorageBundle) -> None:
    registry = dir_core.AgentRegistry(storage=bundle.agent_registry)
    for turn in range(ROUNDS):
        registry.handshake(f"agent-{turn}", {}, "1.0.0")


def suspend_or_shake_hands(host: Host) -> None:
    registry = host.managers.AgentRegistry(storage=host.bundle.agent_registry)
    for turn in range(ROUNDS):
        host.together()
        if host.number == turn % HOSTS:
            registry.set_agent_status(f"agent-{turn}", "SUSPENDED", "DRIFT")
        else:
            registry.handshake(f"agent-{turn}", {}, "1.0.0")


def suspensions(bundle: StorageBundle, _: list[Any]) -> int:
    statuses = [bundle.agent_registry.get_status(f"agent-{turn}") for turn in range(ROUNDS)]
    return statuses.count(("SUSPENDED", "DRIFT"))


# AgentRegistry: every amendment is kept


def register_a_projection(bundle: StorageBundle) -> None:
    limit = {
        **{"id": "ORDER_SIZE", "type": "range", "field": "params.order_value", "max": 100.0},
        **{"runtime_amendable": True, "max_ceiling": 200.0},
    }
    dir_core.AgentRegistry(storage=bundle.agent_registry).register_projection(
        dir_core.RuntimeContractProjection(agent_id="agent", invariants=[limit]), "1.0.0"
    )


def amend(host: Host) -> None:
    registry = host.managers.AgentRegistry(storage=host.bundle.agent_registry)
    host.together()
    for turn in range(10):
        result = registry.apply_parameter_amendment(
            dir_core.ContractParameterAmendment(
                agent_id="agent",
                invariant_id="ORDER_SIZE",
                patch={"max": 50 + turn},
                actor_id=f"desk-{host.number}",
            )
        )
        assert result.accepted


def amendments(bundle: StorageBundle, _: list[Any]) -> int:
    registry = dir_core.AgentRegistry(storage=bundle.agent_registry)
    return len(registry.get_agent_projection("agent").parameter_amendments)


# transition: of hosts that move a flow on from one status, one does


def move_on(host: Host) -> list[int]:
    """The flows that this host moved on."""
    moved = []
    for turn in range(ROUNDS):
        host.together()
        try:
            host.managers.transition(
                f"flow-{turn}",
                FlowStatus.CREATED,
                FlowStatus.ACTIVE,
                storage=host.bundle.lifecycle,
            )
        except TransitionConflictError:
            continue
        moved.append(turn)
    return moved


# ResourceLockManager: as much is granted as there is


CAPACITY = 100
AMOUNT = 30  # three fit
RESOURCES = 10


def reserve(host: Host) -> list[int]:
    """The resources of which this host was granted its amount."""
    locks = host.managers.ResourceLockManager(
        availability_provider=lambda _: float(CAPACITY), storage=host.bundle.resource_lock
    )
    granted = []
    for turn in range(RESOURCES):
        host.together()
        result = locks.acquire(f"flow-{host.number}-{turn}", {f"capital-{turn}": AMOUNT}, 30)
        if result == LockResult.ACQUIRED:
            granted.append(turn)
    return granted


# DecisionLedger: a flow is decided once


def decide(host: Host) -> list[int]:
    """The flows that this host decided."""
    ledger = host.managers.DecisionLedger(storage=host.bundle.decision_ledger)
    decided = []
    for turn in range(ROUNDS):
        intent = dir_core.ProofCarryingIntent(
            dfid=f"flow-{turn}",
            intent_payload={"by": host.number},
            context_ref="snapshot",
            evidence_hash="e1",
        )
        host.together()
        try:
            ledger.append(intent, agent_id=f"agent-{host.number}")
        except LedgerConflictError:
            continue
        decided.append(turn)
    return decided


# DecisionRuntime: a flow's session, count and rows are those of all evaluations


def evaluate(host: Host) -> None:
    runtime = host.managers.DecisionRuntime(host.bundle)
    governor = host.managers.IntentRetryGovernor(1000, storage=host.bundle.intent_retry)
    refused = PolicyProposal(dfid="flow", agent_id="agent", policy_kind="")
    host.together()
    for turn in range(10):
        runtime.evaluate_proposal(refused, {f"{host.number}:{turn}": turn}, retry_governor=governor)


def evaluations(bundle: StorageBundle, _: list[Any]) -> int:
    keys = json.loads(bundle.context.get_session("flow") or "{}")
    rows = bundle.decision_audit.events_for_dfid("flow")
    return len(keys) + bundle.intent_retry.get_count("flow") + len(rows)


RACES = [
    Race("ResourceLockManager", "reservations granted", 3 * RESOURCES, reserve, successes),
    Race("IdempotencyGuard", "executions of 20 steps", ROUNDS, run_steps, successes),
    Race("EscalationManager", "grants to 20 agents", 3 * ROUNDS, escalate, successes),
    Race("IntentRetryGovernor", "rejections counted", 50 * HOSTS, reject, rejections),
    Race("ContextStore", "merged keys kept", 2 * 25 * HOSTS, merge, merged_keys),
    Race(
        *("SagaCompensation", "compensations of 20 flows", ROUNDS),
        *(compensate, successes, mark_flows),
    ),
    Race(
        *("AgentRegistry", "suspensions that stand", ROUNDS),
        *(suspend_or_shake_hands, suspensions, register_agents),
    ),
    Race("transition", "transitions of 20 flows", ROUNDS, move_on, successes),
    Race(
        *("DecisionRuntime", "session keys, rejections and rows kept", 3 * 10 * HOSTS),
        *(evaluate, evaluations),
    ),
]
if LEDGER_STORAGE:
    RACES.append(Race("DecisionLedger", "decisions of 20 flows", ROUNDS, decide, successes))
if AMENDMENTS:
    RACES.append(
        Race(
            *("AgentRegistry", "amendments kept", 10 * HOSTS),
            *(amend, amendments, register_a_projection),
        )
    )
