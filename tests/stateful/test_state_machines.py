"""Random calls on a store and on memory, side by side: the same answers, the same errors."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dir_redis import (
    Claim,
    ClaimState,
    Escalation,
    LeaseLostError,
    StorageBundle,
    StorageError,
    memory_storage,
)
from dir_redis.transitions import DEFAULT_TRANSITIONS

TIMESTAMPS = {"timestamp", "created_at", "committed_at"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)

SETTINGS = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

IDS = ("a", "b", "a:b", "{a}", "*", "\0", "😀", "é" * 512)
BAD_IDS = ("", "x" * 1025, "\ud800", None, 7)
WORDS = ("", "ACTIVE", "SUSPENDED", " é\0\n😀", "\ud800", None, 7)
DOCUMENTS = ("{}", "", None, ' {"b": [1.0, null], "a": 1e400} ', "[]", "null", "{", '"\ud800"', 7)

ids = st.sampled_from(IDS * 4 + BAD_IDS)
maybe_ids = st.none() | ids
words = st.sampled_from(WORDS)
documents = st.sampled_from(DOCUMENTS)
json_dicts = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
        max_leaves=4,
    ),
    max_size=3,
)


def without_timestamps(value: Any) -> Any:
    if isinstance(value, list):
        return [without_timestamps(item) for item in value]
    if isinstance(value, dict) and value.keys() & TIMESTAMPS:
        return {key: item for key, item in value.items() if key not in TIMESTAMPS}
    if isinstance(value, dict) and "requested_at" in value:
        return {key: without_moment(item) for key, item in value.items()}
    if isinstance(value, Escalation):
        return value._replace(retry_after_sec=float(value.retry_after_sec > 0))
    return value


def without_moment(value: Any) -> Any:
    """The same of a moment of the store's; one that a caller gave stays."""
    return "a moment" if isinstance(value, str) and MOMENT.fullmatch(value) else value


def outcome(method: Callable[..., Any], arguments: Sequence[Any], named: dict[str, Any]) -> Any:
    """What a call returns, or what it raises and what the error carries."""
    try:
        returned = without_timestamps(method(*arguments, **named))
    except (StorageError, TypeError, ValueError) as error:
        return "raised", type(error), getattr(error, "__dict__", {}), str(error)
    return "returned", type(returned), returned


class TwinMachine(RuleBasedStateMachine):
    """A store and its twin in memory; every call goes to both."""

    field: ClassVar[str]
    open_store: ClassVar[Callable[[], StorageBundle]]

    @initialize()
    def open_both(self) -> None:
        self.bundles = (type(self).open_store(), memory_storage())
        self.subject, self.twin = (getattr(bundle, self.field) for bundle in self.bundles)

    def both(self, method: str, *arguments: Any, **named: Any) -> None:
        expected = outcome(getattr(self.twin, method), arguments, named)
        assert outcome(getattr(self.subject, method), arguments, named) == expected

    def both_for_each(self, method: str, identifiers: Iterable[str], *more: Any) -> None:
        for identifier in identifiers:
            self.both(method, identifier, *more)


@contextlib.contextmanager
def sessions_with(token: str) -> Iterator[None]:
    """Every store gives this token to a session that begins meanwhile."""
    with contextlib.ExitStack() as patches:
        for backend in ("memory", "sqlite", "redis"):
            maker = f"dir_redis.{backend}.agent_registry.new_session_token"
            patches.enter_context(mock.patch(maker, return_value=token))
        yield


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what comes true by time alone."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class AgentRegistryMachine(TwinMachine):
    field = "agent_registry"

    tokens = st.sampled_from(["token", "token-1", "token-2"])
    expected_versions = st.sampled_from([1, 2, 3, 4, 0, 2**63, -1, True, None])

    @rule(
        agent_id=ids,
        contract=documents,
        priority=st.sampled_from([0, -1, 2**63 - 1, 2**63, True, 1.0]),
        status=words,
        version=words,
        token=words,
    )
    def upsert_any(self, agent_id, contract, priority, status, version, token):
        self.both("upsert_agent", agent_id, contract, priority, status, version, token)

    @rule(agent_id=st.sampled_from(IDS), status=st.sampled_from(["ACTIVE", "RETIRED"]))
    def upsert(self, agent_id, status):
        self.both("upsert_agent", agent_id, '{"max": 1}', 1, status, None, "token")

    @rule(agent_id=ids, status=words, reason=words)
    def update_status(self, agent_id, status, reason):
        self.both("update_status", agent_id, status, reason)

    @rule(agent_id=ids)
    def read(self, agent_id):
        self.both("get_agent", agent_id)
        self.both("get_status", agent_id)
        self.both("get_contract_versioned", agent_id)

    @rule(
        agent_id=ids,
        contract=documents,
        version=words,
        token=tokens,
        keep=st.sampled_from([True, False, True, False, None]),
        ttl=st.sampled_from([None, 3600, 0, "1"]),
    )
    def register_any(self, agent_id, contract, version, token, keep, ttl):
        with sessions_with(token):
            self.both("register", agent_id, contract, 1, version, keep_suspended=keep, ttl_sec=ttl)

    @rule(agent_id=st.sampled_from(IDS), token=tokens)
    def register_and_fall_silent(self, agent_id, token):
        with sessions_with(token):
            self.both("register", agent_id, "{}", 1, ttl_sec=0.001)
        for agents in (self.subject, self.twin):
            wait_for(lambda agents=agents: agent_id in agents.list_stale_agents())

    @rule(
        agent_id=st.sampled_from(IDS) | ids,
        token=tokens | words,
        ttl=st.sampled_from([3600, 60, 3600, 60, 0, None]),
    )
    def heartbeat(self, agent_id, token, ttl):
        ours, memorys = (
            outcome(agents.heartbeat, (agent_id, token, ttl), {})
            for agents in (self.subject, self.twin)
        )
        assert ours[:2] == memorys[:2]
        if ours[0] == "raised":
            assert ours == memorys

    @rule(agent_id=st.sampled_from(IDS), contract=documents, expected=expected_versions)
    def update_contract(self, agent_id, contract, expected):
        self.both("update_contract", agent_id, contract, expected)

    @invariant()
    def list_active(self):
        self.both("list_active_agents")

    @invariant()
    def list_stale(self):
        self.both("list_stale_agents")

    def teardown(self):
        self.both_for_each("get_contract_versioned", IDS)
        self.both_for_each("get_agent", IDS)
        self.both_for_each("get_status", IDS)


