"""One race, run to its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dir_redis import open_storage
from tests.kernel_races.hosts import Hosts
from tests.kernel_races.races import Race


class Outcome(NamedTuple):
    """How much of what the race counts survived, and what each host returned."""

    survived: int
    answers: list[Any]


def run_race(race: Race, hosts: Hosts, url: str, namespace: str, modules: Sequence[str]) -> Outcome:
    """Run a race among hosts, each with the managers of one of these modules."""
    with open_storage(url, namespace=namespace) as bundle:
        race.prepare(bundle)
        answers = hosts.run(race.work, url, namespace, modules)
        return Outcome(race.survived(bundle, answers), answers)
