"""A host with dir-core's own managers and one with the kernel's, on one store.

What each writes the other finds. What only the kernel's managers guarantee, an unmodified host can
still undo: the tests named so say how.
"""

from __future__ import annotations

import contextlib

import dir_core
import pytest
from dir_core import (
    CompensationAction,
    EscalationOutcome,
    FlowStatus,
    HumanDecision,
    ImpactCategory,
    LockResult,
    PolicyProposal,
)

from dir_redis import LeaseLostError, LedgerConflictError, TransitionConflictError, kernel
from tests.dir_core_needed import only_where
from tests.kernel.offers import AMENDMENTS, LEDGER_STORAGE

UNMODIFIED = dir_core


@pytest.fixture(
    params=[(UNMODIFIED, kernel), (kernel, UNMODIFIED)],
    ids=["unmodified-first", "kernel-first"],
)
def both(request):
    """The managers of two hosts: those that act first, and the others."""
    return request.param


# What one host writes the other finds


def test_a_result_of_one_is_found_by_the_other(both, bundle):
    first, second = (managers.IdempotencyGuard(bundle.idempotency) for managers in both)
    runs = []

    def pay(amount):
        runs.append(amount)
        return {"paid": amount, "lines": [1, None]}

    assert first.run("flow", "pay", {"amount": 5}, pay) == {"paid": 5, "lines": [1, None]}
    assert second.run("flow", "pay", {"amount": 5}, pay) == {"paid": 5, "lines": [1, None]}
    assert runs == [5]


def test_rejections_counted_by_one_are_counted_on_by_the_other(both, bundle):
    first, second = (
        managers.IntentRetryGovernor(4, storage=bundle.intent_retry) for managers in both
    )

    counts = [governor.record_rejection("flow") for governor in (first, second, second, first)]

    assert counts == [1, 2, 3, 4]
    assert (first.should_abort("flow"), second.should_abort("flow")) == (True, True)
    second.reset("flow")
    assert first.record_rejection("flow") == 1


def test_what_one_merged_is_kept_by_the_other(both, bundle):
    first, second = (managers.ContextStore(storage=bundle.context) for managers in both)
    for store, key in [(first, "a"), (second, "b"), (first, "c")]:
        store.update_session("flow", {key: [1.5, "é"]})
        store.update_state("agent", {key: {"deep": None}})

    for store in (first, second):
        assert store.get_session("flow") == {key: [1.5, "é"] for key in "abc"}
        assert store.get_state("agent") == {key: {"deep": None} for key in "abc"}


def test_both_spend_one_budget_and_see_each_others_requests(both, bundle):
    first, second = (
        managers.EscalationManager(storage=bundle.escalation, max_escalations_per_hour=3)
        for managers in both
    )

    outcomes = [
        manager.request_escalation(
            f"flow-{number}",
            "agent",
            "LARGE",
            {},
            PolicyProposal(dfid=f"flow-{number}", agent_id="agent", policy_kind="BUY"),
            ImpactCategory.HIGH_IMPACT,
        )
        for number, manager in enumerate([first, second, first, second, first])
    ]

    assert outcomes == [EscalationOutcome.GRANTED] * 3 + [EscalationOutcome.BUDGET_EXHAUSTED] * 2
    assert first.get_pending() == second.get_pending()
    second.resolve_escalation("flow-0", HumanDecision.ABORT)
    first.resolve_escalation("flow-0", HumanDecision.OVERRIDE)
    assert [request["dfid"] for request in first.get_pending()] == ["flow-1", "flow-2"]
    assert bundle.escalation.get_request("flow-0")["decision"] == "ABORT"


def test_what_one_reserved_is_not_there_for_the_other(both, bundle):
    first, second = (
        managers.ResourceLockManager(
            availability_provider=lambda _: 100.0, storage=bundle.resource_lock
        )
        for managers in both
    )

    assert first.acquire("flow-1", {"capital": 60}) == LockResult.ACQUIRED
    assert second.acquire("flow-2", {"capital": 60}) == LockResult.INSUFFICIENT_LIQUIDITY
    assert second.acquire("flow-2", {"capital": 40}) == LockResult.ACQUIRED
    second.release("flow-1")
    assert first.acquire("flow-3", {"capital": 60}) == LockResult.ACQUIRED


