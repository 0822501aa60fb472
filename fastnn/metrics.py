"""How good predictions are: metrics as functions `metric(y_true, y_pred, sample_weight=None) -> float`.

Arithmetic is float64 whatever the inputs are. A prediction that holds NaN counts as wrong where right and wrong are
counted, and makes an error measure NaN. `sample_weight` has one weight a row (or one for each label of a sequence).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import ops
from fastnn._check import number, whole
from fastnn.ops._dispatch import as_array

Metric = Callable[..., float]

_quietly = np.errstate(invalid="ignore", over="ignore")  # infinite predictions give infinite or NaN errors, no warnings


def accuracy(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None, *, threshold: float = 0.0
) -> float:
    """The fraction of rows classified rightly.

    Parameters
    ----------
    y_true
        Classes (n,) or (n, 1) as whole numbers, or one-hot (n, classes). Sequences have further leading dimensions.
    y_pred
        Scores (n, classes), logits or probabilities alike: the first of the largest wins. With one column, or of
        shape (n,), the score of class 1 of two.
    sample_weight
        Weights (n,).
    threshold
        Only for one column: scores above it mean class 1. 0 is right for logits, which the losses of this library
        take, and for step units; say 0.5 for the probabilities of a sigmoid. For several yes-no outputs a row, see
        `BinaryAccuracy`.

    Raises
    ------
    TypeError, ValueError
        If arrays are empty, do not fit each other, or a label is no class.
    """
    scores = _numbers(y_pred, "y_pred")
    if scores.ndim == 1 or scores.shape[-1] == 1:
        return BinaryAccuracy(threshold)(y_true, scores, sample_weight)
    right = _largest(scores) == _classes(y_true, scores.shape)
    unknown = np.isnan(scores)
    if unknown.any():
        right &= ~unknown.any(axis=-1)
    return _average(right, sample_weight)


@dataclass(frozen=True)
class BinaryAccuracy:
    """The fraction of yes-no answers that are right: predictions above `threshold` mean yes.

    0.5 is for probabilities, 0 for logits. Any number of outputs a row; labels are 0 and 1, or -1 and 1. Labels between
    0 and 1 are probabilities of yes: above 1/2 it counts as the right answer.
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        number("BinaryAccuracy", "threshold", self.threshold)

    @property
    def name(self) -> str:
        """What the history calls it."""
        return "binary_accuracy"

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The accuracy of predictions (n,) or (n, outputs) against labels of the same shape.

        Raises
        ------
        TypeError, ValueError
            If arrays are empty, do not fit each other, or a label is neither yes nor no.
        """
        labels, scores = _pair(y_true, y_pred)
        if ((labels >= 0) & (labels <= 1)).all():
            yes = labels > 0.5
        elif (np.abs(labels) == 1).all():
            yes = labels > 0
        else:
            raise ValueError(
                f"labels of yes-no outputs must be 0 and 1, or -1 and 1, got {labels.min():g} to {labels.max():g}; "
                "for more classes, predictions need one column for each"
            )
        right = ((scores > self.threshold) == yes) & ~np.isnan(scores)
        return _average(right, sample_weight)


@dataclass(frozen=True)
class TopK:
    """The fraction of rows whose class is among the `k` highest scores; of equal scores, the first counts as higher."""

    k: int = 5

    def __post_init__(self) -> None:
        whole("TopK", "k", self.k, low=1)

    @property
    def name(self) -> str:
        """What the history calls it."""
        return f"top_{self.k}"

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The accuracy of scores (n, classes) against classes (n,) or one-hot (n, classes).

        Raises
        ------
        TypeError, ValueError
            If arrays are empty, do not fit each other, a label is no class, or there are not more than `k` classes.
        """
        scores = _floats(y_pred, "y_pred")
        if scores.ndim == 1:
            raise ValueError(f"{self.name}: predictions must have one column a class, got shape {scores.shape}")
        if self.k >= scores.shape[-1]:
            raise ValueError(f"{self.name} of {scores.shape[-1]} classes is always 1: take fewer")
        labels = _classes(y_true, scores.shape)[..., np.newaxis]
        own = np.take_along_axis(scores, labels, axis=-1)
        earlier = np.arange(scores.shape[-1]) < labels
        rank = ((scores > own) | ((scores == own) & earlier)).sum(axis=-1)
        return _average((rank < self.k) & ~np.isnan(scores).any(axis=-1), sample_weight)


