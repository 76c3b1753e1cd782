"""Entries of the decision ledger, alike on all backends: checked, compared, chained, returned."""

from __future__ import annotations

from typing import Any, NamedTuple

from dir_redis.arguments import identifier, text
from dir_redis.chain import digest_of
from dir_redis.clock import format_moment
from dir_redis.errors import LedgerConflictError
from dir_redis.json_codec import encode_object
from dir_redis.limits import Limits

_ATTRIBUTES = ("dfid", "intent_payload", "context_ref", "evidence_hash", "signature")


class LedgerRecord(NamedTuple):
    """An entry as it is to be stored, its payload encoded."""

    dfid: str
    root_dfid: str
    agent_id: str
    intent_payload: str
    context_ref: str
    evidence_hash: str
    signature: str

    @property
    def digest(self) -> str:
        """The SHA-256 of all that it holds."""
        return digest_of(("ledger", *self))


def ledger_record(
    pci: object, agent_id: str, root_dfid: str | None, limits: Limits
) -> LedgerRecord:
    """Check a proof-carrying intent and encode it.

    Raises:
        TypeError: it lacks an attribute, or one has another type.
        ValueError: an attribute is refused.
    """
    missing = [name for name in _ATTRIBUTES if not hasattr(pci, name)]
    if missing:
        raise TypeError(
            f"pci must have {', '.join(_ATTRIBUTES)}; {type(pci).__name__} has no {missing[0]}"
        )
    intent: Any = pci
    dfid = identifier("pci.dfid", intent.dfid, limits)
    return LedgerRecord(
        dfid=dfid,
        root_dfid=root_dfid or dfid,
        agent_id=agent_id,
        intent_payload=encode_object("pci.intent_payload", intent.intent_payload, limits),
        context_ref=text("pci.context_ref", intent.context_ref, limits),
        evidence_hash=text("pci.evidence_hash", intent.evidence_hash, limits),
        signature=text(
            "pci.signature", "" if intent.signature is None else intent.signature, limits
        ),
    )


def check_same(stored: LedgerRecord, record: LedgerRecord) -> None:
    """Refuse a second entry of a flow, unless it is the first once more.

    Raises:
        LedgerConflictError: they differ.
    """
    differing = [
        name
        for name, old, new in zip(LedgerRecord._fields, stored, record, strict=True)
        if old != new
    ]
    if differing:
        raise LedgerConflictError(record.dfid, tuple(sorted(differing)))


def ledger_entry(record: LedgerRecord, intent_payload: Any, moment: int) -> dict[str, Any]:
    """Build an entry as the Protocol returns it.

    Args:
        record: what is stored.
        intent_payload: its payload, parsed.
        moment: when it was committed, microseconds since 1970 UTC.
    """
    return {
        **record._asdict(),
        "intent_payload": intent_payload,
        "committed_at": format_moment(moment),
    }
