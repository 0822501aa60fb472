"""Speedups row by row: for each suite all its rows, a panel a peer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fastnn._canvas import GREY, INK, SMALL, new_axes, new_figure
from fastnn.report.page import Picture
from fastnn.report.plots import paper, ratio
from fastnn.report.record import Row, Run, is_lost
from fastnn.report.words import count, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 24  # rows in a picture; more are divided among several
LABEL = 0.46  # inches that a ratio takes, written behind its bar
CAPTION = (
    "Fastnn's speed over each peer's, a panel a peer, each with its own scale. Right of the black line, in blue, "
    "fastnn is faster; left of it, in orange and hatched, slower."
)


def draw(run: Run) -> Iterator[Picture]:
    """As many pictures for each suite and float type as its rows need."""
    rows = [row for row in run.suite(*ratio.RACES) if row.peers]
    for suite, dtype in dict.fromkeys((row.suite, row.dtype) for row in rows):
        some = [row for row in rows if (row.suite, row.dtype) == (suite, dtype)]
        peers = [name for name in run.contestants[1:] if any(name in row.times for row in some)]
        names = list(dict.fromkeys(row.what for row in some))
        pages = -(-len(names) // MOST)
        for page in range(pages):
            part = names[page * len(names) // pages : (page + 1) * len(names) // pages]
            name = f"speedup-{suite.replace(' ', '-')}-{dtype}" + (f"-{page + 1}" if pages > 1 else "")
            which = f" ({page + 1} of {pages})" if pages > 1 else ""
            title = f"fastnn's speed over each peer's: {suite}, {dtype}{which}"
            yield _picture(name, title, part, peers, [row for row in some if row.what in part])


def _picture(name: str, title: str, names: list[str], peers: list[str], rows: list[Row]) -> Picture:
    threads = sorted({row.threads for row in rows})
    shown = list(dict.fromkeys((threads[0], threads[-1])))
    labels = [_wrapped(each) for each in names]
    longest = max(len(line) for label in labels for line in label.splitlines())
    room = paper.WIDTH - 0.3 - 0.085 * longest  # inches beside the names
    across = min(len(peers), int(room / 1.35))
    down = -(-len(peers) // across)
    figure = new_figure(paper.WIDTH, 1.4 + down * (0.75 + len(names) * max(0.19 * len(shown) + 0.09, 0.38)))
    for place, peer in enumerate(peers):
        axes = new_axes(figure, down, across, place + 1)
        ratios = _panel(axes, peer, names, [[row for row in rows if row.threads == number] for number in shown])
        ratio.set_axis(axes, ratios or [1.0], width=room / across - 0.4, labels=LABEL)
        paper.panel_title(axes, peer)
        axes.set_yticks(range(len(names)), labels if place % across == 0 else [""] * len(names), fontsize=SMALL - 1)
    paper.headline(figure, title)
    paper.key(figure, _handles(shown))
    return Picture(name, paper.png(figure), title, CAPTION)


def _wrapped(name: str) -> str:
    """A long name on two lines."""
    return name.replace(", ", "\n", 1) if len(name) > 26 else name


def _panel(axes: Axes, peer: str, names: list[str], by_threads: list[list[Row]]) -> list[float]:
    """The bars over one peer, those of several numbers of threads below each other; returns all ratios."""
    height = 0.84 / len(by_threads)
    found = []
    for index, rows in enumerate(by_threads):
        for row in rows:
            if peer not in row.times:
                continue
            speedup = row.speedup(peer)
            lost = is_lost(speedup)
            place = names.index(row.what) + (index - (len(by_threads) - 1) / 2) * height
            axes.barh([place], [speedup - 1], left=1.0, height=height, **_paint(lost, index))
            axes.annotate(times(speedup), (max(speedup, 1.0), place), (3, -0.5), textcoords="offset points",
                          va="center", fontsize=SMALL - 2, color=ratio.LOST_INK if lost else INK,
                          fontweight="bold" if lost else "normal")  # fmt: skip
            found.append(speedup)
    axes.set_ylim(len(names) - 0.4, -0.6)
    return found


def _paint(lost: bool, index: int) -> dict[str, Any]:
    """Colour by outcome, strong for the fewest threads and pale for the most; losses hatched as well."""
    colours = (paper.VERMILION, ratio.PALE_VERMILION) if lost else (paper.BLUE, ratio.PALE_BLUE)
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
