"""A fleet of trading agents, one process each, that share one store and nothing else.

Run it from the repository's root: ``python -m examples.fleet --help``. Read ``flow.py`` first: it
is one decision from its registered agent to its release. ``recovery.py`` is what happens when a
process dies in the middle of one, ``invariants.py`` what must hold regardless.

The store has no run-once claims yet, so a flow is claimed with what is atomic today: a reservation
of 1 of the resource ``order:<dfid>``, of which there is 1 (``claims.py``). All else rests on this:

- only who holds a flow's order writes its trail, so a trail has one writer at a time;
- what a process is about to claim is in the store before it claims it, so that whoever finds the
  process dead knows where to look.
"""
