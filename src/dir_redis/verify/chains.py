"""The chains of hashes, which every backend walks by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dir_redis.bundle import StorageBundle
from dir_redis.errors import CorruptRecordError
from dir_redis.records import ChainReport
from dir_redis.verify.report import Finding, Trouble


def chain_findings(bundle: StorageBundle, counted: Callable[[int], None]) -> Iterator[Finding]:
    """What is broken in the audit log's chain and the ledger's; a store may have neither."""
    yield from _walk(bundle.decision_audit.verify_audit, counted)
    if bundle.decision_ledger is not None:
        yield from _walk(bundle.decision_ledger.verify_ledger, counted)


def _walk(verify: Callable[[], ChainReport], counted: Callable[[int], None]) -> Iterator[Finding]:
    try:
        report = verify()
    except CorruptRecordError as error:
        yield Finding(error.key, "garbled", error.problem)
        return
    counted(report.verified)
    if broken := report.broken_at:
        kind: Trouble = "missing" if broken.problem == "missing" else "mismatch"
        problem = f"breaks the chain at number {broken.number}: {broken.problem}"
        yield Finding(broken.record, kind, problem)
