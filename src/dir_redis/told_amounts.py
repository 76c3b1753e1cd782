"""What a store told each caller that others hold, so that a later acquire can be refused.

The kernel's ``ResourceLockManager`` reads what others hold, compares, and only then acquires.
Between the two another host can take the room. Remembering the number that was told lets the
acquire notice: it carries the number along, and the store refuses if the truth has grown.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from typing import Any
from weakref import WeakKeyDictionary

MAX_FLOWS_PER_CALLER = 64
MAX_RESOURCES_PER_CALLER = 4096

_Flows = OrderedDict[str, dict[str, int]]


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.flows: _Flows = OrderedDict()
        self.flows_by_task: WeakKeyDictionary[asyncio.Task[Any], _Flows] = WeakKeyDictionary()


class ToldAmounts:
    """Units told to each caller (thread, and asyncio task in it), by dfid and resource_id.

    Holds the latest 64 flows and 4,096 resources of a caller; a thread's or task's entries go
    with it.
    """

    def __init__(self) -> None:
        self._callers = _PerThread()

    def remember(self, dfid: str, resource_id: str, units: int) -> None:
        """Note what this caller was told others than dfid hold of resource_id."""
        flows = self._flows()
        flows.setdefault(dfid, {})[resource_id] = units
        flows.move_to_end(dfid)
        while len(flows) > MAX_FLOWS_PER_CALLER or (
            len(flows) > 1 and sum(map(len, flows.values())) > MAX_RESOURCES_PER_CALLER
        ):
            flows.popitem(last=False)

    def take(self, dfid: str) -> dict[str, int]:
        """Return and forget what this caller was told for dfid, by resource_id."""
        return self._flows().pop(dfid, {})

    def _flows(self) -> _Flows:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no event loop runs in this thread
            task = None
        if task is None:
            return self._callers.flows
        return self._callers.flows_by_task.setdefault(task, OrderedDict())
