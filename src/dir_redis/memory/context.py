"""Sessions by dfid and states by agent_id, in two dicts that never mix."""

from __future__ import annotations

from dir_redis.arguments import checked
from dir_redis.memory.storage import MemoryStorage
from dir_redis.protocols import ContextStorage


class MemoryContextStorage(MemoryStorage, ContextStorage):
    """Session context and agent state of one process (DIR §8)."""

    def __init__(self) -> None:
        super().__init__()
        self._sessions: dict[str, str] = {}
        self._states: dict[str, str] = {}

    @checked
    def get_session(self, dfid: str) -> str | None:
        with self._lock:
            return self._sessions.get(dfid)

    @checked
    def set_session(self, dfid: str, data_json: str, *, agent_id: str | None = None) -> None:
        with self._lock:
            self._sessions[dfid] = data_json

    @checked
    def get_state(self, agent_id: str) -> str | None:
        with self._lock:
            return self._states.get(agent_id)

    @checked
    def set_state(self, agent_id: str, data_json: str) -> None:
        with self._lock:
            self._states[agent_id] = data_json
