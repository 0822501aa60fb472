"""What a training tells people: its history, and the metrics it reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.feed import Samples


class History(dict[str, list[float]]):
    """Metrics by name, one number an epoch: "loss", "validation_loss", "accuracy", "seconds", "learning_rate", ..."""

    @property
    def history(self) -> dict[str, list[float]]:
        """The same, under the name that Keras gives it."""
        return self

    def add(self, numbers: Mapping[str, float]) -> None:
        """Appends an epoch's numbers; a metric that is new gets NaN for the epochs before."""
        length = max((len(values) for values in self.values()), default=0)
        for name, number in numbers.items():
            if name not in self:
                self[name] = [float("nan")] * length
            self[name].append(float(number))
        for values in self.values():
            values.extend([float("nan")] * (length + 1 - len(values)))


# What arithmetic on unsuitable arrays raises. Anything else may be from a signal's handler, and goes through as it is.
FAILURES = (ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError)


class Metric(NamedTuple):
    """A number to report: what it is called, which output it looks at, and `function(y_true, y_pred)`.

    Attributes
    ----------
    takes_weights
        Whether the function can be called with `sample_weight=...`.
    own
        Whether it is a function of the user's, and not one of the library's by name.
    """

    label: str
    output: int
    function: Any
    takes_weights: bool
    own: bool


class Predictions(NamedTuple):
    """What was predicted, what should have been, and what each row counts: arrays for each output, in one order."""

    predicted: list[NDArray[Any]]
    targets: list[NDArray[Any]]
    weights: list[NDArray[Any] | None]

    @staticmethod
    def of(samples: Samples, predicted: Sequence[NDArray[Any]], rows: Any) -> Predictions:
        """For the samples of an index array or a slice; `predicted` may be longer than that."""
        targets = [target[rows] for target in samples.targets]
        weights = [None if weight is None else weight[rows] for weight in samples.weights]
        return Predictions([each[: len(targets[0])] for each in predicted], targets, weights)

    @staticmethod
    def joined(parts: Sequence[Predictions]) -> Predictions:
        """Those of several batches, one after the other. Rows of a batch without weights count 1."""
        weights: list[NDArray[Any] | None] = []
        for given in zip(*(part.weights for part in parts), strict=True):
            ones = [np.ones(len(part.targets[0])) if w is None else w for w, part in zip(given, parts, strict=True)]
            weights.append(None if all(weight is None for weight in given) else np.concatenate(ones))
        predicted = zip(*(part.predicted for part in parts), strict=True)
        targets = zip(*(part.targets for part in parts), strict=True)
        return Predictions(list(map(np.concatenate, predicted)), list(map(np.concatenate, targets)), weights)


def as_list(metrics: Any) -> list[Any]:
    """One metric or several as a list."""
    if isinstance(metrics, str) or callable(metrics):
        return [metrics]
    if not isinstance(metrics, Iterable):
        raise TypeError(f"metrics: expected names or functions, got {metrics!r}")
    return list(metrics)


def measure(measured: Sequence[Metric], seen: Predictions) -> dict[str, float]:
    """Every metric on its output's predictions, NaN where no row has a weight above 0.

    Raises
    ------
    ValueError
        If a metric fails; names it.
    """
    found = {}
    for metric in measured:
        arguments = seen.targets[metric.output], seen.predicted[metric.output]
        weights = seen.weights[metric.output] if metric.takes_weights else None
        try:
            if weights is None:
                found[metric.label] = float(metric.function(*arguments))
            elif weights.any():
                found[metric.label] = float(metric.function(*arguments, sample_weight=weights))
            else:
                found[metric.label] = float("nan")
        except FAILURES as problem:
            raise ValueError(f"metric {metric.label!r}: {problem}") from problem
    return found
