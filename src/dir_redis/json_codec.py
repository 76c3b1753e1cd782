"""The one JSON encoding that every backend stores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dir_redis.arguments import check_depth, check_document
from dir_redis.limits import Limits


def dumps_json_dict(data: Mapping[str, Any], *, sort_keys: bool = True) -> str:
    """Encode a dict the way audit details and idempotency results are stored.

    Args:
        data: the dict; values JSON does not know (datetime, UUID, ...) become ``str(value)``.
        sort_keys: whether keys are sorted, so that equal dicts give equal text.

    Returns:
        The JSON text, ASCII only.

    Raises:
        TypeError: it holds keys that JSON objects cannot have.
        ValueError: it refers to itself, or is nested too deeply.
    """
    try:
        return json.dumps(data, sort_keys=sort_keys, default=str)
    except RecursionError as error:
        raise ValueError(f"data is nested too deeply for JSON: {error}") from error


def encode_object(argument: str, value: object, limits: Limits) -> str:
    """Encode a caller's dict, or say which argument cannot be stored.

    Raises:
        TypeError: the value is no dict, or holds keys that JSON objects cannot have.
        ValueError: the value refers to itself or is nested too deeply.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{argument} must be a dict, not {type(value).__name__}")
    return encode_value(argument, dict(value), limits)


def encode_value(argument: str, value: object, limits: Limits) -> str:
    """Encode any JSON value the way :func:`dumps_json_dict` encodes a dict's.

    Raises:
        TypeError: the value holds keys that JSON objects cannot have.
        ValueError: the value refers to itself, is nested too deeply, or is longer than the store
            takes.
    """
    try:
        encoded = json.dumps(value, sort_keys=True, default=str)
        check_depth(encoded)
    except TypeError as error:
        raise TypeError(f"{argument} cannot be stored as JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{argument} cannot be stored as JSON: {error}") from error
    return check_document(argument, encoded, limits)
