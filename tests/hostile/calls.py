"""Random calls with hostile values, and what no call may touch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dir_redis import (
    FingerprintMismatchError,
    InsufficientCapacityError,
    LeaseLostError,
    LedgerConflictError,
    ResourceContentionError,
    SessionSupersededError,
    StepInProgressError,
    StorageBundle,
    TransitionConflictError,
    VersionConflictError,
)
from tests.hostile.values import LyingDict, Make, intent

# How long to wait is always said: the defaults are seconds.
WAITS = ("wait_sec", "timeout_sec")

CALLS_AT_ONCE = 10

DOCUMENTED = (
    FingerprintMismatchError,
    InsufficientCapacityError,
    LeaseLostError,
    LedgerConflictError,
    ResourceContentionError,
    SessionSupersededError,
    StepInProgressError,
    TransitionConflictError,
    VersionConflictError,
)
Values = Callable[[str], list[Make]]


def same_calls_each_time(
    count: int, methods: Mapping[str, inspect.Signature], usual: Values, hostile: Values
) -> Callable[[Callable[[list[Any]], None]], Callable[[], None]]:
    """Have a function called with many calls at a time, the same ones in every run.

    Args:
        count: of the calls in all.
        methods: what may be called.
        usual: by an argument's name, what makes good values of it.
        hostile: likewise, any others.
    """
    fixed = settings(
        max_examples=count // CALLS_AT_ONCE,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    one = calls(methods, usual, hostile)
    many = given(st.lists(one, min_size=CALLS_AT_ONCE, max_size=CALLS_AT_ONCE))
    return lambda made: fixed(many(made))


def calls(
    methods: Mapping[str, inspect.Signature], usual: Values, hostile: Values
) -> st.SearchStrategy[tuple[str, dict[str, Make]]]:
    """One call: a method, and what makes its arguments; half of all calls have a hostile one."""
    return st.one_of(
        *(_calls_of(method, signature, usual, hostile) for method, signature in methods.items())
    )


def _calls_of(
    method: str, signature: inspect.Signature, usual: Values, hostile: Values
) -> st.SearchStrategy[tuple[str, dict[str, Make]]]:
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    required = [p.name for p in parameters if p.default is p.empty or p.name in WAITS]
    optional = [p.name for p in parameters if p.name not in required]
    usual_of = {p.name: st.sampled_from(usual(p.name)) for p in parameters}
    hostile_of = {p.name: st.sampled_from(hostile(p.name)) for p in parameters}

    def with_one_hostile(name: str) -> st.SearchStrategy[dict[str, Make]]:
        return st.fixed_dictionaries(
            {
                **{n: usual_of[n] for n in required},
                name: hostile_of[name],  # in one order, so that one seed gives the same calls
            },
            optional={n: usual_of[n] for n in optional if n != name},
        )

    arguments = st.one_of(
        st.fixed_dictionaries(
            {n: usual_of[n] for n in required}, optional={n: usual_of[n] for n in optional}
        ),
        *(with_one_hostile(p.name) for p in parameters),
    )
    return st.tuples(st.just(method), arguments)


def lies(value: object) -> bool:
    """Whether a value is something else at every look."""
    return isinstance(value, LyingDict) or (
        isinstance(value, list) and any(isinstance(item, LyingDict) for item in value)
    )


def witnesses(bundle: StorageBundle) -> list[Any]:
    """What the store has under an id that no call names, but for what trimming takes."""
    return [
        bundle.agent_registry.get_agent("witness"),
        bundle.context.get_session("witness"),
        bundle.context.get_state("witness"),
        bundle.idempotency.get("witness"),
        bundle.saga.get_dirty_state("witness"),
        bundle.resource_lock.get_capacity("witness"),
        bundle.resource_lock.holders("witness"),
        bundle.intent_retry.get_count("witness"),
        {**(bundle.escalation.get_request("witness") or {}), "reviewer": 0, "reviewer_until": 0},
        bundle.lifecycle.get_transitions("witness"),
        bundle.decision_ledger.get_by_dfid("witness"),
    ]


def leave_witnesses(bundle: StorageBundle) -> list[Any]:
    w = "witness"
    bundle.agent_registry.upsert_agent(w, '{"w": 1}', 7, "ACTIVE", "1", "token")
    bundle.context.set_session(w, '{"w": 1}')
    bundle.context.set_state(w, '{"w": 2}')
    bundle.idempotency.set(w, {"w": 1})
    bundle.saga.mark_dirty(w, "step", '{"w": 1}')
    bundle.resource_lock.set_capacity(w, 9)
    bundle.resource_lock.acquire_batch(w, {w: 2}, 0)
    bundle.intent_retry.set_count(w, 5)
    bundle.escalation.insert_request(w, w, "why", '{"w": 1}', "{}", "HIGH")
    bundle.lifecycle.record_transition(w, "A", "B")
    bundle.decision_ledger.append(intent(dfid=w), agent_id=w)
    return witnesses(bundle)
