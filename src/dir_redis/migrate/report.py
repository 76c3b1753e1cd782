"""What a copy tells while it runs, and at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from dir_redis.migrate.paging import PAGE

# Lines of each list that a report's text shows.
_SHOWN = 20

T = TypeVar("T")


class CopyProgress(NamedTuple):
    """How far a copy is.

    Attributes:
        stage: ``"copy"``, or ``"compare"`` at the end.
        kind: the kind of record, such as ``"AuditRow"``.
        done: records of it done in this stage.
        total: how many there are; None if that is not known yet.
    """

    stage: str
    kind: str
    done: int
    total: int | None


class Listed(NamedTuple):
    """A record, column or table that a report lists.

    Attributes:
        record: which, such as ``session 'flow-1'``.
        reason: what is the matter with it.
    """

    record: str
    reason: str


class Telling:
    """Tells how far the records of one kind are.

    Args:
        kind: the kind's name.
        progress: what is called; None for nobody.
    """

    def __init__(self, kind: str, progress: Callable[[CopyProgress], object] | None) -> None:
        self._kind = kind
        self._progress = (lambda _: None) if progress is None else progress
        self._total: int | None = None

    def each(self, stage: str, records: Iterable[T]) -> Iterator[T]:
        """Pass records on, telling it once a page and at the end."""
        done = 0
        for record in records:
            yield record
            done += 1
            if done % PAGE == 0:
                self._progress(CopyProgress(stage, self._kind, done, self._total))
        self._total = done
        self._progress(CopyProgress(stage, self._kind, done, done))


@dataclass
class KindReport:
    """What became of the records of one kind.

    Attributes:
        source: how many the source has, those that cannot be represented included.
        copied: how many this run wrote.
        already_there: how many were in the target before.
        only_in_target: how many the target has beside those of the source.
        differing: those that the target has otherwise, or misses, or has in another order; of a
            log the flows. None of them was overwritten.
        adjusted: those that were changed so that the target can hold them.
        not_represented: those that it cannot hold, and does not have.
    """

    source: int = 0
    copied: int = 0
    already_there: int = 0
    only_in_target: int = 0
    differing: list[Listed] = field(default_factory=list)
    adjusted: list[Listed] = field(default_factory=list)
    not_represented: list[Listed] = field(default_factory=list)


@dataclass
class CopyReport:
    """What a copy did, and how source and target compare after it.

    Attributes:
        source: where the records came from.
        target: where they went.
        kinds: by kind of record, such as ``"AuditRow"``.
        left_out: what the source's file has beside records that a store holds, with the reason.
    """

    source: str
    target: str
    kinds: dict[str, KindReport] = field(default_factory=dict)
    left_out: list[Listed] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the target has all records of the source; ``left_out`` are none."""
        return not any(kind.differing or kind.not_represented for kind in self.kinds.values())

    @property
    def copied(self) -> int:
        """How many records this run wrote."""
        return sum(kind.copied for kind in self.kinds.values())

    def __str__(self) -> str:
        verdict = "complete" if self.complete else "NOT complete"
        lines = [
            f"{self.source} -> {self.target}: {verdict}",
            f"{'':16}{'source':>9}{'copied':>9}{'already':>9}{'differ':>9}{'adjusted':>9}"
            f"{'not repr.':>10}{'only target':>12}",
        ]
        for name, kind in self.kinds.items():
            lines.append(
                f"{name:16}{kind.source:>9}{kind.copied:>9}{kind.already_there:>9}"
                f"{len(kind.differing):>9}{len(kind.adjusted):>9}{len(kind.not_represented):>10}"
                f"{kind.only_in_target:>12}"
            )
        for title, listed in (
            ("differ", [one for kind in self.kinds.values() for one in kind.differing]),
            ("adjusted", [one for kind in self.kinds.values() for one in kind.adjusted]),
            (
                "not represented",
                [one for kind in self.kinds.values() for one in kind.not_represented],
            ),
            ("left out", self.left_out),
        ):
            if listed:
                lines.append(f"{title}:")
                lines += [f"  {one.record}: {one.reason}" for one in listed[:_SHOWN]]
            if len(listed) > _SHOWN:
                lines.append(f"  and {len(listed) - _SHOWN} more")
        return "\n".join(lines)
