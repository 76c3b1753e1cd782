"""One server under faults, with two fleets on it: the demo's, and clients that keep journals."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from random import Random

from dir_redis import StorageBundle, open_storage, verify_store
from examples.signals import deaf_to_ctrl_c, signals_collected
from tests.crash.client import CAPACITY, LEASE_SEC
from tests.crash.clients import Clients
from tests.crash.durable_server import DurableServer
from tests.crash.judgement import read_journals, totals, violations
from tests.fault_proxy import fault_proxy
from tests.soak.demo_fleet import DemoFleet
from tests.soak.faults import Faults
from tests.soak.kinds import Turns
from tests.soak.report import Report

NAMESPACE = "soak"
CLIENTS = 4


def soak_one_server(folder: Path, *, seconds: float, seed: int, report: Report) -> None:
    """Make faults for some seconds, each kind at least once, and report what is wrong then."""
    # A script counts as slow after half a second, so that clients meet BUSY.
    server = DurableServer(folder / "server", "--busy-reply-threshold", "500")
    journals = folder / "clients"
    journals.mkdir()
    calm = threading.Lock()
    try:
        with signals_collected():  # a server half started would be left behind
            server.start()
        with (
            fault_proxy(server.url) as proxy,
            open_storage(server.url, namespace=NAMESPACE, audit_chain=True) as bundle,
        ):
            bundle.resource_lock.set_capacity("capital", CAPACITY)
            bundle.resource_lock.set_capacity("seats", CAPACITY)
            clients = Clients(proxy.url, NAMESPACE, journals, seed=seed)
            demo = DemoFleet(proxy.url, server.url, calm, report)
            stopped = threading.Event()
            faults = Faults(server, proxy, clients, demo, Random(f"{seed} within"), stopped)
            turns = Turns(faults.kinds, seconds, Random(seed), report)

            def make_faults() -> None:
                pauses = Random(f"{seed} pauses")
                for kind in turns:
                    if stopped.wait(pauses.uniform(0.05, 0.4)):
                        return
                    with calm if kind in faults.of_the_store else nullcontext():
                        turns.make(kind, faults.kinds[kind])
                    clients.check()

            try:
                with signals_collected(), deaf_to_ctrl_c():
                    clients.start(CLIENTS)
                with ThreadPoolExecutor(1) as pool:
                    try:
                        making = pool.submit(make_faults)
                        with report.watching("the demo's fleet"):
                            while not making.done():
                                demo.run()
                    finally:
                        stopped.set()
                with report.watching("the faults"):
                    making.result()
                with report.watching("the clients"):
                    clients.finish()
            finally:
                clients.close()
            with report.watching("the store"):
                _judge(bundle, journals, report)
    finally:
        server.kill()
    report.say(f"{demo.flows} flows of the demo's fleet in {demo.runs} runs")
    report.counted(turns.made)


def _judge(bundle: StorageBundle, folder: Path, report: Report) -> None:
    journals = read_journals(folder)
    for problem in violations(bundle, journals):
        report.wrong(problem)
    verified = verify_store(bundle)
    for key, kind, problem in verified.findings:
        report.wrong(f"{kind}: {key!r} {problem}")
    # What the dead held comes free by itself.
    deadline = time.monotonic() + 4 * LEASE_SEC
    while any(held.dfid.endswith("-order") for held in bundle.resource_lock.holders("seats")):
        if time.monotonic() > deadline:
            report.wrong("a lease has not run out")
            break
        time.sleep(0.05)
    ended = totals(journals)
    done = sum(journal.acked for journal in journals)
    report.say(f"{done} operations of {len(journals)} clients, {verified.checked} records verified")
    # A journal tells how calls ended up to its last acknowledgement.
    unknown, resolved = ended.pop("unknown", 0), ended.pop("resolved", 0)
    report.say(f"{unknown} outcomes unknown, {resolved} of them found out by repeating")
    begun = sum(journal.unacknowledged for journal in journals)
    report.say(f"{begun} begun and never acknowledged: their clients were killed")
    report.counted(ended)
    if resolved != unknown:
        report.wrong(f"{unknown - resolved} outcomes stayed unknown")
    if not done:
        report.wrong("no client did anything")
