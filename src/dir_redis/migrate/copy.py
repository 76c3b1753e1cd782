"""Copying all records of one store to another, and comparing both at the end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from dir_redis.migrate.alone import alone_in
from dir_redis.migrate.chains import chain_of, note_broken_source, note_chains
from dir_redis.migrate.dir_core import DirCoreFile
from dir_redis.migrate.ends import Place, open_ends
from dir_redis.migrate.keyed import KeyedCopy
from dir_redis.migrate.logs import LogCopy
from dir_redis.migrate.records import KEYED, LOGS, LedgerEntry
from dir_redis.migrate.report import CopyProgress, CopyReport, KindReport, Telling


def copy_store(
    source: Place,
    target: Place,
    *,
    progress: Callable[[CopyProgress], object] | None = None,
) -> CopyReport:
    """Copy all records of one store to another, then read both again and compare them.

    Stop whoever writes to either first; what changed in the source or came into the target
    meanwhile is listed as differing. Records that are missing in the target are written, those it
    has are never overwritten, and a flow's log rows are appended if those that are there are its
    first. So a copy that was cut off is finished by starting it again. One copy at a time writes
    into a target: another waits for up to 12 seconds, by when one that was killed counts as ended.

    Args:
        source: a bundle, a URL as :func:`dir_redis.open_storage` takes, or the path of a SQLite
            file; also of one that dir-core 0.1 to 0.4 made, which is opened for reading only.
        target: a bundle, a URL, or the path of a SQLite file. What is opened here is closed here.
        progress: called at every 500 records, and for each kind at its end.

    Returns:
        What was copied, and all that differs, was adjusted or has no place in the target.

    Raises:
        TypeError: source or target is none of these, such as a bundle of dir-core's storages.
        ValueError: source and target are the same store, or a bundle mixes several.
        ResourceContentionError: another copy into the target goes on.
        LeaseLostError: this process stood still, or could not reach the target, for so long that
            another copy may have begun; start it again when no other runs.
        CorruptRecordError: a record of the source is not what its store writes.
        StorageError: one of the stores cannot be opened, read or written.
    """
    with ExitStack() as opened:
        reading, writing = open_ends(source, target, opened)
        check_alone = opened.enter_context(alone_in(writing.bundle, writing.raw.where))

        def tell(told: CopyProgress) -> None:
            check_alone()
            if progress is not None:
                progress(told)

        report = CopyReport(reading.raw.where, writing.raw.where)
        copies: list[KeyedCopy[Any] | LogCopy] = []
        for kind in KEYED:
            tally = report.kinds[kind.__name__] = KindReport()
            telling = Telling(kind.__name__, tell)
            copies.append(KeyedCopy(kind, reading.raw, writing.raw, tally, telling))
        chains = {log: chain_of(log, reading.bundle) for log in LOGS}
        for log, chain in chains.items():
            tally = report.kinds[log.__name__] = KindReport()
            if chain is not None and not chain.intact:
                note_broken_source(log, chain, tally)
            else:
                telling = Telling(log.__name__, tell)
                copies.append(LogCopy(log, reading.raw, writing.raw, tally, telling))
        for copy in copies:
            copy.copy()
        for copy in copies:
            copy.compare()
        for log, chain in chains.items():
            if log is LedgerEntry or (chain is not None and chain.verified):
                after = chain_of(log, writing.bundle)
                note_chains(log, chain, after, report.kinds[log.__name__])
        if isinstance(reading.raw, DirCoreFile):
            reading.raw.add_notes_to(report)
        return report
