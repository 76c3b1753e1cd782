"""One storage per Protocol, opened and closed together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dir_redis.durability import Durability, parse_durability
from dir_redis.errors import StorageConfigurationError
from dir_redis.fleet_protocols import (
    AgentSessionStorage,
    AuditStreamStorage,
    ContextMergeStorage,
    EscalationQueueStorage,
    FlowStatusStorage,
    LeaseStorage,
    LedgerChainStorage,
    RetryLimitStorage,
    RunOnceStorage,
    SagaClaimStorage,
)

if TYPE_CHECKING:
    from dir_redis.redis.server_report import ServerReport


@dataclass
class StorageBundle:
    """The storages a runtime works with; build one by hand to mix backends.

    A context manager: leaving it closes what opening it opened (connections, files, an embedded
    server), and nothing that was handed in ready-made.

    Attributes:
        url: where the bundle was opened, with any password masked; None for one built by hand.
        namespace: the namespace on a Redis server; None elsewhere.
        server: what the server is set to and can lose; None elsewhere.
    """

    agent_registry: AgentSessionStorage
    context: ContextMergeStorage
    idempotency: RunOnceStorage
    decision_audit: AuditStreamStorage
    saga: SagaClaimStorage
    resource_lock: LeaseStorage
    intent_retry: RetryLimitStorage
    escalation: EscalationQueueStorage
    lifecycle: FlowStatusStorage
    # Behind the nine, so that building a bundle of them by hand goes on working; None only then.
    decision_ledger: LedgerChainStorage = None  # type: ignore[assignment]
    url: str | None = field(default=None, kw_only=True)
    namespace: str | None = field(default=None, kw_only=True)
    server: ServerReport | None = field(default=None, kw_only=True, repr=False, compare=False)
    on_durable: Callable[[Durability], StorageBundle] | None = field(
        default=None, kw_only=True, repr=False, compare=False
    )
    on_close: Callable[[], None] | None = field(
        default=None, kw_only=True, repr=False, compare=False
    )

    @property
    def storages(self) -> list[Any]:
        """All storages that the bundle has."""
        fields = [getattr(self, one.name) for one in dataclasses.fields(self) if not one.kw_only]
        return [storage for storage in fields if storage is not None]

    def durable(self, durability: str) -> StorageBundle:
        """Return the same store, whose calls return once their writes are confirmed otherwise.

        ``bundle.durable("replicas=1").idempotency.complete(claim, result)`` asks for one call only.

        Args:
            durability: ``"memory"``, ``"disk"`` or ``"replicas=<n>"``, as in
                :class:`~dir_redis.RedisOptions`. A SQLite store is always ``"disk"``, one in
                memory always ``"memory"``.

        Returns:
            A bundle that needs no closing: it ends with this one.

        Raises:
            StorageConfigurationError: this store cannot confirm that.
            ValueError: it is none of the three.
        """
        wanted = parse_durability("durability", durability)
        if self.on_durable is None:
            raise StorageConfigurationError(
                "a bundle built by hand does not know how its writes are confirmed"
            )
        return self.on_durable(wanted)

    def close(self) -> None:
        """Close what was opened for the bundle; further calls do nothing.

        Any other use is a :class:`~dir_redis.StorageError` then, also for who waits just now.
        """
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()

    def __enter__(self) -> StorageBundle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
