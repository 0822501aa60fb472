"""The training loop: batches in, a step downhill, again; with history, callbacks and checkpoints.

The loop itself runs in compiled code, thousands of steps a call. Here is what surrounds it: the run table, slices of
about a tenth of a second for progress and Ctrl-C, and the bookkeeping of epochs.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastnn import _check, optimizers, saving
from fastnn import losses as losses_module
from fastnn import metrics as metrics_module
from fastnn._monitor import Monitor
from fastnn._progress import Progress
from fastnn.callbacks import Callback
from fastnn.feed import Samples, as_samples
from fastnn.graph.explain import explain
from fastnn.reporting import History, Metric, as_list, measure
from fastnn.step import Kind, segments, trace_step

if TYPE_CHECKING:
    from fastnn.network import Network

RESERVED = ("loss", "seconds", "learning_rate")  # in the history beside the metrics
SLICE_SECONDS = 0.1  # how long compiled code runs before Python has a look
EVALUATION_ROWS = 256
MAX_PROGRAMS = 32  # kept by a trainer: steps for other kinds of data or batch sizes push out the oldest


class Trainer:
    """Trains one network with one loss and one optimizer.

    Parameters
    ----------
    network
        The network.
    loss
        A name, a `fastnn.losses.Loss` or a function of two symbolic tensors; for several outputs a list in their
        order or a dict by name, each weighted by `loss_weights`. None: cross-entropy for an output of several logits.
    optimizer
        A name or an optimizer; None means Adam(1e-3).
    learning_rates
        Factors on the learning rate by name of a layer or a parameter: {"dense_1": 0.1}.
    loss_weights
        A factor for each output's loss.

    Raises
    ------
    ValueError, TypeError
        If a loss does not suit the network, or a name is unknown.
    """

    def __init__(self, network: Network, loss: Any = None, optimizer: Any = None, *,
                 learning_rates: Mapping[str, float] | None = None,
                 loss_weights: Sequence[float] | None = None) -> None:  # fmt: skip
        if not hasattr(network, "trace"):
            raise TypeError(f"Trainer: expected a network, got {type(network).__name__}")
        self.network = network
        self.optimizer = copy.deepcopy(optimizers.get(optimizer))  # a schedule that watches metrics has a memory
        self.losses = self._find_losses(loss)
        network.binary_targets = isinstance(self.losses[0], losses_module.BinaryCrossEntropy)
        self.loss_weights = self._find_loss_weights(loss_weights)
        self.learning_rates = dict(learning_rates or {})
        self.history = History()
        self.epoch = 0  # epochs finished
        self._updates = np.zeros(1, np.int64)  # counted by the code that makes them
        self.stopping = False
        backend = network._backend
        self._state = backend.block(self.optimizer.n_states * network.block_size, network.dtype)
        self._gradients = backend.block(network.block_size, network.dtype)
        self._runners: dict[Any, Any] = {}
        self._rate_scales = self._find_rate_scales()

    @property
    def steps(self) -> int:
        """Updates made."""
        return int(self._updates[0])

    @steps.setter
    def steps(self, number: int) -> None:
        self._updates[0] = number

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items() if key not in ("_runners", "_gradients")}
        return {**state, "_state": self.network._backend.to_numpy(self._state).copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        backend, network, values = self.network._backend, self.network, state["_state"]
        self._state = backend.block(values.size, network.dtype)
        backend.write(self._state, 0, values)
        self._gradients = backend.block(network.block_size, network.dtype)
        self._runners = {}

    # ------------------------------------------------------------------------------------------ set-up

    def _find_losses(self, loss: Any) -> list[losses_module.Loss]:
        names = self.network.output_names
        if loss is None and isinstance(self.optimizer, optimizers.Rosenblatt):
            loss = losses_module.Rosenblatt()
        if loss is None:
            if any(shape[-1:] == (1,) or not shape for shape in self.network.output_shapes):
                raise ValueError("name the loss: for example loss='mse', loss='binary_cross_entropy'")
            loss = "cross_entropy"
        if isinstance(loss, Mapping):
            if set(loss) != set(names):
                raise ValueError(f"loss: expected the keys {sorted(names)}, got {sorted(map(str, loss))}")
            loss = [loss[name] for name in names]
        given = list(loss) if isinstance(loss, (list, tuple)) else [loss] * len(names)
        if len(given) != len(names):
            raise ValueError(f"loss: expected {len(names)}, one for each output, got {len(given)}")
        found = [losses_module.get(each) for each in given]
        for output, each in enumerate(found):
            if each.expects_logits and each.expects_logits == self.network._output_activation(output):
                raise ValueError(
                    f"{type(each).__name__} takes logits, but the network ends in {each.expects_logits}: leave that "
                    "activation out (predict_proba applies it)"
                )
        return found

    def _find_loss_weights(self, factors: Sequence[float] | None) -> list[float]:
        if factors is None:
            return [1.0] * len(self.losses)
        if not isinstance(factors, (list, tuple, np.ndarray)) or len(factors) != len(self.losses):
            raise ValueError(f"loss_weights: expected {len(self.losses)} factors, one for each output, got {factors!r}")
        for factor in factors:
            _check.number("Trainer", "each of loss_weights", factor, low=0.0)
        return [float(factor) for factor in factors]

    def _find_rate_scales(self) -> dict[Any, float]:
        scales: dict[Any, float] = {}
        layers = {layer.name: layer for layer in self.network.layers}
        parameters = {parameter.name: parameter for parameter in self.network.offsets}
        for name, factor in self.learning_rates.items():
            _check.number("Trainer", f"learning_rates[{name!r}]", factor, low=0.0)
            if name not in layers and name not in parameters:
                raise ValueError(f"learning_rates: there is no layer or parameter {name!r}")
            chosen = [parameters[name]] if name in parameters else layers[name].parameters
            scales.update(dict.fromkeys(chosen, float(factor)))
        return scales

    def same_as(self, loss: Any, optimizer: Any, *, warn: bool) -> bool:
        """Whether this trainer already does what is asked for; None asks for nothing in particular."""
        same_loss = loss is None or self._find_losses(loss) == self.losses
        same_optimizer = optimizer is None or optimizers.get(optimizer) == self.optimizer
        if warn and not (same_loss and same_optimizer):
            changed = " and ".join(["loss"] * (not same_loss) + ["optimizer"] * (not same_optimizer))
            warnings.warn(f"fit: another {changed}: training starts afresh, with the present weights", stacklevel=4)
        return same_loss and same_optimizer

    def _samples(self, x: Any, y: Any, sample_weight: Any = None, class_weight: Any = None) -> Samples:
        network = self.network
        return as_samples(x, y, network.input_layers, network.output_names, network.output_shapes, self.losses,
                          sample_weight, class_weight)  # fmt: skip

    def _runner(self, samples: Samples, kind: Kind, *, fused: bool = True) -> Any:
        """The prepared Program for data like these: from the cache, or traced now."""
        frozen = tuple(layer.trainable for layer in self.network.layers) if kind.learn else ()
        key = (samples.signature, kind, frozen, fused)
        runner = self._runners.get(key)
        if runner is None:
            parts = segments(self.network, self._rate_scales, self.optimizer.has_penalties) if kind.learn else []
            program = trace_step(self.network, self.losses, self.loss_weights, samples, kind, self.optimizer, parts,
                                 fused)  # fmt: skip
            blocks = {"parameters": self.network.block, "gradients": self._gradients, "state": self._state}
            runner = self.network._backend.prepare(program, self.network.dtype, blocks)
            while len(self._runners) >= MAX_PROGRAMS:
                self._runners.pop(next(iter(self._runners), None), None)  # the oldest
            self._runners[key] = runner
        return runner

    def _table(self, runner: Any, rows: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
        """The run table of these steps: a column for each slot of the Program."""
        steps = self.steps + np.arange(len(rows))
        columns = {"rows": rows, "start": starts, "step": steps, **self.optimizer.columns(steps)}
        table = np.zeros((len(rows), len(runner.program.slots)))
        for column, name in enumerate(runner.program.slots):
            table[:, column] = columns.get(name, 0.0)
        return table

    # ------------------------------------------------------------------------------------------ one step

    def step(self, x: Any, y: Any, sample_weight: Any = None) -> float:
        """Makes one training step on a batch and returns its loss (before the step).

        Raises
        ------
        ValueError, TypeError
            If the arrays do not fit; nothing changes then.
        """
        samples = self._samples(x, y, sample_weight)
        runner = self._runner(samples, Kind(_capacity(samples.n), learn="update"))
        with self.network.training_lock:
            table = self._table(runner, np.array([samples.n]), np.zeros(1, np.int64))
            runner.run(table, samples.bound(), self._updates)
        return float(table[0, runner.program.slots.index("loss")])

    def gradients(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, NDArray[Any]]:
        """The gradient of the loss on a batch by name of the parameter; frozen ones are left out. Changes nothing.

        Dropout is as it would be in the next step.
        """
        samples = self._samples(x, y, sample_weight)
        runner = self._runner(samples, Kind(_capacity(samples.n), learn="gradients"))
        with self.network.training_lock:
            table = self._table(runner, np.array([samples.n]), np.zeros(1, np.int64))
            runner.run(table, samples.bound())
            return {parameter.name: self.network._view(parameter, self._gradients).copy()
                    for layer in self.network.layers for parameter in layer.parameters if layer.trainable}  # fmt: skip

    # ------------------------------------------------------------------------------------------ epochs

    def fit(self, x: Any, y: Any = None, *, epochs: int = 1, batch_size: int = 32, validation_data: Any = None,
            validation_split: float = 0.0, sample_weight: Any = None, class_weight: Mapping[int, float] | None = None,
            metrics: Any = None, callbacks: Sequence[Any] = (), shuffle: bool = True,
            verbose: Any = "auto") -> History:  # fmt: skip
        """Trains for some epochs; continues where the last call stopped.

        Parameters
        ----------
        x, y
            Inputs (n, *input_shape) and targets: integer labels (n,) or rows of probabilities for cross-entropy,
            floats of the output's shape otherwise. Tuples or dicts for several. Or x alone: an iterable of batches
            (x, y) or (x, y, sample_weight), gone through once an epoch.
        epochs
            How often all data is gone through.
        batch_size
            Rows a step; the last batch of an epoch may be smaller.
        validation_data
            (x, y) or (x, y, sample_weight), evaluated after each epoch.
        validation_split
            Or this part of the data, in [0, 1), taken from its end before shuffling.
        sample_weight, class_weight
            A factor for each row; a dict of factors by class. The loss is the sum of weighted losses over the number
            of rows.
        metrics
            Names or functions (y_true, y_pred) -> number, for all outputs or by output in a dict; None takes the
            losses' own. Training metrics are those of the predictions made during the epoch. Weights do not count.
        callbacks
            See `fastnn.callbacks`.
        shuffle
            Whether rows are drawn in a new random order each epoch: by the network's seed and the epoch's number.
        verbose
            0 is silent, 1 shows a progress bar, "auto" shows one if standard error is a terminal.

        Returns
        -------
        The history of all epochs of this trainer.

        Raises
        ------
        ValueError, TypeError
            If an argument does not fit; nothing has changed then.
        RuntimeError
            If another `fit` on the same network is under way.
        """
        _check.whole("fit", "epochs", epochs, low=1)
        _check.whole("fit", "batch_size", batch_size, low=1)
        _check_verbose(verbose)
        if not isinstance(shuffle, (bool, np.bool_)):
            raise TypeError(f"shuffle must be True or False, got {shuffle!r}")
        callbacks = _checked_callbacks(callbacks)
        if y is None and not isinstance(x, (np.ndarray, Mapping)) and isinstance(x, Iterable):
            options = {
                "sample_weight": sample_weight,
                "class_weight": class_weight,
                "validation_split": validation_split,
            }
            refused = [name for name, value in options.items() if value is not None and value != 0.0]
            if refused:
                raise ValueError(f"{refused[0]} needs arrays x and y: a batch may be (x, y, sample_weight)")
            return self._fit_batches(x, epochs, validation_data, metrics, callbacks, verbose)
        samples = self._samples(x, y, sample_weight, class_weight)
        samples, validation = self._validation(samples, validation_data, validation_split)
        measured = self._find_metrics(metrics)
        runner = self._runner(samples, Kind(min(batch_size, samples.n), shuffle, bool(measured), "update"))

        def train(progress: Any, watchers: Sequence[Any]) -> dict[str, float]:
            return self._epoch(runner, samples, min(batch_size, samples.n), shuffle, measured, progress, watchers)

        total = -(-samples.n // min(batch_size, samples.n))
        labels = ["loss", *(metric.label for metric in measured)]
        return self._epochs(train, labels, total, epochs, validation, measured, callbacks, verbose)

    def _fit_batches(self, batches: Iterable[Any], epochs: int, validation_data: Any, metrics: Any,
                     callbacks: Sequence[Any], verbose: Any) -> History:  # fmt: skip
        """`fit` on an iterable of batches: a step for each."""
        if epochs > 1 and iter(batches) is batches:
            raise ValueError("x is an iterator, which can be gone through once: give a list or an object whose "
                             "__iter__ starts anew for several epochs")  # fmt: skip
        _, validation = self._validation(None, validation_data, 0.0)
        measured = self._find_metrics(metrics)

        def train(progress: Any, watchers: Sequence[Any]) -> dict[str, float]:
            total, rows = 0.0, 0
            for batch in batches:
                if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
                    raise ValueError("x: expected batches (x, y) or (x, y, sample_weight)")
                samples = self._samples(*batch)
                runner = self._runner(samples, Kind(_capacity(samples.n), learn="update"))
                table = self._table(runner, np.array([samples.n]), np.zeros(1, np.int64))
                runner.run(table, samples.bound(), self._updates)
                loss = float(table[0, runner.program.slots.index("loss")])
                total, rows = total + loss * samples.n, rows + samples.n
                progress.advance(1, loss)
                for watcher in watchers:
                    watcher.on_batch_end(self, self.steps - 1, loss)
                if self.stopping:
                    break
            if rows == 0:
                raise ValueError("x: the iterable gave no batch")
            return {"loss": total / rows}

        return self._epochs(train, ["loss"], None, epochs, validation, measured, callbacks, verbose)

    def _validation(self, samples: Samples | None, data: Any, split: float) -> tuple[Any, Samples | None]:
        if not isinstance(split, (int, float)) or not 0 <= split < 1:
            raise ValueError(f"validation_split must be in [0, 1), got {split!r}")
        if data is not None:
            if split:
                raise ValueError("give validation_data or validation_split, not both")
            if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
                raise ValueError("validation_data: expected (x, y) or (x, y, sample_weight)")
            try:
                return samples, self._samples(*data)
            except (ValueError, TypeError) as problem:
                raise type(problem)(f"validation_data: {problem}") from problem
        if not split or samples is None:
            return samples, None
        kept = samples.n - int(samples.n * split)
        if kept == 0 or kept == samples.n:
            raise ValueError(f"validation_split={split}: {samples.n} rows cannot be split so")
        return samples.take(slice(0, kept)), samples.take(slice(kept, None))

    def _find_metrics(self, metrics: Any) -> list[Metric]:
        """Metrics for every output, by default those of its loss; with several outputs their names come in front."""
        names = self.network.output_names
        if metrics is None:
            chosen = [list(loss.default_metrics) for loss in self.losses]
        elif isinstance(metrics, Mapping):
            unknown = set(metrics) - set(names)
            if unknown:
                raise ValueError(f"metrics: expected keys among {sorted(names)}, got {sorted(map(str, metrics))}")
            chosen = [as_list(metrics.get(name, ())) for name in names]
        else:
            chosen = [as_list(metrics)] * len(names)
        found = []
        for output, wanted in enumerate(chosen):
            for each in wanted:
                name, function = metrics_module.get(each)
                if name in RESERVED:
                    raise ValueError(f"metrics: {name!r} is the name of something else that is reported")
                if name == "accuracy" and self.network._output_activation(output) == "sigmoid":
                    function = partial(metrics_module.accuracy, threshold=0.5)
                label = name if len(names) == 1 else f"{names[output]}_{name}"
                found.append(Metric(label, output, function))
        return found

    def _expect(self, reported: Sequence[str], watchers: Sequence[Any]) -> None:
        """Refuses callbacks and schedules that watch a metric which this training will not report."""
        for each in watchers:
            if isinstance(getattr(each, "watch", None), Monitor):
                each.watch.require([*reported, "seconds", "learning_rate"])

    def _epochs(self, train: Any, reported: Sequence[str], steps: int | None, epochs: int, validation: Samples | None,
                measured: Sequence[Metric], callbacks: Sequence[Any], verbose: Any) -> History:  # fmt: skip
        """The loop over epochs, with everything that happens between them."""
        validated = [] if validation is None else ["loss", *(metric.label for metric in measured)]
        self._expect([*reported, *(f"validation_{name}" for name in validated)],
                     [*callbacks, self.optimizer.learning_rate])  # fmt: skip
        watchers = [each for each in callbacks if each.watches_batches]
        with self.network.training_lock:
            self.stopping = False
            for each in callbacks:
                each.on_fit_begin(self)
            try:
                for number in range(epochs):
                    for each in callbacks:
                        each.on_epoch_begin(self, self.epoch)
                    if self.stopping:
                        break
                    began = time.perf_counter()
                    rate = float(self.optimizer.columns(np.array([self.steps]))["learning_rate"][0])
                    with Progress(f"epoch {number + 1}/{epochs}", steps, verbose) as progress:
                        numbers = train(progress, watchers)
                    numbers["seconds"] = time.perf_counter() - began
                    numbers["learning_rate"] = rate
                    if validation is not None:
                        found = self._evaluate(validation, measured)
                        numbers |= {f"validation_{name}": value for name, value in found.items()}
                    self.epoch += 1
                    self.history.add(numbers)
                    self.optimizer.observe(numbers)
                    for each in callbacks:
                        each.on_epoch_end(self, self.epoch - 1, numbers)
                    if self.stopping:
                        break
            finally:
                for each in callbacks:
                    each.on_fit_end(self)
        return self.history

    def _epoch(self, runner: Any, samples: Samples, batch: int, shuffle: bool, measured: Sequence[Metric],
               progress: Any, watchers: Sequence[Any]) -> dict[str, float]:  # fmt: skip
        """Goes through all rows once, in slices of steps; slicing changes no bit."""
        starts = np.arange(0, samples.n, batch)
        rows = np.minimum(batch, samples.n - starts)
        table = self._table(runner, rows, starts)
        arrays = samples.bound()
        order = np.arange(samples.n)
        if shuffle:
            arrays["input:index"] = order = epoch_order(self.network.seed, self.epoch, samples.n)
        kept = self._collectors(samples.n) if measured else []
        arrays |= {f"output:prediction{i}": array for i, array in enumerate(kept)}
        losses = table[:, runner.program.slots.index("loss")]
        done, size = 0, 1
        while done < len(table) and not (self.stopping and done):
            stop = done + 1 if watchers else min(len(table), done + size)
            began = time.perf_counter()
            runner.run(table[done:stop], arrays, self._updates)
            seconds = time.perf_counter() - began
            size = max(1, min(2 * size + 16, int((stop - done) * SLICE_SECONDS / max(seconds, 1e-9))))
            progress.advance(stop - done, float(losses[stop - 1]))
            for watcher in watchers:
                watcher.on_batch_end(self, self.steps - 1, float(losses[stop - 1]))
            done = stop
        seen = int(rows[:done].sum())
        numbers = {"loss": float(np.sum(losses[:done] * rows[:done]) / seen)}
        return numbers | measure(measured, samples.targets, kept, order[:seen])

    def stop(self) -> None:
        """Ends a `fit` under way after the present slice of steps; callbacks use it."""
        self.stopping = True

    # ------------------------------------------------------------------------------------------ evaluation

    def evaluate(self, x: Any, y: Any, *, sample_weight: Any = None, metrics: Any = None) -> dict[str, float]:
        """The loss and the metrics on (x, y), without dropout.

        Returns
        -------
        {"loss": ..., "accuracy": ..., ...}

        Raises
        ------
        ValueError, TypeError
            If the arrays do not fit the network.
        """
        return self._evaluate(self._samples(x, y, sample_weight), self._find_metrics(metrics))

    def _evaluate(self, samples: Samples, measured: Sequence[Metric]) -> dict[str, float]:
        runner = self._runner(samples, Kind(EVALUATION_ROWS, collect=bool(measured)))
        starts = np.arange(0, samples.n, EVALUATION_ROWS)
        rows = np.minimum(EVALUATION_ROWS, samples.n - starts)
        table = self._table(runner, rows, starts)
        kept = self._collectors(samples.n) if measured else []
        arrays = samples.bound() | {f"output:prediction{i}": array for i, array in enumerate(kept)}
        runner.run(table, arrays)
        losses = table[:, runner.program.slots.index("loss")]
        numbers = {"loss": float(np.sum(losses * rows) / samples.n)}
        return numbers | measure(measured, samples.targets, kept, slice(None))

    def _collectors(self, n: int) -> list[NDArray[Any]]:
        return [np.empty((n, *shape), self.network.dtype) for shape in self.network.output_shapes]

    def explain(self, *, batch_size: int = 32) -> str:
        """The Program of a training step, in words; see `Network.explain`."""
        network = self.network
        x = [np.zeros((1, *shape), network.dtype) for shape in network.input_shapes]
        y = [np.zeros((1, *(shape[:-1] if loss.targets == "classes" else shape)), np.int64)
             for shape, loss in zip(network.output_shapes, self.losses, strict=True)]  # fmt: skip
        samples = self._samples(tuple(x), tuple(y))
        runner = self._runner(samples, Kind(batch_size, shuffled=True, learn="update"))
        return explain(
            runner.program, title=f"training step, batches of up to {batch_size}, {type(self.optimizer).__name__}"
        )

    # ------------------------------------------------------------------------------------------ keeping

    def save(self, path: Any) -> None:
        """Writes network, optimizer state, counters and history: training resumes from it to the same bits."""
        saving.write_trainer(path, self)

    @classmethod
    def load(cls, path: Any, *, custom_objects: Mapping[str, Any] | None = None, backend: str = "native") -> Trainer:
        """Reads what `save` wrote, network included.

        Raises
        ------
        FileNotFoundError, ValueError
            As `fastnn.load`; also if the file holds a network without a trainer.
        """
        return saving.read_trainer(path, cls, custom_objects or {}, backend)


def epoch_order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """The order in which `fit` goes through n rows: it depends on the network's seed and the epoch's number alone."""
    seeds = np.random.SeedSequence([seed, epoch])
    return np.random.Generator(np.random.Philox(seeds)).permutation(n)


def _capacity(rows: int) -> int:
    """The next power of two: batches of varying size share a few Programs."""
    return 1 << (rows - 1).bit_length()


def _checked_callbacks(callbacks: Any) -> list[Callback]:
    given = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    for each in given:
        if not isinstance(each, Callback):
            raise TypeError(f"callbacks: expected objects of fastnn.callbacks.Callback, got {each!r}")
    return given


def _check_verbose(verbose: Any) -> None:
    if verbose not in ("auto", 0, 1):
        raise ValueError(f"verbose must be 0, 1 or 'auto', got {verbose!r}")
