"""Time of a training step, or of a prediction, against the size of the network: where each contestant's floor is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastnn._canvas import GREY, SMALL, new_axes, new_figure
from fastnn.report.page import Picture
from fastnn.report.plots import paper
from fastnn.report.record import Row, Run, geometric_mean
from fastnn.report.words import count, seconds, tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes


FLOOR = (
    "To the left a line runs flat where a contestant's time is that of its calls, not of its arithmetic: the number "
    "beside it is this floor. Dashed: what the arithmetic alone takes at the measured peak."
)


@dataclass(frozen=True)
class Kind:
    """A suite to draw: the file's name, words, and which rows."""

    suite: str
    name: str
    title: str
    label: str
    caption: str
    shown: Callable[[Row], bool]


KINDS = (
    Kind("training step", "training", "Time of a training step", "time of a training step",
         "Networks of dense layers, plain SGD, fastnn inside `fit`; layers and batch stand above the picture. Lower is "
         f"better. {FLOOR}",
         lambda row: row.shape.get("optimizer", "sgd") == "sgd" and row.shape.get("one_call", True)),
    Kind("GPU training step", "gpu-training", "Time of a training step on a GPU", "time of a training step",
         f"Networks of dense layers trained on the GPU. Lower is better. {FLOOR}", lambda row: True),
    Kind("inference", "inference", "Time to predict one row", "time of a prediction",
         f"One row through networks of dense layers, called from Python. Lower is better. {FLOOR}",
         lambda row: row.shape.get("batch") == 1),
)  # fmt: skip


def draw(run: Run) -> Iterator[Picture]:
    """A picture of each kind on the fewest threads and one on the most."""
    for kind in KINDS:
        rows = [row for row in run.suite(kind.suite) if row.weights and kind.shown(row)]
        threads = sorted({row.threads for row in rows})
        for number in dict.fromkeys((*threads[:1], *threads[-1:])):
            some = [row for row in rows if row.threads == number]
            if len({row.weights for row in some}) > 1:
                yield _picture(kind, some, number)


def _picture(kind: Kind, rows: list[Row], threads: int) -> Picture:
    figure = new_figure(paper.WIDTH, 6.4)
    axes = new_axes(figure)
    curves = {each: _curve(rows, each) for each in dict.fromkeys(name for row in rows for name in row.times)}
    for each, curve in curves.items():
        paper.line(axes, each, [x for x, _ in curve], [y for _, y in curve])
    floor = [(float(row.weights or 0), row.flops / row.peak) for row in rows if row.peak and row.flops]
    floor = [(x, geometric_mean(y for at, y in floor if at == x)) for x in sorted({x for x, _ in floor})]
    if floor:
        paper.limit(axes, *zip(*floor, strict=True))
    paper.logarithmic(axes.yaxis, lambda value: tick(value, "s"))
    paper.label_axes(axes, "weights", kind.label)
    title = f"{kind.title}, {count(threads, 'thread')}"
    paper.headline(figure, title)
    _weights(axes, rows)
    paper.grid(axes)
    _labels(axes, curves, floor)
    alt = f"{title}, against the number of weights"
    return Picture(f"{kind.name}-{threads}", paper.png(figure), alt, kind.caption)


def _weights(axes: Axes, rows: list[Row]) -> None:
    """The x axis, with room at its left for words, and the networks' names above it."""
    from matplotlib.ticker import FixedLocator

    low, high = min(row.weights or 1 for row in rows), max(row.weights or 1 for row in rows)
    paper.logarithmic(axes.xaxis, lambda value: tick(value, ""))
    axes.set_xlim(low / (high / low) ** 0.42, high * 1.6)
    axes.xaxis.set_major_locator(FixedLocator([10.0**power for power in range(12) if low / 3 < 10**power < high * 1.6]))
    names = {row.weights or 1: f"{_sizes(row)}, {row.shape['batch']}" for row in rows}
    top = axes.secondary_xaxis("top")
    top.xaxis.set_major_locator(FixedLocator(sorted(names)))
    top.set_xticks(sorted(names), [names[weights] for weights in sorted(names)], rotation=42, ha="left",
                   rotation_mode="anchor", fontsize=SMALL - 1.5, color=GREY)  # fmt: skip
    top.minorticks_off()
    axes.annotate("layers, batch:", (0.0, 1.0), (0, 6), xycoords="axes fraction", textcoords="offset points",
                  fontsize=SMALL - 1.5, color=GREY)  # fmt: skip
    top.spines["top"].set_visible(False)


def _sizes(row: Row) -> str:
    """784-512-512-10; equal neighbours from three on are counted: 784-3×2048-10."""
    groups = [(size, len(list(members))) for size, members in itertools.groupby(row.shape["sizes"])]
    return "-".join(f"{n}×{size}" if n > 2 else "-".join([str(size)] * n) for size, n in groups)


def _curve(rows: list[Row], contestant: str) -> list[tuple[float, float]]:
    """Weights and time, rows of as many weights averaged."""
    places: dict[int, list[float]] = {}
    for row in rows:
        if contestant in row.times:
            places.setdefault(row.weights or 0, []).append(row.times[contestant].best)
    return [(float(weights), geometric_mean(places[weights])) for weights in sorted(places)]


def _labels(axes: Axes, curves: dict[str, list[tuple[float, float]]], floor: list[tuple[float, float]]) -> None:
    """Beside the left end of each line: whose it is, and its floor."""
    ends = []
    for name, curve in curves.items():
        x, y = curve[0]
        lowest = min(time for _, time in curve)
        ends.append((x, y, f"{name}: {seconds(lowest)}", paper.look(name).colour))
    if floor:
        ends.append((*floor[0], f"arithmetic: {seconds(floor[0][1])}", GREY))
    paper.label_left(axes, ends)
