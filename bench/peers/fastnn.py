"""fastnn, as its users write it: a network and `fit`, everything included that `fit` does for an epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastnn as fnn
from bench.shapes import Data, NetworkShape
from fastnn import backends
from fastnn.epochs import epoch_order
from fastnn.graph.plan import Place, plan
from fastnn.graph.tensor import Graph

NAME = "fastnn"


def product(a: NDArray[Any], b: NDArray[Any], repeats: int) -> Callable[[], NDArray[Any]]:
    """Steps of a Program that holds one instruction, c = a b."""
    shapes = {"a": a.shape, "b": b.shape, "c": (a.shape[0], b.shape[1])}
    with Graph(a.dtype.name) as graph:
        tensors = {name: graph.input(name, shapes[name]) for name in "ab"}
        c = fnn.ops.matmul(tensors["a"], tensors["b"])
    backend = backends.get("native")
    runner = backend.prepare(plan(graph, {"c": c}, {c: Place("output:c")}), a.dtype.name, {})
    arrays = {"input:a": a, "input:b": b, "output:c": np.empty(shapes["c"], a.dtype)}
    table = np.zeros((repeats, 0))

    def run() -> NDArray[Any]:
        runner.run(table, arrays)
        return arrays["output:c"]

    return run


class Training:
    """A network of dense layers and its Trainer."""

    def __init__(self, shape: NetworkShape, data: Data) -> None:
        layers = [fnn.Dense(units, activation or None) for _, units, activation in shape.layers]
        self.network = fnn.Sequential(layers, input_shape=shape.sizes[0])
        self.trainer = fnn.Trainer(self.network, shape.loss, fnn.SGD(shape.rate))
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

    def weights(self) -> list[NDArray[Any]]:
        """Copies, in order."""
        return self.network.get_weights()
