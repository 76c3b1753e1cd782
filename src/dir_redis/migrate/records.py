"""What a store holds, in a form that is the same for all backends, so that it can be copied.

Moments are microseconds since 1970 UTC, documents are the JSON text that is stored, and what there
is not is None. A record is everything that a backend keeps under its key; two stores that hold
equal records answer every call of the Protocols alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol, TypeVar


class Agent(NamedTuple):
    """A registered agent (DIR §2.3); agents are read in order of first registration."""

    agent_id: str
    contract_json: str
    contract_version: int
    priority: int
    status: str
    agent_version: str | None
    session_token: str | None
    suspension_reason: str | None
    heartbeat_until_us: int | None

    @property
    def key(self) -> str:
        return self.agent_id


class Session(NamedTuple):
    """A flow's session (DIR §8).

    ``base_keys`` is how many of the document's first members are those of the text that was set;
    None if nothing was merged into it, and it comes back to the byte.
    """

    dfid: str
    data_json: str
    base_keys: int | None
    version: int
    agent_id: str | None
    expires_us: int | None

    @property
    def key(self) -> str:
        return self.dfid


class State(NamedTuple):
    """An agent's state (DIR §8); ``base_keys`` as in :class:`Session`."""

    agent_id: str
    data_json: str
    base_keys: int | None
    version: int

    @property
    def key(self) -> str:
        return self.agent_id


class IdempotencyKey(NamedTuple):
    """A step's result and the latest claim on it (DIR §7); as in ``claims.KeyRecord``."""

    key: str
    result_json: str | None
    result_until_us: int | None
    token: int | None
    owner: str | None
    until_us: int
    fingerprint: str | None
    completed: bool
    forget_us: int | None


class AuditRow(NamedTuple):
    """A row of the audit log; rows are read in order of insertion."""

    dfid: str
    moment_us: int
    event: str
    step_id: str
    state: str
    details_json: str
    root_dfid: str | None
    agent_id: str | None
    severity: str


class LedgerEntry(NamedTuple):
    """An entry of the decision ledger; entries are read in order of insertion."""

    dfid: str
    moment_us: int
    root_dfid: str
    agent_id: str
    intent_payload_json: str
    context_ref: str
    evidence_hash: str
    signature: str


class DirtyMark(NamedTuple):
    """A flow that waits for compensation (DIR §7); marks are read oldest first.

    ``due_us`` is since when it may be claimed, or while ``owner`` has it, the end of the lease;
    ``epoch`` is 0 if nobody ever claimed it.
    """

    dfid: str
    failed_step: str
    partial_state_json: str
    marked_us: int
    due_us: int
    epoch: int
    owner: str | None

    @property
    def key(self) -> str:
        return self.dfid


class Held(NamedTuple):
    """What a reservation holds of one resource, and since when."""

    resource_id: str
    amount: Decimal
    since_us: int


class HeldReservation(NamedTuple):
    """All that a flow holds (DIR §6.2), sorted by resource_id; token 0 if it only ever acquired."""

    dfid: str
    held: tuple[Held, ...]
    token: int
    until_us: int | None

    @property
    def key(self) -> str:
        return self.dfid


class Capacity(NamedTuple):
    """A declared capacity."""

    resource_id: str
    amount: Decimal

    @property
    def key(self) -> str:
        return self.resource_id


class Retries(NamedTuple):
    """A flow's rejection count (DIR §6.2)."""

    dfid: str
    rejections: int

    @property
    def key(self) -> str:
        return self.dfid


class Budget(NamedTuple):
    """When an agent spent its budget tokens (DIR §9), in order."""

    agent_id: str
    spent_us: tuple[int, ...]

    @property
    def key(self) -> str:
        return self.agent_id


class Request(NamedTuple):
    """A flow's request to a human (DIR §9), waiting or decided; the waiting are read oldest first.

    ``resolved_at`` is the text the human's client gave; ``resolved_us`` is the store's moment of a
    decision made by ``resolve`` or by the deadline. ``reviewer_until_us`` is 0 without a reviewer.
    """

    dfid: str
    agent_id: str
    reason: str
    context_json: str
    proposal_json: str
    impact: str
    requested_us: int
    deadline_us: int | None
    default_decision: str | None
    reviewer: str | None
    reviewer_until_us: int
    status: str
    decision: str | None
    resolved_at: str | None
    resolved_us: int | None
    decided_by: str | None
    decision_reason: str | None
    by_default: bool

    @property
    def key(self) -> str:
        return self.dfid


class Transition(NamedTuple):
    """A row of the transition log (DIR §4.3); rows are read in order of insertion."""

    dfid: str
    moment_us: int
    from_status: str
    to_status: str
    root_dfid: str | None


class Counter(NamedTuple):
    """The last fencing token or epoch given (``reservations``, ``sagas``), so that they only rise.

    Put, it raises the target's, and never lowers it.
    """

    name: str
    value: int

    @property
    def key(self) -> str:
        return self.name


class ReaderGroup(NamedTuple):
    """A group of readers of the audit log; its cursor means nothing in another store."""

    name: str

    @property
    def key(self) -> str:
        return self.name


Keyed = (
    Agent
    | Session
    | State
    | IdempotencyKey
    | DirtyMark
    | HeldReservation
    | Capacity
    | Retries
    | Budget
    | Request
    | Counter
    | ReaderGroup
)
Row = AuditRow | LedgerEntry | Transition
Record = Keyed | Row

KEYED: tuple[type[Keyed], ...] = (
    *(Counter, Agent, Session, State, IdempotencyKey, DirtyMark, Capacity, HeldReservation),
    *(Retries, Budget, Request, ReaderGroup),
)
LOGS: tuple[type[Row], ...] = (Transition, LedgerEntry, AuditRow)

K = TypeVar("K", bound=Keyed)
R = TypeVar("R", bound=Record)


class RawStore(Protocol):
    """A store read and written beneath its Protocols.

    What a backend cannot hold is a ``NotRepresentableError`` of :meth:`put`, per record.
    """

    where: str
    """The store as messages call it; no password in it."""

    def read(self, kind: type[R]) -> Iterator[R]:
        """Read all records of a kind, in pages of bounded size, in the kind's order."""
        ...

    def find(self, kind: type[K], keys: Sequence[str]) -> Mapping[str, K]:
        """Return those of some records (at most 500) that there are, by key."""
        ...

    def put(self, records: Iterable[Record]) -> int:
        """Write those records of one kind that are not there, each whole, in their order.

        Whether one is there and that it is written is one step, so that nothing is ever replaced,
        whoever writes meanwhile. A row is appended with its moment, a ledger entry only to a flow
        that has none; a keyed record goes to the end of its order. A counter is only raised.

        Returns:
            How many were written.
        """
        ...
