"""dir-core's facade with this package's managers in place."""

from __future__ import annotations

import dir_core
import pytest
from dir_core import PolicyProposal

from dir_redis import kernel
from dir_redis.kernel import (
    AgentRegistry,
    ContextStore,
    DecisionRuntime,
    EscalationManager,
    EscalationOutcome,
    ImpactCategory,
    IntentRetryGovernor,
)


def proposal(dfid="f", **changes):
    return PolicyProposal(**({"dfid": dfid, "agent_id": "a", "policy_kind": "buy"} | changes))


def test_its_managers_are_this_packages(bundle):
    runtime = DecisionRuntime(bundle, supported_versions="2.x")

    assert type(runtime.registry) is AgentRegistry
    assert type(runtime.context_store) is ContextStore
    assert type(runtime.escalation) is EscalationManager
    assert not runtime.register_agent("a", {}, "1.0").accepted
    assert runtime.register_agent("a", {}, "2.0").accepted


def test_a_decision_goes_through_them(bundle):
    runtime = DecisionRuntime(bundle, max_escalations_per_hour=1)
    runtime.register_agent("a", {"role": "EXECUTOR"}, "1.0", priority=2)
    governor = IntentRetryGovernor(storage=bundle.intent_retry)

    verdict, reason = runtime.evaluate_proposal(proposal(), {"price": 7})
    assert (verdict, reason) == ("ACCEPT", "VALIDATION_PASSED")
    refused, _ = runtime.evaluate_proposal(
        proposal(), {"news": 1}, allowed_agents=["b"], retry_governor=governor
    )
    assert refused == "REJECT"
    assert governor.record_rejection("f") == 2
    assert runtime.context_store.get_session("f") == {"price": 7, "news": 1}
    events = [row["event"] for row in bundle.decision_audit.events_for_dfid("f")]
    assert events == ["PROPOSAL_ACCEPT", "PROPOSAL_REJECT"]
    outcomes = [
        runtime.escalation.request_escalation(
            dfid, "a", "unsure", {}, proposal(dfid), ImpactCategory.LOW_IMPACT
        )
        for dfid in "fg"
    ]
    assert outcomes == [EscalationOutcome.GRANTED, EscalationOutcome.BUDGET_EXHAUSTED]


@pytest.mark.parametrize("kind", ["buy", ""])
def test_a_proposal_without_an_agent_is_judged_as_by_dir_core_with_its_own_stores(bundle, kind):
    def judged(module, stores):
        governor = module.IntentRetryGovernor(2, storage=stores.intent_retry)
        runtime = module.DecisionRuntime(stores)
        verdicts = [
            runtime.evaluate_proposal(
                proposal(agent_id="", policy_kind=kind), {"n": n}, retry_governor=governor
            )
            for n in range(3)
        ]
        rows = [
            (row["event"], row["details"]) for row in stores.decision_audit.events_for_dfid("f")
        ]
        session = runtime.context_store.get_session("f")
        return verdicts, rows, session, stores.intent_retry.get_count("f")

    ours, cores = judged(kernel, bundle), judged(dir_core, dir_core.memory_storage())

    assert ours == cores
    missing = "agent_id" if kind else "policy_kind"
    assert ours[0] == [("REJECT", f"Missing {missing}")] * 2 + [("REJECT", "REASONING_EXHAUSTION")]


def test_nothing_is_kept_under_an_empty_agent_or_flow(bundle):
    runtime = DecisionRuntime(bundle)
    verdict = runtime.evaluate_proposal(proposal(agent_id=""), {}, record_audit=False)

    assert verdict == ("REJECT", "Missing agent_id")
    assert bundle.decision_audit.all_events_chronological() == []
    for agent_id in ("", "a"):
        with pytest.raises(ValueError, match="dfid must not be empty"):
            runtime.evaluate_proposal(proposal("", agent_id=agent_id), {})
    assert bundle.decision_audit.all_events_chronological() == []
    assert bundle.agent_registry.list_active_agents() == []


def test_the_refill_interval_is_the_budgets_window(bundle):
    runtime = DecisionRuntime(bundle, escalation_refill_interval_sec=7)

    assert runtime.escalation.refill_interval_sec == 7


@pytest.mark.skipif(
    not hasattr(dir_core.DecisionRuntime, "apply_parameter_amendment"),
    reason="dir-core looks at the agent's status, and has amendments, since 0.4.0",
)
def test_a_suspended_agent_stays_rejected_after_a_handshake_and_an_amendment(bundle):
    runtime = DecisionRuntime(bundle)
    rule = {"id": "size", "type": "range", "field": "params.size", "max": 10}
    rules = [rule | {"runtime_amendable": True}]
    contract = {"agent_id": "a", "release": {}, "invariants": rules}
    runtime.register_agent("a", contract, "1.0")
    runtime.registry.set_agent_status("a", "SUSPENDED", "why")
    runtime.register_agent("a", contract, "1.0")
    amended = runtime.apply_parameter_amendment(
        dir_core.ContractParameterAmendment(
            agent_id="a", invariant_id="size", patch={"max": 20}, actor_id="maria"
        )
    )

    assert amended.accepted
    verdict, reason = runtime.evaluate_proposal(proposal(params={"size": 1}), {})
    assert (verdict, reason) == ("REJECT", "AGENT_SUSPENDED")
    events = [row["event"] for row in bundle.decision_audit.events_for_dfid("a")]
    assert events == ["CONTRACT_PARAMETER_AMENDED"]


def test_no_context_of_8_hosts_on_one_flow_is_lost(bundle, race):
    DecisionRuntime(bundle).register_agent("a", {}, "1.0")

    def work(host):
        mine = DecisionRuntime(bundle)
        for n in range(5):
            mine.evaluate_proposal(proposal(), {f"{host}.{n}": n}, record_audit=False)

    race([lambda host=host: work(host) for host in range(8)])

    assert DecisionRuntime(bundle).context_store.get_session("f") == {
        f"{host}.{n}": n for host in range(8) for n in range(5)
    }
