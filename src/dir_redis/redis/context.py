"""Sessions and states as hashes: the caller's JSON, and a version that counts the writes."""

from __future__ import annotations

from dir_redis.protocols import ContextStorage
from dir_redis.redis.replies import as_optional_text
from dir_redis.redis.steps import Call, Command, Steps, operation
from dir_redis.redis.storage import RedisStorage


class RedisContextStorage(RedisStorage, ContextStorage):
    """Session context and agent state of a fleet (DIR §8)."""

    @operation
    def get_session(self, dfid: str) -> Steps[str | None]:
        return as_optional_text((yield Command("HGET", self._keys.session(dfid), ("data",))))

    @operation
    def set_session(self, dfid: str, data_json: str, *, agent_id: str | None = None) -> Steps[None]:
        agent = () if agent_id is None else ("agent_id", agent_id)
        yield Call("context_set", (self._keys.session(dfid),), ("data", data_json, *agent))

    @operation
    def get_state(self, agent_id: str) -> Steps[str | None]:
        return as_optional_text((yield Command("HGET", self._keys.state(agent_id), ("data",))))

    @operation
    def set_state(self, agent_id: str, data_json: str) -> Steps[None]:
        yield Call("context_set", (self._keys.state(agent_id),), ("data", data_json))
