"""The ledger of verified decisions, kept in the store with every release of dir-core."""

from __future__ import annotations

import inspect
import logging
from typing import Any

from dir_core.ledger import DecisionLedger as CoreDecisionLedger

from dir_redis.fleet_protocols import LedgerChainStorage
from dir_redis.kernel.storages import require
from dir_redis.ledger_entries import ledger_record
from dir_redis.limits import DEFAULT_LIMITS
from dir_redis.protocols import VerifiedIntent

logger = logging.getLogger(__name__)

# Since dir-core 0.3.0.
_CORE_TAKES_AGENT_ID = "agent_id" in inspect.signature(CoreDecisionLedger.append).parameters


class DecisionLedger(CoreDecisionLedger):
    """dir-core's ledger; a flow is decided once, over all hosts (DIR Topology C).

    Args:
        storage: where the entries are kept; None for a list of this process, as dir-core's.

    Raises:
        TypeError: the storage lacks an operation.
    """

    def __init__(self, storage: LedgerChainStorage | None = None) -> None:
        super().__init__()
        if storage is not None:
            needs = ("append", "all_entries_chronological", "count_entries")
            require("DecisionLedger", "decision_ledger", storage, *needs)
        self._storage = storage

    def append(self, pci: VerifiedIntent, *, agent_id: str | None = None) -> None:
        """Append a verified intent; the same once more changes nothing.

        Args:
            pci: the proof-carrying intent.
            agent_id: the agent that decided; needed with a storage, and by dir-core 0.3 and later.

        Raises:
            LedgerConflictError: the flow has an entry that differs; nothing was stored.
            TypeError: there is no agent_id where one is needed; it is no proof-carrying intent.
            ValueError: a part of it cannot be stored.
        """
        if self._storage is None:
            ledger_record(pci, agent_id or "", None, DEFAULT_LIMITS)  # refuses what a store would
            named = {} if agent_id is None or not _CORE_TAKES_AGENT_ID else {"agent_id": agent_id}
            super().append(pci, **named)
            return
        if agent_id is None:
            raise TypeError("append() of a ledger with a storage needs agent_id, who decided")
        self._storage.append(pci, agent_id=agent_id)
        logger.info("[DFID=%s] Ledger appended an entry. Policy bound.", pci.dfid[:8])

    def entries(self) -> list[dict[str, Any]]:
        """Return all entries in order of insertion, the caller's own copy."""
        if self._storage is None:
            return list(super().entries())
        return self._storage.all_entries_chronological()

    def __len__(self) -> int:
        """Return how many entries there are, without reading them."""
        if self._storage is None:
            return int(super().__len__())
        return self._storage.count_entries()
