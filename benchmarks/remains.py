"""What flows leave behind: bytes of memory and of the append-only file, and kinds of keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.flows import Step, dfid_of, register_agents, run_flow
from benchmarks.report import Table
from benchmarks.servers import plain_client, server
from dir_redis import redis_storage

SHORT_MS = 600_000  # not a minute: the op keys of clients, which live longest of the short-lived
WITHIN_SEC = 45.0  # before the first key that lives for a minute goes
REWRITE_TIMEOUT_SEC = 60.0
PIPELINE = 1000
NO_REWRITE = {"auto-aof-rewrite-percentage": "0"}
Kinds = dict[str, tuple[str, float, float]]
"""By kind of key how long it lives, how many there are per flow, and their bytes per flow."""


def kept(where: Path, steps: Sequence[Step], flows: int) -> tuple[dict[str, float], Kinds]:
    """Bytes per flow that stay, and what is there by kind of key.

    Args:
        where: a folder for the server's append-only file.
        steps: what each flow does.
        flows: how many; fewer where they take too long.
    """
    with (
        server(where, **NO_REWRITE) as url,
        closing(plain_client(url)) as client,
        redis_storage(url) as bundle,
    ):
        register_agents(bundle)
        run_flow(bundle, steps, dfid_of(0, "first "))
        before = _used(client)
        until = time.monotonic() + WITHIN_SEC
        for number in range(flows):
            run_flow(bundle, steps, dfid_of(number))
            if time.monotonic() > until:
                flows = number + 1
                break
        told: dict[str, float] = {"at_once": _used(client) - before}
        kinds, passing = _keys(client)
        for name, keys in zip(("after_minute", "after_day"), passing, strict=True):
            for start in range(0, len(keys), PIPELINE):
                client.delete(*keys[start : start + PIPELINE])
            told[name] = _used(client) - before
        told["audit"] = sum(
            size for kind, (_, _, size) in kinds.items() if kind in ("audit", "audit_flow")
        )
        told["rewritten"] = _rewritten(client)
    of_kinds = {
        kind: (lives, count / flows, size / flows) for kind, (lives, count, size) in kinds.items()
    }
    return {name: value / flows for name, value in told.items()}, of_kinds


def _used(client: Any) -> int:
    return int(client.info("memory")["used_memory"])


def _keys(client: Any) -> tuple[dict[str, tuple[str, int, int]], tuple[list[bytes], list[bytes]]]:
    """All keys by kind, and those that go after a minute, and after a day."""
    kinds: dict[str, tuple[str, int, int]] = {}
    minute: list[bytes] = []
    day: list[bytes] = []
    keys = list(client.scan_iter("{dir:*", count=PIPELINE))
    for start in range(0, len(keys), PIPELINE):
        some = keys[start : start + PIPELINE]
        with client.pipeline(transaction=False) as pipeline:
            for key in some:
                pipeline.pttl(key)
                pipeline.memory_usage(key, samples=0)
            replies = pipeline.execute()
        for key, ttl_ms, size in zip(some, replies[::2], replies[1::2], strict=True):
            kind = key.decode().partition("}:")[2].partition(":")[0]
            lives = "stays" if ttl_ms < 0 else "a minute" if ttl_ms <= SHORT_MS else "a day"
            if lives != "stays":
                (minute if lives == "a minute" else day).append(key)
            _, count, bytes_so_far = kinds.get(kind, (lives, 0, 0))
            kinds[kind] = lives, count + 1, bytes_so_far + size
    return kinds, (minute, day)


def _rewritten(client: Any) -> int:
    """The append-only file's size once it was rewritten."""
    rewritten = client.info("stats")["total_forks"]
    client.bgrewriteaof()
    deadline = time.monotonic() + REWRITE_TIMEOUT_SEC
    while True:
        told = client.info("persistence")
        forks = client.info("stats")["total_forks"]
        if forks > rewritten and not told["aof_rewrite_in_progress"]:
            return int(told["aof_current_size"])
        if time.monotonic() > deadline:
            raise TimeoutError(f"the file was not rewritten in {REWRITE_TIMEOUT_SEC} s")
        time.sleep(0.02)


def kinds_table(typical: Kinds, escalated: Kinds) -> Table:
    """What is left by kind of key."""
    none = ("", 0.0, 0.0)
    rows = [
        (
            f"`{kind}`",
            lives,
            f"{count:.2f}",
            *(f"{of.get(kind, none)[2]:,.0f}" for of in (typical, escalated)),
        )
        for kind, (lives, count, size) in sorted(escalated.items(), key=lambda one: -one[1][2])
        if size >= 1 and not kind.startswith("agent")  # of those there are as many as agents
    ]
    return Table(
        ("Kind of key", "lives for", "keys per flow", "bytes per flow", "with an escalation"), rows
    )
