"""Sessions by dfid and states by agent_id, in two dicts that never mix."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

from dir_redis.arguments import checked
from dir_redis.documents import (
    EMPTY_OBJECT,
    check_object,
    check_version,
    encode_updates,
    merge_into,
    session_of,
    state_of,
)
from dir_redis.fleet_protocols import ContextMergeStorage
from dir_redis.limits import LimitOptions
from dir_redis.memory.storage import MemoryStorage, MemoryStore
from dir_redis.records import VersionedDocument


@dataclass(slots=True)
class _Document:
    """The text that was set, what was merged into it since, when it ends (microseconds), and whose.

    Nothing returns the agent_id; it is kept for the other backends, to which a store may move.
    """

    data_json: str
    version: int
    merged: dict[str, str] = field(default_factory=dict)
    ends: int | None = None
    agent_id: str | None = None


_Documents = dict[str, _Document]


class MemoryContextStorage(MemoryStorage, ContextMergeStorage):
    """Session context and agent state of one process (DIR §8)."""

    def __init__(self, store: MemoryStore | None = None, **limits: Unpack[LimitOptions]) -> None:
        super().__init__(store, **limits)
        self._sessions: _Documents = {}
        self._states: _Documents = {}
        self._endings: list[tuple[int, str]] = []

    @checked
    def get_session(self, dfid: str) -> str | None:
        with self._lock:
            return _read(self._live_sessions(), dfid).data_json

    @checked
    def set_session(
        self,
        dfid: str,
        data_json: str,
        *,
        agent_id: str | None = None,
        expected_version: int | None = None,
    ) -> None:
        with self._lock:
            record = session_of(dfid)
            _set(self._live_sessions(), dfid, record, data_json, expected_version, agent_id)

    @checked
    def get_state(self, agent_id: str) -> str | None:
        with self._lock:
            return _read(self._states, agent_id).data_json

    @checked
    def set_state(
        self, agent_id: str, data_json: str, *, expected_version: int | None = None
    ) -> None:
        with self._lock:
            _set(self._states, agent_id, state_of(agent_id), data_json, expected_version)

    @checked
    def merge_session(
        self, dfid: str, updates: Mapping[str, Any], *, agent_id: str | None = None
    ) -> int:
        encoded = encode_updates(updates, self._limits)
        with self._lock:
            return _merge(self._live_sessions(), dfid, session_of(dfid), encoded, agent_id)

    @checked
    def merge_state(self, agent_id: str, updates: Mapping[str, Any]) -> int:
        encoded = encode_updates(updates, self._limits)
        with self._lock:
            return _merge(self._states, agent_id, state_of(agent_id), encoded)

    @checked
    def get_session_versioned(self, dfid: str) -> VersionedDocument:
        with self._lock:
            return _read(self._live_sessions(), dfid)

    @checked
    def get_state_versioned(self, agent_id: str) -> VersionedDocument:
        with self._lock:
            return _read(self._states, agent_id)

    def expire_session(self, dfid: str, session_ttl_sec: float | None, *, again: bool) -> None:
        """Let a flow's session, if there is one, end by itself; the next write keeps it again.

        Args:
            dfid: the flow.
            session_ttl_sec: after how long; None never.
            again: whether this counts also if the session is on its way out already.
        """
        with self._lock:
            document = self._live_sessions().get(dfid)
            if document is None or not (again or document.ends is None):
                return
            document.ends = None
            if session_ttl_sec is not None:
                document.ends = self._clock.now() + round(session_ttl_sec * 1_000_000)
                heapq.heappush(self._endings, (document.ends, dfid))

    def _live_sessions(self) -> _Documents:
        """The sessions without those that have ended."""
        if self._endings:
            now = self._clock.now()
            while self._endings and self._endings[0][0] <= now:
                ends, dfid = heapq.heappop(self._endings)
                document = self._sessions.get(dfid)
                if document is not None and document.ends == ends:
                    del self._sessions[dfid]
        return self._sessions


def _read(documents: _Documents, identifier: str) -> VersionedDocument:
    document = documents.get(identifier)
    if document is None:
        return VersionedDocument(None, 0)
    return VersionedDocument(merge_into(document.data_json, document.merged), document.version)


def _set(
    documents: _Documents,
    identifier: str,
    record: str,
    data_json: str,
    expected: int | None,
    agent_id: str | None = None,
) -> None:
    document = documents.get(identifier) or _Document(EMPTY_OBJECT, 0)
    check_version(record, expected, document.version)
    documents[identifier] = _Document(
        data_json, document.version + 1, agent_id=agent_id or document.agent_id
    )


def _merge(
    documents: _Documents,
    identifier: str,
    record: str,
    updates: dict[str, str],
    agent_id: str | None = None,
) -> int:
    document = documents.get(identifier) or _Document(EMPTY_OBJECT, 0)
    check_object(record, document.data_json)
    documents[identifier] = document
    document.agent_id = agent_id or document.agent_id
    document.merged.update(updates)
    document.version += 1
    document.ends = None
    return document.version
