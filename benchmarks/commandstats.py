"""The server's own count of its time per call (INFO commandstats)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Probe:
    """A method whose cost should not depend on how much is stored.

    Attributes:
        title: what the two stores hold, in words.
        command: what it sends; empty for a script or else the one command there is.
        stores: the calls of one turn, on the small and on the large store.
        clean_up: what follows a turn, not counted.
        prepare: what comes before a turn, not counted.
    """

    title: str
    command: str
    stores: dict[str, Callable[[], object]]
    clean_up: dict[str, Callable[[], object]]
    prepare: dict[str, Callable[[], object]] = field(default_factory=dict)


def measure(client: Any, probe: Probe) -> dict[str, float]:
    """Median microseconds per call on each store."""
    times: dict[str, list[float]] = {name: [] for name in probe.stores}
    order = list(probe.stores)
    for number in range(ROUNDS + 1):
        for name in order:
            probe.prepare.get(name, int)()
            client.config_resetstat()
            probe.stores[name]()
            told = _sent(client.info("commandstats"), probe.command)
            probe.clean_up.get(name, int)()
            if number:
                times[name].append(told["usec"] / told["calls"])
        order.reverse()
    return {name: median(rounds) for name, rounds in times.items()}


def _sent(stats: dict[str, Any], command: str) -> dict[str, Any]:
    """The statistics of the command that was sent; a script's include what it calls."""
    if command:
        told: dict[str, Any] = stats[f"cmdstat_{command}"]
        return told
    own = {
        name: told for name, told in stats.items() if "config" not in name and "info" not in name
    }
    return own.get("cmdstat_evalsha") or max(own.values(), key=lambda told: told["usec"])
