"""The world outside: a broker that fills whatever order it gets, as often as it gets it.

It answers what it has filled, so a step that was cut off can be looked up before it is done again.
That is enough as long as one process at a time does the step. What it did stands in the store's
audit log, which saves the demo a server.
"""

from __future__ import annotations

import time
from typing import Any

from examples.fleet.strategy import Order, filled_before_failure

FILLED, REVERSED = "FILLED", "REVERSED"
LATENCY_SEC = 0.03


class Broker:
    """The broker's desk.

    Args:
        audit: dir-core's AuditStore, where the broker keeps its log.
        client: the process that calls.
    """

    def __init__(self, audit: Any, client: str) -> None:
        self._audit = audit
        self._client = client

    def look_up(self, dfid: str, event: str) -> dict[str, Any] | None:
        """What was filled or reversed for a flow, or None."""
        rows = self._audit.events_for_dfid(account_of(dfid))
        return next((row["details"] for row in rows if row["event"] == event), None)

    def place(self, dfid: str, order: Order) -> dict[str, Any]:
        """Fill an order; some break off half-way."""
        time.sleep(LATENCY_SEC)
        shares = filled_before_failure(dfid, order)
        filled = {
            "shares": order.shares if shares is None else shares,
            "whole": shares is None,
            "client": self._client,
        }
        self._audit.record(account_of(dfid), FILLED, details=filled)
        return filled

    def reverse(self, dfid: str, shares: int) -> None:
        """Reverse what an order that broke off had filled."""
        time.sleep(LATENCY_SEC)
        details = {"shares": shares, "client": self._client}
        self._audit.record(account_of(dfid), REVERSED, details=details)


def account_of(dfid: str) -> str:
    """Where the broker keeps a flow's order."""
    return f"broker:{dfid}"