class ContextMachine(TwinMachine):
    field = "context"

    few_ids = st.sampled_from(IDS[:3])
    objects = st.sampled_from(["{}", ' {"b": [1.10], "a": 1e400} ', '{"z": 1, "z": 2, "": {}}'])
    versions = st.sampled_from([None, None, None, 0, 1, 2, 3, 2**63, -1, True])
    updates = st.dictionaries(
        st.sampled_from(["", "a", "b", "z", "data", "+", "é", "\0"]), json_dicts | st.none()
    )
    odd_updates = st.sampled_from([None, [], "{}", {1: 1}, {"\ud800": 1}, {"a": {b"k": 1}}])

    @rule(dfid=ids, data=documents, agent_id=maybe_ids, expected=versions)
    def set_session(self, dfid, data, agent_id, expected):
        self.both("set_session", dfid, data, agent_id=agent_id, expected_version=expected)

    @rule(agent_id=ids, data=documents, expected=versions)
    def set_state(self, agent_id, data, expected):
        self.both("set_state", agent_id, data, expected_version=expected)

    @rule(identifier=few_ids, data=objects)
    def set_objects(self, identifier, data):
        self.both("set_session", identifier, data)
        self.both("set_state", identifier, data)

    @rule(identifier=few_ids, updates=updates)
    def merge(self, identifier, updates):
        self.both("merge_session", identifier, updates)
        self.both("merge_state", identifier, updates)

    @rule(identifier=ids, updates=updates | odd_updates, agent_id=maybe_ids)
    def merge_any(self, identifier, updates, agent_id):
        self.both("merge_session", identifier, updates, agent_id=agent_id)
        self.both("merge_state", identifier, updates)

    @rule(dfid=few_ids)
    def end_session(self, dfid):
        for bundle in self.bundles:
            bundle.lifecycle.record_transition(dfid, "ACTIVE", "VALIDATING")
            bundle.lifecycle.close_flow(dfid, "CLOSED", session_ttl_sec=0.001)
            wait_for(lambda bundle=bundle: bundle.context.get_session(dfid) is None)

    @rule(dfid=few_ids)
    def let_session_end_late(self, dfid):
        for bundle in self.bundles:
            bundle.lifecycle.close_flow(dfid, "CLOSED", session_ttl_sec=3600)

    @rule(identifier=ids)
    def read(self, identifier):
        self.both("get_session", identifier)
        self.both("get_state", identifier)

    @rule(identifier=few_ids)
    def read_versions(self, identifier):
        self.both("get_session_versioned", identifier)
        self.both("get_state_versioned", identifier)

    def teardown(self):
        self.both_for_each("get_session", IDS)
        self.both_for_each("get_state", IDS)
        self.both_for_each("get_session_versioned", IDS)
        self.both_for_each("get_state_versioned", IDS)


def without_tokens(found: Any) -> Any:
    """An outcome whose tokens and moments, which each store has its own of, only count as such."""
    if found[1] is LeaseLostError:
        return found[:2], found[2]["record"]
    if isinstance(found[-1], Claim):
        claim = found[-1]
        leased = [part is not None for part in (claim.token, claim.expires_at)]
        return found[:2], claim.key, claim.state, claim.result, claim.owner, leased
    if isinstance(found[-1], datetime):
        return found[:2]
    return found