def test_a_flow_that_one_marked_is_compensated_by_the_other(both, bundle):
    reverted = []
    first, second = (
        managers.SagaCompensation(
            storage=bundle.saga,
            revert_callback=lambda *mark: reverted.append(mark) or True,
        )
        for managers in both
    )
    first.mark_dirty("flow", "ship", {"paid": True})

    assert second.execute_compensation("flow", CompensationAction.REVERT).success is True
    again = first.execute_compensation("flow", CompensationAction.REVERT)
    assert (again.success, again.message) == (False, "Flow not in dirty state")
    assert reverted == [("flow", {"paid": True})]


def test_a_flow_goes_on_from_where_the_other_left_it(both, bundle):
    first, second = both
    first.transition("flow", FlowStatus.CREATED, FlowStatus.ACTIVE, storage=bundle.lifecycle)
    second.transition("flow", FlowStatus.ACTIVE, FlowStatus.VALIDATING, storage=bundle.lifecycle)
    first.transition("flow", FlowStatus.VALIDATING, FlowStatus.ACCEPTED, storage=bundle.lifecycle)

    assert bundle.lifecycle.current_status("flow") == "ACCEPTED"


def test_an_agent_that_one_registered_is_known_to_the_other(both, bundle):
    first, second = (managers.AgentRegistry(storage=bundle.agent_registry) for managers in both)
    first.handshake("agent", {"role": "EXECUTOR"}, "1.0.0", priority=3)
    second.set_agent_status("agent", "SUSPENDED", "DRIFT")

    assert second.get_agent_contract("agent") == {"role": "EXECUTOR"}
    assert first.get_agent_status("agent") == ("SUSPENDED", "DRIFT")


@only_where(LEDGER_STORAGE)
def test_both_append_to_one_ledger(both, bundle):
    first, second = (managers.DecisionLedger(storage=bundle.decision_ledger) for managers in both)

    def intent(dfid, shares):
        return dir_core.ProofCarryingIntent(
            dfid=dfid,
            intent_payload={"shares": shares},
            context_ref="snapshot",
            evidence_hash="e1",
        )

    first.append(intent("flow-1", 5), agent_id="agent")
    second.append(intent("flow-2", 5), agent_id="agent")
    second.append(intent("flow-1", 5), agent_id="agent")
    with pytest.raises(LedgerConflictError):
        second.append(intent("flow-1", 6), agent_id="agent")

    assert first.entries() == second.entries()
    assert len(first) == len(second) == 2
    assert bundle.decision_ledger.verify_ledger().intact


@only_where(AMENDMENTS)
def test_amendments_of_one_are_kept_by_the_other(both, bundle):
    first, second = (managers.AgentRegistry(storage=bundle.agent_registry) for managers in both)
    first.register_projection(projection(), "1.0.0")

    for registry, limit in [(first, 50), (second, 60), (first, 70)]:
        assert registry.apply_parameter_amendment(amendment(limit)).accepted is True

    assert first.get_agent_projection("agent") == second.get_agent_projection("agent")
    kept = second.get_agent_projection("agent").parameter_amendments
    assert [one.patch for one in kept] == [{"max": 50}, {"max": 60}, {"max": 70}]


# What an unmodified host can still undo


@pytest.fixture
def having_read(monkeypatch):
    """What a storage answers within a with block to a host that read before the others wrote."""

    @contextlib.contextmanager
    def reading(storage, method, answer):
        with monkeypatch.context() as patch:
            patch.setattr(storage, method, lambda *_, **__: answer)
            yield

    return reading


def never_run():
    raise AssertionError("the step was run before")


