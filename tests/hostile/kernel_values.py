"""Usual values for the arguments of dir-core's managers, and its models in hostile shapes."""

from __future__ import annotations

import datetime
import types
from collections.abc import Callable
from typing import Any

from dir_core import CompensationAction
from dir_core.data_types import EscalationSeverity, HumanDecision
from dir_core.escalation import ImpactCategory
from dir_core.models import (
    ContractParameterAmendment,
    EscalationRequest,
    InvariantSpec,
    Policy,
    PolicyProposal,
    RuntimeContractProjection,
)

from tests.hostile import values
from tests.hostile.values import HostileError, LyingStr, Make, RaisingStr, RaisingStrOf, nested

LATER = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
SCHEMAS = {"schema": {"a": 1}, "schemas": {"buy": {"b": 2}}}


def proposal(**fields: Any) -> PolicyProposal:
    return PolicyProposal(**{"dfid": "f", "agent_id": "a", "policy_kind": "buy", **fields})


def projection(**fields: Any) -> RuntimeContractProjection:
    limit = InvariantSpec(id="most", type="range", field="size", max=9, runtime_amendable=True)
    return RuntimeContractProjection(**{"agent_id": "a", "invariants": [limit], **fields})


def amendment(**fields: Any) -> ContractParameterAmendment:
    usual = {"agent_id": "a", "invariant_id": "most", "patch": {"max": 7}, "actor_id": "human"}
    return ContractParameterAmendment(**{**usual, **fields})


def escalation(**fields: Any) -> EscalationRequest:
    return EscalationRequest(**{"dfid": "f", "from_agent_id": "a", "trigger": "why", **fields})


def policy() -> Policy:
    usual = {"proposed_action": "buy", "justification": "cheap", "confidence": 0.5}
    return Policy(dfid="f", agent_id="a", **usual)


def _unchecked(kind: Any, usual: Any, **fields: Any) -> Any:
    """A model with fields that its own constructor would not take."""
    return kind.model_construct(**{**dict(usual), **fields})


def _raising_validator(*_args: Any) -> str:
    raise HostileError


_IDS_OF_MODELS: list[Callable[[Any], Any]] = [
    lambda value: _unchecked(PolicyProposal, proposal(), dfid=value),
    lambda value: _unchecked(PolicyProposal, proposal(), agent_id=value),
    lambda value: _unchecked(PolicyProposal, proposal(), policy_kind=value),
    lambda value: _unchecked(RuntimeContractProjection, projection(), agent_id=value),
    lambda value: _unchecked(ContractParameterAmendment, amendment(), agent_id=value),
    lambda value: _unchecked(ContractParameterAmendment, amendment(), dfid=value),
    lambda value: _unchecked(EscalationRequest, escalation(), dfid=value),
    lambda value: _unchecked(EscalationRequest, escalation(), from_agent_id=value),
    lambda value: _unchecked(EscalationRequest, escalation(), trigger=value),
]
_IDS: list[Make] = [
    *(lambda: None, lambda: 7, lambda: "", lambda: "\ud800", lambda: "x" * 1025, lambda: b"f"),
    *(lambda: LyingStr("f"), lambda: RaisingStr("f"), lambda: "x" * (2**16 + 1)),
]
MODELS: list[Make] = [
    *((lambda of=of, make=make: of(make())) for of in _IDS_OF_MODELS for make in _IDS),
    *(lambda: PolicyProposal, lambda: RuntimeContractProjection, proposal, projection, escalation),
    *(amendment, policy, lambda: types.SimpleNamespace(agent_id="a", model_dump=None)),
    *(lambda: proposal(params={"a": object()}), lambda: proposal(params={"a": RaisingStrOf()})),
    *(lambda: proposal(params={"a": nested(150, "dict")}), lambda: proposal(params={"a": "\0"})),
    *(lambda: proposal(params={"a": 10**5000}), lambda: proposal(params={"a": "x" * 2**17})),
    *(lambda: proposal(execution_constraints={"validity_window_sec": "x"}),),
    *(lambda: proposal(valid_until=datetime.datetime.max), lambda: proposal(confidence=0)),
    *(lambda: escalation(context={"a": RaisingStrOf()}), lambda: escalation(context={"a": 1j})),
    *(lambda: _unchecked(EscalationRequest, escalation(), original_policy=7),),
    *(lambda: _unchecked(EscalationRequest, escalation(), severity=RaisingStr("x")),),
    *(lambda: _unchecked(ContractParameterAmendment, amendment(), patch=7),),
    *(lambda: amendment(patch={"max": object()}), lambda: amendment(patch={})),
    *(lambda: _unchecked(ContractParameterAmendment, amendment(), base_release=None),),
    *(lambda: _unchecked(ContractParameterAmendment, amendment(), actor_id=RaisingStrOf()),),
    *(lambda: _unchecked(ContractParameterAmendment, amendment(), impact_category=object()),),
    *(lambda: projection(execution_conditions={"a": object()}), lambda: projection(mission="\0")),
    *(lambda: {"invariants": 7}, lambda: {"metadata": 7}, lambda: {"meta": 7}),
    *(lambda: [RaisingStr("a")], lambda: [LyingStr("a")], lambda: "a", lambda: [7], lambda: [int]),
    *(lambda: [_raising_validator], lambda: [lambda: None], lambda: [lambda *_: "x" * 2**17]),
]

