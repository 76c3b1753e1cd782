"""Memory's merges, replacements and registrations are one step each, like its reservations."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dir_redis import StorageBundle, VersionConflictError, memory_storage
from dir_redis.memory import agent_registry, context

THREADS = 8


@pytest.fixture
def met(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], list[bool]]:
    """Make threads wait for each other within a function; the list tells whether they met."""

    def meet_in(module: Any, name: str) -> list[bool]:
        function = getattr(module, name)
        everybody_is_in = threading.Barrier(THREADS)
        met: list[bool] = []

        def wait_for_the_others(*args: Any, **kwargs: Any) -> Any:
            # Breaks after a moment, since the others cannot come in; then it breaks at once.
            with contextlib.suppress(threading.BrokenBarrierError):
                everybody_is_in.wait(0.1)
                met.append(True)
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, wait_for_the_others)
        return met

    return meet_in


@pytest.fixture
def bundle() -> StorageBundle:
    return memory_storage()


def at_once(work: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, range(THREADS)))


def test_no_two_threads_are_within_a_merge(bundle, met):
    together = met(context, "check_object")

    versions = at_once(lambda n: bundle.context.merge_session("f", {str(n): n}))

    assert together == []
    assert sorted(versions) == list(range(1, THREADS + 1))
    assert json.loads(bundle.context.get_session("f")) == {str(n): n for n in range(THREADS)}


def test_one_of_many_threads_replaces_a_version(bundle, met):
    together = met(context, "check_version")

    def replace(number: int) -> bool:
        with contextlib.suppress(VersionConflictError):
            bundle.context.set_state("a", str(number), expected_version=0)
            return True
        return False

    replaced = at_once(replace)

    assert together == []
    assert sum(replaced) == 1
    assert bundle.context.get_state_versioned("a") == (str(replaced.index(True)), 1)


def test_no_two_threads_are_within_a_registration(bundle, met):
    together = met(agent_registry, "registered_status")

    at_once(lambda n: bundle.agent_registry.register("a", "{}", n))

    assert together == []
    assert bundle.agent_registry.get_contract_versioned("a").version == THREADS
