"""Ids are any text: however odd, two different ids never meet in one record."""

from __future__ import annotations

import pytest

ODD_IDS = [
    *("a", "A", "b", "a:b", "b:a", "a:b:c", "b:c", ":", "::", "a:", ":a", "a::b"),
    *("{x}", "{x", "x}", "}", "{", "{}", "{dir:0}", "{dir:0}:agent:a", "x"),
    *("*", "?", "a*", "[a]", "[ab]", "%", "_", "a%", "\\", "\\*", "'", '"', "--", ";", "`"),
    *(" ", "  ", "a ", " a", "\n", "a\n", "\r\n", "\t", "\0", "a\0", "a\0b", "\0\0", "\x7f"),
    *("😀", "😀😀", "é", "e\u0301", "ß", "ss", "\u0131", "i", "\u200b", "\ufeff", "\ufeffa"),
    *("x" * 1024, "x" * 1023, "é" * 512, "😀" * 256, "a" * 1023 + "b"),
    *("0", "00", "-0", "1", "1.0", "1e0", "-1", "-", "+", "(", "$", "None", "null", "nil", "true"),
    *("agents", "agents_active", "audit", "meta", "lock_totals", "session", "state", "saga"),
    *("pending", "transitions", "dir", "dir:0", "agent:a", "session:a", "op", "events"),
]
TRICKY_PAIRS = [("a:b", "c"), ("a", "b:c"), ("a:b:c", "a"), ("a", "b"), ("b", "a"), ("a b", "c")]
ENUMERATED = list(enumerate(ODD_IDS))


def test_the_odd_ids_are_different():
    assert len(set(ODD_IDS)) == len(ODD_IDS)


def test_agents_keep_apart(agents):
    for n, agent_id in ENUMERATED:
        agents.upsert_agent(agent_id, f'{{"n": {n}}}', n, "ACTIVE", str(n), None)
        agents.update_status(agent_id, "ACTIVE", f"reason {n}")

    assert agents.list_active_agents() == ODD_IDS
    for n, agent_id in ENUMERATED:
        record = agents.get_agent(agent_id)
        assert (record["agent_id"], record["contract"]) == (agent_id, {"n": n})
        assert (record["priority"], record["agent_version"]) == (n, str(n))
        assert agents.get_status(agent_id) == ("ACTIVE", f"reason {n}")


def test_suspending_one_agent_suspends_no_other(agents):
    for agent_id in ODD_IDS:
        agents.upsert_agent(agent_id, "{}", 1, "ACTIVE", None, None)
    for agent_id in ODD_IDS[::2]:
        agents.update_status(agent_id, "SUSPENDED", "why")

    assert agents.list_active_agents() == ODD_IDS[1::2]


def test_sessions_and_states_keep_apart(context):
    for n, identifier in ENUMERATED:
        context.set_session(identifier, f'"session {n}"', agent_id=identifier)
        context.set_state(identifier, f'"state {n}"')

    for n, identifier in ENUMERATED:
        assert context.get_session(identifier) == f'"session {n}"'
        assert context.get_state(identifier) == f'"state {n}"'


def test_idempotency_results_keep_apart(idempotency):
    for n, key in ENUMERATED:
        idempotency.set(key, {"n": n})

    assert [idempotency.get(key) for key in ODD_IDS] == [{"n": n} for n, _ in ENUMERATED]


def test_audit_rows_keep_apart(audit):
    for n, dfid in ENUMERATED:
        audit.record(dfid, str(n), root_dfid=ODD_IDS[-n - 1], agent_id=dfid)

    assert [row["dfid"] for row in audit.all_events_chronological()] == ODD_IDS
    for n, dfid in ENUMERATED:
        (row,) = audit.events_for_dfid(dfid)
        assert (row["dfid"], row["event"]) == (dfid, str(n))
        assert row["root_dfid"] == ODD_IDS[-n - 1]


def test_dirty_marks_keep_apart(saga):
    for n, dfid in ENUMERATED:
        saga.mark_dirty(dfid, str(n), f'{{"n": {n}}}')

    assert saga.get_dirty_flows() == ODD_IDS
    for n, dfid in ENUMERATED:
        assert saga.get_dirty_state(dfid) == {"failed_step": str(n), "partial_state": {"n": n}}
    for dfid in ODD_IDS[::2]:
        saga.clear_dirty(dfid)
    assert saga.get_dirty_flows() == ODD_IDS[1::2]


def test_holders_of_one_resource_keep_apart(locks):
    for n, dfid in ENUMERATED:
        locks.acquire_batch(dfid, {"seats": n}, 1)

    total = len(ODD_IDS) * (len(ODD_IDS) - 1) // 2
    for n, dfid in ENUMERATED:
        assert locks.get_locked_amount("seats", exclude_dfid=dfid) == float(total - n)
    for dfid in ODD_IDS:
        locks.release(dfid)
    assert locks.get_locked_amount("seats", exclude_dfid="nobody") == 0.0


def test_resources_of_one_holder_keep_apart(locks):
    locks.acquire_batch("f", {rid: n for n, rid in ENUMERATED}, 1)

    for n, rid in ENUMERATED:
        assert locks.get_locked_amount(rid, exclude_dfid="other") == float(n)
        assert locks.get_locked_amount(rid, exclude_dfid="f") == 0.0


