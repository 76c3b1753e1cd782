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

from dir_redis.limits import DEFAULT_LIMITS, Limits

MAX_DURATION_SEC = 10 * 366 * 86_400
INT64_MAX = 2**63 - 1

_DEPTH_MARGIN = 200

SEVERITIES = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})

P = ParamSpec("P")
R = TypeVar("R")
Self = TypeVar("Self")
Rule = Callable[[str, Any, Limits], Any]


def text(argument: str, value: object, limits: Limits = DEFAULT_LIMITS) -> str:
    """Any string that UTF-8 can hold; a str subclass (such as a StrEnum) becomes a plain str."""
    return _sized(argument, string(argument, value), limits.max_text_bytes, "max_document_bytes")


def string(argument: str, value: object) -> str:
    """A str, of whatever class, as a plain one."""
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a str, not {type(value).__name__}")
    return value if type(value) is str else str.__str__(value)


def size_of(plain: str) -> int:
    """How many bytes a string has in UTF-8."""
    return len(plain) if plain.isascii() else len(plain.encode())


def _sized(argument: str, plain: str, most: int, option: str) -> str:
    """Refuse a string that UTF-8 cannot hold, or only in more bytes than are allowed."""
    size = len(plain)
    if size <= most and not plain.isascii():
        try:
            size = len(plain.encode())
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{argument} holds a lone surrogate, which UTF-8 cannot store"
            ) from error
    if size > most:
        raise ValueError(
            f"{argument} is {size} bytes long or more; at most {most} are allowed (see {option})"
        )
    return plain


def identifier(argument: str, value: object, limits: Limits = DEFAULT_LIMITS) -> str:
    """A non-empty string of so many bytes in UTF-8."""
    plain = _sized(argument, string(argument, value), limits.max_id_bytes, "max_id_bytes")
    if not plain:
        raise ValueError(f"{argument} must not be empty")
    return plain


def json_text(argument: str, value: object, limits: Limits = DEFAULT_LIMITS) -> str:
    """A string that ``json.loads`` takes, kept to the byte."""
    plain = check_document(argument, string(argument, value), limits)
    try:
        json.loads(plain)
        check_depth(plain)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{argument} is not JSON: {error}") from error
    return plain


def check_document(argument: str, encoded: str, limits: Limits) -> str:
    """Return the JSON text of a document, or say that it is too long.

    Raises:
        ValueError: it has more bytes than the store takes, or holds a lone surrogate.
    """
    return _sized(argument, encoded, limits.max_document_bytes, "max_document_bytes")


def check_depth(encoded: str) -> None:
    """Leave room for reading a document from a deeper stack, or within another document.

    Raises:
        RecursionError: JSON text is nested almost too deeply for Python to parse.
    """
    if encoded.count("[") + encoded.count("{") > _DEPTH_MARGIN:
        json.loads("[" * _DEPTH_MARGIN + encoded + "]" * _DEPTH_MARGIN)


def json_document(argument: str, value: object, limits: Limits = DEFAULT_LIMITS) -> str:
    """Like :func:`json_text`; ``""`` and ``None`` count as ``{}``."""
    plain = "" if value is None else string(argument, value)
    return json_text(argument, plain, limits) if plain else "{}"


def integer(argument: str, value: object, _limits: Limits = DEFAULT_LIMITS) -> int:
    """An int that 64 bits hold; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument} must be an int, not {type(value).__name__}")
    number = int.__int__(value)
    if not -INT64_MAX - 1 <= number <= INT64_MAX:
        raise ValueError(f"{argument} must fit 64 bits")
    return number


def count(argument: str, value: object, _limits: Limits = DEFAULT_LIMITS) -> int:
    """An int of 0 or more."""
    number = integer(argument, value)
    if number < 0:
        raise ValueError(f"{argument} must be 0 or more, not {number}")
    return number


def flag(argument: str, value: object, _limits: Limits = DEFAULT_LIMITS) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{argument} must be a bool, not {type(value).__name__}")
    return value


def seconds(argument: str, value: object, _limits: Limits = DEFAULT_LIMITS) -> float:
    """A finite number of seconds, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{argument} must be a number of seconds, not {type(value).__name__}")
    try:
        number = float.__float__(value) if isinstance(value, float) else int.__float__(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{argument} must be a finite number of seconds, 0 or more, not {number}")
    return number


def duration(argument: str, value: object, _limits: Limits = DEFAULT_LIMITS) -> float:
    """A number of seconds above 0, at most ten years; at least a millisecond is kept."""
    number = seconds(argument, value)
    if not 0.001 <= number <= MAX_DURATION_SEC:
        raise ValueError(
            f"{argument} must be at least 0.001 s and at most {MAX_DURATION_SEC} s, not {number}"
        )
    return number


def severity(_argument: str, value: object, _limits: Limits = DEFAULT_LIMITS) -> str:
    """One of the five levels; anything else is INFO."""
    plain = str.__str__(value) if isinstance(value, str) else ""
    return plain if plain in SEVERITIES else "INFO"


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


# Methods that look up and write nothing: they find what a host with larger limits stored.
READS = frozenset(
    ("get_agent", "get_status", "get_contract_versioned", "list_active_agents")
    + ("list_stale_agents", "get_session", "get_state", "get_session_versioned")
    + ("get_state_versioned", "get", "wait", "events_for_dfid", "all_events_chronological")
    + ("iter_events", "follow", "get_archived", "verify_audit", "get_by_dfid", "entries_for_dfid")
    + ("all_entries_chronological", "count_entries", "verify_ledger", "get_dirty_flows")
    + ("get_dirty_state", "get_locked_amount", "holders", "get_capacity", "get_count")
    + ("get_window_count", "get_pending_requests", "get_request", "wait_for_decision")
    + ("get_transitions", "current_status")
)

# Methods that change or end what is there already, and what names it: whoever was given a record of
# another host, as by ``claim_dirty`` or ``claim_next``, can go through with it.
ON_EXISTING = frozenset(
    ("renew", "settle", "release", "claim_dirty", "renew_dirty", "release_dirty", "clear_dirty")
    + ("resolve", "resolve_request", "update_status", "heartbeat", "update_contract")
    + ("delete", "forget_group")
)
_NAMES = frozenset(("dfid", "agent_id", "group"))


def checked(
    method: Callable[Concatenate[Self, P], R],
) -> Callable[Concatenate[Self, P], R]:
    """Apply :data:`RULES`, within the storage's limits, to a method's arguments before it runs.

    An argument whose annotation allows None may be None. Arguments without a rule (amounts,
    dicts to encode) are the method's own to check, since checking them converts them.
    """
    parameters = list(inspect.signature(method, eval_str=True).parameters.values())[1:]
    reads, changes = method.__name__ in READS, method.__name__ in ON_EXISTING
    rules = [
        (
            *(position, p.name, RULES[p.name], type(None) in get_args(p.annotation)),
            reads or (changes and p.name in _NAMES),
        )
        for position, p in enumerate(parameters)
        if p.name in RULES
    ]

    call: Callable[..., R] = method

    @functools.wraps(method)
    def checking(self: Self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        positional: list[Any] = list(args)
        named: dict[str, Any] = kwargs
        own: Limits = getattr(self, "_limits", DEFAULT_LIMITS)
        for position, name, rule, optional, looks_up in rules:
            limits = own.reading if looks_up else own
            if position < len(positional):
                value = positional[position]
                if value is not None or not optional:
                    positional[position] = rule(name, value, limits)
            elif name in named:
                value = named[name]
                if value is not None or not optional:
                    named[name] = rule(name, value, limits)
        return call(self, *positional, **named)

    return checking
