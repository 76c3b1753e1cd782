"""What the check of an invariant found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether an invariant holds, and the numbers that say so.

    Attributes:
        invariant: what must hold.
        problems: where it does not; empty when it holds.
        evidence: what was looked at.
    """

    invariant: str
    problems: list[str]
    evidence: str

    @property
    def holds(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problems
