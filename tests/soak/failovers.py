"""A Sentinel service and a cluster under faults: replicas take over, slots move, links are cut.

Each acknowledged write is confirmed by every replica there is, so whichever takes over has it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from dir_redis import StorageBundle, verify_store
from examples.signals import begun_whole, signals_collected
from tests.faults.cluster_of_six import ClusterOfSix, cluster_of_six
from tests.faults.failover import FAULTS, Setup, fail_over, opened
from tests.faults.sentinel_service import sentinel_service
from tests.faults.writers import NONE_LOST, Writers, writing
from tests.soak.kinds import Turns
from tests.soak.report import Report

NAMESPACE = "soak"
PARTITIONS = 3


def soak_sentinel(folder: Path, *, seconds: float, seed: int, report: Report) -> None:
    """The same with a Sentinel service as with one server."""
    with begun_whole(sentinel_service(folder)) as service:
        _soak("Sentinel service", service, 2, seconds, Random(f"{seed} sentinel"), report)


def soak_cluster(folder: Path, *, seconds: float, seed: int, report: Report) -> None:
    """The same with a cluster."""
    with begun_whole(cluster_of_six(folder)) as cluster:
        _soak("cluster", cluster, 1, seconds, Random(f"{seed} cluster"), report)


def _soak(
    name: str, setup: Setup, replicas: int, seconds: float, random: Random, report: Report
) -> None:
    durability = f"replicas={replicas}"
    with opened(setup, NAMESPACE, partitions=PARTITIONS, durability=durability) as bundle:
        with begun_whole(writing(bundle)) as writers, report.watching(name):
            faults = _faults(setup, writers)
            turns = Turns(faults, seconds, random, report)
            for kind in turns:
                turns.make(kind, faults[kind])
                writers.go_on()
                with signals_collected():  # a server half started would be left behind
                    setup.repair()
                writers.go_on()
        counts = {
            what: sum(getattr(one, what) for one in writers.each)
            for what in ("acknowledged", "unconfirmed", "unknown")
        }
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        gap = writers.longest_gap()
        report.say(f"{name}: writes {told}; at most {gap:.1f} s without an answer")
        report.counted(turns.made)
        with report.watching(name):
            _judge(name, bundle, writers, report)


def _judge(name: str, bundle: StorageBundle, writers: Writers, report: Report) -> None:
    for failure in writers.failures:
        report.wrong(f"{name}: a caller met {failure!r}")
    lost, doubled = writers.lost(bundle), writers.doubled(bundle)
    if lost != NONE_LOST:
        report.wrong(f"{name}: acknowledged and confirmed, and lost: {lost}")
    if doubled != NONE_LOST:
        report.wrong(f"{name}: applied more often than asked for: {doubled}")
    for key, kind, problem in verify_store(bundle).findings:
        report.wrong(f"{name}: {kind}: {key!r} {problem}")


def _faults(setup: Setup, writers: Writers) -> dict[str, Callable[[], bool]]:
    def cut_off_replicas() -> bool:
        primary = setup.primary(NAMESPACE)
        setup.proxy.cut(primary.door, *(one.source for one in setup.replicas(NAMESPACE)))
        return True

    def lose_replies() -> bool:
        setup.proxy.lose_replies(3, to=b"EVAL")
        writers.go_on()
        hit: int = setup.proxy.lose_nothing()
        return hit > 0

    def forget_scripts() -> bool:
        return all(node.admin.script_flush() for node in setup.nodes)

    def put_primary_out(how: str) -> bool:
        return fail_over(setup, NAMESPACE, FAULTS[how]) is not None

    def move_slot() -> bool:
        home = setup.primary(NAMESPACE)
        others = [node for node in setup.nodes if node is not home]
        to = next(node for node in others if node.info("replication")["role"] == "master")
        return len(list(setup.move_slot(NAMESPACE, to, step=50))) > 0

    faults: dict[str, Callable[[], bool]] = {
        "replicas cut off": cut_off_replicas,
        "replies lost": lose_replies,
        "scripts forgotten": forget_scripts,
        **{f"primary {how}": partial(put_primary_out, how) for how in FAULTS},
    }
    if isinstance(setup, ClusterOfSix):
        faults["slot moved"] = move_slot
    return faults