_USUAL: dict[str, list[Any]] = {
    "contract": [{}, {"role": "EXECUTOR"}, SCHEMAS, {"allowed_policy_types": ["buy", "sell"]}],
    "agent_version": ["1.0.0", "1.2", "1.0.0-rc1", "2.0.0", "x", ""],
    "schema_kind": [None, "buy", "sell"],
    "projection": [projection(), projection(mission="é"), projection(agent_id="")],
    "amendment": [amendment(), amendment(dfid="f"), amendment(invariant_id="x")],
    "proposal": [proposal(), proposal(agent_id=""), proposal(valid_until=LATER, dfid="g")],
    "modified_proposal": [None, proposal(params={"a": [1, None]})],
    "escalation": [
        *(escalation(), escalation(original_policy=policy(), context={"a": 1})),
        escalation(severity=EscalationSeverity.CRITICAL, dfid="g"),
    ],
    "context": [{}, {"a": 1}, {"at": LATER}, {"é": [1, {"b": None}]}],
    "partial_state": [{}, {"a": 1}, {"at": LATER}, {"é": [1, {"b": None}]}],
    "raw_web_context": [{}, {"price": 1.5}, {"é": [1, {"b": None}]}],
    "dim_context": [None, {}, {"meta": {"a": 1}}, {"state": {"risk_score": 0.9}}],
    "impact": [*ImpactCategory, "LOW_IMPACT"],
    "decision": [*HumanDecision, "ABORT"],
    "action": [*CompensationAction, "SHRUG"],
    "params": [{}, {"a": 1}, {"a": {"b": [1, None]}, "é": "é"}],
    "func": [lambda **given: {"done": given}, lambda **_given: None],
    "allowed_agents": [None, [], ["a", "g"], ("a",), {"a"}],
    "use_registry_contract": [True, False],
    "record_audit": [True, False],
    "retry_governor": [None],
    "custom_validators": [None, [], [lambda *_given: None], [lambda *_given: "no"]],
    "now": [None, datetime.datetime.now(datetime.UTC), LATER],
    "wait": [True, False],
}


def usual(argument: str) -> list[Make]:
    """Values that a manager's argument of this name usually has."""
    if argument in _USUAL:
        return [(lambda value=value: value) for value in _USUAL[argument]]
    return values.usual(argument)


def hostile(argument: str) -> list[Make]:
    """Hostile values for an argument; where a manager takes it apart itself, models among them."""
    return [*values.hostile(argument), *(MODELS if argument in _USUAL else [])]
