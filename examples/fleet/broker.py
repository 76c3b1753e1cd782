"""The world outside: a broker that knows orders by flow and refuses what bears an old token.

It stands for an outside system with a ledger of its own; that the ledger lies in the same store
saves the demo a server. Each change of an order is one compare-and-set of its entry.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from dir_redis import StorageBundle, VersionConflictError
from examples.fleet.strategy import Order, filled_before_failure


class OrderState(StrEnum):
    """How it stands with an order at the broker."""

    UNKNOWN = "UNKNOWN"
    WORKING = "WORKING"
    FILLED = "FILLED"
    BROKEN_OFF = "BROKEN_OFF"
    CANCELLED = "CANCELLED"


class OrderRefusedError(Exception):
    """The broker refuses: it has seen a larger token for the flow, or the order was cancelled."""


@dataclass(slots=True)
class Entry:
    """A flow's one order in the broker's ledger.

    Attributes:
        state: how it stands with it.
        order: the order.
        tokens: the fencing tokens it was placed with.
        refused: tokens that were refused.
        fills: the token and the shares of each execution: one, if all is well.
        reversals: the shares of each reversal.
    """

    state: str = OrderState.UNKNOWN
    order: dict[str, Any] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    fills: list[tuple[int, int]] = field(default_factory=list)
    reversals: list[int] = field(default_factory=list)

    @property
    def executed(self) -> bool:
        """Whether the order was executed, in whole or in part."""
        return self.state in (OrderState.FILLED, OrderState.BROKEN_OFF)

    @property
    def filled(self) -> int:
        """How many shares went through."""
        return sum(shares for _, shares in self.fills)


class Broker:
    """The broker's desk.

    Args:
        store: where it keeps its ledger.
    """

    def __init__(self, store: StorageBundle) -> None:
        self._context = store.context

    def look_up(self, dfid: str) -> Entry:
        """How it stands with a flow's order."""
        return self._read(dfid)[0]

    def place(self, dfid: str, order: Order, fencing_token: int) -> Entry:
        """Place a flow's order; placing it again, with a newer token, does not execute it again.

        Raises:
            OrderRefusedError: a larger token was seen, or the order was cancelled.
        """

        def change(entry: Entry) -> None:
            if not entry.executed:
                entry.state, entry.order = OrderState.WORKING, order.as_dict()
            if fencing_token not in entry.tokens:
                entry.tokens.append(fencing_token)

        return self._change(dfid, change, fencing_token)

    def settle(self, dfid: str, fencing_token: int) -> Entry:
        """Execute a flow's order, unless it was executed; some break off half-way.

        Raises:
            OrderRefusedError: a larger token was seen, or the order was cancelled.
        """

        def change(entry: Entry) -> None:
            if entry.executed:
                return
            order = Order.from_dict(entry.order)
            shares = filled_before_failure(dfid, order)
            entry.state = OrderState.FILLED if shares is None else OrderState.BROKEN_OFF
            entry.fills.append((fencing_token, order.shares if shares is None else shares))

        return self._change(dfid, change, fencing_token)

    def cancel(self, dfid: str) -> Entry:
        """Cancel a flow's order unless it was executed; it can never be placed again."""

        def change(entry: Entry) -> None:
            if not entry.executed:
                entry.state = OrderState.CANCELLED

        return self._change(dfid, change)

    def reverse(self, dfid: str) -> Entry:
        """Reverse what an order that broke off had filled, unless that was done."""

        def change(entry: Entry) -> None:
            if not entry.reversals:
                entry.reversals.append(entry.filled)

        return self._change(dfid, change)

    def _read(self, dfid: str) -> tuple[Entry, int]:
        document, version = self._context.get_state_versioned(account_of(dfid))
        return Entry(**json.loads(document)) if document else Entry(), version

    def _change(
        self, dfid: str, change: Callable[[Entry], None], fencing_token: int | None = None
    ) -> Entry:
        while True:
            entry, version = self._read(dfid)
            refused = fencing_token is not None and (
                entry.state == OrderState.CANCELLED or fencing_token < max(entry.tokens, default=0)
            )
            if refused:
                entry.refused.append(fencing_token or 0)
            else:
                change(entry)
            try:
                self._context.set_state(
                    account_of(dfid), json.dumps(asdict(entry)), expected_version=version
                )
            except VersionConflictError:
                continue  # somebody else changed it meanwhile: look again
            if refused:
                raise OrderRefusedError(f"order of {dfid!r} refused with token {fencing_token}")
            return entry


def account_of(dfid: str) -> str:
    """Where the broker keeps a flow's order."""
    return f"broker:{dfid}"
