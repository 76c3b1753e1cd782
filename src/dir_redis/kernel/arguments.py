"""What managers use of an argument before, or after, a storage has checked it.

Ids, texts and amounts are checked by the storages, within their own limits. Here is what dir-core
takes apart itself: models, callbacks, and dicts that become JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def like(argument: str, value: T, kind: str, *attributes: str) -> T:
    """Return a value that has the attributes of one of dir-core's models, as dir-core asks for.

    Args:
        argument: its name.
        value: the model, or anything that has what is used of it.
        kind: the model's name.
        attributes: what is used of it.

    Raises:
        TypeError: it lacks one.
    """
    for name in attributes:
        if not hasattr(value, name):
            raise TypeError(f"{argument} must be a {kind}; {type(value).__name__} has no {name}")
    return value


def valid(argument: str, value: Any, kind: Any) -> Any:
    """Return one of dir-core's models anew, with nothing in it that its constructor would refuse.

    Raises:
        TypeError: it is no model.
        ValueError: it is another one, or a field was set to what it cannot be.
    """
    like(argument, value, kind.__name__, "model_dump")
    return kind.model_validate(value.model_dump(warnings=False))


def callback(argument: str, value: T) -> T:
    """Return what is to be called later.

    Raises:
        TypeError: it cannot be called.
    """
    if not callable(value):
        raise TypeError(f"{argument} must be callable, not {type(value).__name__}")
    return value


def number(argument: str, value: object) -> float:
    """Return an int or float as a plain one; it may be negative or infinite.

    Raises:
        TypeError: it is neither.
        ValueError: it is NaN.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{argument} must be a number, not {type(value).__name__}")
    plain = int.__int__(value) if isinstance(value, int) else float.__float__(value)
    if plain != plain:
        raise ValueError(f"{argument} must not be NaN")
    return plain


def encoded(argument: str, value: object, default: Callable[[Any], Any] | None = None) -> str:
    """Return JSON text in dir-core's encoding.

    Args:
        argument: its name.
        value: what to encode.
        default: makes something of a value that JSON does not know; None refuses it.

    Raises:
        TypeError: JSON does not know it.
        ValueError: it refers to itself, or is nested too deeply.
    """
    try:
        return json.dumps(value, default=default)
    except TypeError as error:
        raise TypeError(f"{argument} cannot be stored as JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{argument} cannot be stored as JSON: {error}") from error
