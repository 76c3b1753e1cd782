"""Each method on Redis against the plainest redis-py call that moves the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import operations, plain_commands
from benchmarks.measure import (
    Sizes,
    Variant,
    geometric_mean,
    interleaved,
    medians,
    new_ids,
    round_trips,
)
from benchmarks.report import Aim, Section, Table
from benchmarks.servers import plain_client, server
from dir_redis import StorageBundle, redis_storage

MEAN_AIM, SINGLE_AIM = 1.25, 1.5

HOW = """\
Every method of the nine Protocols (and of `CapacityStorage`) in one namespace of one partition,
against the one redis-py call that moves the same payload: the same fields written to one key, or
the same values read from one. The plain call does nothing else: no check of arguments, no
JSON, no index, no protection against a write applied twice, and its reply stays as redis-py gives
it. Where the contract asks for JSON work (encoding what is stored, checking that a text is JSON,
parsing what is returned), a further column has the plain call with just that work added. Both
sides have a client made alike (RESP2, hiredis where installed, the same timeouts, no retries of
redis-py's own), each on its own connection. What a call needs beforehand, such as the reservation
that it releases, is made outside the timed part. Round trips are counted at redis-py's
connection: the packets it sent for one call.

The ratios depend on how long a round trip takes at all: the shorter it is, the more the script and
the Python around it weigh.
"""


def run(sizes: Sizes) -> Section:
    """Measure all methods."""
    rows = []
    over_plain: dict[str, float] = {}
    over_json: dict[str, float] = {}
    trips: dict[str, int] = {}
    with server() as url:
        client = plain_client(url)
        for name, ours, plain in _pairs(client, url):
            ids = new_ids(sizes.calls) if name in plain_commands.WRITES else _stored_ids
            variants = {"ours": ours, "plain": plain}
            with_json = plain_commands.with_json(name, plain)
            if with_json is not None:
                variants["json"] = with_json
            took = medians(
                interleaved(variants, rounds=sizes.rounds, ids=ids, budget_sec=sizes.budget_sec)
            )
            trips[name] = round_trips(ours, ids(0)[0])
            over_plain[name] = took["ours"] / took["plain"]
            over_json[name] = took["ours"] / took.get("json", took["plain"])
            rows.append(
                (
                    name,
                    f"{took['ours']:.1f}",
                    f"{took['plain']:.1f}",
                    f"{over_plain[name]:.2f}",
                    f"{took['json']:.1f}" if "json" in took else "",
                    f"{over_json[name]:.2f}" if "json" in took else "",
                    str(trips[name]),
                )
            )
        client.close()
    section = Section("Each method against a plain Redis command", HOW)
    headings = ("Method", "µs", "plain, µs", "ratio", "plain + JSON, µs", "ratio", "round trips")
    section.tables.append(Table(headings, rows))
    mean = geometric_mean(over_plain.values())
    worst = max(over_plain, key=over_plain.__getitem__)
    above = sorted(name for name, ratio in over_plain.items() if ratio > SINGLE_AIM)
    section.aims += [
        Aim(
            f"all methods together at most {MEAN_AIM} of the plain calls (geometric mean)",
            f"{mean:.2f}; with the JSON work on both sides "
            f"{geometric_mean(over_json.values()):.2f}",
            mean <= MEAN_AIM,
        ),
        Aim(
            f"no method above {SINGLE_AIM} of its plain call",
            f"{len(above)} of {len(over_plain)} above; the highest is "
            f"{over_plain[worst]:.2f} (`{worst}`)",
            not above,
        ),
        Aim("one round trip each", f"{max(trips.values())} at most", set(trips.values()) == {1}),
    ]
    return section


def _pairs(client: Any, url: str) -> Iterator[tuple[str, Variant, Variant]]:
    """Every method with its plain call, on data made for it."""
    with redis_storage(url, namespace="reads") as bundle:
        operations.fill_for_reads(bundle)
        plain_commands.fill_for_reads(client, operations.READ_IDS)
        yield from _matched(bundle, operations.READS, client, plain_commands.READS)
    with redis_storage(url, namespace="writes") as bundle:
        ours = {**operations.WRITES, **operations.CAPACITY_WRITES}
        yield from _matched(bundle, ours, client, plain_commands.WRITES)


def _matched(
    bundle: StorageBundle,
    ours: dict[str, operations.Maker],
    client: Any,
    plain: dict[str, plain_commands.Maker],
) -> Iterator[tuple[str, Variant, Variant]]:
    assert set(ours) == set(plain)
    for name, maker in ours.items():
        yield name, maker(bundle), plain[name](client)


def _stored_ids(_: int) -> list[str]:
    return operations.READ_IDS * 2
