"""Dirty marks in a dict, oldest first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack

from dir_redis.arguments import checked
from dir_redis.claims import compensation_lost
from dir_redis.clock import as_datetime
from dir_redis.fleet_protocols import SagaClaimStorage
from dir_redis.limits import LimitOptions
from dir_redis.memory.storage import MemoryStorage, MemoryStore
from dir_redis.records import DirtyClaim


@dataclass(slots=True)
class _Mark:
    """A dirty flow; due is when it may be claimed, and so the end of the lease while it is."""

    failed_step: str
    partial_state_json: str
    marked_us: int
    due_us: int
    epoch: int = 0
    owner: str | None = None


class MemorySagaStorage(MemoryStorage, SagaClaimStorage):
    """Flows of one process that wait for compensation (DIR §7)."""

    def __init__(self, store: MemoryStore | None = None, **limits: Unpack[LimitOptions]) -> None:
        super().__init__(store, **limits)
        self._marks: dict[str, _Mark] = {}
        self._last_epoch = 0

    @checked
    def mark_dirty(self, dfid: str, failed_step: str, partial_state_json: str) -> None:
        with self._lock:
            self._marks.pop(dfid, None)
            now = self._clock.now()
            self._marks[dfid] = _Mark(failed_step, partial_state_json, now, now)

    def get_dirty_flows(self) -> list[str]:
        with self._lock:
            return list(self._marks)

    @checked
    def get_dirty_state(self, dfid: str) -> dict[str, Any] | None:
        with self._lock:
            mark = self._marks.get(dfid)
            if mark is None:
                return None
            return {
                "failed_step": mark.failed_step,
                "partial_state": json.loads(mark.partial_state_json),
            }

    @checked
    def claim_dirty(
        self, owner: str, lease_sec: float, dfid: str | None = None
    ) -> DirtyClaim | None:
        with self._lock:
            now = self._clock.now()
            waiting = [
                (marked, mark)
                for marked, mark in self._marks.items()
                if (mark.owner is None or mark.due_us <= now) and dfid in (None, marked)
            ]
            if not waiting:
                return None
            claimed, mark = min(waiting, key=lambda flow: flow[1].due_us)
            mark.epoch = self._last_epoch = max(self._last_epoch + 1, now)
            mark.owner = owner
            mark.due_us = now + round(lease_sec * 1_000_000)
            return DirtyClaim(
                claimed,
                mark.epoch,
                mark.failed_step,
                json.loads(mark.partial_state_json),
                as_datetime(mark.due_us),
            )

    @checked
    def renew_dirty(self, dfid: str, epoch: int, lease_sec: float) -> datetime:
        with self._lock:
            now = self._clock.now()
            mark = self._claimed(dfid, epoch)
            if mark.due_us <= now:
                raise compensation_lost(dfid, epoch)
            mark.due_us = now + round(lease_sec * 1_000_000)
            return as_datetime(mark.due_us)

    @checked
    def release_dirty(self, dfid: str, epoch: int) -> None:
        with self._lock:
            mark = self._claimed(dfid, epoch)
            mark.owner = None
            mark.due_us = mark.marked_us

    @checked
    def clear_dirty(self, dfid: str, *, epoch: int | None = None) -> None:
        with self._lock:
            if epoch is not None:
                self._claimed(dfid, epoch)
            self._marks.pop(dfid, None)

    def _claimed(self, dfid: str, epoch: int) -> _Mark:
        mark = self._marks.get(dfid)
        if mark is None or mark.owner is None or mark.epoch != epoch:
            raise compensation_lost(dfid, epoch)
        return mark
