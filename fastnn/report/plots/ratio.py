"""An axis of speed ratios: logarithmic, around 1, with a look for wins and one for losses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastnn._canvas import INK
from fastnn.report.plots import paper
from fastnn.report.record import SUITES
from fastnn.report.words import tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RACES = tuple(suite for suite in SUITES if suite not in ("scaling", "import"))  # scaling has curves of its own
LOST_INK = "#a63a00"  # vermilion dark enough for small print
PALE_BLUE, PALE_VERMILION = "#8FC3E3", "#F0B48A"
# Ratios at an axis, the finest first: those that fit are taken.
MARKS = (
    (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5),
    (0.5, 0.7, 1, 1.5, 2, 3, 5, 10),
    (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
    (0.01, 0.1, 1, 10, 100, 1e3, 1e4),
    (1e-4, 0.01, 1, 100, 1e4),
    (1e-3, 1, 1e3),
    (1,),
)
APART = 0.42  # inches that a mark needs


def set_axis(axes: Axes, ratios: Sequence[float], width: float, labels: float) -> None:
    """Makes the x axis, about `width` inches long, one of ratios, with the line that parts wins from losses.

    To the right of the longest bar there is room for `labels` inches of text.
    """
    from matplotlib.ticker import FixedLocator

    low, high = math.log(min(*ratios, 0.97)), math.log(max(*ratios, 1.15))
    low, high = low - 0.02 * (high - low), low + (high - low) / (1 - labels / width)
    paper.logarithmic(axes.xaxis, lambda value: f"{tick(value, '').replace(' ', '')}×" if value >= 1 else f"{value:g}×")
    axes.set_xlim(math.exp(low), math.exp(high))
    axes.xaxis.set_major_locator(FixedLocator(_marks(low, high, width)))
    axes.axvline(1.0, color=INK, linewidth=1.4, zorder=4)
    paper.grid(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _marks(low: float, high: float, width: float) -> list[float]:
    """The finest marks that fit between two logarithms."""
    for marks in MARKS:
        inside = [float(mark) for mark in marks if low <= math.log(mark) <= high]
        gaps = (math.log(after / before) * width / (high - low) for before, after in itertools.pairwise(inside))
        if min(gaps, default=math.inf) > APART:
            break
    return inside
