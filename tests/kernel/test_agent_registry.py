"""Handshakes, contracts and statuses of agents (DIR §2.3)."""

from __future__ import annotations

import pytest
from dir_core import AgentRegistryStatus, HandshakeRejectionReason

CONTRACT = {"role": "EXECUTOR", "schema": {"type": "object"}, "limits": [1, 2.5, None]}


@pytest.fixture
def registry(managers, bundle):
    return managers.AgentRegistry(storage=bundle.agent_registry)


def test_a_handshake_is_accepted_with_a_session_token(registry):
    result = registry.handshake("agent", CONTRACT, "1.0.0")

    assert result.accepted is True
    assert isinstance(result.session_token, str)
    assert result.session_token != ""
    assert result.reason is None


def test_a_handshake_stores_what_it_was_given(registry):
    registry.handshake("agent", CONTRACT, "1.2.0", priority=7)

    assert registry.get_agent_contract("agent") == CONTRACT
    assert registry.get_agent_priority("agent") == 7
    assert registry.get_agent_status("agent") == ("ACTIVE", None)


def test_the_store_knows_the_version_and_the_token(registry, bundle):
    result = registry.handshake("agent", CONTRACT, "1.2.0")

    record = bundle.agent_registry.get_agent("agent")
    assert record["agent_version"] == "1.2.0"
    assert record["session_token"] == result.session_token


def test_a_priority_is_0_unless_it_is_given(registry):
    registry.handshake("agent", {}, "1.0.0")

    assert registry.get_agent_priority("agent") == 0


def test_every_handshake_has_a_token_of_its_own(registry):
    tokens = {registry.handshake("agent", {}, "1.0.0").session_token for _ in range(5)}

    assert len(tokens) == 5


def test_a_later_handshake_replaces_contract_priority_and_version(registry, bundle):
    registry.handshake("agent", CONTRACT, "1.0.0", priority=1)
    registry.handshake("agent", {"role": "MONITOR"}, "1.1.0", priority=2)

    assert registry.get_agent_contract("agent") == {"role": "MONITOR"}
    assert registry.get_agent_priority("agent") == 2
    assert bundle.agent_registry.get_agent("agent")["agent_version"] == "1.1.0"


def test_a_later_handshake_leaves_the_agents_state_and_its_spent_budget(managers, bundle, registry):
    """dir-core's own SQLite backend removes both with the row that it replaces."""
    registry.handshake("agent", CONTRACT, "1.0.0")
    managers.ContextStore(storage=bundle.context).update_state("agent", {"position": 3})
    bundle.escalation.record_budget_token("agent")

    registry.handshake("agent", CONTRACT, "1.1.0")

    context = managers.ContextStore(storage=bundle.context)
    assert context.get_state("agent") == {"position": 3}
    assert bundle.escalation.get_window_count("agent", "2000-01-01 00:00:00") == 1


@pytest.mark.parametrize(
    ("supported", "version"),
    [
        ("1.x", "1.0"),
        ("1.x", "1.0.0"),
        ("1.x", "1.99.99"),
        ("1.x", " 1.2.3 "),
        ("1.x", "1.0.0-rc.1"),
        ("1.x", "1.0.0+build"),
        ("0.x", "0.9.0"),
        ("1.2", "1.2.0"),
        ("1.2", "1.10.0"),
        ("1.2.9", "1.2.0"),
    ],
)
def test_a_compatible_version_is_accepted(managers, bundle, supported, version):
    registry = managers.AgentRegistry(storage=bundle.agent_registry, supported_versions=supported)

    assert registry.handshake("agent", {}, version).accepted is True


@pytest.mark.parametrize(
    ("supported", "version"),
    [
        ("1.x", "2.0.0"),
        ("1.x", "0.9.0"),
        ("1.x", "10.0.0"),
        ("1.x", "1"),
        ("1.x", "v1.0.0"),
        ("1.x", ""),
        ("1.2", "1.1.9"),
        ("1.2", "2.2.0"),
        ("nonsense", "1.0.0"),
        ("nonsense.x", "1.0.0"),
    ],
)
def test_another_version_is_rejected_and_nothing_is_stored(managers, bundle, supported, version):
    registry = managers.AgentRegistry(storage=bundle.agent_registry, supported_versions=supported)

    result = registry.handshake("agent", CONTRACT, version)

    assert result.accepted is False
    assert result.session_token is None
    assert result.reason == HandshakeRejectionReason.VERSION_MISMATCH == "VERSION_MISMATCH"
    assert registry.get_agent_contract("agent") is None
    assert registry.list_agents() == []


