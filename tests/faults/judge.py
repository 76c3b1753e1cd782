"""What became of the increments of one counter that has one writer, judged by what it was told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Branch:
    """How one primary counts; after a failover two may count on from the same number.

    Attributes:
        last: the latest count it told.
        confirmed: up to which of the confirmed increments it has them all.
        doubled: how many more it has than can have been applied.
    """

    last: int = 0
    confirmed: int = 0
    doubled: int = 0


class Judge:
    """Finds increments that were confirmed and got lost, and such as were applied twice.

    Counts alone tell, so that none of the two hides the other, nor increments of unknown outcome
    either. What a primary says without a confirmation is held against nobody until it is the one
    that stays: an old one that is cut off counts on, and is then forgotten.

    Attributes:
        lost: how many confirmed increments the store did not have any more when it answered.
        doubled: by how many a count rose beyond what was asked for.
    """

    def __init__(self) -> None:
        self.lost = self.doubled = 0
        self._confirmed = 0
        self._unknown = 0
        self._latest = Branch()
        self._branches = [self._latest]  # the likeliest to stay first

    def no_answer(self) -> None:
        """Note an increment that may have been applied, or will be: it may be under way yet."""
        self._unknown += 1

    def answer(self, count: int, *, confirmed: bool) -> None:
        """Note what an increment returned."""
        branch = self._branch_at(count - 1)
        self._unknown -= count - 1 - branch.last
        branch.last = count
        if branch not in self._branches:
            self._branches.insert(0, branch)
        self._latest = branch
        if confirmed:
            self.lost, self.doubled = self._told_by(branch)
            self._confirmed = branch.confirmed = count
            branch.doubled = 0
            # Those before it are likelier to be old primaries than those that appear after it.
            self._branches.remove(branch)
            self._branches.insert(0, branch)

    def at_the_end(self, stored: int) -> tuple[int, int]:
        """Return how many are lost, and how many doubled, if that is the count in the end."""
        return self._told_by(self._branch_at(stored))

    def _told_by(self, branch: Branch) -> tuple[int, int]:
        """The same if it is this branch that stays."""
        missing = max(0, self._confirmed - branch.confirmed)
        return self.lost + missing, self.doubled + branch.doubled

    def _branch_at(self, count: int) -> Branch:
        """The branch that is at a count: the likeliest known one, or else a new one."""
        for branch in self._branches:
            if 0 <= count - branch.last <= self._unknown:
                return branch
        latest = self._latest
        if count < latest.last:
            return Branch(count, min(count, self._confirmed))
        doubled = count - latest.last - self._unknown
        return Branch(count, latest.confirmed, latest.doubled + doubled)