LONG = 3600
SHORT = 0.001
leases = st.sampled_from([LONG, LONG, LONG, 0, None, "1"])


class IdempotencyMachine(TwinMachine):
    """Claims are kept in pairs, the store's and memory's, and are used also when they are over."""

    field = "idempotency"
    fingerprints = st.sampled_from([None, None, None, "", "a", "a", "b", 7])

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[tuple[Any, Any]] = []

    def both_of_claims(self, method, claims, *arguments, **named):
        ours, memorys = (
            outcome(getattr(storage, method), (claim, *arguments), named)
            for storage, claim in zip((self.subject, self.twin), claims, strict=True)
        )
        assert without_tokens(ours) == without_tokens(memorys)
        return ours[-1], memorys[-1]

    def claim_both(self, key, **named):
        claims = self.both_of_claims("claim", (key, key), **named)
        if isinstance(claims[0], Claim):
            self.claims.append(claims)
        return claims

    @rule(key=ids, fingerprint=fingerprints, lease_sec=leases, owner=ids)
    def claim_any(self, key, fingerprint, lease_sec, owner):
        self.claim_both(key, fingerprint=fingerprint, lease_sec=lease_sec, owner=owner)

    @rule(key=st.sampled_from(IDS), fingerprint=st.sampled_from([None, None, "a"]))
    def claim(self, key, fingerprint):
        self.claim_both(key, fingerprint=fingerprint, lease_sec=LONG, owner="me")

    @rule(key=st.sampled_from(IDS))
    def claim_and_die(self, key):
        claim, _ = self.claim_both(key, lease_sec=SHORT, owner="dead")
        if isinstance(claim, Claim) and claim.state is ClaimState.NEW:
            for storage in (self.subject, self.twin):
                assert storage.wait(key, 10).state is ClaimState.NEW

    @rule(key=ids, timeout=st.sampled_from([0, 0, 0, SHORT, -1, None]))
    def wait(self, key, timeout):
        self.both_of_claims("wait", (key, key), timeout)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), lease_sec=leases)
    def renew(self, data, lease_sec):
        self.both_of_claims("renew_claim", data.draw(st.sampled_from(self.claims)), lease_sec)

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        result=st.sampled_from([None, 1.5, "text", {2: (1,), 1: IDS}, {b"k": 1}]),
        ttl_sec=st.sampled_from([None, None, LONG, 0]),
    )
    def complete(self, data, result, ttl_sec):
        claims = data.draw(st.sampled_from(self.claims))
        self.both_of_claims("complete", claims, result, ttl_sec=ttl_sec)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def complete_for_a_moment(self, data):
        claims = data.draw(st.sampled_from(self.claims))
        returned, _ = self.both_of_claims("complete", claims, "short", ttl_sec=SHORT)
        if returned == "short":
            time.sleep(3 * SHORT)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def abandon(self, data):
        self.both_of_claims("abandon", data.draw(st.sampled_from(self.claims)))

    @rule(key=ids, result=json_dicts)
    def set_result(self, key, result):
        self.both("set", key, result)

    @rule(
        key=st.sampled_from(IDS),
        result=st.sampled_from([None, [], "{}", {b"k": 1}, {1: 1, "a": 2}, {2: (1,), 1: IDS}]),
    )
    def set_odd_result(self, key, result):
        self.both("set", key, result)

    @rule(key=ids)
    def read(self, key):
        self.both("get", key)

    def teardown(self):
        self.both_for_each("get", IDS)


