"""How far a write has to have got before its call returns."""

from __future__ import annotations

import re
from typing import NamedTuple

_REPLICAS = re.compile(r"replicas=([1-9]\d{0,2})", re.ASCII)


class Durability(NamedTuple):
    """What confirms a write.

    Attributes:
        text: as it was asked for: ``"memory"``, ``"disk"`` or ``"replicas=<n>"``.
        replicas: how many replicas must have it; 0 for none.
        disk: whether the server's own disk must have it.
    """

    text: str
    replicas: int = 0
    disk: bool = False


IN_MEMORY = Durability("memory")
ON_DISK = Durability("disk", disk=True)


def parse_durability(argument: str, text: object) -> Durability:
    """Parse what a caller asks for.

    Raises:
        TypeError: it is no string.
        ValueError: it is none of the three.
    """
    if not isinstance(text, str):
        raise TypeError(f"{argument} must be a str, not {type(text).__name__}")
    if text == IN_MEMORY.text:
        return IN_MEMORY
    if text == ON_DISK.text:
        return ON_DISK
    match = _REPLICAS.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{argument} must be 'memory', 'disk' or 'replicas=<n>' with n from 1 to 999, "
            f"not {text!r}"
        )
    return Durability(text, replicas=int(match[1]))
