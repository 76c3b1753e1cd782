"""What verifying a store finds."""

from __future__ import annotations

from typing import Literal, NamedTuple

Trouble = Literal["missing", "orphan", "mismatch", "garbled", "unknown key", "no ttl"]

# So many findings a report holds; of further ones it has the number.
MOST_FINDINGS = 10_000


class Finding(NamedTuple):
    """One inconsistency of a store.

    Attributes:
        key: the key on Redis, or the table and id (on SQLite), or the record (in memory).
        kind: ``"missing"`` (it lacks what another record says is there), ``"orphan"`` (it has what
            no record is behind), ``"mismatch"`` (two records disagree, or a type or place is
            wrong), ``"garbled"`` (it cannot be read), ``"unknown key"`` or ``"no ttl"`` (it would
            stay for ever).
        problem: what is wrong, in words.
    """

    key: str
    kind: Trouble
    problem: str


class StoreReport(NamedTuple):
    """What walking through a store found.

    Attributes:
        where: the store.
        checked: how many records were looked at.
        findings: the inconsistencies, in the order they were met.
        left_out: how many more there are than the report holds.
    """

    where: str
    checked: int
    findings: tuple[Finding, ...]
    left_out: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing is inconsistent."""
        return not self.findings

    def __str__(self) -> str:
        """One line for each finding, behind one that sums up."""
        count = len(self.findings) + self.left_out
        lines = [f"{self.where}: {self.checked} records checked, {count or 'no'} inconsistencies"]
        lines += [f"{kind}: {key!r} {problem}" for key, kind, problem in self.findings]
        return "\n".join(lines)
