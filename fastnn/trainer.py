"""The public face of a training: a network, a loss and an optimizer, and what people do with them.

The steps are made in stepper.py, the epochs in epochs.py.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastnn import _check, optimizers, saving
from fastnn.callbacks import Callback
from fastnn.epochs import ArrayEpochs, BatchEpochs, Epochs, evaluate, run_epochs, try_metrics
from fastnn.feed import Samples
from fastnn.graph.explain import explain
from fastnn.layers.base import Parameter
from fastnn.losses import Loss
from fastnn.objective import Objective, find_metrics, find_objective
from fastnn.repeated import RepeatedStep, latest
from fastnn.reporting import History
from fastnn.step import Kind
from fastnn.stepper import Stepper

if TYPE_CHECKING:
    from fastnn.network import Network
    from fastnn.profiling import Profile


class Trainer:
    """Trains one network with one loss and one optimizer.

    Parameters
    ----------
    network
        The network.
    loss
        A name, a `fastnn.losses.Loss` or a function of two symbolic tensors; for several outputs a list in their
        order or a dict by name, each weighted by `loss_weights`. None: what the network was last trained on, or
        cross-entropy for outputs of several logits.
    optimizer
        A name or an optimizer; None means Adam(1e-3).
    learning_rates
        Factors on the learning rate by name of a layer or a parameter: {"dense_1": 0.1}.
    loss_weights
        A factor for each output's loss: a list in the outputs' order, or a dict by name.

    Raises
    ------
    ValueError, TypeError
        If a loss does not suit the network, or a name is unknown.
    """

    def __init__(self, network: Network, loss: Any = None, optimizer: Any = None, *,
                 learning_rates: Mapping[str, float] | None = None,
                 loss_weights: Sequence[float] | Mapping[str, float] | None = None) -> None:  # fmt: skip
        if not hasattr(network, "trace"):
            raise TypeError(f"Trainer: expected a network, got {type(network).__name__}")
        own = copy.deepcopy(optimizers.get(optimizer))  # a schedule that watches metrics has a memory
        self.learning_rates = dict(learning_rates or {})
        self.history = History()
        self.epoch = 0  # epochs finished
        self.stopping = False
        self.callbacks: list[Callback] = []  # of the `fit` under way: a checkpoint holds what they remember ...
        self.remembered: dict[str, Mapping[str, Any]] = {}  # ... and the first `fit` after loading gives it back
        self._stepper = Stepper(network, find_objective(network, loss, loss_weights, own), own,
                                _find_rate_scales(network, self.learning_rates))  # fmt: skip
        self._repeated: tuple[RepeatedStep, ...] = ()  # short ways for batches that look like the last ones

    def __getstate__(self) -> dict[str, Any]:
        """Everything as it is between two steps, a copy of the weights included: the network's turn comes later."""
        block = self.network.block
        with block.settled():
            kept = {"_stepper": self._stepper.snapshot(), "history": copy.copy(self.history)}
            weights = block.backend.to_numpy(block.memory).copy()
            return {**self.__dict__, **kept, "callbacks": [], "_repeated": (), "weights": weights}

    def __setstate__(self, state: dict[str, Any]) -> None:
        weights = state.pop("weights")
        self.__dict__.update(state)
        block = self.network.block
        with block.changes:
            block.backend.write(block.memory, 0, weights)

    def __repr__(self) -> str:
        losses = ", ".join(map(repr, self.losses))
        return f"<Trainer: {losses}, {self.optimizer!r}; {self.steps:,} steps in {self.epoch:,} epochs>"

    @property
    def network(self) -> Network:
        """What is trained."""
        return self._stepper.network

    @property
    def optimizer(self) -> optimizers.Optimizer:
        """The trainer's own copy."""
        return self._stepper.optimizer

    @property
    def objective(self) -> Objective:
        """Losses and their weights."""
        return self._stepper.objective

    @property
    def losses(self) -> list[Loss]:
        """One for each output."""
        return list(self.objective.losses)

    @property
    def loss_weights(self) -> list[float]:
        """The factor on each of them."""
        return list(self.objective.weights)

    @property
    def steps(self) -> int:
        """Updates made."""
        return self._stepper.steps

    @steps.setter
    def steps(self, number: int) -> None:
        self._stepper.updates[0] = number

    def same_as(self, loss: Any, optimizer: Any, loss_weights: Any = None, *, warn: bool) -> bool:
        """Whether this trainer already does what is asked for; None asks for nothing in particular."""
        wanted = self.objective if loss is None else find_objective(self.network, loss)
        weights = None if loss_weights is None else find_objective(self.network, wanted.losses, loss_weights).weights
        same = {
            "loss": wanted.losses == self.objective.losses,
            "loss_weights": weights in (None, self.objective.weights),
            "optimizer": optimizer is None or optimizers.get(optimizer) == self.optimizer,
        }
        changed = [name for name, value in same.items() if not value]
        if warn and changed:
            warnings.warn(f"fit: another {' and '.join(changed)}: training starts afresh, with the present weights",
                          stacklevel=4)  # fmt: skip
        return not changed

    # ------------------------------------------------------------------------------------------ one step

    def step(self, x: Any, y: Any, sample_weight: Any = None) -> float:
        """Makes one training step on a batch and returns its loss (before the step).

        Raises
        ------
        ValueError, TypeError
            If the arrays do not fit; nothing changes then.
        """
        for way in self._repeated:
            found = way.run(x, y, sample_weight)
            if found is not None:
                return found
        stepper = self._stepper
        samples = stepper.samples(x, y, sample_weight)
        with self.network.training_lock:
            loss, _ = stepper.step(samples)
        new = RepeatedStep.after(stepper, samples, x, y, sample_weight, lock=self.network.training_lock)
        self._repeated = latest(self._repeated, new)
        return loss

    def gradients(self, x: Any, y: Any, sample_weight: Any = None) -> dict[str, NDArray[Any]]:
        """The gradient of the loss on a batch. Changes nothing; dropout is as it would be in the next step.

        Parameters
        ----------
        x, y, sample_weight
            As for `step`.

        Returns
        -------
        Arrays of the parameters' shapes by their names, those of frozen layers left out: copies, before clipping and
        without penalties.

        Raises
        ------
        ValueError, TypeError
            If the arrays do not fit.
        RuntimeError
            If the network is being trained, by another thread or around this call.
        """
        stepper, block = self._stepper, self.network.block
        samples = stepper.samples(x, y, sample_weight)
        trainable = [each for layer in self.network.layers if layer.trainable for each in layer.parameters]
        with self.network.training_lock:
            stepper.find_gradients(samples)
            return block.copies_of(stepper.gradients, trainable)

    # ------------------------------------------------------------------------------------------ epochs

    def fit(self, x: Any, y: Any = None, *, epochs: int = 1, batch_size: int = 32, validation_data: Any = None,
            validation_split: float = 0.0, sample_weight: Any = None, class_weight: Mapping[int, float] | None = None,
            metrics: Any = None, callbacks: Sequence[Any] = (), shuffle: bool = True,
            gradient_accumulation_steps: int = 1, verbose: Any = "auto") -> History:  # fmt: skip
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
            A factor for each row; a dict of factors by class, which count in training only. The loss is the sum of
            weighted losses over the number of rows. With several outputs, one array of factors is for all; a dict by
            name, or a tuple, has one or None for each.
        metrics
            Names or functions (y_true, y_pred) -> number, for all outputs or by output in a dict; None takes the
            losses' own, () none. By name, accuracies know logits from probabilities, and several outputs of a binary
            cross-entropy count one by one. Training metrics are those of the predictions made during the epoch, which
            are kept until its end. Weights count in the library's metrics (a weighted mean), and in functions that take
            `sample_weight`. All are tried before the first epoch, so that they fail before anything is trained.
        callbacks
            See `fastnn.callbacks`.
        shuffle
            Whether rows are drawn in a new random order each epoch: by the network's seed and the epoch's number.
        gradient_accumulation_steps
            Batches whose gradients are added up for one update, each row counting the same: k batches of b rows make
            the step of one batch of k b rows, in the memory of b. The last update of an epoch may have fewer.
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
        _check.whole("fit", "gradient_accumulation_steps", gradient_accumulation_steps, low=1)
        _check_verbose(verbose)
        if not isinstance(shuffle, (bool, np.bool_)):
            raise TypeError(f"shuffle must be True or False, got {shuffle!r}")
        callbacks = _checked_callbacks(callbacks)
        if y is None and not isinstance(x, (np.ndarray, Mapping)) and isinstance(x, Iterable):
            given = {
                "sample_weight": sample_weight is not None,
                "class_weight": class_weight is not None,
                "validation_split": validation_split != 0.0,
            }
            if any(given.values()):
                refused = next(name for name, value in given.items() if value)
                raise ValueError(f"{refused} needs arrays x and y: a batch may be (x, y, sample_weight)")
            return self._fit_batches(x, epochs, validation_data, metrics, gradient_accumulation_steps, callbacks,
                                     verbose)  # fmt: skip
        samples = self._stepper.samples(x, y, sample_weight)
        samples, validation = self._validation(samples, validation_data, validation_split)
        if class_weight is not None:
            samples = samples.weighted_by_class(class_weight, self.network.output_shapes[0])
        measured = find_metrics(self.network, self.objective, metrics)
        try_metrics(self._stepper, samples, measured)
        data = ArrayEpochs(self._stepper, samples, min(batch_size, samples.n), shuffle, measured,
                           gradient_accumulation_steps)  # fmt: skip
        return self._epochs(data, epochs, validation, callbacks, verbose)

    def _fit_batches(self, batches: Iterable[Any], epochs: int, validation_data: Any, metrics: Any,
                     per_update: int, callbacks: Sequence[Any], verbose: Any) -> History:  # fmt: skip
        """`fit` on an iterable of batches."""
        if epochs > 1 and iter(batches) is batches:
            raise ValueError("x is an iterator, which can be gone through once: give a list or an object whose "
                             "__iter__ starts anew for several epochs")  # fmt: skip
        _, validation = self._validation(None, validation_data, 0.0)
        measured = find_metrics(self.network, self.objective, metrics)
        return self._epochs(BatchEpochs(self._stepper, batches, measured, per_update), epochs, validation, callbacks,
                            verbose)  # fmt: skip

    def _epochs(self, data: Epochs, epochs: int, validation: Samples | None, callbacks: Sequence[Any],
                verbose: Any) -> History:  # fmt: skip
        if validation is not None:
            try_metrics(self._stepper, validation, data.measured)
        run_epochs(self, data, epochs, validation, callbacks, verbose)
        return self.history

    def _validation(self, samples: Samples | None, data: Any, split: float) -> tuple[Any, Samples | None]:
        if not isinstance(split, (int, float)) or not 0 <= split < 1:
            raise ValueError(f"validation_split must be in [0, 1), got {split!r}")
        if data is not None:
            if split:
                raise ValueError("give validation_data or validation_split, not both")
            if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
                raise ValueError("validation_data: expected (x, y) or (x, y, sample_weight)")
            try:
                return samples, self._stepper.samples(*data)
            except (ValueError, TypeError) as problem:
                raise type(problem)(f"validation_data: {problem}") from problem
        if not split or samples is None:
            return samples, None
        kept = samples.n - int(samples.n * split)
        if kept == 0 or kept == samples.n:
            raise ValueError(f"validation_split={split}: {samples.n} rows cannot be split so")
        return samples.take(slice(0, kept)), samples.take(slice(kept, None))

    def stop(self) -> None:
        """Ends a `fit` under way after the present slice of steps; callbacks use it."""
        self.stopping = True

    # ------------------------------------------------------------------------------------------ evaluation

    def evaluate(self, x: Any, y: Any, *, sample_weight: Any = None, metrics: Any = None) -> dict[str, float]:
        """The loss and the metrics on (x, y), without dropout.

        Parameters
        ----------
        x, y, sample_weight, metrics
            As for `fit`.

        Returns
        -------
        {"loss": ..., "accuracy": ..., ...}

        Raises
        ------
        ValueError, TypeError
            If the arrays do not fit the network.
        """
        samples = self._stepper.samples(x, y, sample_weight)
        return evaluate(self._stepper, samples, find_metrics(self.network, self.objective, metrics))

    def explain(self, *, batch_size: int = 32) -> str:
        """The Program of a training step, in words; see `Network.explain`."""
        network = self.network
        x = [np.zeros((1, *shape), network.dtype) for shape in network.input_shapes]
        y = [np.zeros((1, *(shape[:-1] if loss.targets == "classes" else shape)), np.int64)
             for shape, loss in zip(network.output_shapes, self.losses, strict=True)]  # fmt: skip
        samples = self._stepper.samples(tuple(x), tuple(y))
        runner = self._stepper.runner(samples, Kind(batch_size, shuffled=True, learn="update"))
        return explain(
            runner.program, title=f"training step, batches of up to {batch_size}, {type(self.optimizer).__name__}"
        )

    def profile(self, x: Any, y: Any, sample_weight: Any = None) -> Profile:
        """Times every instruction of a training step on this batch; see `Network.profile`. Changes nothing."""
        from fastnn.profiling import profile  # not when fastnn is imported: few ask for it

        network, stepper = self.network, self._stepper
        samples = stepper.samples(x, y, sample_weight)
        title = f"training step, {samples.n} row{'s' * (samples.n > 1)}, {type(self.optimizer).__name__}"
        with network.training_lock, stepper.put_back():
            batch = stepper.whole(samples)
            row = stepper.table(batch.runner, batch.rows, batch.starts)[0]
            return profile(batch.runner, row, batch.arrays, network.dtype, title)

    # ------------------------------------------------------------------------------------------ keeping

    def save(self, path: Any) -> None:
        """Writes network, optimizer state, counters and history: training resumes from it to the same bits.

        Raises
        ------
        RuntimeError
            If another thread is training: a callback can save in mid-training, such as `fastnn.callbacks.Checkpoint`.
            So it is for copies and pickles of a trainer; its network can be saved and copied at any time.
        TypeError, OSError
            As `Network.save`.
        """
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


def _find_rate_scales(network: Network, factors: Mapping[str, float]) -> dict[Parameter, float]:
    """Factors on the learning rate by parameter, from factors by name of a layer or a parameter."""
    scales: dict[Parameter, float] = {}
    layers = {layer.name: layer for layer in network.layers}
    parameters = {parameter.name: parameter for layer in network.layers for parameter in layer.parameters}
    for name, factor in factors.items():
        _check.number("Trainer", f"learning_rates[{name!r}]", factor, low=0.0)
        if name not in layers and name not in parameters:
            raise ValueError(f"learning_rates: there is no layer or parameter {name!r}")
        chosen = [parameters[name]] if name in parameters else layers[name].parameters
        scales.update(dict.fromkeys(chosen, float(factor)))
    return scales


def _checked_callbacks(callbacks: Any) -> list[Callback]:
    given = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    for each in given:
        if not isinstance(each, Callback):
            raise TypeError(f"callbacks: expected objects of fastnn.callbacks.Callback, got {each!r}")
    return given


def _check_verbose(verbose: Any) -> None:
    if verbose not in ("auto", 0, 1):
        raise ValueError(f"verbose must be 0, 1 or 'auto', got {verbose!r}")
