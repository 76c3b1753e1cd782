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


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What opening a store found out about its server; of a cluster, the primary that is worst off.

    Attributes:
        version: as the server says it, such as ``"valkey 9.1.2"``; empty if it does not say.
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
    reports = []
    appendfsync = _setting(connection, "appendfsync", timeout_sec, len(nodes))
    min_replicas = _setting(connection, "min-replicas-to-write", timeout_sec, len(nodes))
    waits = all(_numbers(str(about["redis_version"])) >= _WAITAOF_SERVER for about in nodes)
    for number, about in enumerate(nodes):
        _check_version(connection, about)
        policy = about.get("maxmemory_policy", "noeviction")
        if check_policy and policy != "noeviction":
            raise StorageConfigurationError(
                f"{connection.where} has maxmemory-policy {policy}, under which reservations and "
                "budgets vanish silently: CONFIG SET maxmemory-policy noeviction, or open with "
                "check_policy=False to accept it"
            )
        reports.append(_report(about, appendfsync[number], min_replicas[number], waits=waits))
    for report in reports:
        check_durability(connection.where, report, durability)
    return max(reports, key=lambda report: len(report.can_lose))


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
    about: Mapping[str, Any], appendfsync: str | None, min_replicas: str | None, *, waits: bool
) -> ServerReport:
    aof = about.get("aof_enabled") in (1, "1")
    replicas = int(about.get("connected_slaves", 0))
    valkey = about.get("valkey_version")
    version = f"valkey {valkey}" if valkey else f"redis {about['redis_version']}"
    policy = str(about.get("maxmemory_policy", "noeviction"))
    can_lose = []
    if not aof:
        can_lose.append(
            "it keeps no append-only file: if its process ends, all writes since its last snapshot "
            "are lost"
        )
    elif appendfsync != "always":
        lost = "up to a second of" if appendfsync == "everysec" else "an unknown part of the latest"
        can_lose.append(
            f"appendfsync is {appendfsync or 'unknown'}: a power cut loses {lost} writes"
        )
    if replicas:
        can_lose.append(
            "replication is asynchronous: a failover loses the writes that had not reached the "
            "replica which takes over, unless durability='replicas=<n>' waited for them"
        )
    if policy != "noeviction":
        can_lose.append(f"maxmemory-policy is {policy}: keys vanish when memory is short")
    return ServerReport(
        version,
        aof,
        appendfsync,
        replicas,
        None if min_replicas is None else int(min_replicas),
        policy,
        waits,
        tuple(can_lose),
    )


def _setting(connection: Connection, name: str, timeout_sec: float, nodes: int) -> list[str | None]:
    """A setting of each server, if the user may ask for it."""
    try:
        found = patiently(partial(connection.config, name), connection.where, timeout_sec)
    except StorageRefusedError:
        found = []
    return [*found, *[None] * nodes][:nodes]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
