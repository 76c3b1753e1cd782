"""The look of the demos' tables."""

from __future__ import annotations

from rich import box
from rich.table import Table


def table_of(title: str, name: str, *figures: str) -> Table:
    """An empty table of one column of names and others of figures."""
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
    )
    table.add_column(name, no_wrap=True)
    for header in figures:
        table.add_column(header, justify="right", no_wrap=True)
    return table
