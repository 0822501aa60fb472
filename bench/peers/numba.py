"""Numba: the whole training loop, written by hand and compiled, so that many steps are one call.

Small products are loops, which the compiler unrolls into vectors along the last axis; larger ones go to the BLAS that
Numba knows. It is compiled with the floating-point freedom that Numba's users take (fastmath).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from bench.shapes import Data, NetworkShape

LOOPS = 4096  # multiplications up to which a product is a loop
ACTIVATIONS = {"": 0, "sigmoid": 1, "tanh": 2, "relu": 3}
LOSSES = {"quadratic": 0, "mse": 1, "cross_entropy": 2}
jit = numba.njit(fastmath=True, cache=True, error_model="numpy")
ONE = np.float32(1)


@jit
def _multiply(a: Any, b: Any, c: Any) -> None:
    """C = a b."""
    if a.shape[0] * a.shape[1] * b.shape[1] > LOOPS:
        np.dot(a, b, c)
        return
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            c[i, j] = 0
        for k in range(a.shape[1]):
            factor = a[i, k]
            for j in range(c.shape[1]):
                c[i, j] += factor * b[k, j]


@jit
def _layer(a: Any, w: Any, b: Any, z: Any, activation: int) -> None:
    _multiply(a, w, z)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            value = z[i, j] + b[j]
            if activation == 1:
                value = ONE / (ONE + np.exp(-value))
            elif activation == 2:
                value = np.tanh(value)
            elif activation == 3:
                value = max(value, np.float32(0))
            z[i, j] = value


@jit
def _bend_back(d: Any, z: Any, activation: int) -> None:
    """The gradient by what went into the activation, from that by what came out."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            if activation == 1:
                d[i, j] *= z[i, j] * (ONE - z[i, j])
            elif activation == 2:
                d[i, j] *= ONE - z[i, j] * z[i, j]
            elif activation == 3 and z[i, j] <= 0:
                d[i, j] = 0


@jit
def _squares(z: Any, y: Any, d: Any, mean: bool) -> Any:
    """Loss and its gradient: half the sum of squares by the batch, or the mean of all squares."""
    batch, outputs = z.shape
    scale = np.float32(2) / (batch * outputs) if mean else ONE / batch
    loss = np.float32(0)
    for i in range(batch):
        for j in range(outputs):
            difference = z[i, j] - y[i, j]
            loss += difference * difference
            d[i, j] = difference * np.float32(scale)
    return loss * scale / 2  # whatever the loss, its gradient is twice its factor times the difference


@jit
def _cross_entropy(z: Any, labels: Any, d: Any) -> Any:
    batch, classes = z.shape
    loss = np.float32(0)
    for i in range(batch):
        top = z[i, 0]
        for j in range(1, classes):
            top = max(top, z[i, j])
        total = np.float32(0)
        for j in range(classes):
            d[i, j] = np.exp(z[i, j] - top)
            total += d[i, j]
        loss += np.log(total) - (z[i, labels[i]] - top)
        for j in range(classes):
            d[i, j] /= total * batch
        d[i, labels[i]] -= ONE / batch
    return loss / batch


@jit
def _descend(w: Any, g: Any, m: Any, s: Any, rate: Any, step: int, adam: bool) -> None:
    """One step on flat arrays; m and s are Adam's."""
    size, root = rate / (1 - 0.9**step), np.sqrt(1 - 0.999**step)
    for i in range(w.size):
        if adam:
            m[i] += np.float32(0.1) * (g[i] - m[i])
            s[i] = np.float32(0.999) * s[i] + np.float32(0.001) * g[i] * g[i]
            w[i] -= np.float32(size) * m[i] / (np.sqrt(s[i]) / np.float32(root) + np.float32(1e-8))
        else:
            w[i] -= np.float32(rate) * g[i]


@jit
def _sums(d: Any, db: Any) -> None:
    """Over the rows."""
    db[:] = 0
    for i in range(d.shape[0]):
        for j in range(d.shape[1]):
            db[j] += d[i, j]


@jit
def _train(x: Any, y: Any, order: Any, w: Any, b: Any, dw: Any, db: Any, a: Any, d: Any, blocks: Any, hidden: int,
           output: int, loss: int, rate: float, done: int, adam: bool) -> float:  # fmt: skip
    """All steps. Tuples hold an array for each layer: a[0] the batch, a[i + 1] what layer i gives, d its gradient."""
    layers, total = len(w), 0.0
    targets = np.empty(d[-1].shape, np.float32)
    labels = np.empty(order.shape[1], np.int64)
    for step in range(order.shape[0]):
        for row in range(order.shape[1]):
            a[0][row] = x[order[step, row]]
        for i in range(layers):
            _layer(a[i], w[i], b[i], a[i + 1], output if i == layers - 1 else hidden)
        if loss == 2:
            for row in range(order.shape[1]):
                labels[row] = np.int64(y[order[step, row], 0])
            total += _cross_entropy(a[layers], labels, d[layers - 1])
        else:
            for row in range(order.shape[1]):
                targets[row] = y[order[step, row]]
            total += _squares(a[layers], targets, d[layers - 1], loss == 1)
        for i in range(layers - 1, -1, -1):
            _bend_back(d[i], a[i + 1], output if i == layers - 1 else hidden)
            _multiply(a[i].T, d[i], dw[i])
            _sums(d[i], db[i])
            if i > 0:
                _multiply(d[i], w[i].T, d[i - 1])
        _descend(blocks[0], blocks[1], blocks[2], blocks[3], rate, done + step + 1, adam)
    return total / order.shape[0]


class Training:
    """A network, trained by one call."""

    def __init__(self, shape: NetworkShape, data: Data, weights: list[NDArray[Any]]) -> None:
        flat = np.concatenate([w.ravel() for w in weights])
        adam = shape.optimizer == "adam"
        self.blocks = (flat, np.zeros_like(flat), *(np.zeros_like(flat if adam else flat[:1]) for _ in range(2)))
        self.views, slopes = ([*_views(block, weights)] for block in self.blocks[:2])
        sizes = [(shape.batch, size) for size in shape.sizes]
        a, d = (tuple(np.empty(size, np.float32) for size in each) for each in (sizes, sizes[1:]))
        self.arrays = (*(tuple(each[i::2]) for each in (self.views, slopes) for i in range(2)), a, d, self.blocks)
        self.x = data.x
        self.y = data.y if data.y.ndim == 2 else data.y.astype(np.float32)[:, None]
        codes = ACTIVATIONS[shape.hidden], ACTIVATIONS[shape.output], LOSSES[shape.loss]
        self.options, self.adam, self.done = (*codes, shape.rate), adam, 0

    def train(self, order: NDArray[np.int64]) -> float:
        """Forward, backward, downhill, for each mini-batch."""
        loss = _train(self.x, self.y, order, *self.arrays, *self.options, self.done, self.adam)
        self.done += len(order)
        return loss

    def weights(self) -> list[NDArray[Any]]:
        """Copies, in order."""
        return [view.copy() for view in self.views]


def _views(block: NDArray[Any], like: list[NDArray[Any]]) -> list[NDArray[Any]]:
    ends = np.cumsum([w.size for w in like])
    return [block[end - w.size : end].reshape(w.shape) for w, end in zip(like, ends, strict=True)]
