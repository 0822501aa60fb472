"""Speedups of matrix products by shape: a map over classes of m, n and k."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._canvas import INK, PALE, SMALL, TEXT, new_axes, new_figure, style_bar
from fastnn.report.page import Picture
from fastnn.report.plots import paper
from fastnn.report.record import Row, Run, geometric_mean
from fastnn.report.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The last value of each class, and its name.
CLASSES = ((32, "1 to 32"), (256, "33 to 256"), (float("inf"), "over 256"))
REACH = 4.0  # the colours end at four times as fast, or a quarter


def draw(run: Run) -> Iterator[Picture]:
    """A picture for each number of threads: m × n × k classes of float32 products, a panel for each class of k."""
    rows = [row for row in run.suite("products") if row.dtype == "float32" and row.best_peer]
    for threads in run.thread_counts:
        some = [row for row in rows if row.threads == threads]
        if len({_classes(row) for row in some}) > 1:
            yield _picture(some, threads)


def _classes(row: Row) -> tuple[int, int, int]:
    """In which class m, n and k lie."""
    m, n, k = (next(i for i, (last, _) in enumerate(CLASSES) if row.shape[axis] <= last) for axis in "mnk")
    return m, n, k


def _picture(rows: list[Row], threads: int) -> Picture:
    cells: dict[tuple[int, int, int], list[float]] = {}
    for row in rows:
        cells.setdefault(_classes(row), []).append(row.speedup_over_best or 1.0)
    figure = new_figure(paper.WIDTH, 4.7)
    panels = [new_axes(figure, 1, len(CLASSES), place + 1) for place in range(len(CLASSES))]
    for k, axes in enumerate(panels):
        image = _panel(axes, {(m, n): ratios for (m, n, at), ratios in cells.items() if at == k})
        paper.panel_title(axes, f"k {CLASSES[k][1]}")
        axes.set_xlabel("n (columns)", fontsize=TEXT, color=INK)
        if k == 0:
            axes.set_ylabel("m (rows)", fontsize=TEXT, color=INK)
        else:
            axes.set_yticklabels([])
    bar = figure.colorbar(image, ax=panels, location="bottom", shrink=0.6, aspect=40, pad=0.04, extend="both")
    style_bar(bar, "times as fast as the best other contestant")
    marks = [0.25, 0.5, 1.0, 2.0, 4.0]
    bar.set_ticks(np.log(marks).tolist(), labels=[f"{mark:g}×" for mark in marks])
    title = f"Speed over the best peer by shape (m × k times k × n), float32, {count(threads, 'thread')}"
    paper.headline(figure, title)
    caption = (
        f"How many times as fast as the fastest other contestant, float32, {count(threads, 'thread')}: in each class "
        "of shapes the geometric mean in large print, below it the worst and the best row, and how many rows there "
        "are. Blue is faster, orange slower; hatched classes have no row. Classes hide single rows: each is in the "
        "tables below."
    )
    return Picture(f"heat-{threads}", paper.png(figure), title, caption)


def _panel(axes: Axes, cells: dict[tuple[int, int], list[float]]) -> Any:
    """One class of k; returns the image, for the colour bar."""
    size = len(CLASSES)
    means = np.full((size, size), np.nan)
    for place, ratios in cells.items():
        means[place] = geometric_mean(ratios)
    axes.patch.set(hatch="//", edgecolor=PALE)
    limit = np.log(REACH)
    image = axes.imshow(np.log(means), cmap=_colours(), vmin=-limit, vmax=limit, aspect="auto")
    for (m, n), ratios in cells.items():
        colour = "white" if abs(np.log(means[m, n])) > 0.62 * limit else INK
        span = f"{min(ratios):.2f} to {max(ratios):.2f}\n" if len(ratios) > 1 else ""
        axes.annotate(f"{means[m, n]:.2f}×", (n, m), (0, 9 if span else 5), textcoords="offset points", ha="center",
                      va="center", fontsize=TEXT + 1, fontweight="bold", color=colour)  # fmt: skip
        axes.annotate(f"{span}{count(len(ratios), 'row')}", (n, m), (0, -12), textcoords="offset points", ha="center",
                      va="center", fontsize=SMALL - 1.5, color=colour)  # fmt: skip
    names = [name for _, name in CLASSES]
    axes.set_xticks(range(size), names, fontsize=SMALL)
    axes.set_yticks(range(size), names, fontsize=SMALL, rotation=90, va="center")
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2.0)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    stops = ["#7a2f00", paper.VERMILION, "#f3b183", "#f7f7f7", "#9fc8e3", paper.BLUE, "#00365a"]
    return LinearSegmentedColormap.from_list("speedup", stops)
