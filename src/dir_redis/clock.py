"""Moments as whole microseconds since 1970 UTC: reading, formatting and parsing them."""

from __future__ import annotations

import functools
import re
import threading
import time
from datetime import UTC, datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The moments that Python can express: the years 1 to 9999, in microseconds since 1970 UTC.
MOMENTS = range(-62_135_596_800_000_000, 253_402_300_800_000_000)
_SINCE = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)(?P<separator>[ T])(?P<minute>\d\d:\d\d)(?P<second>:\d\d)?"
    r"(?:[.,](?P<fraction>\d+))?"
    r"(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)


class MonotonicClock:
    """The host's UTC clock, never running backwards nor standing still within the process.

    When the host's clock is set back, it goes on from where it was, at the pace of the monotonic
    clock, so that a lease lasts as long as it should.
    """

    def __init__(self) -> None:
        self._last = 0
        self._last_tick = time.monotonic_ns()
        self._lock = threading.Lock()

    def now(self) -> int:
        """Return the moment in microseconds; never less than what it returned before."""
        with self._lock:
            passed = (time.monotonic_ns() - self._last_tick) // 1000
            self._last_tick += passed * 1000
            self._last = max(self._last + passed, time.time_ns() // 1000)
            return self._last


def as_datetime(microseconds: int) -> datetime:
    """Return a moment as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def format_moment(microseconds: int) -> str:
    """Format a moment as ``2026-11-23T16:00:00.123456Z``."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{_format_second(seconds)}.{fraction:06d}Z"


@functools.lru_cache(maxsize=4096)  # rows of a log come many to the second
def _format_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def parse_moment(argument: str, text: object) -> int:
    """Parse ``YYYY-MM-DD HH:MM:SS`` or ISO 8601 with ``T``, fractions and a zone.

    Args:
        argument: the argument's name, for the error.
        text: the moment; without a zone it is UTC.

    Returns:
        The first whole microsecond at or after it, since 1970 UTC.

    Raises:
        TypeError: it is no string.
        ValueError: it is in no such form, or no real moment.
    """
    if not isinstance(text, str):
        raise TypeError(f"{argument} must be a str, not {type(text).__name__}")
    match = _SINCE.fullmatch(text)
    if match is None or (
        match["second"] is None and (match["separator"] == " " or match["fraction"])
    ):
        raise ValueError(
            f"{argument} must look like '2026-11-23 16:00:00' or be ISO 8601 "
            f"('2026-11-23T16:00:00.5+02:00'), not {text!r}"
        )
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{match['minute']}{match['second'] or ''}")
        moment = moment.replace(tzinfo=_zone(match["zone"]))
        seconds = (moment - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{argument} is no real moment: {text!r} ({error})") from error
    fraction = match["fraction"] or ""
    microseconds = int(fraction[:6].ljust(6, "0"))
    if fraction[6:].strip("0"):
        microseconds += 1
    return seconds * 1_000_000 + microseconds


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    digits = text[1:].replace(":", "")
    hours, minutes = int(digits[:2]), int(digits[2:] or 0)
    if minutes > 59:
        raise ValueError("a zone's minutes go up to 59")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)
