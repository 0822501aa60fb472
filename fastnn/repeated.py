"""Steps on one batch after another of the same form, as reinforcement learning makes them by the hundred thousand.

What the first step has found out about the form of its arrays holds for all that look alike; what depends on their
values is checked again. The learning rate and its like are computed for many steps ahead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.backends import StepError
from fastnn.feed import Samples
from fastnn.kernels.executor import has_form, lies_within
from fastnn.losses import CrossEntropy, Loss
from fastnn.reporting import Predictions
from fastnn.stepper import Stepper

AHEAD = 256  # steps
KEPT = 4  # forms of batches


class Form(NamedTuple):
    """What an array must look like: `limits` are those of its values, None where they are nobody's business here."""

    name: str  # of the block that it is bound to
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    limits: tuple[float, float] | None


class RepeatedStep:
    """A prepared step for arrays that look like those of the last.

    The result is the same as that of `Stepper.step`, to the bit.

    Attributes
    ----------
    rows
        Of each batch.
    forms
        What its arrays must look like.
    """

    def __init__(self, stepper: Stepper, samples: Samples, lock: AbstractContextManager[None], collect: bool) -> None:
        self._stepper = stepper
        self._collect = collect
        self._network, self._objective, self._updates = stepper.network, stepper.objective, stepper.updates
        self._runner = stepper.batch_runner(samples, "update", collect=collect)
        self._lock, self._changes = lock, stepper.network.block.changes
        self._layers = stepper.network.layers
        self._trainable = [layer.trainable for layer in self._layers]
        self._n_inputs = len(samples.inputs)
        inputs = [Form(f"input:x{i}", array.dtype, array.shape, None) for i, array in enumerate(samples.inputs)]
        limits = [_limits(loss, kind.labels, shape[-1:]) for loss, kind, shape in
                  zip(stepper.objective.losses, samples.kinds, stepper.network.output_shapes, strict=True)]  # fmt: skip
        targets = [Form(f"input:y{i}", array.dtype, array.shape, limits[i]) for i, array in enumerate(samples.targets)]
        weights = [Form(f"input:weights{i}", array.dtype, array.shape, (0.0, math.inf))
                   for i, array in enumerate(samples.weights) if array is not None]  # fmt: skip
        self.forms = [*inputs, *targets, *weights]
        self.rows = samples.n
        self._first = -AHEAD
        self._table = np.empty((0, 0))
        self._loss = self._runner.program.slots.index("loss")

    @staticmethod
    def after(stepper: Stepper, samples: Samples, x: Any, y: Any, sample_weight: Any = None, *,
              lock: AbstractContextManager[None], collect: bool = False) -> RepeatedStep | None:  # fmt: skip
        """For batches like this one, if there is a short way: plain arrays, which kernels can read where they lie.

        `lock` is held during each step; `collect` asks for its predictions.
        """
        given = (*_several(x), *_several(y), *(() if sample_weight is None else (sample_weight,)))
        read = (*samples.inputs, *samples.targets, *(each for each in samples.weights if each is not None))
        alike = len(given) == len(read) and all(
            type(a) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape
            for a, b in zip(given, read, strict=True)
        )
        watching = hasattr(stepper.optimizer.learning_rate, "observe")  # its rate can change between any two steps
        signs = any(loss.signs for loss in stepper.objective.losses)
        return RepeatedStep(stepper, samples, lock, collect) if alike and not (watching or signs) else None

    def run(self, x: Any, y: Any, sample_weight: Any = None, seen: list[Predictions] | None = None) -> float | None:
        """Makes the step and returns the loss before it; None, and nothing has happened, if it has to be another way.

        Where predictions are collected, `seen` gets them, with copies of targets and weights.

        Raises
        ------
        RuntimeError
            If the network is being trained by somebody else.
        """
        inputs, targets = x if type(x) is tuple else (x,), y if type(y) is tuple else (y,)
        arrays = (*inputs, *targets) if sample_weight is None else (*inputs, *targets, sample_weight)
        if len(inputs) != self._n_inputs or len(arrays) != len(self.forms):
            return None
        if [layer.trainable for layer in self._layers] != self._trainable:
            return None
        bound = {}
        for array, (name, dtype, shape, limits) in zip(arrays, self.forms, strict=True):
            if not has_form(array, dtype, shape) or (limits is not None and not _within(array, *limits)):
                return None
            bound[name] = array
        predicted = self._collectors(bound) if self._collect else None
        with self._lock, self._changes:
            row = self._next_row(self._updates.item())
            self._network.objective = self._objective
            try:
                self._runner.run(row, bound, self._updates)
            except StepError:  # the long way finds out why
                return None
        if predicted is not None and seen is not None:
            seen.append(self._predictions(predicted, bound))
        return row.item(self._loss)

    def _collectors(self, bound: dict[str, Any]) -> list[NDArray[Any]]:
        """Arrays for the predictions, which are bound as well."""
        predicted, outputs = self._stepper.collectors(self.rows, True)
        bound |= outputs
        return predicted

    def _predictions(self, predicted: list[NDArray[Any]], bound: Mapping[str, Any]) -> Predictions:
        """Of targets and weights copies: whoever makes the batches may use their memory again."""
        targets = [bound[f"input:y{i}"].copy() for i in range(len(predicted))]
        weights = [bound.get(f"input:weights{i}") for i in range(len(predicted))]
        return Predictions(predicted, targets, [None if each is None else each.copy() for each in weights])

    def _next_row(self, step: int) -> NDArray[np.float64]:
        """The row of the run table for this step; the table is made for many at once."""
        ahead = step - self._first
        if not 0 <= ahead < AHEAD:
            rows = np.full(AHEAD, self.rows)
            self._table = self._stepper.table(self._runner, rows, np.zeros_like(rows))
            self._first, ahead = step, 0
        return self._table[ahead : ahead + 1]


def latest(ways: tuple[RepeatedStep, ...], new: RepeatedStep | None) -> tuple[RepeatedStep, ...]:
    """The short ways for the last few forms of batches, the newest in front."""
    return ways if new is None else (new, *(way for way in ways if way.forms != new.forms))[:KEPT]


def _several(value: Any) -> Sequence[Any]:
    return value if type(value) is tuple else (value,)


def _limits(loss: Loss, labels: bool, classes: tuple[int, ...]) -> tuple[float, float] | None:
    """What targets must lie between; None where the kernel itself refuses others."""
    if labels:
        return None if type(loss) is CrossEntropy else (0.0, classes[0] - 1.0)
    return loss.target_range or (-math.inf, math.inf)


def _within(array: NDArray[Any], low: float, high: float) -> bool:
    """Whether all values are finite and within the limits."""
    if array.dtype.kind == "f":
        return lies_within(array, low, high)
    return bool(low <= array.min() and array.max() <= high)
