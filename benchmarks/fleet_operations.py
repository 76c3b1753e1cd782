"""Each fleet-safe operation against the same in steps, and as the store grows."""

from __future__ import annotations

import itertools
import json
from typing import Any, NamedTuple

from benchmarks import payloads as p
from benchmarks.commandstats import Probe, measure
from benchmarks.measure import Sizes, Variant, interleaved, medians, new_ids, round_trips
from benchmarks.report import Aim, Section, Table
from benchmarks.servers import plain_client, server
from dir_redis import Claim, DirtyClaim, Reservation, StorageBundle, redis_storage
from dir_redis.audit_events import PAGE_ROWS

GROWTH_AIM = 1.5
CALLS = 20
_PAGE = f"iter_events, a page of {PAGE_ROWS:,} rows"
SMALL, LARGE = "small", "large"
LEASE_SEC = 3600.0
ROWS = [{"dfid": "flow-many", "details": p.DETAILS, **p.AUDIT_FIELDS}] * 100

HOW = """\
Each operation on one server and one connection, in memory, and beside it what callers of the nine
Protocols do in its place: read, decide, write, which is not safe between hosts. Both take turns.
"""
HOW_GROWTH = """\
The server's own measure (INFO commandstats) of each operation, in a store that holds {small:,} of
everything (flows that hold the same resource with a lease, claims, requests before the humans,
dirty flows, agents with heartbeats, sessions, transitions, audit rows) and in one of {large:,}.
"""


class Operation(NamedTuple):
    """One fleet-safe operation.

    Attributes:
        name: what the tables call it.
        safe: the operation.
        steps: what is done without it, or None where there is no such thing.
    """

    name: str
    safe: Variant
    steps: Variant | None = None


def run(sizes: Sizes) -> Section:
    """Measure."""
    section = Section("Fleet-safe operations", HOW)
    rows = []
    trips: dict[str, int] = {}
    with server() as url, redis_storage(url) as bundle:
        _fill(bundle, 10)
        for operation in operations(bundle):
            variants = {"safe": operation.safe}
            if operation.steps is not None:
                variants["steps"] = operation.steps
            ids = new_ids(sizes.calls)
            took = medians(
                interleaved(variants, rounds=sizes.rounds, ids=ids, budget_sec=sizes.budget_sec)
            )
            trips[operation.name] = round_trips(operation.safe, "flow-trips")
            row = [operation.name, f"{took['safe']:.1f}", str(trips[operation.name])]
            if operation.steps is not None:
                steps_trips = round_trips(operation.steps, "flow-trips-in-steps")
                ratio = took["safe"] / took["steps"]
                row += [f"{took['steps']:.1f}", str(steps_trips), f"{ratio:.2f}"]
            rows.append(row + [""] * (6 - len(row)))
    headings = ("Operation", "µs", "round trips", "in steps, µs", "round trips", "ratio")
    section.tables.append(Table(headings, rows))
    section.aims.append(
        Aim(
            "each fleet-safe operation one round trip",
            f"{max(trips.values())} at most",
            set(trips.values()) == {1},
        )
    )
    return section


def run_growth(sizes: Sizes) -> Section:
    """Measure how the server's time grows with the store."""
    how = HOW_GROWTH.format(small=10, large=sizes.agents)
    section = Section("Server time of fleet-safe operations as the store grows", how)
    rows = []
    ratios: dict[str, float] = {}
    with server() as url:
        client = plain_client(url)
        with (
            redis_storage(url, namespace=SMALL) as small,
            redis_storage(url, namespace=LARGE) as large,
        ):
            _fill(small, 10)
            _fill(large, sizes.agents)
            of_small = operations(small)
            of_large = operations(large)
            for one, other in zip(of_small, of_large, strict=True):
                if one.name == _PAGE:  # its cost is that of its rows, however many there are
                    continue
                turns = {SMALL: _Turn(one.safe), LARGE: _Turn(other.safe)}
                probe = Probe(
                    one.name,
                    "",
                    {name: turn.call for name, turn in turns.items()},
                    {},
                    {name: turn.prepare for name, turn in turns.items()},
                )
                took = measure(client, probe)
                ratios[one.name] = took[LARGE] / took[SMALL]
                rows.append(
                    (
                        one.name,
                        f"{took[SMALL]:.1f}",
                        f"{took[LARGE]:.1f}",
                        f"{ratios[one.name]:.2f}",
                    )
                )
        client.close()
    headings = ("Operation", "10 stored, µs", f"{sizes.agents:,} stored, µs", "ratio")
    section.tables.append(Table(headings, rows))
    worst = max(ratios, key=ratios.__getitem__)
    section.aims.append(
        Aim(
            f"server time of every fleet-safe operation within {GROWTH_AIM}, with 10 and with "
            f"{sizes.agents:,} of everything",
            f"{ratios[worst]:.2f} at most (`{worst}`)",
            ratios[worst] <= GROWTH_AIM,
        )
    )
    return section


