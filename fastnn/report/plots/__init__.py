"""The report's plots, an idea a file. Each file's `draw(run)` gives pictures; none where there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastnn.report.page import Picture
from fastnn.report.plots import products
from fastnn.report.record import Run

Draw = Callable[[Run], Iterator[Picture]]

# Heading and plot, in the order of the page.
PLOTS: tuple[tuple[str, Draw], ...] = (("Matrix products", products.draw),)
