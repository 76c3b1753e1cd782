"""A log of many rows, written by the server itself, as ``record`` would have written them."""

from __future__ import annotations

from typing import Any

from benchmarks import payloads as p
from dir_redis import StorageBundle

UNDER_WAY = 100
ROWS_PER_FLOW = 10

# What lua/flow_log_append.lua writes, for a block of flows at once.
_BLOCK = """
for row = 1, tonumber(ARGV[1]) do
  for flow = 2, #KEYS do
    ARGV[3] = string.match(KEYS[flow], ':([^:]*)$')
    redis.call('RPUSH', KEYS[flow], redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2)))
  end
end
"""


def in_flow(number: int) -> str:
    """The dfid of a flow of the log."""
    return f"flow-{number:06d}"


def fill_log(client: Any, bundle: StorageBundle, rows: int) -> None:
    """Append rows to a namespace's audit log, 10 to a flow; 100 flows are under way at a time."""
    keys = bundle.decision_audit._keys  # type: ignore[attr-defined]
    fields = [text for pair in p.audit_entry("").items() for text in pair]
    for block in range(rows // (ROWS_PER_FLOW * UNDER_WAY)):
        dfids = [in_flow(block * UNDER_WAY + number) for number in range(UNDER_WAY)]
        flow_keys = [keys.log_of_flow("audit", dfid) for dfid in dfids]
        log_key = keys.log("audit", dfids[0])
        client.eval(_BLOCK, 1 + UNDER_WAY, log_key, *flow_keys, ROWS_PER_FLOW, *fields)
