"""The loop over epochs: all data once, again and again, with progress, metrics and callbacks in between.

Compiled code runs thousands of steps a call; it comes back in slices of about a tenth of a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastnn._monitor import Monitor
from fastnn._progress import Progress
from fastnn.callbacks import by_class
from fastnn.feed import Samples
from fastnn.kernels.executor import shuffled
from fastnn.repeated import RepeatedStep, latest
from fastnn.reporting import Metric, Predictions, measure
from fastnn.step import Kind
from fastnn.stepper import Batches, Stepper

SLICE_SECONDS = 0.1  # how long compiled code runs before Python has a look
TABLE_UPDATES = 4096  # rows of a run table at most: it stays in the cache. Losses are added up by so many

Watch = Callable[[int, float], bool]  # told of steps made and the last loss; says whether to go on


class Epochs(Protocol):
    """Data that can be gone through again and again."""

    stepper: Stepper
    measured: Sequence[Metric]

    @property
    def updates(self) -> int | None:
        """How many an epoch has, if that is known."""

    def run(self, epoch: int, watch: Watch, each_step: bool) -> dict[str, float]:
        """Trains on all data once; returns the loss and the metrics. `each_step` asks for a watch after each."""


class ArrayEpochs:
    """Arrays, in batches of rows that are shuffled anew each time; an update from one batch or several."""

    def __init__(self, stepper: Stepper, samples: Samples, batch: int, shuffle: bool, measured: Sequence[Metric],
                 per_update: int) -> None:  # fmt: skip
        self.stepper = stepper
        self.samples = samples
        self.shuffle = shuffle
        self.measured = measured
        self.per_update = per_update
        self._batch = batch
        kind = Kind(batch, shuffle, bool(measured), "update" if per_update == 1 else "accumulate")
        self._runner = stepper.runner(samples, kind)
        together = min(self.updates, TABLE_UPDATES)
        self._table = np.zeros((together, len(self._runner.program.slots)))
        self._losses = np.empty(together)
        self._arrays = stepper.network.block.backend.bring(samples.bound())

    @property
    def updates(self) -> int:
        """How many an epoch has."""
        return -(-self.samples.n // (self._batch * self.per_update))

    def _batches(self, first: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and first row of the batches of the updates from `first` on and before `stop`."""
        end = min(stop * self.per_update * self._batch, self.samples.n)  # the last update may have fewer
        starts = np.arange(first * self.per_update * self._batch, end, self._batch)
        return np.minimum(self._batch, self.samples.n - starts), starts

    def run(self, epoch: int, watch: Watch, each_step: bool) -> dict[str, float]:
        """Goes through all rows once, in slices of steps; slicing changes no bit."""
        samples = self.samples
        predicted, outputs = self.stepper.collectors(samples.n, bool(self.measured))
        arrays = self._arrays | outputs
        order = None
        if self.shuffle:
            arrays["input:index"] = order = epoch_order(self.stepper.network.seed, epoch, samples.n)
        advance = self._single(arrays) if self.per_update == 1 else self._accumulating(arrays)
        updates, done, going, total = self.updates, 0, True, 0.0
        size = max(1, self.stepper.slice_batches.get(self._runner, 1) // self.per_update)  # as in the last epoch
        while done < updates and going:
            begin, end = done, min(done + TABLE_UPDATES, updates)
            while done < end and going:
                stop = done + 1 if each_step else min(done + size, end)
                losses = self._losses[done - begin : stop - begin]
                began = time.perf_counter()
                losses[:] = advance(done, stop)
                seconds = time.perf_counter() - began
                size = max(1, min(2 * size + 16, int((stop - done) * SLICE_SECONDS / max(seconds, 1e-9))))
                self.stepper.slice_batches[self._runner] = size * self.per_update
                going = watch(stop - done, float(losses[-1]))
                done = stop
            total += self._loss_of_rows(begin, done)
        seen = min(done * self._batch * self.per_update, samples.n)
        numbers = {"loss": total / seen}
        if not self.measured:
            return numbers
        picked = slice(seen) if order is None else order[:seen]
        return numbers | measure(self.measured, Predictions.of(samples, predicted, picked))

    def _loss_of_rows(self, first: int, stop: int) -> float:
        """The loss of all rows of those updates, added up."""
        rows = self._batch * self.per_update
        last = min(rows, self.samples.n - (stop - 1) * rows)  # of the last update, which may have fewer
        losses = self._losses[: stop - first]
        return float(np.sum(losses[:-1]) * rows + losses[-1] * last)

    def _single(self, arrays: dict[str, Any]) -> Callable[[int, int], Any]:
        """Makes the updates from `first` on and before `stop`, one from each batch: one after the other, and never from
        two tables at once.
        """

        def advance(first: int, stop: int) -> NDArray[np.float64]:
            begin = first - first % TABLE_UPDATES
            if first == begin:
                table = self._table[: self.updates - begin]
                self.stepper.fill_table(self._runner, table, begin * self._batch, self._batch, self.samples.n)
            return self.stepper.advance(self._runner, self._table[first - begin : stop - begin], arrays)

        return advance

    def _accumulating(self, arrays: dict[str, Any]) -> Callable[[int, int], Any]:
        """The same, each from several batches."""

        def advance(first: int, stop: int) -> list[float]:
            return [self.stepper.accumulate([Batches(self._runner, arrays, *self._batches(i, i + 1))], self.per_update)
                    for i in range(first, stop)]  # fmt: skip

        return advance


class BatchEpochs:
    """An iterable of batches (x, y) or (x, y, sample_weight): an update from each, or from several."""

    updates = None  # nobody knows how many

    def __init__(self, stepper: Stepper, batches: Iterable[Any], measured: Sequence[Metric], per_update: int) -> None:
        self.stepper = stepper
        self.batches = batches
        self.measured = measured
        self.per_update = per_update
        self._tried = False
        self._repeated: tuple[RepeatedStep, ...] = ()

    def run(self, epoch: int, watch: Watch, each_step: bool) -> dict[str, float]:
        """Goes through all batches once."""
        total, rows = 0.0, 0
        seen: list[Predictions] = []
        for group in self._groups():
            loss, n = self._repeat(group[0], seen) or self._update(group, seen)
            total, rows = total + loss * n, rows + n
            if not watch(1, loss):
                break
        if rows == 0:
            raise ValueError("x: the iterable gave no batch")
        numbers = {"loss": total / rows}
        return numbers | measure(self.measured, Predictions.joined(seen)) if self.measured else numbers

    def _groups(self) -> Iterator[list[Any]]:
        batches = iter(self.batches)
        while group := list(islice(batches, self.per_update)):
            yield group

    def _checked(self, batch: Any) -> Samples:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            raise ValueError("x: expected batches (x, y) or (x, y, sample_weight)")
        samples = self.stepper.samples(*batch)
        if not self._tried:
            try_metrics(self.stepper, samples, self.measured)
            self._tried = True
        return samples

    def _repeat(self, batch: Any, seen: list[Predictions]) -> tuple[float, int] | None:
        """An update from a batch that looks like one before; None if there was none or it takes a closer look."""
        if isinstance(batch, (tuple, list)) and len(batch) in (2, 3):
            x, y, sample_weight = (*batch, None)[:3]
            for way in self._repeated:
                loss = way.run_seen(x, y, sample_weight, seen)
                if loss is not None:
                    return loss, way.rows
        return None

    def _update(self, group: Sequence[Any], seen: list[Predictions]) -> tuple[float, int]:
        """An update from all batches of a group; returns the loss and the number of rows."""
        several = [self._checked(batch) for batch in group]
        collect = bool(self.measured)
        if self.per_update > 1:
            loss, predicted = self.stepper.step_accumulated(several, self.per_update, collect=collect)
        else:
            loss, alone = self.stepper.step(several[0], collect=collect)
            predicted = [alone]
            way = RepeatedStep.after(self.stepper, several[0], *group[0], lock=None, collect=collect)
            self._repeated = latest(self._repeated, way)
        if collect:  # of targets a copy: whoever makes the batches may use their memory again
            seen += [Predictions.of(samples, kept, np.arange(samples.n))
                     for samples, kept in zip(several, predicted, strict=True)]  # fmt: skip
        return loss, sum(samples.n for samples in several)


def evaluate(stepper: Stepper, samples: Samples, measured: Sequence[Metric]) -> dict[str, float]:
    """The loss and the metrics without training."""
    loss, seen = stepper.evaluate(samples, collect=bool(measured))
    return {"loss": loss} | measure(measured, seen)


def try_metrics(stepper: Stepper, samples: Samples, measured: Sequence[Metric]) -> None:
    """Measures before there is anything to lose: what a metric cannot work with shows now, and not after an epoch.

    All see every target; functions of the user's see the present predictions, the library's own zeros.

    Raises
    ------
    ValueError
        If a metric fails; names it.
    """
    if not measured:
        return
    own = [metric for metric in measured if metric.own]
    if own:
        measure(own, stepper.evaluate(samples, collect=True)[1])
    zero = np.zeros((), stepper.network.dtype)
    zeros = [np.broadcast_to(zero, (samples.n, *shape)) for shape in stepper.network.output_shapes]
    measure([metric for metric in measured if not metric.own], Predictions.of(samples, zeros, slice(None)))


def epoch_order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """The order in which `fit` goes through n rows: it depends on the network's seed and the epoch's number alone."""
    seeds = np.random.SeedSequence([seed, epoch])
    return shuffled(np.random.Generator(np.random.SFC64(seeds)).random(n))


def run_epochs(trainer: Any, data: Epochs, n: int, validation: Samples | None, callbacks: Sequence[Any],
               verbose: Any) -> None:  # fmt: skip
    """Trains for n epochs, with everything that happens between them.

    Raises
    ------
    ValueError
        If a callback or a schedule needs a metric that this training will not report.
    """
    reported = ["loss", *(metric.label for metric in data.measured)]
    validated = [] if validation is None else [f"validation_{name}" for name in reported]
    names = [*reported, *validated, "seconds", "learning_rate"]
    for each in callbacks:
        each.require(names)
    if isinstance(watch := getattr(trainer.optimizer.learning_rate, "watch", None), Monitor):
        watch.require(names)
    block = trainer.network.block
    # No loop stands in a block that has to be left properly: a signal's exception that comes where a loop goes back to
    # its beginning leaves the function without `finally` and `__exit__`, in Python 3.12 and later.
    with block.training_lock, block.fitting():
        trainer.stopping = False
        _tell(callbacks, "on_fit_begin", trainer)
        _remind(trainer, callbacks)
        try:
            trainer.callbacks = list(callbacks)
            _run_all(trainer, data, n, validation, callbacks, verbose)
        finally:
            trainer.callbacks = []
            _tell(callbacks, "on_fit_end", trainer)


def _tell(callbacks: Sequence[Any], event: str, *arguments: Any) -> None:
    """Calls that method of all callbacks."""
    for each in callbacks:
        getattr(each, event)(*arguments)


def _run_all(trainer: Any, data: Epochs, n: int, validation: Samples | None, callbacks: Sequence[Any],
             verbose: Any) -> None:  # fmt: skip
    """So many epochs, or as many as it takes until somebody stops the training."""
    for number in range(n):
        _tell(callbacks, "on_epoch_begin", trainer, trainer.epoch)
        if trainer.stopping:
            break
        numbers = _run_epoch(trainer, data, f"epoch {number + 1}/{n}", callbacks, verbose)
        if validation is not None:
            found = evaluate(data.stepper, validation, data.measured)
            numbers |= {f"validation_{name}": value for name, value in found.items()}
        trainer.epoch += 1
        trainer.history.add(numbers)
        trainer.optimizer.observe(numbers)
        _tell(sorted(callbacks, key=lambda each: each.saves), "on_epoch_end", trainer, trainer.epoch - 1, numbers)
        if trainer.stopping:
            break


def _remind(trainer: Any, callbacks: Sequence[Any]) -> None:
    """Gives back what callbacks of the same classes remembered when the trainer's checkpoint was written."""
    remembered, trainer.remembered = trainer.remembered, {}
    for name, each in by_class(callbacks).items():
        if name in remembered:
            each.restore(remembered[name])


def _run_epoch(trainer: Any, data: Epochs, title: str, callbacks: Sequence[Any], verbose: Any) -> dict[str, float]:
    """One epoch, timed, with a progress bar."""
    watchers = [each for each in callbacks if each.watches_batches]
    began = time.perf_counter()
    rate = float(trainer.optimizer.columns(np.array([trainer.steps]))["learning_rate"][0])
    with Progress(title, data.updates, verbose) as progress:

        def watch(steps: int, loss: float) -> bool:
            progress.advance(steps, loss)
            for watcher in watchers:
                watcher.on_batch_end(trainer, trainer.steps - 1, loss)
            return not trainer.stopping

        numbers = data.run(trainer.epoch, watch, bool(watchers))
    return {**numbers, "seconds": time.perf_counter() - began, "learning_rate": rate}
