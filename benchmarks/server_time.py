"""How the server's time per call grows, by the server's own count (INFO commandstats)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from benchmarks import payloads as p
from benchmarks.commandstats import Probe, measure
from benchmarks.fill import fill_log, in_flow
from benchmarks.measure import Sizes
from benchmarks.report import Aim, Section, Table
from benchmarks.servers import plain_client, server
from dir_redis import StorageBundle, redis_storage

AIM = 1.2
CALLS = 20
SMALL, LARGE = "small", "large"

HOW = """\
The server's own measure: microseconds per call of the script or command that the method sends,
from INFO commandstats, reset before each turn. The small and the large store are two namespaces
on one server and take turns. The rows of a log belong to flows of 10 rows each, of which 100 are
under way at a time; the flow that is read is drawn at random.
"""


def run(sizes: Sizes) -> Section:
    """Measure."""
    section = Section("Server time as the store grows", HOW)
    rows = []
    with server() as url:
        client = plain_client(url)
        with (
            redis_storage(url, namespace=SMALL) as small,
            redis_storage(url, namespace=LARGE) as large,
        ):
            stores = {SMALL: small, LARGE: large}
            for probe in (
                _acquire(stores, sizes),
                _events(client, stores, sizes),
                _active_agents(stores, sizes),
                _pending_requests(stores, sizes),
            ):
                took = measure(client, probe)
                ratio = took[LARGE] / took[SMALL]
                rows.append(
                    (probe.title, f"{took[SMALL]:.1f}", f"{took[LARGE]:.1f}", f"{ratio:.2f}")
                )
                section.aims.append(
                    Aim(f"server time within {AIM}: {probe.title}", f"{ratio:.2f}", ratio <= AIM)
                )
            section.tables.append(
                Table(("Call", "small, µs", "large, µs", "ratio"), rows),
            )
            section.tables.append(_by_answer(client, stores, sizes))
        client.close()
    return section


def _acquire(stores: dict[str, StorageBundle], sizes: Sizes) -> Probe:
    flows = [f"new-{number}" for number in range(CALLS)]

    def acquire(bundle: StorageBundle, dfids: Sequence[str]) -> None:
        for dfid in dfids:
            assert bundle.resource_lock.acquire_batch(dfid, p.RESOURCES, 5.0)

    def release(bundle: StorageBundle) -> None:
        for dfid in flows:
            bundle.resource_lock.release(dfid)

    for name, holders in ((SMALL, 10), (LARGE, sizes.holders)):
        acquire(stores[name], [f"flow-{number}" for number in range(holders)])
    return Probe(
        f"`acquire_batch` of 2 resources with 10 and with {sizes.holders:,} holders",
        "evalsha",
        {name: lambda b=bundle: acquire(b, flows) for name, bundle in stores.items()},
        {name: lambda b=bundle: release(b) for name, bundle in stores.items()},
    )


def _events(client: Any, stores: dict[str, StorageBundle], sizes: Sizes) -> Probe:
    lengths = {SMALL: 1000, LARGE: sizes.log_rows}
    draw = random.Random(1)

    def read(name: str) -> None:
        for _ in range(CALLS):
            dfid = in_flow(draw.randrange(lengths[name] // 10))
            assert len(stores[name].decision_audit.events_for_dfid(dfid)) == 10

    for name, rows in lengths.items():
        fill_log(client, stores[name], rows)
    return Probe(
        f"`events_for_dfid` of 10 rows in a log of 1,000 and of {sizes.log_rows:,} rows",
        "evalsha",
        {name: lambda n=name: read(n) for name in stores},
        {},
    )


def _active_agents(stores: dict[str, StorageBundle], sizes: Sizes) -> Probe:
    for name, bundle in stores.items():
        _register(bundle, 10, "ACTIVE")
        _register(bundle, sizes.agents if name == LARGE else 0, "RETIRED")
    return Probe(
        f"`list_active_agents`, 10 active, with 0 and with {sizes.agents:,} others",
        "zrange",
        {name: lambda b=b: _list_agents(b) for name, b in stores.items()},
        {},
    )


def _pending_requests(stores: dict[str, StorageBundle], sizes: Sizes) -> Probe:
    for name, bundle in stores.items():
        _ask(bundle, "pending", 10)
        if name == LARGE:
            _ask(bundle, "resolved", sizes.agents)
            for number in range(sizes.agents):
                bundle.escalation.resolve_request(f"resolved-{number}", "now", "APPROVE", None)
    return Probe(
        f"`get_pending_requests`, 10 pending, with 0 and with {sizes.agents:,} resolved",
        "evalsha",
        {name: lambda b=b: _list_requests(b) for name, b in stores.items()},
        {},
    )


def _by_answer(client: Any, stores: dict[str, StorageBundle], sizes: Sizes) -> Table:
    """The two lists with an answer of 10 and of 1,000, in the large store."""
    bundle = stores[LARGE]
    few = {
        ("zrange", "list_active_agents"): lambda: _list_agents(bundle),
        ("evalsha", "get_pending_requests"): lambda: _list_requests(bundle),
    }
    many = sizes.agents // 10
    took = []
    for answer in (10, many):
        if answer == many:
            _register(bundle, many, "ACTIVE")
            _ask(bundle, "pending", many)
        for (command, _), call in few.items():
            took.append(measure(client, Probe("", command, {LARGE: call}, {}))[LARGE])
    rows = [
        (f"`{method}`", f"{took[n]:.1f}", f"{took[n + 2]:.1f}", f"{took[n + 2] / took[n]:.1f}")
        for n, (_, method) in enumerate(few)
    ]
    return Table(("Call", "answer of 10, µs", f"answer of {many:,}, µs", "ratio"), rows)


def _register(bundle: StorageBundle, count: int, status: str) -> None:
    for number in range(count):
        agent_id = f"{status}-{number}"
        bundle.agent_registry.upsert_agent(agent_id, p.CONTRACT_JSON, 5, status, "2.4.1", None)


def _ask(bundle: StorageBundle, kind: str, count: int) -> None:
    for number in range(count):
        bundle.escalation.insert_request(
            f"{kind}-{number}", "agent-7", "limit", p.SESSION_JSON, p.PROPOSAL_JSON, "HIGH"
        )


def _list_agents(bundle: StorageBundle) -> None:
    for _ in range(CALLS):
        bundle.agent_registry.list_active_agents()


def _list_requests(bundle: StorageBundle) -> None:
    for _ in range(CALLS):
        bundle.escalation.get_pending_requests()
