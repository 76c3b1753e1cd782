"""Contexts that any number of hosts update without losing each other's updates."""

from __future__ import annotations

import json
from typing import Any

from dir_core.context_store import ContextStore as CoreContextStore

from dir_redis.fleet_protocols import ContextMergeStorage
from dir_redis.kernel.arguments import encoded
from dir_redis.kernel.storages import chosen_storage
from dir_redis.sqlite import SqliteContextStorage


class ContextStore(CoreContextStore):
    """dir-core's context store, safe between hosts (DIR §8).

    Args:
        db_path: a SQLite file of this package; counts without a storage.
        storage: where sessions and states are kept.

    Raises:
        TypeError: the storage lacks an atomic operation.
        ValueError: neither a file nor a storage is given.
    """

    def __init__(
        self, db_path: str | None = None, *, storage: ContextMergeStorage | None = None
    ) -> None:
        needs = ("merge_session", "merge_state")
        chosen = chosen_storage(self, "context", storage, db_path, SqliteContextStorage, *needs)
        super().__init__(storage=chosen)

    def update_session(
        self, dfid: str, updates: dict[str, Any], *, agent_id: str | None = None
    ) -> None:
        """Set top-level keys of a flow's session and leave the others, in one step.

        Args:
            dfid: the flow.
            updates: values by key, each any JSON value.
            agent_id: the agent the flow belongs to; None leaves a stored one.

        Raises:
            TypeError: the updates are no dict, or hold what JSON does not know.
            ValueError: an argument cannot be stored, or the session is no JSON object.
        """
        self._storage.merge_session(dfid, _round_trip(updates), agent_id=agent_id)

    def update_state(self, agent_id: str, updates: dict[str, Any]) -> None:
        """Set top-level keys of an agent's state and leave the others, in one step.

        Args:
            agent_id: the agent.
            updates: values by key, each any JSON value.

        Raises:
            TypeError: the updates are no dict, or hold what JSON does not know.
            ValueError: an argument cannot be stored, or the state is no JSON object.
        """
        self._storage.merge_state(agent_id, _round_trip(updates))


def _round_trip(updates: dict[str, Any]) -> dict[str, Any]:
    """What JSON makes of updates: numbers as keys become strings, and what is no JSON is refused.

    That is what dir-core stores and refuses; the storage alone would do the opposite of both.
    """
    return dict(json.loads(encoded("updates", dict(updates))))
