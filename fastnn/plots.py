"""Pictures of a training: learning curve, confusion matrix, first-layer weights, mistakes, where the time went.

Every function returns a matplotlib Figure and, with `path=`, saves it; the suffix says the format. matplotlib is
imported by the first call; its global state, the pyplot figures and the backend are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import profiling
from fastnn._canvas import DPI, GREY, INK, PALE, SMALL, TEXT, TITLE, Mosaic, new_axes, new_figure, set_title, style_bar
from fastnn._check import whole
from fastnn.ops._dispatch import as_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Path = str | PathLike[str]

BLUE, VERMILION = "#0072B2", "#D55E00"  # of Okabe and Ito's palette, distinct to every eye


# ---- learning curve


def learning_curve(history: Mapping[str, Sequence[float]], *, path: Path | None = None) -> Figure:
    """One panel a metric against the epochs, training and validation together, the best validation epoch ringed.

    Parameters
    ----------
    history
        Lists of one value an epoch: "loss", "validation_loss", "accuracy", "validation_accuracy", ... NaN leaves a
        gap. "seconds", each epoch's wall time, is summed up in the title; "learning_rate" is not drawn.
    path
        Where to save the figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the history is empty or its lists differ in length.
    """
    curves = {name: np.asarray(values, np.float64) for name, values in history.items()}
    seconds = curves.pop("seconds", None)
    curves.pop("learning_rate", None)
    epochs = {len(values) for values in curves.values()}
    if epochs in (set(), {0}):
        raise ValueError("learning_curve: the history is empty")
    if len(epochs) > 1:
        lengths = ", ".join(f"{name} {len(values)}" for name, values in curves.items())
        raise ValueError(f"learning_curve: every list must have one value an epoch, got {lengths}")
    metrics = list(dict.fromkeys(name.removeprefix("validation_") for name in curves))
    columns = len(metrics) if len(metrics) <= 3 else math.ceil(math.sqrt(len(metrics)))
    rows = -(-len(metrics) // columns)
    figure = new_figure(max(5.0 * columns, 6.4), 0.9 + 3.7 * rows)
    for place, metric in enumerate(metrics, 1):
        axes = new_axes(figure, rows, columns, place)
        _curve(axes, metric, curves.get(metric), curves.get(f"validation_{metric}"))
    count = epochs.pop()
    took = "" if seconds is None else f" in {_duration(float(np.nansum(seconds)))}"
    figure.suptitle(f"Learning curve: {count} epoch{'s' * (count != 1)}{took}", x=0.02, ha="left", fontsize=TITLE,
                    fontweight="bold", color=INK)  # fmt: skip
    _key(figure, any(name.startswith("validation_") for name in curves))
    return _finish(figure, path)


def _curve(axes: Axes, metric: str, training: NDArray[Any] | None, validation: NDArray[Any] | None) -> None:
    from matplotlib.ticker import MaxNLocator

    from fastnn.metrics import better

    percent = metric.startswith("top_") or "accuracy" in metric  # fractions that read better as percentages
    scale = 100.0 if percent else 1.0
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    for values, colour, order in ((training, BLUE, 3), (validation, VERMILION, 4)):
        if values is not None:
            marker = "o" if len(values) <= 12 else None
            epochs = np.arange(1, len(values) + 1)
            axes.plot(epochs, scale * values, color=colour, linewidth=2.2, marker=marker, markersize=4, zorder=order)
    axes.set_xlabel("epoch", fontsize=TEXT, color=INK)
    axes.set_ylabel(_words(metric) + (" (%)" if percent else ""), fontsize=TEXT, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    last = len(training if validation is None else validation)  # type: ignore[arg-type]
    axes.set_xlim(0.5, last + max(0.5, 0.03 * last))
    _log_scale_if_wide(axes, [values for values in (training, validation) if values is not None])
    if validation is not None and np.isfinite(validation).any():
        best = int(np.nanargmax(validation) if better(metric) == "max" else np.nanargmin(validation))
        axes.plot(best + 1, scale * validation[best], "o", markersize=10, markerfacecolor="none",
                  markeredgecolor=VERMILION, markeredgewidth=1.8, zorder=5, clip_on=False)  # fmt: skip
        value = f"{100.0 * validation[best]:.2f} %" if percent else f"{validation[best]:.4g}"
        axes.set_title(f"best validation: {value}, epoch {best + 1}", loc="left", fontsize=SMALL, color=GREY)


def _log_scale_if_wide(axes: Axes, curves: Sequence[NDArray[Any]]) -> None:
    """A curve that falls by more than a factor of ten is only legible on a logarithmic scale."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() > 10.0 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if values.max() < 1e3 * values.min() else (1.0,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _key(figure: Figure, validation: bool) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=BLUE, linewidth=2.2, label="training")]
    if validation:
        lines.append(Line2D([], [], color=VERMILION, linewidth=2.2, label="validation"))
        lines.append(Line2D([], [], color=VERMILION, linestyle="", marker="o", markersize=9, markerfacecolor="none",
                            markeredgewidth=1.8, label="best validation"))  # fmt: skip
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), frameon=False, fontsize=TEXT,
                  labelcolor=INK)  # fmt: skip


