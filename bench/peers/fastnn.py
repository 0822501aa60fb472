"""fastnn, as its users write it: a network and `fit`, everything included that `fit` does for an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastnn as fnn
from bench.memory import empty
from bench.peers import repeated
from bench.shapes import Data, ElementwiseShape, NetworkShape, ProductShape
from fastnn import backends
from fastnn.epochs import epoch_order
from fastnn.graph.plan import Place, plan
from fastnn.graph.tensor import Graph
from fastnn.ops._dispatch import dispatch

NAME = "fastnn"
Array = NDArray[Any]


def product(shape: ProductShape, a: Array, b: Array) -> Callable[[int], Array]:
    """C = a b into the same array, each a call from Python."""
    matmul, c = fnn.ops.matmul, empty((shape.m, shape.n), shape.array_dtype)
    turn_a, turn_b, dtype = shape.transpose_a, shape.transpose_b, _rounded_to(shape)

    def run(times: int) -> Array:  # as people write it: a dict of options would cost some 0.2 microseconds
        if turn_a or turn_b or dtype:
            for _ in range(times):
                matmul(a, b, transpose_a=turn_a, transpose_b=turn_b, dtype=dtype, out=c)
        else:
            for _ in range(times):
                matmul(a, b, out=c)
        return c

    return run


def _rounded_to(shape: ProductShape) -> str | None:
    return "bfloat16" if shape.dtype == "bfloat16" else None


def program_product(shape: ProductShape, a: Array, b: Array) -> Callable[[int], Array]:
    """Steps of a Program that holds one instruction, c = a b."""
    with Graph(shape.array_dtype) as graph:
        factors = [graph.input(name, array.shape) for name, array in (("a", a), ("b", b))]
        turned = {"transpose_a": shape.transpose_a, "transpose_b": shape.transpose_b}
        c = fnn.ops.matmul(*factors, **turned, dtype=_rounded_to(shape))
    backend = backends.get("native")
    runner = backend.prepare(plan(graph, {"c": c}, {c: Place("output:c")}), shape.array_dtype, {})
    arrays = {"input:a": a, "input:b": b, "output:c": empty((shape.m, shape.n), shape.array_dtype)}

    def run(times: int) -> Array:
        runner.run(np.zeros((times, 0)), arrays)
        return arrays["output:c"]

    return run


# What `fastnn.ops` calls by another name, or only a Program calls: the operation and its attributes.
OPERATIONS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "leaky_relu": ("leaky_relu", {"negative_slope": 0.01}),
    "elu": ("elu", {"alpha": 1.0}),
    "gelu": ("gelu", {"approximate": False}),
    "gelu_tanh": ("gelu", {"approximate": True}),
}
RULES: dict[str, Mapping[str, float]] = {
    "sgd": {},
    "momentum": {"momentum": 0.9, "dampening": 0.0},
    "nesterov": {"momentum": 0.9, "dampening": 0.0},
    "rmsprop": {"alpha": 0.99, "eps": 1e-8},
    "rmsprop_momentum": {"momentum": 0.9, "alpha": 0.99, "eps": 1e-8},
    "adagrad": {"eps": 1e-10},
    "adam": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    "adamw": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
}


def elementwise(shape: ElementwiseShape, arrays: list[Array]) -> Callable[[int], list[Array]]:
    """The operation into the same arrays, each a call from Python."""
    return repeated(*_operation(shape, arrays))


def _operation(shape: ElementwiseShape, arrays: list[Array]) -> tuple[Callable[[], object], list[Array]]:
    """One call of it, and where its results are."""
    x, name = arrays[0], shape.operation
    if shape.update:
        gradient, *changed = arrays
        update = partial(fnn.ops.update, shape.update, changed[0], changed[1:], gradient, learning_rate=0.01,
                         step=10, **RULES[shape.update])  # fmt: skip
        return update, changed
    if name == "cross_entropy":
        losses, slopes = np.empty(len(x), x.dtype), empty(x.shape, x.dtype)
        attributes = {"mean": True, "label_smoothing": 0.0}
        call = partial(dispatch, name, [x, arrays[1], None], [losses, slopes], labels=(1,), **attributes)
        return call, [losses, slopes]
    if name.startswith("sum"):
        axis = {"sum": None, "sum of rows": 1, "sum of columns": 0}[name]
        out = np.empty(x.sum(axis).shape, x.dtype)
        return partial(fnn.ops.sum, x, axis, out=out), [out]
    out = empty(x.shape, x.dtype)
    if name == "dropout":
        return partial(fnn.ops.dropout, x, 0.5, out=out), [out]
    function, _, kind = name.partition(" ")
    operation, attributes = OPERATIONS.get(function, (function, {}))
    if kind:
        return partial(dispatch, f"{operation}_{kind}", arrays, out, **attributes), [out]
    return partial(getattr(fnn.ops, operation), x, out=out, **attributes), [out]


class Training:
    """A network of dense layers and its Trainer."""

    def __init__(self, shape: NetworkShape, data: Data, weights: list[Array]) -> None:
        self.network = _network(shape, weights)
        optimizer = fnn.Adam(shape.rate) if shape.optimizer == "adam" else fnn.SGD(shape.rate)
        self.trainer = fnn.Trainer(self.network, shape.loss, optimizer)
        self.data, self.batch = data, shape.batch

    def order(self, steps: int) -> NDArray[np.int64]:
        """The rows that the next `fit` takes in each step."""
        rows = epoch_order(self.network.seed, self.trainer.epoch, steps * self.batch)
        return rows.reshape(steps, self.batch)

    def fit(self, steps: int) -> float:
        """An epoch of so many steps; returns the mean loss."""
        rows = slice(0, steps * self.batch)
        history = self.trainer.fit(self.data.x[rows], self.data.y[rows], batch_size=self.batch, metrics=[], verbose=0)
        return history["loss"][-1]

    def train(self, order: NDArray[np.int64]) -> float:
        """A step for each row of `order`, called from Python; returns the mean loss."""
        step, take_x, take_y = self.trainer.step, self.data.x.take, self.data.y.take
        return sum(step(take_x(batch, 0), take_y(batch, 0)) for batch in order) / len(order)

    def weights(self) -> list[Array]:
        """Copies, in order."""
        return self.network.get_weights()


class Inference:
    """`predict`, and nothing around it."""

    def __init__(self, shape: NetworkShape, weights: list[Array]) -> None:
        self.predict = _network(shape, weights).predict


def _network(shape: NetworkShape, weights: list[Array]) -> fnn.Sequential:
    layers = [fnn.Dense(units, activation or None) for _, units, activation in shape.layers]
    network = fnn.Sequential(layers, input_shape=shape.sizes[0], seed=0, backend=shape.backend)
    network.set_weights(weights)
    return network
