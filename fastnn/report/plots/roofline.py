"""The roofline: every kernel's rate against its arithmetic intensity, below what arithmetic and memory allow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn._canvas import INK, SMALL, new_axes, new_figure
from fastnn.report.page import Picture
from fastnn.report.plots import paper
from fastnn.report.record import Row, Run
from fastnn.report.words import count, percent, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Suite: colour and marker.
KINDS = {
    "products": (paper.BLUE, "o"),
    "program products": ("#56B4E9", "D"),
    "elementwise": ("#009E73", "^"),
    "training step": ("#E69F00", "s"),
    "inference": ("#7A4B94", "v"),
}


def draw(run: Run) -> Iterator[Picture]:
    """A picture for each number of threads, with every float32 row that has arithmetic and traffic."""
    rows = [row for row in run.suite(*KINDS) if row.flops and row.bytes and row.dtype == "float32"]
    for threads in run.thread_counts:
        some = [row for row in rows if row.threads == threads]
        peak = max(
            [run.machine.peaks.get(threads, 0.0), *(row.peak or 0.0 for row in some)]
        )  # of several looks, the best
        if some and peak:
            yield _picture(run, some, threads, peak)


def _picture(run: Run, rows: list[Row], threads: int, peak: float) -> Picture:
    figure = new_figure(paper.WIDTH, 6.2)
    axes = new_axes(figure)
    intensity = [row.flops / row.bytes for row in rows]
    left, right = min(intensity) / 1.6, max(intensity) * 1.6
    handles = {}
    for suite, (colour, marker) in KINDS.items():
        for in_memory in (True, False):
            some = [row for row in rows if row.suite == suite and (row.shape.get("in_cache") is not True) == in_memory]
            if some:
                label = suite if in_memory else f"{suite}, in cache"
                (handles[label],) = axes.plot(
                    [row.flops / row.bytes for row in some], [row.rate() / 1e9 for row in some], marker, color=colour,
                    markersize=8, markerfacecolor=colour if in_memory else "white", markeredgecolor=colour,
                    markeredgewidth=1.5, alpha=0.85, zorder=4,
                )  # fmt: skip
    paper.logarithmic(axes.xaxis, lambda value: f"{value:g}")
    paper.logarithmic(axes.yaxis, lambda value: f"{value:g}")
    axes.set_xlim(left, right)
    bottom = min(row.rate() / 1e9 for row in rows) / 1.6
    axes.set_ylim(bottom, peak / 1e9 * 2.8)
    roofs = {"memory": run.machine.bandwidths, "second-level cache": run.machine.cache_bandwidths}
    handles |= _roofs(axes, {name: by[threads] for name, by in roofs.items() if threads in by}, peak, (left, right))
    paper.grid(axes)
    paper.label_axes(axes, "arithmetic intensity (floating-point operations per byte)", "GFLOP/s")
    title = f"Roofline, {count(threads, 'thread')}, float32"
    paper.headline(figure, title)
    paper.key(figure, handles, 3)
    return Picture(f"roofline-{threads}", paper.png(figure), title, _caption(rows, threads))


def _roofs(axes: Axes, bandwidths: dict[str, float], peak: float, span: tuple[float, float]) -> dict[str, Any]:
    """The flat roof of arithmetic, and a slope for each kind of memory; returns handles for the key."""
    x = np.geomspace(*span, 200)
    handles = {}
    flat = x[x * max(bandwidths.values(), default=np.inf) >= peak]
    axes.plot(flat, np.full_like(flat, peak / 1e9), color=INK, linewidth=2.2, zorder=3)
    axes.annotate(f"peak of multiply-adds: {with_unit(peak, 'FLOP/s')}", (span[1], peak / 1e9), (-4, 9),
                  textcoords="offset points", ha="right", fontsize=SMALL, color=INK)  # fmt: skip
    for style, (name, bandwidth) in zip(("-", (0, (4, 2))), bandwidths.items(), strict=False):
        below = x[x * bandwidth <= peak]
        (handles[f"{name}: {with_unit(bandwidth, 'B/s')}"],) = axes.plot(
            below, below * bandwidth / 1e9, color=INK, linewidth=2.2, linestyle=style, zorder=3
        )
    return handles


def _caption(rows: list[Row], threads: int) -> str:
    below = sorted(((row.rate() / row.roof, row) for row in rows if row.roof), key=lambda pair: pair[0])
    text = (
        f"Every float32 kernel of fastnn on {count(threads, 'thread')}: the work it does a second against the work it "
        "does per byte that has to move at least. Only what finds its operands in a cache can lie above the solid roof."
    )
    if below:
        share, row = below[0]
        text += f" Furthest below its roof: {row.suite} {row.what}, at {percent(share)} of it."
    return text
