"""NumPy as most people who care write it: the formulas one after the other, each into an array that is there already.

The tighter page beside it, which the bars are held against, uses tricks that few would; this one tells what they bring.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.shapes import Data, NetworkShape

Array = NDArray[Any]


class Training:
    """A network, trained by hand-written backpropagation."""

    def __init__(self, shape: NetworkShape, data: Data, weights: list[Array]) -> None:
        if shape.optimizer != "sgd":
            raise NotImplementedError("this page has plain gradient descent only")
        self.shape, self.data = shape, data
        self.w, self.b = [w.copy() for w in weights[::2]], [b.copy() for b in weights[1::2]]
        self.dw, self.db = [np.empty_like(w) for w in self.w], [np.empty_like(b) for b in self.b]
        self.a = [np.empty((shape.batch, size), np.float32) for size in shape.sizes]
        self.d = [np.empty_like(a) for a in self.a]
        self.slope = [np.empty_like(a) for a in self.a]

    def train(self, order: NDArray[np.int64]) -> float:
        """Forward, backward, downhill, for each mini-batch."""
        return sum(self._step(batch) for batch in order) / len(order)

    def _step(self, batch: NDArray[np.int64]) -> float:
        a, d, y = self.a, self.d, self.data.y[batch]
        np.take(self.data.x, batch, axis=0, out=a[0])
        for i, (_, _, activation) in enumerate(self.shape.layers):
            np.matmul(a[i], self.w[i], out=a[i + 1])
            np.add(a[i + 1], self.b[i], out=a[i + 1])
            _bend(activation, a[i + 1])
        loss = self._loss(a[-1], y, d[-1])
        for i in reversed(range(len(self.w))):
            _multiply_by_slope(self.shape.layers[i][2], d[i + 1], a[i + 1], self.slope[i + 1])
            np.matmul(a[i].T, d[i + 1], out=self.dw[i])
            np.sum(d[i + 1], axis=0, out=self.db[i])
            if i:
                np.matmul(d[i + 1], self.w[i].T, out=d[i])
        for value, gradient in zip(self.w + self.b, self.dw + self.db, strict=True):
            np.multiply(gradient, self.shape.rate, out=gradient)
            np.subtract(value, gradient, out=value)
        return loss

    def _loss(self, out: Array, y: Array, d: Array) -> float:
        """The batch's loss; its gradient goes to d."""
        n = self.shape.batch
        if self.shape.loss == "cross_entropy":
            np.exp(out - out.max(axis=1, keepdims=True), out=d)
            np.divide(d, d.sum(axis=1, keepdims=True), out=d)
            loss = -np.log(d[np.arange(n), y]).mean()
            d[np.arange(n), y] -= 1
            np.divide(d, n, out=d)
            return float(loss)
        np.subtract(out, y, out=d)
        squares = float(np.square(d).sum())
        if self.shape.loss == "mse":
            np.multiply(d, 2 / d.size, out=d)
            return squares / d.size
        np.divide(d, n, out=d)
        return 0.5 * squares / n

    def weights(self) -> list[Array]:
        """Copies, in order."""
        return [each.copy() for pair in zip(self.w, self.b, strict=True) for each in pair]


def _bend(activation: str, z: Array) -> None:
    if activation == "sigmoid":
        np.negative(z, out=z)
        np.exp(z, out=z)
        np.add(z, 1, out=z)
        np.divide(1, z, out=z)
    elif activation == "tanh":
        np.tanh(z, out=z)
    elif activation == "relu":
        np.maximum(z, 0, out=z)


def _multiply_by_slope(activation: str, d: Array, a: Array, slope: Array) -> None:
    if activation == "sigmoid":
        np.subtract(1, a, out=slope)
        np.multiply(slope, a, out=slope)
        np.multiply(d, slope, out=d)
    elif activation == "tanh":
        np.square(a, out=slope)
        np.subtract(1, slope, out=slope)
        np.multiply(d, slope, out=d)
    elif activation == "relu":
        np.multiply(d, a > 0, out=d)
