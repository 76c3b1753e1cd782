"""Each write on Redis against the same write on SQLite, ours and dir-core's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.files import dir_core_sqlite, folder, sync_ms
from benchmarks.measure import Sizes, geometric_mean, interleaved, medians, new_ids
from benchmarks.operations import WRITES
from benchmarks.report import Aim, Section, Table
from benchmarks.servers import server
from dir_redis import StorageBundle, redis_storage, sqlite_storage

AIM = 5.0
MEMORY, EVERY_SECOND, ALWAYS = "Redis", "Redis, everysec", "Redis, always"
OUR_SQLITE, DIR_CORE = "our SQLite", "dir-core's SQLite"

HOW = """\
The same calls with the same arguments on five stores that take turns, all files on one disk.
They do not promise the same, so read the columns for what they keep:

- *Redis*: in memory only; a restart of the server loses everything.
- *Redis, everysec*: append-only file, synced every second (what docker-compose.yml and
  `embedded:///path` use); a power cut loses up to about a second.
- *Redis, always*: append-only file synced before each reply; nothing that was answered is lost.
- *our SQLite*: WAL with `synchronous=FULL`, one sync per write; nothing that was answered is lost.
- *dir-core's SQLite*: as dir-core opens it: a new connection per call, SQLite's defaults
  (rollback journal, `synchronous=FULL`), several syncs per write; nothing that was answered is
  lost. It also keeps rows that the Protocols do not ask for (a flow and an agent for each dfid).

One thread calls. A server that always syncs shares a sync among the clients that wait for it,
which one caller cannot show.
"""


def run(sizes: Sizes) -> Section:
    """Measure all writes of upstream's Protocols."""
    section = Section("Writes on Redis and on SQLite", HOW)
    rows = []
    over_dir_core: dict[str, dict[str, float]] = {MEMORY: {}, EVERY_SECOND: {}, ALWAYS: {}}
    with folder() as where, _stores(where) as stores:
        ids = new_ids(sizes.slow_calls)
        for name, maker in WRITES.items():
            variants = {store: maker(bundle) for store, bundle in stores.items()}
            took = medians(
                interleaved(
                    variants, rounds=sizes.slow_rounds, ids=ids, budget_sec=sizes.budget_sec
                )
            )
            row = [name, *(f"{took[store]:,.0f}" for store in stores)]
            if DIR_CORE in took:
                for store, ratios in over_dir_core.items():
                    ratios[name] = took[DIR_CORE] / took[store]
                row += [f"{ratios[name]:.1f}" for ratios in over_dir_core.values()]
            rows.append(row)
        section.notes.append(
            "Appending 4 KiB to a file on this disk and syncing it took "
            f"{sync_ms(where):.2f} ms (median of 50)."
        )
    headings = ["Write", *(f"{store}, µs" for store in stores)]
    if DIR_CORE in stores:
        headings += ["times faster than dir-core's", "everysec", "always"]
    section.tables.append(Table(headings, rows))
    for store, ratios in over_dir_core.items():
        section.aims.append(_aim(store, ratios))
    return section


def _aim(store: str, ratios: dict[str, float]) -> Aim:
    what = f"every write {AIM:.0f} times faster than on dir-core's SQLite: {store}"
    if store == MEMORY:
        what += " (memory only)"
    if not ratios:
        return Aim(what, "dir-core is not installed", None)
    slowest = min(ratios, key=ratios.__getitem__)
    return Aim(
        what,
        f"{ratios[slowest]:.1f} times at least (`{slowest}`), "
        f"{geometric_mean(ratios.values()):.1f} times in the mean",
        ratios[slowest] >= AIM,
    )


@contextmanager
def _stores(where: Path) -> Iterator[dict[str, StorageBundle]]:
    with ExitStack() as stack:
        urls = {
            MEMORY: stack.enter_context(server()),
            EVERY_SECOND: stack.enter_context(server(where / "second", appendfsync="everysec")),
            ALWAYS: stack.enter_context(server(where / "always", appendfsync="always")),
        }
        stores = {name: stack.enter_context(redis_storage(url)) for name, url in urls.items()}
        stores[OUR_SQLITE] = stack.enter_context(sqlite_storage(where / "ours.db"))
        upstream = dir_core_sqlite(where / "dir-core.db")
        if upstream is not None:
            stores[DIR_CORE] = upstream
        yield stores
