"""The hash chains of ledger and audit log: a broken one is not copied into one that looks sound."""

from __future__ import annotations

from dir_redis.bundle import StorageBundle
from dir_redis.migrate.records import AuditRow, LedgerEntry, Row
from dir_redis.migrate.report import KindReport, Listed
from dir_redis.records import ChainReport


def chain_of(kind: type[Row], bundle: StorageBundle | None) -> ChainReport | None:
    """Verify the chain that a log has in a store; None if it has none."""
    if bundle is None:
        return None
    if kind is LedgerEntry and bundle.decision_ledger is not None:
        return bundle.decision_ledger.verify_ledger()
    if kind is AuditRow:
        return bundle.decision_audit.verify_audit()
    return None


def note_broken_source(kind: type[Row], chain: ChainReport, tally: KindReport) -> None:
    """Note that a log was not copied since its chain is broken."""
    tally.source = chain.verified + chain.unchained
    tally.not_represented.append(
        Listed(
            f"{kind.__name__} from {_place(chain)} on",
            f"the source's chain is broken there ({_problem(chain)}), so nothing of it was copied",
        )
    )


def note_chains(
    kind: type[Row], source: ChainReport | None, target: ChainReport | None, tally: KindReport
) -> None:
    """Note a chain that the target has broken, or does not have where the source has one."""
    if target is not None and not target.intact:
        tally.differing.append(
            Listed(
                f"{kind.__name__} {_place(target)}",
                f"breaks the target's chain: {_problem(target)}",
            )
        )
    elif source is not None and source.verified and (target is None or not target.verified):
        tally.adjusted.append(
            Listed(
                f"{kind.__name__}: all",
                f"{source.verified} rows are in a chain in the source, and in none in the target",
            )
        )


def _place(chain: ChainReport) -> str:
    return "?" if chain.broken_at is None else repr(chain.broken_at.record)


def _problem(chain: ChainReport) -> str:
    return "?" if chain.broken_at is None else chain.broken_at.problem
