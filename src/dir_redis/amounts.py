"""Reserved amounts as exact whole units: conversion, and the rule that admits a batch.

An amount of 1.5 at 8 decimal places is 150,000,000 units. All adding and comparing is done on
units, as int64 in the store, so 0.1 and 0.2 fill a capacity of 0.3 and nothing drifts.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

from dir_redis.arguments import INT64_MAX, identifier, integer
from dir_redis.errors import InsufficientCapacityError
from dir_redis.limits import MAX_ITEMS, Limits

DEFAULT_PLACES = 8
MAX_PLACES = 18

_QUANTA = [Decimal(1).scaleb(-places) for places in range(MAX_PLACES + 1)]
# Enough digits for any int64 and any number of places; a larger value fails the int64 check.
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class AmountScale:
    """How many decimal places an amount keeps.

    Args:
        places: 0 to 18; every host of a store uses the same.
    """

    places: int = DEFAULT_PLACES

    def __post_init__(self) -> None:
        places = integer("amount_places", self.places)
        if not 0 <= places <= MAX_PLACES:
            raise ValueError(f"amount_places must be 0 to {MAX_PLACES}, not {places}")
        object.__setattr__(self, "places", places)  # of a subclass the number alone

    def to_units(self, resource_id: str, amount: object) -> int:
        """Convert an amount, rounding half-even to the scale.

        Raises:
            ValueError: NaN, an infinity, a negative, a bool, no number, or more than int64
                holds at this scale; names the resource.
        """
        exact = exact_amount(resource_id, amount)
        if not exact.is_finite():
            raise ValueError(f"the amount of {resource_id!r} must be finite")
        if exact < 0:
            raise ValueError(f"the amount of {resource_id!r} must not be negative")
        try:
            rounded = exact.quantize(_QUANTA[self.places], context=_EXACT)
            units = int(rounded.scaleb(self.places, context=_EXACT))
        except InvalidOperation:
            units = INT64_MAX + 1
        if units > INT64_MAX:
            raise ValueError(
                f"the amount of {resource_id!r} is too large: 64 bits at {self.places} decimal "
                f"places hold up to {self.to_decimal(INT64_MAX):f}"
            )
        return units

    def batch_to_units(self, argument: str, amounts: object, limits: Limits) -> dict[str, int]:
        """Convert a ``{resource_id: amount}`` mapping, sorted by resource_id."""
        if not isinstance(amounts, Mapping):
            raise TypeError(
                f"{argument} must be a dict of amounts by resource_id, not {type(amounts).__name__}"
            )
        units = {}
        for number, (resource_id, amount) in enumerate(amounts.items()):
            if number == MAX_ITEMS:
                raise ValueError(f"{argument} names more than {MAX_ITEMS:,} resources")
            plain = identifier(f"a resource_id in {argument}", resource_id, limits)
            units[plain] = self.to_units(plain, amount)
        return dict(sorted(units.items()))

    def capacities_to_units(
        self, capacities: object, wanted: Mapping[str, int], limits: Limits
    ) -> dict[str, int]:
        """Convert the capacities a call brings; None is none.

        Raises:
            ValueError: a capacity is for a resource the batch does not acquire, which would
                leave a misspelt limit unchecked.
        """
        if capacities is None:
            return {}
        units = self.batch_to_units("capacities", capacities, limits)
        for resource_id in units:
            if resource_id not in wanted:
                raise ValueError(
                    f"capacities names {resource_id!r}, which resources does not acquire"
                )
        return units

    def to_decimal(self, units: int) -> Decimal:
        """Convert units back to the exact amount."""
        return Decimal(units).scaleb(-self.places, context=_EXACT)

    def to_float(self, units: int) -> float:
        """Convert units to the nearest float."""
        return float(units / 10**self.places)

    def insufficient(
        self, resource_id: str, wanted: int, capacity: int, others: int
    ) -> InsufficientCapacityError:
        """The error for a resource whose capacity does not leave what is wanted."""
        return InsufficientCapacityError(
            resource_id, self.to_decimal(wanted), self.to_decimal(capacity - others)
        )

    def overflow(self, resource_id: str) -> ValueError:
        """The error for a total of all holders that int64 cannot hold."""
        return ValueError(
            f"the amount of {resource_id!r} is too large: with what others hold, the total "
            f"exceeds {self.to_decimal(INT64_MAX):f}, the most 64 bits hold at "
            f"{self.places} decimal places"
        )


def exact_amount(resource_id: str, amount: object) -> Decimal:
    """A number as the decimal that its writer meant.

    Of a float that is the shortest text that gives it: 0.1, not 0.1000000000000000055511151231.

    Raises:
        ValueError: it is no number; names the resource.
    """
    if isinstance(amount, float):
        return Decimal(float.__repr__(amount))
    if isinstance(amount, Decimal):
        return Decimal(amount)  # of a subclass the number alone
    if isinstance(amount, bool) or not isinstance(amount, numbers.Real):
        raise ValueError(
            f"the amount of {resource_id!r} must be a number, not {type(amount).__name__}"
        )
    if isinstance(amount, numbers.Integral):
        return Decimal(int(amount))
    try:
        return Decimal(repr(float(amount)))
    except OverflowError:
        return Decimal("Infinity")


def lower_capacity(
    resource_id: str, declared: Mapping[str, int], brought: Mapping[str, int]
) -> int | None:
    """The lower of a declared and a brought capacity, or None if there is neither."""
    limits = [
        capacities[resource_id] for capacities in (declared, brought) if resource_id in capacities
    ]
    return min(limits, default=None)


def admit(
    scale: AmountScale,
    wanted: Mapping[str, int],
    *,
    others: Mapping[str, int],
    declared: Mapping[str, int],
    brought: Mapping[str, int],
    told: Mapping[str, int],
    overtaking: bool = False,
) -> bool:
    """Decide about a whole batch, in units, from one consistent view of the store.

    ``lua/resource_lock_acquire.lua`` decides by the same rule, in the same order.

    Args:
        scale: for the errors.
        wanted: what the flow asks for, sorted by resource_id.
        others: what all other flows hold, for every resource wanted.
        declared: capacities set in the store; one that is missing is unlimited.
        brought: capacities that came with the call; the lower of the two counts.
        told: what the store last told this caller the others hold.
        overtaking: whether it would be served before a request that waits; see
            :mod:`dir_redis.admission`.

    Returns:
        False if the others' holdings of any resource have grown since they were told, so that
        the caller's own check no longer stands, or if it has to let others go first; True if the
        batch fits.

    Raises:
        InsufficientCapacityError: for the first resource that does not fit.
        ValueError: the total of a resource would exceed int64.
    """
    if any(others[rid] > seen for rid, seen in told.items() if rid in wanted):
        return False
    if overtaking:
        return False
    for rid, units in wanted.items():
        limit = lower_capacity(rid, declared, brought)
        if limit is not None and others[rid] + units > limit:
            raise scale.insufficient(rid, units, limit, others[rid])
        if others[rid] + units > INT64_MAX:
            raise scale.overflow(rid)
    return True
