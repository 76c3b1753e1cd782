"""A handshake undoes no suspension, and amendments of several hosts add up."""

from __future__ import annotations

import json

import dir_core
import pytest

from dir_redis import SessionSupersededError, VersionConflictError, memory_storage
from dir_redis.kernel import AgentRegistry, HandshakeResult
from dir_redis.kernel import agent_registry as module

CONTRACT = {"role": "trader", "schema": {"type": "object"}}


@pytest.fixture
def registry(bundle):
    return AgentRegistry(storage=bundle.agent_registry)


def test_a_handshake_begins_a_session_that_the_store_knows(registry, bundle):
    result = registry.handshake("a", CONTRACT, "1.2.3", priority=7)

    assert isinstance(result, HandshakeResult)
    assert (result.accepted, result.reason) == (True, None)
    bundle.agent_registry.heartbeat("a", result.session_token, 60)
    assert registry.get_agent_status("a") == ("ACTIVE", None)
    assert registry.get_agent_contract("a") == CONTRACT
    assert registry.get_agent_priority("a") == 7
    assert registry.list_agents() == ["a"]
    assert bundle.agent_registry.get_agent("a")["agent_version"] == "1.2.3"


def test_a_newer_handshake_supersedes_the_session(registry, bundle):
    first = registry.handshake("a", CONTRACT, "1.0")
    second = registry.handshake("a", {"role": "clerk"}, "1.1")

    with pytest.raises(SessionSupersededError):
        bundle.agent_registry.heartbeat("a", first.session_token, 60)
    bundle.agent_registry.heartbeat("a", second.session_token, 60)
    assert registry.get_agent_contract("a") == {"role": "clerk"}


@pytest.mark.parametrize("status", ["SUSPENDED", "DEGRADED", "ESCALATION_ONLY", "RETIRED"])
def test_a_handshake_is_accepted_and_undoes_no_suspension(registry, caplog, status):
    registry.handshake("a", CONTRACT, "1.0")
    registry.set_agent_status("a", status, "broke a limit")
    result = registry.handshake("a", CONTRACT, "1.0")

    assert (result.accepted, bool(result.session_token)) == (True, True)
    assert registry.get_agent_status("a") == (status, "broke a limit")
    assert registry.list_agents() == []
    assert f"Agent a registered and stays {status} (broke a limit)" in caplog.text
    registry.set_agent_status("a", "ACTIVE")
    assert registry.handshake("a", CONTRACT, "1.0").accepted
    assert registry.get_agent_status("a") == ("ACTIVE", None)


def test_registering_without_a_version_undoes_none_either(registry):
    registry.handshake("a", CONTRACT, "1.0")
    registry.set_agent_status("a", "SUSPENDED", "why")
    with pytest.warns(DeprecationWarning, match="handshake") as warned:
        registry.register_agent("a", {"role": "clerk"}, priority=3)

    assert warned[0].filename == __file__
    assert registry.get_agent_status("a") == ("SUSPENDED", "why")
    assert (registry.get_agent_contract("a"), registry.get_agent_priority("a")) == (
        {"role": "clerk"},
        3,
    )


def test_another_version_is_rejected_and_changes_nothing(registry, bundle):
    session = registry.handshake("a", CONTRACT, "1.0")

    for version in ("2.0", "0.9.1", "new", ""):
        assert registry.handshake("a", {}, version) == HandshakeResult(
            accepted=False, reason="VERSION_MISMATCH"
        )
    assert registry.handshake("b", {}, "2.0").session_token is None
    assert registry.get_agent_status("b") is None
    assert registry.get_agent_contract("a") == CONTRACT
    bundle.agent_registry.heartbeat("a", session.session_token, 60)


def test_a_contract_that_is_no_json_is_refused_with_nothing_stored(registry):
    with pytest.raises(TypeError):
        registry.handshake("a", {"at": object()}, "1.0")
    assert registry.get_agent_status("a") is None


def test_a_suspension_stands_whoever_shakes_hands_at_the_moment(registry, race):
    for n in range(10):
        agent = f"a{n}"
        registry.handshake(agent, CONTRACT, "1.0")
        suspend = lambda: registry.set_agent_status(agent, "SUSPENDED", "why")  # noqa: B023, E731
        shake = lambda: registry.handshake(agent, CONTRACT, "1.0").accepted  # noqa: B023, E731

        assert all(race([suspend, *[shake] * 5]))
        assert registry.get_agent_status(agent) == ("SUSPENDED", "why")


needs_amendments = pytest.mark.skipif(
    not hasattr(dir_core.AgentRegistry, "apply_parameter_amendment"),
    reason="dir-core has amendments since 0.4.0",
)