# ---- profile


def profile(found: profiling.Profile, *, path: Path | None = None) -> Figure:
    """A bar for each instruction of a step, as long as the time it took; its roofline, the least it could take, in it.

    Parameters
    ----------
    found
        What `Network.profile` returned.
    path
        Where to save the figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    timings = found.timings
    figure = new_figure(10.0, 1.9 + 0.36 * len(timings))
    axes = new_axes(figure)
    places = list(range(len(timings)))
    seconds = np.array([each.seconds for each in timings])
    floors = np.minimum([each.floor for each in timings], seconds)
    scale, unit = next((pair for pair in ((1e3, "ms"), (1e6, "µs")) if pair[0] * seconds.max() >= 1), (1e9, "ns"))
    axes.barh(places, scale * seconds, color=PALE, label="time")
    axes.barh(places, scale * floors, color=BLUE, label="roofline: the least that the machine needs for it")
    axes.set_yticks(places, [f"{number}  {each.name}" for number, each in enumerate(timings)])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * scale * seconds.max())
    for place, each in zip(places, timings, strict=True):
        words = f" {found.share(each):.1%}" + (f", {each.gflops:.0f} GFLOP/s" if each.gflops >= 1 else "")
        axes.text(scale * each.seconds, place, words, va="center", fontsize=SMALL, color=INK)
    axes.set_xlabel(f"time ({unit})", fontsize=TEXT, color=INK)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=SMALL)
    figure.suptitle(f"{found.title}: {profiling.duration(found.seconds)}", x=0.02, ha="left", fontsize=TITLE,
                    fontweight="bold", color=INK)  # fmt: skip
    return _finish(figure, path)


# ---- confusion matrix


def confusion_matrix(
    matrix: ArrayLike, class_names: Sequence[str] | None = None, *, path: Path | None = None
) -> Figure:
    """Counts of true against predicted classes; right ones in blue, mistakes coloured by their share of the true class.

    Parameters
    ----------
    matrix
        Counts [true class, predicted class], as `fastnn.metrics.confusion_matrix` gives them. Up to 30 classes are
        written into the cells.
    class_names
        One name a class; by default the numbers from 0.
    path
        Where to save the figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the matrix is not square, holds negative or no counts, or the names are not one a class.
    """
    counts = as_array(matrix, "matrix").astype(np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(f"confusion_matrix: the matrix must be square, got shape {counts.shape}")
    if not ((counts >= 0).all() and np.isfinite(counts).all() and counts.any()):
        raise ValueError("confusion_matrix: counts must be finite, not negative, and not all zero")
    n = len(counts)
    names = [str(index) for index in range(n)] if class_names is None else [str(name) for name in class_names]
    if len(names) != n:
        raise ValueError(f"confusion_matrix: {n} classes need {n} names, got {len(names)}")
    side = min(max(0.62 * n, 4.2), 12.0)
    longest = max(map(len, names))
    figure = new_figure(side + 3.2 + 0.1 * longest, side + 1.5 + 0.06 * longest)
    axes = new_axes(figure)
    _cells(figure, axes, counts)
    _name_classes(axes, names, cell=72.0 * side / n)
    if n <= 30:
        _write_counts(axes, counts, min(TEXT, 36.0 * side / n))
    right, total = np.trace(counts), counts.sum()
    set_title(axes, f"{right:,.10g} of {total:,.10g} classified correctly ({100.0 * right / total:.2f} %)")
    return _finish(figure, path)


def _cells(figure: Figure, axes: Axes, counts: NDArray[Any]) -> None:
    """Two layers: the diagonal in one pale blue, so that the mistakes beside it keep the whole colour scale."""
    from matplotlib.colors import ListedColormap

    n = len(counts)
    share = 100.0 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
    diagonal = np.eye(n, dtype=bool)
    axes.imshow(np.where(diagonal, 1.0, np.nan), cmap=ListedColormap(["#cfe3f1"]))
    wrong = np.where(diagonal | (counts == 0), np.nan, share)
    if np.isfinite(wrong).any():
        image = axes.imshow(wrong, cmap=_oranges(), vmin=0.0, vmax=np.nanmax(wrong))
        bar = figure.colorbar(image, ax=axes, shrink=0.75, aspect=32, pad=0.02)
        style_bar(bar, "mistakes, share of the true class (%)")
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=PALE, linewidth=0.8)
    axes.tick_params(which="both", length=0)


def _name_classes(axes: Axes, names: Sequence[str], cell: float) -> None:
    """Class names along both axes, slanted or thinned out where a cell of `cell` points is too narrow for them."""
    size = min(TEXT, max(7.0, 0.5 * cell))
    slanted = 0.65 * size * max(map(len, names)) > cell
    step = math.ceil(1.4 * size / cell)
    places = range(0, len(names), step)
    axes.set_xticks(places, names[::step], fontsize=size, rotation=45 if slanted else 0,
                    ha="right" if slanted else "center", rotation_mode="anchor" if slanted else "default")  # fmt: skip
    axes.set_yticks(places, names[::step], fontsize=size)
    axes.set_xlabel("predicted class", fontsize=TEXT, color=INK)
    axes.set_ylabel("true class", fontsize=TEXT, color=INK)


def _oranges() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("mistakes", ["#fdebd9", "#f5a765", "#D55E00", "#7a2f00"])


def _write_counts(axes: Axes, counts: NDArray[Any], size: float) -> None:
    """The counts in their cells, and to the right of each row the share of that class that was recognised."""
    n = len(counts)
    totals = counts.sum(axis=1)
    share = counts / np.maximum(totals[:, np.newaxis], 1e-300)
    worst = max(float(np.where(np.eye(n, dtype=bool), 0.0, share).max()), 1e-300)
    longest = max(len(f"{count:.6g}") for count in counts.ravel())
    fitting = min(size, size * 4.5 / longest)
    for row, column in zip(*np.nonzero(counts), strict=True):
        dark = row != column and share[row, column] > 0.62 * worst
        axes.text(
            column,
            row,
            f"{counts[row, column]:.6g}",
            ha="center",
            va="center",
            fontsize=fitting,
            color="white" if dark else INK,
            fontweight="bold" if row == column else "normal",
            in_layout=False,
        )
    beside: dict[str, Any] = {
        "textcoords": "offset points",
        "annotation_clip": False,
        "fontsize": fitting,
        "color": GREY,
    }
    for row in range(n):
        recall = f"{100.0 * share[row, row]:.1f} %" if totals[row] else "–"
        axes.annotate(recall, (n - 0.5, row), (6, 0), va="center", **beside)
    axes.annotate("recall", (n - 0.5, n - 0.5), (6, -4), va="top", **beside)


# ---- weights


def weights(array: ArrayLike, *, limit: int = 100, path: Path | None = None) -> Figure:
    """What each unit of the first layer looks for: its weights as a picture, red for positive, blue for negative.

    All units share one scale, which is centred on zero and ends at the 99.5th percentile of the magnitudes.

    Parameters
    ----------
    array
        Weights (units, height, width).
    limit
        At most so many units are shown, the first ones.
    path
        Where to save the figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the array has another number of dimensions, is empty, or holds NaN or infinity.
    """
    whole("weights", "limit", limit, low=1)
    values = as_array(array, "weights").astype(np.float64)
    if values.ndim != 3 or values.size == 0:
        raise ValueError(f"weights: expected shape (units, height, width), got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("weights: the array holds NaN or infinity")
    shown = values[:limit]
    count, height, width = shown.shape
    reach = float(np.percentile(np.abs(shown), 99.5)) or float(np.abs(shown).max()) or 1.0
    mosaic = Mosaic(count, height, width, lines=1)
    figure, axes = mosaic.figure(beside=1.1)
    image = mosaic.draw(axes, shown, cmap="RdBu_r", vmin=-reach, vmax=reach)
    for index in range(count):
        mosaic.caption(axes, index, [(str(index), GREY)])
    bar = figure.colorbar(image, ax=axes, shrink=0.75, aspect=32, pad=0.02, panchor=False,
                          extend="both" if np.abs(shown).max() > reach else "neither")  # fmt: skip
    style_bar(bar, "weight")
    units = "1 unit" if count == 1 else f"{count} units"
    which = units if count == len(values) else f"the first {count} of {len(values)} units"
    set_title(axes, f"First-layer weights of {which}, {height} × {width} inputs each")
    return _finish(figure, path)


# ---- mistakes


def mistakes(images: ArrayLike, true: ArrayLike, predicted: ArrayLike, probabilities: ArrayLike | None = None, *,
             class_names: Sequence[str] | None = None, limit: int = 24,
             path: Path | None = None) -> Figure:  # fmt: skip
    """The images that were classified wrongly, the most confident mistakes first.

    Parameters
    ----------
    images
        All images (n, height, width), or (n, height, width, channels) with 1 or 3 channels.
    true, predicted
        Classes (n,).
    probabilities
        Of the predicted class (n,), or of all classes (n, classes).
    class_names
        Names to write instead of the numbers.
    limit
        At most so many mistakes are shown.
    path
        Where to save the figure.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the arrays do not fit each other.
    """
    whole("mistakes", "limit", limit, low=1)
    pictures, labels, guesses = as_array(images, "images"), as_array(true, "true"), as_array(predicted, "predicted")
    n = len(pictures) if pictures.ndim else 0
    if pictures.size == 0 or pictures.ndim not in (3, 4) or (pictures.ndim == 4 and pictures.shape[3] not in (1, 3)):
        raise ValueError(
            f"mistakes: images must be (n, height, width) or (n, height, width, 1 or 3), got {pictures.shape}"
        )
    if labels.shape != (n,) or guesses.shape != (n,):
        raise ValueError(f"mistakes: {n} images need classes of shape ({n},), got {labels.shape} and {guesses.shape}")
    if class_names is not None and n and max(labels.max(), guesses.max()) >= len(class_names):
        raise ValueError(
            f"mistakes: class {max(labels.max(), guesses.max())} has no name, there are {len(class_names)}"
        )
    confidence = _confidence(probabilities, guesses)
    wrong = np.flatnonzero(labels != guesses)
    if confidence is not None:
        wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    shown = wrong[:limit]
    captions = [_verdict(labels[index], guesses[index], class_names, confidence, index) for index in shown]
    height, width = pictures.shape[1:3]
    mosaic = Mosaic(max(len(shown), 1), height, width, lines=max(map(len, captions), default=1))
    figure, axes = mosaic.figure(beside=0.0)
    mosaic.draw(axes, _as_ink(pictures, shown), cmap="gray_r", vmin=0.0, vmax=1.0)
    for place, lines in enumerate(captions or [[("no mistakes", GREY)]]):
        mosaic.caption(axes, place, lines)
    order = "" if confidence is None or len(wrong) < 2 else ", most confident first"
    part = f" ({len(shown)} shown{order})" if len(shown) < len(wrong) else order
    set_title(axes, f"{len(wrong):,} of {n:,} images misread{part}")
    return _finish(figure, path)


def _verdict(label: Any, guess: Any, class_names: Sequence[str] | None, confidence: NDArray[np.float64] | None,
             index: int) -> list[tuple[str, str]]:  # fmt: skip
    """Lines (text, colour) that say what an image is and what it was taken for."""
    true, taken = (str(int(each)) if class_names is None else str(class_names[int(each)]) for each in (label, guess))
    if max(len(true), len(taken)) <= 3:
        lines = [(f"{true} read as {taken}", INK)]
    else:
        lines = [(true, INK), (f"read as {taken}", INK)]
    if confidence is not None:
        lines.append((f"{np.floor(1000.0 * confidence[index]) / 10.0:.1f} % sure", VERMILION))
    return lines


def _confidence(probabilities: ArrayLike | None, guesses: NDArray[Any]) -> NDArray[np.float64] | None:
    """Each prediction's probability."""
    if probabilities is None:
        return None
    values = as_array(probabilities, "probabilities").astype(np.float64)
    if values.ndim == 2 and len(values) == len(guesses) and guesses.size and guesses.max() < values.shape[1]:
        values = np.take_along_axis(values, guesses.astype(np.int64)[:, np.newaxis], axis=1)[:, 0]
    if values.shape != guesses.shape:
        raise ValueError(f"mistakes: probabilities of {len(guesses)} images must have shape ({len(guesses)},) or "
                         f"({len(guesses)}, classes), got {values.shape}")  # fmt: skip
    return values


def _as_ink(pictures: NDArray[Any], shown: NDArray[np.intp]) -> NDArray[np.float64]:
    """The pictures to show, scaled to 0 ... 1 as all of them require; a single channel is dropped."""
    low, high = float(pictures.min()), float(pictures.max())
    if pictures.dtype == np.uint8 and high > 1.0:
        low, high = 0.0, 255.0
    elif low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    values = pictures[shown, ..., 0] if pictures.shape[3:] == (1,) else pictures[shown]
    return (values.astype(np.float64) - low) / ((high - low) or 1.0)


def _words(metric: str) -> str:
    """A metric's name as one would write it on an axis."""
    if metric.startswith("top_"):
        return f"top-{metric[4:]} accuracy"
    short = {"mae": "mean absolute error", "mse": "mean squared error", "rmse": "root mean squared error", "r2": "R²"}
    return short.get(metric, metric.replace("_", " "))


def _duration(seconds: float) -> str:
    if seconds < 100.0:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60.0)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _finish(figure: Figure, path: Path | None) -> Figure:
    if path is not None:
        figure.savefig(path, dpi=DPI)
    return figure
