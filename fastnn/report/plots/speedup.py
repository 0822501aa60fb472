"""Speedup bars: first by peer and suite, then every row of a suite, a panel a peer. A loss has a colour of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fastnn._canvas import GREY, INK, SMALL, TEXT, new_axes, new_figure
from fastnn.report.page import Picture
from fastnn.report.plots import paper
from fastnn.report.record import OURS, Row, Run, geometric_mean
from fastnn.report.words import count, tick, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUITES = ("products", "program products", "elementwise", "training step", "inference")
ROWS = 24  # in a picture; more are divided among several
LOST_INK = "#a63a00"  # vermilion dark enough for small print
PALE_BLUE, PALE_VERMILION = "#8FC3E3", "#F0B48A"  # bars of the second number of threads
LABEL = 0.46  # inches that a ratio takes, written behind its bar
# Ratios at an axis, the finest first: those that fit are taken.
MARKS = (
    (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5),
    (0.5, 0.7, 1, 1.5, 2, 3, 5, 10),
    (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    (0.01, 0.1, 1, 10, 100, 1e3, 1e4),
    (1e-4, 0.01, 1, 100, 1e4),
    (1e-3, 1, 1e3),
    (1,),
)


def draw(run: Run) -> Iterator[Picture]:
    """The summary, then a picture for each suite and float type."""
    rows = [row for row in run.suite(*SUITES) if row.peers]
    if not rows:
        return
    yield _summary(run, rows)
    for suite, dtype in dict.fromkeys((row.suite, row.dtype) for row in rows):
        yield from _details(run, suite, dtype, [row for row in rows if (row.suite, row.dtype) == (suite, dtype)])


def _lost(ratio: float) -> bool:
    """Below 1, as it is written: 0.996 reads 1.00."""
    return round(ratio, 2) < 1


def _ratio_axis(axes: Axes, ratios: Sequence[float], width: float, labels: float) -> None:
    """A logarithmic axis of `width` inches around 1, with the line that parts wins from losses.

    To the right of the longest bar there is room for `labels` inches of text.
    """
    from matplotlib.ticker import FixedLocator

    low, high = math.log(min(*ratios, 0.97)), math.log(max(*ratios, 1.15))
    whole = (high - low) / (1 - labels / width)
    high = low + whole
    paper.logarithmic(axes.xaxis, lambda value: f"{tick(value, '').replace(' ', '')}×" if value >= 1 else f"{value:g}×")
    axes.set_xlim(math.exp(low), math.exp(high))
    for marks in MARKS:
        inside = [mark for mark in marks if low <= math.log(mark) <= high]
        gaps = [math.log(after / before) / whole * width for before, after in itertools.pairwise(inside)]
        if min(gaps, default=1.0) > 0.5:
            break
    axes.xaxis.set_major_locator(FixedLocator(inside))
    axes.axvline(1.0, color=INK, linewidth=1.4, zorder=4)
    paper.grid(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


# ---- summary


def _summary(run: Run, rows: list[Row]) -> Picture:
    bars = []
    for suite, dtype in dict.fromkeys((row.suite, row.dtype) for row in rows):
        some = [row for row in rows if (row.suite, row.dtype) == (suite, dtype)]
        for peer in run.contestants:
            ratios = [row.speedup(peer) for row in some if peer in row.peers]
            if ratios:
                bars.append((f"{suite}, {dtype}", peer, ratios))
    figure = new_figure(paper.WIDTH, 1.6 + 0.36 * len(bars) + 0.16 * len({group for group, *_ in bars}))
    axes = new_axes(figure)
    places, place, last = [], 0.0, ""
    for group, *_ in bars:
        place -= 1.0 if group == last else 1.6
        last = group
        places.append(place)
    means = [geometric_mean(ratios) for *_, ratios in bars]
    beside: Any = ("axes fraction", "data")
    axes.barh(places, [mean - 1 for mean in means], left=1.0, height=0.62,
              color=[paper.BLUE if mean >= 1 else paper.VERMILION for mean in means])  # fmt: skip
    for place, mean, (_, _, ratios) in zip(places, means, bars, strict=True):
        axes.plot(
            [min(ratios), max(ratios)], [place, place], color=INK, linewidth=1.2, marker="|", markersize=8, zorder=5
        )
        lost = sum(map(_lost, ratios))
        if lost:
            axes.plot([min(ratios), 1.0], [place, place], color=paper.VERMILION, linewidth=4.0, zorder=6)
        axes.annotate(times(mean), (1.0, place), (52, 0), xycoords=beside, textcoords="offset points", ha="right",
                      va="center", fontsize=SMALL, fontweight="bold", color=INK)  # fmt: skip
        axes.annotate(f"{lost} of {len(ratios)} lost" if lost else f"all {len(ratios)} won", (1.0, place), (66, 0),
                      xycoords=beside, textcoords="offset points", va="center", fontsize=SMALL,
                      color=LOST_INK if lost else INK, fontweight="bold" if lost else "normal")  # fmt: skip
    axes.set_yticks(places, [peer for _, peer, _ in bars], fontsize=SMALL)
    for group in dict.fromkeys(group for group, *_ in bars):
        top = max(place for place, (each, *_) in zip(places, bars, strict=True) if each == group)
        axes.annotate(group, (0.0, top + 0.75), (-4, 0), xycoords=("axes fraction", "data"), ha="right", va="center",
                      textcoords="offset points", fontsize=SMALL, fontweight="bold", color=INK)  # fmt: skip
    axes.set_ylim(min(places) - 0.6, 0.0)
    _ratio_axis(axes, [ratio for *_, ratios in bars for ratio in ratios], 6.0, 0.1)
    axes.set_xlabel("fastnn's speed over the peer's", fontsize=TEXT, color=INK)
    paper.headline(figure, "Speed over each peer, by suite")
    caption = (
        "How many times as fast as each peer fastnn is: bars are geometric means over a suite's rows, thin lines reach "
        "from the worst row to the best. The black line is 1: left of it, in orange, fastnn is slower. At the right "
        "stand the means, and how many rows are lost."
    )
    return Picture("speedup", paper.png(figure), "Speedup bars by peer and suite", caption)


# ---- every row of a suite


def _details(run: Run, suite: str, dtype: str, rows: list[Row]) -> Iterator[Picture]:
    """All rows of a suite, in as many pictures as they need."""
    names = list(dict.fromkeys(row.what for row in rows))
    peers = [name for name in run.contestants if name != OURS and any(name in row.times for row in rows)]
    pages = -(-len(names) // ROWS)
    for page in range(pages):
        some = names[page * len(names) // pages : (page + 1) * len(names) // pages]
        part = f" ({page + 1} of {pages})" if pages > 1 else ""
        picture = f"speedup-{suite.replace(' ', '-')}-{dtype}{f'-{page + 1}' if pages > 1 else ''}"
        yield _detail(picture, f"fastnn's speed over each peer's: {suite}, {dtype}{part}", some, peers, rows)


def _detail(picture: str, title: str, names: list[str], peers: list[str], rows: list[Row]) -> Picture:
    threads = sorted({row.threads for row in rows})
    shown = list(dict.fromkeys((threads[0], threads[-1])))
    labels = [_wrapped(name) for name in names]
    longest = max(len(line) for label in labels for line in label.splitlines())
    room = paper.WIDTH - 0.3 - 0.085 * longest  # inches beside the names
    across = min(len(peers), int(room / 1.35))
    down = -(-len(peers) // across)
    figure = new_figure(paper.WIDTH, 1.4 + down * (0.75 + len(names) * max(0.19 * len(shown) + 0.09, 0.38)))
    for place, peer in enumerate(peers):
        axes = new_axes(figure, down, across, place + 1)
        _panel(axes, peer, names, {n: [row for row in rows if row.threads == n] for n in shown}, room / across - 0.4)
        paper.panel_title(axes, peer)
        axes.set_yticks(range(len(names)), labels if place % across == 0 else [""] * len(names), fontsize=SMALL - 1)
    paper.headline(figure, title)
    paper.key(figure, _handles(shown))
    caption = (
        "Fastnn's speed over each peer's, a panel a peer, each with its own scale. Right of the black line, in blue, "
        "fastnn is faster; left of it, in orange and hatched, slower."
    )
    return Picture(picture, paper.png(figure), title, caption)


def _wrapped(name: str) -> str:
    """A long name on two lines."""
    return name.replace(", ", "\n", 1) if len(name) > 22 else name


def _panel(axes: Axes, peer: str, names: list[str], by_threads: dict[int, list[Row]], width: float) -> None:
    height = 0.84 / len(by_threads)
    everything: list[float] = []
    for index, rows in enumerate(by_threads.values()):
        ratios = {row.what: row.speedup(peer) for row in rows if peer in row.times and row.what in names}
        everything += ratios.values()
        for what, ratio in ratios.items():
            place = names.index(what) + (index - (len(by_threads) - 1) / 2) * height
            lost = _lost(ratio)
            axes.barh([place], [ratio - 1], left=1.0, height=height, **_paint(lost, index))
            axes.annotate(times(ratio), (max(ratio, 1.0), place), (3, -0.5), textcoords="offset points", va="center",
                          fontsize=SMALL - 2, color=LOST_INK if lost else INK,
                          fontweight="bold" if lost else "normal")  # fmt: skip
    axes.set_ylim(len(names) - 0.4, -0.6)
    _ratio_axis(axes, everything or [1.0], width, LABEL)


def _paint(lost: bool, index: int) -> dict[str, Any]:
    """Colour by outcome, strong for the fewest threads and pale for the most; losses hatched as well."""
    colours = (paper.VERMILION, PALE_VERMILION) if lost else (paper.BLUE, PALE_BLUE)
    return {"color": colours[index], "edgecolor": "white", "linewidth": 0.0, "hatch": "////" if lost else None}


def _handles(threads: Sequence[int]) -> dict[str, Any]:
    from matplotlib.patches import Patch

    handles: dict[str, Any] = {}
    for lost in (False, True):
        for index, number in enumerate(threads):
            paint = _paint(lost, index)
            handles[f"{'slower' if lost else 'faster'}, {count(number, 'thread')}"] = Patch(
                facecolor=paint["color"], edgecolor=GREY if lost else "white", hatch=paint["hatch"], linewidth=0.0
            )
    return handles