def operations(bundle: StorageBundle) -> list[Operation]:
    """Every operation, with what it needs beforehand."""
    return [
        *_reservations(bundle),
        *_run_once(bundle),
        *_escalations(bundle),
        *_contexts_and_counts(bundle),
        *_registry(bundle),
        *_sagas(bundle),
        *_lifecycle(bundle),
        *_audit(bundle),
    ]


def _reservations(b: StorageBundle) -> list[Operation]:
    locks = b.resource_lock
    held: dict[str, Reservation] = {}

    def reserve(dfid: str) -> None:
        held[dfid] = locks.reserve(dfid, p.resources_of(dfid), lease_sec=LEASE_SEC)

    def look_and_acquire(dfid: str) -> None:
        for resource_id in p.resources_of(dfid):
            assert locks.get_locked_amount(resource_id, dfid) < 1
        assert locks.acquire_batch(dfid, p.resources_of(dfid), 5.0)

    def settle(dfid: str) -> None:
        locks.settle(dfid, dict.fromkeys(p.resources_of(dfid), 1))

    return [
        Operation(
            "reserve, 2 resources, with a lease",
            Variant(reserve, locks.release),
            Variant(look_and_acquire, locks.release),
        ),
        Operation(
            "renew",
            Variant(lambda i: locks.renew(i, held[i].fencing_token, LEASE_SEC), reserve),
        ),
        Operation("settle, 2 resources", Variant(settle, reserve)),
        Operation(
            "release by its token, 2 resources",
            Variant(lambda i: locks.release(i, fencing_token=held[i].fencing_token), reserve),
            Variant(locks.release, look_and_acquire),
        ),
        Operation(
            "holders of a resource with 1",
            Variant(lambda i: locks.holders(f"capital of {i}"), reserve),
        ),
    ]


def _run_once(b: StorageBundle) -> list[Operation]:
    results = b.idempotency
    claims: dict[str, Claim] = {}

    def claim(key: str) -> None:
        claims[key] = results.claim(key, lease_sec=LEASE_SEC, owner="worker-7")

    def claimed(key: str) -> None:
        _forget(b, key)
        claim(key)

    def abandoned(key: str) -> None:
        claimed(key)
        results.abandon(claims[key])

    def completed(key: str) -> None:
        claimed(key)
        results.complete(claims[key], p.RESULT)

    return [
        Operation(
            "claim, a new step",
            Variant(lambda i: claim(f"new-{i}"), lambda i: _forget(b, f"new-{i}")),
            Variant(lambda i: results.get(f"none-{i}")),
        ),
        Operation(
            "complete",
            Variant(lambda i: results.complete(claims[i], p.RESULT), claimed),
            Variant(lambda i: results.set(f"set-{i}", p.RESULT)),
        ),
        Operation("abandon", Variant(lambda i: results.abandon(claims[i]), claimed)),
        Operation(
            "renew_claim", Variant(lambda i: results.renew_claim(claims[i], LEASE_SEC), claimed)
        ),
        Operation(
            "claim, a step that is done",
            Variant(lambda i: claim(f"done-{i}"), lambda i: completed(f"done-{i}")),
            Variant(lambda i: results.get(f"set-{i}"), lambda i: results.set(f"set-{i}", p.RESULT)),
        ),
        Operation(
            "wait, for a step that is done",
            Variant(lambda i: results.wait(f"done-{i}", 5.0), lambda i: completed(f"done-{i}")),
        ),
        Operation("claim, an abandoned step", Variant(claim, abandoned)),
    ]


def _forget(b: StorageBundle, key: str) -> None:
    """Make a key new again, as no operation does."""
    store: Any = b.idempotency
    keys = store._keys
    client = store._store._connection.client
    client.delete(keys.idempotency(key), keys.claim(key))


