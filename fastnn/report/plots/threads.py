"""Thread scaling: how much faster the same work gets with more threads, for every contestant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fastnn._canvas import GREY, new_axes, new_figure
from fastnn.report.page import Picture
from fastnn.report.plots import paper
from fastnn.report.record import Row, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 4  # panels side by side


def draw(run: Run) -> Iterator[Picture]:
    """One picture, a panel for each piece of work that was done on several numbers of threads."""
    work: dict[str, list[Row]] = {}
    for row in run.suite("scaling"):
        if row.along == "threads":
            work.setdefault(f"{row.unit} {row.what}", []).append(row)
    work = {name: sorted(rows, key=lambda row: row.threads) for name, rows in work.items() if len(rows) > 1}
    if work:
        yield _picture(work)


def _picture(work: dict[str, list[Row]]) -> Picture:
    across = min(ACROSS, len(work))
    down = -(-len(work) // across)
    figure = new_figure(paper.WIDTH, 1.2 + 3.6 * down)
    handles: dict[str, Any] = {}
    for place, (name, rows) in enumerate(work.items()):
        axes = new_axes(figure, down, across, place + 1)
        handles |= _panel(axes, rows)
        paper.panel_title(axes, name.replace(" ", "\n", 1).replace(", ", "\n", 1))
        paper.label_axes(axes, "threads", "speed over one thread" if place % across == 0 else "")
    paper.headline(figure, "What more threads bring")
    paper.key(figure, handles)
    caption = (
        "Each contestant's speed on so many threads over its own on the fewest. Dashed: as many times as there are "
        "threads. A line below 1 means that more threads made the work slower."
    )
    return Picture("threads", paper.png(figure), "Speed over one thread against the number of threads", caption)


def _panel(axes: Axes, rows: list[Row]) -> dict[str, Any]:
    counts = [row.threads for row in rows]
    ideal = [threads / counts[0] for threads in counts]
    handles = {"ideal": paper.limit(axes, counts, ideal)}
    axes.axhline(1.0, color=GREY, linewidth=1.0)
    for name in dict.fromkeys(name for row in rows for name in row.times):
        curve = [(row.threads, row.times[name].best) for row in rows if name in row.times]
        first = curve[0][1]
        handles[name] = paper.line(axes, name, [x for x, _ in curve], [first / time for _, time in curve])
    axes.set_xticks(counts)
    axes.set_ylim(0, 1.15 * max(ideal[-1], axes.get_ylim()[1]))
    paper.grid(axes, "y")
    return handles
