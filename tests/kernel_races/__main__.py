"""``python -m tests.kernel_races``: what survives each race, as a table in Markdown."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from dir_redis.embedded import valkey_binary
from tests.kernel_races.hosts import HOSTS, KERNEL, UNMODIFIED, Hosts
from tests.kernel_races.races import RACES
from tests.kernel_races.running import run_race
from tests.servers import server

FLEETS = {
    "all dir-core's own": [UNMODIFIED] * HOSTS,
    "four of each": [UNMODIFIED, KERNEL] * (HOSTS // 2),
    "all dir_redis.kernel": [KERNEL] * HOSTS,
}


def table(hosts: Hosts, url: str) -> Iterator[str]:
    """The lines of the table, each as soon as it has been measured."""
    heads = ["manager", "what is counted", "right", *FLEETS]
    yield f"| {' | '.join(heads)} |"
    yield f"|---|---|{'---:|' * (len(heads) - 2)}"
    for race in RACES:
        counts = [
            run_race(race, hosts, url, f"race-{uuid.uuid4().hex[:12]}", modules).survived
            for modules in FLEETS.values()
        ]
        cells = [f"`{race.manager}`", race.what, *map(str, [race.right, *counts])]
        yield f"| {' | '.join(cells)} |"
    yield f"\ndir-core {version('dir-core')}, {HOSTS} processes"


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        server(valkey_binary(), Path(folder)) as running,
        contextlib.closing(Hosts()) as hosts,
    ):
        for line in table(hosts, running.url):
            sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
