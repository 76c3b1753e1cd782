"""Sessions and states as hashes: the caller's JSON, and a version that counts the writes.

What is merged into a document gets a field per top-level key, and whoever reads puts document and
fields together: the server parses no JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dir_redis.documents import (
    check_object,
    check_version,
    encode_updates,
    merge_into,
    session_of,
    state_of,
)
from dir_redis.errors import CorruptRecordError
from dir_redis.fleet_protocols import ContextMergeStorage
from dir_redis.records import VersionedDocument
from dir_redis.redis.replies import as_fields, as_text, as_version
from dir_redis.redis.steps import Argument, Call, Command, Steps, operation
from dir_redis.redis.storage import RedisStorage

MERGED = "+"


class RedisContextStorage(RedisStorage, ContextMergeStorage):
    """Session context and agent state of a fleet (DIR §8)."""

    @operation
    def get_session(self, dfid: str) -> Steps[str | None]:
        return document_in(key := self._keys.session(dfid), (yield from _fields(key)))

    @operation
    def set_session(
        self,
        dfid: str,
        data_json: str,
        *,
        agent_id: str | None = None,
        expected_version: int | None = None,
    ) -> Steps[None]:
        key = self._keys.session(dfid)
        return _set(key, session_of(dfid), data_json, expected_version, agent_id)

    @operation
    def get_state(self, agent_id: str) -> Steps[str | None]:
        return document_in(key := self._keys.state(agent_id), (yield from _fields(key)))

    @operation
    def set_state(
        self, agent_id: str, data_json: str, *, expected_version: int | None = None
    ) -> Steps[None]:
        key = self._keys.state(agent_id)
        return _set(key, state_of(agent_id), data_json, expected_version)

    @operation
    def merge_session(
        self, dfid: str, updates: Mapping[str, Any], *, agent_id: str | None = None
    ) -> Steps[int]:
        encoded = encode_updates(updates, self._limits)
        return _merge(self._keys.session(dfid), session_of(dfid), encoded, agent_id)

    @operation
    def merge_state(self, agent_id: str, updates: Mapping[str, Any]) -> Steps[int]:
        encoded = encode_updates(updates, self._limits)
        return _merge(self._keys.state(agent_id), state_of(agent_id), encoded)

    @operation
    def get_session_versioned(self, dfid: str) -> Steps[VersionedDocument]:
        return _versioned(key := self._keys.session(dfid), (yield from _fields(key)))

    @operation
    def get_state_versioned(self, agent_id: str) -> Steps[VersionedDocument]:
        return _versioned(key := self._keys.state(agent_id), (yield from _fields(key)))


def _set(
    key: str, record: str, data_json: str, expected: int | None, agent_id: str | None = None
) -> Steps[None]:
    version = "" if expected is None else expected
    call = Call("context_set", (key,), (version, "data", data_json, *_agent(agent_id)))
    verdict, _, found = as_text((yield call)).partition(" ")
    if verdict == "CONFLICT":
        check_version(record, expected, int(found))


def _merge(
    key: str, record: str, updates: Mapping[str, str], agent_id: str | None = None
) -> Steps[int]:
    fields: list[Argument] = [*_agent(agent_id)]
    for name, value in updates.items():
        fields += (MERGED + name, value)
    reply = as_text((yield Call("context_merge", (key,), tuple(fields))))
    verdict, _, first = reply.partition(" ")
    if verdict == "REFUSED":
        check_object(record, first)
    return int(reply)


def _agent(agent_id: str | None) -> tuple[Argument, ...]:
    return () if agent_id is None else ("agent_id", agent_id)


def _fields(key: str) -> Steps[dict[str, str]]:
    return as_fields((yield Command("HGETALL", key)))


def document_in(key: str, fields: dict[str, str]) -> str | None:
    """The document in a hash, with what was merged into it.

    Raises:
        CorruptRecordError: there is none in it, or no JSON object to merge into.
    """
    if not fields:
        return None
    data = fields.get("data")
    if data is None:
        raise CorruptRecordError(key, "it has no data")
    try:
        return merge_into(data, merged_in(fields))
    except (ValueError, RecursionError) as error:
        raise CorruptRecordError(key, str(error)) from error


def merged_in(fields: Mapping[str, str]) -> dict[str, str]:
    """What was merged into the document in a hash, by key."""
    return {
        name.removeprefix(MERGED): value
        for name, value in fields.items()
        if name.startswith(MERGED)
    }


def _versioned(key: str, fields: dict[str, str]) -> VersionedDocument:
    document = document_in(key, fields)
    if document is None:
        return VersionedDocument(None, 0)
    return VersionedDocument(document, as_version(key, fields.get("version")))
