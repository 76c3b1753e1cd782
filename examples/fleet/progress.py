"""Saying how far the run is: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LINES = 5


class ProgressDisplay:
    """How many flows are finished and how much capital is in use. A context manager.

    Args:
        console: where to.
        total: the number of flows.
        limit: the capital, US dollars.
    """

    def __init__(self, console: Console, *, total: int, limit: float) -> None:
        self._console = console
        self._total = total
        self._limit = limit
        self._lines_shown = 0
        self._bar = Progress(
            TextColumn("[bold]flows"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("capital {task.fields[used]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("flows", total=total, used="-")

    def update(self, *, finished: int, used: float) -> None:
        """Show the state of things."""
        in_use = f"{used / self._limit:4.0%} in use"
        self._bar.update(self._task, completed=finished, used=in_use)
        if not self._console.is_terminal and finished * LINES >= self._total * (
            self._lines_shown + 1
        ):
            self._lines_shown = finished * LINES // self._total
            self._console.print(f"{finished:4} of {self._total} flows, capital {in_use}")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text)

    def __enter__(self) -> ProgressDisplay:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()
