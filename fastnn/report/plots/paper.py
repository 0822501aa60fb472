"""What the plots share: a look for each contestant, logarithmic axes, labels that keep apart, PNGs."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fastnn._canvas import DPI, GREY, INK, PALE, SMALL, TEXT, TITLE
from fastnn.report.record import OURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION = "#0072B2", "#D55E00"  # faster and slower: distinct to every eye; vermilion means a loss, nothing else
WIDTH = 10.0  # inches, of every picture


@dataclass(frozen=True)
class Look:
    """How a contestant's line is drawn; colour, marker and dashes all differ, so that none is needed alone."""

    colour: str
    marker: str
    dashes: str = "-"
    width: float = 1.6


# Okabe and Ito's palette without vermilion and yellow, and two more; relatives share a colour.
LOOKS = {
    OURS: Look(BLUE, "o", width=3.0),
    "numpy": Look(INK, "s"),
    "plain numpy": Look(INK, "+", ":"),
    "torch": Look("#E69F00", "^"),
    "torch.compile": Look("#E69F00", "v", "--"),
    "torch cuda": Look("#E69F00", "^"),
    "torch cuda graph": Look("#E69F00", "v", "--"),
    "jax": Look("#009E73", "D"),
    "jax scan": Look("#009E73", "d", "--"),
    "scikit-learn": Look("#56B4E9", "P"),
    "thinc": Look("#CC79A7", "X", ":"),
    "onnxruntime": Look("#7A4B94", "p"),
    "blis": Look("#8C6D31", "h"),
    "mkl": Look("#8A8A8A", "<"),
    "numba": Look("#882255", ">", "-."),
}
_OTHERS = (Look("#332288", "*"), Look("#44AA99", "8", "--"), Look("#117733", "H", "-."), Look("#666633", "4", ":"))


def look(contestant: str) -> Look:
    """A contestant's own look; the same one in every picture, for those that nobody has foreseen too."""
    if contestant in LOOKS:
        return LOOKS[contestant]
    return _OTHERS[sum(contestant.encode()) % len(_OTHERS)]


def line(axes: Axes, contestant: str, x: Sequence[float], y: Sequence[float], **more: Any) -> Any:
    """A contestant's curve."""
    style = look(contestant)
    settings: dict[str, Any] = {"linestyle": style.dashes, "linewidth": style.width, "label": contestant} | more
    (drawn,) = axes.plot(x, y, color=style.colour, marker=style.marker, markersize=6.5 if contestant == OURS else 5.5,
                         zorder=5 if contestant == OURS else 3, **settings)  # fmt: skip
    return drawn


def limit(axes: Axes, x: Sequence[float], y: Sequence[float]) -> Any:
    """A dashed line that no contestant crosses: a peak, a floor, an ideal."""
    (drawn,) = axes.plot(x, y, color=GREY, linewidth=1.8, linestyle=(0, (6, 3)))
    return drawn


def label_axes(axes: Axes, x: str, y: str) -> None:
    """What the axes show, with units."""
    axes.set_xlabel(x, fontsize=TEXT, color=INK)
    axes.set_ylabel(y, fontsize=TEXT, color=INK)


def logarithmic(axis: Any, form: Callable[[float], str], *, base: float = 10.0, most: int = 12) -> None:
    """A logarithmic x or y axis of what is drawn by now; its numbers are written by `form`, more of them where it is
    short.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    steps = (1.0, 2.0, 5.0) if base == 10.0 and high < 200.0 * low else (1.0,)
    axis.set_major_locator(LogLocator(base=base, subs=steps, numticks=most))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axis.set_minor_formatter(NullFormatter())


def grid(axes: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Pale lines behind everything."""
    axes.grid(axis=axis, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)


def key(figure: Figure, handles: Mapping[str, Any], columns: int = 6) -> None:
    """One legend for all panels, below them, in lines of equal length."""
    lines = -(-len(handles) // columns)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", frameon=False, fontsize=TEXT,
                  ncols=-(-len(handles) // lines), labelcolor=INK, handlelength=2.6)  # fmt: skip


def headline(figure: Figure, text: str) -> None:
    """The picture's title, at the upper left."""
    figure.suptitle(text, x=0.015, ha="left", fontsize=TITLE, fontweight="bold", color=INK)


def panel_title(axes: Axes, text: str) -> None:
    """What sets this panel apart."""
    axes.set_title(text, loc="left", fontsize=TEXT, color=INK, pad=8)


def apart(places: Iterable[float], distance: float) -> list[float]:
    """The places, moved as little as it takes to leave `distance` between neighbours; in the order they came."""
    given = list(places)
    order = sorted(range(len(given)), key=given.__getitem__)
    groups: list[list[float]] = []  # each: the sum of where its members would begin a stack, and how many they are
    for index, wished in enumerate(given[i] for i in order):
        groups.append([wished - index * distance, 1])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            total, members = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += members
    means = [total / members for total, members in groups for _ in range(int(members))]
    moved = [0.0] * len(given)
    for index, at in enumerate(order):
        moved[at] = means[index] + index * distance
    return moved


def label_left(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Labels (x, y, text, colour) to the left of curves' ends on a logarithmic y axis, none on top of another.

    To be called when the limits of the axes are final. Labels have a white edge, for curves that pass.
    """
    from matplotlib.patheffects import withStroke

    figure: Any = axes.figure
    figure.draw_without_rendering()  # lays out: the height is needed
    low, high = (math.log(limit) for limit in axes.get_ylim())
    height = axes.get_window_extent().height * 72.0 / figure.dpi  # points
    distance = 1.25 * SMALL / height * (high - low)
    for (x, y, text, colour), place in zip(ends, apart((math.log(end[1]) for end in ends), distance), strict=True):
        points = (place - math.log(y)) / (high - low) * height
        axes.annotate(text, (x, y), (-8, points), textcoords="offset points", ha="right", va="center",
                      fontsize=SMALL, color=colour, annotation_clip=False, zorder=6,
                      path_effects=[withStroke(linewidth=3.0, foreground="white")])  # fmt: skip


def png(figure: Figure) -> bytes:
    """The picture as a file's content, in 256 colours: plots need no more, and a report is kept with the code."""
    from PIL import Image  # matplotlib requires it

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    small = io.BytesIO()
    Image.open(stream).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()
