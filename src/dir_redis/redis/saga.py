"""Dirty marks in a hash of their partition, with sorted sets for their order and for their claims.

``sagas_due`` has the flows that wait by since when they do: the time of the mark, or of the end of
a lease. So the first of it is the one to claim. ``sagas_claimed`` has the others by the end of
their lease; a claim first moves those whose lease is over back. ``sagas_counter`` keeps the latest
epoch, which a flow that was cleared leaves behind, so that epochs rise under any clock. The marks
lie in one hash, and not in a key each, since only the script that claims learns which flow it is,
and may touch no other keys than those it is called with.
"""

from __future__ import annotations

import itertools
import json
import random
from datetime import datetime
from typing import Any, Unpack

from dir_redis.claims import compensation_lost
from dir_redis.clock import as_datetime
from dir_redis.errors import CorruptRecordError
from dir_redis.fleet_protocols import SagaClaimStorage
from dir_redis.records import DirtyClaim
from dir_redis.redis.replies import as_json, as_ordered, as_text
from dir_redis.redis.steps import Call, Command, Steps, operation, ordered_members
from dir_redis.redis.storage import RedisStorage
from dir_redis.redis.store import RedisOptions


class RedisSagaStorage(RedisStorage, SagaClaimStorage):
    """Flows of a fleet that wait for compensation (DIR §7).

    Args:
        url_or_client: as for every Redis storage.
        options: as for every Redis storage.
    """

    def __init__(self, url_or_client: object, **options: Unpack[RedisOptions]) -> None:
        super().__init__(url_or_client, **options)
        # Each claim begins with the next partition, and each client elsewhere.
        self._turns = itertools.count(random.randrange(self._keys.partitions))

    @operation
    def mark_dirty(self, dfid: str, failed_step: str, partial_state_json: str) -> Steps[None]:
        mark = stored_mark(failed_step, partial_state_json)
        yield Call("saga_mark", self._keys_of(dfid), (dfid, mark))

    @operation
    def get_dirty_flows(self) -> Steps[list[str]]:
        keys = self._keys.in_each_partition("sagas_dirty")
        return as_ordered((yield ordered_members(keys)))

    @operation
    def get_dirty_state(self, dfid: str) -> Steps[dict[str, Any] | None]:
        return (yield from self._state(dfid))

    @operation
    def claim_dirty(
        self, owner: str, lease_sec: float, dfid: str | None = None
    ) -> Steps[DirtyClaim | None]:
        queues = self._queues() if dfid is None else [self._queue_of(dfid)]
        first = next(self._turns)
        for turn in range(len(queues)):
            queue = queues[(first + turn) % len(queues)]
            call = Call("saga_claim", queue, (owner, round(lease_sec * 1_000_000), dfid or ""))
            word = ""
            while word != "NONE":
                word, _, rest = as_text((yield call)).partition(" ")
                if word == "CLAIMED":
                    return (yield from self._claimed(rest))
                if word == "HELD":  # the reply that had the mark in it got lost
                    claim = yield from self._held(rest)
                    if claim is not None:
                        return claim
        return None

    @operation
    def renew_dirty(self, dfid: str, epoch: int, lease_sec: float) -> Steps[datetime]:
        due, claims = self._keys.sagas_due(dfid), self._keys.sagas_claims(dfid)
        keys = (due, self._keys.sagas_claimed(dfid), claims)
        reply = yield Call("saga_renew", keys, (dfid, epoch, round(lease_sec * 1_000_000)))
        word, _, until = as_text(reply).partition(" ")
        if word == "LOST":
            raise compensation_lost(dfid, epoch)
        return as_datetime(int(until))

    @operation
    def release_dirty(self, dfid: str, epoch: int) -> Steps[None]:
        keys = self._keys
        queue = (
            keys.sagas_dirty(dfid),
            keys.sagas_due(dfid),
            self._keys.sagas_claimed(dfid),
            keys.sagas_claims(dfid),
        )
        if as_text((yield Call("saga_release", queue, (dfid, epoch)))) == "LOST":
            raise compensation_lost(dfid, epoch)

    @operation
    def clear_dirty(self, dfid: str, *, epoch: int | None = None) -> Steps[None]:
        claim = "" if epoch is None else epoch
        reply = yield Call("saga_clear", self._keys_of(dfid), (dfid, claim))
        if epoch is not None and as_text(reply) == "LOST":
            raise compensation_lost(dfid, epoch)

    def _claimed(self, claimed: str) -> Steps[DirtyClaim]:
        epoch, until_us, dfid_size, rest = claimed.split(" ", 3)
        # The size is in bytes, whether the client decodes replies or not.
        parts = rest.encode()
        dfid = parts[: int(dfid_size)].decode()
        mark = parts[int(dfid_size) :]
        if mark:
            state = self._mark(dfid, mark)
        else:
            _, failed_step, partial_state = yield from self._read(dfid)
            state = self._old_mark(dfid, failed_step, partial_state)
        return _claim(dfid, epoch, state, until_us)

    def _held(self, held: str) -> Steps[DirtyClaim | None]:
        """A claim made before, with the mark as it is; None if that is no claim any more."""
        epoch, until_us, dfid = held.split(" ", 2)
        state = yield from self._state(dfid)
        # Looked at last: a claim that stands is of the mark that was read.
        claim = yield Command("HGET", self._keys.sagas_claims(dfid), (dfid,))
        stands = claim is not None and as_text(claim).startswith(f"{epoch} {until_us} ")
        return _claim(dfid, epoch, state, until_us) if stands and state is not None else None

    def _state(self, dfid: str) -> Steps[dict[str, Any] | None]:
        mark, failed_step, partial_state = yield from self._read(dfid)
        if mark is not None:
            return self._mark(dfid, mark)
        if failed_step is None and partial_state is None:
            return None
        return self._old_mark(dfid, failed_step, partial_state)

    def _read(self, dfid: str) -> Steps[list[Any]]:
        keys = (self._keys.sagas_marks(dfid), self._keys.saga(dfid))
        reply: list[Any] = yield Call("saga_read", keys, (dfid,))
        return reply

    def _mark(self, dfid: str, mark: Any) -> dict[str, Any]:
        key = self._keys.sagas_marks(dfid)
        stored = as_json(key, mark)
        try:
            return {
                "failed_step": stored["failed_step"],
                "partial_state": stored["partial_state"],
            }
        except (KeyError, TypeError) as error:
            raise CorruptRecordError(key, f"the mark of {dfid!r} lacks a field") from error

    def _old_mark(self, dfid: str, failed_step: Any, partial_state: Any) -> dict[str, Any]:
        key = self._keys.saga(dfid)
        if failed_step is None:
            raise CorruptRecordError(key, "it has no failed step")
        return {"failed_step": as_text(failed_step), "partial_state": as_json(key, partial_state)}

    def _queues(self) -> list[tuple[str, ...]]:
        """What a claim takes, of each partition."""
        kinds = ("sagas_due", "sagas_claimed", "sagas_marks", "sagas_claims", "sagas_counter")
        return list(zip(*map(self._keys.in_each_partition, kinds), strict=True))

    def _queue_of(self, dfid: str) -> tuple[str, ...]:
        keys = self._keys
        return (
            keys.sagas_due(dfid),
            keys.sagas_claimed(dfid),
            keys.sagas_marks(dfid),
            keys.sagas_claims(dfid),
            keys.sagas_counter(dfid),
        )

    def _keys_of(self, dfid: str) -> tuple[str, ...]:
        keys = self._keys
        return (
            keys.sagas_dirty(dfid),
            keys.sagas_due(dfid),
            self._keys.sagas_claimed(dfid),
            keys.sagas_marks(dfid),
            keys.sagas_claims(dfid),
            keys.saga(dfid),
        )


def _claim(dfid: str, epoch: str, state: dict[str, Any], until_us: str) -> DirtyClaim:
    ends = as_datetime(int(until_us))
    return DirtyClaim(dfid, int(epoch), state["failed_step"], state["partial_state"], ends)


def stored_mark(failed_step: str, partial_state_json: str) -> str:
    """A mark as ``sagas_marks`` holds it, the partial state to the byte."""
    step = json.dumps({"failed_step": failed_step})
    return f'{step[:-1]}, "partial_state": {partial_state_json}}}'
