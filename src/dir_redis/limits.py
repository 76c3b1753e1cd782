"""How large what a store is given may be: ids, documents, and what one call may hold of either.

The limits of a store count for what is written through it. What another host stored under larger
ones can be read all the same.
"""

from __future__ import annotations

from typing import TypedDict

DEFAULT_ID_BYTES = 1024
DEFAULT_DOCUMENT_BYTES = 16 * 2**20

# An id is in the names of keys and the members of indexes, and a flow's whole reservation is one
# field with the ids of all its resources.
LARGEST_ID_BYTES = 16 * 2**10
# A request's context and proposal lie in one value, and Redis takes values of up to 512 MB.
LARGEST_DOCUMENT_BYTES = 128 * 2**20
# Free text is escaped where it lies within a document, which makes it up to six times as long.
LARGEST_TEXT_BYTES = 2**20
# A server keeps a request whole in its query buffer, and closes the connection above 1 GB.
LARGEST_BATCH_BYTES = 256 * 2**20
# Rows, resources or members that one call may give. One call is one atomic step, which keeps a
# server busy for some 100 ms; a request of more than 1,048,576 words is cut off by the server.
MAX_ITEMS = 10_000


class LimitOptions(TypedDict, total=False):
    """The size limits as options that every backend takes.

    Attributes:
        max_id_bytes: how many bytes of UTF-8 an id may have, 1 to 16,384; 1,024 by default.
        max_document_bytes: how many bytes of UTF-8 the JSON text of a document may have, 64 to
            128 MiB; 16 MiB by default.
    """

    max_id_bytes: int
    max_document_bytes: int


class Limits:
    """The size limits of one store.

    Attributes:
        max_id_bytes: of an id, in UTF-8.
        max_document_bytes: of the JSON text of a document, in UTF-8.
        max_text_bytes: of other text: a status, an event, a reason.
        reading: the limits of ids of what is there already: never below the default.

    Raises:
        TypeError: a limit is no int.
        ValueError: it is out of range.
    """

    __slots__ = ("max_document_bytes", "max_id_bytes", "max_text_bytes", "reading")

    def __init__(
        self,
        max_id_bytes: int = DEFAULT_ID_BYTES,
        max_document_bytes: int = DEFAULT_DOCUMENT_BYTES,
    ) -> None:
        self.max_id_bytes = _limit("max_id_bytes", max_id_bytes, 1, LARGEST_ID_BYTES)
        self.max_document_bytes = _limit(
            "max_document_bytes", max_document_bytes, 64, LARGEST_DOCUMENT_BYTES
        )
        self.max_text_bytes = min(self.max_document_bytes, LARGEST_TEXT_BYTES)
        self.reading = self
        if self.max_id_bytes < DEFAULT_ID_BYTES or self.max_text_bytes < LARGEST_TEXT_BYTES:
            self.reading = Limits(max(self.max_id_bytes, DEFAULT_ID_BYTES))


def _limit(argument: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument} must be an int, not {type(value).__name__}")
    number = int.__int__(value)
    if not least <= number <= most:
        raise ValueError(f"{argument} must be {least:,} to {most:,}")
    return number


DEFAULT_LIMITS = Limits()
