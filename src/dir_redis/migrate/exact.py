"""What all raw stores agree on: exact amounts, merged documents, and when a request was decided."""

from __future__ import annotations

import json
from decimal import Decimal

from dir_redis.amounts import AmountScale
from dir_redis.clock import format_moment, parse_moment
from dir_redis.documents import members_of
from dir_redis.errors import NotRepresentableError


def exact_units(scale: AmountScale, record: str, resource_id: str, amount: Decimal) -> int:
    """Convert an amount without rounding it.

    Raises:
        NotRepresentableError: the scale has too few places for it, or 64 bits do not hold it.
    """
    try:
        units = scale.to_units(resource_id, amount)
    except ValueError as error:
        raise NotRepresentableError(record, str(error)) from error
    if scale.to_decimal(units) != amount:
        raise NotRepresentableError(
            record,
            f"the amount {amount:f} of {resource_id!r} has more than {scale.places} decimal places",
        )
    return units


def no_ledger() -> NotRepresentableError:
    """The error for entries where a bundle, built by hand, has no ledger."""
    return NotRepresentableError("decision ledger", "the target's bundle has no decision_ledger")


def split_document(data_json: str, base_keys: int | None) -> tuple[str, dict[str, str]]:
    """Split a document into the text that was set, and what was merged into it since, by key."""
    if base_keys is None:
        return data_json, {}
    members = list(members_of(data_json).items())
    base = ", ".join(f"{json.dumps(key)}: {value}" for key, value in members[:base_keys])
    return "{" + base + "}", dict(members[base_keys:])


def decided_us(resolved_at: str | None) -> int | None:
    """The moment of a decision, if its text is the one that the stores themselves write."""
    if resolved_at is None:
        return None
    try:
        moment = parse_moment("resolved_at", resolved_at)
        return moment if format_moment(moment) == resolved_at else None
    except (ValueError, OverflowError):
        return None
