"""What must hold of a history, topic by topic; each check returns its violations in words.

Two kinds of checks: one order must explain the calls on each record (the models), and what callers
*surely* held, executed or spent, judged by call and return alone, must stay within bounds. What
may or may not have happened never counts as a violation.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from tests.histories import models
from tests.histories.history import History, Operation
from tests.histories.linearizability import FOREVER, Model, unexplained

RecordOf = Callable[[Operation], Hashable]


def check_counts(history: History) -> list[str]:
    """No count is lost, none is counted twice."""
    return _explained(history.by("dfid", "increment"), 0, models.counter)


def check_documents(history: History) -> list[str]:
    """No merge is lost, no version is given twice, a replacement replaces what it was told of."""
    groups = history.by("document", "merge", "set", "get_document")
    return _explained(groups, models.Document(), models.document)


def check_flows(history: History) -> list[str]:
    """Each log is one path, with every acknowledged transition in it once.

    Each transition leads to a status of its own.
    """
    groups = history.by("dfid", "transition", "close_flow")
    return [
        *_explained(groups, "CREATED", models.status),
        *_no_paths(history),
        *_not_closed_once(history),
    ]


def check_run_once(history: History) -> list[str]:
    """A step runs once per token, one at a time while its lease lasts, and has one result."""
    calls = ("claim", "wait", "renew_claim", "complete", "abandon")
    leases = _leases(history, _key_of, ("claim", "renew_claim"), ("abandon",))
    return [
        *_explained(history.by("key", *calls), models.Key(), models.key),
        *_overlapping(history.by("key", "step"), history, leases),
        *_contradicting(history),
    ]


def check_sagas(history: History) -> list[str]:
    """A mark is compensated by one host at a time, and cleared only by who compensated it."""
    calls = ("claim_dirty", "mark_dirty", "renew_dirty", "release_dirty", "clear_dirty")
    leases = _leases(
        history, _flow_of, ("claim_dirty", "renew_dirty"), ("release_dirty", "clear_dirty")
    )
    # A newer mark is another piece of work, and may be compensated at once.
    work = history.by(lambda call: (call["dfid"], call["failed_step"]), "compensate")
    return [
        *_explained(_by_flow(history, *calls), models.Mark(), models.mark),
        *_overlapping(work, history, leases),
    ]


def check_reservations(history: History, capacities: Mapping[str, int]) -> list[str]:
    """Never more is held than there is, no lease ends early, and fencing tokens rise.

    Each flow reserves once in its life. Capacities are by kind: the part of a resource's name
    before its first dash.
    """
    leases = _leases(history, _flow_of, ("reserve", "renew"), ("release",))
    return [
        *_above_capacity(history, leases, capacities),
        *_lost_early(history, leases),
        *_falling(call for call in history.named("reserve") if call.succeeded),
        *_badly_fenced(history, leases),
    ]


def check_escalations(history: History, limit: int, window_sec: float) -> list[str]:
    """No window holds more tokens than the limit, and each request is decided once."""
    calls = ("claim_next", "escalate", "resolve", "get_request", "wait_for_decision")
    groups = _by_flow(history, *calls)
    return [
        *_explained(groups, models.Request(), models.request),
        *_off_budget(history, limit, round(window_sec * 1e9)),
    ]


# One order


def _explained(groups: Mapping[Hashable, list[Operation]], initial: Any, model: Model) -> list[str]:
    reasons = {group: unexplained(calls, initial, model) for group, calls in groups.items()}
    return [f"{group}: {reason}" for group, reason in reasons.items() if reason]


def _key_of(call: Operation) -> Hashable:
    return call.arguments.get("key")


def _flow_of(call: Operation) -> Hashable:
    """The flow that a call was about, or, if it picked one itself, the one it picked."""
    if "dfid" in call.arguments:
        return call["dfid"]
    return call.result["dfid"] if call.succeeded and call.result else None


def _by_flow(history: History, claim: str, *others: str) -> dict[Hashable, list[Operation]]:
    """Calls by flow; a claim whose answer nobody saw may have taken any of them."""
    lost = [call for call in history.named(claim) if call.pending]
    groups = history.by(_flow_of, claim, *others)
    return {flow: calls + lost for flow, calls in groups.items()}


# What is surely so


def _no_paths(history: History) -> Iterator[str]:
    """Logs with a gap, and logs without what was acknowledged, or with what nobody asked for."""
    asked = history.by("dfid", "transition", "close_flow")
    for log in history.named("get_transitions"):
        froms, tos = [row[0] for row in log.result], [row[1] for row in log.result]
        if froms != ["CREATED", *tos][: len(tos)]:
            yield f"the log is no path: {log}"
        calls = [call for call in asked.get(log["dfid"], []) if call.error is None]
        possible = {call.arguments.get("to", "CLOSED") for call in calls}
        certain = {call.arguments.get("to", "CLOSED") for call in calls if not call.pending}
        if not certain <= set(tos) <= possible or len(set(tos)) < len(tos):
            yield f"the log is not what was asked for: {log}"


def _not_closed_once(history: History) -> Iterator[str]:
    for call in history.named("events_for_dfid"):
        if call.result.count("FLOW_CLOSED") != 1:
            yield f"the flow was not closed once: {call}"


Leases = Mapping[tuple[Hashable, int], int]
"""Until when a lease surely ran, by record and token."""


def _token_of(call: Operation) -> int:
    """The token that a call came with, or was given."""
    return call["token"] if "token" in call.arguments else call.result["token"]


def _leases(
    history: History, record_of: RecordOf, granting: Iterable[str], ending: Iterable[str]
) -> Leases:
    until: dict[tuple[Hashable, int], int] = {}
    for call in history.named(*granting):
        if call.succeeded and record_of(call) and _is_granted(call):
            lease = record_of(call), _token_of(call)
            end = call.invoked + round(call["lease_sec"] * 1e9) - models.SLACK
            until[lease] = max(end, until.get(lease, 0))
    for call in history.named(*ending):
        lease = record_of(call), _token_of(call)
        if call.error is None and lease in until:
            until[lease] = min(call.invoked, until[lease])
    return until


def _is_granted(call: Operation) -> bool:
    return call.name != "claim" or call.result["state"] == "NEW"


def _overlapping(
    work: Mapping[Hashable, list[Operation]], history: History, leases: Leases
) -> Iterator[str]:
    """Work done twice under one token, or by two while the lease of the older token surely ran."""
    for what, calls in work.items():
        for older, newer in itertools.combinations(sorted(calls, key=_token_of), 2):
            record = older.arguments.get("key") or older["dfid"]
            held = leases.get((record, older["token"]), 0)
            if older["token"] == newer["token"]:
                yield f"{what}: done twice with one token: {older}; {newer}"
            elif max(older.invoked, newer.invoked) < min(
                held, *(history.end_of(call) or call.invoked for call in (older, newer))
            ):
                yield f"{what}: done by two at once: {older}; {newer}"


def _contradicting(history: History) -> Iterator[str]:
    """Results of one step that differ, or that are not of a step that ended."""
    ended = {call["token"] for call in history.named("step") if call.succeeded}
    for key, calls in history.by("key", "run_once").items():
        results = {call.result for call in calls if call.succeeded}
        if len(results) > 1:
            yield f"{key}: different results: {results}"
        for result in results - ended:
            yield f"{key}: the result {result} is not of a step that ended"


class Holding(NamedTuple):
    """An amount that a flow surely held between two moments."""

    resource_id: str
    amount: int
    begin: int
    end: int


def _holdings(history: History, leases: Leases) -> Iterator[Holding]:
    settled = history.by("dfid", "settle")
    for grant in history.named("reserve"):
        if not grant.succeeded:
            continue
        end = leases[grant["dfid"], _token_of(grant)]
        for resource_id, amount in grant["resources"].items():
            begin, held = grant.returned or FOREVER, amount
            for settling in settled.get(grant["dfid"], []):
                if settling.error is None and resource_id in settling["used"]:
                    yield Holding(resource_id, held, begin, min(settling.invoked, end))
                    begin, held = settling.invoked, min(held, settling["used"][resource_id])
            yield Holding(resource_id, held, begin, end)


def _above_capacity(
    history: History, leases: Leases, capacities: Mapping[str, int]
) -> Iterator[str]:
    changes = []
    for holding in _holdings(history, leases):
        if holding.begin < holding.end:
            changes.append((holding.begin, holding.amount, holding.resource_id))
            changes.append((holding.end, -holding.amount, holding.resource_id))
    held: Counter[str] = Counter()
    for moment, change, resource_id in sorted(changes):  # at one moment, first what is given back
        held[resource_id] += change
        if held[resource_id] > capacities[resource_id.partition("-")[0]]:
            yield f"{held[resource_id]} of {resource_id} held at {moment / 1e6:.3f} ms"


def _lost_early(history: History, leases: Leases) -> Iterator[str]:
    for call in history.named("renew", "settle", "release"):
        until = leases.get((call["dfid"], call["token"]), 0)
        if call.error == "LeaseLostError" and (call.returned or 0) < until:
            yield f"lost before its lease was over: {call}"


def _falling(calls: Iterable[Operation]) -> Iterator[str]:
    """Tokens that do not exceed those of all calls that had returned before."""
    begun = sorted(calls, key=lambda call: call.invoked)
    ended = sorted(begun, key=lambda call: call.returned or FOREVER)
    before, largest, seen = 0, 0, set()
    for call in begun:
        while (ended[before].returned or FOREVER) < call.invoked:
            largest = max(largest, _token_of(ended[before]))
            before += 1
        if _token_of(call) <= largest or _token_of(call) in seen:
            yield f"its token should be larger than {largest} and new: {call}"
        seen.add(_token_of(call))


def _badly_fenced(history: History, leases: Leases) -> Iterator[str]:
    """Stale writes that were taken, and writes of holders that were refused.

    Whoever has a pen writes once, with its token.
    """
    for calls in history.by("pen", "write").values():
        yield from _falling(call for call in calls if call.succeeded and call.result)
    for call in history.named("write"):
        until = leases.get((call["dfid"], call["token"]), 0)
        if call.succeeded and not call.result and (call.returned or 0) < until:
            yield f"the holder itself was refused: {call}"


def _off_budget(history: History, limit: int, window: int) -> Iterator[str]:
    """More tokens than the limit surely in one window, or none though there was one."""
    for agent_id, calls in history.by("agent_id", "escalate").items():
        told = [call for call in calls if not call.pending]
        granted = [call for call in told if call.result["outcome"] == "GRANTED"]
        spent = granted + [call for call in calls if call.pending]
        for first in granted:
            end = first.invoked + window - models.SLACK
            inside = [g for g in granted if first.invoked <= g.invoked and g.returned < end]
            if len(inside) > limit:
                yield f"{agent_id}: {len(inside)} tokens in one window from {first}"
        for call in told:
            begin = call.invoked - window - models.SLACK
            inside = [
                s for s in spent if (s.returned or FOREVER) > begin and s.invoked < call.returned
            ]
            if call.result["outcome"] == "BUDGET_EXHAUSTED" and len(inside) < limit:
                yield f"{agent_id}: refused, with {len(inside)} tokens spent: {call}"