def suspend(bundle):
    registry = UNMODIFIED.AgentRegistry(storage=bundle.agent_registry)
    if AMENDMENTS:
        registry.register_projection(projection(), "1.0.0")
    else:
        registry.handshake("agent", {}, "1.0.0")
    registry.set_agent_status("agent", "SUSPENDED", "DRIFT")


def test_a_handshake_leaves_a_suspension_unless_it_is_an_unmodified_hosts(bundle):
    suspend(bundle)

    result = kernel.AgentRegistry(storage=bundle.agent_registry).handshake("agent", {}, "1.0.0")
    assert result.accepted is True
    assert bundle.agent_registry.get_status("agent") == ("SUSPENDED", "DRIFT")

    UNMODIFIED.AgentRegistry(storage=bundle.agent_registry).handshake("agent", {}, "1.0.0")
    assert bundle.agent_registry.get_status("agent") == ("ACTIVE", "DRIFT")


@only_where(AMENDMENTS)
def test_an_amendment_leaves_a_suspension_unless_it_is_an_unmodified_hosts(bundle):
    suspend(bundle)

    kernel.AgentRegistry(storage=bundle.agent_registry).apply_parameter_amendment(amendment(50))
    assert bundle.agent_registry.get_status("agent") == ("SUSPENDED", "DRIFT")

    UNMODIFIED.AgentRegistry(storage=bundle.agent_registry).apply_parameter_amendment(amendment(60))
    assert bundle.agent_registry.get_status("agent") == ("ACTIVE", "DRIFT")


def test_a_transition_is_from_the_true_status_unless_it_is_an_unmodified_hosts(bundle):
    step = FlowStatus.CREATED, FlowStatus.ACTIVE
    kernel.transition("flow", *step, storage=bundle.lifecycle)

    with pytest.raises(TransitionConflictError):
        kernel.transition("flow", *step, storage=bundle.lifecycle)
    UNMODIFIED.transition("flow", *step, storage=bundle.lifecycle)

    assert len(bundle.lifecycle.get_transitions("flow")) == 2


def test_a_step_under_way_is_waited_for_unless_by_an_unmodified_host_whose_result_counts(bundle):
    unmodified = UNMODIFIED.IdempotencyGuard(bundle.idempotency)
    guard = kernel.IdempotencyGuard(bundle.idempotency)

    def while_the_other_runs_it():
        assert unmodified.run("flow", "pay", {}, lambda: {"by": "unmodified"}) == {
            "by": "unmodified"
        }
        return {"by": "kernel"}

    with pytest.raises(LeaseLostError):
        guard.run("flow", "pay", {}, while_the_other_runs_it)

    assert guard.run("flow", "pay", {}, never_run) == {"by": "unmodified"}
    assert unmodified.run("flow", "pay", {}, never_run) == {"by": "unmodified"}


@pytest.mark.parametrize("result", [[1, 2], "done", 7, True])
@pytest.mark.parametrize("first", ["unmodified", "kernel"])
def test_a_result_that_is_no_dict_is_remembered_whoever_stored_it(bundle, result, first):
    guards = {
        "unmodified": UNMODIFIED.IdempotencyGuard(bundle.idempotency),
        "kernel": kernel.IdempotencyGuard(bundle.idempotency),
    }

    assert guards[first].run("flow", "pay", {}, lambda: result) == result
    for guard in guards.values():
        assert guard.run("flow", "pay", {}, never_run) == result


def test_a_step_without_a_result_ran_once_unless_by_an_unmodified_host(bundle):
    """dir-core takes None for a step that was never run."""
    kernel.IdempotencyGuard(bundle.idempotency).run("flow", "pay", {}, lambda: None)

    again = UNMODIFIED.IdempotencyGuard(bundle.idempotency).run(
        "flow", "pay", {}, lambda: {"paid": 5}
    )
    assert again == {"paid": 5}


