"""Steps on one batch after another of the same form, as reinforcement learning makes them by the hundred thousand.

What the first step has found out about the form of its arrays holds for all that look alike; what depends on their
values is checked again. The learning rate and its like are computed for many steps ahead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.backends import StepError
from fastnn.feed import Samples
from fastnn.losses import CrossEntropy, Loss
from fastnn.stepper import Stepper

AHEAD = 256  # steps


@dataclass
class Form:
    """What an array must look like: `limits` are those of its values, None where they are nobody's business here."""

    name: str  # of the block that it is bound to
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    limits: tuple[float, float] | None


class RepeatedStep:
    """A prepared step for arrays that look like those of the last.

    The result is the same as that of `Stepper.step`, to the bit.
    """

    def __init__(self, stepper: Stepper, samples: Samples) -> None:
        self._stepper = stepper
        self._runner = stepper.batch_runner(samples, "update")
        self._lock = stepper.network.training_lock
        self._layers = stepper.network.layers
        self._trainable = [layer.trainable for layer in self._layers]
        inputs = [Form(f"input:x{i}", array.dtype, array.shape, None) for i, array in enumerate(samples.inputs)]
        targets = [Form(f"input:y{i}", array.dtype, array.shape, _limits(loss, kind.labels))
                   for i, (array, loss, kind) in enumerate(
                       zip(samples.targets, stepper.objective.losses, samples.kinds, strict=True))]  # fmt: skip
        self._forms = [*inputs, *targets]
        self._rows = np.full(AHEAD, samples.n)
        self._first = -AHEAD
        self._table = np.empty((0, 0))
        self._loss = self._runner.program.slots.index("loss")

    @staticmethod
    def after(stepper: Stepper, samples: Samples, x: Any, y: Any) -> RepeatedStep | None:
        """For batches like this one, if there is a short way: plain arrays, which kernels can read where they lie."""
        given = (*_several(x), *_several(y))
        read = (*samples.inputs, *samples.targets)
        alike = len(given) == len(read) and all(
            type(a) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape
            for a, b in zip(given, read, strict=True)
        )
        weighted = any(weights is not None for weights in samples.weights)
        watching = hasattr(stepper.optimizer.learning_rate, "observe")  # its rate can change between any two steps
        signs = any(loss.signs for loss in stepper.objective.losses)
        return RepeatedStep(stepper, samples) if alike and not (weighted or watching or signs) else None

    def run(self, x: Any, y: Any) -> float | None:
        """Makes the step and returns the loss before it; None, and nothing has happened, if it has to be another way.

        Raises
        ------
        RuntimeError
            If the network is being trained by somebody else.
        """
        arrays = (x, y) if len(self._forms) == 2 else (*_several(x), *_several(y))
        if [layer.trainable for layer in self._layers] != self._trainable or len(arrays) != len(self._forms):
            return None
        bound = {}
        for array, form in zip(arrays, self._forms, strict=True):
            if type(array) is not np.ndarray or array.dtype != form.dtype or array.shape != form.shape:
                return None
            flags = array.flags
            if not (flags.c_contiguous and flags.aligned):
                return None
            if form.limits is not None and not _within(array, form.limits):
                return None
            bound[form.name] = array
        stepper = self._stepper
        with self._lock:
            row = self._next_row(stepper.updates.item())
            stepper.network.objective = stepper.objective
            try:
                self._runner.run(row, bound, stepper.updates)
            except StepError:  # the long way finds out why
                return None
        return row.item(self._loss)

    def _next_row(self, step: int) -> NDArray[np.float64]:
        """The row of the run table for this step; the table is made for many at once."""
        ahead = step - self._first
        if not 0 <= ahead < AHEAD:
            self._table = self._stepper.table(self._runner, self._rows, np.zeros_like(self._rows))
            self._first, ahead = step, 0
        return self._table[ahead : ahead + 1]


def _several(value: Any) -> Sequence[Any]:
    return value if type(value) is tuple else (value,)


def _limits(loss: Loss, labels: bool) -> tuple[float, float] | None:
    """What targets must lie between; None where the kernel itself refuses others."""
    if labels and type(loss) is CrossEntropy:
        return None
    return loss.target_range or (-math.inf, math.inf)


def _within(array: NDArray[Any], limits: tuple[float, float]) -> bool:
    """Whether all values are finite and within the limits; False may also mean that it takes a closer look."""
    if limits[1] == math.inf:
        return math.isfinite(np.vdot(array, array))
    return bool(limits[0] <= array.min() and array.max() <= limits[1])
