"""The server's own counters of INFO that are compared before and after."""

from __future__ import annotations

from typing import Any

Cost = dict[str, float]
"""What was counted, by the names in COUNTED."""
COUNTED = ("calls", "commands", "script_us", "cpu_us", "bytes_in", "bytes_out", "aof")


def counters(client: Any) -> Cost:
    """The server's own counters; looking at them costs as much each time."""
    commands, told = client.info("commandstats"), client.info("persistence")
    told |= client.info("stats") | client.info("cpu")
    scripts = commands.get("cmdstat_evalsha", {"calls": 0, "usec": 0})
    return {
        "calls": scripts["calls"],
        "commands": sum(one["calls"] for one in commands.values()) - scripts["calls"],
        "script_us": scripts["usec"],
        "cpu_us": 1e6 * (told["used_cpu_user_main_thread"] + told["used_cpu_sys_main_thread"]),
        "bytes_in": told["total_net_input_bytes"],
        "bytes_out": told["total_net_output_bytes"],
        "aof": told.get("aof_current_size", 0) + told.get("aof_buffer_length", 0),
    }
