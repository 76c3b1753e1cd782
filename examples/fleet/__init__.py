"""A fleet of trading agents, one process each, that share one store and nothing else.

Run it from the repository's root: ``python -m examples.fleet --help``. Read ``flow.py`` first: it
is one decision from its claim to its end. ``worker.py`` is the process around it, ``broker.py`` the
world outside that checks fencing tokens, ``invariants.py`` what must hold whoever dies.

All of it rests on this:

- a flow is begun, and gone on with, by whoever has the claim on it; claims and reservations are
  leases, so a dead process's flows and capital come free without anybody having to notice;
- whoever claims a flow goes on from what the store says, in the same steps, each of which is
  skipped or repeated harmlessly if it was done;
- what a process writes or orders bears its token, and the larger one counts.
"""
