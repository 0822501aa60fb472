"""Everybody's training of a network, checked to have got the same results: what the suites on training steps race."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench import tolerances
from bench.bars import COMPILED_LOOPS
from bench.peers import fastnn as ours
from bench.shapes import NetworkShape, training_data
from bench.tasks import Training, calibrated, warming

EPOCH_SECONDS = 0.015  # what `fit` does once an epoch is a hundredth of that


class Epochs:
    """Our turns: epochs of `fit`, on as many rows as take about EPOCH_SECONDS; the first is shorter, to be compared."""

    def __init__(self, shape: NetworkShape, start: list[Any]) -> None:
        self._training = ours.Training(shape, training_data(shape), start)
        self.order = self._training.order(min(tolerances.COMPARED_STEPS, shape.steps))
        loss = self._training.fit(len(self.order))
        self.result = (loss, self._training.weights())
        self.units = calibrated(self._training.fit, shape.steps, EPOCH_SECONDS)

    def warm_up(self) -> None:
        """A short epoch."""
        self._training.fit(warming(self.units))

    def turn(self) -> None:
        """An epoch."""
        self._training.fit(self.units)

    def close(self) -> None:
        """As the peers'."""
        assert all(np.isfinite(w).all() for w in self._training.weights()), "fastnn: training diverged"


def compared(shape: NetworkShape, enter: Callable[..., Any]) -> tuple[Any, list[Any]]:
    """Everybody's training after the same few steps from the same start, checked to have got the same results."""
    start = shape.start()
    if shape.one_call:
        epochs = Epochs(shape, start)
        order, task = epochs.order, epochs
    else:
        rows = tolerances.COMPARED_STEPS * shape.batch
        order = np.random.default_rng(0).permutation(rows).reshape(-1, shape.batch)
        task = Training(ours, shape, start, order)
    entries = enter("training", shape, start, order, without=() if shape.one_call else COMPILED_LOOPS)
    for entry in entries:
        tolerances.check_training(shape, start, task.result, entry.result, entry.name)
    return task, entries
