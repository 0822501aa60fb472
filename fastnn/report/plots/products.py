"""Rates of square products against their size, up to the machine's peak."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fastnn._canvas import new_axes, new_figure
from fastnn.report.page import Picture
from fastnn.report.plots import paper
from fastnn.report.record import OURS, Row, Run
from fastnn.report.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CALLED, INSIDE = "products", "program products"
PEAK = "measured peak"


def draw(run: Run) -> Iterator[Picture]:
    """A picture for each float type, a panel for each number of threads."""
    square = [row for row in run.suite(CALLED, INSIDE) if _plain_square(row)]
    for dtype in dict.fromkeys(row.dtype for row in square):
        rows = [row for row in square if row.dtype == dtype]
        if len({row.shape["n"] for row in rows}) > 1:
            yield _picture(dtype, rows)


def _plain_square(row: Row) -> bool:
    turned = row.shape.get("transpose_a") or row.shape.get("transpose_b")
    return not turned and row.shape["m"] == row.shape["n"] == row.shape["k"]


def _picture(dtype: str, rows: list[Row]) -> Picture:
    threads = sorted({row.threads for row in rows})
    figure = new_figure(paper.WIDTH, 5.0)
    handles: dict[str, Any] = {}
    for place, number in enumerate(threads, 1):
        axes = new_axes(figure, 1, len(threads), place)
        here = [row for row in rows if row.threads == number]
        peak = max((row.peak or 0.0 for row in here), default=0.0) / 1e9
        handles |= _panel(axes, here, peak)
        paper.panel_title(axes, count(number, "thread") + (f", {PEAK} {peak:.0f} GFLOP/s" if peak else ""))
        paper.label_axes(axes, "n, for n × n times n × n", "GFLOP/s" if place == 1 else "")
    paper.headline(figure, f"Square matrix products, {dtype}")
    paper.key(figure, handles)
    caption = (
        f"Arithmetic per second against the size of the matrices, {dtype}; higher is better. The dashed line is the "
        f"rate of {'float32' if dtype == 'bfloat16' else dtype} multiply-adds that the processor reached in the same "
        "run. Solid blue: called from Python, as every contestant is. Dotted blue: inside a Program, where a product "
        "of a network runs without a call."
    )
    return Picture(f"products-{dtype}", paper.png(figure), f"GFLOP/s of square {dtype} products against size", caption)


def _panel(axes: Axes, rows: list[Row], peak: float) -> dict[str, Any]:
    """All curves of one number of threads, up to a peak in GFLOP/s (0: not measured); returns handles for the key."""
    handles = {}
    called = sorted((row for row in rows if row.suite == CALLED), key=lambda row: row.shape["n"])
    inside = sorted((row for row in rows if row.suite == INSIDE), key=lambda row: row.shape["n"])
    for name in dict.fromkeys(name for row in called for name in row.times):
        curve = [(row.shape["n"], row.rate(name) / 1e9) for row in called if name in row.times]
        handles[name] = paper.line(axes, name, *zip(*curve, strict=True))
    if inside:
        curve = [(row.shape["n"], row.rate() / 1e9) for row in inside]
        label = f"{OURS}, in a Program"
        handles[label] = paper.line(axes, OURS, *zip(*curve, strict=True), linestyle=":", linewidth=2.0, label=label,
                                    markerfacecolor="white")  # fmt: skip
    sizes = [row.shape["n"] for row in rows]
    paper.logarithmic(axes.xaxis, lambda value: f"{value:g}", base=2.0, most=10)
    axes.set_xlim(min(sizes) / 1.25, max(sizes) * 1.25)
    axes.set_ylim(bottom=0)
    if peak:
        handles[PEAK] = paper.limit(axes, axes.get_xlim(), (peak, peak))
        fastest = max(row.rate(name) / 1e9 for row in rows for name in row.times)
        axes.set_ylim(0, 1.12 * max(peak, fastest))  # bfloat16 goes beyond the peak of float32
    paper.grid(axes)
    return handles