def _escalations(b: StorageBundle) -> list[Operation]:
    escalation = b.escalation
    request = ("limit", p.SESSION_JSON, p.PROPOSAL_JSON, "HIGH")

    def escalate(dfid: str) -> None:
        escalation.escalate(dfid, f"agent of {dfid}", *request, limit=1000, window_sec=3600.0)

    def decided(dfid: str) -> None:
        escalation.insert_request(dfid, f"agent of {dfid}", *request)
        escalation.resolve(dfid, "APPROVE")

    def escalate_in_steps(dfid: str) -> None:
        assert escalation.get_window_count(f"agent of {dfid}", p.SINCE) < 1000
        escalation.record_budget_token(f"agent of {dfid}")
        escalation.insert_request(dfid, f"agent of {dfid}", *request)

    def renewed(dfid: str) -> None:
        escalation.insert_request(dfid, f"agent of {dfid}", *request)

    return [
        Operation("escalate", Variant(escalate), Variant(escalate_in_steps)),
        Operation(
            "escalate, a repeat of a decided request",
            Variant(escalate, decided),
        ),
        Operation(
            "claim_next",
            Variant(lambda _: escalation.claim_next("reviewer", LEASE_SEC), renewed),
        ),
        Operation(
            "resolve",
            Variant(
                lambda i: escalation.resolve(i, "APPROVE", by="reviewer", reason="fine"), renewed
            ),
            Variant(
                lambda i: escalation.resolve_request(i, "2026-11-24T00:00:00Z", "APPROVE", None),
                renewed,
            ),
        ),
        Operation("get_request", Variant(escalation.get_request, decided)),
        Operation(
            "wait_for_decision, a decided request",
            Variant(lambda i: escalation.wait_for_decision(i, 5.0), decided),
        ),
    ]


def _contexts_and_counts(b: StorageBundle) -> list[Operation]:
    context, retries = b.context, b.intent_retry
    update = {"limits": p.SESSION["limits"]}

    def stored(dfid: str) -> None:
        context.set_session(dfid, p.SESSION_JSON)

    def merge_in_steps(dfid: str) -> None:
        session = json.loads(context.get_session(dfid) or "{}")
        context.set_session(dfid, json.dumps({**session, **update}))

    def count_in_steps(dfid: str) -> None:
        retries.set_count(dfid, retries.get_count(dfid) + 1)

    return [
        Operation(
            "increment", Variant(lambda i: retries.increment(i, 1000)), Variant(count_in_steps)
        ),
        Operation(
            "merge_session",
            Variant(lambda i: context.merge_session(i, update), stored),
            Variant(merge_in_steps, stored),
        ),
        Operation(
            "set_session of an expected version",
            Variant(lambda i: context.set_session(f"new-{i}", p.SESSION_JSON, expected_version=0)),
            Variant(lambda i: (context.get_session(i), context.set_session(i, p.SESSION_JSON))),
        ),
        Operation(
            "get_session_versioned",
            Variant(context.get_session_versioned, stored),
            Variant(context.get_session, stored),
        ),
    ]


def _registry(b: StorageBundle) -> list[Operation]:
    agents = b.agent_registry
    tokens: dict[str, str] = {}

    def register(agent_id: str) -> None:
        session = agents.register(agent_id, p.CONTRACT_JSON, 5, "2.4.1", ttl_sec=LEASE_SEC)
        tokens[agent_id] = session.session_token

    def register_in_steps(agent_id: str) -> None:
        assert agents.get_status(agent_id) is None
        agents.upsert_agent(agent_id, p.CONTRACT_JSON, 5, "ACTIVE", "2.4.1", "token")

    def update(agent_id: str) -> None:
        agents.update_contract(agent_id, p.CONTRACT_JSON, 1)

    return [
        Operation(
            "register",
            Variant(lambda i: register(f"agent-{i}")),
            Variant(lambda i: register_in_steps(f"agent-in-steps-{i}")),
        ),
        Operation(
            "heartbeat", Variant(lambda i: agents.heartbeat(i, tokens[i], LEASE_SEC), register)
        ),
        Operation(
            "get_contract_versioned",
            Variant(agents.get_contract_versioned, register),
            Variant(agents.get_agent, register),
        ),
        Operation(
            "update_contract",
            Variant(lambda i: update(f"once-{i}"), lambda i: register(f"once-{i}")),
        ),
        Operation("list_stale_agents, none", Variant(lambda _: agents.list_stale_agents())),
    ]


def _sagas(b: StorageBundle) -> list[Operation]:
    saga = b.saga
    claims: list[DirtyClaim] = []
    numbers = itertools.count()

    def mark(dfid: str) -> None:
        saga.mark_dirty(dfid, "settle", p.SESSION_JSON)

    def claim(_: str) -> None:
        found = saga.claim_dirty("worker-7", LEASE_SEC)
        assert found is not None
        claims.append(found)

    def marked_and_claimed(_: str) -> None:
        mark(f"marked-{next(numbers)}")  # a new mark of a flow would end an earlier claim
        claim("")

    def clear(_: str) -> None:
        done = claims.pop()
        saga.clear_dirty(done.dfid, epoch=done.epoch)

    def give_back(_: str) -> None:
        done = claims.pop()
        saga.release_dirty(done.dfid, done.epoch)

    return [
        Operation(
            "claim_dirty",
            Variant(claim, mark),
            Variant(lambda i: (saga.get_dirty_flows(), saga.get_dirty_state(i)), mark),
        ),
        Operation(
            "renew_dirty",
            Variant(
                lambda _: saga.renew_dirty(claims[-1].dfid, claims[-1].epoch, LEASE_SEC),
                marked_and_claimed,
            ),
        ),
        Operation("release_dirty", Variant(give_back, marked_and_claimed)),
        Operation(
            "clear_dirty of an epoch",
            Variant(clear, marked_and_claimed),
            Variant(saga.clear_dirty, mark),
        ),
    ]


