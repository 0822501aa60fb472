"""What a training tells people: its history, and the metrics it reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


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
            self.setdefault(name, [float("nan")] * length).append(float(number))
        for values in self.values():
            values.extend([float("nan")] * (length + 1 - len(values)))


@dataclass(frozen=True)
class Metric:
    """A number to report: what it is called, which output it looks at, and `function(y_true, y_pred)`."""

    label: str
    output: int
    function: Any


def as_list(metrics: Any) -> list[Any]:
    """One metric or several as a list."""
    return [metrics] if isinstance(metrics, str) or callable(metrics) else list(metrics)


def measure(measured: Sequence[Metric], targets: Sequence[NDArray[Any]], predictions: Sequence[NDArray[Any]],
             rows: Any) -> dict[str, float]:  # fmt: skip
    """Every metric on its output's predictions; `rows` picks their targets."""
    found = {}
    for metric in measured:
        target = targets[metric.output][rows]
        try:
            found[metric.label] = float(metric.function(target, predictions[metric.output][: len(target)]))
        except (TypeError, ValueError, ArithmeticError) as problem:
            raise ValueError(f"metric {metric.label!r}: {problem}") from problem
    return found
