"""Fleets of eight processes, some killed or paused at any moment: one order explains what they saw.

What the workers were told is recorded call by call and judged afterwards; see checkers.py for what
must hold of each topic, and test_teeth.py for what the checks find when a protection is missing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CLUSTER_PARTITIONS, SERVERS
from tests.histories.fleet import Fleet, run_fleet
from tests.histories.history import History
from tests.histories.workloads import TOPICS, Topic, outcome_of

SECONDS = 3.0
SEED_VARIABLE = "DIR_REDIS_TEST_SEED"

Run = Callable[..., History]


@pytest.fixture
def run(namespace: str, tmp_path: Path, request: pytest.FixtureRequest) -> Run:
    """Runs a fleet on a store; what its workers did. A failure tells the seed."""
    seed = int(os.environ.get(SEED_VARIABLE) or secrets.randbits(32))
    request.node.add_report_section("call", "seed", f"{SEED_VARIABLE}={seed} repeats the choices")

    def run_on(url: str, *topics: Topic, **options: Any) -> History:
        fleet = Fleet(
            turns=[topic.turn for topic in topics],
            url=url,
            namespace=None if url.startswith("sqlite") else namespace,
            folder=tmp_path / "calls",
            seconds=SECONDS,
            finishes=[topic.finish for topic in topics if topic.finish is not None],
            seed=seed,
            **options,
        )
        history = run_fleet(fleet)
        request.node.add_report_section("call", "history", str(history))
        return history

    return run_on


@pytest.mark.parametrize("real_server", SERVERS[:1], indirect=True)
@pytest.mark.parametrize("topic", TOPICS)
def test_one_order_explains_each_topic(run: Run, server_url: str, topic: str) -> None:
    history = run(server_url, TOPICS[topic])

    assert TOPICS[topic].check(history) == []
    assert history.killed
    assert TOPICS[topic].contested <= {outcome_of(call) for call in history.operations}


@pytest.mark.parametrize("real_server", SERVERS[1:], indirect=True)
def test_one_order_explains_all_topics_at_once(run: Run, server_url: str, real_server: str) -> None:
    partitions = CLUSTER_PARTITIONS if real_server == "cluster" else None
    history = run(server_url, *TOPICS.values(), partitions=partitions)

    for topic in TOPICS.values():
        assert topic.check(history) == []
    assert history.killed


@pytest.mark.parametrize("topic", ["run_once", "reservations"])
def test_one_order_explains_what_processes_do_with_a_file(
    run: Run, tmp_path: Path, topic: str
) -> None:
    history = run(f"sqlite:///{tmp_path / 'store.db'}", TOPICS[topic], workers=4)

    assert TOPICS[topic].check(history) == []
    assert history.killed