def limits(**more):
    rule = {"id": "order-size", "type": "range", "field": "params.size", "max": 100}
    rule |= {"runtime_amendable": True, "max_ceiling": 500, "min_floor": 0}
    return {"agent_id": "a", "release": {}, "invariants": [rule | more]}


def amendment(maximum, **changes):
    about = {"agent_id": "a", "invariant_id": "order-size", "actor_id": "maria"}
    return dir_core.ContractParameterAmendment(**(about | {"patch": {"max": maximum}} | changes))


def amended(registry):
    return [a["patch"]["max"] for a in registry.get_agent_contract("a")["parameter_amendments"]]


def test_releases_without_amendments_have_none_here():
    assert hasattr(AgentRegistry, "apply_parameter_amendment") == hasattr(
        dir_core.AgentRegistry, "apply_parameter_amendment"
    )


@needs_amendments
def test_an_amendment_is_added_and_touches_neither_status_nor_session(registry, bundle):
    session = registry.handshake("a", limits(), "1.0", priority=7)
    registry.set_agent_status("a", "SUSPENDED", "why")
    before = bundle.agent_registry.get_agent("a")
    result = registry.apply_parameter_amendment(amendment(200))
    second = registry.apply_parameter_amendment(amendment(300))

    assert (result.accepted, second.accepted, result.reason) == (True, True, None)
    assert [a.patch for a in second.projection.parameter_amendments] == [{"max": 200}, {"max": 300}]
    assert registry.get_agent_status("a") == ("SUSPENDED", "why")
    bundle.agent_registry.heartbeat("a", session.session_token, 60)
    after = bundle.agent_registry.get_agent("a")
    assert after.pop("contract")["invariants"] == before.pop("contract")["invariants"]
    assert after == before
    assert amended(registry) == [200, 300]


@needs_amendments
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"agent_id": "ghost"}, "AGENT_NOT_FOUND"),
        ({"invariant_id": "ghost"}, "INVARIANT_NOT_FOUND"),
        ({"patch": {}}, "EMPTY_PATCH"),
        ({"patch": {"max": 501}}, "PATCH_EXCEEDS_MAX_CEILING"),
    ],
)
def test_what_dir_core_refuses_is_refused_and_changes_nothing(registry, bundle, changes, reason):
    registry.handshake("a", limits(), "1.0")
    before = bundle.agent_registry.get_contract_versioned("a")
    result = registry.apply_parameter_amendment(amendment(200, **changes))

    assert (result.accepted, result.reason) == (False, reason)
    assert bundle.agent_registry.get_contract_versioned("a") == before


@needs_amendments
def test_no_amendment_of_6_hosts_is_lost(registry, bundle, race):
    registry.handshake("a", limits(), "1.0")

    def amend(host):
        mine = AgentRegistry(storage=bundle.agent_registry)
        for n in range(4):
            assert mine.apply_parameter_amendment(amendment(100 + 10 * host + n)).accepted

    race([lambda host=host: amend(host) for host in range(6)])

    assert sorted(amended(registry)) == [100 + 10 * host + n for host in range(6) for n in range(4)]


class Meanwhile:
    """A storage on which something happens just before a contract is replaced."""

    def __init__(self, storage, happens):
        self._storage, self._happens = storage, happens
        self.attempts = 0
        for name in ("register", "get_contract_versioned", "get_agent", "get_status"):
            setattr(self, name, getattr(storage, name))

    def update_contract(self, agent_id, contract_json, expected_version):
        self.attempts += 1
        self._happens(self._storage)
        return self._storage.update_contract(agent_id, contract_json, expected_version)


@needs_amendments
def test_what_another_host_wrote_meanwhile_is_amended_and_judged_anew(bundle):
    def lower_the_ceiling(storage):
        if meanwhile.attempts == 1:
            storage.register("a", json.dumps(limits(max_ceiling=150)), 1, "1.1")

    meanwhile = Meanwhile(bundle.agent_registry, lower_the_ceiling)
    registry = AgentRegistry(storage=meanwhile)
    registry.handshake("a", limits(), "1.0")
    result = registry.apply_parameter_amendment(amendment(200))

    assert (result.accepted, result.reason) == (False, "PATCH_EXCEEDS_MAX_CEILING")
    assert registry.apply_parameter_amendment(amendment(140)).accepted
    assert amended(registry) == [140]
    assert meanwhile.attempts == 2


@needs_amendments
def test_an_amendment_that_never_gets_through_is_an_error_in_the_end(monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_PAUSE_SEC", 0)
    never = Meanwhile(
        memory_storage().agent_registry,
        lambda storage: storage.register("a", json.dumps(limits()), 1),
    )
    registry = AgentRegistry(storage=never)
    registry.handshake("a", limits(), "1.0")

    with pytest.raises(VersionConflictError):
        registry.apply_parameter_amendment(amendment(200))
    assert never.attempts == 100