def test_a_rejected_handshake_leaves_an_earlier_one(registry):
    registry.handshake("agent", CONTRACT, "1.0.0", priority=4)
    registry.handshake("agent", {"role": "MONITOR"}, "2.0.0", priority=9)

    assert registry.get_agent_contract("agent") == CONTRACT
    assert registry.get_agent_priority("agent") == 4


def test_an_unknown_agent_has_nothing(registry):
    assert registry.get_agent_contract("nobody") is None
    assert registry.get_agent_manifest("nobody") is None
    assert registry.get_agent_priority("nobody") == 0
    assert registry.get_agent_status("nobody") is None
    assert registry.get_schema("nobody") is None
    assert registry.list_agents() == []


def test_the_manifest_is_the_contract(registry):
    registry.handshake("agent", CONTRACT, "1.0.0")

    assert registry.get_agent_manifest("agent") == CONTRACT


def test_what_was_asked_for_is_the_callers_own(registry):
    """dir-core's own memory backend hands out what it stores."""
    registry.handshake("agent", {"limits": [1]}, "1.0.0")

    registry.get_agent_contract("agent")["limits"].append(2)

    assert registry.get_agent_contract("agent") == {"limits": [1]}


def test_a_schema_is_found_by_its_kind_or_else_is_the_common_one(registry):
    contract = {"schema": {"common": True}, "schemas": {"order": {"order": True}}}
    registry.handshake("agent", contract, "1.0.0")

    assert registry.get_schema("agent") == {"common": True}
    assert registry.get_schema("agent", "order") == {"order": True}
    assert registry.get_schema("agent", "refund") == {"common": True}


def test_a_contract_without_a_schema_has_none(registry):
    registry.handshake("agent", {"role": "EXECUTOR"}, "1.0.0")

    assert registry.get_schema("agent") is None
    assert registry.get_schema("agent", "order") is None


def test_agents_are_listed_in_order_of_their_first_handshake_if_they_are_active(registry):
    for agent in ("c", "a", "b", "d"):
        registry.handshake(agent, {}, "1.0.0")
    registry.handshake("c", {}, "1.1.0")
    registry.set_agent_status("a", "SUSPENDED")

    assert registry.list_agents() == ["c", "b", "d"]


@pytest.mark.parametrize("status", list(AgentRegistryStatus))
def test_a_status_is_set_with_its_reason(registry, status):
    registry.handshake("agent", {}, "1.0.0")

    assert registry.set_agent_status("agent", status, "DRIFT") is True
    assert registry.get_agent_status("agent") == (status.value, "DRIFT")


def test_a_status_without_a_reason_removes_the_reason(registry):
    registry.handshake("agent", {}, "1.0.0")
    registry.set_agent_status("agent", "SUSPENDED", "DRIFT")
    registry.set_agent_status("agent", "ACTIVE")

    assert registry.get_agent_status("agent") == ("ACTIVE", None)
    assert registry.list_agents() == ["agent"]


def test_the_status_of_an_unknown_agent_cannot_be_set(registry):
    assert registry.set_agent_status("nobody", "SUSPENDED") is False
    assert registry.get_agent_status("nobody") is None


def test_registering_without_a_version_is_deprecated_and_works(registry, bundle):
    with pytest.warns(DeprecationWarning, match="handshake"):
        registry.register_agent("agent", CONTRACT, priority=3)

    assert registry.get_agent_contract("agent") == CONTRACT
    assert registry.get_agent_priority("agent") == 3
    assert registry.get_agent_status("agent") == ("ACTIVE", None)
    assert bundle.agent_registry.get_agent("agent")["agent_version"] is None


def test_registries_on_one_store_know_the_same_agents(managers, bundle, registry):
    registry.handshake("agent", CONTRACT, "1.0.0")

    other = managers.AgentRegistry(storage=bundle.agent_registry)
    assert other.get_agent_contract("agent") == CONTRACT
    assert other.list_agents() == ["agent"]


def test_a_registry_needs_a_store(managers):
    with pytest.raises(ValueError, match="storage"):
        managers.AgentRegistry()
