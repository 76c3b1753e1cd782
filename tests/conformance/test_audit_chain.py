"""The audit log's chain: off by default, over every way a row is written, and over trims."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dir_redis import StorageBundle, memory_storage, open_storage, sqlite_storage
from tests.conformance.conftest import Race
from tests.conftest import CLUSTER_PARTITIONS


@pytest.fixture
def open_chained(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path, namespace: str
) -> Iterator[Callable[[bool], StorageBundle]]:
    """Open the test's one store, with the chain or without."""
    memory: dict[bool, StorageBundle] = {}
    with contextlib.ExitStack() as opened:

        def opener(audit_chain: bool) -> StorageBundle:
            if backend == "memory":
                return memory.setdefault(audit_chain, memory_storage(audit_chain=audit_chain))
            if backend == "sqlite":
                return opened.enter_context(
                    sqlite_storage(tmp_path / "chained.db", audit_chain=audit_chain)
                )
            url = request.getfixturevalue("servers").url(backend)
            partitions = CLUSTER_PARTITIONS if backend == "cluster" else None
            return opened.enter_context(
                open_storage(
                    url, namespace=namespace, partitions=partitions, audit_chain=audit_chain
                )
            )

        yield opener


@pytest.fixture
def chained(open_chained: Callable[[bool], StorageBundle]) -> StorageBundle:
    return open_chained(True)


def test_rows_are_in_no_chain_by_default(bundle):
    bundle.decision_audit.record("f", "E")
    bundle.decision_audit.record_many([{"dfid": "f", "event": "E"}] * 3)
    bundle.lifecycle.close_flow("f", "CLOSED")

    report = bundle.decision_audit.verify_audit()
    assert (report.verified, report.unchained, report.broken_at) == (0, 5, None)


def test_every_way_to_write_a_row_chains_it(chained):
    audit = chained.decision_audit
    audit.record("f", "A", step_id="s", state="x", details={"é": [1]}, agent_id="a")
    audit.record_many([{"dfid": f"f{n % 7}", "event": "B", "severity": "ERROR"} for n in range(50)])
    audit.record_many([])
    for n in range(3):
        assert chained.lifecycle.close_flow(f"f{n}", "CLOSED", details={"n": n}, agent_id="a")

    report = audit.verify_audit()
    assert (report.verified, report.unchained, report.broken_at) == (54, 0, None)


def test_chained_rows_are_returned_as_any(chained, is_store_time):
    chained.decision_audit.record("f", "A", details={"a": 1}, root_dfid="r", severity="WARNING")
    chained.decision_audit.record("f", "B")

    first, second = chained.decision_audit.events_for_dfid("f")
    assert is_store_time(first.pop("timestamp"))
    first.pop("created_at")
    assert first == {
        "dfid": "f",
        "root_dfid": "r",
        "event": "A",
        "event_type": "A",
        "step_id": "",
        "state": "",
        "details": {"a": 1},
        "severity": "WARNING",
    }
    assert second["event"] == "B"
    assert chained.decision_audit.all_events_chronological() == [
        *chained.decision_audit.events_for_dfid("f")
    ]


def test_the_chain_goes_through_rows_that_a_host_without_it_wrote(
    open_chained: Callable[[bool], StorageBundle], backend: str
):
    if backend == "memory":
        # Two memory stores share nothing: there are no other hosts.
        return
    with_chain, without = open_chained(True), open_chained(False)
    for n in range(4):
        with_chain.decision_audit.record(f"f{n}", "CHAINED")
        without.decision_audit.record(f"f{n}", "PLAIN")

    reports = [store.decision_audit.verify_audit() for store in (with_chain, without)]
    assert reports[0] == reports[1]
    assert (reports[0].verified, reports[0].unchained, reports[0].broken_at) == (4, 4, None)


def test_a_trimmed_log_is_intact_from_where_it_begins_now(chained):
    audit = chained.decision_audit
    audit.record_many([{"dfid": f"f{n % 3}", "event": str(n)} for n in range(40)])
    early = audit.verify_audit().anchor
    dropped = audit.trim(max_rows=5)
    assert dropped > 0
    late = audit.verify_audit().anchor
    audit.record("f", "LATER")

    report = audit.verify_audit(anchor=late)
    assert (report.verified, report.broken_at) == (41 - dropped, None)
    assert audit.verify_audit(anchor=early).intact
    audit.trim(max_rows=0)
    assert audit.verify_audit().verified == 0
    assert audit.verify_audit().intact
    with pytest.raises(ValueError, match="trimmed since: take a new one before trimming"):
        audit.verify_audit(anchor=early)


def test_verifying_while_others_write_and_trim_finds_nothing_broken(chained, race: Race):
    audit = chained.decision_audit

    def write(number: int) -> None:
        for _ in range(15):
            audit.record_many([{"dfid": f"f{number}", "event": "E"}] * 4)

    def trim() -> None:
        for _ in range(10):
            audit.trim(max_rows=20)

    def verify() -> list[Any]:
        return [audit.verify_audit() for _ in range(10)]

    reports = race([lambda: write(1), lambda: write(2), trim, verify])[3]
    assert [report.broken_at for report in reports] == [None] * 10
    assert audit.verify_audit().intact


def test_no_chain_but_a_bool_is_an_option(backend: str, servers: Any):
    if backend in ("memory", "sqlite"):
        with pytest.raises(TypeError, match="audit_chain must be a bool"):
            open_storage("memory://", audit_chain=1)  # type: ignore[arg-type]
    else:
        with pytest.raises(TypeError, match="audit_chain must be a bool"):
            open_storage(servers.url(backend), audit_chain="yes")  # type: ignore[arg-type]
