"""The server's own count of its time per call (INFO commandstats)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Probe:
    """A method whose cost should not depend on how much is stored.

    Attributes:
        title: what the two stores hold, in words.
        command: what it sends.
        stores: the calls of one turn, on the small and on the large store.
        clean_up: what follows a turn, not counted.
    """

    title: str
    command: str
    stores: dict[str, Callable[[], object]]
    clean_up: dict[str, Callable[[], object]]


def measure(client: Any, probe: Probe) -> dict[str, float]:
    """Median microseconds per call on each store."""
    times: dict[str, list[float]] = {name: [] for name in probe.stores}
    order = list(probe.stores)
    for number in range(ROUNDS + 1):
        for name in order:
            client.config_resetstat()
            probe.stores[name]()
            told = client.info("commandstats")[f"cmdstat_{probe.command}"]
            probe.clean_up.get(name, int)()
            if number:
                times[name].append(told["usec"] / told["calls"])
        order.reverse()
    return {name: median(rounds) for name, rounds in times.items()}
