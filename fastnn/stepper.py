"""Steps of a training, one at a time or a table of them: their Programs, prepared for the kinds of data that come, and
the memory that they share.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from fastnn.feed import Samples, as_samples
from fastnn.kernels.executor import deal
from fastnn.layers.base import Parameter
from fastnn.objective import Objective
from fastnn.optimizers import Optimizer
from fastnn.program import Program
from fastnn.reporting import Predictions
from fastnn.step import Kind, trace_step, trace_update

EVALUATION_ROWS = 256
MAX_PROGRAMS = 32  # kept: steps for other kinds of data or batch sizes push out the oldest


class Batches(NamedTuple):
    """Rows of some samples, as a step takes them: its prepared Program, and for each batch its rows and first row."""

    runner: Any
    arrays: dict[str, Any]
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]


class Stepper:
    """Makes the steps of one training.

    Attributes
    ----------
    updates
        How many were made: one number in an array, counted by the code that makes them.
    state, gradients
        Blocks of the same layout as the network's parameters.
    """

    def __init__(self, network: Any, objective: Objective, optimizer: Optimizer,
                 rate_scales: Mapping[Parameter, float]) -> None:  # fmt: skip
        self.network = network
        self.objective = objective
        self.optimizer = optimizer
        self.rate_scales = dict(rate_scales)
        self.updates = np.zeros(1, np.int64)
        self.state = network.block.backend.block(optimizer.n_states * network.block.size, network.dtype)
        self._prepare()

    def _prepare(self) -> None:
        """What is not kept by pickling."""
        self.gradients = self.network.block.backend.block(self.network.block.size, self.network.dtype)
        self.runners: dict[Any, Any] = {}
        self.slice_batches: WeakKeyDictionary[Any, int] = WeakKeyDictionary()  # of each prepared Program

    def __getstate__(self) -> dict[str, Any]:
        made_anew = ("runners", "slice_batches", "gradients")
        state = {key: value for key, value in self.__dict__.items() if key not in made_anew}
        return {**state, "state": self.network.block.backend.to_numpy(self.state).copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        backend, values = self.network.block.backend, state["state"]
        self.state = backend.block(values.size, self.network.dtype)
        backend.write(self.state, 0, values)
        self._prepare()

    def snapshot(self) -> Stepper:
        """A stepper of the same network with copies of all that training changes."""
        twin = copy.copy(self)
        twin.updates, twin.optimizer = self.updates.copy(), copy.deepcopy(self.optimizer)
        return twin

    @property
    def steps(self) -> int:
        """Updates made."""
        return int(self.updates[0])

    # ------------------------------------------------------------------------------------------ preparation

    def samples(self, x: Any, y: Any, sample_weight: Any = None) -> Samples:
        """What people pass, checked: see `feed.as_samples`."""
        network = self.network
        return as_samples(x, y, network.input_layers, network.output_names, network.output_shapes,
                          self.objective.losses, sample_weight)  # fmt: skip

    def runner(self, samples: Samples, kind: Kind, *, fused: bool = True) -> Any:
        """The prepared Program for data like these: from the cache, or traced now."""
        key = (samples.signature, kind, self._frozen() if kind.learn else (), fused)
        return self.runners.get(key) or self._keep(key, trace_step(
            self.network, self.objective.losses, self.objective.weights, samples, kind, self.optimizer,
            self.rate_scales, fused))  # fmt: skip

    def _updater(self) -> Any:
        """The prepared update from gradients that lie in their block."""
        key = ("update", self._frozen())
        return self.runners.get(key) or self._keep(key, trace_update(self.network, self.optimizer, self.rate_scales))

    def _keep(self, key: Any, program: Program) -> Any:
        block = self.network.block
        memory = {"parameters": block.memory, "gradients": self.gradients, "state": self.state}
        prepared = block.backend.prepare(program, block.dtype, memory)
        while len(self.runners) >= MAX_PROGRAMS:
            self.runners.pop(next(iter(self.runners), None), None)  # the oldest
        self.runners[key] = prepared
        return prepared

    def _frozen(self) -> tuple[bool, ...]:
        return tuple(layer.trainable for layer in self.network.layers)

    def table(self, runner: Any, rows: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
        """The run table of the next updates, a row for each of `rows`."""
        return _run_table(runner, len(rows), {"rows": rows, "start": starts, **self._columns(len(rows))})

    def fill_table(self, runner: Any, table: NDArray[np.float64], first: int, batch: int, n: int) -> None:
        """The same in memory that is 0 or had one before, for the next batches of n samples, from row `first` on."""
        slots = runner.program.slots
        columns: Mapping[str, Any] = self.optimizer.constants
        deal(table, slots.index("rows"), slots.index("start"), first, batch, n)
        if not {"rows", "start", "loss", *columns}.issuperset(slots):
            columns = self._columns(len(table))
        for name, column in columns.items():
            if name in slots:
                table[:, slots.index(name)] = column

    def _columns(self, n: int) -> dict[str, NDArray[Any]]:
        """What the next n updates differ in, besides their rows."""
        steps = self.steps + np.arange(n)
        return {"step": steps, **self.optimizer.columns(steps)}

    # ------------------------------------------------------------------------------------------ steps

    def advance(self, runner: Any, table: NDArray[np.float64], arrays: dict[str, Any]) -> NDArray[np.float64]:
        """Makes an update for each row of the table; returns the losses."""
        self.network.objective = self.objective
        with self.network.block.changes:
            runner.run(table, arrays, self.updates)
        return _losses(runner, table)

    def step(self, samples: Samples, *, collect: bool = False) -> tuple[float, list[NDArray[Any]]]:
        """Makes one update; returns the loss before it and, if asked for, the predictions."""
        batch, predicted = self._batch(samples, "update", collect)
        table = self.table(batch.runner, batch.rows, batch.starts)
        return float(self.advance(batch.runner, table, batch.arrays)[0]), predicted

    def accumulate(self, batches: Sequence[Batches], per_update: int) -> float:
        """Makes one update from all batches: adds up the gradient, each row counting the same; returns the loss.

        `per_update` is the number of batches that an update usually takes: with the updates made it numbers this one's
        random draws.
        """
        total = sum(int(each.rows.sum()) for each in batches)
        self.network.objective = self.objective
        self.gradients[...] = 0
        loss, number = 0.0, self.steps * per_update
        for each in batches:
            shares = each.rows / total
            table = _run_table(each.runner, len(shares), {"rows": each.rows, "start": each.starts,
                                                          "step": number + np.arange(len(shares)),
                                                          "learning_rate": shares})  # fmt: skip
            each.runner.run(table, each.arrays)
            loss += float(_losses(each.runner, table) @ shares)
            number += len(shares)
        updater = self._updater()
        with self.network.block.changes:
            updater.run(_run_table(updater, 1, self.optimizer.columns(self.updates)), {}, self.updates)
        return loss

    def step_accumulated(self, several: Sequence[Samples], per_update: int, *, collect: bool
                         ) -> tuple[float, list[list[NDArray[Any]]]]:  # fmt: skip
        """One update from several samples; returns the loss and, if asked for, the predictions of each."""
        prepared = [self._batch(samples, "accumulate", collect) for samples in several]
        return self.accumulate([batch for batch, _ in prepared], per_update), [predicted for _, predicted in prepared]

    def find_gradients(self, samples: Samples) -> None:
        """Leaves the gradients of the next step in their block."""
        batch, _ = self._batch(samples, "gradients", collect=False)
        batch.runner.run(self.table(batch.runner, batch.rows, batch.starts), batch.arrays)

    def evaluate(self, samples: Samples, *, collect: bool) -> tuple[float, Predictions]:
        """The loss without training, and, if asked for, the predictions."""
        runner = self.runner(samples, Kind(EVALUATION_ROWS, collect=collect))
        starts = np.arange(0, samples.n, EVALUATION_ROWS)
        rows = np.minimum(EVALUATION_ROWS, samples.n - starts)
        table = self.table(runner, rows, starts)
        predicted, outputs = self.collectors(samples.n, collect)
        runner.run(table, samples.bound() | outputs)
        loss = float(np.sum(_losses(runner, table) * rows) / samples.n)
        return loss, Predictions.of(samples, predicted, slice(None))

    def whole(self, samples: Samples) -> Batches:
        """All samples as one batch of an update, by a Program for just so many rows."""
        runner = self.runner(samples, Kind(samples.n, learn="update"))
        return Batches(runner, samples.bound(), np.array([samples.n]), np.zeros(1, np.int64))

    @contextlib.contextmanager
    def put_back(self) -> Iterator[None]:
        """Whatever happens to parameters and state in between is undone at the end."""
        block, state = self.network.block, self.state
        with block.changes:
            parameters_before = block.backend.to_numpy(block.memory).copy()
            state_before = block.backend.to_numpy(state).copy()
            try:
                yield
            finally:
                block.backend.write(block.memory, 0, parameters_before)
                block.backend.write(state, 0, state_before)

    def collectors(self, n: int, collect: bool) -> tuple[list[NDArray[Any]], dict[str, NDArray[Any]]]:
        """Arrays for the predictions of n rows, and the same by the names of the blocks that they are bound to."""
        shapes = self.network.output_shapes if collect else ()
        kept = [np.empty((n, *shape), self.network.dtype) for shape in shapes]
        return kept, {f"output:prediction{i}": array for i, array in enumerate(kept)}

    def batch_runner(self, samples: Samples, learn: str, *, collect: bool = False) -> Any:
        """The prepared Program for all samples as one batch."""
        return self.runner(samples, Kind(capacity(samples.n), collect=collect, learn=learn))

    def _batch(self, samples: Samples, learn: str, collect: bool) -> tuple[Batches, list[NDArray[Any]]]:
        """All samples as one batch, and where its predictions will be."""
        runner = self.batch_runner(samples, learn, collect=collect)
        predicted, outputs = self.collectors(samples.n, collect)
        whole = Batches(runner, samples.bound() | outputs, np.array([samples.n]), np.zeros(1, np.int64))
        return whole, predicted


def _run_table(runner: Any, n: int, columns: Mapping[str, Any]) -> NDArray[np.float64]:
    """A run table of n rows: a column for each slot of the Program, zero where there is nothing to say."""
    table = np.empty((n, len(runner.program.slots)))
    for column, name in enumerate(runner.program.slots):
        table[:, column] = columns.get(name, 0.0)
    return table


def _losses(runner: Any, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The column in which each step leaves its loss."""
    return table[:, runner.program.slots.index("loss")]


def capacity(rows: int) -> int:
    """The most rows of a Program for so many: the next power of two, so that batches of any size share a few."""
    return 1 << (rows - 1).bit_length()
