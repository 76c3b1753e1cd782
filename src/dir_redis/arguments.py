"""What every argument may be: one rule per argument name, applied alike on all backends.

The Protocols use the same name for the same thing everywhere, so the name alone decides the
rule. :func:`checked` applies the rules before a method's body runs: nothing is stored, and
nothing is sent, when an argument is refused.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, get_args

MAX_ID_BYTES = 1024
MAX_DURATION_SEC = 10 * 366 * 86_400
INT64_MAX = 2**63 - 1

_DEPTH_MARGIN = 200

SEVERITIES = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})

P = ParamSpec("P")
R = TypeVar("R")
Self = TypeVar("Self")
Rule = Callable[[str, Any], Any]


def text(argument: str, value: object) -> str:
    """Any string that UTF-8 can hold; a str subclass (such as a StrEnum) becomes a plain str."""
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a str, not {type(value).__name__}")
    plain = value if type(value) is str else str.__str__(value)
    if plain.isascii():
        return plain
    try:
        plain.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{argument} holds a lone surrogate, which UTF-8 cannot store") from error
    return plain


def identifier(argument: str, value: object) -> str:
    """A non-empty string of up to 1,024 bytes in UTF-8."""
    plain = text(argument, value)
    if not plain:
        raise ValueError(f"{argument} must not be empty")
    size = len(plain) if plain.isascii() else len(plain.encode())
    if size > MAX_ID_BYTES:
        raise ValueError(f"{argument} is {size} bytes long; at most {MAX_ID_BYTES} are allowed")
    return plain


def json_text(argument: str, value: object) -> str:
    """A string that ``json.loads`` takes, kept to the byte."""
    plain = text(argument, value)
    try:
        json.loads(plain)
        check_depth(plain)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{argument} is not JSON: {error}") from error
    return plain


def check_depth(encoded: str) -> None:
    """Leave room for reading a document from a deeper stack, or within another document.

    Raises:
        RecursionError: JSON text is nested almost too deeply for Python to parse.
    """
    if encoded.count("[") + encoded.count("{") > _DEPTH_MARGIN:
        json.loads("[" * _DEPTH_MARGIN + encoded + "]" * _DEPTH_MARGIN)


def json_document(argument: str, value: object) -> str:
    """Like :func:`json_text`; ``""`` and ``None`` count as ``{}``."""
    if value is None or value == "":
        return "{}"
    return json_text(argument, value)


def integer(argument: str, value: object) -> int:
    """An int that 64 bits hold; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument} must be an int, not {type(value).__name__}")
    if not -INT64_MAX - 1 <= value <= INT64_MAX:
        raise ValueError(f"{argument} must fit 64 bits")
    return int(value)


def count(argument: str, value: object) -> int:
    """An int of 0 or more."""
    number = integer(argument, value)
    if number < 0:
        raise ValueError(f"{argument} must be 0 or more, not {number}")
    return number


def flag(argument: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{argument} must be a bool, not {type(value).__name__}")
    return value


def seconds(argument: str, value: object) -> float:
    """A finite number of seconds, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{argument} must be a number of seconds, not {type(value).__name__}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{argument} must be a finite number of seconds, 0 or more, not {value}")
    return float(value)


def duration(argument: str, value: object) -> float:
    """A number of seconds above 0, at most ten years; at least a millisecond is kept."""
    number = seconds(argument, value)
    if not 0.001 <= number <= MAX_DURATION_SEC:
        raise ValueError(
            f"{argument} must be at least 0.001 s and at most {MAX_DURATION_SEC} s, not {number}"
        )
    return number


def severity(_argument: str, value: object) -> str:
    """One of the five levels; anything else is INFO."""
    return str.__str__(value) if isinstance(value, str) and value in SEVERITIES else "INFO"


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ("dfid", "agent_id", "resource_id", "exclude_dfid", "root_dfid", "key")
        + ("owner", "reviewer", "group"),
        identifier,
    ),
    **dict.fromkeys(
        ("status", "suspension_reason", "agent_version", "session_token", "event", "step_id")
        + ("state", "failed_step", "reason", "impact", "resolved_at", "decision")
        + ("from_status", "to_status", "expected", "to", "fingerprint", "default_decision", "by")
        + ("cursor", "after", "anchor"),
        text,
    ),
    **dict.fromkeys(
        ("contract_json", "partial_state_json", "context_json", "proposal_json"), json_document
    ),
    "data_json": json_text,
    **dict.fromkeys(("priority", "fencing_token", "epoch"), integer),
    **dict.fromkeys(("count", "limit", "expected_version", "max_rows"), count),
    **dict.fromkeys(("timeout_sec", "wait_sec"), seconds),
    **dict.fromkeys(
        ("lease_sec", "ttl_sec", "window_sec", "deadline_sec", "session_ttl_sec", "older_than_sec"),
        duration,
    ),
    **dict.fromkeys(("keep_suspended", "replace"), flag),
    "severity": severity,
}


def checked(
    method: Callable[Concatenate[Self, P], R],
) -> Callable[Concatenate[Self, P], R]:
    """Apply :data:`RULES` to a method's arguments before it runs.

    An argument whose annotation allows None may be None. Arguments without a rule (amounts,
    dicts to encode) are the method's own to check, since checking them converts them.
    """
    parameters = list(inspect.signature(method, eval_str=True).parameters.values())[1:]
    rules = [
        (position, p.name, RULES[p.name], type(None) in get_args(p.annotation))
        for position, p in enumerate(parameters)
        if p.name in RULES
    ]

    call: Callable[..., R] = method

    @functools.wraps(method)
    def checking(self: Self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        positional: list[Any] = list(args)
        named: dict[str, Any] = kwargs
        for position, name, rule, optional in rules:
            if position < len(positional):
                value = positional[position]
                if value is not None or not optional:
                    positional[position] = rule(name, value)
            elif name in named:
                value = named[name]
                if value is not None or not optional:
                    named[name] = rule(name, value)
        return call(self, *positional, **named)

    return checking
