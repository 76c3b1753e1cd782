"""Every key of a namespace. Names are built here and nowhere else; docs/keys.md lists them.

A key is ``{<namespace>:<partition>}:<kind>`` or ``{<namespace>:<partition>}:<kind>:<id>``. The
braces are the hash tag that decides a cluster slot; neither part in them can hold a brace, and
the id comes last, so nothing in an id moves a key to another slot or another kind.
"""

from __future__ import annotations

import re
import zlib

from dir_redis.arguments import string
from dir_redis.redis.urls import mask_secrets

MAX_PARTITIONS = 1024
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
# Behind the namespace.
_KEY = re.compile(r"(0|[1-9][0-9]{0,3})\}:([a-z_]+)(?::(.*))?", re.DOTALL)


class Keys:
    """The keys of one namespace.

    Args:
        namespace: 1 to 64 letters, digits, ``_``, ``.`` or ``-``.
        partitions: how many hash tags the namespace is spread over, 1 to 1,024.
    """

    def __init__(self, namespace: str, partitions: int) -> None:
        self.namespace = namespace
        self.partitions = partitions
        self._tags = [f"{{{namespace}:{partition}}}:" for partition in range(partitions)]

    def tag_of(self, identifier: str) -> str:
        """The prefix of all keys of one flow, agent or idempotency key."""
        if self.partitions == 1:
            return self._tags[0]
        return self._tags[zlib.crc32(identifier.encode()) % self.partitions]

    def in_each_partition(self, kind: str) -> list[str]:
        """One kind's key in every partition, for what spans all flows or agents."""
        return [tag + kind for tag in self._tags]

    def beside_reservations(self, dfid: str) -> bool:
        """Whether one script can reach a flow's own keys and those of all reservations."""
        return self.tag_of(dfid) == self._tags[0]

    def pattern(self, kind: str) -> str:
        """What the keys of one kind look like to SCAN; others may look like them too."""
        # None of what a namespace may hold is special to it, and neither is a brace.
        return f"{{{self.namespace}:*}}:{kind}:*"

    def pattern_of_all(self) -> str:
        """What all keys of the namespace look like to SCAN, and no others."""
        return f"{{{self.namespace}:*"

    def parts_of(self, key: str) -> tuple[int, str, str | None] | None:
        """The partition, the kind and the id (None without one) in a key; None of a foreign one."""
        found = _KEY.fullmatch(key.removeprefix(f"{{{self.namespace}:"))
        return None if found is None else (int(found[1]), found[2], found[3])

    @staticmethod
    def identifier_in(key: str, kind: str) -> str:
        """The id in a key of a kind; of another key anything."""
        return key.partition(f"}}:{kind}:")[2]

    @staticmethod
    def tag_in(key: str) -> str:
        """The prefix that a key has in common with all of its partition."""
        return key[: key.index("}") + 2]

    @staticmethod
    def operation(beside: str, session: str) -> str:
        """The key of a client's operation session, in the slot of another key."""
        return f"{beside[: beside.index('}') + 1]}:op:{session}"

    # Agents

    def agent(self, agent_id: str) -> str:
        return f"{self.tag_of(agent_id)}agent:{agent_id}"

    def agents(self, agent_id: str) -> str:
        return f"{self.tag_of(agent_id)}agents"

    def agents_active(self, agent_id: str) -> str:
        return f"{self.tag_of(agent_id)}agents_active"

    def agents_heartbeat(self, agent_id: str) -> str:
        return f"{self.tag_of(agent_id)}agents_heartbeat"

    # Context

    def session(self, dfid: str) -> str:
        return f"{self.tag_of(dfid)}session:{dfid}"

    def state(self, agent_id: str) -> str:
        return f"{self.tag_of(agent_id)}state:{agent_id}"

    # Idempotency

    def idempotency(self, key: str) -> str:
        return f"{self.tag_of(key)}idempotency:{key}"

    def claim(self, key: str) -> str:
        return f"{self.tag_of(key)}claim:{key}"

    def claim_ended(self, key: str) -> str:
        return f"{self.tag_of(key)}claim_ended:{key}"

    # The logs, "audit", "ledger" and "transitions", and where the chains of the first two end

    def log(self, kind: str, dfid: str) -> str:
        return f"{self.tag_of(dfid)}{kind}"

    def log_of_flow(self, kind: str, dfid: str) -> str:
        return f"{self.tag_of(dfid)}{kind}_flow:{dfid}"

    def chain_end(self, kind: str, dfid: str) -> str:
        return f"{self.tag_of(dfid)}{kind}_end"

    # Sagas

    def saga(self, dfid: str) -> str:
        return f"{self.tag_of(dfid)}saga:{dfid}"

    def sagas_dirty(self, dfid: str) -> str:
        return f"{self.tag_of(dfid)}sagas_dirty"

    def sagas_due(self, dfid: str) -> str:
        return f"{self.tag_of(dfid)}sagas_due"

    def sagas_claimed(self, dfid: str) -> str:
        return f"{self.tag_of(dfid)}sagas_claimed"

    def sagas_marks(self, dfid: str) -> str:
        return f"{self.tag_of(dfid)}sagas_marks"

    def sagas_claims(self, dfid: str) -> str:
        return f"{self.tag_of(dfid)}sagas_claims"

    def sagas_counter(self, dfid: str) -> str:
        return f"{self.tag_of(dfid)}sagas_counter"

    # Reservations: one slot for all, since a batch spans resources

    def locks(self) -> tuple[str, ...]:
        """What every script that changes reservations takes, in its order."""
        return (
            self.lock_totals(),
            self.lock_flows(),
            self.lock_leases(),
            self.lock_holders(),
            self.lock_capacities(),
            self.lock_queue(),
            self.lock_waiters(),
            self.lock_waiting(),
            self.lock_counter(),
        )

    def lock_totals(self) -> str:
        return f"{self._tags[0]}lock_totals"

    def lock_flows(self) -> str:
        return f"{self._tags[0]}lock_flows"

    def lock_leases(self) -> str:
        return f"{self._tags[0]}lock_leases"

    def lock_holders(self) -> str:
        return f"{self._tags[0]}lock_holders"

    def lock_capacities(self) -> str:
        return f"{self._tags[0]}lock_capacities"

    def lock_queue(self) -> str:
        return f"{self._tags[0]}lock_queue"

    def lock_waiters(self) -> str:
        return f"{self._tags[0]}lock_waiters"

    def lock_waiting(self) -> str:
        return f"{self._tags[0]}lock_waiting"

    def lock_counter(self) -> str:
        return f"{self._tags[0]}lock_counter"

    def lock_wake(self, caller: str) -> str:
        return f"{self._tags[0]}lock_wake:{caller}"

    # Intent retries

    def retry(self, dfid: str) -> str:
        return f"{self.tag_of(dfid)}retry:{dfid}"

    # Escalations: one slot for all, since one step changes an agent's budget and a flow's request

    def budget(self, agent_id: str) -> str:
        return f"{self._tags[0]}budget:{agent_id}"

    def requests_pending(self) -> str:
        return f"{self._tags[0]}requests_pending"

    def requests_unclaimed(self) -> str:
        return f"{self._tags[0]}requests_unclaimed"

    def requests_claimed(self) -> str:
        return f"{self._tags[0]}requests_claimed"

    def requests_deadlines(self) -> str:
        return f"{self._tags[0]}requests_deadlines"

    def requests_reviewers(self) -> str:
        return f"{self._tags[0]}requests_reviewers"

    def requests_terms(self) -> str:
        return f"{self._tags[0]}requests_terms"

    def requests_open(self) -> str:
        return f"{self._tags[0]}requests_open"

    def request(self, dfid: str) -> str:
        return f"{self._tags[0]}request:{dfid}"

    def decided(self, dfid: str) -> str:
        return f"{self._tags[0]}decided:{dfid}"


def meta_key(namespace: str) -> str:
    """The key that says what a namespace was made with; known before its partition count is."""
    return f"{{{namespace}:0}}:meta"


def opening_keys(namespace: str) -> tuple[str, ...]:
    """What opening a namespace looks at: that key, and what it may have to bring over."""
    keys = Keys(namespace, 1)
    return (
        meta_key(namespace),
        keys.lock_totals(),
        keys.sagas_dirty(""),
        keys.sagas_due(""),
        keys.requests_pending(),
        keys.requests_unclaimed(),
    )


def access_pattern(namespace: str) -> str:
    """What every key of a namespace matches in an access rule, and no key of another."""
    # None of what a namespace may hold is special in a pattern; the colon is where it ends.
    return f"{{{check_namespace(namespace)}:*"


def check_namespace(namespace: object) -> str:
    """Return a usable namespace.

    Raises:
        TypeError: it is no string.
        ValueError: it holds anything a hash tag or an access pattern could trip over.
    """
    plain = string("namespace", namespace)
    if not _NAMESPACE.fullmatch(plain):
        raise ValueError(
            "namespace must be 1 to 64 letters, digits, '_', '.' or '-' (no ':' or braces), "
            f"not {mask_secrets(plain)!r}"
        )
    return plain
