"""Holding a store against the journals of those who wrote to it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dir_redis import StorageBundle
from tests.crash.client import CAPACITY

# The operations of which each one leaves something that can be counted.
COUNTED = ("record", "record_many", "increment", "merge", "transition", "complete", "append")


class Journal(NamedTuple):
    """What one client began, in order, and what of that it was told to be done."""

    name: str
    begun: list[tuple[int, str]]
    acked: int
    acknowledged: set[int]
    ended: dict[str, int]

    @property
    def unacknowledged(self) -> int:
        """How many operations it began and was not told of that they are done."""
        return sum(number not in self.acknowledged for number, _ in self.begun)


def read_journals(folder: Path) -> list[Journal]:
    """The journals of all clients; a line that was cut off is none."""
    journals = []
    for path in sorted(folder.glob("*.journal")):
        begun: list[tuple[int, str]] = []
        acknowledged: set[int] = set()
        acked, ended = 0, {}
        for line in path.read_text().splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if "begun" in said:
                begun.append((said["number"], said["begun"]))
            else:
                acked, ended = said["number"], said["ended"]
                acknowledged.add(acked)
        journals.append(Journal(path.stem, begun, acked, acknowledged, ended))
    return journals


def totals(journals: list[Journal]) -> Counter[str]:
    """How the clients' calls ended."""
    summed: Counter[str] = Counter()
    for journal in journals:
        summed.update(journal.ended)
    return summed


def violations(
    bundle: StorageBundle, journals: list[Journal], *, torn: bool = False, failed: bool = False
) -> Iterator[str]:
    """What the store has otherwise than the journals say.

    Args:
        bundle: the store.
        journals: those of all clients.
        torn: whether the end of the history may be gone; then what is there has to be all of it
            up to some operation.
        failed: whether calls have failed, which then were applied or not; each by itself.
    """
    for journal in journals:
        if failed:
            yield from _of_failing_client(bundle, journal)
        else:
            yield from _of_client(bundle, journal, torn)
    for resource_id, capacity in (("capital", CAPACITY), ("seats", CAPACITY)):
        held = sum(holder.amount for holder in bundle.resource_lock.holders(resource_id))
        if held > capacity:
            yield f"{held} of {resource_id} are held, and there are {capacity}"


def _of_client(bundle: StorageBundle, journal: Journal, torn: bool) -> Iterator[str]:
    found = _found(bundle, journal)
    yield from _halves(found)
    # Between these two operations the history must end, by what each kind has left.
    first, last = (0 if torn else journal.acked), journal.begun[-1][0] if journal.begun else 0
    for kind in COUNTED:
        numbers = [number for number, what in journal.begun if what == kind]
        there: Any = found[kind]
        if isinstance(there, int):
            there = numbers[:there] if there <= len(numbers) else None
        if there != numbers[: len(there or [])] or there is None:
            yield f"{journal.name}: {kind} {found[kind]} is there, and {numbers} was written"
            continue
        first = max([first, *there])
        last = min([last, *(number - 1 for number in numbers[len(there) :])])
    if first > last:
        yield (
            f"{journal.name}: what is there does not end with one operation: it has all up to "
            f"{first}, and not what came after {last}; {journal.acked} was acknowledged; {found}"
        )


def _of_failing_client(bundle: StorageBundle, journal: Journal) -> Iterator[str]:
    found = _found(bundle, journal)
    yield from _halves(found)
    for kind in COUNTED:
        begun = [number for number, what in journal.begun if what == kind]
        acked = [number for number in begun if number in journal.acknowledged]
        there: Any = found[kind]
        if isinstance(there, int):
            fits = len(acked) <= there <= len(begun)
        else:
            fits = set(acked) <= set(there) <= set(begun) and there == sorted(set(there))
        if not fits:
            yield f"{journal.name}: {kind} {there} is there, {acked} was acknowledged of {begun}"


def _halves(found: dict[str, Any]) -> Iterator[str]:
    rows = found["rows of record_many"]
    if rows != [number for number in found["record_many"] for _ in range(3)]:
        yield f"of three rows written at once not each is there once: {rows}"


def _found(bundle: StorageBundle, journal: Journal) -> dict[str, Any]:
    """What each kind of operation has left: the numbers of the operations, or how many."""
    name = journal.name
    rows = [row["details"] for row in bundle.decision_audit.events_for_dfid(name)]
    singles = [row["n"] for row in rows if "i" not in row]
    triples = [row["n"] for row in rows if "i" in row]
    return {
        "record": singles,
        "record_many": list(dict.fromkeys(triples)),
        "rows of record_many": triples,
        "increment": bundle.intent_retry.get_count(name),
        "merge": bundle.context.get_session_versioned(name).version,
        "transition": len(bundle.lifecycle.get_transitions(name)),
        "complete": [
            number
            for number, what in journal.begun
            if what == "complete" and bundle.idempotency.get(f"{name}/{number}") is not None
        ],
        "append": [
            number
            for number, what in journal.begun
            if what == "append" and bundle.decision_ledger.get_by_dfid(f"{name}/{number}")
        ],
    }
