"""NumPy, as its experts write it: nothing is allocated in a step, and as few calls as the arithmetic needs.

Arrays' own `dot` and `take` skip a layer of Python; `mode="clip"` lets `take` write straight into `out`. All parameters
lie in one array, so that one subtraction updates them; the learning rate is multiplied into the loss's small gradient
instead of all weights' gradients. Numbers are arrays without dimensions, which ufuncs need not convert.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.memory import empty
from bench.peers.numpy_arrays import FUNCTIONS, ONE, adam, blocks, elementwise
from bench.shapes import Data, NetworkShape, ProductShape

__all__ = ["Inference", "Training", "elementwise", "product"]
Array = NDArray[Any]


def product(shape: ProductShape, a: Array, b: Array) -> Callable[[int], Array]:
    """C = a b, into the same array each time."""
    c = empty((shape.m, shape.n), shape.array_dtype)
    left, right = a.T if shape.transpose_a else a, b.T if shape.transpose_b else b

    def run(times: int) -> Array:
        for _ in range(times):
            left.dot(right, c)
        return c

    return run


def _relu_slope(dy: Array, y: Array, dx: Array) -> None:
    np.sign(y, dx)  # 0 or 1, since y is what ReLU gave; in the right type at once
    np.multiply(dy, dx, dx)


# What an activation does, and its slope, with the result behind the operands.
ACTIVATIONS: dict[str, tuple[Any, Any]] = {
    "sigmoid": (FUNCTIONS["sigmoid"], FUNCTIONS["sigmoid slope"]),
    "tanh": (FUNCTIONS["tanh"], FUNCTIONS["tanh slope"]),
    "relu": (FUNCTIONS["relu"], _relu_slope),
    "": (None, None),
}


class Training:
    """A network, trained by hand-written backpropagation."""

    def __init__(self, shape: NetworkShape, data: Data, weights: list[Array]) -> None:
        batch, out = shape.batch, shape.sizes[-1]
        self.data, self.loss = data, shape.loss
        self.parameters, views = _block(weights)
        self.gradients, slopes = _block(weights)
        self.views = views
        self.x = np.empty((batch, shape.sizes[0]), np.float32)
        self.y = np.empty((batch, *data.y.shape[1:]), data.y.dtype)
        self.out_gradient = np.empty((batch, out), np.float32)
        self.ones, self.rows = np.ones(batch, np.float32), np.arange(batch)
        divisor = batch * out / 2 if shape.loss == "mse" else batch
        self.rate = shape.rate
        self.moments = [np.zeros_like(self.parameters) for _ in range(2)] if shape.optimizer == "adam" else []
        self.step_size = np.array((1 if self.moments else shape.rate) / divisor, np.float32)
        operands = self.gradients, self.parameters, *self.moments
        self.step, self.blocks = 0, list(blocks(operands, scratch=True)) if self.moments else []
        self.loss_scale = {"quadratic": 0.5, "mse": 1 / out, "cross_entropy": 1.0}[shape.loss] / batch
        self.forward: list[tuple[Any, ...]] = []
        self.backward: list[tuple[Any, ...]] = []
        a: Array = self.x
        d: Array | None = None
        for number, (_, units, activation) in enumerate(shape.layers):
            w, b, dw, db = views[2 * number], views[2 * number + 1], slopes[2 * number], slopes[2 * number + 1]
            bend, slope = ACTIVATIONS[activation]
            z, dz = (np.empty((batch, units), np.float32) for _ in range(2))
            if number == len(shape.layers) - 1:
                dz = self.out_gradient
            self.forward.append((a, w, b, z, bend))
            self.backward.append((a.T, w.T, dw, db, z, dz, d, slope, np.empty_like(z)))
            a, d = z, dz
        self.backward.reverse()

    def train(self, order: NDArray[np.int64]) -> float:
        """Forward, backward, downhill, for each mini-batch."""
        x, y, ones = self.x, self.y, self.ones
        take_x, take_y = self.data.x.take, self.data.y.take
        loss_gradient = self._cross_entropy if self.loss == "cross_entropy" else self._squares
        total = 0.0
        for batch in order:
            take_x(batch, 0, x, "clip")
            take_y(batch, 0, y, "clip")
            for a, w, b, z, bend in self.forward:
                a.dot(w, z)
                np.add(z, b, z)
                if bend:
                    bend(z, z)
            total += loss_gradient(z)
            for a_turned, w_turned, dw, db, z, dz, da, slope, scratch in self.backward:
                if slope:
                    slope(dz, z, scratch)
                    dz = scratch
                a_turned.dot(dz, dw)
                ones.dot(dz, db)
                if da is not None:
                    dz.dot(w_turned, da)
            self._update()
        return float(total) * self.loss_scale / len(order)

    def _update(self) -> None:
        if not self.moments:
            np.subtract(self.parameters, self.gradients, self.parameters)
            return
        self.step += 1
        for g, w, m, v, scratch in self.blocks:
            adam(g, w, m, v, scratch, self.rate, self.step)

    def _squares(self, out: Array) -> Any:
        d = self.out_gradient
        np.subtract(out, self.y, d)
        loss = np.vdot(d, d)
        np.multiply(d, self.step_size, d)
        return loss

    def _cross_entropy(self, logits: Array) -> float:
        d, labels = self.out_gradient, (self.rows, self.y)
        np.subtract(logits, logits.max(1, keepdims=True), logits)
        picked = logits[labels].sum()
        np.exp(logits, d)
        sums = d.sum(1, keepdims=True)
        np.divide(d, sums, d)
        d[labels] -= ONE
        np.multiply(d, self.step_size, d)
        return float(np.log(sums).sum() - picked)

    def weights(self) -> list[Array]:
        """Copies, in order."""
        return [view.copy() for view in self.views]


def _block(weights: list[Array]) -> tuple[Array, list[Array]]:
    """All weights in one array, and views of each."""
    block = np.concatenate([w.ravel() for w in weights])
    ends = np.cumsum([w.size for w in weights])
    return block, [block[end - w.size : end].reshape(w.shape) for w, end in zip(weights, ends, strict=True)]


class Inference:
    """The layers one after another, into arrays that are there already."""

    def __init__(self, shape: NetworkShape, weights: list[Array]) -> None:
        self.layers = []
        for number, (_, units, activation) in enumerate(shape.layers):
            z = np.empty((shape.batch, units), np.float32)
            self.layers.append((weights[2 * number], weights[2 * number + 1], z, ACTIVATIONS[activation][0]))

    def predict(self, x: Array) -> Array:
        """What the last layer gives."""
        for w, b, z, bend in self.layers:
            x.dot(w, z)
            np.add(z, b, z)
            if bend:
                bend(z, z)
            x = z
        return x
