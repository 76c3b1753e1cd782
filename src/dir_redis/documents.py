"""Contexts as documents: what a merge makes of the caller's JSON text, alike on all backends.

A merge replaces top-level members and leaves the text of the others as it is. The result has the
members of the text that was set, in their order, and then the new ones sorted by key: it depends on
what was merged, not on the order of merges, so that hosts need not agree on one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dir_redis.arguments import size_of, text
from dir_redis.errors import VersionConflictError
from dir_redis.json_codec import encode_value
from dir_redis.limits import MAX_ITEMS, Limits

EMPTY_OBJECT = "{}"

_decode = json.JSONDecoder().raw_decode
_OPENING = re.compile(r"[ \t\n\r]*\{[ \t\n\r]*(?P<end>\}[ \t\n\r]*\Z)?")
_COLON = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*(?:,[ \t\n\r]*|(?P<end>\}[ \t\n\r]*\Z))")

_KINDS = {"[": "array", '"': "string", "t": "boolean", "f": "boolean", "n": "null"}


def encode_updates(updates: object, limits: Limits) -> dict[str, str]:
    """Encode each value of a caller's updates; by key, the values' JSON text.

    Raises:
        TypeError: the updates are no dict, a key is no str, or a value holds keys that JSON
            objects cannot have.
        ValueError: a key holds a lone surrogate; a value refers to itself or is nested too deeply;
            they are more, or longer together, than the store takes.
    """
    if not isinstance(updates, Mapping):
        raise TypeError(f"updates must be a dict, not {type(updates).__name__}")
    encoded: dict[str, str] = {}
    size = 0
    for number, (key, value) in enumerate(updates.items()):
        if number == MAX_ITEMS:
            raise ValueError(f"updates are more than {MAX_ITEMS:,}; merge them in several calls")
        name = text("a key of updates", key, limits)
        encoded[name] = encode_value("updates", value, limits)
        size += size_of(name) + len(encoded[name])
        if size > limits.max_document_bytes:
            raise ValueError(
                f"updates are more than {limits.max_document_bytes} bytes together "
                "(see max_document_bytes)"
            )
    return encoded


def session_of(dfid: str) -> str:
    """A session, as errors call it."""
    return f"session of {dfid!r}"


def state_of(agent_id: str) -> str:
    """A state, as errors call it."""
    return f"state of {agent_id!r}"


def check_version(record: str, expected: int | None, found: int) -> None:
    """Refuse to replace another version than the caller has read.

    Raises:
        VersionConflictError: the versions differ.
    """
    if expected is not None and expected != found:
        raise VersionConflictError(record, expected, found)


def check_object(record: str, data_json: str) -> None:
    """Refuse to merge into JSON that is no object.

    Args:
        record: the document, as errors call it.
        data_json: its JSON text, of which the first character that is not blank will do.

    Raises:
        ValueError: it is no object.
    """
    first = data_json.lstrip(" \t\n\r")[:1]
    if first != "{":
        kind = _KINDS.get(first, "number")
        raise ValueError(f"the {record} holds a JSON {kind}; merging needs an object")


def members_of(data_json: str) -> dict[str, str]:
    """Split the text of a JSON object; by key, the values' text to the byte.

    Of a key that is there twice, the last value counts, as for ``json.loads``.

    Raises:
        ValueError: the text is no JSON object.
    """
    members: dict[str, str] = {}
    separator = _OPENING.match(data_json)
    while separator is not None and separator["end"] is None:
        key, position = _decode(data_json, separator.end())
        colon = _COLON.match(data_json, position)
        if colon is None or not isinstance(key, str):
            break
        start = colon.end()
        _, end = _decode(data_json, start)
        members[key] = data_json[start:end]
        separator = _COMMA.match(data_json, end)
    else:
        if separator is not None:
            return members
    raise ValueError("it should hold a JSON object")


def merge(members: Mapping[str, str], updates: Mapping[str, str], base_keys: int) -> str:
    """Return the text of a document with updates merged into it.

    Args:
        members: the document's members, see :func:`members_of`.
        updates: encoded values by key.
        base_keys: how many members, from the first, are those of the text that was set.
    """
    merged: dict[str, Any] = {**members, **updates}
    base = list(members)[:base_keys]
    more = sorted(merged.keys() - set(base))
    return "{" + ", ".join(f"{json.dumps(key)}: {merged[key]}" for key in (*base, *more)) + "}"


def merge_into(data_json: str, updates: Mapping[str, str]) -> str:
    """Return the text that was set, with all that was merged into it since.

    Raises:
        ValueError: the text is no JSON object.
    """
    if not updates:
        return data_json
    members = members_of(data_json)
    return merge(members, updates, len(members))