class DecisionAuditMachine(TwinMachine):
    field = "decision_audit"

    @rule(
        dfid=ids,
        event=words,
        step_id=words,
        state=words,
        details=st.none() | json_dicts | st.sampled_from([[1], "{}", {b"k": 1}]),
        root_dfid=maybe_ids,
        agent_id=maybe_ids,
        severity=st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "error", None]),
    )
    def record_any(self, dfid, event, **named):
        self.both("record", dfid, event, **named)

    @rule(dfid=st.sampled_from(IDS), event=st.text(max_size=5), details=json_dicts)
    def record(self, dfid, event, details):
        self.both("record", dfid, event, details=details)

    @rule(dfid=ids)
    def read(self, dfid):
        self.both("events_for_dfid", dfid)

    @rule()
    def read_all(self):
        self.both("all_events_chronological")

    # Cursors are each store's own: pairs of both, taken at the same row.

    def __init__(self):
        super().__init__()
        self.cursors = [("", "")]
        self.flow_cursors = [("", "")]

    # Rows of one flow: those of several partitions have no order among each other.
    @rule(
        dfid=st.sampled_from(IDS),
        rows=st.lists(
            st.fixed_dictionaries(
                {"event": st.sampled_from(WORDS[:4])},
                optional={"details": json_dicts, "severity": st.sampled_from(["ERROR", None])},
            ),
            max_size=5,
        ),
    )
    def record_many(self, dfid, rows):
        self.both("record_many", [{"dfid": dfid, **row} for row in rows])

    @rule(rows=st.lists(st.dictionaries(st.sampled_from(["dfid", "event", "at"]), words)))
    def record_any_many(self, rows):
        if len({row.get("dfid") for row in rows}) < 2:
            self.both("record_many", rows)

    def read_on(self, read, pairs, data):
        """Read some rows of both stores from a pair of cursors; keep the pair after them."""
        pair = data.draw(st.sampled_from(pairs))
        rows = data.draw(st.integers(0, 5))
        iterators = [read(store, after) for store, after in zip(self.stores, pair, strict=True)]
        subject, twin = (without_timestamps(list(itertools.islice(one, rows))) for one in iterators)
        assert subject == twin
        pairs.append(tuple(iterator.cursor for iterator in iterators))

    @property
    def stores(self):
        return self.subject, self.twin

    @rule(data=st.data())
    def iterate(self, data):
        self.read_on(lambda store, after: store.iter_events(after=after), self.cursors, data)

    @rule(dfid=st.sampled_from(IDS), data=st.data())
    def iterate_flow(self, dfid, data):
        self.read_on(
            lambda store, after: store.iter_events(dfid, after=after), self.flow_cursors, data
        )

    @rule(data=st.data())
    def follow(self, data):
        self.read_on(
            lambda store, after: store.follow(after=after, timeout_sec=0), self.cursors, data
        )

    @rule(group=st.sampled_from("gh"), data=st.data())
    def commit(self, group, data):
        pair = data.draw(st.sampled_from(self.cursors))
        for store, cursor in zip(self.stores, pair, strict=True):
            store.commit_archived(group, cursor)
        archived = [store.get_archived(group) for store in self.stores]
        subject, twin = (
            without_timestamps(list(store.iter_events(after=cursor)))
            for store, cursor in zip(self.stores, archived, strict=True)
        )
        assert subject == twin

    @rule(group=ids)
    def forget(self, group):
        self.both("forget_group", group)
        self.both("get_archived", group)

    @rule(group=st.sampled_from("gh"))
    def forget_one(self, group):
        self.both("forget_group", group)

    # A number above 0 counts per partition, of which memory has one.
    @rule(
        age=st.sampled_from([None, None, 3600, 0, "1"]),
        number=st.sampled_from([0, 0, 10**6, None, -1]),
    )
    def trim(self, age, number):
        self.both("trim", older_than_sec=age, max_rows=number)

    def teardown(self):
        self.both("all_events_chronological")
        self.both_for_each("events_for_dfid", IDS)


class SagaMachine(TwinMachine):
    field = "saga"

    @rule(dfid=ids, step=words, state=documents)
    def mark_any(self, dfid, step, state):
        self.both("mark_dirty", dfid, step, state)

    @rule(dfid=st.sampled_from(IDS), step=st.sampled_from(["pay", "ship"]))
    def mark(self, dfid, step):
        self.both("mark_dirty", dfid, step, '{"done": []}')

    @rule(dfid=ids)
    def clear(self, dfid):
        self.both("clear_dirty", dfid)

    @rule(dfid=ids)
    def read(self, dfid):
        self.both("get_dirty_state", dfid)

    def __init__(self) -> None:
        super().__init__()
        self.claims: list[tuple[Any, Any]] = []

    @property
    def in_order(self) -> bool:
        """Whether the store has one order of all flows: of several partitions each has its own."""
        keys = getattr(self.subject, "_keys", None)
        return keys is None or keys.partitions == 1

    def claim_all(self, lease_sec, at_most=None):
        def claims(storage):
            return iter(lambda: storage.claim_dirty("me", lease_sec), None)

        self.compare_claims(claims, at_most)

    def compare_claims(self, claims, at_most=None):
        ours, memorys = (
            list(itertools.islice(claims(storage), at_most))
            for storage in (self.subject, self.twin)
        )
        if not self.in_order:
            ours.sort()
            memorys.sort()
        told = [(claim.dfid, *claim[2:4]) for claim in memorys]
        assert [(claim.dfid, *claim[2:4]) for claim in ours] == told
        self.claims += zip(ours, memorys, strict=True)

    @precondition(lambda self: self.in_order)
    @rule()
    def claim(self):
        self.claim_all(LONG, 1)

    @rule()
    def claim_each(self):
        self.claim_all(LONG)

    @rule(dfid=st.sampled_from(IDS), lease_sec=st.sampled_from([LONG, SHORT]))
    def claim_by_name(self, dfid, lease_sec):
        self.compare_claims(
            lambda storage: iter(lambda: storage.claim_dirty("me", lease_sec, dfid), None), 1
        )
        if lease_sec == SHORT:
            time.sleep(3 * SHORT)

    @precondition(lambda self: self.in_order)
    @rule()
    def claim_and_die(self):
        self.claim_all(SHORT, 1)
        time.sleep(3 * SHORT)

    @rule(owner=ids, lease_sec=leases)
    def claim_badly(self, owner, lease_sec):
        if owner not in IDS or lease_sec != LONG:
            self.both("claim_dirty", owner, lease_sec)

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        method=st.sampled_from(["renew_dirty", "release_dirty", "clear_dirty"]),
        lease_sec=leases,
    )
    def end(self, data, method, lease_sec):
        claims = data.draw(st.sampled_from(self.claims))
        more = (lease_sec,) if method == "renew_dirty" else ()
        ours, memorys = (
            outcome(
                getattr(storage, method),
                (claim.dfid, *(() if method == "clear_dirty" else (claim.epoch, *more))),
                {"epoch": claim.epoch} if method == "clear_dirty" else {},
            )
            for storage, claim in zip((self.subject, self.twin), claims, strict=True)
        )
        assert without_tokens(ours) == without_tokens(memorys)

    @rule(dfid=ids, epoch=st.sampled_from([0, 1, 2**63, None, True]))
    def end_what_is_not_claimed(self, dfid, epoch):
        self.both("release_dirty", dfid, epoch)
        self.both("renew_dirty", dfid, epoch, LONG)
        if epoch is not None:
            self.both("clear_dirty", dfid, epoch=epoch)

    @invariant()
    def list_flows(self):
        self.both("get_dirty_flows")

    def teardown(self):
        self.both_for_each("get_dirty_state", IDS)


