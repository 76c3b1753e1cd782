"""What lies behind the queue of escalations on Redis: sweeping, replies lost, records spoilt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dir_redis import (
    CorruptRecordError,
    EscalationOutcome,
    StorageBundle,
    StorageUnavailableError,
    open_storage,
)
from tests.conftest import SERVERS
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.redis_only.conftest import commands_sent
from tests.redis_only.test_races import PROCESSES, in_processes

LONG_AGO = 1_000_000.0
IN_2100 = 4102444800000000


@pytest.fixture
def tag(namespace: str) -> str:
    return f"{{{namespace}:0}}:"


def ask(bundle: StorageBundle, dfid: str, **changes: Any) -> EscalationOutcome:
    request = {"limit": 1000, "window_sec": 3600.0} | changes
    return bundle.escalation.escalate(dfid, "a", "", "", "", "", **request).outcome


def ask_with_deadline(bundle: StorageBundle, dfid: str) -> None:
    ask(bundle, dfid, deadline_sec=3600, default_decision="NO")


def let_deadline_pass(raw: Any, tag: str, *dfids: str) -> None:
    """As if the deadlines of requests had been long ago."""
    raw.zadd(f"{tag}requests_deadlines", dict.fromkeys(dfids, LONG_AGO))
    raw.hset(f"{tag}requests_terms", mapping=dict.fromkeys(dfids, f"1 {LONG_AGO:.0f} NO"))


# Sweeping


def test_250_passed_deadlines_are_swept_by_the_hundred(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    assert store.escalation.claim_next("maria", 60) is None  # loads its script
    flows = [f"f{number}" for number in range(250)]
    for dfid in flows:
        ask_with_deadline(store, dfid)
    ask(store, "waiting")
    let_deadline_pass(raw, tag, *flows)

    assert [request["dfid"] for request in store.escalation.get_pending_requests()] == ["waiting"]
    ask(store, "waiting")  # a repeat sweeps too
    assert raw.zcard(f"{tag}requests_pending") == 151
    with commands_sent(store) as sent:
        claimed = store.escalation.claim_next("maria", 60)

    assert claimed is not None
    assert claimed["dfid"] == "waiting"
    assert len(sent) == 2
    for name in ("pending", "claimed", "reviewers"):
        key = f"{tag}requests_{name}"
        assert (raw.hlen if name == "reviewers" else raw.zcard)(key) == 1
    assert not raw.exists(f"{tag}requests_deadlines", f"{tag}requests_unclaimed")
    assert raw.hlen(f"{tag}requests_open") == 251  # until somebody looks

    for dfid in flows:
        request = store.escalation.get_request(dfid)
        assert request is not None
        assert (request["decision"], request["by_default"]) == ("NO", True)
    assert raw.hlen(f"{tag}requests_open") == 1
    assert not raw.exists(f"{tag}requests_terms")


def test_250_leases_that_are_over_come_free_by_the_hundred_and_in_their_places(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    flows = [f"f{number}" for number in range(250)]
    for dfid in flows:
        ask(store, dfid)
    claimed = [store.escalation.claim_next("dead", 60) for _ in flows]
    raw.zadd(f"{tag}requests_claimed", dict.fromkeys(reversed(flows), LONG_AGO))

    again = [store.escalation.claim_next("maria", 60) for _ in flows]

    for requests in (claimed, again):
        assert [request["dfid"] for request in requests if request] == flows
    assert not raw.exists(f"{tag}requests_unclaimed")


def test_what_was_swept_stays_decided_though_the_clock_goes_back(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    ask_with_deadline(store, "f")
    let_deadline_pass(raw, tag, "f")
    ask(store, "g")  # sweeps
    raw.hset(f"{tag}requests_terms", "f", f"1 {IN_2100} NO")  # as if the clock was now before

    assert store.escalation.resolve("f", "YES") is False
    request = store.escalation.get_request("f")
    assert request is not None
    assert (request["decision"], request["by_default"]) == ("NO", True)


def test_what_was_swept_gives_way_for_a_token_though_the_clock_goes_back(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    ask_with_deadline(store, "f")
    let_deadline_pass(raw, tag, "f")
    ask(store, "g")  # sweeps
    raw.hset(f"{tag}requests_terms", "f", f"1 {IN_2100} NO")  # as if the clock was now before

    assert ask(store, "f", replace=True) is EscalationOutcome.GRANTED
    assert ask(store, "f", replace=True) is EscalationOutcome.REPEATED
    assert not raw.exists(f"{tag}requests_terms", f"{tag}requests_deadlines", f"{tag}request:f")


@pytest.mark.parametrize(
    "tell",
    [
        lambda b: b.escalation.get_request("f"),
        lambda b: b.escalation.wait_for_decision("f", 0),
        lambda b: b.escalation.resolve("f", "YES"),
        lambda b: b.escalation.resolve_request("f", "now", "YES", None),
    ],
)
def test_a_default_decision_is_written_down_before_anybody_is_told(
    store: StorageBundle, raw: Any, tag: str, tell: Callable[[StorageBundle], Any]
) -> None:
    ask_with_deadline(store, "f")
    let_deadline_pass(raw, tag, "f")
    tell(store)

    assert raw.hget(f"{tag}request:f", "decision") == b"NO"
    assert not raw.exists(*(f"{tag}requests_{name}" for name in ("open", "terms", "pending")))


def test_a_repeat_of_an_overdue_request_leaves_it_as_it_is(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    ask_with_deadline(store, "f")
    let_deadline_pass(raw, tag, "f")

    assert ask(store, "f") is EscalationOutcome.REPEATED
    request = store.escalation.get_request("f")
    assert request is not None
    assert request["by_default"]


def test_tokens_older_than_any_window_are_forgotten_by_the_hundred(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    raw.zadd(f"{tag}budget:a", {f"old{number}": LONG_AGO for number in range(150)})
    raw.zadd(f"{tag}budget:a", {"in the future": IN_2100})

    assert ask(store, "f", limit=1) is EscalationOutcome.BUDGET_EXHAUSTED
    assert raw.zcard(f"{tag}budget:a") == 151
    assert ask(store, "f") is EscalationOutcome.GRANTED
    assert raw.zcard(f"{tag}budget:a") == 52
    assert ask(store, "g") is EscalationOutcome.GRANTED
    assert raw.zcard(f"{tag}budget:a") == 3


def test_requests_stay_in_order_and_can_be_claimed_when_the_servers_clock_goes_back(
    store: StorageBundle, raw: Any, tag: str
) -> None:
    ask(store, "earlier")
    for name in ("pending", "unclaimed"):
        raw.zadd(f"{tag}requests_{name}", {"earlier": IN_2100})
    ask(store, "later")

    claimed = [store.escalation.claim_next("maria", 60) for _ in range(2)]
    assert [request["dfid"] for request in claimed if request] == ["earlier", "later"]


# Replies lost


@pytest.fixture(params=[name for name in SERVERS if name != "cluster"])
def proxy(request: pytest.FixtureRequest, servers: Any) -> Iterator[FaultProxy]:
    with fault_proxy(servers.url(request.param)) as running:
        yield running


@pytest.fixture
def behind_proxy(proxy: FaultProxy, namespace: str) -> Iterator[StorageBundle]:
    with open_storage(proxy.url, namespace=namespace, timeout_sec=3) as bundle:
        yield bundle


@pytest.mark.parametrize("losses", [1, 3])
def test_answers_that_get_lost_come_again_and_nothing_happens_twice(
    proxy: FaultProxy, behind_proxy: StorageBundle, losses: int
) -> None:
    escalation = behind_proxy.escalation
    proxy.lose_replies(losses, to=b"EVAL")
    assert ask(behind_proxy, "é\n", limit=1) is EscalationOutcome.GRANTED
    assert escalation.get_window_count("a", "2000-01-01 00:00:00") == 1
    escalation.insert_request("g", "a", "", "", "", "")

    proxy.lose_replies(losses, to=b"EVAL")
    claimed = escalation.claim_next("maria", 60)
    assert claimed is not None
    assert claimed["dfid"] == "é\n"
    second = escalation.claim_next("otto", 60)
    assert second is not None
    assert second["dfid"] == "g"

    proxy.lose_replies(losses, to=b"EVAL")
    assert escalation.resolve("é\n", "YES", by="maria") is True


def test_a_decision_whose_answer_never_came_is_recognised_by_who_made_it(
    proxy: FaultProxy, behind_proxy: StorageBundle, namespace: str
) -> None:
    ask(behind_proxy, "f")
    with open_storage(proxy.url, namespace=namespace, timeout_sec=0.1) as impatient:
        proxy.lose_replies(10_000, to=b"EVAL")
        with pytest.raises(StorageUnavailableError) as caught:
            impatient.escalation.resolve("f", "YES", by="maria")
    assert caught.value.outcome_unknown
    proxy.lose_replies(0, to=b"EVAL")

    assert behind_proxy.escalation.resolve("f", "YES", by="maria") is False
    request = behind_proxy.escalation.get_request("f")
    assert request is not None
    assert request["decided_by"] == "maria"


def test_who_waits_behind_a_faulty_line_is_told_of_the_decision(
    proxy: FaultProxy, behind_proxy: StorageBundle
) -> None:
    ask(behind_proxy, "f", deadline_sec=0.3, default_decision="NO")
    proxy.lose_replies(2, to=b"XREAD")

    request = behind_proxy.escalation.wait_for_decision("f", 20)
    assert request is not None
    assert request["decision"] == "NO"


def test_who_waits_for_a_new_request_is_not_woken_by_the_decision_of_the_old_one(
    store: StorageBundle,
) -> None:
    ask(store, "f")
    store.escalation.resolve("f", "YES")
    store.escalation.insert_request("f", "a", "", "", "", "")

    with commands_sent(store) as sent:
        assert store.escalation.wait_for_decision("f", 0.2) is None

    assert sum(command[0] == "XREAD" for command in sent) <= 2  # the server may end it just before


# Processes


def escalate_and_claim(bundle: StorageBundle, number: int) -> tuple[int, list[str]]:
    granted = sum(
        ask(bundle, f"f{(number + turn) % PROCESSES}", limit=3) is EscalationOutcome.GRANTED
        for turn in range(PROCESSES)
    )
    claimed = []
    while (request := bundle.escalation.claim_next(str(number), 60)) is not None:
        claimed.append(request["dfid"])
    return granted, claimed


@pytest.mark.parametrize("partitions", [1, 5])
def test_processes_never_spend_more_than_the_budget_nor_review_the_same(
    server_url: str, namespace: str, partitions: int
) -> None:
    with open_storage(server_url, namespace=namespace, partitions=partitions) as bundle:
        outcomes = in_processes(escalate_and_claim, server_url, namespace)

        pending = [request["dfid"] for request in bundle.escalation.get_pending_requests()]
        claimed = [dfid for _, mine in outcomes for dfid in mine]
        assert sum(granted for granted, _ in outcomes) == 3 == len(pending)
        assert sorted(claimed) == sorted(pending)
        assert bundle.escalation.get_window_count("a", "2000-01-01 00:00:00") == 3


# Records spoilt


@pytest.mark.parametrize(
    ("key", "spoil"),
    [
        ("requests_terms", lambda raw, key: raw.hset(key, "f", "garbage")),
        ("requests_terms", lambda raw, key: raw.hset(key, "f", b"1 9 \xff")),
        ("requests_open", lambda raw, key: raw.hset(key, "f", "{")),
        ("requests_open", lambda raw, key: raw.hset(key, "f", "{}")),
        ("requests_open", lambda raw, key: raw.hset(key, "f", "[]")),
        ("requests_reviewers", lambda raw, key: raw.delete(key)),
    ],
)
def test_a_spoilt_request_is_a_corrupt_record_that_names_the_key(
    store: StorageBundle, raw: Any, tag: str, key: str, spoil: Callable[[Any, str], Any]
) -> None:
    ask_with_deadline(store, "f")
    store.escalation.claim_next("maria", 60)
    spoil(raw, tag + key)

    with pytest.raises(CorruptRecordError) as caught:
        store.escalation.get_request("f")

    assert tag + key in caught.value.key


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "RESOLVED"},
        {"request": "{", "decision": "YES", "requested_us": "1", "resolved_us": "1"},
        {"resolved_us": "soon", "decision": "YES"},
        {"requested_us": "9" * 40, "decision": "YES"},
        {"proposal": "{", "decision": "YES"},
    ],
)
def test_a_spoilt_decision_is_a_corrupt_record_that_names_the_key(
    store: StorageBundle, raw: Any, tag: str, fields: dict[str, str]
) -> None:
    ask(store, "f")
    store.escalation.resolve("f", "YES")
    if len(fields) == 1:
        raw.delete(f"{tag}request:f")
    raw.hset(f"{tag}request:f", mapping=fields)

    with pytest.raises(CorruptRecordError) as caught:
        store.escalation.get_request("f")

    assert caught.value.key == f"{tag}request:f"


@pytest.mark.parametrize(
    ("missing", "use"),
    [
        ("requests_pending", lambda b: b.escalation.resolve("f", "YES")),
        ("requests_pending", lambda b: b.escalation.get_request("f")),
        ("requests_pending", lambda b: ask(b, "f", replace=True)),
    ],
)
def test_half_a_request_is_a_corrupt_record_and_nothing_is_written(
    store: StorageBundle, raw: Any, tag: str, missing: str, use: Callable[[StorageBundle], Any]
) -> None:
    ask(store, "f")
    raw.delete(tag + missing)

    with pytest.raises(CorruptRecordError) as caught:
        use(store)

    assert caught.value.key == tag + missing
    assert not raw.exists(f"{tag}requests_claimed", f"{tag}request:f")
    assert raw.zcard(f"{tag}requests_unclaimed") == 1


@pytest.mark.parametrize(
    ("key", "spoil"),
    [
        ("requests_pending", lambda raw, key: raw.zadd(key, {"spoilt": "inf"})),
        ("requests_pending", lambda raw, key: raw.zadd(key, {"spoilt": 2**62})),
        ("requests_pending", lambda raw, key: raw.zrem(key, "spoilt")),
        ("requests_open", lambda raw, key: raw.hdel(key, "spoilt")),
        ("requests_open", lambda raw, key: raw.hset(key, "spoilt", "{")),
        ("requests_terms", lambda raw, key: raw.hset(key, "spoilt", f"1 {2**62} NO")),
    ],
)
def test_a_spoilt_request_keeps_no_others_from_being_claimed(
    store: StorageBundle, raw: Any, tag: str, key: str, spoil: Callable[[Any, str], Any]
) -> None:
    for dfid in ("spoilt", "sound"):
        ask(store, dfid)
    spoil(raw, tag + key)

    with pytest.raises(CorruptRecordError) as caught:
        store.escalation.claim_next("maria", 60)
    claimed = store.escalation.claim_next("otto", 60)

    assert caught.value.key == tag + key
    assert claimed is not None
    assert claimed["dfid"] == "sound"


@pytest.mark.parametrize("score", ["inf", 2**62])
def test_a_spoilt_moment_is_not_that_of_later_requests_too(
    store: StorageBundle, raw: Any, tag: str, score: Any
) -> None:
    ask(store, "spoilt")
    raw.zadd(f"{tag}requests_pending", {"spoilt": score})

    ask(store, "sound")

    request = store.escalation.get_request("sound")
    assert request is not None
    assert request["requested_at"] < "2200"


@pytest.mark.parametrize("score", ["inf", 2**62])
def test_a_spoilt_token_is_a_corrupt_record_that_names_the_budget(
    store: StorageBundle, raw: Any, tag: str, score: Any
) -> None:
    raw.zadd(f"{tag}budget:agent", {"token": score})

    with pytest.raises(CorruptRecordError) as caught:
        store.escalation.escalate(
            "f", "agent", "reason", "{}", "{}", "impact", limit=1, window_sec=60
        )

    assert caught.value.key == f"{tag}budget:agent"
