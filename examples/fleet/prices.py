"""Real monthly closing prices, and the decisions they call for: one per symbol and month."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

PRICES_FILE = Path(__file__).parents[1] / "data" / "stocks.csv"
WINDOW_MONTHS = 6


@dataclass(frozen=True, slots=True)
class Quote:
    """A symbol's closing price in a month, US dollars."""

    symbol: str
    month: date
    price: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What one flow decides: whether to trade a symbol in a month.

    Attributes:
        dfid: the flow, the same for whoever gets the decision to make.
        symbol: what to trade.
        prices: the closing prices of up to six months, the decision's own last.
    """

    dfid: str
    symbol: str
    prices: tuple[float, ...]

    @property
    def fingerprint(self) -> str:
        """The same for the same decision only; under one dfid there must be no other."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


def read_quotes(path: Path = PRICES_FILE) -> list[Quote]:
    """Read a file of ``symbol,date,price`` with dates like ``Jan 1 2000``."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Quote(
                row["symbol"],
                datetime.strptime(row["date"], "%b %d %Y").date(),
                float(row["price"]),
            )
            for row in csv.DictReader(file)
        ]


def decisions(quotes: Iterable[Quote], *, months: int | None = None) -> list[Decision]:
    """Turn quotes into decisions, in order of month and then symbol.

    Args:
        quotes: in any order.
        months: how many months of each symbol to take, from its first; None takes all.
    """
    history: defaultdict[str, list[Quote]] = defaultdict(list)
    dated: list[tuple[date, Decision]] = []
    for quote in sorted(quotes, key=lambda quote: (quote.month, quote.symbol)):
        past = history[quote.symbol]
        if months is not None and len(past) >= months:
            continue
        past.append(quote)
        window = tuple(each.price for each in past[-WINDOW_MONTHS:])
        dfid = f"{quote.symbol}-{quote.month:%Y-%m}"
        dated.append((quote.month, Decision(dfid, quote.symbol, window)))
    return [decision for _, decision in dated]


def symbol_of(dfid: str) -> str:
    """The symbol that a flow decides about."""
    return dfid.partition("-")[0]
