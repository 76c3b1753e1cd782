"""Every argument of every method: what is refused, with which error, and that nothing is stored."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import pytest

import dir_redis
from dir_redis import StorageBundle

Bad = list[tuple[Any, type[Exception]]]

NAN, INF = float("nan"), float("inf")

TEXT: Bad = [
    (7, TypeError),
    (b"a", TypeError),
    (["a"], TypeError),
    ("\ud800", ValueError),
    ("a\udfffb", ValueError),
]
ID: Bad = [
    *TEXT,
    (0, TypeError),
    (True, TypeError),
    ("", ValueError),
    ("x" * 1025, ValueError),
    ("é" * 512 + "x", ValueError),
    ("😀" * 256 + "x", ValueError),
]
JSON_TEXT: Bad = [
    *TEXT,
    ({}, TypeError),
    (b"{}", TypeError),
    (" ", ValueError),
    ("{", ValueError),
    ("nonsense", ValueError),
    ("{'a': 1}", ValueError),
    ('{"a": 1,}', ValueError),
    ("{} {}", ValueError),
    ("\ufeff{}", ValueError),
    ('"a\nb"', ValueError),
    ('"\ud800"', ValueError),
    ("[" * 200_000 + "]" * 200_000, ValueError),
]
DICT: Bad = [
    ([1], TypeError),
    ("{}", TypeError),
    (7, TypeError),
    ([("a", 1)], TypeError),
    ({b"bytes": 1}, TypeError),
    ({(1, 2): 1}, TypeError),
    ({1: 1, "a": 2}, TypeError),
]
INT: Bad = [
    (None, TypeError),
    (True, TypeError),
    (1.0, TypeError),
    ("1", TypeError),
    (Decimal(1), TypeError),
    (2**63, ValueError),
    (-(2**63) - 1, ValueError),
]
SECONDS: Bad = [
    (None, TypeError),
    (True, TypeError),
    ("1", TypeError),
    (NAN, ValueError),
    (INF, ValueError),
    (-INF, ValueError),
    (-1, ValueError),
    (-0.001, ValueError),
]
SINCE: Bad = [
    (None, TypeError),
    (7, TypeError),
    (datetime(2026, 1, 1, tzinfo=UTC), TypeError),
    ("", ValueError),
    ("now", ValueError),
    ("2026-02-30 00:00:00", ValueError),
]
AMOUNT: Bad = [
    (value, ValueError)
    for value in (NAN, INF, -INF, -1, -1e-9, Decimal("NaN"), Decimal("-0.1"), True, "1", b"1", [])
] + [(Decimal("92233720368.54775808"), ValueError), (1e300, ValueError)]
AMOUNTS: Bad = [
    ([("seats", 1.0)], TypeError),
    ("seats", TypeError),
    (7, TypeError),
    ({7: 1.0}, TypeError),
    ({None: 1.0}, TypeError),
    ({"": 1.0}, ValueError),
    ({"x" * 1025: 1.0}, ValueError),
    ({"\ud800": 1.0}, ValueError),
]


class Argument(NamedTuple):
    """A good value of an argument, and the bad ones."""

    good: Any
    bad: Bad
    named: str = ""


def required(good: Any, bad: Bad) -> Argument:
    return Argument(good, [(None, TypeError), *bad])


def ID_(good: str) -> Argument:  # noqa: N802
    return required(good, ID)


def amounts(good: Any, *more: tuple[Any, type[Exception]]) -> Argument:
    return Argument(good, [*AMOUNTS, *more])


WORDS = required("new", TEXT)
MAYBE_WORDS = Argument("new", TEXT)
DOCUMENT = Argument('{"new": 1}', JSON_TEXT)
MAYBE_DURATION = Argument(
    3600.0, [bad for bad in SECONDS if bad[0] is not None] + [(0, ValueError), (1e300, ValueError)]
)
MAYBE_VERSION = Argument(1, [bad for bad in INT if bad[0] is not None] + [(-1, ValueError)])
FLAG = Argument(False, [(None, TypeError), (0, TypeError), ("yes", TypeError)])
CURSOR: Bad = [*TEXT, ("x", ValueError), ("-1", ValueError), ("1,", ValueError)]
EXACT_TEXT = required('{"new": 1}', [*JSON_TEXT, ("", ValueError)])

CALLS: dict[str, dict[str, Argument]] = {
    "agent_registry.upsert_agent": {
        "agent_id": ID_("a"),
        "contract_json": DOCUMENT,
        "priority": Argument(2, INT),
        "status": WORDS,
        "agent_version": MAYBE_WORDS,
        "session_token": MAYBE_WORDS,
    },
    "agent_registry.get_agent": {"agent_id": ID_("a")},
    "agent_registry.update_status": {
        "agent_id": ID_("a"),
        "status": WORDS,
        "suspension_reason": MAYBE_WORDS,
    },
    "agent_registry.get_status": {"agent_id": ID_("a")},
    "agent_registry.register": {
        "agent_id": ID_("a"),
        "contract_json": DOCUMENT,
        "priority": Argument(2, INT),
        "agent_version": MAYBE_WORDS,
        "keep_suspended": FLAG,
        "ttl_sec": MAYBE_DURATION,
    },
    "agent_registry.heartbeat": {
        "agent_id": ID_("a"),
        "session_token": required("t", TEXT),
        "ttl_sec": Argument(3600.0, [*SECONDS, (0, ValueError), (0.0009, ValueError)]),
    },
    "agent_registry.get_contract_versioned": {"agent_id": ID_("a")},
    "agent_registry.update_contract": {
        "agent_id": ID_("a"),
        "contract_json": DOCUMENT,
        "expected_version": Argument(1, [*INT, (-1, ValueError)]),
    },
    "context.get_session": {"dfid": ID_("f")},
    "context.set_session": {
        "dfid": ID_("f"),
        "data_json": EXACT_TEXT,
        "agent_id": Argument("a", ID),
        "expected_version": MAYBE_VERSION,
    },
    "context.get_state": {"agent_id": ID_("a")},
    "context.set_state": {
        "agent_id": ID_("a"),
        "data_json": EXACT_TEXT,
        "expected_version": MAYBE_VERSION,
    },
    "context.merge_session": {
        "dfid": ID_("f"),
        "updates": required({"new": 1}, [*DICT, ({"\ud800": 1}, ValueError)]),
        "agent_id": Argument("a", ID),
    },
    "context.merge_state": {
        "agent_id": ID_("a"),
        "updates": required({"new": 1}, [*DICT, ({"\ud800": 1}, ValueError)]),
    },
    "context.get_session_versioned": {"dfid": ID_("f")},
    "context.get_state_versioned": {"agent_id": ID_("a")},
    "idempotency.get": {"key": ID_("k")},
    "idempotency.set": {"key": ID_("k"), "result": Argument({"new": 1}, DICT[-3:])},
    "decision_audit.record": {
        "dfid": ID_("f"),
        "event": WORDS,
        "step_id": WORDS,
        "state": WORDS,
        "details": Argument({"new": 1}, DICT),
        "root_dfid": Argument("root", ID),
        "agent_id": Argument("a", ID),
        "severity": Argument("ERROR", []),  # anything else is INFO: test_decision_audit.py
    },
    "decision_audit.events_for_dfid": {"dfid": ID_("f")},
    "saga.mark_dirty": {
        "dfid": ID_("f"),
        "failed_step": WORDS,
        "partial_state_json": DOCUMENT,
    },
    "saga.get_dirty_state": {"dfid": ID_("f")},
    "saga.clear_dirty": {"dfid": ID_("f")},
    "resource_lock.get_locked_amount": {"resource_id": ID_("seats"), "exclude_dfid": ID_("f")},
    "resource_lock.acquire_batch": {
        "dfid": ID_("f"),
        "resources": amounts({"seats": 2.0, "quota": 2.0}, (None, TypeError)),
        "timeout_sec": Argument(1.0, SECONDS),
        "capacities": amounts({"seats": 9.0}, ({"seat5": 1.0}, ValueError)),
    },
    "resource_lock.release": {"dfid": ID_("f")},
    "resource_lock.set_capacity": {
        "resource_id": ID_("seats"),
        "capacity": Argument(9.0, AMOUNT, named="seats"),
    },
    "resource_lock.get_capacity": {"resource_id": ID_("seats")},
    "intent_retry.get_count": {"dfid": ID_("f")},
    "intent_retry.set_count": {"dfid": ID_("f"), "count": Argument(2, [*INT, (-1, ValueError)])},
    "intent_retry.delete": {"dfid": ID_("f")},
    "escalation.get_window_count": {
        "agent_id": ID_("a"),
        "since_str": Argument("2026-01-01 00:00:00", SINCE),
    },
    "escalation.record_budget_token": {"agent_id": ID_("a")},
    "escalation.insert_request": {
        "dfid": ID_("f"),
        "agent_id": ID_("a"),
        "reason": WORDS,
        "context_json": DOCUMENT,
        "proposal_json": DOCUMENT,
        "impact": WORDS,
    },
    "escalation.resolve_request": {
        "dfid": ID_("f"),
        "resolved_at": WORDS,
        "decision": WORDS,
        "proposal_json": DOCUMENT,
    },
    "escalation.escalate": {
        "dfid": ID_("g"),
        "agent_id": ID_("a"),
        "reason": WORDS,
        "context_json": DOCUMENT,
        "proposal_json": DOCUMENT,
        "impact": WORDS,
        "limit": Argument(9, [*INT, (-1, ValueError)]),
        "window_sec": Argument(
            3600.0, [*SECONDS, (0, ValueError), (30 * 86_400 + 0.1, ValueError)]
        ),
        "deadline_sec": MAYBE_DURATION,
        "default_decision": MAYBE_WORDS,
        "replace": FLAG,
    },
    "escalation.claim_next": {
        "reviewer": ID_("r"),
        "lease_sec": Argument(3600.0, [*SECONDS, (0, ValueError)]),
    },
    "escalation.resolve": {
        "dfid": ID_("f"),
        "decision": WORDS,
        "by": MAYBE_WORDS,
        "reason": MAYBE_WORDS,
        "proposal_json": DOCUMENT,
    },
    "escalation.get_request": {"dfid": ID_("f")},
    "escalation.wait_for_decision": {"dfid": ID_("f"), "timeout_sec": Argument(0.0, SECONDS)},
    "lifecycle.record_transition": {
        "dfid": ID_("f"),
        "from_status": WORDS,
        "to_status": WORDS,
        "root_dfid": Argument("root", ID),
    },
    "lifecycle.get_transitions": {"dfid": Argument("f", ID)},
    "lifecycle.transition": {
        "dfid": ID_("f"),
        "expected": required("old", TEXT),
        "to": WORDS,
        "allowed": Argument(None, [(7, TypeError), ("old", TypeError), ([], TypeError)]),
        "root_dfid": Argument("root", ID),
    },
    "lifecycle.current_status": {"dfid": ID_("f")},
    "lifecycle.close_flow": {
        "dfid": ID_("f"),
        "status": WORDS,
        "expected": Argument("old", TEXT),
        "event": WORDS,
        "details": Argument({"new": 1}, DICT),
        "agent_id": Argument("a", ID),
        "root_dfid": Argument("root", ID),
        "session_ttl_sec": MAYBE_DURATION,
    },
    "decision_audit.record_many": {
        "rows": required(
            [{"dfid": "f", "event": "new"}],
            [
                (7, TypeError),
                ("f", TypeError),
                ({"dfid": "f", "event": "new"}, TypeError),
                ([{"dfid": "f", "event": "new"}, None], TypeError),
                ([{"dfid": "f", "event": "new"}, {"dfid": "f"}], TypeError),
                ([{"dfid": "f", "event": "new"}, {"dfid": "", "event": "new"}], ValueError),
            ],
        )
    },
    "decision_audit.iter_events": {"dfid": Argument("f", ID), "after": Argument("", CURSOR)},
    "decision_audit.follow": {
        "after": Argument("", CURSOR),
        "timeout_sec": Argument(0.0, [bad for bad in SECONDS if bad[0] is not None]),
    },
    "decision_audit.commit_archived": {"group": ID_("g"), "cursor": required("", CURSOR)},
    "decision_audit.get_archived": {"group": ID_("g")},
    "decision_audit.forget_group": {"group": ID_("g")},
    "decision_audit.verify_audit": {"anchor": Argument(None, [*CURSOR, ("", ValueError)])},
    "decision_audit.trim": {
        "older_than_sec": MAYBE_DURATION,
        "max_rows": Argument(10, [bad for bad in INT if bad[0] is not None] + [(-1, ValueError)]),
    },
}

PROTOCOL_OF_FIELD = {
    "agent_registry": dir_redis.AgentSessionStorage,
    "context": dir_redis.ContextMergeStorage,
    "idempotency": dir_redis.IdempotencyStorage,
    "decision_audit": dir_redis.AuditStreamStorage,
    "saga": dir_redis.SagaStorage,
    "resource_lock": dir_redis.CapacityStorage,
    "intent_retry": dir_redis.IntentRetryStorage,
    "escalation": dir_redis.EscalationQueueStorage,
    "lifecycle": dir_redis.FlowStatusStorage,
}


def call(bundle: StorageBundle, method: str, **arguments: Any) -> Any:
    field, name = method.split(".")
    return getattr(getattr(bundle, field), name)(**arguments)


def good_arguments(method: str) -> dict[str, Any]:
    return {name: argument.good for name, argument in CALLS[method].items()}


def fill(bundle: StorageBundle) -> None:
    """Store a record of every kind, under the ids that the table uses."""
    bundle.agent_registry.upsert_agent("a", '{"old": 1}', 1, "ACTIVE", "1", "t")
    bundle.context.set_session("f", '{"old": 1}')
    bundle.context.set_state("a", '{"old": 1}')
    bundle.idempotency.set("k", {"old": 1})
    bundle.decision_audit.record("f", "old")
    bundle.saga.mark_dirty("f", "old", '{"old": 1}')
    bundle.resource_lock.set_capacity("seats", 10)
    bundle.resource_lock.acquire_batch("f", {"seats": 1.0, "quota": 1.0}, 1)
    bundle.intent_retry.set_count("f", 1)
    bundle.escalation.record_budget_token("a")
    bundle.escalation.insert_request("f", "a", "old", '{"old": 1}', '{"old": 1}', "LOW")
    bundle.lifecycle.record_transition("f", "old", "old")


def everything(bundle: StorageBundle) -> list[Any]:
    """What all public reads return."""
    locks = bundle.resource_lock
    return [
        bundle.agent_registry.get_agent("a"),
        bundle.agent_registry.get_status("a"),
        bundle.agent_registry.list_active_agents(),
        bundle.agent_registry.get_contract_versioned("a"),
        [bundle.context.get_session_versioned(dfid) for dfid in ("f", "a")],
        [bundle.context.get_state_versioned(agent_id) for agent_id in ("f", "a")],
        bundle.idempotency.get("k"),
        bundle.decision_audit.events_for_dfid("f"),
        bundle.decision_audit.all_events_chronological(),
        bundle.decision_audit.get_archived("g"),
        bundle.saga.get_dirty_flows(),
        bundle.saga.get_dirty_state("f"),
        [locks.get_locked_amount(rid, "reader") for rid in ("seats", "quota", "seat5")],
        [locks.get_capacity(rid) for rid in ("seats", "quota", "seat5")],
        bundle.intent_retry.get_count("f"),
        bundle.escalation.get_window_count("a", "2000-01-01 00:00:00"),
        bundle.escalation.get_pending_requests(),
        [bundle.escalation.get_request(dfid) for dfid in ("f", "g")],
        bundle.lifecycle.get_transitions(),
        bundle.lifecycle.get_transitions("f"),
        bundle.lifecycle.current_status("f"),
    ]


def test_the_table_has_every_argument_of_every_method():
    expected = {}
    for field, protocol in PROTOCOL_OF_FIELD.items():
        for name, method in inspect.getmembers(protocol, inspect.isfunction):
            arguments = list(inspect.signature(method).parameters)[1:]
            if not name.startswith("_") and arguments:
                expected[f"{field}.{name}"] = arguments

    assert {method: list(arguments) for method, arguments in CALLS.items()} == expected


@pytest.mark.parametrize("method", CALLS)
def test_the_good_values_of_the_table_are_accepted(bundle, method):
    fill(bundle)
    result = call(bundle, method, **good_arguments(method))

    assert result is not False


@pytest.mark.parametrize(
    ("method", "argument"),
    [
        pytest.param(method, argument, id=f"{method}-{argument}")
        for method, arguments in CALLS.items()
        for argument, values in arguments.items()
        if values.bad
    ],
)
def test_a_bad_argument_is_refused_by_name_and_nothing_is_stored(bundle, method, argument):
    fill(bundle)
    before = everything(bundle)
    values = CALLS[method][argument]

    for bad, error in values.bad:
        with pytest.raises((TypeError, ValueError)) as caught:
            call(bundle, method, **(good_arguments(method) | {argument: bad}))
        assert (caught.type, ascii(bad)[:60]) == (error, ascii(bad)[:60])
        assert (values.named or argument) in str(caught.value)
    # What one of them had stored would still be there: none undoes what another does.
    assert everything(bundle) == before


@pytest.mark.parametrize("argument", ["resources", "capacities"])
def test_a_bad_amount_is_a_value_error_naming_its_resource_and_nothing_is_stored(bundle, argument):
    fill(bundle)
    before = everything(bundle)

    for bad, error in [*AMOUNT, (None, ValueError)]:
        amounts = {"quota": 2.0, "seats": bad}
        arguments = good_arguments("resource_lock.acquire_batch") | {argument: amounts}
        with pytest.raises(error, match="seats"):
            call(bundle, "resource_lock.acquire_batch", **arguments)
    assert everything(bundle) == before


@pytest.mark.parametrize("argument", ["result", "details"])
def test_a_dict_that_holds_itself_is_a_value_error_and_nothing_is_stored(bundle, argument):
    method = "idempotency.set" if argument == "result" else "decision_audit.record"
    fill(bundle)
    before = everything(bundle)
    endless: dict[str, Any] = {}
    endless["self"] = endless

    with pytest.raises(ValueError, match=argument):
        call(bundle, method, **(good_arguments(method) | {argument: endless}))
    assert everything(bundle) == before


@pytest.mark.parametrize(
    "identifier", ["x" * 1024, "é" * 512, "😀" * 256], ids=["1-byte", "2-byte", "4-byte"]
)
def test_an_id_may_have_1024_bytes(bundle, identifier):
    bundle.context.set_session(identifier, "{}", agent_id=identifier)
    bundle.decision_audit.record(identifier, "e", root_dfid=identifier, agent_id=identifier)

    assert bundle.context.get_session(identifier) == "{}"
    assert bundle.decision_audit.events_for_dfid(identifier)[0]["root_dfid"] == identifier


def test_a_str_enum_counts_as_the_string_it_is_and_comes_back_as_one(bundle):
    class Word(StrEnum):
        ACTIVE = "ACTIVE"

    bundle.agent_registry.upsert_agent(Word.ACTIVE, "{}", 1, Word.ACTIVE, None, None)
    bundle.lifecycle.record_transition(Word.ACTIVE, Word.ACTIVE, Word.ACTIVE)

    assert bundle.agent_registry.list_active_agents() == ["ACTIVE"]
    assert bundle.agent_registry.get_status("ACTIVE") == ("ACTIVE", None)
    returned = [
        *bundle.agent_registry.list_active_agents(),
        bundle.agent_registry.get_agent("ACTIVE")["status"],
        *bundle.lifecycle.get_transitions("ACTIVE")[0].values(),
    ]
    assert {type(value) for value in returned} == {str}


def test_arguments_may_be_given_by_position_or_by_name(bundle):
    bundle.saga.mark_dirty("f1", "pay", "{}")
    bundle.saga.mark_dirty(dfid="f2", failed_step="pay", partial_state_json="{}")

    assert bundle.saga.get_dirty_state("f1") == bundle.saga.get_dirty_state(dfid="f2")


@pytest.mark.parametrize(
    ("method", "positional"),
    [
        ("context.set_session", ("f", "{}", "a")),
        ("decision_audit.record", ("f", "e", "s")),
        ("lifecycle.record_transition", ("f", "x", "y", "root")),
        ("resource_lock.acquire_batch", ("f", {}, 1, {})),
    ],
)
def test_the_newer_arguments_are_taken_by_name_only(bundle, method, positional):
    field, name = method.split(".")

    with pytest.raises(TypeError):
        getattr(getattr(bundle, field), name)(*positional)
