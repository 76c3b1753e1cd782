"""What a server is set to, and what of the acknowledged writes it can lose that way."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dir_redis.durability import Durability
from dir_redis.errors import StorageConfigurationError, StorageRefusedError
from dir_redis.redis.connection import Connection
from dir_redis.redis.retries import patiently

logger = logging.getLogger(__name__)

MIN_SERVER = (6, 2)
# From here on WAITAOF says whether a write is on the disk.
_WAITAOF_SERVER = (7, 2)
# How bad a setting of appendfsync is; one that is not told is the worst.
_DANGER = {"always": 0, "everysec": 1, "no": 2}


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What opening a store found out about its server.

    Of a cluster each attribute is the worst that any of its primaries has.

    Attributes:
        version: as the server says it, such as ``"valkey 9.1.2"``; empty if it does not say. The
            oldest, where they differ.
        aof: whether it keeps an append-only file; None if unknown.
        appendfsync: ``"always"``, ``"everysec"`` or ``"no"``; None if unknown.
        replicas: how many replicas are connected; None if unknown.
        min_replicas: how many it demands before it takes a write; None if unknown.
        maxmemory_policy: what it does when memory is short; None if unknown.
        waits_for_disk: whether every server has WAITAOF, which says when a write is on the disk.
        can_lose: one sentence for each way in which acknowledged writes can be lost.
    """

    version: str = ""
    aof: bool | None = None
    appendfsync: str | None = None
    replicas: int | None = None
    min_replicas: int | None = None
    maxmemory_policy: str | None = None
    waits_for_disk: bool = False
    can_lose: tuple[str, ...] = field(default=())

    @property
    def keeps_nothing(self) -> bool:
        """Whether it is known that a crash of the server loses whatever no snapshot has."""
        return self.aof is False


def look_at_server(
    connection: Connection, timeout_sec: float, *, check_policy: bool, durability: Durability
) -> ServerReport:
    """Ask a server what it is set to, and refuse one that is unfit.

    Args:
        connection: the server.
        timeout_sec: how long to try.
        check_policy: whether one that evicts keys is unfit.
        durability: what the store promises; a server that cannot confirm it is unfit.

    Raises:
        StorageConfigurationError: it is too old, a cluster's node, evicts keys, or cannot confirm.
    """
    try:
        nodes = patiently(connection.info, connection.where, timeout_sec)
    except StorageRefusedError as error:
        unknown = re.search("unknown command .INFO", str(error), re.I)  # fakeredis has none
        if not unknown and error.code != "NOPERM":
            raise
        if durability.disk or durability.replicas:
            raise StorageConfigurationError(
                f"{connection.where} does not say what it is set to, so that durability "
                f"{durability.text!r} cannot be had: {error}"
            ) from error
        level = logging.DEBUG if unknown else logging.WARNING
        logger.log(level, "its version and settings go unchecked: %s", error)
        return ServerReport()
    for about in nodes:
        _check_version(connection, about)
        policy = _policy(about)
        if check_policy and policy != "noeviction":
            raise StorageConfigurationError(
                f"{connection.where} has maxmemory-policy {policy}, under which reservations and "
                "budgets vanish silently: CONFIG SET maxmemory-policy noeviction, or open with "
                "check_policy=False to accept it"
            )
    report = _report(
        nodes,
        _setting(connection, "appendfsync", timeout_sec, len(nodes)),
        _setting(connection, "min-replicas-to-write", timeout_sec, len(nodes)),
    )
    check_durability(connection.where, report, durability)
    return report


def _check_version(connection: Connection, about: Mapping[str, Any]) -> None:
    version = str(about["redis_version"])
    if _numbers(version) < MIN_SERVER:
        raise StorageConfigurationError(
            f"{connection.where} runs version {version}; Redis 6.2, Valkey or newer is needed"
        )
    mode = about.get("redis_mode") or about.get("server_mode")  # Redis, Valkey
    if mode == "cluster" and not connection.is_cluster:
        raise StorageConfigurationError(
            f"{connection.where} is a node of a cluster: open it with redis+cluster://, or "
            "with a RedisCluster client"
        )


