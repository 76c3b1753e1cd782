"""How far a write has to have got before its call returns."""

from __future__ import annotations

import re
from typing import NamedTuple

from dir_redis.arguments import string

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
    wanted = string(argument, text)
    if wanted == IN_MEMORY.text:
        return IN_MEMORY
    if wanted == ON_DISK.text:
        return ON_DISK
    match = _REPLICAS.fullmatch(wanted)
    if match is None:
        raise ValueError(
            f"{argument} must be 'memory', 'disk' or 'replicas=<n>' with n from 1 to 999, "
            f"not {wanted!r}"
        )
    return Durability(wanted, replicas=int(match[1]))
