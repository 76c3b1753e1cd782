"""Which kind of fault is next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random


def in_turn(kinds: Iterable[str], random: Random) -> Iterator[str]:
    """Yield kinds without end: all of them in a random order, then all in another."""
    order = list(kinds)
    while True:
        random.shuffle(order)
        yield from order
