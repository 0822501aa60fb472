"""Networks: layers joined by wires, their parameters in one block of memory, and what people do with them.

`Sequential` is a chain; `Network` any graph without cycles, with several inputs and outputs if need be. Training is the
Trainer's business: `fit` makes one and keeps it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import backends, ops, saving
from fastnn.feed import as_input_arrays, count_rows
from fastnn.graph.explain import explain
from fastnn.graph.plan import ALIGNMENT, Place, plan
from fastnn.graph.tensor import Graph, Tensor, apply
from fastnn.kernels.executor import Exclusive
from fastnn.layers.base import ROWS, Input, InputLayer, Layer, Parameter, Wire, as_shape
from fastnn.layers.joining import as_wires, claim_layers, name_layers, topological
from fastnn.program import FLOATS, Extent, Program
from fastnn.trainer import History, Trainer

PREDICT_ROWS = 256  # rows of one run of `predict`: activations stay in the cache


class Network:
    """A network of layers.

    Parameters
    ----------
    inputs, outputs
        A wire, or a list of them: `x = fnn.Input(4); y = fnn.Dense(2)(x); net = fnn.Network(x, y)`.
    seed
        Of the initial parameters and of everything random in training. The same seed gives the same bits.
    dtype
        "float32" or "float64": of parameters and all arithmetic.
    backend
        "native" (compiled kernels), "numpy" (the slow reference) or "cupy" (a GPU).

    Raises
    ------
    ValueError
        If an output does not depend on an input, an input is missing, or dtype or backend is unknown.
    """

    def __init__(self, inputs: Wire | Sequence[Wire], outputs: Wire | Sequence[Wire], *, seed: int = 0,
                 dtype: str = "float32", backend: str = "native") -> None:  # fmt: skip
        if dtype not in FLOATS:
            raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
        self.seed = _seed(seed)
        self.dtype = dtype
        self.inputs = as_wires(inputs, "inputs")
        self.outputs = as_wires(outputs, "outputs")
        self._backend = backends.get(backend)
        self._order = topological(self.inputs, self.outputs)
        self.layers = list(dict.fromkeys(wire.layer for wire in self._order))
        claim_layers(self.layers)
        name_layers(self.layers)
        self.trainer: Trainer | None = None
        self.binary_targets = False  # set by the trainer, saved with the network: predict_proba depends on it
        self.training_lock = Exclusive()
        self._programs: dict[Any, Any] = {}
        self._allocate()

    # ------------------------------------------------------------------------------------------ structure

    @property
    def backend(self) -> str:
        """The backend's name."""
        return self._backend.name

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
        """The names by which a dict of targets refers to the outputs: those of their layers."""
        return [wire.layer.name for wire in self.outputs]

    @property
    def n_parameters(self) -> int:
        """How many numbers training may change."""
        return sum(math.prod(parameter.shape) for parameter in self.offsets)

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

    def _allocate(self) -> None:
        """Gives the parameters their places in one block, penalised ones first, and their initial values."""
        declared = [(layer, parameter) for layer in self.layers for parameter in layer.parameters]
        for layer, parameter in declared:
            parameter.name = f"{layer.name}.{parameter.name.rpartition('.')[2]}"
        step = ALIGNMENT // np.dtype(self.dtype).itemsize
        self.offsets: dict[Parameter, int] = {}
        size = 0
        for _, parameter in sorted(declared, key=lambda pair: not pair[1].regularized):
            self.offsets[parameter] = size
            size += -(-math.prod(parameter.shape) // step) * step
        self.block_size = size
        try:
            self.block = self._backend.block(size, self.dtype)
        except (MemoryError, ValueError) as problem:
            largest = max(self.offsets, key=lambda parameter: math.prod(parameter.shape))
            raise MemoryError(
                f"Network: {size:,} parameters do not fit into memory; the largest is {largest.name}, {largest.shape}"
            ) from problem
        initial = {}
        for number, (_, parameter) in enumerate(declared):
            generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, number])))
            values = ops.as_array(
                parameter.initializer(parameter.shape, generator), f"{parameter.name}: initial values"
            )
            if values.shape not in (parameter.shape, ()):
                raise ValueError(f"{parameter.name}: its initializer gave shape {values.shape}, not {parameter.shape}")
            initial[parameter] = values
        self._write(initial)

    def place(self, parameter: Parameter, block: str = "parameters") -> Place:
        """Where a parameter, or what belongs to it in a block of the same layout, lies."""
        return Place(block, self.offsets[parameter] * np.dtype(self.dtype).itemsize)

    def is_trainable(self, parameter: Parameter) -> bool:
        """Whether training changes it: its layer is not frozen."""
        return next(layer.trainable for layer in self.layers if parameter in layer.parameters)

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

    def _view(self, parameter: Parameter, block: Any) -> NDArray[Any]:
        start = self.offsets[parameter]
        return self._backend.to_numpy(block)[start : start + math.prod(parameter.shape)].reshape(parameter.shape)

    def _write(self, values: Mapping[Parameter, NDArray[Any]]) -> None:
        """Sets some of the parameters in one stroke, so that Ctrl-C finds all of them written or none."""
        block = self._backend.to_numpy(self.block).copy()
        for parameter, array in values.items():
            self._view(parameter, block)[...] = array
        self._backend.write(self.block, 0, block)

    def parameters(self) -> dict[str, NDArray[Any]]:
        """All parameters by name, as read-only views of the network's own memory (copies from a GPU)."""
        views = {}
        for layer in self.layers:
            for parameter in layer.parameters:
                view = self._view(parameter, self.block)
                views[parameter.name] = np.asarray(view.data.toreadonly())  # and nobody can make it writeable
        return views

    def get_weights(self) -> list[NDArray[Any]]:
        """Copies of all parameters, in the order of `parameters()`."""
        return [view.copy() for view in self.parameters().values()]

    def set_weights(self, weights: Sequence[ArrayLike] | Mapping[str, ArrayLike]) -> None:
        """Sets all parameters from a list in the order of `parameters()`, or some of them from a dict by name.

        Raises
        ------
        ValueError
            If the number, a name or a shape does not fit; nothing changes then.
        """
        by_name = {parameter.name: parameter for layer in self.layers for parameter in layer.parameters}
        if isinstance(weights, Mapping):
            unknown = [name for name in weights if name not in by_name]
            if unknown:
                raise ValueError(f"there is no parameter {unknown[0]!r}; there are {', '.join(by_name)}")
            given = {by_name[name]: values for name, values in weights.items()}
        else:
            if not isinstance(weights, Sequence):
                raise TypeError(f"weights: expected a list or a dict of arrays, got {type(weights).__name__}")
            if len(weights) != len(by_name):
                raise ValueError(f"expected {len(by_name)} arrays, one for each parameter, got {len(weights)}")
            given = dict(zip(by_name.values(), weights, strict=True))
        arrays = {parameter: ops.as_array(values, parameter.name) for parameter, values in given.items()}
        for parameter, array in arrays.items():
            if array.shape != parameter.shape:
                raise ValueError(f"{parameter.name}: expected shape {parameter.shape}, got {array.shape}")
        self._write(arrays)

    def copy_weights_from(self, other: Network, tau: float = 1.0) -> None:
        """Moves all parameters towards another network's: w = (1 - tau) w + tau w_other.

        Raises
        ------
        ValueError
            If tau is not in [0, 1] or the networks' parameters differ in shape.
        """
        if not isinstance(other, Network):
            raise TypeError(f"copy_weights_from: expected a network, got {type(other).__name__}")
        if not 0 <= tau <= 1:
            raise ValueError(f"tau must be in [0, 1], got {tau!r}")
        mine, theirs = self.get_weights(), other.get_weights()
        if [w.shape for w in mine] != [w.shape for w in theirs]:
            raise ValueError("the networks' parameters differ in number or shape")
        self.set_weights([(1 - tau) * a + tau * b for a, b in zip(mine, theirs, strict=True)] if tau < 1 else theirs)

    # ------------------------------------------------------------------------------------------ prediction

    def _inference_program(self) -> Program:
        rows = Extent(ROWS, PREDICT_ROWS)
        with Graph(self.dtype, seed=self.seed) as graph:
            inputs = [graph.input(f"x{i}", (rows, *shape)) for i, shape in enumerate(self.input_shapes)]
            scaled = [x if layer.scale == 1.0 else x * layer.scale
                      for x, layer in zip(inputs, self.input_layers, strict=True)]  # fmt: skip
            results = self.trace(scaled)
            outputs: dict[str, Tensor] = {}
            for number, result in enumerate(results):
                is_computed = result.node.operation.name not in ("input", "variable", "constant")
                fresh = is_computed and not result.node.operation.view and result not in outputs.values()
                outputs[f"y{number}"] = result if fresh else apply("reshape", result, shape=result.shape)
        places = {tensor: self.place(parameter) for parameter, tensor in graph.variables.items()}
        places |= {tensor: Place(f"output:{name}") for name, tensor in outputs.items()}
        return plan(graph, outputs, places)

    def _inference(self) -> Any:
        if "inference" not in self._programs:
            program = self._inference_program()
            self._programs["inference"] = self._backend.prepare(program, self.dtype, {"parameters": self.block})
        return self._programs["inference"]

    def predict(self, x: Any) -> Any:
        """What the last layer gives.

        Parameters
        ----------
        x
            (n, *input_shape), anything that NumPy can read; a tuple or dict of arrays for several inputs.

        Returns
        -------
        array (n, *output_shape) of the network's dtype; a tuple of them for several outputs. A row's result does not
        depend on the other rows.

        Raises
        ------
        ValueError, TypeError
            If the arrays do not fit the network's inputs.
        """
        arrays = as_input_arrays(x, self.input_layers)
        n = count_rows(arrays)
        runner = self._inference()
        results = [np.empty((n, *shape), self.dtype) for shape in self.output_shapes]
        has_rows = bool(runner.program.extents)
        for start in range(0, n, PREDICT_ROWS):
            stop = min(n, start + PREDICT_ROWS)
            bound = {f"output:y{i}": result[start:stop] for i, result in enumerate(results)}
            for i, array in enumerate(arrays):
                with np.errstate(over="ignore"):  # float64 beyond float32's range becomes infinite, as it must
                    bound[f"input:x{i}"] = np.asarray(array[start:stop], self.dtype)
            runner.run(np.array([[stop - start] if has_rows else []], np.float64), bound)
        return results[0] if len(results) == 1 else tuple(results)

    def predict_proba(self, x: Any) -> NDArray[Any]:
        """Class probabilities (n, classes), or (n, 1) of class 1 for a single output.

        Outputs that already went through softmax or sigmoid are given as they are. Logits go through the sigmoid if
        there is one of them a row or the network was trained on binary cross-entropy, and through softmax otherwise.

        Raises
        ------
        ValueError
            If the network has several outputs.
        """
        logits = self._only_output(self.predict(x), "predict_proba")
        kind = self._output_activation()
        if kind in ("softmax", "sigmoid"):
            return logits
        return ops.sigmoid(logits) if logits.shape[-1] == 1 or self.binary_targets else ops.softmax(logits)

    def predict_class(self, x: Any) -> NDArray[np.int64]:
        """The most probable class of each row (n,), as integers; for a single output 0 or 1.

        Raises
        ------
        ValueError
            If the network has several outputs.
        """
        values = self._only_output(self.predict(x), "predict_class")
        if values.shape[-1] > 1:
            return np.argmax(values, axis=-1)
        threshold = 0.0 if self._output_activation() not in ("sigmoid", "step") else 0.5
        return (values[..., 0] > threshold).astype(np.int64)

    def _only_output(self, result: Any, what: str) -> NDArray[Any]:
        if isinstance(result, tuple):
            raise ValueError(f"{what} needs a network with one output, this one has {len(result)}")
        return result

    def _output_activation(self, output: int = 0) -> str:
        """The name of the last operation before an output that does more than reshape."""
        with Graph(self.dtype) as graph:
            inputs = [graph.input(f"x{i}", (Extent(ROWS, 1), *shape)) for i, shape in enumerate(self.input_shapes)]
            node = self.trace(inputs)[output].node
        while node.operation.view and node.inputs[0] is not None:
            node = node.inputs[0].node
        return node.operation.name

    # ------------------------------------------------------------------------------------------ training

    def fit(self, x: Any, y: Any = None, *, loss: Any = None, optimizer: Any = None, **options: Any) -> History:
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
        **options
            Passed on: epochs, batch_size, validation_data, metrics, callbacks, verbose, ...
        """
        before = self.trainer
        trainer = self.trainer = self._trainer_for(loss, optimizer)
        try:
            return trainer.fit(x, y, **options)
        except BaseException:
            if not trainer.steps and not trainer.epoch:
                self.trainer = before  # nothing has happened: the last training can still be continued
            raise

    def _trainer_for(self, loss: Any, optimizer: Any) -> Trainer:
        if self.trainer is None or not self.trainer.same_as(loss, optimizer, warn=True):
            return Trainer(self, loss, optimizer)
        return self.trainer

    def evaluate(self, x: Any, y: Any, *, loss: Any = None, **options: Any) -> dict[str, float]:
        """Loss and metrics on (x, y); see `Trainer.evaluate`. Without training, name the loss."""
        if self.trainer is not None and (loss is None or self.trainer.same_as(loss, None, warn=False)):
            return self.trainer.evaluate(x, y, **options)
        return Trainer(self, loss, None).evaluate(x, y, **options)

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
            return explain(self._inference().program, title=f"predict, up to {PREDICT_ROWS} rows a run")
        if self.trainer is None:
            raise ValueError("there is no training step yet: call fit first, or Trainer(...).explain()")
        return self.trainer.explain()

    def summary(self, *, file: Any = None) -> None:
        """Prints a table of the layers, their output shapes and numbers of parameters."""
        rows = [("layer", "output shape", "parameters")]
        for layer in self.layers:
            shape = next(wire.shape for wire in self._order if wire.layer is layer)
            size = sum(math.prod(parameter.shape) for parameter in layer.parameters)
            kind = "Input" if isinstance(layer, InputLayer) else type(layer).__name__
            frozen = "" if layer.trainable else ", frozen"
            rows.append((f"{layer.name} ({kind}{frozen})", str(("n", *shape)).replace("'", ""), f"{size:,}"))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        line = "-" * (sum(widths) + 4)
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
        size = self.n_parameters * np.dtype(self.dtype).itemsize
        memory = f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"
        total = f"{self.n_parameters:,} parameters, {memory} of {self.dtype}"
        print("\n".join([lines[0], line, *lines[1:], line, total]), file=file)

    # ------------------------------------------------------------------------------------------ keeping

    def save(self, path: Any) -> None:
        """Writes structure and parameters to a safetensors file: all of it or, if something fails, nothing.

        Raises
        ------
        TypeError
            If a layer keeps something that cannot be saved, such as a function.
        OSError
            If the file cannot be written.
        """
        saving.write(path, self.parameters(), {"kind": "network", "network": saving.describe(self)})

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items()
                 if key not in ("training_lock", "_programs", "_backend", "block", "trainer")}  # fmt: skip
        return {**state, "backend_name": self.backend, "weights": self.get_weights()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        weights, backend = state.pop("weights"), state.pop("backend_name")
        self.__dict__.update(state)
        self._backend = backends.get(backend)
        self.block = self._backend.block(self.block_size, self.dtype)
        self.training_lock = Exclusive()
        self._programs = {}
        self.trainer = None
        self.set_weights(weights)
        for layer in self.layers:
            layer.claimed = True

    def copy(self) -> Network:
        """An independent network with the same layers and weights, without a trainer."""
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        kinds = ", ".join(layer.name for layer in self.layers)
        return f"<{type(self).__name__}: {kinds}; {self.n_parameters:,} parameters, {self.dtype}, {self.backend}>"


class Sequential(Network):
    """A chain of layers.

    Parameters
    ----------
    layers
        Layers in order; the first may be an `fnn.Input(...)`.
    input_shape
        Shape of one sample, without the batch axis: an integer n means (n,).
    seed, dtype, backend
        As for `Network`.

    Raises
    ------
    ValueError
        If there are no layers, or the input shape is given neither here nor by an Input.
    TypeError
        If something in the list is not a layer.
    """

    def __init__(self, layers: Sequence[Any], input_shape: Any = None, *, seed: int = 0, dtype: str = "float32",
                 backend: str = "native") -> None:  # fmt: skip
        chain = list(layers)
        start = chain.pop(0) if chain and isinstance(chain[0], Wire) else None
        for layer in chain:
            if not isinstance(layer, Layer):
                raise TypeError(f"Sequential: expected layers, got {type(layer).__name__}")
        if not chain:
            raise ValueError("Sequential needs at least one layer")
        if len(set(map(id, chain))) < len(chain):
            raise ValueError("Sequential: a layer stands in the list twice; make two, or join them with Network")
        if start is None:
            if input_shape is None:
                raise ValueError("Sequential: give input_shape=..., the shape of one sample without the batch axis")
            start = Input(as_shape(input_shape, "Sequential: input_shape"))
        elif input_shape is not None and as_shape(input_shape, "Sequential: input_shape") != start.shape:
            raise ValueError(f"Sequential: input_shape {input_shape} contradicts the Input of shape {start.shape}")
        wire = start
        for number, layer in enumerate(chain):
            try:
                wire = layer(wire)
            except (ValueError, TypeError) as problem:
                raise type(problem)(f"Sequential, layer {number}: {problem}") from problem
            if isinstance(wire, tuple):
                raise ValueError(f"Sequential: layer {number} has several outputs; join it with Network")
        super().__init__(start, wire, seed=seed, dtype=dtype, backend=backend)


saving.NETWORKS.update(Network=Network, Sequential=Sequential)


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


def _seed(seed: Any) -> int:
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or int(seed) < 0:
        raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
    return int(seed)
