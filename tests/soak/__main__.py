"""A fleet under random faults of all kinds, and then proof that nothing went wrong.

    python -m tests.soak --seconds 600 --seed 7

The seed fixes which faults come in which order, and what each client tries.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from dir_redis import StorageBundle, open_storage, verify_store
from tests.crash.client import CAPACITY, LEASE_SEC
from tests.crash.clients import Clients
from tests.crash.durable_server import DurableServer
from tests.crash.judgement import read_journals, totals, violations
from tests.fault_proxy import fault_proxy
from tests.soak.faults import Faults

NAMESPACE = "soak"
CLIENTS = 4


def main(arguments: list[str] | None = None) -> int:
    """Run a soak and report; the exit code is 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="how long faults are made")
    parser.add_argument("--seed", type=int, default=7, help="of the faults and the clients")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="dir-redis-soak-") as folder:
        wrong = soak(Path(folder), seconds=options.seconds, seed=options.seed)
    for one in wrong:
        say(f"VIOLATION: {one}")
    say(f"seed {options.seed}: {len(wrong)} violations")
    return 1 if wrong else 0


def soak(folder: Path, *, seconds: float, seed: int) -> list[str]:
    """Run a fleet under faults; what is wrong afterwards."""
    # A script counts as slow after half a second, so that clients meet BUSY.
    server = DurableServer(folder / "server", "--busy-reply-threshold", "500")
    journals = folder / "clients"
    journals.mkdir()
    made: Counter[str] = Counter()
    wrong: list[str] = []
    server.start()
    try:
        with (
            fault_proxy(server.url) as proxy,
            open_storage(server.url, namespace=NAMESPACE, audit_chain=True) as bundle,
        ):
            bundle.resource_lock.set_capacity("capital", CAPACITY)
            bundle.resource_lock.set_capacity("seats", CAPACITY)
            clients = Clients(proxy.url, NAMESPACE, journals, seed=seed)
            try:
                clients.start(CLIENTS)
                faults = Faults(server, proxy, clients, Random(f"{seed} within"))
                _make_faults(faults, made, clients, Random(seed), time.monotonic() + seconds)
                clients.finish()
            except AssertionError as error:
                wrong.append(str(error))
            finally:
                clients.close()
            wrong += _judge(bundle, journals)
    finally:
        server.kill()
    for kind, count in sorted(made.items()):
        say(f"{count:6} x {kind}")
    return wrong


def _make_faults(
    faults: Faults, made: Counter[str], clients: Clients, random: Random, ends: float
) -> None:
    kinds = list(faults.kinds)
    for number in itertools.count():
        if time.monotonic() > ends:
            return
        # Each kind comes once before any comes again, so that a short run has all of them.
        if number % len(kinds) == 0:
            random.shuffle(kinds)
        kind = kinds[number % len(kinds)]
        time.sleep(random.uniform(0.05, 0.4))
        faults.kinds[kind]()
        made[kind] += 1
        clients.check()


def _judge(bundle: StorageBundle, folder: Path) -> list[str]:
    journals = read_journals(folder)
    wrong = list(violations(bundle, journals))
    report = verify_store(bundle)
    wrong += [f"{kind}: {key!r} {problem}" for key, kind, problem in report.findings]
    # What the dead held comes free by itself.
    deadline = time.monotonic() + 4 * LEASE_SEC
    while any(held.dfid.endswith("-order") for held in bundle.resource_lock.holders("seats")):
        if time.monotonic() > deadline:
            wrong.append("a lease has not run out")
            break
        time.sleep(0.05)
    ended = totals(journals)
    done = sum(journal.acked for journal in journals)
    say(f"{done} operations of {len(journals)} clients, {report.checked} records verified")
    say(
        f"{ended.pop('unknown', 0)} outcomes unknown, {ended.pop('resolved', 0)} of them found out "
        "by repeating and applied once; the others' clients were killed"
    )
    for how, count in sorted(ended.items()):
        say(f"{count:6} x {how}")
    if not done:
        wrong.append("no client did anything")
    return wrong


def say(line: str) -> None:
    """Tell whoever runs this."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
