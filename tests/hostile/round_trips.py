"""What a call that succeeded must have left behind: it comes back equal to its JSON round trip."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Any

from dir_redis import StorageBundle

Arguments = dict[str, Any]

_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


def plain(value: Any) -> Any:
    """The text of a str of any class."""
    return str.__str__(value) if isinstance(value, str) else value


def encoded(value: object) -> str:
    """JSON text of a value's round trip; it makes a NaN equal to itself, and 1 unequal to true."""
    text = json.dumps(value, sort_keys=True, default=str)
    return json.dumps(json.loads(text), sort_keys=True)


def document(text: Any) -> str:
    """A document as it comes back parsed, as JSON text."""
    return encoded(json.loads(plain(text) or "{}"))


def _session(bundle: StorageBundle, given: Arguments, _: Any) -> bool:
    return bundle.context.get_session(plain(given["dfid"])) == plain(given["data_json"])


def _state(bundle: StorageBundle, given: Arguments, _: Any) -> bool:
    return bundle.context.get_state(plain(given["agent_id"])) == plain(given["data_json"])


def _merged(stored: str | None, updates: Any) -> bool:
    members = json.loads(stored or "")
    return all(
        encoded(members[plain(key)]) == encoded(value) for key, value in dict(updates).items()
    )


def _result(bundle: StorageBundle, given: Arguments, _: Any) -> bool:
    stored = bundle.idempotency.get(plain(given["key"]))
    return encoded(stored) == encoded(given["result"])


def _row(bundle: StorageBundle, given: Arguments, _: Any) -> bool:
    row = bundle.decision_audit.events_for_dfid(plain(given["dfid"]))[-1]
    return (
        row["event"] == plain(given["event"])
        and row["step_id"] == plain(given.get("step_id", ""))
        and row["state"] == plain(given.get("state", ""))
        and row["root_dfid"] == (plain(given.get("root_dfid")) or plain(given["dfid"]))
        and encoded(row["details"]) == encoded(given.get("details") or {})
    )


def _agent(bundle: StorageBundle, given: Arguments, _: Any) -> bool:
    agent = bundle.agent_registry.get_agent(plain(given["agent_id"])) or {}
    return encoded(agent["contract"]) == document(given["contract_json"]) and all(
        agent[name] == plain(given[name])
        for name in ("agent_id", "status", "agent_version", "session_token")
    )


def _status(bundle: StorageBundle, given: Arguments, known: Any) -> bool:
    expected = (plain(given["status"]), plain(given["suspension_reason"])) if known else None
    return bundle.agent_registry.get_status(plain(given["agent_id"])) == expected


def _mark(bundle: StorageBundle, given: Arguments, _: Any) -> bool:
    state = bundle.saga.get_dirty_state(plain(given["dfid"])) or {}
    return state["failed_step"] == plain(given["failed_step"]) and encoded(
        state["partial_state"]
    ) == document(given["partial_state_json"])


def _transition(bundle: StorageBundle, given: Arguments, _: Any) -> bool:
    row = bundle.lifecycle.get_transitions(plain(given["dfid"]))[-1]
    return (row["from_status"], row["to_status"]) == (
        plain(given["from_status"]),
        plain(given["to_status"]),
    )


def _count(bundle: StorageBundle, given: Arguments, _: Any) -> bool:
    return bundle.intent_retry.get_count(plain(given["dfid"])) == int.__int__(given["count"])


def _request(bundle: StorageBundle, given: Arguments, _: Any) -> bool:
    request = bundle.escalation.get_request(plain(given["dfid"])) or {}
    return (
        encoded(request["context"]) == document(given["context_json"])
        and encoded(request["proposal"]) == document(given["proposal_json"])
        and (request["reason"], request["impact"])
        == (plain(given["reason"]), plain(given["impact"]))
    )


def _entry(bundle: StorageBundle, given: Arguments, _: Any) -> bool:
    pci = given["pci"]
    entry = bundle.decision_ledger.get_by_dfid(plain(pci.dfid)) or {}
    return encoded(entry["intent_payload"]) == encoded(dict(pci.intent_payload))


def amount(value: Any) -> Decimal:
    """An amount as it is kept, at 8 places."""
    if isinstance(value, Fraction):
        value = float(value)
    exact = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    return exact.quantize(Decimal("1e-8"), context=_EXACT)


def _capacity(bundle: StorageBundle, given: Arguments, _: Any) -> bool:
    stored = bundle.resource_lock.get_capacity(plain(given["resource_id"]))
    wanted = given["capacity"]
    return stored == (None if wanted is None else amount(wanted))


def _held(bundle: StorageBundle, given: Arguments, granted: Any) -> bool:
    return not granted or all(
        {holder.dfid: holder.amount for holder in bundle.resource_lock.holders(plain(rid))}.get(
            plain(given["dfid"]), Decimal(0)
        )
        == amount(value)
        for rid, value in dict(given["resources"]).items()
    )


ROUND_TRIPS: dict[str, Callable[[StorageBundle, Arguments, Any], bool]] = {
    "context.set_session": _session,
    "context.set_state": _state,
    "context.merge_session": lambda b, given, _: _merged(
        b.context.get_session(plain(given["dfid"])), given["updates"]
    ),
    "context.merge_state": lambda b, given, _: _merged(
        b.context.get_state(plain(given["agent_id"])), given["updates"]
    ),
    "idempotency.set": _result,
    "decision_audit.record": _row,
    "agent_registry.upsert_agent": _agent,
    "agent_registry.update_status": _status,
    "saga.mark_dirty": _mark,
    "lifecycle.record_transition": _transition,
    "intent_retry.set_count": _count,
    "escalation.insert_request": _request,
    "decision_ledger.append": _entry,
    "resource_lock.set_capacity": _capacity,
    "resource_lock.acquire_batch": _held,
}
