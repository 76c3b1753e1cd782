"""The values that are written and read, of sizes as a fleet has them."""

from __future__ import annotations

import json
from typing import Any

CONTRACT: dict[str, Any] = {
    "role": "executor",
    "mission": "Rebalance the equity book within its limits",
    "allowed_policy_types": ["BUY", "SELL", "HOLD", "REBALANCE"],
    "max_order_value": 250000.0,
    "escalation": {"window_sec": 3600, "budget": 5, "impact_threshold": "HIGH"},
    "tools": ["market_data", "orders", "risk"],
}
SESSION: dict[str, Any] = {
    "market": {"symbol": "ACME", "bid": 101.25, "ask": 101.31, "volume": 1250000},
    "position": {"quantity": 1200, "average_price": 98.4, "unrealized": 3420.0},
    "limits": {"capital": 1000000.0, "leverage": 2.0, "sector": "industrials"},
    "snapshot": "0f3a9c0d6c1b4f5b8f6b2f0c6f6f1d2e",
}
RESULT: dict[str, Any] = {
    "order_id": "ord-20261123-000117",
    "status": "FILLED",
    "filled": 100,
    "price": 101.29,
    "venue": "XNAS",
}
DETAILS: dict[str, Any] = {"policy": "BUY", "quantity": 100, "price": 101.29, "verdict": "ACCEPT"}

CONTRACT_JSON = json.dumps(CONTRACT)
SESSION_JSON = json.dumps(SESSION)
RESULT_JSON = json.dumps(RESULT, sort_keys=True)
DETAILS_JSON = json.dumps(DETAILS, sort_keys=True)
PROPOSAL_JSON = json.dumps({"kind": "BUY", "symbol": "ACME", "quantity": 100, "limit": 101.4})

AGENT_RECORD: dict[str, str | int] = {
    "contract": CONTRACT_JSON,
    "priority": 5,
    "status": "ACTIVE",
    "agent_version": "2.4.1",
    "session_token": "b7f0c2d1a94e4e0f8d7c6b5a4f3e2d1c",
}
RESOURCES = {"capital": 1000.5, "api_quota": 3.0}
SINCE = "2026-01-01 00:00:00"

AUDIT_FIELDS = {
    "event": "INTENT_ACCEPTED",
    "step_id": "validate",
    "state": "VALIDATING",
    "agent_id": "agent-000007",
    "severity": "INFO",
}


def resources_of(dfid: str) -> dict[str, float]:
    """Two resources of a flow's own: dir-core 0.4 cannot keep two holders of one."""
    return {f"{resource} of {dfid}": amount for resource, amount in RESOURCES.items()}


def audit_entry(dfid: str) -> dict[str, str]:
    """The fields of one audit row as a stream keeps them; what is the default is empty."""
    return {
        "dfid": dfid,
        "event": AUDIT_FIELDS["event"],
        "step_id": AUDIT_FIELDS["step_id"],
        "state": AUDIT_FIELDS["state"],
        "details": DETAILS_JSON,
        "root_dfid": "",
        "agent_id": AUDIT_FIELDS["agent_id"],
        "severity": AUDIT_FIELDS["severity"],
    }


def transition_entry(dfid: str) -> dict[str, str]:
    """The fields of one transition as a stream keeps them."""
    return {"dfid": dfid, "from": "VALIDATING", "to": "ACCEPTED", "root_dfid": ""}