def test_flow_and_resource_of_a_reservation_never_run_into_each_other(locks):
    for n, (dfid, rid) in enumerate(TRICKY_PAIRS):
        locks.acquire_batch(dfid, {rid: 2**n}, 1)

    for rid in ("a", "b", "c", "b:c"):
        held = [2**n for n, (_, other) in enumerate(TRICKY_PAIRS) if other == rid]
        assert locks.get_locked_amount(rid, exclude_dfid="nobody") == float(sum(held))
    locks.release("a")
    left = [locks.get_locked_amount(rid, "nobody") for rid in ("a", "b", "c", "b:c")]
    assert left == [20.0, 0.0, 33.0, 0.0]


def test_capacities_keep_apart(locks):
    for n, rid in ENUMERATED:
        locks.set_capacity(rid, n)

    assert [locks.get_capacity(rid) for rid in ODD_IDS] == [n for n, _ in ENUMERATED]
    for n, rid in ENUMERATED:
        assert locks.acquire_batch(rid, {rid: n}, 1) is True


def test_what_was_told_is_kept_apart_by_flow_and_resource(locks):
    locks.get_locked_amount("b:c", exclude_dfid="a")
    locks.get_locked_amount("c", exclude_dfid="a:b")
    locks.acquire_batch("other", {"c": 1}, 1)

    assert locks.acquire_batch("a", {"b:c": 1}, 1) is True
    assert locks.acquire_batch("a:b", {"c": 1}, 1) is False


def test_retry_counts_keep_apart(retries):
    for n, dfid in ENUMERATED:
        retries.set_count(dfid, n + 1)
    assert [retries.get_count(dfid) for dfid in ODD_IDS] == [n + 1 for n, _ in ENUMERATED]

    for dfid in ODD_IDS[::2]:
        retries.delete(dfid)
    assert [bool(retries.get_count(dfid)) for dfid in ODD_IDS] == [
        bool(n % 2) for n, _ in ENUMERATED
    ]


def test_budget_tokens_keep_apart(escalation):
    for n, agent_id in ENUMERATED:
        for _ in range(n % 3):
            escalation.record_budget_token(agent_id)

    counts = [escalation.get_window_count(a, "2000-01-01 00:00:00") for a in ODD_IDS]
    assert counts == [n % 3 for n, _ in ENUMERATED]


def test_requests_keep_apart(escalation):
    for n, dfid in ENUMERATED:
        escalation.insert_request(dfid, ODD_IDS[-n - 1], str(n), f"[{n}]", f"[{n}]", "LOW")

    requests = escalation.get_pending_requests()
    assert [request["dfid"] for request in requests] == ODD_IDS
    assert [request["agent_id"] for request in requests] == ODD_IDS[::-1]
    assert [request["context"] for request in requests] == [[n] for n, _ in ENUMERATED]
    for dfid in ODD_IDS[::2]:
        escalation.resolve_request(dfid, "2026-11-23T16:00:00Z", "APPROVED", None)
    assert [r["dfid"] for r in escalation.get_pending_requests()] == ODD_IDS[1::2]


def test_transitions_keep_apart(lifecycle):
    for n, dfid in ENUMERATED:
        lifecycle.record_transition(dfid, str(n), "ACTIVE", root_dfid=ODD_IDS[-n - 1])

    assert [row["dfid"] for row in lifecycle.get_transitions()] == ODD_IDS
    for n, dfid in ENUMERATED:
        (row,) = lifecycle.get_transitions(dfid)
        assert (row["dfid"], row["from_status"]) == (dfid, str(n))
        assert row["root_dfid"] == ODD_IDS[-n - 1]


@pytest.mark.parametrize("identifier", ["a", "a:b", "{x}", "\0", "meta", "audit"])
def test_records_of_different_kinds_under_one_id_keep_apart(bundle, identifier):
    bundle.agent_registry.upsert_agent(identifier, '["agent"]', 1, "ACTIVE", None, None)
    bundle.context.set_session(identifier, '"session"')
    bundle.context.set_state(identifier, '"state"')
    bundle.idempotency.set(identifier, {"is": "result"})
    bundle.decision_audit.record(identifier, "row")
    bundle.saga.mark_dirty(identifier, "mark", "{}")
    bundle.resource_lock.set_capacity(identifier, 5)
    bundle.resource_lock.acquire_batch(identifier, {identifier: 2}, 1)
    bundle.intent_retry.set_count(identifier, 3)
    bundle.escalation.record_budget_token(identifier)
    bundle.escalation.insert_request(identifier, identifier, "request", "{}", "{}", "LOW")
    bundle.lifecycle.record_transition(identifier, "from", "to")

    assert bundle.agent_registry.get_agent(identifier)["contract"] == ["agent"]
    assert bundle.context.get_session(identifier) == '"session"'
    assert bundle.context.get_state(identifier) == '"state"'
    assert bundle.idempotency.get(identifier) == {"is": "result"}
    assert bundle.decision_audit.events_for_dfid(identifier)[0]["event"] == "row"
    assert bundle.saga.get_dirty_state(identifier)["failed_step"] == "mark"
    assert bundle.resource_lock.get_capacity(identifier) == 5
    assert bundle.resource_lock.get_locked_amount(identifier, "nobody") == 2.0
    assert bundle.intent_retry.get_count(identifier) == 3
    assert bundle.escalation.get_window_count(identifier, "2000-01-01 00:00:00") == 1
    assert bundle.escalation.get_pending_requests()[0]["reason"] == "request"
    assert bundle.lifecycle.get_transitions(identifier)[0]["to_status"] == "to"