RESOURCES = ("a", "b", "a:b", "{a}")
EXACT_AMOUNTS = (0, 1, 2, 0.1, 0.2, 0.3, 5, Decimal("0.00000001"), Decimal("90071992.54740993"))
ODD_AMOUNTS = (
    *(1e-9, 5e-9, 1.5e-8, 1 / 3, -0.0, 1e300, float("nan"), float("inf"), -1e-9, -1),
    *(Decimal("92233720368.54775807"), Decimal("92233720368.54775808"), True, "1", None),
)
amounts = st.sampled_from(EXACT_AMOUNTS * 3 + ODD_AMOUNTS)
batches = st.dictionaries(st.sampled_from(RESOURCES), st.sampled_from(EXACT_AMOUNTS), max_size=3)


class ResourceLockMachine(TwinMachine):
    """One thread stands for many hosts: what was told is kept per flow."""

    field = "resource_lock"

    def __init__(self):
        super().__init__()
        # Each store gives its own: pairs of both, in order, the first of which is good for nothing.
        self.tokens = [(1, 1)]
        self.flows = ["a"]

    @rule(dfid=st.sampled_from(IDS), resources=batches)
    def acquire(self, dfid, resources):
        self.both("acquire_batch", dfid, resources, 10)

    @rule(dfid=st.sampled_from(IDS), resources=batches)
    def look_and_acquire(self, dfid, resources):
        for rid in sorted(resources):
            self.both("get_locked_amount", rid, dfid)
        self.both("acquire_batch", dfid, resources, 10)

    @rule(
        dfid=ids,
        resources=st.dictionaries(ids, amounts, max_size=3) | st.sampled_from([None, [], 7]),
        timeout=st.sampled_from([10, 0, 0.5, -1, float("inf"), None, True]),
        capacities=st.none() | st.dictionaries(ids, amounts, max_size=1),
    )
    def acquire_any(self, dfid, resources, timeout, capacities):
        self.both("acquire_batch", dfid, resources, timeout, capacities=capacities)

    @rule(dfid=st.sampled_from(IDS), resources=batches, data=st.data())
    def acquire_within(self, dfid, resources, data):
        capacities = {rid: data.draw(st.sampled_from(EXACT_AMOUNTS)) for rid in resources}
        self.both("acquire_batch", dfid, resources, 10, capacities=capacities)

    @rule(dfid=ids)
    def release(self, dfid):
        self.both("release", dfid)

    @rule(
        dfid=st.sampled_from(IDS),
        resources=batches,
        lease_sec=st.sampled_from([None, 3600]),
        capacity=st.none() | st.sampled_from(EXACT_AMOUNTS),
    )
    def reserve(self, dfid, resources, lease_sec, capacity):
        capacities = None if capacity is None else dict.fromkeys(resources, capacity)
        self.reserve_on_both(dfid, resources, lease_sec=lease_sec, capacities=capacities)

    @rule(
        dfid=ids,
        resources=st.dictionaries(ids, amounts, max_size=3) | st.sampled_from([None, [], 7]),
        lease_sec=st.sampled_from([None, 3600, 0, -1, 1e300, True, "1"]),
        wait_sec=st.sampled_from([0, 0.0, -1, None, "1"]),
        capacities=st.none() | st.dictionaries(ids, amounts, max_size=1),
    )
    def reserve_any(self, dfid, resources, **named):
        self.reserve_on_both(dfid, resources, **named)

    def reserve_on_both(self, *arguments, **named):
        granted = []

        def reserve(store):
            granted.append(store.reserve(*arguments, **named))
            return granted[-1].dfid, granted[-1].resources, granted[-1].expires_at is None

        assert outcome(reserve, [self.subject], {}) == outcome(reserve, [self.twin], {})
        if granted:
            pair = tuple(reservation.fencing_token for reservation in granted)
            assert all(new > old for new, old in zip(pair, self.tokens[-1], strict=True))
            self.tokens.append(pair)
            self.flows.append(granted[0].dfid)

    @rule(data=st.data(), lease_sec=st.sampled_from([3600, 7200, 0, None]))
    def renew(self, data, lease_sec):
        dfid, pair = self.choose(data)
        self.both_with_token(pair, lambda store, token: bool(store.renew(dfid, token, lease_sec)))

    @rule(data=st.data())
    def release_with_token(self, data):
        dfid, pair = self.choose(data)
        self.both_with_token(pair, lambda store, token: store.release(dfid, fencing_token=token))

    @rule(data=st.data(), used=batches)
    def settle_with_token(self, data, used):
        dfid, pair = self.choose(data)
        self.both_with_token(
            pair, lambda store, token: store.settle(dfid, used, fencing_token=token)
        )

    @rule(dfid=st.sampled_from(IDS), used=batches)
    def settle(self, dfid, used):
        self.both("settle", dfid, used)

    @rule(
        dfid=ids,
        used=st.dictionaries(ids, amounts, max_size=2) | st.sampled_from([None, [], 7]),
        token=st.sampled_from([None, 0, 1, "1", 2**63]),
    )
    def settle_any(self, dfid, used, token):
        self.both("settle", dfid, used, fencing_token=token)

    def choose(self, data):
        """A flow that reserved once and its token, or another flow's."""
        number = data.draw(st.integers(0, len(self.tokens) - 1))
        dfid = data.draw(st.sampled_from([self.flows[number]] * 9 + list(IDS)))
        return dfid, self.tokens[number]

    def both_with_token(self, pair, call):
        subject, twin = pair
        expected = outcome(call, [self.twin, twin], {})
        answered = outcome(call, [self.subject, subject], {})
        if expected[1] is LeaseLostError:
            assert (answered[1], answered[2]["record"]) == (LeaseLostError, expected[2]["record"])
            assert answered[2]["token"] == subject
        else:
            assert answered == expected

    @rule(rid=st.sampled_from(RESOURCES))
    def holders(self, rid):
        seen, expected = (
            {
                holder._replace(
                    since=None,
                    until=holder.until is None,
                    fencing_token=tokens.index(holder.fencing_token),
                )
                for holder in store.holders(rid)
            }
            for store, tokens in zip(
                (self.subject, self.twin), zip(*self.tokens, (None, None), strict=True), strict=True
            )
        )
        assert seen == expected

    @rule(rid=ids)
    def holders_of_any(self, rid):
        assert outcome(lambda store: bool(store.holders(rid)), [self.subject], {}) == outcome(
            lambda store: bool(store.holders(rid)), [self.twin], {}
        )

    @rule(rid=st.sampled_from(RESOURCES), capacity=st.none() | amounts)
    def set_capacity(self, rid, capacity):
        self.both("set_capacity", rid, capacity)

    @rule(rid=ids)
    def get_capacity(self, rid):
        self.both("get_capacity", rid)

    @rule(rid=ids, dfid=ids)
    def look(self, rid, dfid):
        self.both("get_locked_amount", rid, dfid)

    @invariant()
    def totals(self):
        self.both_for_each("get_locked_amount", RESOURCES, "nobody")

    def teardown(self):
        self.both_for_each("get_capacity", IDS)
        self.both_for_each("get_locked_amount", IDS, "nobody")
        self.both_for_each("release", IDS)
        self.both_for_each("get_locked_amount", IDS, "nobody")
        for rid in IDS:
            assert self.subject.get_locked_amount(rid, "nobody") == 0.0


