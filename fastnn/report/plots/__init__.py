"""The report's plots, an idea a file. Each file's `draw(run)` gives pictures; none where there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastnn.report.page import Picture
from fastnn.report.plots import growth, heat, networks, products, roofline, rows, speedup, threads
from fastnn.report.record import Run

Draw = Callable[[Run], Iterator[Picture]]

# Heading and plot, in the order of the page.
PLOTS: tuple[tuple[str, Draw], ...] = (
    ("Matrix products", products.draw),
    ("Matrix products by shape", heat.draw),
    ("Networks by size", networks.draw),
    ("Speedups", speedup.draw),
    ("Speedups row by row", rows.draw),
    ("Roofline", roofline.draw),
    ("Threads", threads.draw),
    ("Growth", growth.draw),
)