@_quietly
def mean_absolute_error(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """The mean of |y_pred - y_true| over all outputs of all rows.

    Raises
    ------
    TypeError, ValueError
        If arrays are empty or their shapes differ by more than a last dimension of 1.
    """
    target, prediction = _pair(y_true, y_pred)
    return _average(np.abs(prediction - target), sample_weight)


@_quietly
def mean_squared_error(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """The mean of (y_pred - y_true)² over all outputs of all rows.

    Raises
    ------
    TypeError, ValueError
        If arrays are empty or their shapes differ by more than a last dimension of 1.
    """
    target, prediction = _pair(y_true, y_pred)
    return _average(np.square(prediction - target), sample_weight)


def root_mean_squared_error(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """The square root of the mean squared error over all outputs of all rows, in the units of the targets.

    Raises
    ------
    TypeError, ValueError
        If arrays are empty or their shapes differ by more than a last dimension of 1.
    """
    return float(np.sqrt(mean_squared_error(y_true, y_pred, sample_weight)))


@_quietly
def r2(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """The coefficient of determination, 1 - residual / total sum of squares, averaged over outputs.

    As scikit-learn's `r2_score` defines it: an output whose target is constant scores 1 where it is met exactly and 0
    where not, and fewer than two rows give NaN.

    Raises
    ------
    TypeError, ValueError
        If arrays are empty or their shapes differ by more than a last dimension of 1.
    """
    target, prediction = _pair(y_true, y_pred)
    rows = len(target)
    target, prediction = target.reshape(rows, -1), prediction.reshape(rows, -1)
    weights = np.ones(rows) if sample_weight is None else _weights(sample_weight, (rows,))
    used = weights > 0.0
    if used.sum() < 2:
        return float("nan")
    target, prediction, weights = target[used], prediction[used], weights[used]
    residual = weights @ np.square(prediction - target)
    total = weights @ np.square(target - np.average(target, axis=0, weights=weights))
    constant = (target == target[0]).all(axis=0)  # the sums do not tell: a mean may be off by a rounding error
    explained = 1.0 - residual / np.where(constant | (total == 0.0), 1.0, total)
    met = np.where(np.isnan(residual), np.nan, np.where(residual == 0.0, 1.0, 0.0))
    return float(np.mean(np.where(constant, met, explained)))


def confusion_matrix(y_true: ArrayLike, y_pred: ArrayLike, n_classes: int | None = None) -> NDArray[np.int64]:
    """Counts [true class, predicted class], of shape (n_classes, n_classes).

    Parameters
    ----------
    y_true
        Classes (n,) or (n, 1), or one-hot (n, n_classes).
    y_pred
        Predicted classes (n,); scores (n, n_classes), of which the first of the largest wins; or probabilities (n, 1)
        of class 1 of two, as `predict_proba` gives them: above 1/2 it wins.
    n_classes
        Number of classes; if not given, the columns of two-dimensional arguments or the largest class plus 1 tell.

    Raises
    ------
    TypeError, ValueError
        If arrays are empty, do not fit each other, or a label is no class.
    """
    true, predicted = _floats(y_true, "y_true"), _floats(y_pred, "y_pred")
    if predicted.shape[1:] == (1,) and (predicted != np.floor(predicted)).any():
        predicted = _likelier(predicted)
        n_classes = 2 if n_classes is None else n_classes
    columns = [each.shape[1] for each in (true, predicted) if each.ndim == 2 and each.shape[1] > 1]
    if n_classes is None:
        labels = np.concatenate([true.ravel(), predicted.ravel()])
        n_classes = columns[0] if columns else int(labels[np.isfinite(labels)].max(initial=0.0)) + 1
    whole("confusion_matrix", "n_classes", n_classes, low=1)
    shape = (len(true), n_classes)
    rows, chosen = _classes(true, shape), _classes(predicted, shape, "y_pred")
    counts = np.bincount(rows * n_classes + chosen, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


Direction = Literal["min", "max"]

NAMES: dict[str, Metric] = {
    "accuracy": accuracy,
    "binary_accuracy": BinaryAccuracy(),
    "top_k": TopK(),
    "mae": mean_absolute_error,
    "mean_absolute_error": mean_absolute_error,
    "mse": mean_squared_error,
    "mean_squared_error": mean_squared_error,
    "rmse": root_mean_squared_error,
    "root_mean_squared_error": root_mean_squared_error,
    "r2": r2,
}


def get(metric: str | Metric | tuple[str, Metric]) -> tuple[str, Metric]:
    """A metric's name in the history, and the function.

    Parameters
    ----------
    metric
        One of `NAMES`, or "top_1", "top_2", ...; or a function or callable object, called by its `name` or
        `__name__`; or a pair ("name", function).

    Raises
    ------
    ValueError
        If the name is unknown, or a function has none.
    TypeError
        If it is none of these.
    """
    if isinstance(metric, str):
        return metric, _by_name(metric)
    if isinstance(metric, tuple) and len(metric) == 2 and isinstance(metric[0], str) and callable(metric[1]):
        return metric
    if not callable(metric):
        raise TypeError(f"expected a metric, its name, or a pair (name, metric), got {metric!r}")
    name = getattr(metric, "name", None) or getattr(metric, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise ValueError(f"{metric!r} has no name to appear under: pass the pair ('name', metric)")
    return name, metric


def better(name: str) -> Direction | None:
    """Whether a metric of this name in the history should fall or rise; None if that is unknown.

    "validation_" in front, and the number of one of several outputs behind, make no difference.
    """
    if re.fullmatch(r"(validation_)?(r2|top_(k|\d+)|\w*accuracy)(_\d+)?", name):
        return "max"
    if re.fullmatch(r"(validation_)?(mae|mse|rmse|\w*loss|\w*error)(_\d+)?", name):
        return "min"
    return None


def _by_name(name: str) -> Metric:
    if name in NAMES:
        return NAMES[name]
    if match := re.fullmatch(r"top_([1-9]\d*)", name):
        return TopK(int(match[1]))
    raise ValueError(f"unknown metric {name!r}: expected one of {', '.join(NAMES)}, top_1, top_2, ...")


def _numbers(values: ArrayLike, name: str) -> NDArray[Any]:
    """Values as an array of at least one row."""
    array = as_array(values, name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold numbers, got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{name} must be an array of at least one dimension, got the number {array[()]!r}")
    if array.size == 0:
        raise ValueError(f"{name} is empty (shape {array.shape}): there is nothing to measure")
    return array


def _floats(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """The same as float64."""
    return _numbers(values, name).astype(np.float64)


def _largest(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Where in each row the largest stands first; the kernel, for the types that it has, is quicker than NumPy."""
    if scores.dtype not in (np.float32, np.float64):
        return scores.argmax(axis=-1)
    return ops.argmax(scores.reshape(-1, scores.shape[-1])).reshape(scores.shape[:-1])


def _pair(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Targets and predictions of one shape; (n,) fits (n, 1)."""
    target, prediction = _floats(y_true, "y_true"), _floats(y_pred, "y_pred")
    if target.shape != prediction.shape:
        shapes = target.shape, prediction.shape
        target, prediction = _without_last_one(target), _without_last_one(prediction)
        if target.shape != prediction.shape:  # broadcasting here would silently compare all with all
            raise ValueError(f"y_true has shape {shapes[0]}, y_pred {shapes[1]}: they must agree")
    return target, prediction


def _without_last_one(array: NDArray[Any]) -> NDArray[Any]:
    return array[..., 0] if array.ndim > 1 and array.shape[-1] == 1 else array


def _classes(values: ArrayLike, shape: tuple[int, ...], name: str = "y_true") -> NDArray[np.int64]:
    """Class numbers of shape `shape[:-1]`, from such numbers or from one column for each of the `shape[-1]` classes."""
    labels = _numbers(values, name)
    if labels.shape == shape:
        if np.isnan(labels).any():
            raise ValueError(f"{name} holds NaN")
        return _largest(labels)
    labels = _without_last_one(labels)
    if labels.shape != shape[:-1]:
        raise ValueError(f"{name} must have shape {shape[:-1]} (classes) or {shape} (one-hot), got {np.shape(values)}")
    if labels.dtype.kind == "f" or labels.min() < 0 or labels.max() >= shape[-1]:
        wrong = ~((labels >= 0) & (labels < shape[-1]) & (labels == np.floor(labels)))
        if wrong.any():
            raise ValueError(f"{name} must be whole numbers from 0 to {shape[-1] - 1}, got {labels[wrong][0]:g}")
    return labels.astype(np.int64, copy=False)


def _likelier(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Class 0 or 1, from the probabilities of class 1."""
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(
            "y_pred: a single column must hold classes, or probabilities from 0 to 1; of logits pass y_pred > 0"
        )
    return (probabilities > 0.5).astype(np.float64)


def _weights(sample_weight: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Weights spread over `shape`, whose leading dimensions they have."""
    weights = _floats(sample_weight, "sample_weight")
    if weights.shape != shape[: weights.ndim]:
        raise ValueError(f"sample_weight must have one weight a row, shape {shape[:1]}, got {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0.0).all() and weights.any()):
        raise ValueError("sample_weight must be finite, not negative, and not all zero")
    return np.broadcast_to(weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim)), shape)


def _average(values: NDArray[Any], sample_weight: ArrayLike | None) -> float:
    if sample_weight is None:
        return float(np.mean(values, dtype=np.float64))
    return float(np.average(values, weights=_weights(sample_weight, values.shape)))