class DecisionLedgerMachine(TwinMachine):
    field = "decision_ledger"

    @rule(
        dfid=ids, payload=json_dicts | st.sampled_from([None, [], {1: 2}]), context_ref=words,
        signature=words, agent_id=ids, root_dfid=maybe_ids,
    )  # fmt: skip
    def append(self, dfid, payload, context_ref, signature, agent_id, root_dfid):
        intent = SimpleNamespace(
            dfid=dfid, intent_payload=payload, context_ref=context_ref, evidence_hash="e",
            signature=signature,
        )  # fmt: skip
        self.both("append", intent, agent_id=agent_id, root_dfid=root_dfid)

    @rule(dfid=ids)
    def append_the_same_or_another(self, dfid):
        intent = SimpleNamespace(
            dfid=dfid, intent_payload={}, context_ref="", evidence_hash="e", signature=None
        )
        self.both("append", intent, agent_id="a")

    @rule(dfid=ids)
    def read(self, dfid):
        self.both("get_by_dfid", dfid)
        self.both("entries_for_dfid", dfid)

    @rule()
    def count(self):
        self.both("count_entries")

    def teardown(self):
        self.both("all_entries_chronological")
        assert self.subject.verify_ledger().intact
        assert self.subject.verify_ledger().verified == self.twin.count_entries()


