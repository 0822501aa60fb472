"""How time grows with the batch, the width and the depth of a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fastnn._canvas import new_axes, new_figure
from fastnn.report.page import Picture
from fastnn.report.plots import paper
from fastnn.report.record import Row, Run
from fastnn.report.words import count, tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIRECTIONS = {"batch": "rows in a batch", "width": "neurons in a layer", "depth": "hidden layers"}


def draw(run: Run) -> Iterator[Picture]:
    """A picture for the fewest threads and one for the most, a panel for each direction."""
    rows = [row for row in run.suite("scaling") if row.along in DIRECTIONS]
    threads = sorted({row.threads for row in rows})
    for number in dict.fromkeys((*threads[:1], *threads[-1:])):
        some = [row for row in rows if row.threads == number]
        curves = {along: [row for row in some if row.along == along] for along in DIRECTIONS}
        curves = {along: each for along, each in curves.items() if len(each) > 1}
        if curves:
            yield _picture(curves, number)


def _picture(curves: dict[str, list[Row]], threads: int) -> Picture:
    figure = new_figure(paper.WIDTH, 5.0)
    handles: dict[str, Any] = {}
    for place, (along, rows) in enumerate(curves.items(), 1):
        axes = new_axes(figure, 1, len(curves), place)
        handles |= _panel(axes, sorted(rows, key=lambda row: row.value or 0))
        paper.panel_title(axes, f"along the {along}")
        paper.label_axes(axes, DIRECTIONS[along], "time of a step" if place == 1 else "")
    title = f"How a training step grows, {count(threads, 'thread')}"
    paper.headline(figure, title)
    paper.key(figure, handles)
    caption = (
        f"Time of a training step on {count(threads, 'thread')} as one thing grows and the others stay. Lower is "
        "better. Dashed: what the arithmetic alone takes at the measured peak."
    )
    return Picture(f"growth-{threads}", paper.png(figure), title, caption)


def _panel(axes: Axes, rows: list[Row]) -> dict[str, Any]:
    handles = {}
    for name in dict.fromkeys(name for row in rows for name in row.times):
        curve = [(row.value or 0.0, row.times[name].best) for row in rows if name in row.times]
        handles[name] = paper.line(axes, name, *zip(*curve, strict=True))
    floor = [(row.value or 0.0, row.flops / row.peak) for row in rows if row.peak]
    if floor:
        handles["arithmetic"] = paper.limit(axes, *zip(*floor, strict=True))
    paper.logarithmic(axes.xaxis, lambda value: f"{value:g}", base=2.0, most=6)
    paper.logarithmic(axes.yaxis, lambda value: tick(value, "s"))
    paper.grid(axes)
    return handles
