"""Speedups in one picture: a bar for each peer in each suite, and how many rows are lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastnn._canvas import INK, SMALL, TEXT, new_axes, new_figure
from fastnn.report.page import Picture
from fastnn.report.plots import paper, ratio
from fastnn.report.record import Run, geometric_mean, is_lost
from fastnn.report.words import times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CAPTION = (
    "How many times as fast as each peer fastnn is: bars are geometric means over a suite's rows, thin lines reach "
    "from the worst row to the best. The black line is 1: left of it, in orange, fastnn is slower. At the right "
    "stand the means, and how many rows are lost."
)


@dataclass(frozen=True)
class Bar:
    """Speedups over one peer in one suite, and where the bar stands on the y axis."""

    group: str
    peer: str
    ratios: list[float]
    place: float

    @property
    def mean(self) -> float:
        """What the bar shows."""
        return geometric_mean(self.ratios)


def draw(run: Run) -> Iterator[Picture]:
    """One picture."""
    bars = _bars(run)
    if not bars:
        return
    groups = list(dict.fromkeys(bar.group for bar in bars))
    figure = new_figure(paper.WIDTH, 1.6 + 0.36 * len(bars) + 0.16 * len(groups))
    axes = new_axes(figure)
    for bar in bars:
        _draw(axes, bar)
    axes.set_yticks([bar.place for bar in bars], [bar.peer for bar in bars], fontsize=SMALL)
    for group in groups:
        top = max(bar.place for bar in bars if bar.group == group)
        axes.annotate(group, (0.0, top + 0.75), (-4, 0), xycoords=("axes fraction", "data"), ha="right", va="center",
                      textcoords="offset points", fontsize=SMALL, fontweight="bold", color=INK)  # fmt: skip
    axes.set_ylim(bars[-1].place - 0.6, 0.0)
    ratio.set_axis(axes, [each for bar in bars for each in bar.ratios], width=6.0, labels=0.1)
    axes.set_xlabel("fastnn's speed over the peer's", fontsize=TEXT, color=INK)
    paper.headline(figure, "Speed over each peer, by suite")
    yield Picture("speedup", paper.png(figure), "Speedup bars by peer and suite", CAPTION)


def _bars(run: Run) -> list[Bar]:
    """From top to bottom, with a gap and room for its name above each group."""
    rows = [row for row in run.suite(*ratio.RACES) if row.peers]
    bars: list[Bar] = []
    place = 0.0
    for suite, dtype in dict.fromkeys((row.suite, row.dtype) for row in rows):
        place -= 0.6
        for peer in run.contestants[1:]:
            some = [row for row in rows if (row.suite, row.dtype) == (suite, dtype) and peer in row.times]
            if some:
                place -= 1.0
                bars.append(Bar(f"{suite}, {dtype}", peer, [row.speedup(peer) for row in some], place))
    return bars


def _draw(axes: Axes, bar: Bar) -> None:
    """The bar, the span from its worst row to its best, and its numbers."""
    lost = sum(map(is_lost, bar.ratios))
    worst, best = min(bar.ratios), max(bar.ratios)
    colour = paper.BLUE if bar.mean >= 1 else paper.VERMILION
    axes.barh([bar.place], [bar.mean - 1], left=1.0, height=0.62, color=colour)
    axes.plot([worst, best], [bar.place] * 2, color=INK, linewidth=1.2, marker="|", markersize=8, zorder=5)
    if lost:
        axes.plot([worst, 1.0], [bar.place] * 2, color=paper.VERMILION, linewidth=4.0, zorder=6, solid_capstyle="butt")
    beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center"}
    beside["fontsize"] = SMALL
    axes.annotate(times(bar.mean), (1.0, bar.place), (52, 0), ha="right", fontweight="bold",
                  color=ratio.LOST_INK if is_lost(bar.mean) else INK, **beside)  # fmt: skip
    verdict = f"{lost} of {len(bar.ratios)} lost" if lost else f"all {len(bar.ratios)} won"
    axes.annotate(verdict, (1.0, bar.place), (66, 0), fontweight="bold" if lost else "normal",
                  color=ratio.LOST_INK if lost else INK, **beside)  # fmt: skip