def test_a_compensation_under_way_is_left_alone_unless_by_an_unmodified_host(bundle):
    def while_others_try(_dfid, _partial_state):
        elsewhere = kernel.SagaCompensation(
            storage=bundle.saga, revert_callback=lambda *_: reverted.append("kernel") or True
        )
        unmodified = UNMODIFIED.SagaCompensation(
            storage=bundle.saga, revert_callback=lambda *_: reverted.append("unmodified") or True
        )
        assert elsewhere.execute_compensation("flow", CompensationAction.REVERT).success is False
        assert unmodified.execute_compensation("flow", CompensationAction.REVERT).success is True
        return True

    reverted = []
    saga = kernel.SagaCompensation(storage=bundle.saga, revert_callback=while_others_try)
    saga.mark_dirty("flow", "ship", {})

    assert saga.execute_compensation("flow", CompensationAction.REVERT).success is False
    assert reverted == ["unmodified"]
    assert saga.get_dirty_flows() == []


def test_a_count_is_kept_unless_an_unmodified_host_read_it_before(bundle, having_read):
    governor = kernel.IntentRetryGovernor(storage=bundle.intent_retry)
    unmodified = UNMODIFIED.IntentRetryGovernor(storage=bundle.intent_retry)
    governor.record_rejection("flow")
    governor.record_rejection("flow")

    with having_read(bundle.intent_retry, "get_count", 0):
        assert unmodified.record_rejection("flow") == 1

    assert governor.record_rejection("flow") == 2


def test_a_merged_key_is_kept_unless_an_unmodified_host_read_the_session_before(
    bundle, having_read
):
    context = kernel.ContextStore(storage=bundle.context)
    context.update_session("flow", {"kernel": 1})

    with having_read(bundle.context, "get_session", "{}"):
        UNMODIFIED.ContextStore(storage=bundle.context).update_session("flow", {"unmodified": 1})

    assert context.get_session("flow") == {"unmodified": 1}


def test_a_budget_is_overspent_only_by_an_unmodified_host_that_counted_before(bundle, having_read):
    def request(managers, dfid):
        manager = managers.EscalationManager(storage=bundle.escalation, max_escalations_per_hour=1)
        proposal = PolicyProposal(dfid=dfid, agent_id="agent", policy_kind="BUY")
        impact = ImpactCategory.LOW_IMPACT
        return manager.request_escalation(dfid, "agent", "LARGE", {}, proposal, impact)

    assert request(kernel, "flow-1") == EscalationOutcome.GRANTED
    with having_read(bundle.escalation, "get_window_count", 0):
        assert request(UNMODIFIED, "flow-2") == EscalationOutcome.GRANTED
    assert request(kernel, "flow-3") == EscalationOutcome.BUDGET_EXHAUSTED


def test_what_is_reserved_after_an_unmodified_host_looked_is_not_reserved_twice(
    bundle, monkeypatch
):
    hosts = [
        managers.ResourceLockManager(
            availability_provider=lambda _: 100.0, storage=bundle.resource_lock
        )
        for managers in (UNMODIFIED, kernel)
    ]
    look = bundle.resource_lock.get_locked_amount
    seen = []

    def looks_and_then_the_other_reserves(resource_id, exclude_dfid):
        seen.append(look(resource_id, exclude_dfid))
        assert hosts[1].acquire("flow-1", {"capital": 60}) == LockResult.ACQUIRED
        return seen[-1]

    with monkeypatch.context() as patch:
        patch.setattr(bundle.resource_lock, "get_locked_amount", looks_and_then_the_other_reserves)
        result = hosts[0].acquire("flow-2", {"capital": 60})

    assert result == LockResult.INSUFFICIENT_LIQUIDITY
    assert seen == [0.0, 60.0]
    assert look("capital", "nobody") == 60


def projection():
    limit = {
        **{"id": "ORDER_SIZE", "type": "range", "field": "params.order_value", "max": 100.0},
        **{"runtime_amendable": True, "max_ceiling": 200.0},
    }
    return dir_core.RuntimeContractProjection(agent_id="agent", invariants=[limit])


def amendment(limit):
    return dir_core.ContractParameterAmendment(
        agent_id="agent", invariant_id="ORDER_SIZE", patch={"max": limit}, actor_id="risk-desk"
    )
