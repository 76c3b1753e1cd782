"""Sessions and states on Redis, see :mod:`dir_redis.redis.context`."""

from __future__ import annotations

from collections.abc import Iterator

from dir_redis.documents import members_of, merge_into, session_of, state_of
from dir_redis.errors import NotRepresentableError
from dir_redis.migrate.exact import split_document
from dir_redis.migrate.records import Session, State
from dir_redis.migrate.redis_form import Form, Found, K, Look, Write, end_of, ending, hash_of
from dir_redis.redis.context import MERGED, document_in, merged_in
from dir_redis.redis.replies import as_fields, as_version
from dir_redis.redis.steps import Argument


class _DocumentForm(Form[K]):
    """A document: the text that was set, and what was merged into it."""

    def _parts(self, at: str, fields: dict[str, str]) -> tuple[str, int | None, int]:
        """Its text, how many of its members are those that were set, and its version."""
        text = document_in(at, fields)
        assert text is not None
        # Where something was merged, the text that was set has been found to be an object.
        base_keys = len(members_of(fields["data"])) if merged_in(fields) else None
        return text, base_keys, as_version(at, fields.get("version"))

    def _fields(self, record: str, data_json: str, base_keys: int | None) -> list[Argument]:
        """The text that was set, and what was merged into it, which makes the same document."""
        try:
            data, merged = split_document(data_json, base_keys)
            if base_keys is not None and not merged:
                # All of it replaced what was set; one member of it shows that something did.
                base = members_of(data)
                shown = next(filter(_is_utf8, base), None)
                merged = {} if shown is None else {shown: base[shown]}
            if merge_into(data, merged) != data_json:
                raise ValueError("its text is not as a merge would have left it")
        except (ValueError, RecursionError) as error:
            raise NotRepresentableError(record, str(error)) from error
        fields: list[Argument] = ["data", data]
        for name, value in merged.items():
            fields += [MERGED + name, value]
        return fields


class SessionForm(_DocumentForm[Session]):
    """Sessions; their end is kept in whole milliseconds, rounded up."""

    scanned = ("session",)

    def looks(self, key: str) -> tuple[Look, ...]:
        at = self._keys.session(key)
        return Look("HGETALL", at), Look("PTTL", at)

    def signs(self, key: str) -> tuple[Look, ...]:
        return (Look("EXISTS", self._keys.session(key)),)

    def parse(self, key: str, found: Found) -> Session | None:
        fields, at = as_fields(found.parts[0]), self._keys.session(key)
        if not fields:
            return None
        text, base_keys, version = self._parts(at, fields)
        return Session(
            key, text, base_keys, version, fields.get("agent_id"), end_of(found.parts[1])
        )

    def writes(self, record: Session) -> Iterator[Write]:
        at = self._keys.session(record.dfid)
        fields = self._fields(session_of(record.dfid), record.data_json, record.base_keys)
        fields += ["version", record.version]
        if record.agent_id is not None:
            fields += ["agent_id", record.agent_id]
        yield from hash_of(at, fields)
        yield from ending(at, record.expires_us)


class StateForm(_DocumentForm[State]):
    """States."""

    scanned = ("state",)

    def looks(self, key: str) -> tuple[Look, ...]:
        return (Look("HGETALL", self._keys.state(key)),)

    def signs(self, key: str) -> tuple[Look, ...]:
        return (Look("EXISTS", self._keys.state(key)),)

    def parse(self, key: str, found: Found) -> State | None:
        fields = as_fields(found.parts[0])
        return State(key, *self._parts(self._keys.state(key), fields)) if fields else None

    def writes(self, record: State) -> Iterator[Write]:
        fields = self._fields(state_of(record.agent_id), record.data_json, record.base_keys)
        yield from hash_of(self._keys.state(record.agent_id), [*fields, "version", record.version])


def _is_utf8(name: str) -> bool:
    """Whether a key can be stored, as one that somebody merged can."""
    return not any("\ud800" <= character <= "\udfff" for character in name)
