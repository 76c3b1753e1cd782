"""Records in pages of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

# As many keyed records as one ``RawStore.find`` takes; rows of a log are read as many at a time.
PAGE = 500

T = TypeVar("T")


def pages(records: Iterable[T], size: int = PAGE) -> Iterator[list[T]]:
    """Group what comes into lists of at most some size."""
    rest = iter(records)
    while page := list(islice(rest, size)):
        yield page