def _lifecycle(b: StorageBundle) -> list[Operation]:
    lifecycle = b.lifecycle

    def begun(dfid: str) -> None:
        lifecycle.record_transition(dfid, "CREATED", "ACTIVE")

    def transition_in_steps(dfid: str) -> None:
        assert lifecycle.get_transitions(dfid)[-1]["to_status"] == "ACTIVE"
        lifecycle.record_transition(dfid, "ACTIVE", "VALIDATING")

    def under_way(dfid: str) -> None:
        begun(dfid)
        b.intent_retry.set_count(dfid, 1)
        b.context.set_session(dfid, p.SESSION_JSON)
        b.resource_lock.acquire_batch(dfid, p.resources_of(dfid), 5.0)

    def close_in_steps(dfid: str) -> None:
        assert lifecycle.get_transitions(dfid)[-1]["to_status"] == "ACTIVE"
        lifecycle.record_transition(dfid, "ACTIVE", "CLOSED")
        b.decision_audit.record(dfid, "FLOW_CLOSED", state="CLOSED", details=p.DETAILS)
        b.intent_retry.delete(dfid)
        b.resource_lock.release(dfid)

    return [
        Operation(
            "transition",
            Variant(lambda i: lifecycle.transition(i, "ACTIVE", "VALIDATING"), begun),
            Variant(transition_in_steps, begun),
        ),
        Operation(
            "current_status",
            Variant(lifecycle.current_status, begun),
            Variant(lifecycle.get_transitions, begun),
        ),
        Operation(
            "close_flow",
            Variant(lambda i: lifecycle.close_flow(i, "CLOSED", details=p.DETAILS), under_way),
            Variant(close_in_steps, under_way),
        ),
    ]


def _audit(b: StorageBundle) -> list[Operation]:
    audit = b.decision_audit

    def record_one_by_one(_: str) -> None:
        for row in ROWS:
            audit.record(**row)

    def one_page(_: str) -> None:
        rows = audit.iter_events()
        for _row in range(PAGE_ROWS):
            next(rows)

    return [
        Operation(
            "record_many, 100 rows",
            Variant(lambda _: audit.record_many(ROWS)),
            Variant(record_one_by_one),
        ),
        Operation(_PAGE, Variant(one_page)),
        Operation("commit_archived", Variant(lambda _: audit.commit_archived("archive", ""))),
        Operation("get_archived", Variant(lambda _: audit.get_archived("archive"))),
    ]


def _fill(b: StorageBundle, count: int) -> None:
    """Store so many of everything."""
    for number in range(count):
        name = f"stored-{number}"
        b.resource_lock.reserve(name, {"capital": 1}, lease_sec=LEASE_SEC)
        b.idempotency.claim(name, lease_sec=LEASE_SEC, owner="worker")
        b.escalation.escalate(
            name,
            "agent",
            *("limit", p.SESSION_JSON, p.PROPOSAL_JSON, "HIGH"),
            limit=count,
            window_sec=3600.0,
            deadline_sec=LEASE_SEC,
            default_decision="REJECT",
        )
        b.saga.mark_dirty(name, "settle", p.SESSION_JSON)
        b.agent_registry.register(name, p.CONTRACT_JSON, 5, ttl_sec=LEASE_SEC)
        b.context.merge_session(name, p.SESSION)
        b.intent_retry.increment(name)
        b.lifecycle.transition(name, "CREATED", "ACTIVE")
        b.decision_audit.record(name, details=p.DETAILS, **p.AUDIT_FIELDS)


class _Turn:
    """The calls of one variant in one turn, for ids that no other turn has."""

    def __init__(self, variant: Variant) -> None:
        self._variant = variant
        self._numbers = itertools.count()
        self._ids: list[str] = []

    def prepare(self) -> None:
        self._ids = [f"turn-{next(self._numbers)}" for _ in range(CALLS)]
        if self._variant.prepare is not None:
            for identifier in self._ids:
                self._variant.prepare(identifier)

    def call(self) -> None:
        for identifier in self._ids:
            self._variant.call(identifier)
