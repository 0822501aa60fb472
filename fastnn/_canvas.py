"""The paper that plots are drawn on: figures without pyplot, axes of one look, and mosaics of many small pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, PALE = "#1a1a1a", "#5f5f5f", "#d9d9d9"
TEXT, SMALL, TITLE = 12.0, 10.5, 15.0  # points; a figure is about 10 inches wide and is often seen at half that
DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure with a canvas of its own, unknown to pyplot.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install '.[plots]'") from error
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    FigureCanvasAgg(figure)
    return figure


def new_axes(figure: Figure, rows: int = 1, columns: int = 1, place: int = 1) -> Axes:
    """Axes that look the same whatever style is in force."""
    axes = figure.add_subplot(rows, columns, place, facecolor="white")
    axes.tick_params(labelsize=SMALL, colors=INK)
    axes.grid(False)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
    return axes


def set_title(axes: Axes, text: str) -> None:
    """A title at the upper left."""
    axes.set_title(text, loc="left", fontsize=TITLE, fontweight="bold", color=INK, pad=12.0)


def style_bar(bar: Any, label: str) -> None:
    """A colour bar's label, and numbers of the same look as those of the axes."""
    bar.set_label(label, fontsize=TEXT, color=INK)
    bar.ax.tick_params(labelsize=SMALL, colors=INK)
    bar.outline.set_visible(False)


class Mosaic:
    """Tiles in rows, all in one picture: drawing stays quick for hundreds of them, and every tile has the same size.

    Each tile has room for `lines` lines of text above it.
    """

    def __init__(self, count: int, height: int, width: int, lines: int) -> None:
        self.count, self.height, self.width = count, height, width
        self.columns = self._columns(math.sqrt(1.7 * count * height / width))
        self.rows = -(-count // self.columns)
        self.gap = max(1, round(0.12 * width))
        across = min(1.45, 10.0 / self.columns, 7.5 / self.rows * width / height)  # inches, of a tile with its gap
        self.pixel = across / (width + self.gap)
        self.above = math.ceil((1.25 * SMALL * lines + 7.0) / (72.0 * self.pixel))
        self.shape = self.rows * (height + self.above), self.columns * (width + self.gap) - self.gap

    def _columns(self, wished: float) -> int:
        """A number of columns near the wished one that leaves few places of the last row empty."""
        least = min(self.count, max(5, int(0.7 * wished)))
        choice = range(least, max(least, min(self.count, int(1.4 * wished))) + 1)
        return min(choice, key=lambda columns: (-self.count % columns, abs(columns - wished)))

    def figure(self, beside: float) -> tuple[Figure, Axes]:
        """A figure that fits, with `beside` inches to the right of the tiles."""
        tall, wide = (self.pixel * pixels for pixels in self.shape)
        figure = new_figure(max(wide + beside + 0.3, 7.0), tall + 0.7)
        axes = new_axes(figure)
        axes.set_anchor("W")
        axes.set_axis_off()
        return figure, axes

    def place(self, index: int) -> tuple[int, int]:
        """The first row and column of a tile."""
        row, column = divmod(index, self.columns)
        return self.above + row * (self.height + self.above), column * (self.width + self.gap)

    def draw(self, axes: Axes, tiles: NDArray[np.float64], **colours: Any) -> Any:
        """The tiles, framed, with nothing between them."""
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        canvas = np.full((*self.shape, *tiles.shape[3:]), np.nan if tiles.ndim == 3 else 1.0)
        boxes = []
        for index, tile in enumerate(tiles):
            top, left = self.place(index)
            canvas[top : top + self.height, left : left + self.width] = tile
            boxes.append(Rectangle((left - 0.5, top - 0.5), self.width, self.height))
        frames = PatchCollection(boxes, facecolor="none", edgecolor="#9a9a9a", linewidth=0.8, clip_on=False)
        axes.add_collection(frames, autolim=False)
        return axes.imshow(canvas, interpolation="nearest", **colours)

    def caption(self, axes: Axes, index: int, lines: Sequence[tuple[str, str]]) -> None:
        """Lines of text (text, colour) above a tile, smaller where the tile is too narrow for them."""
        top, left = self.place(index)
        size = min(SMALL, 1.65 * 72.0 * self.pixel * (self.width + self.gap) / max(len(text) for text, _ in lines))
        for number, (text, colour) in enumerate(reversed(lines)):
            axes.annotate(
                text,
                (left + (self.width - 1) / 2, top - 0.5),
                (0, 3 + 1.25 * size * number),
                fontsize=size,
                textcoords="offset points",
                ha="center",
                va="bottom",
                color=colour,
                in_layout=False,
            )