class IntentRetryMachine(TwinMachine):
    field = "intent_retry"

    @rule(dfid=ids, count=st.sampled_from([0, 1, 2, 2**53 + 1, 2**63 - 1, 2**63, -1, True, "1"]))
    def set_count(self, dfid, count):
        self.both("set_count", dfid, count)

    @rule(dfid=ids, limit=st.sampled_from([None, 0, 1, 2, 3, 2**63 - 1, 2**63, -1, True, "1"]))
    def increment(self, dfid, limit):
        self.both("increment", dfid, limit)

    @rule(dfid=ids)
    def delete(self, dfid):
        self.both("delete", dfid)

    @rule(dfid=ids)
    def read(self, dfid):
        self.both("get_count", dfid)

    def teardown(self):
        self.both_for_each("get_count", IDS)


SINCE = (
    *("2000-01-01 00:00:00", "2999-01-01T00:00:00Z", "2000-01-01T00:00:00.5+02:00"),
    *("0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "", "now", "2026-02-30 00:00:00", None),
)


class EscalationMachine(TwinMachine):
    field = "escalation"

    @rule(agent_id=ids)
    def spend(self, agent_id):
        self.both("record_budget_token", agent_id)

    @rule(agent_id=ids, since=st.sampled_from(SINCE))
    def count(self, agent_id, since):
        self.both("get_window_count", agent_id, since)

    @rule(dfid=ids, agent_id=ids, reason=words, context=documents, proposal=documents, impact=words)
    def insert_any(self, dfid, agent_id, reason, context, proposal, impact):
        self.both("insert_request", dfid, agent_id, reason, context, proposal, impact)

    @rule(dfid=st.sampled_from(IDS), agent_id=st.sampled_from(IDS))
    def insert(self, dfid, agent_id):
        self.both("insert_request", dfid, agent_id, "unsure", '{"risk": 1}', '{"buy": 1}', "LOW")

    @rule(dfid=ids, resolved_at=words, decision=words, proposal=documents)
    def resolve_any(self, dfid, resolved_at, decision, proposal):
        self.both("resolve_request", dfid, resolved_at, decision, proposal)

    @rule(dfid=st.sampled_from(IDS))
    def resolve(self, dfid):
        self.both("resolve_request", dfid, "2026-11-23T16:00:00Z", "APPROVED", None)

    @rule(
        dfid=ids,
        agent_id=ids,
        documents=st.tuples(words, documents, documents, words),
        limit=st.sampled_from([0, 1, 3, 2**63 - 1, 2**63, -1, True, None]),
        window=st.sampled_from([3600, 30 * 86_400, 30 * 86_400 + 1, 0, float("nan"), None]),
        deadline=st.sampled_from([None, 3600.5, 0, -1, "1"]),
        default=st.none() | words,
    )
    def escalate_any(self, dfid, agent_id, documents, limit, window, deadline, default):
        self.both(
            "escalate",
            *(dfid, agent_id, *documents),
            limit=limit,
            window_sec=window,
            deadline_sec=deadline,
            default_decision=default,
        )

    @rule(
        dfid=st.sampled_from(IDS),
        agent_id=st.sampled_from(IDS[:2]),
        reason=st.sampled_from(["unsure", "unsure", "sure"]),
        more=st.sampled_from([{}, {"deadline_sec": 3600, "default_decision": "NO"}]),
        replace=st.sampled_from([{}, {"replace": True}, {"replace": False}, {"replace": 1}]),
    )
    def escalate(self, dfid, agent_id, reason, more, replace):
        asked = (dfid, agent_id, reason, '{"risk": 1}', '{"buy": 1}', "LOW")
        self.both("escalate", *asked, limit=3, window_sec=3600, **more, **replace)

    @rule(dfid=st.sampled_from(IDS), default=st.sampled_from(["NO", "", " é\0\n😀"]))
    def escalate_until_the_deadline_has_passed(self, dfid, default):
        named = {"limit": 9, "window_sec": 3600, "deadline_sec": 0.001, "default_decision": default}
        self.both("escalate", dfid, "hasty", "", "", "", "", **named)
        time.sleep(0.002)

    @rule(reviewer=ids, lease=st.sampled_from([3600, 3600, 0, None]))
    def claim(self, reviewer, lease):
        self.both("claim_next", reviewer, lease)

    @rule()
    def claim_until_the_lease_is_over(self):
        self.both("claim_next", "dead", 0.001)
        time.sleep(0.002)

    @rule(dfid=ids, decision=words, by=words, reason=words, proposal=documents)
    def decide_any(self, dfid, decision, by, reason, proposal):
        self.both("resolve", dfid, decision, by=by, reason=reason, proposal_json=proposal)

    @rule(dfid=st.sampled_from(IDS), by=st.none() | st.sampled_from(IDS))
    def decide(self, dfid, by):
        self.both("resolve", dfid, "APPROVED", by=by)

    @rule(dfid=ids, timeout=st.sampled_from([0, -1, None]))
    def look(self, dfid, timeout):
        self.both("get_request", dfid)
        self.both("wait_for_decision", dfid, timeout)

    @invariant()
    def list_pending(self):
        self.both("get_pending_requests")

    def teardown(self):
        self.both_for_each("get_window_count", (*IDS, "hasty"), "2000-01-01 00:00:00")
        self.both_for_each("get_request", IDS)
        while self.twin.claim_next("last", 3600) is not None:
            assert self.subject.claim_next("last", 3600) is not None
        assert self.subject.claim_next("last", 3600) is None
        self.both_for_each("get_request", IDS)


STATUSES = tuple(DEFAULT_TRANSITIONS)
tables = st.sampled_from([None, None, DEFAULT_TRANSITIONS, {"CREATED": ["", "ACTIVE"]}, 7])


class LifecycleMachine(TwinMachine):
    field = "lifecycle"

    @rule(dfid=ids, from_status=words, to_status=words, root_dfid=maybe_ids)
    def record_any(self, dfid, from_status, to_status, root_dfid):
        self.both("record_transition", dfid, from_status, to_status, root_dfid=root_dfid)

    @rule(dfid=st.sampled_from(IDS), to_status=st.sampled_from(["ACTIVE", "CLOSED"]))
    def record(self, dfid, to_status):
        self.both("record_transition", dfid, "CREATED", to_status)

    @rule(dfid=maybe_ids)
    def read(self, dfid):
        self.both("get_transitions", dfid)

    @rule(dfid=ids, expected=words, to=words, allowed=tables, root_dfid=maybe_ids)
    def transition_any(self, dfid, expected, to, **named):
        self.both("transition", dfid, expected, to, **named)

    @rule(dfid=st.sampled_from(IDS[:3]), expected=st.sampled_from(STATUSES), data=st.data())
    def transition(self, dfid, expected, data):
        following = sorted(DEFAULT_TRANSITIONS[expected]) or ["ACTIVE"]
        self.both("transition", dfid, expected, data.draw(st.sampled_from(following)))

    @rule(dfid=ids)
    def status(self, dfid):
        self.both("current_status", dfid)

    @rule(dfid=ids, count=st.integers(0, 3), amount=st.sampled_from(EXACT_AMOUNTS))
    def live(self, dfid, count, amount):
        for call in (
            lambda bundle: bundle.intent_retry.set_count(dfid, count),
            lambda bundle: bundle.context.set_session(dfid, "{}"),
            lambda bundle: bundle.resource_lock.acquire_batch(dfid, {"r": amount}, 10),
        ):
            subject, twin = (outcome(call, [bundle], {}) for bundle in self.bundles)
            assert subject == twin

    @rule(
        dfid=ids,
        status=words,
        expected=st.none() | words,
        event=words,
        details=st.none() | json_dicts | st.sampled_from([[1], {b"k": 1}]),
        agent_id=maybe_ids,
        root_dfid=maybe_ids,
        session_ttl_sec=st.sampled_from([None, 3600, 0, "1"]),
    )
    def close_any(self, dfid, status, **named):
        self.both("close_flow", dfid, status, **named)

    @rule(
        dfid=st.sampled_from(IDS[:3]),
        status=st.sampled_from(["CLOSED", "ABORTED", "CREATED"]),
        expected=st.none() | st.sampled_from(STATUSES),
        ttl=st.sampled_from([None, 3600]),
    )
    def close(self, dfid, status, expected, ttl):
        self.both("close_flow", dfid, status, expected=expected, session_ttl_sec=ttl)

    @rule(dfid=st.sampled_from(IDS))
    def close_for_good(self, dfid):
        self.both("close_flow", dfid, "CLOSED", session_ttl_sec=0.001)
        time.sleep(0.003)  # the time of its session

    @invariant()
    def look_at_what_closing_ends(self):
        subject, twin = (
            [
                without_timestamps(bundle.decision_audit.all_events_chronological()),
                [bundle.intent_retry.get_count(dfid) for dfid in IDS],
                [bundle.context.get_session(dfid) for dfid in IDS],
                bundle.resource_lock.get_locked_amount("r", "nobody"),
            ]
            for bundle in self.bundles
        )
        assert subject == twin

    def teardown(self):
        self.both("get_transitions")
        self.both_for_each("get_transitions", IDS)
        self.both_for_each("current_status", IDS)


@pytest.mark.parametrize("machine", TwinMachine.__subclasses__(), ids=lambda m: m.field)
def test_random_calls_give_the_specified_answers(machine, fresh_bundle_factory):
    bound = type(machine.__name__, (machine,), {"open_store": staticmethod(fresh_bundle_factory)})

    run_state_machine_as_test(bound, settings=SETTINGS)
