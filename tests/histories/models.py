"""What a single caller would be told by each kind of record: the models that histories are held to.

Each is a function of a record's state, a call and its moment, and gives the states that the record
may be in afterwards: none if it cannot have told the caller what the call returned.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.histories.history import Operation
from tests.histories.linearizability import Moment

# What two clocks of one machine, which count in different units, may be apart.
SLACK = 1_000_000


class Lease(NamedTuple):
    """A lease, which ended at some time between the two, nanoseconds, if nothing ended it before.

    Attributes:
        earliest: it surely had not run out before this.
        latest: it surely had run out after this.
    """

    earliest: int
    latest: int

    @classmethod
    def begun(cls, when: Moment, seconds: float) -> Lease:
        length = round(seconds * 1e9)
        return cls(when.earliest + length - SLACK, when.latest + length + SLACK)

    def may_hold(self, when: Moment) -> bool:
        return when.earliest <= self.latest

    def may_be_over(self, when: Moment) -> bool:
        return when.latest >= self.earliest


def _only_if(possible: bool, state: Any) -> Iterable[Any]:
    return [state] if possible else []


# Intent retries: a counter


def counter(count: int, call: Operation, _when: Moment) -> Iterable[int]:
    """``increment``, which returned the count."""
    return _only_if(call.pending or call.result == count + 1, count + 1)


# Contexts: a document that is merged into, and replaced if its version is the expected one


class Document(NamedTuple):
    """A document.

    Attributes:
        version: how often it was written.
        items: its keys and values.
    """

    version: int = 0
    items: frozenset[tuple[str, Any]] = frozenset()


def document(state: Document, call: Operation, _when: Moment) -> Iterable[Document]:
    """``merge``, ``set`` and ``get_document``; what they write and return are dicts of scalars."""
    if call.name == "get_document":
        return _only_if(call.pending or call.result == [state.version, dict(state.items)], state)
    expected = call.arguments.get("expected")
    fits = expected is None or expected == state.version
    if call.error is not None:
        return _only_if(not fits and call.result["found"] == state.version, state)
    written = call["items"]
    if call.name == "merge":
        written = dict(state.items) | written
    possible = fits and (call.pending or call.result in (None, state.version + 1))
    return _only_if(possible, Document(state.version + 1, frozenset(written.items())))


# Lifecycles: a status; CLOSED is the last


def status(state: str, call: Operation, _when: Moment) -> Iterable[str]:
    """``transition``, and ``close_flow``, which takes any status."""
    if call.name == "close_flow":
        if call.succeeded and not call.result:
            return _only_if(state == "CLOSED", state)
        return _only_if(state != "CLOSED", "CLOSED")
    fits = call["expected"] == state
    if call.error is not None:
        return _only_if(not fits and (call.result["actual"] or "CREATED") == state, state)
    return _only_if(fits, call["to"])


# Idempotency keys: a claim with a lease, which ends in a result

# The holder of a claim whose answer nobody saw.
UNKNOWN = -1


class Key(NamedTuple):
    """An idempotency key.

    Attributes:
        last: the largest token told to anybody.
        holder: the token of the claim that has not ended, or None.
        lease: its lease.
        done: whether the key has a result; ``last`` completed it then.
        result: the result.
    """

    last: int = 0
    holder: int | None = None
    lease: Lease | None = None
    done: bool = False
    result: Any = None


def key(state: Key, call: Operation, when: Moment) -> Iterable[Key]:
    """``claim``, ``wait``, ``renew_claim``, ``complete`` and ``abandon``."""
    if call.name in ("claim", "wait"):
        return _claim_of_key(state, call, when)
    owned = state.holder == call["token"]
    if call.name == "renew_claim":
        if call.error is not None:
            return _only_if(not owned or _is_free(state.lease, when), state)
        new = Lease.begun(when, call["lease_sec"])
        return _only_if(owned and _may_hold(state.lease, when), state._replace(lease=new))
    # Whoever is slow may still end a claim that nobody took, and may do so again.
    ended = state.holder is None and state.last == call["token"]
    if call.name == "complete":
        repeated = ended and state.done and state.result == call["value"]
        after = Key(state.last, done=True, result=call["value"])
    else:
        repeated = ended and not state.done
        after = Key(state.last)
    if call.error is not None:
        return _only_if(not owned and not repeated, state)
    return _only_if(owned or repeated, after)


def _claim_of_key(state: Key, call: Operation, when: Moment) -> Iterable[Key]:
    free = not state.done and _is_free(state.lease, when)
    if call.pending:
        lease = Lease.begun(when, call["lease_sec"]) if call.name == "claim" else None
        return _only_if(free and lease is not None, Key(state.last, UNKNOWN, lease))
    found, token = call.result["state"], call.result["token"]
    if found == "DONE":
        return _only_if(state.done and call.result["result"] == state.result, state)
    if found == "IN_PROGRESS":
        holds = state.holder is not None and _may_hold(state.lease, when)
        named = token == state.holder or (state.holder == UNKNOWN and token > state.last)
        return _only_if(holds and named, state._replace(last=token, holder=token))
    if call.name == "wait":
        return _only_if(free, state)
    new = Key(token, token, Lease.begun(when, call["lease_sec"]))
    return _only_if(free and token > state.last, new)


def _may_hold(lease: Lease | None, when: Moment) -> bool:
    return lease is not None and lease.may_hold(when)


def _is_free(lease: Lease | None, when: Moment) -> bool:
    return lease is None or lease.may_be_over(when)


# Sagas: a mark, which is claimed and cleared under an epoch


class Mark(NamedTuple):
    """A flow that may be dirty.

    Attributes:
        failed_step: what the latest mark says; None if the flow is clean.
        last: the largest token (epoch) told to anybody.
        holder: the token of the claim on the mark, or None.
        lease: its lease.
    """

    failed_step: str | None = None
    last: int = 0
    holder: int | None = None
    lease: Lease | None = None


def mark(state: Mark, call: Operation, when: Moment) -> Iterable[Mark]:
    """``mark_dirty``, ``claim_dirty``, ``renew_dirty``, ``release_dirty`` and ``clear_dirty``."""
    if call.name == "mark_dirty":
        return [Mark(call["failed_step"], state.last)]
    if call.name == "claim_dirty":
        free = state.failed_step is not None and _is_free(state.lease, when)
        lease = Lease.begun(when, call["lease_sec"])
        if call.pending:
            return _only_if(free, state._replace(holder=UNKNOWN, lease=lease))
        token = call.result["token"]
        free = free and token > state.last and call.result["failed_step"] == state.failed_step
        return _only_if(free, Mark(state.failed_step, token, token, lease))
    owned = state.holder == call["token"]
    if call.name == "renew_dirty":
        if call.error is not None:
            return _only_if(not owned or _is_free(state.lease, when), state)
        lease = Lease.begun(when, call["lease_sec"])
        return _only_if(owned and _may_hold(state.lease, when), state._replace(lease=lease))
    if call.error is not None:
        return _only_if(not owned, state)
    after = Mark(state.failed_step if call.name == "release_dirty" else None, state.last)
    return _only_if(owned, after)


# Escalations: a request, which is claimed by reviewers and decided once, by them or by its deadline


class Request(NamedTuple):
    """A flow's request.

    Attributes:
        made: whether there is one.
        decision: what a human decided, or None.
        default: the decision that counts once the deadline is over.
        deadline: when it is over; None for never.
        review: the lease of the reviewer who has it; None if nobody has.
    """

    made: bool = False
    decision: str | None = None
    default: str | None = None
    deadline: Lease | None = None
    review: Lease | None = None


def request(state: Request, call: Operation, when: Moment) -> Iterable[Request]:
    """``escalate``, ``claim_next``, ``resolve``, ``get_request`` and ``wait_for_decision``."""
    overdue = state.deadline is not None and state.deadline.may_be_over(when)
    in_time = state.deadline is None or state.deadline.may_hold(when)
    open_still = state.made and state.decision is None and in_time
    if call.name == "escalate":
        if not call.pending and call.result["outcome"] != "GRANTED":
            return _only_if(state.made == (call.result["outcome"] == "REPEATED"), state)
        deadline = call["deadline_sec"] and Lease.begun(when, call["deadline_sec"])
        new = Request(made=True, default=call["default_decision"], deadline=deadline)
        return _only_if(not state.made, new)
    if call.name == "claim_next":
        free = open_still and _is_free(state.review, when)
        lease = Lease.begun(when, call["lease_sec"])
        return _only_if(free, state._replace(review=lease))
    # Who is told that the deadline decided fixes it for all that come later.
    by_default = state.made and state.decision is None and overdue
    decided = state._replace(decision=state.default) if by_default else state
    if call.name == "resolve":
        if call.succeeded and not call.result:
            return _only_if(not state.made or decided.decision is not None, decided)
        return _only_if(open_still, state._replace(decision=call["decision"]))
    if call.pending:
        return []
    told = call.result["decision"]
    if told is None:
        return _only_if(open_still or not state.made, state)
    return _only_if(told == decided.decision, decided)
