"""Memory per audit row, against one plain stream with the same rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import payloads as p
from benchmarks.fill import ROWS_PER_FLOW, UNDER_WAY, in_flow
from benchmarks.measure import Sizes
from benchmarks.report import Aim, Section, Table
from benchmarks.servers import plain_client, server
from dir_redis import redis_storage

AIM = 1.3

HOW = """\
The growth of the server's `used_memory` after writing the same rows through `record`, and, on
another fresh server, by XADD to one stream of the same eight fields (dfid, event, step_id, state,
details, root_dfid, agent_id, severity, with the same values); neither has a field for the time,
which the entry id holds. Ten rows to a flow, 100 flows under way at a time.
"""


def run(sizes: Sizes) -> Section:
    """Measure."""
    rows = sizes.memory_rows
    with server() as url:
        client = plain_client(url)
        with redis_storage(url) as bundle:
            ours = _growth(
                client,
                rows,
                lambda dfid: bundle.decision_audit.record(
                    dfid, details=p.DETAILS, **p.AUDIT_FIELDS
                ),
            )
            keys: Any = bundle.decision_audit._keys  # type: ignore[attr-defined]
            log = client.memory_usage(keys.log("audit", "x"), samples=0)
            of_flows = sum(
                client.memory_usage(keys.log_of_flow("audit", in_flow(number)), samples=0)
                for number in range(UNDER_WAY)
            ) / (UNDER_WAY * ROWS_PER_FLOW)
        client.close()
    with server() as url:
        client = plain_client(url)
        plain = _growth(client, rows, lambda dfid: client.xadd("plain", p.audit_entry(dfid)))
        client.close()
    section = Section("Memory of the audit log", HOW)
    section.tables.append(
        Table(
            (f"{rows:,} rows in {rows // ROWS_PER_FLOW:,} flows", "bytes per row"),
            (
                ("one plain stream", f"{plain / rows:.0f}"),
                ("the log of `record`", f"{ours / rows:.0f}"),
                ("of it the stream (MEMORY USAGE)", f"{log / rows:.0f}"),
                ("of it the lists of the flows' entry ids (MEMORY USAGE)", f"{of_flows:.0f}"),
            ),
        )
    )
    section.aims.append(
        Aim(
            f"memory per audit row at most {AIM} of a plain stream",
            f"{ours / plain:.2f} ({ours / rows:.0f} of {plain / rows:.0f} bytes)",
            ours / plain <= AIM,
        )
    )
    return section


def _growth(client: Any, rows: int, write: Callable[[str], object]) -> int:
    """The bytes that writing rows adds."""
    before = client.info("memory")["used_memory"]
    for block in range(rows // (ROWS_PER_FLOW * UNDER_WAY)):
        for _ in range(ROWS_PER_FLOW):
            for number in range(UNDER_WAY):
                write(in_flow(block * UNDER_WAY + number))
    return int(client.info("memory")["used_memory"]) - int(before)
