"""The fixed rules that stand for agents, brokers and humans: pure functions of their arguments."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

QUIET_DEVIATION = 0.03
VALUE_PER_DEVIATION = 120_000.0
MAX_ORDER_VALUE = 30_000.0
HUMAN_ABOVE_VALUE = 22_000.0
HUMAN_TRUSTS_VALUE = 28_000.0
ONE_FAILURE_IN = 14


@dataclass(frozen=True, slots=True)
class Order:
    """Shares to trade at a price in US dollars; both sides tie up their value until settled."""

    side: Literal["BUY", "SELL"]
    shares: int
    price: float

    @property
    def value(self) -> float:
        """What the order ties up, US dollars to the cent."""
        return round(self.shares * self.price, 2)

    @property
    def change(self) -> int:
        """What the order adds to a position, in shares; negative for a sale."""
        return self.shares if self.side == "BUY" else -self.shares

    def as_dict(self) -> dict[str, Any]:
        """The order as it is stored in proposals, audit rows and results."""
        return {**asdict(self), "value": self.value, "change": self.change}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Order:
        """The order that ``as_dict`` stored."""
        return cls(stored["side"], stored["shares"], stored["price"])

    def resized(self, shares: int) -> Order:
        """The same order for another number of shares."""
        return Order(self.side, shares, self.price)


def propose(prices: Sequence[float]) -> Order | None:
    """Follow the trend: buy above the window's mean, sell below, and the more the farther.

    Args:
        prices: closing prices, the current one last.

    Returns:
        The order, or None when the price is within 3 % of the mean.
    """
    price = prices[-1]
    deviation = price / fmean(prices) - 1
    if abs(deviation) < QUIET_DEVIATION:
        return None
    value = min(MAX_ORDER_VALUE, VALUE_PER_DEVIATION * abs(deviation))
    return Order("BUY" if deviation > 0 else "SELL", max(1, int(value / price)), price)


def needs_human(order: Order) -> bool:
    """Whether an order is too large for an agent alone."""
    return order.value > HUMAN_ABOVE_VALUE


def judge(order: Order) -> Order | None:
    """The human's rule: very large purchases are halved, very large sales refused.

    Returns:
        The order that may be placed, or None.
    """
    if order.value <= HUMAN_TRUSTS_VALUE:
        return order
    if order.side == "SELL":
        return None
    return order.resized(max(1, order.shares // 2))


def filled_before_failure(dfid: str, order: Order) -> int | None:
    """The broker's rule: some orders break off half-way, always the same ones.

    Returns:
        How many shares went through before the failure, or None if the order succeeds.
    """
    if zlib.crc32(dfid.encode()) % ONE_FAILURE_IN:
        return None
    return order.shares // 2
