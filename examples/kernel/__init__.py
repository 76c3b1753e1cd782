"""dir-core's own objects on one store: a fleet of four processes, one of which is killed.

Run it from the repository's root: ``python -m examples.kernel --help``. Read ``desk.py`` first,
where the one import is, and then ``flow.py``: one decision from its proposal to its end. What makes
it right for several processes is that each step is either harmless when repeated or inside
``IdempotencyGuard.run``; whoever takes a dead process's flow over just begins it anew.
"""