def check_durability(where: str, report: ServerReport, wanted: Durability) -> None:
    """Refuse what a server cannot confirm.

    Raises:
        StorageConfigurationError: it keeps no file, or does not say what is in it.
    """
    if wanted.disk and not report.aof:
        raise StorageConfigurationError(
            f"{where} keeps no append-only file, so that durability 'disk' cannot be "
            "had: CONFIG SET appendonly yes"
        )
    if wanted.disk and not report.waits_for_disk and report.appendfsync != "always":
        raise StorageConfigurationError(
            f"{where} runs {report.version}, which cannot say whether a "
            "write is on the disk: CONFIG SET appendfsync always, or use Redis 7.2 or Valkey"
        )
    if wanted.replicas and not report.version:
        raise StorageConfigurationError(
            f"{where} does not say what it is set to, so that durability {wanted.text!r} cannot "
            "be had"
        )
    if wanted.replicas and (report.replicas or 0) < wanted.replicas:
        logger.warning(
            "%s has %s replicas connected; until there are %d no write can be confirmed",
            where,
            report.replicas,
            wanted.replicas,
        )


def _report(
    nodes: list[dict[str, Any]], appendfsync: list[str | None], min_replicas: list[str | None]
) -> ServerReport:
    """Of each setting the worst that any server has: a write goes to one of them, and no other."""
    known = [int(number) for number in min_replicas if number is not None]
    policies = sorted(_policy(about) for about in nodes)
    ways = [_ways_to_lose(about, mode) for about, mode in zip(nodes, appendfsync, strict=True)]
    oldest = min(nodes, key=lambda about: _numbers(str(about["redis_version"])))
    valkey = oldest.get("valkey_version")
    return ServerReport(
        version=f"valkey {valkey}" if valkey else f"redis {oldest['redis_version']}",
        aof=all(_keeps_file(about) for about in nodes),
        appendfsync=max(appendfsync, key=lambda mode: _DANGER.get(mode or "", len(_DANGER))),
        replicas=min(int(about.get("connected_slaves", 0)) for about in nodes),
        min_replicas=min(known) if len(known) == len(nodes) else None,
        maxmemory_policy=max(policies, key=lambda policy: policy != "noeviction"),
        waits_for_disk=_numbers(str(oldest["redis_version"])) >= _WAITAOF_SERVER,
        # In the order of the ways, not of the servers, which is another each time.
        can_lose=tuple(
            dict.fromkeys(
                way for of_a_kind in zip(*ways, strict=True) for way in sorted(of_a_kind) if way
            )
        ),
    )


def _ways_to_lose(about: Mapping[str, Any], appendfsync: str | None) -> tuple[str, str, str]:
    """By its file, in a failover, and by eviction: how a server can lose writes; "" for not."""
    by_file = in_failover = by_eviction = ""
    if not _keeps_file(about):
        by_file = (
            "it keeps no append-only file: if its process ends, all writes since its last snapshot "
            "are lost"
        )
    elif appendfsync != "always":
        lost = "up to a second of" if appendfsync == "everysec" else "an unknown part of the latest"
        by_file = f"appendfsync is {appendfsync or 'unknown'}: a power cut loses {lost} writes"
    if int(about.get("connected_slaves", 0)):
        in_failover = (
            "replication is asynchronous: a failover loses the writes that had not reached the "
            "replica which takes over, unless durability='replicas=<n>' waited for them"
        )
    if _policy(about) != "noeviction":
        by_eviction = f"maxmemory-policy is {_policy(about)}: keys vanish when memory is short"
    return by_file, in_failover, by_eviction


def _keeps_file(about: Mapping[str, Any]) -> bool:
    return about.get("aof_enabled") in (1, "1")


def _policy(about: Mapping[str, Any]) -> str:
    return str(about.get("maxmemory_policy", "noeviction"))


def _setting(connection: Connection, name: str, timeout_sec: float, nodes: int) -> list[str | None]:
    """A setting of each server, if the user may ask for it."""
    try:
        found = patiently(partial(connection.config, name), connection.where, timeout_sec)
    except StorageRefusedError:
        found = []
    return [*found, *[None] * nodes][:nodes]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
