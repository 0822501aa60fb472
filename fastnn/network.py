"""Networks: layers joined by wires, their parameters in one block of memory, and what people do with them.

A network is any graph without cycles, with several inputs and outputs if need be. Training is the Trainer's business:
`fit` makes one and keeps it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import _check, ops, saving
from fastnn.graph.explain import explain
from fastnn.graph.tensor import Tensor
from fastnn.inference import PREDICT_ROWS, Predictor, output_activations
from fastnn.kernels.executor import Exclusive
from fastnn.layers.base import InputLayer, Layer, Parameter, Wire
from fastnn.layers.joining import as_wires, name_layers, output_names, refuse_other_floats, topological
from fastnn.losses import BinaryCrossEntropy
from fastnn.objective import Objective, find_objective
from fastnn.parameters import ParameterBlock, match, shared_block
from fastnn.program import FLOATS
from fastnn.summary import summarize
from fastnn.trainer import History, Trainer

if TYPE_CHECKING:
    from fastnn.profiling import Profile


class Network:
    """A network of layers.

    A network made of another's wires shares its parameters: `fnn.Network(net.inputs, net.wire("hidden"))` gives what a
    hidden layer of `net` computes, and training either changes both.

    Parameters
    ----------
    inputs, outputs
        A wire, or a list of them: `x = fnn.Input(4); y = fnn.Dense(2)(x); net = fnn.Network(x, y)`.
    seed
        Of the initial parameters and of everything random in training. The same seed gives the same bits.
    dtype
        "float32" or "float64": of parameters and all arithmetic. None means float32, or that of shared parameters.
    backend
        "native" (compiled kernels), "numpy" (the slow reference) or "cupy" (a GPU). None means native, or where shared
        parameters are.

    Attributes
    ----------
    objective
        What the network was last trained on, losses and their weights; None before. Saved and copied with the network,
        it is what `fit` and `evaluate` take if no loss is named.

    Raises
    ------
    ValueError
        If an output does not depend on an input, an input is missing, or dtype or backend is unknown, or a layer
        belongs to another network of which this one is no part.
    """

    def __init__(self, inputs: Wire | Sequence[Wire], outputs: Wire | Sequence[Wire], *, seed: int = 0,
                 dtype: str | None = None, backend: str | None = None) -> None:  # fmt: skip
        dtype = None if dtype is None else _float_name(dtype)
        self.seed = _check.seed(seed)
        self.inputs = as_wires(inputs, "inputs")
        self.outputs = as_wires(outputs, "outputs")
        self._order = topological(self.inputs, self.outputs)
        self.layers = list(dict.fromkeys(wire.layer for wire in self._order))
        shared = shared_block(self._order)
        name_layers(self.layers)
        refuse_other_floats(self.inputs, dtype or (shared.dtype if shared else "float32"))
        if shared is None:
            self.block = ParameterBlock(self._order, seed=self.seed, dtype=dtype or "float32",
                                        backend=backend or "native")  # fmt: skip
        else:
            if dtype not in (None, shared.dtype) or backend not in (None, shared.backend.name):
                raise ValueError(f"Network: the shared parameters are {shared.dtype} on {shared.backend.name!r}")
            self.block = shared
        self.objective: Objective | None = None
        self.trainer: Trainer | None = None
        self._prepared: Predictor | None = None
        self._rounded: Predictor | None = None
        self._evaluator: Trainer | None = None

    # ------------------------------------------------------------------------------------------ structure

    @property
    def dtype(self) -> str:
        """The float type of parameters and arithmetic."""
        return self.block.dtype

    @property
    def backend(self) -> str:
        """The backend's name."""
        return self.block.backend.name

    @property
    def training_lock(self) -> Exclusive:
        """Held while the parameters are trained, by this network or another that shares them."""
        return self.block.training_lock

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of one sample, an entry for each input."""
        return [wire.shape for wire in self.inputs]

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of one sample, an entry for each output."""
        return [wire.shape for wire in self.outputs]

    @property
    def input_layers(self) -> list[InputLayer]:
        """The layers that data enters by."""
        return [wire.layer for wire in self.inputs]  # type: ignore[misc]

    @property
    def output_names(self) -> list[str]:
        """The names by which a dict of targets refers to the outputs: those of their layers.

        Where one layer gives several, the second is called "name_1", the third "name_2".
        """
        return output_names(self.outputs)

    @cached_property
    def output_activations(self) -> list[str]:
        """What each output has gone through last: "softmax", "linear", ..."""
        return output_activations(self)

    @property
    def n_parameters(self) -> int:
        """How many numbers training may change."""
        return sum(math.prod(parameter.shape) for parameter in self._own())

    def _own(self) -> list[Parameter]:
        return [parameter for layer in self.layers for parameter in layer.parameters]

    def trace(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Records the network's operations on symbols in the current graph; one tensor for each output."""
        values: dict[tuple[Layer, tuple[Wire, ...]], Any] = {}
        tensors: dict[Wire, Tensor] = dict(zip(self.inputs, inputs, strict=True))
        for wire in self._order:
            if wire in tensors:
                continue
            key = (wire.layer, wire.inputs)
            if key not in values:
                values[key] = wire.layer.forward(*[tensors[source] for source in wire.inputs])
            result = values[key]
            tensors[wire] = result[wire.index] if isinstance(result, tuple) else result
        return [tensors[wire] for wire in self.outputs]

    def owns(self, parameter: Parameter) -> bool:
        """Whether it belongs to a layer of this network, and not only of another that shares the block."""
        return any(parameter in layer.parameters for layer in self.layers)

    def is_trainable(self, parameter: Parameter) -> bool:
        """Whether training changes it: its layer is one of this network's, and not frozen."""
        return any(layer.trainable for layer in self.layers if parameter in layer.parameters)

    def layer(self, name: str) -> Layer:
        """The layer of this name.

        Raises
        ------
        ValueError
            If there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"there is no layer {name!r}; there are {', '.join(layer.name for layer in self.layers)}")

    def wire(self, name: str) -> Wire:
        """What the layer of this name gives, as an output for another network: see `Network`.

        Raises
        ------
        ValueError
            If there is no such layer, or it has several outputs or is used several times.
        """
        layer = self.layer(name)
        found = [wire for wire in self._order if wire.layer is layer]
        if len(found) > 1:
            raise ValueError(f"{layer.label} gives {len(found)} tensors: keep the wire when you call it")
        return found[0]

    def freeze(self, *names: str) -> None:
        """Keeps the parameters of these layers as they are in further training; without names, of all layers."""
        self._set_trainable(names, False)

    def unfreeze(self, *names: str) -> None:
        """Lets training change the parameters of these layers again; without names, of all layers."""
        self._set_trainable(names, True)

    def _set_trainable(self, names: Sequence[str], value: bool) -> None:
        for layer in [self.layer(name) for name in names] or self.layers:
            layer.trainable = value

    # ------------------------------------------------------------------------------------------ weights

    def parameters(self) -> dict[str, NDArray[Any]]:
        """All parameters by name, as read-only views of the network's own memory (copies from a GPU)."""
        views = {}
        for parameter in self._own():
            view = self.block.view(parameter)
            views[parameter.name] = np.asarray(view.data.toreadonly())  # and nobody can make it writeable
        return views

    def get_weights(self) -> list[NDArray[Any]]:
        """Copies of all parameters, in the order of `parameters()`; in a training as they are between two steps."""
        return list(self.block.copies(self._own()).values())

    def set_weights(self, weights: Sequence[ArrayLike] | Mapping[str, ArrayLike]) -> None:
        """Sets all parameters from a list in the order of `parameters()`, or some of them from a dict by name.

        NaN and infinity are taken like any number: weights that have trained away can be copied and looked at.

        Callbacks may set weights; other threads must wait until the training has ended.

        Raises
        ------
        ValueError, TypeError
            If the number, a name or a shape does not fit; nothing changes then.
        RuntimeError
            If another thread is training the network.
        """
        self.block.write(match(self._own(), weights))

    def copy_weights_from(self, other: Network, tau: float = 1.0) -> None:
        """Moves all parameters towards another network's: w = (1 - tau) w + tau w_other.

        Raises
        ------
        ValueError
            If tau is not in [0, 1] or the networks' parameters differ in shape.
        RuntimeError
            If another thread is training this network. The other one may be in training.
        """
        if not isinstance(other, Network):
            raise TypeError(f"copy_weights_from: expected a network, got {type(other).__name__}")
        if not 0 <= tau <= 1:
            raise ValueError(f"tau must be in [0, 1], got {tau!r}")
        if self._layout is not None and self._layout == other._layout:
            self.block.blend(other.block, tau)
            return
        mine, theirs = self.get_weights(), other.get_weights()
        if [w.shape for w in mine] != [w.shape for w in theirs]:
            raise ValueError("the networks' parameters differ in number or shape")
        self.set_weights([(1 - tau) * a + tau * b for a, b in zip(mine, theirs, strict=True)] if tau < 1 else theirs)

    @cached_property
    def _layout(self) -> tuple[Any, ...] | None:
        """Where each parameter lies, if the block holds this network's alone: blocks of equal layouts match."""
        offsets, own = self.block.offsets, self._own()
        alone = len(own) == len(offsets)
        return (self.backend, self.dtype, *((offsets[each], each.shape) for each in own)) if alone else None

    # ------------------------------------------------------------------------------------------ prediction

    def _predictor(self) -> Predictor:
        if self._prepared is None:
            self._prepared = Predictor(self)
        return self._prepared

    def _rounding_predictor(self, dtype: str) -> Predictor:
        if self._rounded is None or dtype != "bfloat16":  # there is no other: it says so
            self._rounded = Predictor(self, dtype)
        return self._rounded

    def predict(self, x: Any, *, dtype: str | None = None) -> Any:
        """What the last layer gives.

        While nobody changes the weights, copies of large ones (more than 1 MB; with bfloat16 of all) are kept as
        products read them, once there have been some predictions.

        Parameters
        ----------
        x
            (n, *input_shape), anything that NumPy can read; a tuple or dict of arrays for several inputs.
        dtype
            "bfloat16" rounds the factors of all matrix products to 8 significant bits and sums in float32, as
            `ops.matmul` does: a product of two numbers is off by 1/128 of its size at most, mostly by much less. Where
            the processor has AVX512_BF16 it takes 0.5 to 0.7 of the time; elsewhere as long or longer.

        Returns
        -------
        array (n, *output_shape) of the network's dtype; a tuple of them for several outputs. A row's result does not
        depend on the other rows.

        Raises
        ------
        ValueError, TypeError
            If the arrays do not fit the network's inputs; if dtype is neither None nor "bfloat16", or the network is
            not of float32.
        """
        return (self._predictor() if dtype is None else self._rounding_predictor(dtype)).predict(x)

    def predict_proba(self, x: Any, *, dtype: str | None = None) -> NDArray[Any]:
        """Class probabilities (n, classes), or (n, 1) of class 1 for a single output.

        Outputs that already went through softmax or sigmoid are given as they are. Logits go through the sigmoid if
        there is one of them a row or the network was trained on binary cross-entropy, and through softmax otherwise.
        `dtype` is that of `predict`.

        Raises
        ------
        ValueError
            If the network has several outputs.
        """
        logits = self._only_output(self.predict(x, dtype=dtype), "predict_proba")
        kind = self.output_activations[0]
        if kind in ("softmax", "sigmoid"):
            return logits
        return ops.sigmoid(logits) if logits.shape[-1] == 1 or self._expects_yes_or_no() else ops.softmax(logits)

    def predict_class(self, x: Any, *, dtype: str | None = None) -> NDArray[np.int64]:
        """The most probable class of each row (n,), as integers; for a single output 0 or 1.

        Several outputs that were trained on binary cross-entropy answer yes or no each: (n, outputs) of 0 and 1.
        `dtype` is that of `predict`.

        Raises
        ------
        ValueError
            If the network has several outputs.
        """
        values = self._only_output(self.predict(x, dtype=dtype), "predict_class")
        single = values.shape[-1] == 1
        if not (single or self._expects_yes_or_no()):
            return np.argmax(values, axis=-1)
        threshold = 0.0 if self.output_activations[0] not in ("sigmoid", "step") else 0.5
        return ((values[..., 0] if single else values) > threshold).astype(np.int64)

    def _expects_yes_or_no(self) -> bool:
        return self.objective is not None and isinstance(self.objective.losses[0], BinaryCrossEntropy)

    def _only_output(self, result: Any, what: str) -> NDArray[Any]:
        if isinstance(result, tuple):
            raise ValueError(f"{what} needs a network with one output, this one has {len(result)}")
        return result

    # ------------------------------------------------------------------------------------------ training

    def fit(self, x: Any, y: Any = None, *, loss: Any = None, optimizer: Any = None, loss_weights: Any = None,
            **options: Any) -> History:  # fmt: skip
        """Trains the network; see `Trainer.fit` for the options.

        The network keeps its Trainer: with the same loss and optimizer, or none named, a further `fit` continues where
        the last one stopped, optimizer state and shuffling included. Another loss or optimizer starts afresh, with a
        warning.

        Parameters
        ----------
        x, y
            Inputs and targets; see `Trainer.fit`.
        loss
            A name ("cross_entropy", "mse", ...), a `fastnn.losses.Loss`, a function of two symbolic tensors, or a list
            or dict of them for several outputs.
        optimizer
            A name ("adam", "sgd", ...) or an optimizer object.
        loss_weights
            A factor for each output's loss, as a list or a dict by name.
        **options
            Passed on: epochs, batch_size, validation_data, metrics, callbacks, verbose, ...
        """
        before = self.trainer
        trainer = self.trainer = self._trainer_for(loss, optimizer, loss_weights)
        try:
            return trainer.fit(x, y, **options)
        except BaseException:
            if not trainer.steps and not trainer.epoch:
                self.trainer = before  # nothing has happened: the last training can still be continued
            raise

    def _trainer_for(self, loss: Any, optimizer: Any, loss_weights: Any) -> Trainer:
        if self.trainer is None or not self.trainer.same_as(loss, optimizer, loss_weights, warn=True):
            return Trainer(self, loss, optimizer, loss_weights=loss_weights)
        return self.trainer

    def evaluate(self, x: Any, y: Any, *, loss: Any = None, **options: Any) -> dict[str, float]:
        """Loss and metrics on (x, y); see `Trainer.evaluate`. A network that was never trained has to be told the loss,
        unless it is cross-entropy.
        """
        if self.trainer is not None and (loss is None or self.trainer.same_as(loss, None, warn=False)):
            return self.trainer.evaluate(x, y, **options)
        wanted = find_objective(self, loss)
        if self._evaluator is None or self._evaluator.objective != wanted:
            self._evaluator = Trainer(self, loss, "sgd")
        return self._evaluator.evaluate(x, y, **options)

    def explain(self, *, training: bool = False) -> str:
        """The Program, in words: every instruction with its shapes, work, bytes and threads, and the arena's size.

        Parameters
        ----------
        training
            False shows what `predict` runs, True a whole training step (after `fit`, or use `Trainer.explain`).

        Raises
        ------
        ValueError
            If training is asked for before the network has a trainer.
        """
        if not training:
            return explain(self._predictor().runner.program, title=f"predict, up to {PREDICT_ROWS} rows a run")
        if self.trainer is None:
            raise ValueError("there is no training step yet: call fit first, or Trainer(...).explain()")
        return self.trainer.explain()

    def profile(self, x: Any, y: Any = None, *, loss: Any = None, optimizer: Any = None) -> Profile:
        """Times every instruction of a step: its seconds, its share, its GFLOP/s, and how far it is from the roofline.

        The step runs again and again for about half a second; the network is as it was before.

        Parameters
        ----------
        x, y
            One batch. Without y it is `predict` that is timed, on at most 256 rows; with y a training step.
        loss, optimizer
            As in `fit`; the last training's, if there was one.

        Returns
        -------
        A `Profile`: print it, read its `timings`, or draw it with `fastnn.plots.profile`.

        Raises
        ------
        ValueError, TypeError
            If the arrays do not fit.
        """
        if y is None:
            return self._predictor().profile(x)
        trainer = self.trainer
        if trainer is None or not trainer.same_as(loss, optimizer, warn=False):
            trainer = Trainer(self, loss, optimizer)
        return trainer.profile(x, y)

    def summary(self, *, file: Any = None) -> None:
        """Prints a table of the layers, their output shapes and numbers of parameters."""
        print(summarize(self), file=file)

    # ------------------------------------------------------------------------------------------ keeping

    def save(self, path: Any) -> None:
        """Writes structure and parameters to a safetensors file: all of it or, if something fails, nothing.

        While another thread trains, these are the parameters between two steps; so they are in pickles and copies.

        Raises
        ------
        TypeError
            If a layer keeps something that cannot be saved, such as a function.
        OSError
            If the file cannot be written.
        """
        saving.write_network(path, self)

    def __getstate__(self) -> dict[str, Any]:
        made_anew = ("_prepared", "_rounded", "trainer", "_evaluator")
        kept = {key: value for key, value in self.__dict__.items() if key not in made_anew}
        return {"block": self.block, **kept}  # first: layers that are copied after it need not copy their weights

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepared = self._rounded = None
        self.trainer = self._evaluator = None
        for layer in self.layers:
            layer.block = self.block

    def copy(self) -> Network:
        """An independent network with the same layers and weights, without a trainer."""
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        kinds = ", ".join(layer.name for layer in self.layers)
        return f"<{type(self).__name__}: {kinds}; {self.n_parameters:,} parameters, {self.dtype}, {self.backend}>"


saving.NETWORKS["Network"] = Network


def load(path: Any, *, custom_objects: Mapping[str, Any] | None = None, backend: str = "native") -> Network:
    """Reads a network that `Network.save` or `Trainer.save` wrote.

    Parameters
    ----------
    path
        Of the safetensors file.
    custom_objects
        Classes of one's own layers by name, where they are not defined at the time of loading, and functions.
    backend
        Where the network shall run.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or was not written by fastnn; says what is wrong.
    """
    return saving.read_network(path, custom_objects or {}, backend)


def _float_name(dtype: Any) -> str:
    for name in FLOATS:
        if dtype in (name, np.dtype(name), np.dtype(name).type):
            return name
    raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
