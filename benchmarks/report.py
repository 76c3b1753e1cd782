"""What was measured: tables, prose and aims, for the terminal and for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table as RichTable

LEFT_ALIGNED = 1


@dataclass(frozen=True, slots=True)
class Aim:
    """Something that was to be reached, and what was.

    Attributes:
        what: the aim.
        reached: the figure.
        met: whether it is met; None where the comparison was not possible.
    """

    what: str
    reached: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """Whether it is met, in words."""
        return {True: "met", False: "not met", None: "not measured"}[self.met]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings; the first column is what a row is about."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(slots=True)
class Section:
    """One part of the report.

    Attributes:
        title: its heading.
        how: how it was measured, in Markdown.
        tables: what came out.
        aims: what was to come out.
        notes: what else is to be said, in Markdown, after the tables.
    """

    title: str
    how: str
    tables: list[Table] = field(default_factory=list)
    aims: list[Aim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def show(console: Console, section: Section) -> None:
    """Print a section."""
    console.rule(f"[bold]{section.title}")
    for table in section.tables:
        shown = RichTable(*table.headings)
        for column in shown.columns[LEFT_ALIGNED:]:
            column.justify = "right"
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for note in section.notes:
        console.print(note)
    for aim in section.aims:
        console.print(f"{aim.verdict.upper()}: {aim.what}: {aim.reached}")


def as_markdown(facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The whole report as a page.

    Args:
        facts: what it was measured on, by name.
        sections: what was measured.
    """
    parts = [
        "# Benchmarks",
        "Written by `make bench`; change the code in `benchmarks/`, not this page.",
        table_as_markdown(Table(("Measured on", ""), facts)),
        "Other work may have shared the machine. What is compared took turns within each round, "
        "so it met the same disturbances; figures are medians over the rounds, and ratios are "
        "ratios of those medians. Times of one run are worth comparing with each other, not with "
        "those of another machine.",
        "## Aims",
        table_as_markdown(
            Table(
                ("Aim", "Reached", ""),
                [(aim.what, aim.reached, aim.verdict) for s in sections for aim in s.aims],
            )
        ),
    ]
    for section in sections:
        parts += [f"## {section.title}", section.how.strip()]
        parts += [table_as_markdown(table) for table in section.tables]
        parts += section.notes
    return "\n\n".join(parts) + "\n"


def table_as_markdown(table: Table) -> str:
    """A table of the page."""
    marks = ["---"] * LEFT_ALIGNED + ["---:"] * (len(table.headings) - LEFT_ALIGNED)
    if len(table.headings) == 2 or table.headings[-1] == "":  # prose, not figures
        marks = ["---"] * len(table.headings)
    lines = [table.headings, marks, *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
