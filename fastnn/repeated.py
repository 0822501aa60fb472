"""Steps on one batch after another of the same form, as reinforcement learning makes them by the hundred thousand.

What the first step has found out about the form of its arrays holds for all that look alike; what depends on their
values is checked again. The learning rate and its like are computed for many steps ahead.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.backends import StepError
from fastnn.feed import Samples
from fastnn.kernels.executor import Exclusive, StepAgain, several
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


class RepeatedStep(StepAgain):
    """A prepared step for arrays that look like those of the last.

    The result of `run` is the same as that of `Stepper.step`, to the bit.

    Attributes
    ----------
    rows
        Of each batch.
    """

    def __init__(self, stepper: Stepper, samples: Samples, lock: Exclusive | None, collect: bool) -> None:
        self._stepper = stepper
        self._collect = collect
        runner = stepper.batch_runner(samples, "update", collect=collect)
        self.rows = samples.n
        inputs = [Form(f"input:x{i}", array.dtype, array.shape, None) for i, array in enumerate(samples.inputs)]
        limits = [_limits(loss, kind.labels, shape[-1:]) for loss, kind, shape in
                  zip(stepper.objective.losses, samples.kinds, stepper.network.output_shapes, strict=True)]  # fmt: skip
        targets = [Form(f"input:y{i}", array.dtype, array.shape, limits[i]) for i, array in enumerate(samples.targets)]
        weights = [Form(f"input:weights{i}", array.dtype, array.shape, (0.0, math.inf))
                   for i, array in enumerate(samples.weights) if array is not None]  # fmt: skip
        network = stepper.network
        super().__init__(
            runner=runner, network=network, objective=stepper.objective, layers=tuple(network.layers),
            forms=[*inputs, *targets, *weights], n_inputs=len(inputs), n_targets=len(targets), updates=stepper.updates,
            lock=lock, changes=network.block.changes, slots=runner.program.slots, refused=StepError,
        )  # fmt: skip

    @staticmethod
    def after(stepper: Stepper, samples: Samples, x: Any, y: Any, sample_weight: Any = None, *,
              lock: Exclusive | None, collect: bool = False) -> RepeatedStep | None:  # fmt: skip
        """For batches like this one, if there is a short way: plain arrays, which kernels can read where they lie.

        `lock` is held during each step, None if the caller holds it; `collect` asks for the steps' predictions.
        """
        given = (*several(x), *several(y), *(() if sample_weight is None else (sample_weight,)))
        read = (*samples.inputs, *samples.targets, *(each for each in samples.weights if each is not None))
        alike = len(given) == len(read) and all(
            type(a) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape
            for a, b in zip(given, read, strict=True)
        )
        watching = hasattr(stepper.optimizer.learning_rate, "observe")  # its rate can change between any two steps
        signs = any(loss.signs for loss in stepper.objective.losses)
        return RepeatedStep(stepper, samples, lock, collect) if alike and not (watching or signs) else None

    def rows_ahead(self) -> NDArray[np.float64]:
        """The run table of the next AHEAD steps."""
        rows = np.full(AHEAD, self.rows)
        return self._stepper.table(self.runner, rows, np.zeros_like(rows))

    def run_seen(self, x: Any, y: Any, sample_weight: Any, seen: list[Predictions]) -> float | None:
        """`run`; where predictions are collected, `seen` gets them, with copies of targets and weights.

        Copies, since whoever makes the batches may use their memory again.
        """
        predicted, outputs = self._stepper.collectors(self.rows, self._collect)
        loss = self.run(x, y, sample_weight, outputs)
        if self._collect and loss is not None:
            weight = None if sample_weight is None else sample_weight.copy()
            seen.append(Predictions(predicted, [each.copy() for each in several(y)], [weight] * len(predicted)))
        return loss


def latest(ways: tuple[RepeatedStep, ...], new: RepeatedStep | None) -> tuple[RepeatedStep, ...]:
    """The short ways for the last few forms of batches, the newest in front."""
    return ways if new is None else (new, *(way for way in ways if way.forms != new.forms))[:KEPT]


def _limits(loss: Loss, labels: bool, classes: tuple[int, ...]) -> tuple[float, float] | None:
    """What targets must lie between; None where the kernel itself refuses others."""
    if labels:
        return None if type(loss) is CrossEntropy else (0.0, classes[0] - 1.0)
    return loss.target_range or (-math.inf, math.inf)
