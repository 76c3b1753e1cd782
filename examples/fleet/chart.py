"""Capital in use against its limit over the run: as a figure, and as text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from examples.fleet.grammar import Event
from examples.fleet.history import History, Use, moment_of
from examples.fleet.plan import CAPITAL
from examples.fleet.recovery import kills_of

BLOCKS = " ▁▂▃▄▅▆▇█"
SEEN_COLOUR, LOGGED_COLOUR, LIMIT_COLOUR, KILL_COLOUR = "#1f5a8c", "#bcd4e8", "#b3261e", "#333333"


@dataclass(frozen=True, slots=True)
class CapitalUse:
    """What the charts show; times are seconds since the first flow began.

    Attributes:
        limit: the capital, US dollars.
        seen: moments and amounts seen in the store.
        logged: moments and amounts by the flows' own rows.
        kills: when workers were killed, and the lease after which their capital was free.
        flows: how many there were.
        agents: how many there were.
    """

    limit: float
    seen: list[tuple[float, float]]
    logged: list[tuple[float, float]]
    kills: list[tuple[float, float]]
    flows: int
    agents: int

    @classmethod
    def of(cls, history: History) -> CapitalUse:
        """Collect it from a run's logs."""
        start = moment_of(next(history.of(Event.CLAIMED)))
        kills = [(kill.moment - start).total_seconds() for kill in kills_of(history)]
        return cls(
            limit=history.plan.limits[CAPITAL],
            seen=_points(history.sampled_use(CAPITAL), start),
            logged=_points(history.logged_use(CAPITAL), start),
            kills=[(moment, moment + history.plan.lease_sec) for moment in kills],
            flows=len(history.plan.decisions),
            agents=len(history.plan.agents),
        )


def draw(use: CapitalUse, path: Path) -> None:
    """Draw the figure into a PNG file."""
    figure = Figure(figsize=(10, 5), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(
        [moment for moment, _ in use.logged],
        [amount for _, amount in use.logged],
        step="post",
        color=LOGGED_COLOUR,
        linewidth=0,
        label="held according to the audit log",
    )
    axes.step(
        [moment for moment, _ in use.seen],
        [amount for _, amount in use.seen],
        where="post",
        color=SEEN_COLOUR,
        linewidth=1.1,
        label="reserved, seen in the store",
    )
    axes.axhline(
        use.limit, color=LIMIT_COLOUR, linestyle="--", linewidth=1.5, label="declared capacity"
    )
    for number, (moment, free) in enumerate(use.kills):
        label = "worker killed, until its leases have run out" if number == 0 else None
        axes.axvspan(moment, free, color=KILL_COLOUR, alpha=0.1, linewidth=0, label=label)
        axes.axvline(moment, color=KILL_COLOUR, linewidth=1.2)
    axes.set_title(
        f"Capital in use by {use.agents} agents in {use.flows} decisions", loc="left", weight="bold"
    )
    axes.set_xlabel("seconds since the first decision")
    axes.set_ylabel("US dollars")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlim(0, max(moment for moment, _ in use.seen))
    axes.set_ylim(0, use.limit * 1.08)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path)


def as_text(use: CapitalUse, *, width: int = 70, height: int = 8) -> str:
    """Draw a chart of block characters; a column is the most that was seen in its time.

    Args:
        use: what to show.
        width: columns of the chart, without its axis.
        height: rows, the uppermost of which ends at the limit.
    """
    end = max(moment for moment, _ in use.seen)
    columns = [round(each / use.limit * height * 8) for each in _peaks(use.seen, end, width)]
    lines = [f"{use.limit:>9,.0f} ┼{'┄' * width} limit"]
    for row in range(height - 1, -1, -1):
        label = f"{use.limit / 2:,.0f}" if (row + 1) * 2 == height else ""
        cells = "".join(BLOCKS[min(8, max(0, column - row * 8))] for column in columns)
        lines.append(f"{label:>9} ┤{cells}")
    lines.append(f"{'0':>9} └{'─' * width}")
    if use.kills:
        marks = [" "] * width
        for moment, _ in use.kills:
            marks[min(width - 1, int(moment / end * width))] = "▲"
        lines.append(f"{'killed':>9}  {''.join(marks).rstrip()}")
    lines.append(f"{'':>9}  0{f'{end:.1f} s':>{width - 1}}")
    return "\n".join(lines)


def _points(curve: Sequence[Use], start: datetime) -> list[tuple[float, float]]:
    points = [((each.moment - start).total_seconds(), float(each.amount)) for each in curve]
    return [point for point in points if point[0] >= 0] or [(0.0, 0.0)]


def _peaks(points: Sequence[tuple[float, float]], end: float, width: int) -> list[float]:
    """The greatest amount in each of so many equal stretches; an empty one repeats the last."""
    peaks: list[float | None] = [None] * width
    for moment, amount in points:
        column = min(width - 1, int(moment / end * width)) if end else 0
        peaks[column] = max(peaks[column] or 0.0, amount)
    filled, latest = [], 0.0
    for peak in peaks:
        latest = latest if peak is None else peak
        filled.append(latest)
    return filled
